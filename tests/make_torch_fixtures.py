"""Writes tests/fixtures/*.npz: what our networks, written in PyTorch, answer.

python tests/make_torch_fixtures.py            writes them
python tests/make_torch_fixtures.py --check    names those that PyTorch answers
                                               otherwise, and exits with 1 then

Run it in the checkout with PYTHONPATH=. set. Needs PyTorch and numpy only.
Weights and inputs are not stored: they are functions of names and shapes here,
for this script and for the tests alike. The file of an architecture has for
each of its cases

  CASE/shapes  PyTorch's names and shapes, as JSON
  CASE/eval    a sample of the output in evaluation mode

and for a case with batch norm, all after one call in training mode,

  CASE/train   a sample of the output
  CASE/stats   its running statistics, by sorted name, one after the other
  CASE/counts  from how many values each of those was taken
"""

import json
import pathlib
import sys
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

FOLDER = pathlib.Path(__file__).parent / 'fixtures'
BATCH_SIZE = 5
Z = 6  # length of latents
STATISTICS = ('running_mean', 'running_var')


class Case(NamedTuple):
  """One network.

  Attributes:
    model: its name in the tables of models.
    player: 'g' or 'd'.
    shape: of one input, `(z_size,)` or `(C, H, W)`.
    settings: its options.
  """

  model: str
  player: str
  shape: tuple[int, ...]
  settings: dict[str, Any]


def _image_cases() -> dict[str, Case]:
  """The networks that have a width and no labels."""
  g = lambda name, **more: Case(
    name, 'g', (Z,), dict(width=4, z_size=Z, **more)
  )
  d = lambda name, *shape, **more: Case(name, 'd', shape, dict(width=4, **more))
  return {
    'cnn_g': g('cnn'),
    'cnn_g_48': g('cnn', image_size=48),
    'cnn_d': d('cnn', 3, 32, 32),
    'cnn_d_48': d('cnn', 3, 48, 48, image_size=48),
    'cnn256_g': g('cnn256', image_size=32),
    'cnn256_d': d('cnn256', 3, 32, 32, image_size=32),
    'dc_g': g('dc'),
    'dc_d': d('dc', 3, 32, 32),
    'dc_d_dropout': d('dc', 3, 32, 32, dropout=0.5),
    'dc_d_batch_norm': d('dc', 3, 32, 32, batch_norm=True),
    'dc_d_spectral_norm': d('dc', 3, 32, 32, spectral_norm=True),
    'mnist_g': g('mnist'),
    'mnist_d': d('mnist', 1, 28, 28),
    'resnet_g': g('resnet'),
    'resnet_g_bottleneck': g('resnet', bottleneck=True),
    'resnet_g_48': g('resnet', image_size=48),
    'resnet_g_48_bottleneck': g('resnet', image_size=48, bottleneck=True),
    'resnet_d': d('resnet', 3, 32, 32),
    'resnet_d_bottleneck': d('resnet', 3, 32, 32, bottleneck=True),
    'resnet_d_48': d('resnet', 3, 48, 48, image_size=48),
    'resnet_d_48_bottleneck': d(
      'resnet', 3, 48, 48, image_size=48, bottleneck=True
    ),
  }


def _mlp_cases() -> dict[str, Case]:
  """Points of the published toys, and small images laid flat."""
  g = lambda z_size, **more: Case(
    'mlp', 'g', (z_size,), dict(z_size=z_size, **more)
  )
  d = lambda *shape, **more: Case('mlp', 'd', shape, more)
  # An image that is not square, of more than one channel.
  flat = dict(features=(5, 4), data_shape=(3, 2, 3))
  line = dict(data_shape=(1,))
  deep = dict(features=(32,) * 5, activation='relu', use_bias=False)
  return {
    'mlp_g': g(Z, **flat),
    'mlp_d': d(3, 3, 2, **flat, spectral_norm=True),
    'mlp_g_two_cluster': g(1, features=(5, 5), activation='tanh', **line),
    'mlp_d_two_cluster': d(
      1, features=(10, 10), activation='sigmoid', final_bias=False, **line
    ),
    'mlp_g_two_modes': g(Z, **deep),
    'mlp_d_two_modes': d(2, **deep),
    'mlp_g_projection': g(
      4, features=(4, 2), use_bias=False, constant_input=True, output='strip'
    ),
    'mlp_d_projection': d(
      2, features=(4, 4), use_bias=False, slope=0.1, input_scale=(100, 1)
    ),
  }


def _residual_cases() -> dict[str, Case]:
  """The networks with labels."""
  cases = {}
  # Smallest maps of 2x2 at least, so that the order of a flat image counts.
  sizes = {'resnet': 16, 'resnet2': 64, 'resnet3': 128, 'resnet4': 128}
  for variant, size in sizes.items():
    both = dict(variant=variant, width=4, image_size=size, labels=3)
    if variant == 'resnet':
      both['max_width'] = 8
    only_g = dict(z_size=Z, embed_size=5)
    cases[f'residual_g_{variant}'] = Case('residual', 'g', (Z,), both | only_g)
    cases[f'residual_d_{variant}'] = Case(
      'residual', 'd', (3, size, size), both
    )
  return cases


def _modern_cases() -> dict[str, Case]:
  """With and without classes, with one width and several."""
  labelled = dict(width=4, group_size=2, image_size=16, labels=3)
  ladder = dict(width=(6, 4), blocks=1, group_size=4, expansion=4, image_size=8)
  return {
    'modern_g': Case('modern', 'g', (Z,), labelled | dict(z_size=Z)),
    'modern_d': Case('modern', 'd', (3, 16, 16), labelled),
    'modern_g_ladder': Case('modern', 'g', (Z,), ladder | dict(z_size=Z)),
    'modern_d_ladder': Case('modern', 'd', (3, 8, 8), ladder),
  }


CASES = {
  **_image_cases(),
  **_mlp_cases(),
  **_modern_cases(),
  **_residual_cases(),
}


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
  """A state dictionary of sensible size, the same on every machine.

  No axis is symmetric, and `weight_u` is far from converged: a wrong order or
  sign shows, and an entry that is not used too.
  """
  state = {}
  for name, shape in shapes.items():
    random = _random(f'{name} {list(shape)}')
    state[name] = np.asarray(_values(random, name, shape), np.float32)
  for name in [name for name in shapes if name.endswith('.weight_v')]:
    kernel, u = (state[name[:-1] + end] for end in ('orig', 'u'))
    # PyTorch divides by u^T W v, which then is ||W^T u||.
    state[name] = _unit(kernel.reshape(len(u), -1).T @ u)
  return state


def _values(random, name, shape):
  kind = name.rpartition('.')[2]
  if kind == 'num_batches_tracked':
    return np.zeros(shape)
  if kind == 'running_var':
    return random.uniform(0.5, 2.0, shape)
  if kind == 'weight' and len(shape) == 1:  # of batch norm
    return random.uniform(0.5, 1.5, shape)
  values = random.normal(size=shape)
  if kind in ('weight_u', 'weight_v'):
    return _unit(values)
  fan_in = int(np.prod(shape[1:])) if kind.startswith('weight') else 10
  return values / np.sqrt(fan_in)


def inputs(name: str) -> tuple[np.ndarray, ...]:
  """Arguments of a case's network, images as `[B, C, H, W]`."""
  case = CASES[name]
  random = _random(f'input {list(case.shape)}')
  x = random.normal(size=(BATCH_SIZE, *case.shape)).astype(np.float32)
  if 'labels' not in case.settings:
    return (x,)
  return x, np.arange(BATCH_SIZE) % case.settings['labels']


def sample(output: np.ndarray) -> np.ndarray:
  """A few hundred values of an output in PyTorch's order.

  Strides are primes, so that all pixels' parities occur.
  """
  stride = next(s for s in (1, 53, 211, 809) if output.size // s < 400)
  return np.reshape(output, -1)[::stride]


def answers(name: str) -> dict[str, np.ndarray]:
  """What PyTorch gives for a case, as the fixtures have it."""
  import torch  # only here: the tests must do without

  from launch import torch_nets

  case = CASES[name]
  torch.manual_seed(0)
  tables = dict(g=torch_nets.GENERATORS, d=torch_nets.DISCRIMINATORS)
  module = tables[case.player][case.model](**case.settings)
  shapes = {key: list(v.shape) for key, v in module.state_dict().items()}
  state = {key: torch.as_tensor(v) for key, v in weights(shapes).items()}
  module.load_state_dict(state, strict=True)
  args = [torch.as_tensor(x) for x in inputs(name)]
  found = {'shapes': np.array(json.dumps(shapes))}
  with torch.no_grad():
    found['eval'] = sample(module.eval()(*args).numpy())
    if any(key.endswith(STATISTICS) for key in shapes):
      found |= _in_training(module.train(), args)
  return found


def _in_training(module, args):
  """Output, running statistics and counts of one call."""
  import torch

  counts = {}

  def count(layer_name):
    def hook(layer, inputs):
      x = inputs[0]
      counts[layer_name] = x.numel() // x.shape[1]

    return hook

  for layer_name, layer in module.named_modules():
    if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
      layer.register_forward_pre_hook(count(layer_name))
  output = sample(module(*args).numpy())
  state = module.state_dict()
  names = sorted(key for key in state if key.endswith(STATISTICS))
  return {
    'train': output,
    'stats': np.concatenate([state[key].numpy() for key in names]),
    'counts': np.array([counts[key.rpartition('.')[0]] for key in names]),
  }


def load(model: str) -> dict[str, np.ndarray]:
  """The stored answers of all cases of an architecture."""
  with np.load(FOLDER / f'{model}.npz') as file:
    return dict(file)


def write() -> None:
  """Writes the files of all architectures."""
  for model in _models():
    np.savez_compressed(FOLDER / f'{model}.npz', **_recomputed(model))


def check() -> list[str]:
  """What the files have otherwise than PyTorch answers, as MODEL/CASE/KEY."""
  wrong = []
  for model in _models():
    stored = load(model) if (FOLDER / f'{model}.npz').exists() else {}
    found = _recomputed(model)
    for key in sorted({*stored, *found}):
      both = key in stored and key in found
      if not both or not _same(stored[key], found[key]):
        wrong.append(f'{model}/{key}')
  return wrong


def _models() -> list[str]:
  return sorted({case.model for case in CASES.values()})


def _recomputed(model: str) -> dict[str, np.ndarray]:
  arrays = {}
  for name, case in CASES.items():
    if case.model == model:
      found = answers(name)
      arrays |= {f'{name}/{key}': value for key, value in found.items()}
  return arrays


def _same(stored: np.ndarray, found: np.ndarray) -> bool:
  if stored.shape != found.shape:
    return False
  if stored.dtype.kind in 'US':
    return json.loads(str(stored)) == json.loads(str(found))
  return np.allclose(stored, found, rtol=1e-5, atol=1e-5)


def main(args: list[str]) -> None:
  if args not in ([], ['--check']):
    sys.exit(__doc__)
  if not args:
    write()
  elif wrong := check():
    sys.exit('\n'.join(['PyTorch answers otherwise:', *wrong]))


def _random(text: str) -> np.random.RandomState:
  # Its numbers, unlike default_rng's, never change between releases of numpy.
  return np.random.RandomState(zlib.crc32(text.encode()))


def _unit(vector: np.ndarray) -> np.ndarray:
  return vector / np.linalg.norm(vector)


if __name__ == '__main__':
  main(sys.argv[1:])
