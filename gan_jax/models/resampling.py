"""Twice and half the image size, by sums that are cheap to differentiate.

Made of slices, stacks and reshapes only: the gradients of window reductions
and of general resizing are slow in XLA's CPU compiler. Images are
`[B, H, W, C]`.
"""

import jax
import jax.numpy as jnp


def upsample_bilinear(x: jax.Array) -> jax.Array:
  """Doubles an image with linear weights, `[B, H, W, C]` to `[B, 2H, 2W, C]`.

  Pixels are squares: an output pixel lies a quarter of an input pixel away
  from the nearest centre, and beyond the outermost centres the image goes on
  as it is. PyTorch's bilinear `interpolate` with `align_corners=False`.
  """
  return _double_linear(_double_linear(x, axis=1), axis=2)


def upsample_nearest(x: jax.Array) -> jax.Array:
  """Doubles an image by repeating, `[B, H, W, C]` to `[B, 2H, 2W, C]`."""
  batch, height, width, channels = x.shape
  y = jnp.broadcast_to(
    x[:, :, None, :, None], (batch, height, 2, width, 2, channels)
  )
  return y.reshape(batch, 2 * height, 2 * width, channels)


def mean_pool(x: jax.Array) -> jax.Array:
  """Means over 2x2 pixels, `[B, H, W, C]` to `[B, H // 2, W // 2, C]`.

  The last row or column of an odd number is left out, as in PyTorch.
  """
  batch, height, width, channels = x.shape
  height, width = height // 2, width // 2
  x = x[:, : 2 * height, : 2 * width]
  x = x.reshape(batch, height, 2, width, 2, channels)
  return jnp.mean(x, axis=(2, 4))


def mean_pool_3x3(x: jax.Array) -> jax.Array:
  """Means of 3x3 pixels around every second, `[B, 2H, 2W, C]` to half of it.

  PyTorch's kernel 3, stride 2, padding 1. The padding counts as zeros: sums are
  divided by nine everywhere.
  """
  for axis in (1, 2):
    even = jax.lax.slice_in_dim(x, 0, None, 2, axis)
    odd = jax.lax.slice_in_dim(x, 1, None, 2, axis)
    # Row m covers 2m - 1, 2m and 2m + 1; only the first can lie outside.
    padding = [(int(i == axis), 0) for i in range(4)]
    before = jnp.pad(jax.lax.slice_in_dim(odd, 0, -1, axis=axis), padding)
    x = before + even + odd
  return x / 9


def _double_linear(x, axis):
  size = x.shape[axis]
  part = lambda *limits: jax.lax.slice_in_dim(x, *limits, axis=axis)
  left, right = part(0, size - 1), part(1, size)
  # Two outputs between each pair of neighbours, one at either end.
  between = jnp.stack(
    [0.75 * left + 0.25 * right, 0.25 * left + 0.75 * right], axis=axis + 1
  )
  shape = (*x.shape[:axis], 2 * (size - 1), *x.shape[axis + 1 :])
  ends = part(0, 1), part(size - 1, size)
  return jnp.concatenate([ends[0], between.reshape(shape), ends[1]], axis=axis)
