"""Augmentation: what moves where, how often, and its derivatives."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from gan_jax import augment

pytestmark = pytest.mark.float64

MANY = 10_000
ALL = ('color', 'translation', 'cutout')


def keys(count, seed=0):
  return jax.random.split(jax.random.key(seed), count)


def normal(*shape, seed=0):
  return jnp.array(np.random.default_rng(seed).normal(size=shape))


def many(policy, image):
  """One image augmented with 10,000 keys, `[10,000, H, W, C]`."""
  x = jnp.broadcast_to(jnp.asarray(image), (MANY, *np.shape(image)))
  return np.asarray(
    jax.jit(lambda x: augment.diff_augment(keys(MANY), x, policy))(x)
  )


def assert_uniform(counts, share):
  """Each of the events came with this probability, to four deviations."""
  margin = 4 * np.sqrt(MANY * share * (1 - share))
  assert abs(np.asarray(counts) - MANY * share).max() < margin, counts


# Flips and crops.


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_half_of_the_images_are_mirrored_left_to_right(dtype):
  image = np.arange(12, dtype=dtype).reshape(2, 3, 2)
  mirrored = np.array(
    [[[4, 5], [2, 3], [0, 1]], [[10, 11], [8, 9], [6, 7]]], dtype
  )
  flipped = jax.jit(augment.flip)(
    keys(MANY), jnp.broadcast_to(image, (MANY, 2, 3, 2))
  )
  assert flipped.dtype == dtype
  same = (np.asarray(flipped) == image).all((1, 2, 3))
  turned = (np.asarray(flipped) == mirrored).all((1, 2, 3))
  assert (same ^ turned).all()
  assert_uniform([turned.sum()], 0.5)  # 5,000, less or more than 200


def test_flips_do_not_depend_on_the_type_of_pixels():
  x = jnp.arange(64 * 6, dtype=jnp.int32).reshape(64, 2, 3, 1) % 256
  own = keys(64)
  run = lambda dtype: augment.flip(own, x.astype(dtype))
  for dtype in (jnp.float32, jnp.float64, jnp.bfloat16):
    np.testing.assert_array_equal(run(dtype), run(jnp.uint8))


def test_random_crop_moves_by_the_padding_at_most():
  image = np.zeros((5, 5, 1), np.uint8)
  image[2, 2] = 255
  x = jnp.broadcast_to(image, (MANY, 5, 5, 1))
  crop = jax.jit(augment.random_crop, static_argnums=2)
  moved = np.asarray(crop(keys(MANY), x, 1))
  assert moved.dtype == np.uint8
  counts = (moved == 255).sum(axis=0)[..., 0]
  assert_uniform(counts[1:4, 1:4], 1 / 9)
  assert counts.sum() == MANY  # and nowhere else
  np.testing.assert_array_equal(crop(keys(MANY), x, 0), x)
  with pytest.raises(ValueError, match='padding=-1 must be 0 or more'):
    augment.random_crop(keys(MANY), x, -1)


# DiffAugment, each transformation by itself.


def test_translation_moves_a_pixel_by_an_eighth_at_most_and_uniformly():
  image = np.zeros((16, 8, 1))
  image[8, 4] = 1.0
  counts = many(('translation',), image).sum(axis=0)[..., 0]
  # 2 pixels of 16 up or down, 1 of 8 left or right: 15 places.
  assert_uniform(counts[6:11, 3:6], 1 / 15)
  assert counts.sum() == MANY


def test_translation_moves_all_pixels_alike_and_zeros_come_in():
  image = 1 + np.arange(16 * 16 * 2.0).reshape(16, 16, 2)
  moved = many(('translation',), image)[:100]
  padded = np.pad(image, [(2, 2), (2, 2), (0, 0)])
  places = [padded[i : i + 16, j : j + 16] for i in range(5) for j in range(5)]
  found = [(moved == place).all((1, 2, 3)) for place in places]
  np.testing.assert_array_equal(np.sum(found, axis=0), 1)
  assert np.any(found, axis=1).sum() > 20  # nearly all of 25 were drawn


@pytest.mark.parametrize('size, reach', [(32, 4), (48, 6), (28, 4), (3, 0)])
def test_translation_reaches_an_eighth_rounded_half_up(size, reach):
  moved = many(('translation',), np.ones((size, 1, 1)))[:2000, :, 0, 0]
  np.testing.assert_array_equal(
    np.unique((moved == 0).sum(axis=1)), np.arange(reach + 1)
  )


def test_cutout_zeroes_a_square_of_half_the_side_cut_at_the_borders():
  cut = many(('cutout',), np.full((16, 16, 3), 7.0))
  assert set(np.unique(cut)) == {0.0, 7.0}
  hidden = cut == 0
  rows, columns = hidden.any((2, 3)), hidden.any((1, 3))
  np.testing.assert_array_equal(
    hidden, (rows[:, :, None] & columns[:, None])[..., None].repeat(3, -1)
  )
  for axis in (rows, columns):
    # One run of hidden pixels: the mask changes at most twice.
    assert np.abs(np.diff(axis.astype(int), axis=1)).sum(axis=1).max() == 2
    # The centre has 17 places, 9 of them 4 or more pixels from both borders;
    # nearer ones, at 0 to 3 pixels, leave 4 to 7 of the 8 rows.
    lengths = np.bincount(axis.sum(axis=1), minlength=9)
    assert_uniform(lengths[8:], 9 / 17)
    assert_uniform(lengths[4:8], 2 / 17)
    assert lengths[4:].sum() == MANY


def test_cutout_of_an_odd_length_is_centred_on_a_pixel():
  # 5 rows: 3 hidden, centre on one of 5 rows; one column is hidden always.
  hidden = many(('cutout',), np.ones((5, 1, 1)))[..., 0, 0] == 0
  expected = {(1, 1, 0, 0, 0), (1, 1, 1, 0, 0), (0, 1, 1, 1, 0)}
  expected |= {(0, 0, 1, 1, 1), (0, 0, 0, 1, 1)}
  found, counts = np.unique(hidden.astype(int), axis=0, return_counts=True)
  assert {tuple(row) for row in found.tolist()} == expected
  assert_uniform(counts, 1 / 5)


def colors(count):
  """Brightness, contrast and saturation of the keys, read off known images."""
  augmented = jax.jit(augment.diff_augment, static_argnums=2)
  run = lambda image: np.asarray(
    augmented(
      keys(count), np.broadcast_to(image, (count, *image.shape)), ('color',)
    )
  )
  black = run(np.zeros((2, 1, 3)))  # has neither contrast nor colour
  brightness = black[:, 0, 0, 0]
  np.testing.assert_array_equal(
    black, black[:, :1, :1, :1].repeat(3, -1).repeat(2, 1)
  )
  # Grey, mean 0: contrast alone spreads it.
  grey = run(np.array([-1.0, 1.0]).reshape(2, 1, 1).repeat(3, -1))
  contrast = grey[:, 1, 0, 0] - brightness
  np.testing.assert_allclose(grey[:, 0, 0, 0] - brightness, -contrast)
  # Each pixel's mean is 0: both spread it.
  vivid = run(np.array([[[1.0, -1.0, 0.0]]]).repeat(2, 0))
  saturation = (vivid[:, 0, 0, 0] - brightness) / contrast
  return np.array([brightness, contrast, saturation])


def test_color_draws_from_the_published_ranges():
  drawn = colors(MANY)
  for values, low, high in zip(
    drawn, (-0.5, 0.5, 0), (0.5, 1.5, 2), strict=True
  ):
    assert low <= values.min() and values.max() <= high
    counts, _ = np.histogram(values, 10, (low, high))
    assert_uniform(counts, 1 / 10)
  assert abs(np.corrcoef(drawn) - np.eye(3)).max() < 0.04  # 4 deviations


@pytest.mark.parametrize('channels', [3, 1])
def test_color_is_affine_with_these_coefficients(channels):
  x = np.asarray(normal(6, 5, 4, channels))
  b, c, s = colors(6)[:, :, None, None, None]
  actual = augment.diff_augment(keys(6), jnp.array(x), ('color',))
  grey, mean = x.mean(-1, keepdims=True), x.mean((1, 2, 3), keepdims=True)
  expected = b + mean + c * (grey - mean) + c * s * (x - grey)
  np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


# All of them.


@pytest.mark.parametrize('policy', [(name,) for name in ALL] + [ALL])
def test_derivatives_of_any_order(policy):
  x, v, u = (normal(2, 8, 8, 3, seed=seed) for seed in range(3))
  function = lambda x: augment.diff_augment(keys(2), x, policy)
  slope = jax.grad(lambda x: jnp.sum(jnp.square(function(x))) / 2)

  @jax.jit
  def derivatives(x, v, u):
    out, tangent = jax.jvp(function, (x,), (v,))
    pull = jax.vjp(function, x)[1]
    second = (
      jax.jvp(slope, (x,), (v,))[1],
      jax.grad(lambda x: jnp.vdot(slope(x), v))(x),
    )
    return function(x + v) - out, tangent, pull(u)[0], second, pull(tangent)[0]

  step, tangent, cotangent, second, expected = derivatives(x, v, u)
  # Affine: a difference of any length is the derivative.
  np.testing.assert_allclose(tangent, step, atol=1e-12)
  np.testing.assert_allclose(
    jnp.vdot(u, tangent), jnp.vdot(cotangent, v), rtol=1e-10
  )
  # The second derivative of |T(x)|^2 / 2 is J^T J, by either way of modes.
  for actual in second:
    np.testing.assert_allclose(actual, expected, atol=1e-12)


@pytest.mark.parametrize(
  'function',
  [
    augment.flip,
    lambda keys, x: augment.random_crop(keys, x, 2),
    lambda keys, x: augment.diff_augment(keys, x, ALL),
  ],
)
def test_a_row_depends_on_its_own_key_and_pixels_alone(function):
  function = jax.jit(function)
  x, four = normal(4, 8, 8, 3), keys(4)
  whole = function(four, x)
  np.testing.assert_array_equal(function(four, x), whole)
  halves = [function(four[i : i + 2], x[i : i + 2]) for i in (0, 2)]
  np.testing.assert_array_equal(np.concatenate(halves), whole)
  others = function(four, x.at[1].set(0.0))
  np.testing.assert_array_equal(others[2:], whole[2:])


def test_devices_that_hold_a_row_each_do_not_talk_to_each_other():
  def slope(keys, x):
    out, pull = jax.vjp(lambda x: augment.diff_augment(keys, x, ALL), x)
    return pull(out)[0]

  mesh = jax.make_mesh((4,), ('x',), axis_types=(jax.sharding.AxisType.Auto,))
  x, four = normal(4, 8, 8, 3), keys(4)
  placed = jax.device_put((four, x), jax.NamedSharding(mesh, jax.P('x')))
  compiled = jax.jit(slope).lower(*placed).compile()
  np.testing.assert_allclose(
    compiled(*placed), jax.jit(slope)(four, x), atol=1e-12
  )
  for collective in ('all-gather', 'all-reduce', 'all-to-all'):
    assert collective not in compiled.as_text()


def test_same_draws_in_each_precision_and_in_each_policy():
  x = normal(8, 8, 8, 3)
  augmented = jax.jit(augment.diff_augment, static_argnums=2)
  own = keys(8)
  run = lambda x, *policy: augmented(own, x, policy)
  single = run(x.astype(jnp.float32), *ALL)
  assert single.dtype == jnp.float32
  half = jax.eval_shape(lambda: run(x.astype(jnp.bfloat16), *ALL))
  assert half.dtype == jnp.bfloat16
  np.testing.assert_allclose(single, run(x, *ALL), atol=1e-5)
  # The policy is applied in its order, and each word draws its own.
  cut = run(jnp.ones((8, 8, 8, 3)), 'cutout') == 0
  np.testing.assert_array_equal(run(x, 'color', 'cutout')[cut], 0)
  np.testing.assert_allclose(
    run(x, 'color', 'cutout')[~cut], run(x, 'color')[~cut], rtol=1e-12
  )
  assert jnp.all(run(x, 'cutout', 'color')[cut] != 0)
  np.testing.assert_array_equal(run(x), x)


# Mistakes.


def test_check_policy():
  assert augment.check_policy('') == ()
  assert augment.check_policy('cutout') == ('cutout',)
  policy = augment.check_policy('translation, color')
  assert policy == ('translation', 'color')
  for text in ('colour', 'color,', 'color,color', ' '):
    with pytest.raises(ValueError, match='diff_augment=.*color.*cutout.*once'):
      augment.check_policy(text)


def test_mistakes_are_named():
  x = jnp.zeros((2, 4, 4, 1))
  with pytest.raises(ValueError, match="diff_augment='color'"):
    augment.diff_augment(keys(2), x, 'color')  # a string, not a tuple
  with pytest.raises(ValueError, match="diff_augment='blur' must be words of"):
    augment.diff_augment(keys(2), x, ('blur',))
  with pytest.raises(ValueError, match='uint8'):
    augment.diff_augment(keys(2), x.astype(jnp.uint8), ('color',))
  with pytest.raises(ValueError, match=r'images \[B, H, W, C\].*\(2, 4\)'):
    augment.flip(keys(2), x[:, :, 0, 0])
  with pytest.raises(ValueError, match=r'shape \(3,\); a batch of 2'):
    augment.flip(keys(3), x)
  with pytest.raises(ValueError, match='typed keys'):
    augment.random_crop(jnp.zeros((2, 2), jnp.uint32), x, 1)
