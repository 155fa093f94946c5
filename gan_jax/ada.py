"""The augmentation pipeline of StyleGAN2-ADA, with a probability that is given.

Geometry and colour of an image are changed, each kind with some probability, so
that a generator learns the images and not their augmentations while p is well
below 1. It is affine in the image for a given key, so it has derivatives of any
order. Randomness is per example, as in `augment`.

References:
  Karras et al., Training Generative Adversarial Networks with Limited Data,
  2020, section 3 and appendix B; numbers and order are those of their code.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import ndimage

# The orthogonal wavelet sym6. What is enlarged and reduced by it is unchanged.
_SYM6 = np.array(
  [
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057),
    *(-0.048311742585633, 0.4910559419267466, 0.787641141030194),
    *(0.3379294217276218, -0.07263752278646252, -0.021060292512300564),
    *(0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
  ]
)
_TAPS = len(_SYM6)
_BORDER = _TAPS // 4  # pixels around an image that the reduction needs
_INTEGER, _FRACTION = 0.125, 0.125  # of the image's size
_SCALE, _STRETCH = 0.2, 0.2  # log2
_BRIGHTNESS, _CONTRAST, _SATURATION = 0.2, 0.5, 1.0  # last two log2
_HIDDEN = 0.5


class Pipeline(NamedTuple):
  """Which kinds of augmentation there are, and how often.

  Attributes:
    strengths: (name, factor of p), names of `KINDS`, each at most once.
    p: probability of each single change; a float, or of the step.
  """

  strengths: tuple[tuple[str, float], ...] = ()
  p: float | Callable[[jax.Array], jax.Array] = 0.0


def parse(text: str) -> tuple[tuple[str, float], ...]:
  """'blit,color:0.5' -> (('blit', 1.0), ('color', 0.5)); '' -> ().

  Raises:
    ValueError: a word that is not in `KINDS` or comes twice, or a factor that
      is not in (0, 1].
  """
  strengths = []
  for word in text.split(',') if text else ():
    name, _, factor = word.strip().partition(':')
    try:
      strength = float(factor or 1)
    except ValueError:
      strength = math.nan
    known = name in KINDS and name not in dict(strengths)
    if not known or not 0 < strength <= 1:
      raise ValueError(
        f'policy={text!r} must be words of {list(KINDS)} with commas between '
        "them, each at most once, with a factor of p in (0, 1] after a ':' "
        f"where it is not 1; {word!r} is not. '' is none."
      )
    strengths.append((name, strength))
  return tuple(strengths)


def apply(
  keys: jax.Array,
  x: jax.Array,
  strengths: tuple[tuple[str, float], ...],
  p: float | jax.Array,
) -> jax.Array:
  """Augments real and generated images alike.

  Args:
    keys: `[B]` typed keys. The draws of one kind do not depend on which others
      there are.
    x: `[B, H, W, C]` floats in [-1, 1], 1 or 3 channels; the result may leave
      that range.
    strengths: see `parse`. The order is always that of `KINDS`.
    p: probability of each single change, in [0, 1].

  Returns:
    The augmented images, shape and dtype as given. Where geometry changes, the
    work is that of images 6 times as high and wide.

  Raises:
    ValueError: other images than these.
  """
  if x.ndim != 4 or x.shape[-1] not in (1, 3):
    raise ValueError(
      f'ada needs images [B, H, W, C] of 1 or 3 channels, got shape {x.shape}.'
    )
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(f'ada needs floats in [-1, 1], got {x.dtype}.')
  if not strengths:
    return x
  # Places of pixels need more than half precision.
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  p = jnp.asarray(p, wide.dtype)
  one = lambda key, image: _augment(key, image, dict(strengths), p)
  return jax.vmap(one)(keys, wide).astype(x.dtype)


# What follows sees one image, [H, W, C], and its key.


def _augment(key, image, strengths, p):
  keys = {n: jax.random.fold_in(key, i) for i, n in enumerate(KINDS)}
  height, width, channels = image.shape
  size = jnp.array([width, height], image.dtype)
  places = []
  if 'blit' in strengths:
    places.append(_blit(keys['blit'], strengths['blit'] * p, size))
  if 'geometry' in strengths:
    places.append(_geometry(keys['geometry'], strengths['geometry'] * p, size))
  if places:
    image = warp(image, _product(places))
  if 'color' in strengths:
    chance = strengths['color'] * p
    image = recolor(image, *_color(keys['color'], chance, channels))
  if 'cutout' in strengths:
    image = _cutout(keys['cutout'], strengths['cutout'] * p, image)
  return image


def warp(image: jax.Array, source: jax.Array) -> jax.Array:
  """Moves the pixels of an image.

  Args:
    image: `[H, W, C]` floats. Around it is its mirror image, once, then zeros.
    source: `[3, 3]`, affine: where a pixel at (x, y, 1) comes from, in pixels
      right and down from the middle of the image.

  Returns:
    `[H, W, C]`: the image in twice the resolution, sampled there by bilinear
    interpolation, and reduced again. The identity leaves it as it is.
  """
  height, width = image.shape[:2]
  margins = [(height - 1,) * 2, (width - 1,) * 2]
  image = jnp.pad(image, [*margins, (0, 0)], mode='reflect')
  for axis in (0, 1):
    image = _doubled(image, axis)
  image = _sampled(image, source, (height, width))
  for axis, size in ((0, height), (1, width)):
    image = _halved(image, axis, size)
  return image


def _sampled(large, source, sizes):
  """Pixels of a doubled image around the middle, `[2 (H + 6), ..., C]`."""
  rows, columns = (2 * (size + 2 * _BORDER) for size in sizes)
  # In doubled pixels from the middle. A pixel of the wavelet lies half of one
  # before the middle of its two.
  at = lambda count: jnp.arange(count, dtype=source.dtype) - count / 2 + 1
  x, y = jnp.meshgrid(at(columns), at(rows))
  matrix, shift = source[:2, :2], 2 * source[:2, 2]
  from_x = matrix[0, 0] * x + matrix[0, 1] * y + shift[0]
  from_y = matrix[1, 0] * x + matrix[1, 1] * y + shift[1]
  index = [from_y + large.shape[0] / 2 - 1, from_x + large.shape[1] / 2 - 1]
  take = lambda plane: ndimage.map_coordinates(plane, index, order=1)
  return jax.vmap(take, in_axes=2, out_axes=2)(large)


def _doubled(x, axis):
  """Twice as many pixels along an axis: zeros in between, then the filter."""
  x = jnp.moveaxis(x, axis, 0)
  padded = jnp.pad(x, [(_BORDER, _BORDER)] + [(0, 0)] * (x.ndim - 1))
  # Position 2q is where the odd taps meet pixels q + 2, q + 1, ..., q - 3, and
  # not a zero; 2q + 1 where the even ones meet q + 3, ..., q - 2.
  phases = []
  for first, offset in ((1, 2), (0, 3)):
    taps = [math.sqrt(2) * float(tap) for tap in _SYM6[first::2]]
    starts = [_BORDER + offset - i for i in range(len(taps))]
    parts = zip(taps, starts, strict=True)
    phases.append(sum(t * padded[s : s + len(x)] for t, s in parts))
  both = jnp.stack(phases, axis=1).reshape(-1, *x.shape[1:])
  return jnp.moveaxis(both, 0, axis)


def _halved(x, axis, size):
  """The filter, and every second of its results, `size` of them."""
  x = jnp.moveaxis(x, axis, 0)
  taps = enumerate(float(tap) / math.sqrt(2) for tap in _SYM6)
  made = sum(t * x[1 + j : 1 + j + 2 * size : 2] for j, t in taps)
  return jnp.moveaxis(made, 0, axis)


def recolor(image: jax.Array, matrix: jax.Array, shift: jax.Array) -> jax.Array:
  """Each pixel's `[3]` colour c becomes matrix c + shift.

  Args:
    image: `[H, W, 3]`, or `[H, W, 1]`, a grey one, which stays grey.
    matrix: `[3, 3]`.
    shift: `[3]`.
  """
  if image.shape[-1] == 1:
    return image * (jnp.sum(matrix) / 3) + jnp.mean(shift)
  exact = jax.lax.Precision.HIGHEST
  turned = jnp.einsum('hwc,dc->hwd', image, matrix, precision=exact)
  return turned + shift[None, None]


def _blit(key, p, size):
  """Mirrors, quarter turns, moves by whole pixels."""
  mirror, turn, move = jax.random.split(key, 3)
  mirrored = _chosen(mirror, p, _integer(2), 0)
  turns = _chosen(turn, p, _integer(4), 0).astype(int)
  moved = jnp.round(_chosen(move, p, _uniform((2,), _INTEGER), 0) * size)
  # Exact, where the cosine of a quarter turn is not.
  cos, sin = jnp.array([[1, 0], [0, 1], [-1, 0], [0, -1]], p.dtype)[turns]
  parts = [_scaling(1 - 2 * mirrored, 1), _turning(cos, sin), _moving(-moved)]
  return _product(parts)


def _geometry(key, p, size):
  """Scaling, turning, stretching, turning again, moving."""
  scale, before, stretch, after, move = jax.random.split(key, 5)
  scaled = _chosen(scale, p, _log_normal(_SCALE), 1)
  stretched = _chosen(stretch, p, _log_normal(_STRETCH), 1)
  # So that one of the two turns has probability p.
  half = 1 - jnp.sqrt(1 - p)
  turned = []
  for turn in (before, after):
    angle = _chosen(turn, half, _uniform((), math.pi), 0)
    turned.append(_turning(jnp.cos(angle), jnp.sin(angle)))
  moved = _chosen(move, p, _normal((2,), _FRACTION), 0) * size
  return _product(
    [
      _scaling(1 / scaled, 1 / scaled),
      turned[0],
      _scaling(1 / stretched, stretched),
      turned[1],
      _moving(-moved),
    ]
  )


def _color(key, p, channels):
  """Matrix and shift of brightness, contrast, luma flip, hue, saturation."""
  keys = jax.random.split(key, 5)
  brightness = _chosen(keys[0], p, _normal((), _BRIGHTNESS), 0)
  contrast = _chosen(keys[1], p, _log_normal(_CONTRAST), 1)
  flipped = _chosen(keys[2], p, _integer(2), 0)
  identity, grey = _identity_and_grey(p.dtype)
  parts = [contrast * identity, identity - 2 * flipped * grey]
  if channels == 3:
    parts.append(_hue(_chosen(keys[3], p, _uniform((), math.pi), 0)))
    saturation = _chosen(keys[4], p, _log_normal(_SATURATION), 1)
    parts.append(grey + saturation * (identity - grey))
  matrix = _product(parts[::-1])
  return matrix, brightness * jnp.sum(matrix, axis=1)


def _identity_and_grey(dtype):
  """The latter keeps of a colour what is grey."""
  return jnp.eye(3, dtype=dtype), jnp.full((3, 3), 1 / 3, dtype)


def _hue(angle):
  """Turns colours around grey."""
  identity, grey = _identity_and_grey(angle.dtype)
  cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
  cross = jnp.asarray(cross, angle.dtype)
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  return cos * identity + sin * cross + (1 - cos) * grey


def _cutout(key, p, image):
  """A rectangle of half the height and width becomes zero."""
  choice, place = jax.random.split(key)
  part = _chosen(choice, p, lambda key, dtype: jnp.asarray(_HIDDEN, dtype), 0)
  middles = jax.random.uniform(place, (2,), jnp.float32).astype(p.dtype)
  inside = []
  for n, middle in zip(image.shape[:2], middles, strict=True):
    at = (jnp.arange(n, dtype=p.dtype) + 0.5) / n
    inside.append(jnp.abs(at - middle) < part / 2)
  hidden = inside[0][:, None, None] & inside[1][None, :, None]
  return jnp.where(hidden, jnp.zeros_like(image), image)


def _chosen(key, p, draw, neutral):
  """What is drawn with probability p, else what changes nothing."""
  choice, what = jax.random.split(key)
  chosen = jax.random.uniform(choice, (), jnp.float32) < p
  return jnp.where(chosen, draw(what, p.dtype), jnp.asarray(neutral, p.dtype))


# Draws, of a key and a dtype. Always from float32: float64 runs are to draw the
# same numbers.


def _integer(count):
  def draw(key, dtype):
    return jax.random.randint(key, (), 0, count, jnp.int32).astype(dtype)

  return draw


def _uniform(shape, bound):
  def draw(key, dtype):
    drawn = jax.random.uniform(key, shape, jnp.float32, -1, 1)
    return bound * drawn.astype(dtype)

  return draw


def _normal(shape, deviation):
  def draw(key, dtype):
    return deviation * jax.random.normal(key, shape, jnp.float32).astype(dtype)

  return draw


def _log_normal(deviation):
  draw = _normal((), deviation)
  return lambda key, dtype: jnp.exp2(draw(key, dtype))


def _product(matrices):
  product = matrices[0]
  for matrix in matrices[1:]:
    product = jnp.matmul(product, matrix, precision=jax.lax.Precision.HIGHEST)
  return product


def _scaling(x, y):
  x, y, one = (jnp.asarray(value, jnp.result_type(x)) for value in (x, y, 1))
  return jnp.diag(jnp.stack([x, y, one]))


def _turning(cos, sin):
  return jnp.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], cos.dtype)


def _moving(by):
  return jnp.eye(3, dtype=by.dtype).at[:2, 2].set(by)


# In the order in which they are applied, which decides their draws.
KINDS = ('blit', 'geometry', 'color', 'cutout')
