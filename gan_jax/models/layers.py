"""Dense and convolution layers that start as PyTorch's do.

The published networks were trained from PyTorch's default initialization,
uniform within 1/sqrt(fan-in) for weights and biases, which Flax's own layers do
not offer for biases. Every layer takes an optional spectral normalization, see
`spectral.py`. Images are `[B, H, W, C]`, kernels `[k, k, in, out]`.

Computation happens in the widest type among input and parameters, or in the
layer's `dtype`; parameters stay as they are, and are cast where they are used.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import dtypes

from gan_jax.models import convolution, spectral

Initializer = nn.initializers.Initializer

# A uniform distribution within b has variance b^2 / 3.
torch_kernel_init = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')
# PyTorch stores (in, out, k, k) and calls the second axis the input, so the fan
# of a transposed convolution is out * k * k.
torch_transpose_kernel_init = nn.initializers.variance_scaling(
  1 / 3, 'fan_in', 'uniform', in_axis=-1, out_axis=-2
)


class Dense(nn.Module):
  """Affine map of the last axis, `[..., in]` to `[..., features]`."""

  features: int
  use_bias: bool = True
  spectral_norm: bool = False
  kernel_init: Initializer = torch_kernel_init
  bias_init: Initializer | None = None  # PyTorch's
  dtype: Any = None  # of the computation

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (x.shape[-1], self.features)
    x, kernel, bias = _operands(self, x, shape, shape[0], self.bias_init)
    return _add_bias(x @ kernel, bias)


class Conv(nn.Module):
  """Square convolution, `[B, H, W, in]` to `[B, H', W', features]`.

  H' = (H + 2 padding - kernel) / stride + 1, rounded down.
  """

  features: int
  kernel: int = 3
  stride: int = 1
  padding: int = 1
  use_bias: bool = True
  spectral_norm: bool = False
  kernel_init: Initializer = torch_kernel_init
  dtype: Any = None  # of the computation

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (self.kernel, self.kernel, x.shape[-1], self.features)
    x, kernel, bias = _operands(self, x, shape, fan=math.prod(shape[:-1]))
    y = convolution.conv(x, kernel, stride=self.stride, padding=self.padding)
    return _add_bias(y, bias)


class ConvTranspose(nn.Module):
  """Doubles an image, `[B, H, W, in]` to `[B, 2H, 2W, features]`.

  PyTorch's ConvTranspose2d with kernel 4, stride 2, padding 1. Its weight `w`,
  `[in, out, 4, 4]`, is our kernel `w[:, :, ::-1, ::-1]` with the axes moved to
  `[4, 4, in, out]`, which is also what `nn.ConvTranspose` stores.
  """

  features: int
  use_bias: bool = True
  spectral_norm: bool = False
  kernel_init: Initializer = torch_transpose_kernel_init
  dtype: Any = None  # of the computation

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (4, 4, x.shape[-1], self.features)
    x, kernel, bias = _operands(self, x, shape, fan=16 * self.features)
    return _add_bias(convolution.conv_transpose(x, kernel), bias)


def batch_norm(x: jax.Array, *, train: bool, axis_name: str | None, name: str):
  """Batch normalization over all axes but the last, as PyTorch sets it.

  Running statistics move by a tenth in training. Unlike PyTorch's, the running
  variance is that of the batch itself, without Bessel's n / (n - 1).

  Args:
    x: activations, `[B, ..., C]`.
    train: whether the batch's own statistics are used, and averaged over
      `axis_name`; otherwise the running ones.
    axis_name: mapped axis of the devices that share a batch, if any.
    name: name of the layer in `params` and `batch_stats`.

  Returns:
    Normalized activations, shaped like x. Called within a compact method.
  """
  norm = nn.BatchNorm(
    use_running_average=not train,
    momentum=0.9,
    epsilon=1e-5,
    axis_name=axis_name,
    # E[x^2] - E[x]^2 loses the variance where the mean is much larger.
    use_fast_variance=False,
    name=name,
  )
  return norm(x)


def _operands(
  layer: Any,
  x: jax.Array,
  shape: tuple[int, ...],
  fan: int,
  bias_init: Initializer | None = None,
):
  """Input, kernel (normalized if so wished) and bias, all of one type."""
  kernel = layer.param('kernel', layer.kernel_init, shape, jnp.float32)
  bias = None
  if layer.use_bias:
    init = bias_init or uniform_within(1 / math.sqrt(fan))
    bias = layer.param('bias', init, shape[-1:], jnp.float32)
  if layer.spectral_norm:
    init_u = lambda: spectral.initial_u(layer.make_rng('params'), kernel)
    kernel = spectral.normalize(
      kernel, layer.variable('spectral', 'u', init_u).value
    )
  return dtypes.promote_dtype(x, kernel, bias, dtype=layer.dtype)


def uniform_within(bound: float) -> Initializer:
  """Initializer that draws uniformly from -bound to bound."""
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
    key, shape, dtype, -bound, bound
  )


def _add_bias(x, bias):
  return x if bias is None else x + bias.reshape((1,) * (x.ndim - 1) + (-1,))
