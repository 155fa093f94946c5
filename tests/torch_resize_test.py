"""The two bilinear ways against the codes whose numbers they must give."""

import importlib.util
import pathlib

import numpy as np
import pytest

from gan_jax.metrics import resize

torch = pytest.importorskip('torch', reason='compares with PyTorch')

SIZES = [  # (H, W), size
  ((32, 32), 299),
  ((33, 57), 299),
  ((256, 256), 299),
  ((301, 511), 299),
  ((299, 640), 299),
  ((7, 5), 8),
  ((1, 1), 9),
  ((64, 63), 3),
]


def torch_fidelity_function():
  """Its file alone: the whole package wants a matching torchvision."""
  package = importlib.util.find_spec('torch_fidelity')
  if package is None:
    pytest.skip('compares with torch-fidelity')
  path = pathlib.Path(package.origin).with_name(
    'interpolate_compat_tensorflow.py'
  )
  spec = importlib.util.spec_from_file_location('like_tensorflow', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.interpolate_bilinear_2d_like_tensorflow1x


def images(height, width):
  rng = np.random.default_rng(height * 1000 + width)
  return rng.integers(0, 256, (2, height, width, 3)).astype(np.float32)


def in_torch(function, x):
  y = function(torch.tensor(x).permute(0, 3, 1, 2))
  return y.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(('old', 'size'), SIZES)
def test_tensorflow_is_torch_fidelitys(old, size):
  x, theirs = images(*old), torch_fidelity_function()
  expected = in_torch(
    lambda t: theirs(t, size=(size, size), align_corners=False), x
  )
  actual = resize.resize(x, size, 'tensorflow')
  np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.parametrize(('old', 'size'), SIZES)
def test_pytorch_is_interpolate(old, size):
  x = images(*old)
  expected = in_torch(
    lambda t: torch.nn.functional.interpolate(
      t, (size, size), mode='bilinear', align_corners=False
    ),
    x,
  )
  actual = resize.resize(x, size, 'pytorch')
  np.testing.assert_allclose(actual, expected, atol=1e-4)
