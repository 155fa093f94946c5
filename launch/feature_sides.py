"""FID's Inception-v3, ours and those of the packages it has to agree with.

All get the same random weights. Needs the extra `fidelity`. Beside it the
Frechet distance of as many features, which needs scipy only.
"""

import functools
import os
import pathlib
import tempfile
import time
from collections.abc import Callable
from unittest import mock

import jax
import numpy as np

from gan_jax import parallel
from gan_jax.metrics import frechet
from gan_jax.metrics.nets import inception

Sides = tuple[Callable[[], float], Callable[[], float]]

FEATURES = ('64', '192', '768', '2048', 'logits_unbiased')


def random_state(seed: int = 0) -> dict[str, np.ndarray]:
  """A state dictionary whose activations neither vanish nor grow.

  Kernels are He-scaled; batch norm is far from doing nothing.
  """
  rng = np.random.default_rng(seed)
  draw = {
    'conv.weight': lambda shape: (
      rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    ),
    'bn.weight': lambda shape: rng.uniform(0.5, 1.5, shape),
    'bn.bias': lambda shape: 0.3 * rng.standard_normal(shape),
    'bn.running_mean': lambda shape: 0.3 * rng.standard_normal(shape),
    'bn.running_var': lambda shape: rng.uniform(0.5, 2.0, shape),
    'fc.weight': lambda shape: 0.05 * rng.standard_normal(shape),
    'fc.bias': lambda shape: rng.standard_normal(shape),
  }
  state = {}
  for name, shape in inception.expected().items():
    kind = '.'.join(name.split('.')[-2:])
    state[name] = draw[kind](shape).astype(np.float32)
  return state


def import_torchvision():
  """Makes the import work for a torchvision built for another PyTorch, too.

  That of PyPI is for CUDA. Beside a CPU PyTorch its compiled part is not
  loaded, and it ends for want of two operators that no network here uses.
  """
  import torch

  try:
    import torchvision  # noqa: F401
  except RuntimeError:
    arguments = 'Tensor dets, Tensor scores, float iou_threshold'
    for name in ('nms', 'qnms'):
      torch.library.define(f'torchvision::{name}', f'({arguments}) -> Tensor')


def torch_fidelity_net(state: dict[str, np.ndarray], names=FEATURES):
  """torch-fidelity's network, which takes uint8 `[N, 3, H, W]`.

  Args:
    state: its weights.
    names: of the features wanted, in the order of its answer.
  """
  import_torchvision()
  import torch
  from torch_fidelity import feature_extractor_inceptionv3 as peer

  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'weights.pth'
    torch.save(_tensors(state), path)
    net = peer.FeatureExtractorInceptionV3(
      'inception-v3-compat',
      list(names),
      feature_extractor_weights_path=str(path),
    )
  return net.eval()


def pytorch_fid_net(state: dict[str, np.ndarray]):
  """pytorch-fid's network, all its layers, for `[N, 3, H, W]` in [0, 1]."""
  import_torchvision()
  from pytorch_fid import inception as peer

  # It downloads its weights where it is built.
  answer = mock.patch.object(
    peer, 'load_state_dict_from_url', lambda *_, **__: _tensors(state)
  )
  with answer:
    return peer.InceptionV3([0, 1, 2, 3]).eval()


def sides(image_size: int, tf32: bool) -> Sides:
  """Images/s from uint8 to features and logits, ours and torch-fidelity's.

  Args:
    image_size: height and width before resizing.
    tf32: precision of products on a GPU, on both sides.
  """
  import torch

  on_cpu = jax.default_backend() == 'cpu'
  count = 16 if on_cpu else 128
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  torch.backends.cuda.matmul.allow_tf32 = tf32
  torch.backends.cudnn.allow_tf32 = tf32
  state = random_state()
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (count, image_size, image_size, 3), np.uint8)
  calls = 1 if on_cpu else 20
  ours = _ours(state, images, exact=not tf32)
  theirs = _theirs(state, images, 'cpu' if on_cpu else 'cuda')
  timed = lambda run: lambda: max(_speed(r, count, calls) for r in run)
  return timed([ours]), timed(theirs)


def frechet_sides(size: int = 2048, count: int = 5000) -> Sides:
  """Distances/s, ours and by a root of the product of the covariances.

  The root is timed once, since it takes up to minutes.
  """
  import scipy.linalg

  rng = np.random.default_rng(0)
  mix = rng.standard_normal((size, size)) / np.arange(1, size + 1) ** 0.5
  draw = lambda: np.maximum(rng.standard_normal((count, size)) @ mix, 0)
  a, b = (frechet.moments(draw()) for _ in range(2))
  given = a.mean, a.covariance, b.mean, b.covariance

  def by_root():
    scipy.linalg.sqrtm(given[1] @ given[3])

  def speed(function):
    begin = time.perf_counter()
    function()
    return 1 / (time.perf_counter() - begin)

  ours = lambda: speed(lambda: frechet.frechet_distance(*given))
  return ours, functools.cache(lambda: speed(by_root))


def _ours(state, images, exact):
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'weights.npz'
    np.savez(path, **state)
    net = inception.load(weights=str(path), exact=exact)
  rows = parallel.by_rows(net.apply, net.params)

  def run(calls):
    # As many under way as `collect` has: one is fetched, one computed.
    before = None
    for _ in range(calls):
      coming = rows.call(images)
      if before is not None:
        jax.tree.map(np.asarray, before)
      before = coming
    jax.tree.map(np.asarray, before)

  run(1)
  return run


def _theirs(state, images, device):
  """Runners in both of PyTorch's memory layouts; torch-fidelity's own first."""
  import torch

  torch.backends.cudnn.benchmark = True
  images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
  runners = []
  for layout in (torch.contiguous_format, torch.channels_last):
    net = torch_fidelity_net(state, ('2048', 'logits_unbiased'))
    net = net.to(device=device, memory_format=layout)
    runners.append(_torch_runner(net, images, device))
    runners[-1](1)
  return runners


def _torch_runner(net, images, device):
  import torch

  def run(calls):
    with torch.inference_mode():
      for _ in range(calls):
        for output in net(images.to(device)):
          output.cpu()

  return run


def _speed(run, count, calls):
  begin = time.perf_counter()
  run(calls)
  return calls * count / (time.perf_counter() - begin)


def _tensors(state):
  import torch

  return {name: torch.from_numpy(array) for name, array in state.items()}
