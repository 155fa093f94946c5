"""What runs the graph of FID's Inception-v3.

Batch norm is folded into the convolutions. Those of 1 x 1 pixels that open a
block's branches are one.
"""

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax.metrics.nets import inception_graph as graph
from gan_jax.metrics.nets.inception_graph import Block, Unit

# In `params`, of the units that open a block's branches.
OPENING = 'opening'


def merge(
  units: Mapping[str, Mapping[str, np.ndarray]], blocks: Sequence[Block]
) -> dict[str, dict[str, np.ndarray]]:
  """Params of all units of some blocks, as `run` takes them.

  Args:
    units: by the block's and their own name, `kernel` [kh, kw, in, out] and
      `bias` [out].
    blocks: of the graph.
  """
  merged = {key: dict(unit) for key, unit in units.items()}
  for block in blocks:
    names = [block.name + unit.name for unit in graph.openers(block)]
    if names:
      parts = [merged.pop(name) for name in names]
      merged[block.name + OPENING] = {
        key: np.concatenate([part[key] for part in parts], axis=-1)
        for key in ('kernel', 'bias')
      }
  return merged


def forward(
  params: Mapping[str, Any],
  x: jax.Array,
  layers: Sequence[int],
  precision: lax.PrecisionLike,
) -> dict[int, jax.Array]:
  """Features of some layers.

  Args:
    params: what `merge` gives, up to the last of these layers at least.
    x: images, float32 `[N, H, W, 3]` between -1 and 1; 299 pixels wide and
      high are what the network was trained on, 75 the least.
    layers: keys of `LAYERS`.
    precision: of products.

  Returns:
    The mean over pixels of each layer's output, `[N, layer]`.
  """
  found = {}
  for layer, blocks in graph.LAYERS.items():
    if layer <= max(layers):
      for block in blocks:
        x = run(params, x, block, precision)
    if layer in layers:
      found[layer] = jnp.mean(x, axis=(1, 2))
  return found


def run(
  params: Mapping[str, Any],
  x: jax.Array,
  block: Block,
  precision: lax.PrecisionLike,
) -> jax.Array:
  """The output of one block, `[N, H', W', C']`."""
  opened = _opened(params, x, block, precision)
  outputs = []
  for branch in block.branches:
    pool, units = POOLS[branch.pool], branch.units
    if units and units[0].name in opened:
      y, units = jax.nn.relu(pool(opened[units[0].name])), units[1:]
    else:
      y = pool(x)
    apply = lambda y, unit: jax.nn.relu(
      convolve(params[block.name + unit.name], y, unit, precision)
    )
    y = functools.reduce(apply, units, y)
    outputs += [apply(y, unit) for unit in branch.ends] or [y]
  return jnp.concatenate(outputs, axis=-1)


def _opened(params, x, block, precision):
  """What the merged units give, by name; a pool and the ReLU are to follow."""
  units = graph.openers(block)
  if not units:
    return {}
  sizes = [unit.size for unit in units]
  opening = Unit(OPENING, (1, 1), sum(sizes))
  y = convolve(params[block.name + OPENING], x, opening, precision)
  parts = jnp.split(y, np.cumsum(sizes)[:-1], axis=-1)
  return {unit.name: part for unit, part in zip(units, parts, strict=True)}


def convolve(
  params: Mapping[str, jax.Array],
  x: jax.Array,
  unit: Unit,
  precision: lax.PrecisionLike,
) -> jax.Array:
  """The convolution of a unit and its bias, `[N, H', W', size]`."""
  y = lax.conv_general_dilated(
    x,
    params['kernel'],
    (unit.stride,) * 2,
    'SAME' if unit.padded else 'VALID',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    precision=precision,
  )
  return y + params['bias'].reshape(1, 1, 1, -1)


def _windows(x: jax.Array, stride: int) -> list[jax.Array]:
  """What the nine pixels of a 3 x 3 window see, as nine images.

  XLA's own pooling is several times slower on CPU.
  """
  height, width = ((n - 3) // stride * stride + 1 for n in x.shape[1:3])
  return [
    x[:, i : i + height : stride, j : j + width : stride]
    for i in range(3)
    for j in range(3)
  ]


def _around(x: jax.Array, value: float) -> jax.Array:
  return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=value)


def maximum(x: jax.Array) -> jax.Array:
  """Largest of each pixel and its neighbours, `[N, H, W, C]`."""
  return functools.reduce(jnp.maximum, _windows(_around(x, -np.inf), 1))


def maximum_by_2(x: jax.Array) -> jax.Array:
  """Largest of 3 x 3 pixels, every second, `[N, (H-1)//2, (W-1)//2, C]`."""
  return functools.reduce(jnp.maximum, _windows(x, 2))


def average(x: jax.Array) -> jax.Array:
  """Mean of each pixel and those neighbours there are, `[N, H, W, C]`."""
  total = functools.reduce(operator.add, _windows(_around(x, 0.0), 1))
  rows, columns = (
    np.minimum(np.arange(n), 1) + np.minimum(np.arange(n)[::-1], 1) + 1
    for n in x.shape[1:3]
  )
  counts = np.outer(rows, columns).astype(np.float32)
  return total / counts[None, :, :, None]


POOLS: dict[str, Callable[[jax.Array], jax.Array]] = {
  '': lambda x: x,
  'max': maximum,
  'max_by_2': maximum_by_2,
  'average': average,
}
