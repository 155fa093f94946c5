"""The convolutional pair of the relativistic-GAN landscape paper.

`width` is the base channel count: 64, 32 and 16 are the paper's full, half and
quarter networks. Against the CNN of spectral-normalization GANs, the first
dense layer is followed by neither normalization nor activation, and in the
discriminator the 3x3 convolutions double the channels, not the strided ones.

References:
  Sun, Fang, Schwing, Towards a Better Global Loss Landscape of GANs, 2020, and
  its code; Miyato et al., Spectral Normalization for Generative Adversarial
  Networks, 2018, table 3.
"""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.models import conditional, layers, minibatch, options

xavier = nn.initializers.glorot_uniform()
orthogonal = nn.initializers.orthogonal()


class Generator(nn.Module):
  """Maps latents `[B, z_size]` to images in [-1, 1], `[B, H, W, channels]`.

  Dense and the last convolution start Xavier-uniform, the transposed
  convolutions as in PyTorch. With `labels` above 1, batch norm has a scale and
  a shift for each of so many classes, see `conditional`. `axis_name` is the
  devices' axis for batch norm.
  """

  width: int = 64
  image_size: int = 32
  channels: int = 3
  z_size: int = 128
  labels: int = 1
  axis_name: str | None = None

  def __post_init__(self):
    super().__post_init__()
    _check(self)
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
    side, channels = self.image_size // 8, 8 * self.width
    x = layers.Dense(side**2 * channels, kernel_init=xavier, name='l1')(z)
    x = x.reshape(-1, side, side, channels)
    for i in (1, 2, 3):
      channels //= 2
      x = layers.ConvTranspose(channels, name=f'deconv{i}')(x)
      x = conditional.batch_norm(
        x,
        labels,
        classes=self.labels,
        train=train,
        axis_name=self.axis_name,
        name=f'deconv{i}_bn',
      )
      x = nn.relu(x)
    x = layers.Conv(self.channels, kernel_init=xavier, name='conv4')(x)
    return nn.tanh(x)


class Discriminator(nn.Module):
  """Maps images `[B, H, W, channels]` to one logit each, `[B]`.

  All weights start orthogonal; spectral normalization is on all layers or none.

  Attributes:
    labels: number of classes; above 1 with a `conditioning`.
    conditioning: '', 'projection' or 'auxiliary', see `conditional.logits`.
    minibatch: '', 'discrimination' (beside the last layer) or 'deviation'
      (before the last convolution), see the module of that name.
    axis_name: the devices' axis for what looks at the whole batch.
  """

  width: int = 64
  image_size: int = 32
  channels: int = 3
  spectral_norm: bool = True
  labels: int = 1
  conditioning: str = ''
  minibatch: str = ''
  axis_name: str | None = None

  def __post_init__(self):
    super().__post_init__()
    _check(self)
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
    common = dict(spectral_norm=self.spectral_norm, kernel_init=orthogonal)
    for i, multiple in enumerate((1, 1, 2, 2, 4, 4, 8), start=1):
      kernel, stride = (3, 1) if i % 2 else (4, 2)
      x = minibatch.with_deviation(self, x, train=train) if i == 7 else x
      x = layers.Conv(
        multiple * self.width, kernel, stride, name=f'conv{i}', **common
      )(x)
      x = nn.leaky_relu(x, 0.1)
    dense = functools.partial(layers.Dense, **common)
    return conditional.logits(
      self, x.reshape(len(x), -1), labels, dense, train=train
    )


def _check(module) -> None:
  options.check_size('width', module.width)
  options.check_size('image_size', module.image_size, multiple_of=8)
  options.check_size('channels', module.channels)
