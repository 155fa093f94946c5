"""Augmentation of images on the device: flips, crops and DiffAugment.

Randomness is per example. `keys` are `[B]` typed keys, one a row, and a row of
the result depends on its own key and pixels alone: a device that holds a part
of a batch draws what a single one would have drawn. The draws do not depend on
the precision of the images.
"""

from collections.abc import Callable

import jax
from jax import numpy as jnp


def flip(keys: jax.Array, x: jax.Array) -> jax.Array:
  """Mirrors each image left to right with probability 1/2.

  Args:
    keys: `[B]` typed keys.
    x: `[B, H, W, C]`, bytes or floats.

  Returns:
    The images, shape and dtype as given.

  Raises:
    ValueError: the keys are not one a row, or `x` is not images.
  """
  _check(keys, x)

  def one(key, image):
    return jnp.where(_uniform(key) < 0.5, image[:, ::-1], image)

  return jax.vmap(one)(keys, x)


def random_crop(keys: jax.Array, x: jax.Array, padding: int) -> jax.Array:
  """Pads with zeros on all sides and cuts the old size out at a random place.

  Zero is black for bytes and grey for floats in [-1, 1].

  Args:
    keys: `[B]` typed keys.
    x: `[B, H, W, C]`, bytes or floats.
    padding: pixels on each side; common for CIFAR-10 is 4.

  Returns:
    The images moved by -padding .. padding pixels, uniformly along each axis.

  Raises:
    ValueError: negative padding, or as for `flip`.
  """
  _check(keys, x)
  if padding < 0:
    raise ValueError(f'padding={padding} must be 0 or more.')
  crop = lambda key, image: _crop(key, image, (padding, padding))
  return jax.vmap(crop)(keys, x)


def diff_augment(
  keys: jax.Array, x: jax.Array, policy: tuple[str, ...]
) -> jax.Array:
  """Differentiable augmentation, for real and generated images alike.

  Affine in x for a given key, so it has derivatives of any order, in forward
  and in reverse mode.

  Args:
    keys: `[B]` typed keys. The draws of one transformation do not depend on
      which others are in the policy.
    x: `[B, H, W, C]` floats in [-1, 1]; the result may leave that range.
    policy: names of `TRANSFORMS` in the order in which they are applied, see
      `check_policy`; () returns x.

  Returns:
    The augmented images, shape and dtype as given.

  Raises:
    ValueError: an unknown name, `x` is not floats, or as for `flip`.

  References:
    Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training,
    2020, section 3.2; sizes are rounded as in their code.
  """
  _check(keys, x)
  _check_names(policy)
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(f'diff_augment needs floats in [-1, 1], got {x.dtype}.')

  def one(key, image):
    for name in policy:
      place = list(TRANSFORMS).index(name)
      image = TRANSFORMS[name](jax.random.fold_in(key, place), image)
    return image

  return jax.vmap(one)(keys, x)


def check_policy(text: str) -> tuple[str, ...]:
  """'color,translation' -> ('color', 'translation'); '' -> ().

  Raises:
    ValueError: a word that is not in `TRANSFORMS`, or one that comes twice.
  """
  policy = tuple(word.strip() for word in text.split(',')) if text else ()
  _check_names(policy)
  return policy


def _check_names(policy: tuple[str, ...]) -> None:
  unknown = [name for name in policy if name not in TRANSFORMS]
  if isinstance(policy, str) or unknown or len(set(policy)) < len(policy):
    given = policy if isinstance(policy, str) else ','.join(policy)
    raise ValueError(
      f'diff_augment={given!r} must be words of {list(TRANSFORMS)} with commas'
      " between them, each at most once, or '' for none."
    )


def _check(keys: jax.Array, x: jax.Array) -> None:
  if x.ndim != 4:
    raise ValueError(
      f'augmentation needs images [B, H, W, C], got shape {x.shape}.'
    )
  if not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key):
    raise ValueError(
      f'keys is an array of {keys.dtype}; pass typed keys, one a row.'
    )
  if keys.shape != x.shape[:1]:
    raise ValueError(
      f'keys has shape {keys.shape}; a batch of {x.shape[0]} needs one key a'
      f' row, ({x.shape[0]},).'
    )


# What follows sees one image, [H, W, C], and its key.


def _uniform(key, shape: tuple[int, ...] = ()) -> jax.Array:
  # Always float32: float64 runs are to draw the same numbers.
  return jax.random.uniform(key, shape, jnp.float32)


def _places(key, counts: list[int]) -> jax.Array:
  """One of 0 .. count - 1 for each axis."""
  counts = jnp.array(counts, jnp.int32)
  return jax.random.randint(key, counts.shape, 0, counts, jnp.int32)


def _color(key, image):
  """Brightness +U(-.5, .5), saturation *U(0, 2), contrast *U(.5, 1.5)."""
  low, high = jnp.array([[-0.5, 0.0, 0.5], [0.5, 2.0, 1.5]], jnp.float32)
  drawn = low + (high - low) * _uniform(key, (3,))
  brightness, saturation, contrast = drawn.astype(image.dtype)
  image = image + brightness
  grey = jnp.mean(image, axis=-1, keepdims=True)
  image = grey + saturation * (image - grey)
  mean = jnp.mean(image)
  return mean + contrast * (image - mean)


def _translation(key, image):
  """Moves by up to 1/8 of the size along each axis; zeros come in."""
  return _crop(key, image, [_part(size, 8) for size in image.shape[:2]])


def _crop(key, image, padding):
  """The image moved by up to `padding` pixels (rows, columns)."""
  row, column = _places(key, [2 * pad + 1 for pad in padding])
  padded = jnp.pad(image, [*((pad, pad) for pad in padding), (0, 0)])
  # One slice costs less than shifts written as products with 0-1 matrices, its
  # gradient too (a third to a half on CPU), and needs no exact matmul.
  return jax.lax.dynamic_slice(padded, (row, column, jnp.int32(0)), image.shape)


def _cutout(key, image):
  """A rectangle of half the height and width becomes zero, cut at borders."""
  sizes = image.shape[:2]
  lengths = [_part(size, 2) for size in sizes]
  # The centre lies anywhere on an axis; an even length has its centre between
  # two pixels, so one place more.
  counts = [
    n + 1 - length % 2 for n, length in zip(sizes, lengths, strict=True)
  ]
  hidden = []
  for n, length, centre in zip(
    sizes, lengths, _places(key, counts), strict=True
  ):
    place = jnp.arange(n) - (centre - length // 2)
    hidden.append((place >= 0) & (place < length))
  square = hidden[0][:, None, None] & hidden[1][None, :, None]
  return jnp.where(square, jnp.zeros_like(image), image)


def _part(size: int, divisor: int) -> int:
  """size / divisor, rounded half up."""
  return int(size / divisor + 0.5)


# name -> (key, image [H, W, C]) -> image. A new one goes to the end: the place
# of a name decides its draws.
TRANSFORMS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
  'color': _color,
  'translation': _translation,
  'cutout': _cutout,
}
