"""The MNIST pair of the implicit-competitive-regularization paper.

The generator has ReLU before batch norm, the critic 5x5 convolutions without
padding and max pooling. Convolutions start from N(0, `init_std`^2), as in the
published training code, all else as in PyTorch.

References:
  Schaefer, Zheng, Anandkumar, Implicit Competitive Regularization in GANs,
  2020, and its code, after the GAN exercise of Stanford's CS231n.
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.models import layers, options


class Generator(nn.Module):
  """Maps latents `[B, z_size]` to images in [-1, 1], `[B, H, W, channels]`.

  `width` is the first channel count of the critic and scales all layers of
  both players. `axis_name` is the devices' axis for batch norm.
  """

  width: int = 32
  image_size: int = 28
  channels: int = 1
  z_size: int = 96
  init_std: float = 0.01
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
    norm = dict(train=train, axis_name=self.axis_name)
    normal = nn.initializers.normal(self.init_std)
    side, width = self.image_size // 4, self.width
    x = nn.relu(layers.Dense(32 * width, name='dense1')(z))
    x = layers.batch_norm(x, name='dense1_bn', **norm)
    x = nn.relu(layers.Dense(4 * width * side**2, name='dense2')(x))
    # Each position of the first map has statistics of its own.
    x = layers.batch_norm(x, name='dense2_bn', **norm)
    x = x.reshape(-1, side, side, 4 * width)
    x = layers.ConvTranspose(2 * width, kernel_init=normal, name='deconv1')(x)
    x = layers.batch_norm(nn.relu(x), name='deconv1_bn', **norm)
    x = layers.ConvTranspose(self.channels, kernel_init=normal, name='deconv2')(
      x
    )
    return nn.tanh(x)


class Discriminator(nn.Module):
  """Maps images `[B, H, W, channels]` to one logit each, `[B]`."""

  width: int = 32
  image_size: int = 28
  channels: int = 1
  init_std: float = 0.01
  # Relativistic losses do not see it, so Adam would multiply rounding noise.
  final_bias: bool = True

  def __post_init__(self):
    super().__post_init__()
    _check(self)
    options.check_flag('final_bias', self.final_bias)

  def example_inputs(self) -> tuple[jax.Array, ...]:
    """Arguments of `init` after the key."""
    size = self.image_size
    return (jnp.zeros((1, size, size, self.channels)),)

  @nn.compact
  def __call__(self, x, labels=None, *, train=False) -> jax.Array:
    """A logit for each image; labels and train are not used."""
    chex.assert_shape(
      x, (None, self.image_size, self.image_size, self.channels)
    )
    normal = nn.initializers.normal(self.init_std)
    for i, multiple in enumerate((1, 2), start=1):
      x = layers.Conv(
        multiple * self.width,
        kernel=5,
        padding=0,
        kernel_init=normal,
        name=f'conv{i}',
      )(x)
      x = max_pool(nn.leaky_relu(x, 0.01))
    x = x.reshape(x.shape[0], -1)
    x = nn.leaky_relu(layers.Dense(32 * self.width, name='dense1')(x), 0.01)
    return layers.Dense(1, use_bias=self.final_bias, name='dense2')(x)[:, 0]


def max_pool(x: jax.Array) -> jax.Array:
  """The greatest of each 2x2 pixels, `[B, 2H, 2W, C]` to `[B, H, W, C]`.

  Where several are greatest, each takes an equal share of the gradient;
  PyTorch gives all of it to the first. Empty regions of a digit are such ties.
  There the patches under the four pixels are the same, and with them the
  gradient of the kernel; only that of the image differs.
  """
  batch, height, width, channels = x.shape
  # XLA's CPU compiler is slow at the gradients of reduce_window.
  x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
  return jnp.max(x, axis=(2, 4))


def _check(module) -> None:
  options.check_size('width', module.width)
  options.check_size('image_size', module.image_size, multiple_of=4)
  if module.image_size < 16:
    raise ValueError(
      f'image_size={module.image_size!r} is too small for two 5x5 convolutions '
      'with pooling; 16 is the least.'
    )
  options.check_size('channels', module.channels)
  options.check_number('init_std', module.init_std, above=0)
