"""Fully connected pair for points, and for small images laid flat.

The defaults are the pair of the five-Gaussian experiment of Sun et al., Towards
a Better Global Loss Landscape of GANs, 2020 (its critic with
`final_bias=False`). Other published toys by options, which are for both players
where not said otherwise:

  two clusters (ibid.)    features=(5, 5), activation='tanh', data_shape=(1,),
                          z_size=1; critic (10, 10), 'sigmoid'
    its controlled start  initializer='uniform', gain=0.4,
                          bias_initializer='zeros' for the generator
  projection (Schaefer,   generator features=(4, 2), z_size=4,
  Zheng, Anandkumar,      constant_input=True, output='strip'; critic
  2020)                   features=(4, 4), input_scale=(100, 1);
                          use_bias=False
  two modes (Schaefer,    features=(128, 128, 128, 128, 128),
  Anandkumar, 2019)       activation='relu', use_bias=False,
                          initializer='orthogonal', gain=0.8; z_size=512
  unrolled GAN            activation='tanh', initializer='orthogonal', gain=1.4;
                          z_size=256
  consensus optimization  features=(16, 16, 16, 16), activation='relu',
                          initializer='glorot', bias_initializer='zeros';
                          z_size=16
  WGAN-GP                 features=(512, 512, 512), activation='relu'; z_size=2

Of the projection toy only figures were published: activations, start and the
generator's output map are assumptions.
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
_scaled = nn.initializers.variance_scaling
INITIALIZERS = {  # of the gain, for weights
  'torch': lambda gain: _scaled(gain**2 / 3, 'fan_in', 'uniform'),
  'glorot': lambda gain: _scaled(gain**2, 'fan_avg', 'uniform'),
  'orthogonal': nn.initializers.orthogonal,
  'uniform': layers.uniform_within,
}
BIAS_INITIALIZERS = {'torch': None, 'zeros': nn.initializers.zeros}


def _strip(x: jax.Array) -> jax.Array:
  """Pairs (s, t), `[B, 2]`, to x = e^((tanh s + t)/2), y = e^((tanh s - t)/2).

  So 1/e < x y < e, the set that the projection toy's generator is drawn with.
  """
  s, t = jnp.tanh(x[:, 0]), x[:, 1]
  return jnp.exp(jnp.stack([s + t, s - t], axis=1) / 2)


OUTPUTS = {'linear': lambda x: x, 'tanh': nn.tanh, 'strip': _strip}


class Generator(nn.Module):
  """Maps latents `[B, z_size]` to data `[B, *data_shape]`.

  Attributes:
    slope: of 'leaky_relu' below zero.
    use_bias: whether there are biases, in all layers.
    gain: factor of the initial weights, or their bound for 'uniform'.
    constant_input: whether ones take the place of the latents.
  """

  features: tuple[int, ...] = (128, 128)
  data_shape: tuple[int, ...] = (2,)
  z_size: int = 2
  activation: str = 'relu'
  slope: float = 0.2
  output: str = 'linear'
  use_bias: bool = True
  initializer: str = 'torch'
  gain: float = 1.0
  bias_initializer: str = 'torch'
  constant_input: bool = False

  def __post_init__(self):
    super().__post_init__()
    _check(self)
    options.check_size('z_size', self.z_size)
    options.check_choice('output', self.output, OUTPUTS)
    options.check_flag('constant_input', self.constant_input)
    if self.output == 'strip' and tuple(self.data_shape) != (2,):
      raise ValueError(
        f"output='strip' makes pairs: data_shape={self.data_shape!r} is not "
        '(2,).'
      )

  def example_inputs(self) -> tuple[jax.Array, ...]:
    """Arguments of `init` after the key."""
    return (jnp.zeros((1, self.z_size)),)

  @nn.compact
  def __call__(self, z, labels=None, *, train=False) -> jax.Array:
    """Data for each latent; labels and train are not used."""
    chex.assert_shape(z, (None, self.z_size))
    x = jnp.ones_like(z) if self.constant_input else z
    x = _layers(self, x, math.prod(self.data_shape))
    return OUTPUTS[self.output](x.reshape(-1, *self.data_shape))


class Discriminator(nn.Module):
  """Maps data `[B, *data_shape]` to one logit per example, `[B]`.

  `final_bias=False` suits the relativistic losses, which see differences of
  logits only and leave such a bias without a gradient.

  Attributes:
    slope: of 'leaky_relu' below zero.
    use_bias: whether there are biases at all. Without, there is none in the
      last layer either, whatever `final_bias` says.
    gain: factor of the initial weights, or their bound for 'uniform'.
    input_scale: factors of the entries of each example, or none.
  """

  features: tuple[int, ...] = (128, 128)
  data_shape: tuple[int, ...] = (2,)
  activation: str = 'leaky_relu'
  slope: float = 0.2
  use_bias: bool = True
  final_bias: bool = True
  spectral_norm: bool = False
  initializer: str = 'torch'
  gain: float = 1.0
  bias_initializer: str = 'torch'
  input_scale: tuple[float, ...] = ()

  def __post_init__(self):
    super().__post_init__()
    _check(self)
    options.check_flag('final_bias', self.final_bias)
    options.check_flag('spectral_norm', self.spectral_norm)
    _check_input_scale(self.input_scale, math.prod(self.data_shape))

  def example_inputs(self) -> tuple[jax.Array, ...]:
    """Arguments of `init` after the key."""
    return (jnp.zeros((1, *self.data_shape)),)

  @nn.compact
  def __call__(self, x, labels=None, *, train=False) -> jax.Array:
    """A logit for each example; labels and train are not used."""
    chex.assert_shape(x, (None, *self.data_shape))
    x = x.reshape(x.shape[0], -1)
    if self.input_scale:
      x = x * jnp.asarray(self.input_scale, x.dtype)[None]
    x = _layers(
      self,
      x,
      1,
      final_bias=self.final_bias,
      spectral_norm=self.spectral_norm,
    )
    return x[:, 0]


def _layers(module, x, outputs, *, final_bias=True, spectral_norm=False):
  """All layers of either player; called within its compact method."""
  common = dict(
    spectral_norm=spectral_norm,
    kernel_init=INITIALIZERS[module.initializer](module.gain),
    bias_init=BIAS_INITIALIZERS[module.bias_initializer],
  )
  for i, features in enumerate(module.features, start=1):
    x = layers.Dense(features, module.use_bias, name=f'dense{i}', **common)(x)
    x = ACTIVATIONS[module.activation](x, module.slope)
  use_bias = module.use_bias and final_bias
  return layers.Dense(outputs, use_bias, name='out', **common)(x)


def _check(module) -> None:
  options.check_sizes('features', module.features)
  options.check_sizes('data_shape', module.data_shape, ranks=(1, 3))
  options.check_choice('activation', module.activation, ACTIVATIONS)
  options.check_choice('initializer', module.initializer, INITIALIZERS)
  options.check_choice(
    'bias_initializer', module.bias_initializer, BIAS_INITIALIZERS
  )
  options.check_flag('use_bias', module.use_bias)
  options.check_number('slope', module.slope)
  options.check_number('gain', module.gain, above=0)
  _check_effects(module)


def _check_effects(module) -> None:
  """Raises ValueError where an option was set that would be ignored."""
  start = module.bias_initializer
  if not module.use_bias and start != type(module).bias_initializer:
    raise ValueError(
      f'bias_initializer={start!r} has no effect with use_bias=False.'
    )
  has_slope = module.activation == 'leaky_relu'
  if not has_slope and module.slope != type(module).slope:
    raise ValueError(
      f'slope={module.slope!r} has no effect with '
      f"activation={module.activation!r}: only 'leaky_relu' has one."
    )


def _check_input_scale(scale, size: int) -> None:
  if not isinstance(scale, (tuple, list)):
    raise ValueError(f'input_scale={scale!r} is not a tuple of numbers.')
  for factor in scale:
    options.check_number('input_scale', factor)
  if scale and len(scale) != size:
    raise ValueError(
      f'input_scale={scale!r} needs {size} entries, one for each of an example.'
    )
