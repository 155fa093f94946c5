"""The residual pair of the study of which GAN trainings converge.

Four variants, all without normalization: 'resnet' doubles its channels at each
halving, up to `max_width`, and is the network of the published training runs
(CelebA-HQ 1024: width 16, embed_size 1; LSUN 256: width 64, max_width 1024);
'resnet2' is that of ImageNet 128, 'resnet3' and 'resnet4' those of the released
LSUN and CelebA generators at 256 px. Where `max_width` is left out, the
published code takes 512 for the generator but 1024 for the discriminator; here
both have 512.

Two options save memory and time where images are large. `dtype='bfloat16'`
computes everything between the image and the last layer so; parameters stay
float32 and are cast where they are used, latents, images and logits are float32
(with it the gradient at an image, which penalties are made of). `remat` keeps
of each block only its input and computes the block again for each derivative.

All weights and biases start as in PyTorch. Blocks are called `resnet_K_I`: K
counts resolutions from the network's input, I the blocks at one of them.

References:
  Mescheder, Geiger, Nowozin, Which Training Methods for GANs Do Actually
  Converge?, 2018, appendix, and its code.
"""

import functools
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.models import layers, options, resampling

# Output channels of each block, in multiples of width, by level and block.
Ladder = tuple[tuple[int, ...], ...]


class Variant(NamedTuple):
  """What tells the four networks apart.

  Attributes:
    kernel: size of the convolution at the image.
    unit_embedding: whether embeddings are scaled to length one; only then may
      one be given in place of a label.
    start: channels of the generator's first map, in multiples of width.
    generator: blocks from the smallest map to the image, doubling in between.
    discriminator: blocks from the image down, pooling in between.
  """

  kernel: int
  unit_embedding: bool
  start: int
  generator: Ladder
  discriminator: Ladder


# 'resnet' stands for as many levels as lead to a map of 4x4, see `_doubling`.
VARIANTS: dict[str, Variant | None] = {
  'resnet': None,
  'resnet2': Variant(
    kernel=3,
    unit_embedding=True,
    start=16,
    generator=((16, 16), (16, 16), (8, 8), (4, 4), (2, 2), (1, 1)),
    discriminator=((1, 2), (2, 4), (4, 8), (8, 16), (16, 16), (16, 16)),
  ),
  'resnet3': Variant(
    kernel=7,
    unit_embedding=False,
    start=32,
    generator=((16,), (16,), (8,), (4,), (2,), (1,), ()),
    discriminator=((), (2,), (4,), (8,), (16,), (16,), (32,)),
  ),
  'resnet4': Variant(
    kernel=7,
    unit_embedding=False,
    start=16,
    generator=((16,), (16,), (8,), (4,), (2,), (1,), (1,)),
    discriminator=((1,), (2,), (4,), (8,), (16,), (16,), (16,)),
  ),
}


# What layers are told; None leaves wider parameters, as float64, as they are.
DTYPES = {'float32': None, 'bfloat16': jnp.bfloat16}


class Generator(nn.Module):
  """Maps latents `[B, z_size]` to images in [-1, 1], `[B, H, W, channels]`.

  Attributes:
    variant: 'resnet', 'resnet2', 'resnet3' or 'resnet4'.
    width: channels at the image.
    max_width: bound on the channels of 'resnet'; the others have none.
    image_size: 4 times a power of two for 'resnet', else a multiple of 32, 64
      and 64.
    channels: of the image.
    z_size: length of a latent.
    labels: number of classes; with one, labels make no difference.
    embed_size: length of a class's embedding, which is put behind the latent.
    dtype: 'float32' or 'bfloat16', of the computation in the body.
    remat: whether blocks are computed again for derivatives, not kept.
  """

  variant: str = 'resnet'
  width: int = 64
  max_width: int = 512
  image_size: int = 256
  channels: int = 3
  z_size: int = 256
  labels: int = 1
  embed_size: int = 256
  dtype: str = 'float32'
  remat: bool = False

  def __post_init__(self):
    super().__post_init__()
    _check(self)
    options.check_size('z_size', self.z_size)
    options.check_size('embed_size', self.embed_size)

  def example_inputs(self) -> tuple[jax.Array, ...]:
    """Arguments of `init` after the key."""
    return jnp.zeros((1, self.z_size)), jnp.zeros(1, jnp.int32)

  @nn.compact
  def __call__(self, z, labels=None, *, train=False) -> jax.Array:
    """An image for each latent; train is not used.

    Args:
      z: latents, `[B, z_size]`.
      labels: class of each image, integers `[B]`, or for 'resnet' and 'resnet2'
        an embedding of each, `[B, embed_size]`. May be None with one class. A
        class that there is not, also a negative one, gives an image of NaN.
      train: not used.

    Returns:
      Images, `[B, image_size, image_size, channels]`.

    Raises:
      ValueError: labels of another kind or shape, or none where needed.
    """
    chex.assert_shape(z, (None, self.z_size))
    labels, variant = _as_array(labels), _variant(self)
    side = self.image_size // 2 ** (len(variant.generator) - 1)
    x = jnp.concatenate([z, self._embed(labels, len(z), variant)], axis=1)
    features = _width(self, variant.start)
    dtype = DTYPES[self.dtype]
    x = layers.Dense(side**2 * features, dtype=dtype, name='fc')(x)
    x = x.reshape(-1, side, side, features)
    for k, blocks in enumerate(variant.generator):
      x = _blocks(self, x, k, blocks, upsample=k > 0)
    x = layers.Conv(
      self.channels,
      variant.kernel,
      padding=variant.kernel // 2,
      dtype=dtype,
      name='conv_img',
    )(_activation(x))
    return nn.tanh(_wide(x))

  def _embed(self, labels, batch_size, variant):
    # PyTorch's embeddings start from N(0, 1).
    table = nn.Embed(
      self.labels,
      self.embed_size,
      embedding_init=nn.initializers.normal(1.0),
      name='embedding',
    )
    ready = labels is not None and jnp.issubdtype(labels.dtype, jnp.floating)
    if ready and variant.unit_embedding:
      _check_shape(labels, (batch_size, self.embed_size))
      embedding = labels
    else:
      embedding = table(_classes(self, labels, batch_size))
    return _unit(embedding) if variant.unit_embedding else embedding


class Discriminator(nn.Module):
  """Maps images `[B, H, W, channels]` to one logit each, `[B]`.

  There is a logit for each class; that of the image's label counts. The
  options are the generator's.
  """

  variant: str = 'resnet'
  width: int = 64
  max_width: int = 512
  image_size: int = 256
  channels: int = 3
  labels: int = 1
  dtype: str = 'float32'
  remat: bool = False

  def __post_init__(self):
    super().__post_init__()
    _check(self)

  def example_inputs(self) -> tuple[jax.Array, ...]:
    """Arguments of `init` after the key."""
    shape = (1, self.image_size, self.image_size, self.channels)
    return jnp.zeros(shape), jnp.zeros(1, jnp.int32)

  @nn.compact
  def __call__(self, x, labels=None, *, train=False) -> jax.Array:
    """A logit for each image; train is not used.

    Args:
      x: images, `[B, image_size, image_size, channels]`.
      labels: class of each, integers `[B]`. May be None with one class. A
        class that there is not, also a negative one, gives a logit of NaN.
      train: not used.

    Returns:
      Logits, `[B]`.

    Raises:
      ValueError: labels of another kind or shape, or none where needed.
    """
    chex.assert_shape(
      x, (None, self.image_size, self.image_size, self.channels)
    )
    variant = _variant(self)
    classes = _classes(self, _as_array(labels), len(x))
    x = layers.Conv(
      self.width,
      variant.kernel,
      padding=variant.kernel // 2,
      dtype=DTYPES[self.dtype],
      name='conv_img',
    )(x)
    for k, blocks in enumerate(variant.discriminator):
      x = resampling.mean_pool_3x3(x) if k else x
      x = _blocks(self, x, k, blocks)
    x = _activation(_wide(x.reshape(x.shape[0], -1)))
    logits = layers.Dense(self.labels, name='fc')(x)
    return jnp.take_along_axis(logits, classes[:, None], axis=1)[:, 0]


class Block(nn.Module):
  """x plus a tenth of two convolutions of it, `[B, H, W, features]`.

  Attributes:
    features: channels that come out.
    upsample: whether x is doubled first, to `[B, 2H, 2W, ...]`.
    dtype: of the computation; None: the widest of x and parameters.
  """

  features: int
  upsample: bool = False
  dtype: Any = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    x = resampling.upsample_nearest(x) if self.upsample else x
    inputs = x.shape[-1]
    hidden = min(inputs, self.features)
    conv = functools.partial(layers.Conv, dtype=self.dtype)
    dx = conv(hidden, name='conv_0')(_activation(x))
    dx = conv(self.features, name='conv_1')(_activation(dx))
    if inputs != self.features:
      x = conv(
        self.features, kernel=1, padding=0, use_bias=False, name='conv_s'
      )(x)
    return x + 0.1 * dx


# The generator's doubling is part of a block, so that the small map is kept.
_RematBlock = nn.remat(Block)


def _activation(x):
  return nn.leaky_relu(x, 0.2)


def _wide(x):
  """At least float32: what leaves the body."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _unit(embedding):
  square = jnp.sum(jnp.square(embedding), axis=1, keepdims=True)
  return embedding / jnp.sqrt(jnp.where(square > 0, square, 1.0))


def _variant(module) -> Variant:
  return VARIANTS[module.variant] or _doubling(int(module.image_size))


def _doubling(image_size: int) -> Variant:
  """The ladders of 'resnet', before `max_width` cuts them."""
  powers = [2**k for k in range((image_size // 4).bit_length())]
  return Variant(
    kernel=3,
    unit_embedding=True,
    start=powers[-1],
    generator=tuple((n,) for n in [*powers[-2::-1], 1]),
    discriminator=tuple((n,) for n in powers),
  )


def _width(module, multiple: int) -> int:
  width = multiple * module.width
  return width if VARIANTS[module.variant] else min(width, module.max_width)


def _blocks(module, x, level, multiples, *, upsample=False):
  """The blocks of one level; called within the players' compact methods."""
  make = _RematBlock if module.remat else Block
  for i, multiple in enumerate(multiples):
    x = make(
      _width(module, multiple),
      upsample=upsample and i == 0,
      dtype=DTYPES[module.dtype],
      name=f'resnet_{level}_{i}',
    )(x)
  return resampling.upsample_nearest(x) if upsample and not multiples else x


def _as_array(labels):
  try:
    return None if labels is None else jnp.asarray(labels)
  except (TypeError, ValueError) as error:
    raise ValueError(f'labels are not an array of numbers: {error}') from error


def _classes(module, labels, batch_size):
  """Integer labels `[B]`; zeros where there is but one class."""
  if labels is None and module.labels > 1:
    raise ValueError(
      f'labels=None, but the network has {module.labels} classes: pass the '
      'class of each example, integers [B].'
    )
  zeros = jnp.zeros(batch_size, jnp.int32)
  if labels is None:
    return zeros
  if not jnp.issubdtype(labels.dtype, jnp.integer):
    raise ValueError(
      f'labels of type {labels.dtype} are not integers, the class of each '
      f'example, as variant={module.variant!r} needs them here.'
    )
  _check_shape(labels, (batch_size,))
  if module.labels == 1:
    return zeros
  # Negative indices count from the end; beyond it both look-ups give NaN.
  labels = labels.astype(jnp.int32)
  return jnp.where(labels < 0, module.labels, labels)


def _check_shape(labels, shape):
  if labels.shape != shape:
    raise ValueError(f'labels have shape {labels.shape}, not {shape}.')


def _check(module) -> None:
  options.check_choice('variant', module.variant, VARIANTS)
  options.check_choice('dtype', module.dtype, DTYPES)
  options.check_flag('remat', module.remat)
  for option in ('width', 'max_width', 'image_size', 'channels', 'labels'):
    options.check_size(option, getattr(module, option))
  size, name = int(module.image_size), module.variant
  if VARIANTS[name] is None:
    right, fits = '4 times a power of 2', size >= 4 and size.bit_count() == 1
  else:
    smallest = 2 ** (len(VARIANTS[name].generator) - 1)
    right, fits = f'a multiple of {smallest}', size % smallest == 0
  if not fits:
    raise ValueError(
      f'image_size={size!r} is not {right}, as variant={name!r} needs.'
    )
  if VARIANTS[name] is None and module.max_width < module.width:
    raise ValueError(
      f'max_width={module.max_width!r} is less than width={module.width!r}.'
    )
  if VARIANTS[name] and module.max_width != type(module).max_width:
    raise ValueError(
      f'max_width={module.max_width!r} has no effect with variant={name!r}: '
      "only 'resnet' has a bound on its channels."
    )
