"""The 256 px convolutional pair of the relativistic-GAN landscape paper.

Latents become a map of 4x4 pixels, which 4x4 transposed convolutions double
until the last; the discriminator goes the same way back. `width` is the channel
count next to the image, 32 in the paper, and doubles with every halving of the
image. No convolution has a bias.

References:
  Sun, Fang, Schwing, Towards a Better Global Loss Landscape of GANs, 2020, and
  its code.
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import dtypes

from gan_jax.models import layers, options

orthogonal = nn.initializers.orthogonal()


class Generator(nn.Module):
  """Maps latents `[B, z_size]` to images in [-1, 1], `[B, H, W, channels]`.

  Starts as in PyTorch. `axis_name` is the devices' axis for batch norm.
  """

  width: int = 32
  image_size: int = 256
  channels: int = 3
  z_size: int = 128
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
    widths = _widths(self)[::-1]
    x = LatentConvTranspose(widths[0], name='deconv1')(z)
    for i, features in enumerate((*widths[1:], self.channels), start=2):
      x = layers.batch_norm(
        x, train=train, axis_name=self.axis_name, name=f'deconv{i - 1}_bn'
      )
      x = layers.ConvTranspose(features, use_bias=False, name=f'deconv{i}')(
        nn.relu(x)
      )
    return nn.tanh(x)


class Discriminator(nn.Module):
  """Maps images `[B, H, W, channels]` to one logit each, `[B]`.

  All weights start orthogonal; spectral normalization is on all layers or none.
  """

  width: int = 32
  image_size: int = 256
  channels: int = 3
  spectral_norm: bool = True

  def __post_init__(self):
    super().__post_init__()
    _check(self)
    options.check_flag('spectral_norm', self.spectral_norm)

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
    common = dict(
      use_bias=False,
      spectral_norm=self.spectral_norm,
      kernel_init=orthogonal,
    )
    for i, features in enumerate(_widths(self), start=1):
      x = layers.Conv(features, 4, 2, name=f'conv{i}', **common)(x)
      x = nn.leaky_relu(x, 0.1)
    x = x.reshape(x.shape[0], -1)
    return layers.Dense(1, name='proj', **common)(x)[:, 0]


class LatentConvTranspose(nn.Module):
  """Maps latents, an image of one pixel, `[B, in]`, to `[B, 4, 4, features]`.

  PyTorch's ConvTranspose2d with kernel 4, stride 1, padding 0, without a bias.
  The kernel is `[4, 4, in, features]`, flipped as in `layers.ConvTranspose`.
  """

  features: int

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    shape = (4, 4, z.shape[-1], self.features)
    kernel = self.param(
      'kernel', layers.torch_transpose_kernel_init, shape, jnp.float32
    )
    z, kernel = dtypes.promote_dtype(z, kernel)
    return jnp.einsum('bc,hwcf->bhwf', z, kernel)[:, ::-1, ::-1]


def _widths(module) -> list[int]:
  """Channels of the maps from half the image size down to 4x4."""
  halvings = int(module.image_size).bit_length() - 3
  return [module.width * 2**i for i in range(halvings)]


def _check(module) -> None:
  options.check_size('width', module.width)
  options.check_size('channels', module.channels)
  options.check_size('image_size', module.image_size)
  size = module.image_size
  if size < 8 or size & (size - 1):
    raise ValueError(f'image_size={size} is not a power of two from 8 on.')
