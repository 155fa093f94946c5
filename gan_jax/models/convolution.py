"""Convolutions in the form that each platform is fast at.

On CPU a convolution and its gradients are primitives of our own, and a
transposed convolution is the input gradient of another; see
`conv_primitives.py`. A depthwise one is a sum of products. Elsewhere JAX's own
convolutions are used, and on CPU too where `jax.shard_map` checks what varies
over devices, as it does by default: gradients are right there, but slower.
"""

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.models import conv_primitives
from gan_jax.models.conv_primitives import Geometry, Pairs

Padding = int | Pairs


def conv(
  x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: Padding = 0
) -> jax.Array:
  """Convolution, in the form that the backend is fast at.

  Args:
    x: images, `[B, H, W, in]`.
    kernel: `[kh, kw, in, out]`, of the same type.
    stride: of both axes.
    padding: zeros on all sides, or ((top, bottom), (left, right)).

  Returns:
    `[B, H', W', out]`, H' = (H + top + bottom - kh) / stride + 1 rounded down.

  Raises:
    ValueError: ranks, channels or types do not fit, or no output is left.
  """
  geometry = _geometry('conv', x, kernel, stride, padding)
  form = conv_by_primitives if _has_own_form(x, kernel) else conv_by_lax
  return form(x, kernel, geometry)


def conv_transpose(
  x: jax.Array, kernel: jax.Array, *, stride: int = 2, padding: int = 1
) -> jax.Array:
  """Transposed convolution, in the form that the backend is fast at.

  PyTorch's ConvTranspose2d; its weight `w`, `[in, out, k, k]`, is our kernel
  `w[:, :, ::-1, ::-1]` with the axes moved to `[k, k, in, out]`.

  Args:
    x: images, `[B, H, W, in]`.
    kernel: `[kh, kw, in, out]`, of the same type.
    stride: of both axes.
    padding: rows and columns cut off at each side.

  Returns:
    `[B, H', W', out]`, H' = (H - 1) stride + kh - 2 padding.

  Raises:
    ValueError: ranks, channels or types do not fit, or no output is left.
  """
  _check_operands('conv_transpose', x, kernel, kernel_in=2)
  window = kernel.shape[:2]
  image = tuple(
    (n - 1) * stride + size - 2 * padding
    for n, size in zip(x.shape[1:3], window, strict=True)
  )
  geometry = Geometry((stride,) * 2, _pairs(padding), image, window)
  _check_geometry('conv_transpose', geometry)
  if _has_own_form(x, kernel):
    return conv_transpose_by_primitives(x, kernel, geometry)
  return conv_transpose_by_lax(x, kernel, geometry)


def depthwise_conv(
  x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: Padding = 0
) -> jax.Array:
  """Convolution of each channel by itself, in the backend's fast form.

  Args:
    x: images, `[B, H, W, C]`.
    kernel: `[kh, kw, 1, C]`, of the same type.
    stride: of both axes.
    padding: zeros on all sides, or ((top, bottom), (left, right)).

  Returns:
    `[B, H', W', C]`, sizes as in `conv`.

  Raises:
    ValueError: ranks, channels or types do not fit, or no output is left.
  """
  if kernel.ndim == 4 and kernel.shape[2] != 1:
    raise ValueError(
      f'depthwise_conv takes a kernel [kh, kw, 1, C], got {kernel.shape}.'
    )
  geometry = _geometry(
    'depthwise_conv', x, kernel, stride, padding, kernel_in=3
  )
  form = depthwise_by_products if _on_cpu() else depthwise_by_lax
  return form(x, kernel, geometry)


def same_padding(image: tuple[int, int], kernel: int, stride: int) -> Pairs:
  """TensorFlow's SAME for images `[H, W]`: H' = H / stride rounded up."""
  totals = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in image]
  return tuple((total // 2, total - total // 2) for total in totals)


def conv_by_lax(
  x: jax.Array, kernel: jax.Array, geometry: Geometry
) -> jax.Array:
  """`conv` as JAX writes it and its gradients."""
  return conv_primitives.plain(x, kernel, geometry.strides, geometry.padding)


def conv_by_primitives(
  x: jax.Array, kernel: jax.Array, geometry: Geometry
) -> jax.Array:
  """`conv` with gradients that are fast on CPU, inside loops as well."""
  return conv_primitives.forward_p.bind(x, kernel, geometry=geometry)


def conv_transpose_by_lax(
  x: jax.Array, kernel: jax.Array, geometry: Geometry
) -> jax.Array:
  """`conv_transpose` as a convolution of the input spread out with zeros."""
  pads = [
    (size - 1 - low, size - 1 - high)
    for size, (low, high) in zip(geometry.window, geometry.padding, strict=True)
  ]
  return lax.conv_transpose(
    x,
    kernel,
    geometry.strides,
    pads,
    dimension_numbers=conv_primitives.DIMENSIONS,
  )


def conv_transpose_by_primitives(
  x: jax.Array, kernel: jax.Array, geometry: Geometry
) -> jax.Array:
  """`conv_transpose` as the input gradient of a convolution."""
  return conv_primitives.input_gradient_p.bind(
    x, conv_primitives.turned(kernel), geometry=geometry
  )


def depthwise_by_lax(
  x: jax.Array, kernel: jax.Array, geometry: Geometry
) -> jax.Array:
  """`depthwise_conv` as a grouped convolution."""
  return lax.conv_general_dilated(
    x,
    kernel,
    geometry.strides,
    geometry.padding,
    dimension_numbers=conv_primitives.DIMENSIONS,
    feature_group_count=x.shape[-1],
  )


def depthwise_by_products(
  x: jax.Array, kernel: jax.Array, geometry: Geometry
) -> jax.Array:
  """`depthwise_conv` as kh * kw shifted products, summed."""
  x = jnp.pad(x, ((0, 0), *geometry.padding, (0, 0)))
  height, width = conv_primitives.output_size(geometry)
  down, across = geometry.strides
  total = 0
  for i in range(geometry.window[0]):
    for j in range(geometry.window[1]):
      rows = slice(i, i + (height - 1) * down + 1, down)
      columns = slice(j, j + (width - 1) * across + 1, across)
      total += x[:, rows, columns] * kernel[i, j].reshape(1, 1, 1, -1)
  return total


def _on_cpu():
  return jax.default_backend() == 'cpu'


def _has_own_form(*operands):
  return _on_cpu() and not any(map(_varies, operands))


def _varies(x):
  """Whether the type of x says that it is not the same on all devices.

  The gradient of a kernel that is the same on all must be summed over them.
  JAX's operations do so by their operands' types, which ours have no part in.
  """
  kind = jax.typeof(x)
  if hasattr(kind, 'mat'):  # the name in jax 0.10
    return not kind.mat.empty
  # Other releases: the axes, or whether there may be any.
  anywhere = jax.sharding.get_abstract_mesh().manual_axes
  return bool(getattr(kind, 'vma', anywhere))


def _geometry(name, x, kernel, stride, padding, kernel_in=2):
  _check_operands(name, x, kernel, kernel_in)
  geometry = Geometry(
    (stride, stride), _pairs(padding), x.shape[1:3], kernel.shape[:2]
  )
  _check_geometry(name, geometry)
  return geometry


def _pairs(padding):
  if isinstance(padding, int):
    return ((padding, padding), (padding, padding))
  return tuple((int(low), int(high)) for low, high in padding)


def _check_operands(name, x, kernel, kernel_in):
  """Ranks, channels (on axis `kernel_in` of the kernel) and types."""
  if x.ndim != 4 or kernel.ndim != 4:
    raise ValueError(
      f'{name} takes images [B, H, W, C] and a kernel of rank 4, got shapes '
      f'{x.shape} and {kernel.shape}.'
    )
  if x.shape[3] != kernel.shape[kernel_in]:
    raise ValueError(
      f'{name}: images of shape {x.shape} have {x.shape[3]} channels, but the '
      f'kernel of shape {kernel.shape} takes {kernel.shape[kernel_in]}.'
    )
  if x.dtype != kernel.dtype:
    raise ValueError(
      f'{name}: images are {x.dtype}, the kernel is {kernel.dtype}; they must '
      'be of one type.'
    )


def _check_geometry(name, geometry):
  """Strides and padding, and that some output is left."""
  if min(geometry.strides) < 1:
    raise ValueError(f'{name}: stride={geometry.strides[0]} is less than 1.')
  if min(min(pads) for pads in geometry.padding) < 0:
    raise ValueError(f'{name}: padding={geometry.padding} is negative.')
  if min(conv_primitives.output_size(geometry)) < 1 or min(geometry.image) < 1:
    raise ValueError(
      f'{name}: nothing is left of images of {geometry.image} under a kernel '
      f'of {geometry.window} with padding {geometry.padding}.'
    )
