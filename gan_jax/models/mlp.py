"""Fully connected pair for points, and for small images laid flat.

The defaults are the pair of the five-Gaussian experiment of Sun et al., Towards
a Better Global Loss Landscape of GANs, 2020. Other published toys by options:

  two clusters (ibid.)    features=(5, 5), activation='tanh', data_shape=(1,),
                          z_size=1; critic (10, 10), 'sigmoid'
  unrolled GAN            activation='tanh', initializer='orthogonal', gain=1.4;
                          z_size=256
  consensus optimization  features=(16, 16, 16, 16), activation='relu';
                          z_size=16
  WGAN-GP                 features=(512, 512, 512), activation='relu'; z_size=2
"""

import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.models import layers, options

# Of x and the slope that leaky_relu has below zero.
ACTIVATIONS = {
  'relu': lambda x, slope: nn.relu(x),
  'tanh': lambda x, slope: nn.tanh(x),
  'leaky_relu': nn.leaky_relu,
  'sigmoid': lambda x, slope: nn.sigmoid(x),
}
OUTPUTS = {'linear': lambda x: x, 'tanh': nn.tanh}
_scaled = nn.initializers.variance_scaling
INITIALIZERS = {  # of the gain, for weights; biases are PyTorch's in all
  'torch': lambda gain: _scaled(gain**2 / 3, 'fan_in', 'uniform'),
  'glorot': lambda gain: _scaled(gain**2, 'fan_avg', 'uniform'),
  'orthogonal': nn.initializers.orthogonal,
}


class Generator(nn.Module):
  """Maps latents `[B, z_size]` to data `[B, *data_shape]`."""

  features: tuple[int, ...] = (128, 128)
  data_shape: tuple[int, ...] = (2,)
  z_size: int = 2
  activation: str = 'relu'
  slope: float = 0.2
  output: str = 'linear'
  initializer: str = 'torch'
  gain: float = 1.0

  def __post_init__(self):
    super().__post_init__()
    _check(self)
    options.check_size('z_size', self.z_size)
    options.check_choice('output', self.output, OUTPUTS)

  def example_inputs(self) -> tuple[jax.Array, ...]:
    """Arguments of `init` after the key."""
    return (jnp.zeros((1, self.z_size)),)

  @nn.compact
  def __call__(self, z, labels=None, *, train=False) -> jax.Array:
    """Data for each latent; labels and train are not used."""
    chex.assert_shape(z, (None, self.z_size))
    kernel_init = INITIALIZERS[self.initializer](self.gain)
    x = _hidden(self, z, kernel_init)
    x = layers.Dense(
      math.prod(self.data_shape), kernel_init=kernel_init, name='out'
    )(x)
    return OUTPUTS[self.output](x.reshape(-1, *self.data_shape))


class Discriminator(nn.Module):
  """Maps data `[B, *data_shape]` to one logit per example, `[B]`.

  `final_bias=False` suits the relativistic losses, which see differences of
  logits only and leave such a bias without a gradient.
  """

  features: tuple[int, ...] = (128, 128)
  data_shape: tuple[int, ...] = (2,)
  activation: str = 'leaky_relu'
  slope: float = 0.2
  final_bias: bool = True
  spectral_norm: bool = False
  initializer: str = 'torch'
  gain: float = 1.0

  def __post_init__(self):
    super().__post_init__()
    _check(self)
    options.check_flag('final_bias', self.final_bias)
    options.check_flag('spectral_norm', self.spectral_norm)

  def example_inputs(self) -> tuple[jax.Array, ...]:
    """Arguments of `init` after the key."""
    return (jnp.zeros((1, *self.data_shape)),)

  @nn.compact
  def __call__(self, x, labels=None, *, train=False) -> jax.Array:
    """A logit for each example; labels and train are not used."""
    chex.assert_shape(x, (None, *self.data_shape))
    kernel_init = INITIALIZERS[self.initializer](self.gain)
    x = x.reshape(x.shape[0], -1)
    x = _hidden(self, x, kernel_init, spectral_norm=self.spectral_norm)
    x = layers.Dense(
      1,
      use_bias=self.final_bias,
      spectral_norm=self.spectral_norm,
      kernel_init=kernel_init,
      name='out',
    )(x)
    return x[:, 0]


def _hidden(module, x, kernel_init, *, spectral_norm=False):
  """The hidden layers of either player; called within its compact method."""
  for i, features in enumerate(module.features, start=1):
    x = layers.Dense(
      features,
      spectral_norm=spectral_norm,
      kernel_init=kernel_init,
      name=f'dense{i}',
    )(x)
    x = ACTIVATIONS[module.activation](x, module.slope)
  return x


def _check(module) -> None:
  options.check_sizes('features', module.features)
  options.check_sizes('data_shape', module.data_shape, ranks=(1, 3))
  options.check_choice('activation', module.activation, ACTIVATIONS)
  options.check_choice('initializer', module.initializer, INITIALIZERS)
  options.check_number('slope', module.slope)
  options.check_number('gain', module.gain, above=0)
