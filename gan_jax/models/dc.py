"""The small DCGAN pair that competitive gradient descent was tested with.

Convolutions start from N(0, 0.01^2), all else as in PyTorch. The first
published experiments used a standard deviation of 0.005 (`init_std`).

The published critics also came with channel dropout of probability one half,
with batch norm, and with spectral norm on all layers; the generator always had
batch norm, which is an option here. The pair is smaller than that of Gulrajani
et al., which has 5x5 kernels, twice the width and slope 0.2.

References:
  Schaefer, Zheng, Anandkumar, Implicit Competitive Regularization in GANs,
  2020, and its code (GoodGenerator, GoodDiscriminator), after Gulrajani et al.,
  Improved Training of Wasserstein GANs, 2017.
"""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.models import conditional, dropout, layers, minibatch, options


class Generator(nn.Module):
  """Maps latents `[B, z_size]` to images in [-1, 1], `[B, H, W, channels]`.

  `axis_name` is the devices' axis for batch norm.
  """

  width: int = 64
  image_size: int = 32
  channels: int = 3
  z_size: int = 128
  init_std: float = 0.01
  batch_norm: bool = True
  axis_name: str | None = None

  def __post_init__(self):
    super().__post_init__()
    _check(self)
    options.check_size('z_size', self.z_size)

  def example_inputs(self) -> tuple[jax.Array, ...]:
    """Arguments of `init` after the key."""
    return (jnp.zeros((1, self.z_size)),)

  @nn.compact
  def __call__(self, z, labels=None, *, train=False) -> jax.Array:
    """Images; `train` takes batch statistics. Labels are not used."""
    chex.assert_shape(z, (None, self.z_size))

    def normalized(x, name):
      if not self.batch_norm:
        return x
      name = f'{name}_bn'
      return layers.batch_norm(
        x, name=name, train=train, axis_name=self.axis_name
      )

    normal = nn.initializers.normal(self.init_std)
    side, channels = self.image_size // 8, 4 * self.width
    x = layers.Dense(side**2 * channels, name='dense')(z)
    # Each position of the first map has statistics of its own.
    x = nn.relu(normalized(x, 'dense'))
    x = x.reshape(-1, side, side, channels)
    for i, multiple in enumerate((2, 1), start=1):
      x = layers.ConvTranspose(
        multiple * self.width, kernel_init=normal, name=f'deconv{i}'
      )(x)
      x = nn.relu(normalized(x, f'deconv{i}'))
    x = layers.ConvTranspose(self.channels, kernel_init=normal, name='deconv3')(
      x
    )
    return nn.tanh(x)


class Discriminator(nn.Module):
  """Maps images `[B, H, W, channels]` to one logit each, `[B]`.

  No normalization by default: its curvature is all that regularizes it.

  Attributes:
    dropout: probability of dropping a channel after each activation.
    batch_norm: whether batch norm follows each convolution.
    spectral_norm: whether all layers are spectrally normalized.
    minibatch: '', 'discrimination' (beside the last layer) or 'deviation'
      (before the last convolution), see the module of that name.
    axis_name: the devices' axis for dropout and what averages over a batch.
  """

  width: int = 64
  image_size: int = 32
  channels: int = 3
  init_std: float = 0.01
  # Relativistic losses do not see it, so Adam would multiply rounding noise.
  final_bias: bool = True
  dropout: float = 0.0
  batch_norm: bool = False
  spectral_norm: bool = False
  minibatch: str = ''
  axis_name: str | None = None

  def __post_init__(self):
    super().__post_init__()
    _check(self)
    dropout.check_rate('dropout', self.dropout)
    for flag in ('final_bias', 'batch_norm', 'spectral_norm'):
      options.check_flag(flag, getattr(self, flag))
    minibatch.check(self)

  def example_inputs(self) -> tuple[jax.Array, ...]:
    """Arguments of `init` after the key."""
    size = self.image_size
    return (jnp.zeros((1, size, size, self.channels)),)

  @nn.compact
  def __call__(self, x, labels=None, *, train=False) -> jax.Array:
    """A logit for each image; `train` takes batch statistics and drops."""
    chex.assert_shape(
      x, (None, self.image_size, self.image_size, self.channels)
    )
    normal = nn.initializers.normal(self.init_std)
    for i, multiple in enumerate((1, 2, 4), start=1):
      x = minibatch.with_deviation(self, x, train=train) if i == 3 else x
      x = layers.Conv(
        multiple * self.width,
        kernel=4,
        stride=2,
        spectral_norm=self.spectral_norm,
        kernel_init=normal,
        name=f'conv{i}',
      )(x)
      if self.batch_norm:
        x = layers.batch_norm(
          x, train=train, axis_name=self.axis_name, name=f'conv{i}_bn'
        )
      x = nn.leaky_relu(x, 0.01)
      x = dropout.ChannelDropout(
        self.dropout, self.axis_name, name=f'dropout{i}'
      )(x, train=train)
    x = x.reshape(x.shape[0], -1)
    self.sow('intermediates', conditional.FEATURES, x)
    dense = functools.partial(layers.Dense, spectral_norm=self.spectral_norm)
    logit = dense(1, use_bias=self.final_bias, name='dense')(x)[:, 0]
    return logit + minibatch.logit(self, x, dense, train=train)


def _check(module) -> None:
  options.check_size('width', module.width)
  options.check_size('image_size', module.image_size, multiple_of=8)
  options.check_size('channels', module.channels)
  options.check_number('init_std', module.init_std, above=0)
