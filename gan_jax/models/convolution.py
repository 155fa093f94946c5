"""Convolutions in the form that each platform is fast at.

XLA's CPU compiler brings convolutions into the form of its fast kernel (images
`[B, H, W, C]`, kernels `[kh, kw, in, out]`) only outside of loops and branches.
The gradients that JAX derives of a convolution are not in that form, and run 5
to 80 times slower inside `scan`, `while_loop` and `cond`. So on CPU a
convolution and its two gradients are three primitives of our own, each written
in that form. All three are bilinear and each is a transpose of the others,

  forward          F(x, k) -> y    <y', F(x, k)>
  input gradient   X(y', k) -> x'  = <X(y', k), x>
  kernel gradient  W(x, y') -> k'  = <W(x, y'), k>,

which is all that JAX needs to know for derivatives of any order, forward and
backward. A transposed convolution is X itself. Elsewhere JAX's own convolutions
are used.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core
from jax.interpreters import ad, batching, mlir

Pairs = tuple[tuple[int, int], tuple[int, int]]
Padding = int | Pairs

_DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


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
  form = conv_by_primitives if _on_cpu() else conv_by_lax
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
  form = conv_transpose_by_primitives if _on_cpu() else conv_transpose_by_lax
  return form(x, kernel, geometry)


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


class Geometry(NamedTuple):
  """What is static in a convolution.

  Attributes:
    strides: of rows and columns.
    padding: ((top, bottom), (left, right)).
    image: height and width of the images.
    window: height and width of the kernel.
  """

  strides: tuple[int, int]
  padding: Pairs
  image: tuple[int, int]
  window: tuple[int, int]


def conv_by_lax(
  x: jax.Array, kernel: jax.Array, geometry: Geometry
) -> jax.Array:
  """`conv` as JAX writes it and its gradients."""
  return _plain(x, kernel, geometry.strides, geometry.padding)


def conv_by_primitives(
  x: jax.Array, kernel: jax.Array, geometry: Geometry
) -> jax.Array:
  """`conv` with gradients that are fast on CPU, inside loops as well."""
  return _forward_p.bind(x, kernel, geometry=geometry)


def conv_transpose_by_lax(
  x: jax.Array, kernel: jax.Array, geometry: Geometry
) -> jax.Array:
  """`conv_transpose` as a convolution of the input spread out with zeros."""
  pads = [
    (size - 1 - low, size - 1 - high)
    for size, (low, high) in zip(geometry.window, geometry.padding, strict=True)
  ]
  return lax.conv_transpose(
    x, kernel, geometry.strides, pads, dimension_numbers=_DIMENSIONS
  )


def conv_transpose_by_primitives(
  x: jax.Array, kernel: jax.Array, geometry: Geometry
) -> jax.Array:
  """`conv_transpose` as the input gradient of a convolution."""
  return _input_gradient_p.bind(x, _turned(kernel), geometry=geometry)


def depthwise_by_lax(
  x: jax.Array, kernel: jax.Array, geometry: Geometry
) -> jax.Array:
  """`depthwise_conv` as a grouped convolution."""
  return lax.conv_general_dilated(
    x,
    kernel,
    geometry.strides,
    geometry.padding,
    dimension_numbers=_DIMENSIONS,
    feature_group_count=x.shape[-1],
  )


def depthwise_by_products(
  x: jax.Array, kernel: jax.Array, geometry: Geometry
) -> jax.Array:
  """`depthwise_conv` as kh * kw shifted products, summed."""
  x = jnp.pad(x, ((0, 0), *geometry.padding, (0, 0)))
  height, width = _output_size(geometry)
  down, across = geometry.strides
  total = 0
  for i in range(geometry.window[0]):
    for j in range(geometry.window[1]):
      rows = slice(i, i + (height - 1) * down + 1, down)
      columns = slice(j, j + (width - 1) * across + 1, across)
      total += x[:, rows, columns] * kernel[i, j].reshape(1, 1, 1, -1)
  return total


def _forward(x, kernel, geometry):
  return _plain(x, kernel, geometry.strides, geometry.padding)


def _input_gradient(dy, kernel, geometry):
  """One convolution per residue of the image's rows and columns.

  Rows of one residue modulo the stride meet only every stride-th kernel row, so
  that no zeros are multiplied. The parts are interleaved afterwards.
  """
  kernel = _turned(kernel)
  strides = geometry.strides
  rows = []
  for a in range(strides[0]):
    top, pad_rows = _residue(geometry, 0, a)
    columns = []
    for b in range(strides[1]):
      left, pad_columns = _residue(geometry, 1, b)
      part = kernel[top :: strides[0], left :: strides[1]]
      columns.append(_part(dy, part, (pad_rows, pad_columns)))
    rows.append(jnp.stack(columns, axis=3))  # [B, H / s, W / s, s, C]
  dx = jnp.stack(rows, axis=2)  # [B, H / s, s, W / s, s, C]
  batch, height, _, width, _, channels = dx.shape
  dx = dx.reshape(batch, height * strides[0], width * strides[1], channels)
  return dx[:, : geometry.image[0], : geometry.image[1]]


def _residue(geometry, axis, residue):
  """First turned-kernel row, and padding, of image rows = residue mod stride.

  Image row i meets kernel row k at output row (i + low - k) / stride, so k has
  the residue of i + low. In the turned kernel row k is row K - 1 - k.
  """
  stride, size = geometry.strides[axis], geometry.window[axis]
  low, image = geometry.padding[axis][0], geometry.image[axis]
  first = (residue + low) % stride
  taps = -(-(size - first) // stride)
  count = -(-image // stride)
  before = taps - 1 - (residue + low - first) // stride
  after = count - _output_size(geometry)[axis] - before + taps - 1
  return (size - 1 - first) % stride, (before, after)


def _part(dy, kernel, padding):
  if kernel.size:
    return _plain(dy, kernel, (1, 1), padding)
  # The stride exceeds the kernel: no output meets these rows and columns.
  size = [
    n + sum(pads) - taps + 1
    for n, pads, taps in zip(dy.shape[1:3], padding, kernel.shape, strict=False)
  ]
  return jnp.zeros((dy.shape[0], *size, kernel.shape[3]), dy.dtype)


def _kernel_gradient(x, dy, geometry):
  """A convolution with the channels as batch and the batch as channels."""
  sizes = zip(
    geometry.image,
    geometry.window,
    geometry.padding,
    dy.shape[1:3],
    strict=True,
  )
  if geometry.strides == (1, 1) and 4 * dy.shape[3] <= x.shape[3]:
    # The fast kernel copies a window per output; dy has fewer of them. What it
    # slides over x comes out turned.
    pads = [(k - 1 - low, n - m + low) for n, k, (low, _), m in sizes]
    turned = _plain(_batch_last(dy), _batch_inside(x), (1, 1), pads)
    return jnp.flip(turned, (1, 2)).transpose(1, 2, 3, 0)
  pads = [
    (low, (m - 1) * stride + k - n - low)
    for stride, (n, k, (low, _), m) in zip(geometry.strides, sizes, strict=True)
  ]
  dk = _plain(_batch_last(x), _batch_inside(dy), (1, 1), pads, geometry.strides)
  return dk.transpose(1, 2, 0, 3)


def _batch_last(x):
  return x.transpose(3, 1, 2, 0)


def _batch_inside(x):
  return x.transpose(1, 2, 0, 3)


def _turned(kernel):
  """By half a turn, with input and output channels exchanged."""
  return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def _plain(x, kernel, strides, padding, dilation=(1, 1)):
  """A convolution in the form that XLA's CPU compiler has a fast kernel for."""
  # Which has no negative padding.
  cut = [(min(low, 0), min(high, 0), 0) for low, high in padding]
  if any(low or high for low, high, _ in cut):
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *cut, (0, 0, 0)])
  return lax.conv_general_dilated(
    x,
    kernel,
    strides,
    [(max(low, 0), max(high, 0)) for low, high in padding],
    rhs_dilation=dilation,
    dimension_numbers=_DIMENSIONS,
  )


def _primitive(
  name: str,
  function: Callable[..., jax.Array],
  shape: Callable[..., tuple[int, ...]],
  foldable: tuple[tuple[int, int], tuple[int, int]],
) -> core.Primitive:
  """A primitive that is bilinear in its two operands.

  Args:
    name: of the primitive.
    function: `(a, b, geometry) -> array`, what it computes.
    shape: `(a, b, geometry) -> shape` of the result.
    foldable: of each operand, an axis along which results do not mix, and the
      axis of the result that it becomes.
  """
  primitive = core.Primitive(name)
  primitive.def_impl(jax.jit(function, static_argnames='geometry'))
  primitive.def_abstract_eval(
    lambda a, b, geometry: jax.core.ShapedArray(
      shape(a.shape, b.shape, geometry), a.dtype
    )
  )
  mlir.register_lowering(
    primitive, mlir.lower_fun(function, multiple_results=False)
  )
  batching.primitive_batchers[primitive] = functools.partial(
    _batch, primitive, foldable
  )
  return primitive


def _batch(primitive, foldable, operands, axes, *, geometry):
  """vmap: over one operand by folding, over both one after the other."""
  apply = functools.partial(primitive.bind, geometry=geometry)
  if None not in axes:
    moved = [
      jnp.moveaxis(x, axis, 0) for x, axis in zip(operands, axes, strict=True)
    ]
    return lax.map(lambda pair: apply(*pair), tuple(moved)), 0
  which = 0 if axes[1] is None else 1
  inside, outside = foldable[which]
  size = operands[which].shape[axes[which]]
  operands = list(operands)
  x = jnp.moveaxis(operands[which], axes[which], inside)
  operands[which] = lax.collapse(x, inside, inside + 2)
  y = apply(*operands)
  split = (*y.shape[:outside], size, -1, *y.shape[outside + 1 :])
  return y.reshape(split), outside


def _output_size(geometry):
  return tuple(
    (n + sum(pads) - k) // stride + 1
    for stride, pads, n, k in zip(*geometry, strict=True)
  )


_forward_p = _primitive(
  'gan_jax_conv',
  _forward,
  lambda x, k, g: (x[0], *_output_size(g), k[3]),
  ((0, 0), (3, 3)),
)
_input_gradient_p = _primitive(
  'gan_jax_conv_input_gradient',
  _input_gradient,
  lambda dy, k, g: (dy[0], *g.image, k[2]),
  ((0, 0), (2, 3)),
)
_kernel_gradient_p = _primitive(
  'gan_jax_conv_kernel_gradient',
  _kernel_gradient,
  lambda x, dy, g: (*g.window, x[3], dy[3]),
  ((3, 2), (3, 3)),
)

# Each rule takes (cotangent, first operand, second operand).
ad.defbilinear(
  _forward_p,
  lambda dy, x, k, **g: _input_gradient_p.bind(dy, k, **g),
  lambda dy, x, k, **g: _kernel_gradient_p.bind(x, dy, **g),
)
ad.defbilinear(
  _input_gradient_p,
  lambda x, dy, k, **g: _forward_p.bind(x, k, **g),
  lambda x, dy, k, **g: _kernel_gradient_p.bind(x, dy, **g),
)
ad.defbilinear(
  _kernel_gradient_p,
  lambda k, x, dy, **g: _input_gradient_p.bind(dy, k, **g),
  lambda k, x, dy, **g: _forward_p.bind(x, k, **g),
)


def _on_cpu():
  return jax.default_backend() == 'cpu'


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
  if min(_output_size(geometry)) < 1 or min(geometry.image) < 1:
    raise ValueError(
      f'{name}: nothing is left of images of {geometry.image} under a kernel '
      f'of {geometry.window} with padding {geometry.padding}.'
    )
