"""Resizing: small images by hand, Pillow's bicubic pixel by pixel.

`torch_resize_test.py` compares the other two with the codes that they copy.
"""

import jax
import numpy as np
import pytest
from PIL import Image

from gan_jax.metrics import resize

SIZES = {  # (H, W) -> size
  'up': ((32, 32), 299),
  'up, odd, wide': ((21, 57), 96),
  'down, odd, tall': ((101, 64), 31),
  'one axis down, one up': ((96, 20), 33),
  'one axis as it is': ((33, 20), 33),
}


def images(height, width, channels=3):
  rng = np.random.default_rng(height * 1000 + width)
  return rng.integers(0, 256, (2, height, width, channels)).astype(np.float32)


def row(values, size, method):
  """A horizontal profile, resized; all rows of the image are the same."""
  x = np.tile(np.float32(values), (len(values), 1))[None, :, :, None]
  actual = np.asarray(jax.jit(lambda x: resize.resize(x, size, method))(x))
  assert actual.shape == (1, size, size, 1)
  every_row = np.broadcast_to(actual[:, :1], actual.shape)
  np.testing.assert_allclose(actual, every_row, rtol=1e-6)
  return actual[0, 0, :, 0]


@pytest.mark.parametrize(
  ('method', 'values', 'expected'),
  [
    # Old positions 0, 1/2, 1 and 3/2; there is nothing behind the last pixel.
    ('tensorflow', [0, 10], [0, 5, 10, 10]),
    ('tensorflow', [0, 10, 20, 200], [0, 20]),
    # Old positions -1/4, 1/4, 3/4 and 5/4.
    ('pytorch', [0, 10], [0, 2.5, 7.5, 10]),
    ('pytorch', [0, 10, 20, 200], [5, 110]),
    # Every third pixel alone: positions 1 and 4.
    ('pytorch', [9, 0, 9, 9, 8, 9], [0, 8]),
  ],
)
def test_bilinear_by_hand(method, values, expected):
  actual = row(values, len(expected), method)
  np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_clean_by_hand():
  # Position 5/4 from the left edge of [0, 0, 100, 100]: with t = 1/4 Keys'
  # weights of the four pixels are -9/128, 111/128, 29/128 and -3/128.
  x = [0, 0, 100, 100]
  np.testing.assert_allclose(row(x, 8, 'clean')[3], 100 * 26 / 128, rtol=1e-6)


@pytest.mark.parametrize(('old', 'size'), SIZES.values(), ids=SIZES.keys())
def test_clean_is_pillow(old, size):
  x = images(*old)
  expected = np.empty((len(x), size, size, 3))
  for n, c in np.ndindex(len(x), 3):
    picture = Image.fromarray(x[n, :, :, c])
    assert picture.mode == 'F'
    resized = picture.resize((size, size), Image.Resampling.BICUBIC)
    expected[n, :, :, c] = np.clip(np.asarray(resized), 0, 255)
  actual = jax.jit(lambda x: resize.resize(x, size, 'clean'))(x)
  np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_clean_stays_on_the_scale():
  profile = np.repeat([0.0, 255.0], 8)
  actual = row(profile, 37, 'clean')
  assert actual.min() == 0 and actual.max() == 255


@pytest.mark.parametrize('method', resize.METHODS)
def test_images_of_the_size_come_back_as_they_are(method):
  x = images(9, 9)
  np.testing.assert_array_equal(resize.resize(x, 9, method), x)


@pytest.mark.parametrize('method', resize.METHODS)
def test_a_plain_tone_keeps_its_value(method):
  x = np.full((1, 1, 40, 1), 77, np.float32)
  actual = jax.jit(lambda x: resize.resize(x, 17, method))(x)
  np.testing.assert_allclose(actual, np.full((1, 17, 17, 1), 77), rtol=1e-6)


@pytest.mark.parametrize('method', resize.METHODS)
def test_axes_images_and_channels_are_alike_and_independent(method):
  x = images(12, 31)
  resized = jax.jit(lambda x: resize.resize(x, 20, method))
  actual = np.asarray(resized(x))
  turned = resized(x.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
  np.testing.assert_allclose(turned, actual, atol=1e-4)
  alone = resized(x[1:, :, :, 2:])
  np.testing.assert_allclose(alone, actual[1:, :, :, 2:], atol=1e-4)


def test_under_jit_and_from_bytes():
  x = images(8, 11)
  resized = jax.jit(lambda x: resize.resize(x, 10, 'pytorch'))
  actual = resized(x.astype(np.uint8))
  assert actual.dtype == np.float32
  expected = resize.resize(x, 10, 'pytorch')
  np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_unknown_method():
  with pytest.raises(ValueError, match=r"resize='bicubic' is not one of \['cl"):
    resize.resize(images(4, 4), 8, 'bicubic')


@pytest.mark.parametrize(
  ('shape', 'size'), [((4, 4, 3), 8), ((1, 0, 4, 3), 8), ((1, 4, 4, 3), 0)]
)
def test_bad_images_and_sizes(shape, size):
  with pytest.raises(ValueError, match=r'resize takes images .* got shape'):
    resize.resize(np.zeros(shape, np.float32), size, 'clean')
