"""The residual pair of the relativistic-GAN landscape paper, 32 and 48 px.

`width` is the generator's base channel count and sets both players: 256, 128
and 64 are the paper's full, half and quarter networks at 32 px, 64, 32 and 16
those at 48 px. At 32 px the generator keeps that many channels throughout and
the discriminator half as many; at 48 px channels halve at each doubling of the
image and double at each halving of it. `bottleneck` gives the blocks half the
hidden channels; the paper's bottleneck network has width 128.

Against the residual networks of spectral-normalization GANs, upsampling is
bilinear, all blocks of the discriminator halve the image, and its slope is 0.1.

References:
  Sun, Fang, Schwing, Towards a Better Global Loss Landscape of GANs, 2020, and
  its code; Miyato et al., Spectral Normalization for Generative Adversarial
  Networks, 2018, table 4.
"""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.models import (
  conditional,
  layers,
  minibatch,
  options,
  resampling,
)

# Channels by image size: of the generator's first map and after each block, in
# multiples of width; after each block of the discriminator, in halves of width.
GENERATOR_WIDTHS = {32: (1, 1, 1, 1), 48: (8, 4, 2, 1)}
DISCRIMINATOR_HALF_WIDTHS = {32: (1, 1, 1, 1), 48: (2, 4, 8, 16, 32)}
orthogonal = nn.initializers.orthogonal()


class Generator(nn.Module):
  """Maps latents `[B, z_size]` to images in [-1, 1], `[B, H, W, channels]`.

  Starts as in PyTorch. With `labels` above 1, batch norm within the blocks has
  a scale and a shift for each of so many classes, see `conditional`.
  `axis_name` is the devices' axis for batch norm.
  """

  width: int = 256
  image_size: int = 32
  channels: int = 3
  z_size: int = 128
  bottleneck: bool = False
  labels: int = 1
  axis_name: str | None = None

  def __post_init__(self):
    super().__post_init__()
    _check(self)
    _check_width(self, 2 if self.bottleneck else 1)
    options.check_size('z_size', self.z_size)
    conditional.check_generator(self)

  def example_inputs(self) -> tuple[jax.Array, ...]:
    """Arguments of `init` after the key."""
    z = jnp.zeros((1, self.z_size))
    return z, *conditional.example_labels(self.labels)

  @nn.compact
  def __call__(self, z, labels=None, *, train=False) -> jax.Array:
    """Images; `train` takes batch statistics.

    Labels, the class of each image, integers `[B]`, are used if there are
    several classes. ValueError if they are then not right.
    """
    chex.assert_shape(z, (None, self.z_size))
    labels = conditional.checked_labels(
      labels, classes=self.labels, batch_size=len(z)
    )
    side = self.image_size // 8
    first, *widths = (n * self.width for n in GENERATOR_WIDTHS[self.image_size])
    x = layers.Dense(side**2 * first, name='l1')(z)
    x = x.reshape(-1, side, side, first)
    for i, features in enumerate(widths, start=2):
      hidden = features // 2 if self.bottleneck else features
      x = UpBlock(
        features, hidden, self.labels, self.axis_name, name=f'block{i}'
      )(x, labels, train)
    x = layers.batch_norm(x, train=train, axis_name=self.axis_name, name='b5')
    x = nn.relu(x)
    return nn.tanh(layers.Conv(self.channels, 1, padding=0, name='conv5')(x))


class Discriminator(nn.Module):
  """Maps images `[B, H, W, channels]` to one logit each, `[B]`.

  All weights start orthogonal; spectral normalization is on all layers or none.

  Attributes:
    width: that of the generator.
    labels: number of classes; above 1 with a `conditioning`.
    conditioning: '', 'projection' or 'auxiliary', see `conditional.logits`.
    minibatch: '', 'discrimination' (beside the last layer) or 'deviation'
      (before the last block), see the module of that name.
    axis_name: the devices' axis for what looks at the whole batch.
  """

  width: int = 256
  image_size: int = 32
  channels: int = 3
  bottleneck: bool = False
  spectral_norm: bool = True
  labels: int = 1
  conditioning: str = ''
  minibatch: str = ''
  axis_name: str | None = None

  def __post_init__(self):
    super().__post_init__()
    _check(self)
    halvings = (self.image_size == 32) + self.bottleneck
    _check_width(self, 2**halvings)
    options.check_flag('spectral_norm', self.spectral_norm)
    conditional.check_discriminator(self)

  def example_inputs(self) -> tuple[jax.Array, ...]:
    """Arguments of `init` after the key."""
    x = jnp.zeros((1, self.image_size, self.image_size, self.channels))
    return x, *conditional.example_labels(self.labels)

  @nn.compact
  def __call__(self, x, labels=None, *, train=False) -> jax.Array:
    """A logit for each image; 'projection' uses its label, `[B]` integers."""
    chex.assert_shape(
      x, (None, self.image_size, self.image_size, self.channels)
    )
    halves = DISCRIMINATOR_HALF_WIDTHS[self.image_size]
    for i, features in enumerate((n * self.width // 2 for n in halves), 1):
      hidden = features if i == 1 else x.shape[-1]
      x = (
        minibatch.with_deviation(self, x, train=train)
        if i == len(halves)
        else x
      )
      x = DownBlock(
        features,
        hidden // 2 if self.bottleneck else hidden,
        activate_input=i > 1,
        spectral_norm=self.spectral_norm,
        name=f'block{i}',
      )(x)
    phi = jnp.sum(_activation(x), axis=(1, 2))
    dense = functools.partial(
      layers.Dense, spectral_norm=self.spectral_norm, kernel_init=orthogonal
    )
    return conditional.logits(self, phi, labels, dense, train=train)


class UpBlock(nn.Module):
  """Normalized residual block, `[B, H, W, in]` to `[B, 2H, 2W, features]`."""

  features: int
  hidden: int
  classes: int = 1
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: jax.Array, labels: jax.Array | None, train: bool
  ) -> jax.Array:
    norm = dict(classes=self.classes, train=train, axis_name=self.axis_name)
    y = nn.relu(conditional.batch_norm(x, labels, name='b1', **norm))
    y = resampling.upsample_bilinear(y)
    y = layers.Conv(self.hidden, name='c1')(y)
    y = nn.relu(conditional.batch_norm(y, labels, name='b2', **norm))
    y = layers.Conv(self.features, name='c2')(y)
    # A 1x1 convolution may trade places with a weighted mean of pixels, and is
    # four times cheaper on the smaller image.
    shortcut = layers.Conv(self.features, 1, padding=0, name='c_sc')(x)
    return y + resampling.upsample_bilinear(shortcut)


class DownBlock(nn.Module):
  """Residual block, `[B, H, W, in]` to `[B, H // 2, W // 2, features]`.

  The block that sees the image itself does not activate its input.
  """

  features: int
  hidden: int
  activate_input: bool = True
  spectral_norm: bool = True

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    common = dict(spectral_norm=self.spectral_norm, kernel_init=orthogonal)
    y = _activation(x) if self.activate_input else x
    y = layers.Conv(self.hidden, name='c1', **common)(y)
    y = layers.Conv(self.features, name='c2', **common)(_activation(y))
    # See UpBlock: the published order is the other one, but for block 1.
    shortcut = layers.Conv(self.features, 1, padding=0, name='c_sc', **common)(
      resampling.mean_pool(x)
    )
    return resampling.mean_pool(y) + shortcut


def _activation(x):
  return nn.leaky_relu(x, 0.1)


def _check(module) -> None:
  options.check_size('width', module.width)
  options.check_size('channels', module.channels)
  options.check_flag('bottleneck', module.bottleneck)
  options.check_size('image_size', module.image_size)
  if module.image_size not in GENERATOR_WIDTHS:
    raise ValueError(
      f'image_size={module.image_size} is not one of '
      f'{sorted(GENERATOR_WIDTHS)}.'
    )


def _check_width(module, divisor: int) -> None:
  """Raises ValueError unless all hidden channel counts are whole."""
  if module.width % divisor:
    more = ' with bottleneck=True' if module.bottleneck else ''
    raise ValueError(
      f'width={module.width}{more} is not a multiple of {divisor}, which the '
      f'hidden layers at image_size={module.image_size} need.'
    )
