"""Our Inception-v3 answers as torch-fidelity's and pytorch-fid's do.

All get the same random weights, with batch statistics far from 0 and 1.
"""

import functools
import importlib.util

import jax
import numpy as np
import pytest

from gan_jax.metrics.nets import inception, inception_blocks
from gan_jax.metrics.nets import inception_graph as graph
from launch import feature_sides

torch = pytest.importorskip('torch', reason='compares with PyTorch')
# torchvision may need help to be imported: feature_sides gives it.
for package in ('torch_fidelity', 'pytorch_fid', 'torchvision'):
  if not importlib.util.find_spec(package):
    pytest.skip(f'compares with {package}', allow_module_level=True)

LAYERS = tuple(graph.LAYERS)
EXACT = jax.lax.Precision.HIGHEST
SIZES = [(33, 47), (75, 75), (299, 299), (311, 401), (512, 200)]

state = functools.cache(feature_sides.random_state)


@functools.cache
def torch_fidelity():
  return feature_sides.torch_fidelity_net(state())


@functools.cache
def pytorch_fid():
  return feature_sides.pytorch_fid_net(state())


@functools.cache
def ours():
  """Prepared images -> features of all layers and logits."""
  params = inception.convert(state(), 'random', layer=max(LAYERS))

  @jax.jit
  def run(params, x):
    found = inception_blocks.forward(params, x, LAYERS, EXACT)
    features = [found[layer] for layer in LAYERS]
    return [*features, features[-1] @ params['fc']]

  return functools.partial(run, params)


def images(height, width):
  """A dark, a bright and a smooth one, so that features differ."""
  rng = np.random.default_rng(height)
  noise = rng.integers(0, 64, (2, height, width, 3))
  slope = np.linspace(0, 1, height)[:, None, None] * np.array([250, 120, 0])
  slope = np.tile(slope, (1, width, 1))
  dark, bright = noise[0], noise[1] + 190
  return np.stack([dark, bright, slope]).astype(np.uint8)


def in_torch(net, x):
  with torch.no_grad():
    answer = net(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
  # pytorch-fid leaves the average over pixels to its caller.
  answer = [y.numpy() for y in answer]
  return [y.mean(axis=(2, 3)) if y.ndim == 4 else y for y in answer]


def assert_same(actual, expected):
  """To 1e-4 of how much the features of different images differ."""
  assert len(actual) == len(expected)
  for ours, theirs in zip(actual, expected, strict=True):
    scale = np.max(np.abs(theirs - theirs.mean(axis=0)))
    assert scale > 0.01 * np.max(np.abs(theirs))
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * scale, rtol=0)


@pytest.mark.parametrize('size', SIZES)
def test_same_features_and_logits_as_torch_fidelity(size):
  x = images(*size)
  expected = in_torch(torch_fidelity(), x)
  assert [y.shape[1] for y in expected] == [*LAYERS, 1008]
  assert_same(ours()(inception.prepare(x, 'tensorflow')), expected)


@pytest.mark.parametrize('size', SIZES)
def test_same_features_as_pytorch_fid(size):
  x = images(*size)
  expected = in_torch(pytorch_fid(), (x / 255).astype(np.float32))
  assert [y.shape[1] for y in expected] == [*LAYERS]
  assert_same(ours()(inception.prepare(x, 'pytorch'))[:-1], expected)


@pytest.mark.parametrize('zipped', [True, False])
def test_a_net_from_a_file_of_pytorch(tmp_path, zipped):
  path = tmp_path / 'weights.pth'
  tensors = torch_fidelity().state_dict()
  torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
  net = inception.load(weights=str(path))
  x = images(40, 30)
  actual = jax.jit(net.apply)(net.params, x)
  *_, features, logits = in_torch(torch_fidelity(), x)
  assert_same(actual, [features, logits])
