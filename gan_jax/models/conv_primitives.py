"""A convolution and its two gradients as primitives, for XLA's CPU compiler.

That compiler brings convolutions into the form of its fast kernel (images
`[B, H, W, C]`, kernels `[kh, kw, in, out]`) only outside of loops and branches.
The gradients that JAX derives of a convolution are not in that form, and run 5
to 80 times slower inside `scan`, `while_loop` and `cond`. Here a convolution
and its two gradients are each written in that form. All three are bilinear and
each is a transpose of the others,

  forward          F(x, k) -> y    <y', F(x, k)>
  input gradient   X(y', k) -> x'  = <X(y', k), x>
  kernel gradient  W(x, y') -> k'  = <W(x, y'), k>,

which is all that JAX needs to know for derivatives of any order, forward and
backward. Operands must not be typed as varying over devices; `convolution.py`
takes JAX's own operations for those.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core
from jax.interpreters import ad, batching, mlir

Pairs = tuple[tuple[int, int], tuple[int, int]]

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


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


def _forward(x, kernel, geometry):
  return plain(x, kernel, geometry.strides, geometry.padding)


def _input_gradient(dy, kernel, geometry):
  """One convolution per residue of the image's rows and columns.

  Rows of one residue modulo the stride meet only every stride-th kernel row, so
  that no zeros are multiplied. The parts are interleaved afterwards.
  """
  kernel = turned(kernel)
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
  after = count - output_size(geometry)[axis] - before + taps - 1
  return (size - 1 - first) % stride, (before, after)


def _part(dy, kernel, padding):
  if kernel.size:
    return plain(dy, kernel, (1, 1), padding)
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
    turned = plain(_batch_last(dy), _batch_inside(x), (1, 1), pads)
    return jnp.flip(turned, (1, 2)).transpose(1, 2, 3, 0)
  pads = [
    (low, (m - 1) * stride + k - n - low)
    for stride, (n, k, (low, _), m) in zip(geometry.strides, sizes, strict=True)
  ]
  dk = plain(_batch_last(x), _batch_inside(dy), (1, 1), pads, geometry.strides)
  return dk.transpose(1, 2, 0, 3)


def _batch_last(x):
  return x.transpose(3, 1, 2, 0)


def _batch_inside(x):
  return x.transpose(1, 2, 0, 3)


def turned(kernel: jax.Array) -> jax.Array:
  """By half a turn, with input and output channels exchanged."""
  return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def plain(
  x: jax.Array,
  kernel: jax.Array,
  strides: tuple[int, int],
  padding: Sequence[tuple[int, int]],
  dilation: tuple[int, int] = (1, 1),
) -> jax.Array:
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
    dimension_numbers=DIMENSIONS,
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
  operands = list(operands)
  x = jnp.moveaxis(operands[which], axes[which], inside)
  folded = x.shape[inside : inside + 2]
  operands[which] = lax.collapse(x, inside, inside + 2)
  y = apply(*operands)
  split = (*y.shape[:outside], *folded, *y.shape[outside + 1 :])
  return y.reshape(split), outside


def output_size(geometry: Geometry) -> tuple[int, int]:
  """Height and width of what a convolution makes."""
  return tuple(
    (n + sum(pads) - k) // stride + 1
    for stride, pads, n, k in zip(*geometry, strict=True)
  )


forward_p = _primitive(
  'gan_jax_conv',
  _forward,
  lambda x, k, g: (x[0], *output_size(g), k[3]),
  ((0, 0), (3, 3)),
)
input_gradient_p = _primitive(
  'gan_jax_conv_input_gradient',
  _input_gradient,
  lambda dy, k, g: (dy[0], *g.image, k[2]),
  ((0, 0), (2, 3)),
)
kernel_gradient_p = _primitive(
  'gan_jax_conv_kernel_gradient',
  _kernel_gradient,
  lambda x, dy, g: (*g.window, x[3], dy[3]),
  ((3, 2), (3, 3)),
)

# Each rule takes (cotangent, first operand, second operand).
ad.defbilinear(
  forward_p,
  lambda dy, x, k, **g: input_gradient_p.bind(dy, k, **g),
  lambda dy, x, k, **g: kernel_gradient_p.bind(x, dy, **g),
)
ad.defbilinear(
  input_gradient_p,
  lambda x, dy, k, **g: forward_p.bind(x, k, **g),
  lambda x, dy, k, **g: kernel_gradient_p.bind(x, dy, **g),
)
ad.defbilinear(
  kernel_gradient_p,
  lambda k, x, dy, **g: input_gradient_p.bind(dy, k, **g),
  lambda k, x, dy, **g: forward_p.bind(x, k, **g),
)
