"""Bringing images to a feature net's size, exactly as the reference codes do.

A Frechet distance moves by points with the way of resizing, so each way is the
one of a published implementation, down to the rounding of its positions. All
are separable. Along an axis each new pixel is a weighted sum of a few old ones;
which ones and the weights follow from the two sizes alone and become constants.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Keys' cubic with a = -1/2, the one that is exact on parabolas.
CUBIC = -0.5


class Taps(NamedTuple):
  """How one axis is resized from n to m pixels, with up to K old for a new.

  Attributes:
    indices: which old pixels, int `[m, K]`.
    weights: theirs, float32 `[m, K]`; the sum over K is 1.
  """

  indices: np.ndarray
  weights: np.ndarray


def tensorflow_taps(old: int, new: int) -> Taps:
  """Bilinear, new pixel i at i * old / new: corners, not centres, are aligned.

  What TensorFlow 1 does, and with it the original FID and torch-fidelity.
  Positions are rounded to float32 there, which at 299 pixels shows in the
  fourth digit of the weights.
  """
  scale = np.float32(old / new)
  return _two_taps(np.arange(new, dtype=np.float32) * scale, old)


def pytorch_taps(old: int, new: int) -> Taps:
  """Bilinear with centres aligned and no antialiasing, as in pytorch-fid.

  PyTorch's `interpolate(mode='bilinear', align_corners=False)`. Images that
  shrink lose all but two pixels along each axis.
  """
  scale = np.float32(old) / np.float32(new)
  # The product is not rounded before the half is taken off (one fused
  # instruction there); float64 holds it exactly.
  centres = (np.arange(new) + 0.5) * np.float64(scale) - 0.5
  return _two_taps(np.maximum(centres, 0).astype(np.float32), old)


def clean_taps(old: int, new: int) -> Taps:
  """Bicubic, widened by the factor of reduction, as Pillow and clean-fid do.

  References:
    Parmar, Zhang & Zhu, On aliased resizing and surprising subtleties in GAN
    evaluation, 2022, section 3.1; Keys, Cubic convolution interpolation for
    digital image processing, 1981, eq. 15.
  """
  scale = old / new
  wider = max(scale, 1.0)
  centres = (np.arange(new) + 0.5) * scale
  first = np.maximum((centres - 2 * wider + 0.5).astype(int), 0)
  last = np.minimum((centres + 2 * wider + 0.5).astype(int), old)
  indices = first[:, None] + np.arange((last - first).max())
  weights = _cubic((indices + 0.5 - centres[:, None]) / wider)
  weights = np.where(indices < last[:, None], weights, 0.0)
  weights /= weights.sum(axis=1, keepdims=True)
  return Taps(np.minimum(indices, old - 1), weights.astype(np.float32))


METHODS = {
  'tensorflow': tensorflow_taps,
  'clean': clean_taps,
  'pytorch': pytorch_taps,
}


def resize(images: jax.Array, size: int, method: str) -> jax.Array:
  """Images at `size` by `size` pixels; those that have it come back as given.

  Args:
    images: `[N, H, W, C]` on the scale 0 to 255.
    size: height and width of the result.
    method: a name of `METHODS`. 'clean' overshoots at edges, and what leaves
      the scale is cut off, as clean-fid does.

  Returns:
    `[N, size, size, C]`, float32, not rounded to whole numbers.

  Raises:
    ValueError: unknown method, size below 1, or images of another rank or of no
      pixels.
  """
  check_method(method)
  if images.ndim != 4 or math.prod(images.shape[1:3]) < 1 or size < 1:
    raise ValueError(
      'resize takes images [N, H, W, C] with pixels and a size of at least 1, '
      f'got shape {images.shape} and size={size}.'
    )
  x = jnp.asarray(images, jnp.float32)
  if x.shape[1:3] == (size, size):
    return x
  for axis in (1, 2):
    if x.shape[axis] != size:
      x = _apply(x, METHODS[method](x.shape[axis], size), axis)
  return jnp.clip(x, 0, 255) if method == 'clean' else x


def check_method(method: str) -> None:
  """ValueError, with the names there are, if `method` is none of them."""
  if method not in METHODS:
    raise ValueError(f'resize={method!r} is not one of {sorted(METHODS)}.')


def _apply(x: jax.Array, taps: Taps, axis: int) -> jax.Array:
  """Sum over k of weight k times the pixels of index k, along an axis.

  Gathers are faster on CPU than products with the dense matrix, which is nearly
  all zeros, and lose no digits to reduced matrix precision on accelerators.
  """
  shape = [1] * x.ndim
  shape[axis] = -1
  total = jnp.zeros((), x.dtype)
  for indices, weights in zip(taps.indices.T, taps.weights.T, strict=True):
    pixels = jnp.take(x, indices, axis=axis, mode='clip')
    total = total + pixels * weights.reshape(shape)
  return total


def _two_taps(positions: np.ndarray, old: int) -> Taps:
  """The pixels on both sides of float32 `positions`; the last has no next."""
  low = positions.astype(int)
  high = np.minimum(low + 1, old - 1)
  share = positions - low.astype(np.float32)
  weights = np.stack([1 - share, share], axis=1)
  return Taps(np.stack([low, high], axis=1), weights)


def _cubic(x: np.ndarray) -> np.ndarray:
  x = np.abs(x)
  near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
  far = CUBIC * (((x - 5) * x + 8) * x - 4)
  return np.where(x < 1, near, np.where(x < 2, far, 0.0))
