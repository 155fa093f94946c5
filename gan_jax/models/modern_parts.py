"""Parts of the modern pair: convolutions, its two 4x4 maps, its resampling.

Weights start from N(0, gain^2 / fan-in) and biases from zero. All parts compute
in the type of their input, whatever that of their parameters. Images are
`[B, H, W, C]`, kernels `[k, k, in / groups, out]`.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.models import conv_primitives, convolution

# Channels of as many groups as are convolved together on CPU, see below.
_TOGETHER = 32


def scaled_normal(gain: float, fan_in: int) -> nn.initializers.Initializer:
  """Initializer that draws from N(0, gain^2 / fan_in)."""
  if gain == 0:
    return nn.initializers.zeros
  return nn.initializers.normal(gain / math.sqrt(fan_in))


class Conv(nn.Module):
  """Square convolution that keeps the image's size.

  Attributes:
    features: channels of the output.
    kernel: size of the window, odd.
    groups: into which both input and output channels fall.
    gain: of the initial weights.
    use_bias: whether a bias is added.
  """

  features: int
  kernel: int = 1
  groups: int = 1
  gain: float = 1.0
  use_bias: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (self.kernel,) * 2 + (x.shape[-1] // self.groups, self.features)
    init = scaled_normal(self.gain, math.prod(shape[:3]))
    kernel = self.param('kernel', init, shape, jnp.float32).astype(x.dtype)
    if self.kernel == 1 and self.groups == 1:
      x = x @ kernel[0, 0]
    else:
      x = grouped_conv(x, kernel, self.groups)
    if not self.use_bias:
      return x
    bias = self.param('bias', nn.initializers.zeros, shape[3:], jnp.float32)
    return x + bias.astype(x.dtype).reshape(1, 1, 1, -1)


class Basis(nn.Module):
  """Learned 4x4 maps, each times its feature: `[B, C]` to `[B, 4, 4, C]`."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (4, 4, x.shape[-1])
    kernel = self.param('kernel', nn.initializers.normal(1.0), shape)
    return x[:, None, None] * kernel[None].astype(x.dtype)


class Weighing(nn.Module):
  """Learned weighted sums of 4x4 maps, `[B, 4, 4, C]` to `[B, C]`."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (4, 4, 1, x.shape[-1])
    kernel = self.param('kernel', scaled_normal(1.0, 16), shape, jnp.float32)
    return jnp.sum(x * kernel.astype(x.dtype)[None, :, :, 0], axis=(1, 2))


def grouped_conv(x: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
  """Convolution of each group of channels by itself, image size kept.

  XLA's CPU compiler has no fast kernel for gradients of grouped convolutions.
  There a few groups at a time are one convolution with a kernel that is zero
  between them, as fast as few channels get: 40 to 60 times faster than JAX's
  own gradients at 128 channels in groups of 16.

  Args:
    x: images, `[B, H, W, in]`.
    kernel: `[k, k, in / groups, out]`, k odd.
    groups: of both the input and the output channels.

  Returns:
    `[B, H, W, out]`.
  """
  padding = kernel.shape[0] // 2
  if jax.default_backend() != 'cpu':
    return lax.conv_general_dilated(
      x,
      kernel,
      (1, 1),
      [(padding, padding)] * 2,
      dimension_numbers=conv_primitives.DIMENSIONS,
      feature_group_count=groups,
    )
  inputs, outputs = kernel.shape[2], kernel.shape[3] // groups
  several = max(1, _TOGETHER // inputs)
  parts = []
  for first in range(0, groups, several):
    last = min(first + several, groups)
    part = kernel[..., first * outputs : last * outputs]
    parts.append(
      convolution.conv(
        x[..., first * inputs : last * inputs],
        _block_diagonal(part, last - first),
        padding=padding,
      )
    )
  return jnp.concatenate(parts, axis=-1)


def _block_diagonal(kernel, groups):
  """`[k, k, in / groups, out]` to `[k, k, in, out]`, zero between groups."""
  side, _, inputs, outputs = kernel.shape
  kernel = kernel.reshape(side, side, 1, inputs, groups, outputs // groups)
  same = jnp.eye(groups, dtype=kernel.dtype).reshape(1, 1, groups, 1, groups, 1)
  return (kernel * same).reshape(side, side, groups * inputs, outputs)


def upsample(x: jax.Array) -> jax.Array:
  """Doubles an image with the filter (1, 3, 3, 1), zeros all around it.

  Away from the border it is linear interpolation. The filter is that of the
  weights (1, 2, 1) on pixels that are repeated.
  """
  return _double(_double(x, axis=1), axis=2)


def downsample(x: jax.Array) -> jax.Array:
  """Halves an image of even size with the filter (1, 3, 3, 1) / 8."""
  return _halve(_halve(x, axis=1), axis=2)


def _double(x, axis):
  before, after = _neighbours(x, axis)
  pairs = [0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after]
  shape = (*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])
  return jnp.stack(pairs, axis=axis + 1).reshape(shape)


def _halve(x, axis):
  shape = (*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
  pairs = x.reshape(shape)
  even, odd = (lax.index_in_dim(pairs, i, axis + 1, False) for i in (0, 1))
  before, after = _neighbours(odd, axis)[0], _neighbours(even, axis)[1]
  return 0.375 * (even + odd) + 0.125 * (before + after)


def _neighbours(x, axis):
  """What comes before and after each entry; zeros beyond the ends."""
  size = x.shape[axis]
  pad = lambda *widths: [widths if i == axis else (0, 0) for i in range(x.ndim)]
  before = jnp.pad(lax.slice_in_dim(x, 0, size - 1, axis=axis), pad(1, 0))
  after = jnp.pad(lax.slice_in_dim(x, 1, size, axis=axis), pad(0, 1))
  return before, after
