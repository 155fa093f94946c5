"""A modern residual pair without normalization, at 4 to 64 px and beyond.

The networks of R3GAN. Both players have a stage of blocks at each resolution
from 4x4 to the image. A block is x + W3 a(W2 * a(W1 x + b1) + b2): W1 and W3
are 1x1 convolutions to and from `expansion` times as many channels, W2 is a 3x3
one in groups of `group_size` channels, a is leaky ReLU. W3 starts at zero and
the others small, so that a network of any depth starts as a shallow one without
any normalization (as in Fixup). There are no other biases and no nonlinearity
outside the blocks; images are not bounded.

The defaults are the published network for CIFAR-10, where `labels` is 10.

References:
  Huang, Gokaslan, Kuleshov & Tompkin, The GAN is dead; long live the GAN! A
  Modern GAN Baseline, 2024, and its code; Zhang, Dauphin & Ma, Fixup
  Initialization: Residual Learning Without Normalization, 2019.
"""

import math
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.models import conditional, layers, modern_parts, options

_SLOPE = 0.2
# Keeps the mean square through a leaky ReLU (He et al. 2015).
_GAIN = math.sqrt(2 / (1 + _SLOPE**2))
DTYPES = ('float32', 'bfloat16')

Widths = int | tuple[int, ...]


class Generator(nn.Module):
  """Maps latents `[B, z_size]` to images, `[B, H, W, channels]`, unbounded.

  Attributes:
    width: channels at each resolution from 4x4 on, or one number for all.
    blocks: at each resolution.
    group_size: channels in a group of the 3x3 convolutions.
    expansion: hidden channels of a block over its channels.
    image_size: 4 times a power of two.
    channels: of the image.
    z_size: length of a latent.
    labels: number of classes; above one, an embedding of the class as long as
      the latent is put behind it.
    dtype: of the computation above 4x4: 'float32' or 'bfloat16'. Parameters and
      images are float32.
  """

  width: Widths = 768
  blocks: int = 2
  group_size: int = 16
  expansion: int = 2
  image_size: int = 32
  channels: int = 3
  z_size: int = 64
  labels: int = 1
  dtype: str = 'float32'

  def __post_init__(self):
    super().__post_init__()
    _check(self)
    options.check_size('z_size', self.z_size)

  def example_inputs(self) -> tuple[jax.Array, ...]:
    """Arguments of `init` after the key."""
    z = jnp.zeros((1, self.z_size))
    return z, *conditional.example_labels(self.labels)

  @nn.compact
  def __call__(self, z, labels=None, *, train=False) -> jax.Array:
    """An image for each latent; train is not used.

    Args:
      z: latents, `[B, z_size]`.
      labels: class of each image, integers `[B]`; not used with one class. A
        class that there is not gives an image of NaN.
      train: not used.

    Returns:
      Images, `[B, image_size, image_size, channels]`.

    Raises:
      ValueError: labels of another kind or shape, or none where needed.
    """
    chex.assert_shape(z, (None, self.z_size))
    if self.labels > 1:
      embedding = _embedding(self, self.z_size, gain=1.0)
      z = jnp.concatenate([z, embedding(_classes(self, labels, z))], axis=1)
    widths = _widths(self)
    x = modern_parts.Basis(name='basis')(_dense(z, widths[0], 'dense'))
    for stage, width in enumerate(widths):
      if stage:
        x = _resized(x.astype(self.dtype), width, f'up_{stage}')
        x = modern_parts.upsample(x)
      x = _stage(self, x, stage)
    x = x.astype(jnp.float32)
    return modern_parts.Conv(self.channels, name='image')(x)


class Discriminator(nn.Module):
  """Maps images `[B, H, W, channels]` to one logit each, `[B]`.

  The options are the generator's: it is its mirror image. With labels above
  one, the logit is the inner product of what is known of the image and an
  embedding of its class.
  """

  width: Widths = 768
  blocks: int = 2
  group_size: int = 16
  expansion: int = 2
  image_size: int = 32
  channels: int = 3
  labels: int = 1
  dtype: str = 'float32'

  def __post_init__(self):
    super().__post_init__()
    _check(self)

  def example_inputs(self) -> tuple[jax.Array, ...]:
    """Arguments of `init` after the key."""
    x = jnp.zeros((1, self.image_size, self.image_size, self.channels))
    return x, *conditional.example_labels(self.labels)

  @nn.compact
  def __call__(self, x, labels=None, *, train=False) -> jax.Array:
    """A logit for each image; train is not used.

    Args:
      x: images, `[B, image_size, image_size, channels]`.
      labels: class of each, integers `[B]`; not used with one class. A class
        that there is not gives a logit of NaN.
      train: not used.

    Returns:
      Logits, `[B]`, float32.

    Raises:
      ValueError: labels of another kind or shape, or none where needed.
    """
    chex.assert_shape(
      x, (None, self.image_size, self.image_size, self.channels)
    )
    widths = _widths(self)
    x = x.astype(self.dtype if len(widths) > 1 else jnp.float32)
    x = modern_parts.Conv(widths[-1], name='image')(x)
    for stage in reversed(range(len(widths))):
      x = _stage(self, x, stage)
      if stage:
        x = modern_parts.downsample(x)
        x = _resized(x, widths[stage - 1], f'down_{stage}')
      x = x.astype(jnp.float32) if stage == 1 else x
    x = modern_parts.Weighing(name='basis')(x)
    if self.labels == 1:
      return _dense(x, 1, 'dense')[:, 0]
    # Of variance 1, as are the features: so is their inner product.
    embedding = _embedding(self, widths[0], gain=1 / math.sqrt(widths[0]))
    of_class = embedding(_classes(self, labels, x))
    return jnp.sum(_dense(x, widths[0], 'dense') * of_class, axis=1)


class Block(nn.Module):
  """x plus three convolutions of it, `[B, H, W, C]` to the same.

  Attributes:
    hidden: channels between the convolutions.
    groups: of the one in the middle.
    depth: how many blocks the network has.
  """

  hidden: int
  groups: int
  depth: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    # Of m layers of a branch m - 1 start small, by depth^(-1 / (2m - 2)) each,
    # so that a step moves the output by as much at any depth (Fixup).
    gain = _GAIN * self.depth ** (-1 / 4)
    part = modern_parts.Conv
    hidden = dict(features=self.hidden, gain=gain, use_bias=True)
    y = _activation(part(**hidden, name='conv1')(x))
    y = part(**hidden, kernel=3, groups=self.groups, name='conv2')(y)
    return x + part(x.shape[-1], gain=0.0, name='conv3')(_activation(y))


def _activation(x):
  return nn.leaky_relu(x, _SLOPE)


def _stage(module, x, stage):
  """The blocks at one resolution; called within a compact method."""
  hidden = module.expansion * x.shape[-1]
  depth = module.blocks * _stages(module.image_size)
  for i in range(module.blocks):
    name = f'block_{stage}_{i}'
    x = Block(hidden, hidden // module.group_size, depth, name=name)(x)
  return x


def _resized(x, features, name):
  """x with so many channels; itself if it has them."""
  if x.shape[-1] == features:
    return x
  return modern_parts.Conv(features, name=name)(x)


def _dense(x, features, name):
  init = modern_parts.scaled_normal(1.0, x.shape[-1])
  dense = layers.Dense(features, use_bias=False, kernel_init=init, name=name)
  return dense(x)


def _embedding(module, features, gain):
  """A table of classes, drawn as the kernel of a layer that sees one of them.

  Its fan-in is the number of classes.
  """
  init = modern_parts.scaled_normal(gain, module.labels)
  return nn.Embed(
    module.labels, features, embedding_init=init, name='embedding'
  )


def _classes(module, labels, x):
  return conditional.checked_labels(
    labels, classes=module.labels, batch_size=len(x)
  )


def _stages(image_size: int) -> int:
  return (int(image_size) // 4).bit_length()


def _widths(module: Any) -> tuple[int, ...]:
  """Channels by resolution, from 4x4 on."""
  if isinstance(module.width, tuple):
    return module.width
  return (module.width,) * _stages(module.image_size)


def _check(module) -> None:
  sizes = ('blocks', 'group_size', 'expansion', 'image_size', 'channels')
  for option in (*sizes, 'labels'):
    options.check_size(option, getattr(module, option))
  options.check_choice('dtype', module.dtype, DTYPES)
  size = int(module.image_size)
  if size < 4 or size.bit_count() != 1:
    raise ValueError(f'image_size={size!r} is not 4 times a power of 2.')
  if isinstance(module.width, (tuple, list)):
    options.check_sizes('width', module.width, (_stages(size),))
  else:
    options.check_size('width', module.width)
  for width in set(_widths(module)):
    if module.expansion * width % module.group_size:
      raise ValueError(
        f'group_size={module.group_size} does not divide the '
        f'{module.expansion * width} hidden channels of width={width} times '
        f'expansion={module.expansion}.'
      )
