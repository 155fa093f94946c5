"""Where each of our arrays is in PyTorch: its name there and its order.

Dense weights are `[out, in]` there, those of convolutions `[out, in, k, k]`, of
transposed ones `[in, out, k, k]` and turned round against ours. Images are
`[C, H, W]` there and `[H, W, C]` here, so that a dense layer before or after a
reshape has its features in another order; `LAID_FLAT` says which layers do.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util

from gan_jax.models import (
  cnn,
  cnn256,
  dc,
  layers,
  mlp,
  mnist,
  modern_parts,
  residual,
  resnet,
)


class Flat(NamedTuple):
  """Where a network lays an image flat, or makes one of a flat array.

  Attributes:
    layers: paths of the layers that have the flat image as an axis.
    size: height and width of the image.
    inputs: whether it is the input axis of a dense layer, else the output.
  """

  layers: tuple[str, ...]
  size: tuple[int, int]
  inputs: bool = False


def _eighth(module: nn.Module) -> tuple[int, int]:
  return (module.image_size // 8,) * 2


def _residual(module: nn.Module) -> tuple[int, int]:
  variant = residual.VARIANTS[module.variant]
  # The variant 'resnet' has as many levels as lead to 4x4.
  if variant is None:
    return 4, 4
  return (module.image_size >> len(variant.generator) - 1,) * 2


def _data(module: nn.Module) -> tuple[int, int]:
  shape = module.data_shape
  return shape[:2] if len(shape) == 3 else (1, 1)


# A module of a class that is not here is taken to have no such layer.
LAID_FLAT: dict[type[nn.Module], Callable[[Any], Flat]] = {
  cnn.Generator: lambda m: Flat(('l1',), _eighth(m)),
  cnn.Discriminator: lambda m: Flat(
    ('proj', 'embed', 'classes', 'minibatch/tensor'), _eighth(m), inputs=True
  ),
  cnn256.Discriminator: lambda m: Flat(('proj',), (4, 4), inputs=True),
  dc.Generator: lambda m: Flat(('dense', 'dense_bn'), _eighth(m)),
  dc.Discriminator: lambda m: Flat(
    ('dense', 'minibatch/tensor'), _eighth(m), inputs=True
  ),
  mlp.Generator: lambda m: Flat(('out',), _data(m)),
  mlp.Discriminator: lambda m: Flat(
    ('dense1' if m.features else 'out',), _data(m), inputs=True
  ),
  mnist.Generator: lambda m: Flat(
    ('dense2', 'dense2_bn'), (m.image_size // 4,) * 2
  ),
  # Two 5x5 convolutions without padding, each followed by a halving.
  mnist.Discriminator: lambda m: Flat(
    ('dense1',), ((m.image_size - 12) // 4,) * 2, inputs=True
  ),
  residual.Generator: lambda m: Flat(('fc',), _residual(m)),
  residual.Discriminator: lambda m: Flat(('fc',), _residual(m), inputs=True),
  resnet.Generator: lambda m: Flat(('l1',), _eighth(m)),
}


# Our names within a layer and PyTorch's.
SUFFIXES = {
  'kernel': 'weight',
  'embedding': 'weight',
  'scale': 'weight',
  'bias': 'bias',
  'mean': 'running_mean',
  'var': 'running_var',
  'u': 'weight_u',
}


class Entry(NamedTuple):
  """An array that both sides have.

  Attributes:
    key: its PyTorch name.
    shape: its shape in PyTorch.
    path: its path in our variables, such as `params/l1/kernel`.
    our_shape: its shape there.
    read: PyTorch's array -> ours.
    write: our array -> PyTorch's.
  """

  key: str
  shape: tuple[int, ...]
  path: str
  our_shape: tuple[int, ...]
  read: Callable[[np.ndarray], np.ndarray]
  write: Callable[[np.ndarray], np.ndarray]


def entries(module: nn.Module) -> list[Entry]:
  """All arrays of a module.

  Raises:
    TypeError: a layer has parameters that PyTorch's names are not known of.
  """
  shapes, layer_at = _describe(module)
  flat = LAID_FLAT.get(type(module), lambda m: Flat((), (1, 1)))(module)
  found = []
  for path, leaf in shapes.items():
    *parts, name = path.split('/')[1:]
    layer = '/'.join(parts)
    if name not in SUFFIXES:
      kind = type(layer_at[layer]).__name__
      raise TypeError(f'no PyTorch name is known for {name!r} of {kind}.')
    suffix = SUFFIXES[name]
    if name == 'kernel' and f'spectral/{layer}/u' in shapes:
      suffix = 'weight_orig'
    read, write = _moves(layer_at[layer], name)
    axis = _flat_axis(flat, layer, name)
    if axis is not None:
      read, write = _reordered(read, write, axis, flat.size)
    shape = write(np.broadcast_to(np.float32(0), leaf.shape)).shape
    key = '.'.join([*parts, suffix])
    found.append(Entry(key, shape, path, leaf.shape, read, write))
  return found


def _describe(module: nn.Module) -> tuple[dict[str, Any], dict[str, nn.Module]]:
  """Shapes of the variables, and the layer at each path."""
  layer_at = {}

  def record(call, args, kwargs, context):
    if context.method_name == '__call__':
      layer_at['/'.join(context.module.path)] = context.module
    return call(*args, **kwargs)

  # A function of its own, else a trace of before would be found again.
  init = lambda *args: module.init(*args)
  with nn.intercept_methods(record):
    shapes = jax.eval_shape(init, jax.random.key(0), *module.example_inputs())
  return traverse_util.flatten_dict(dict(shapes), sep='/'), layer_at


def _moves(layer: nn.Module, name: str) -> tuple[Callable, Callable]:
  """PyTorch's axes to ours, and ours to PyTorch's."""
  same = lambda x: x
  if name != 'kernel':
    return same, same
  if isinstance(layer, layers.Dense):
    return np.transpose, np.transpose
  if isinstance(layer, layers.ConvTranspose | cnn256.LatentConvTranspose):
    return (
      lambda x: x[:, :, ::-1, ::-1].transpose(2, 3, 0, 1),
      lambda x: x.transpose(2, 3, 0, 1)[:, :, ::-1, ::-1],
    )
  if isinstance(layer, modern_parts.Basis):
    return lambda x: x.transpose(1, 2, 0), lambda x: x.transpose(2, 0, 1)
  convolutions = layers.Conv | modern_parts.Conv | modern_parts.Weighing
  if isinstance(layer, convolutions):
    return (
      lambda x: x.transpose(2, 3, 1, 0),
      lambda x: x.transpose(3, 2, 0, 1),
    )
  raise TypeError(f'no PyTorch layer is known for {type(layer).__name__}.')


def _flat_axis(flat: Flat, layer: str, name: str) -> int | None:
  """The axis of our array that holds the flat image, if any does."""
  if layer not in flat.layers:
    return None
  if name == 'kernel':
    return 0 if flat.inputs else 1
  return None if flat.inputs else 0


def _reordered(read, write, axis, size):
  """`read` and `write` with the features of that axis in each side's order."""

  def channels_last(x):
    return _swap(read(x), axis, (-1, *size), (1, 2, 0))

  def channels_first(x):
    return write(_swap(x, axis, (*size, -1), (2, 0, 1)))

  return channels_last, channels_first


def _swap(x, axis, image, order):
  """One axis of x as an image, its own axes put into another order."""
  split = x.reshape(*x.shape[:axis], *image, *x.shape[axis + 1 :])
  axes = [*range(axis), *(axis + i for i in order)]
  axes += range(axis + 3, split.ndim)
  return split.transpose(axes).reshape(x.shape)
