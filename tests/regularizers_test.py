"""Regularizers: critics with known slopes, kernels with known products."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from gan_jax import regularizers

pytestmark = pytest.mark.float64

POINTS = [[1.0, 2.0], [-1.0, 0.5], [0.0, 0.0]]


def normal(seed, shape):
  return jnp.array(np.random.default_rng(seed).normal(size=shape))


def linear(*weights):
  return lambda x: x @ jnp.array(weights)


def square(x):
  return jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim)))


def test_r1_and_r2_are_squared_slopes():
  x = jnp.array(POINTS)
  for penalty in (regularizers.r1, regularizers.r2):
    # Slope (3, 4) everywhere: 9 + 16, without gamma / 2.
    np.testing.assert_allclose(penalty(linear(3.0, 4.0), x), [25, 25, 25])
    # Slope 2x: 4 |x|^2.
    np.testing.assert_allclose(penalty(square, x), [20, 5, 0])


def test_slopes_are_taken_over_all_axes_of_an_image():
  images = jnp.arange(12.0).reshape(2, 2, 1, 3)
  # 4 (0 + 1 + 4 + ... + 25) and 4 (36 + ... + 121).
  np.testing.assert_allclose(regularizers.r1(square, images), [220, 1804])
  assert regularizers.gradient_penalty(square, images).shape == (2,)


@pytest.mark.parametrize(
  ('weights', 'options', 'expected'),
  [
    ((3.0, 4.0), {}, 16),  # slope 5, so (5 - 1)^2
    ((3.0, 4.0), {'one_sided': True}, 16),
    ((3.0, 4.0), {'target': 2.0}, 9),
    ((3.0, 4.0), {'target': 0.0}, 25),
    ((3.0, 4.0), {'target': 7.0, 'one_sided': True}, 0),
    ((0.3, 0.4), {}, 0.25),
    ((0.3, 0.4), {'one_sided': True}, 0),
    ((0.0, 0.0), {}, 1),
    ((0.0, 0.0), {'target': 3.0}, 9),
    ((0.0, 0.0), {'one_sided': True}, 0),
  ],
)
def test_gradient_penalty(weights, options, expected):
  actual = regularizers.gradient_penalty(
    linear(*weights), jnp.array(POINTS), **options
  )
  np.testing.assert_allclose(actual, [expected] * 3, rtol=1e-14)


def test_gradient_penalty_pulls_the_slope_towards_its_target():
  # (|w| - 1)^2 at w = (3, 4): 2 (5 - 1) w / 5, for each of three examples.
  total = lambda w: jnp.sum(
    regularizers.gradient_penalty(lambda x: x @ w, jnp.array(POINTS))
  )
  actual = jax.grad(total)(jnp.array([3.0, 4.0]))
  np.testing.assert_allclose(actual, [14.4, 19.2], rtol=1e-14)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize(
  ('options', 'curvature'),
  [({}, 0), ({'one_sided': True}, 0), ({'target': 0.0}, 6)],
)
def test_second_derivatives_at_zero_slope(options, curvature, dtype):
  # With target 0 it is |w|^2 for each of three examples, curvature 6.
  total = lambda w: jnp.sum(
    regularizers.gradient_penalty(
      lambda x: x @ w, jnp.array(POINTS, dtype), **options
    )
  )
  w = jnp.zeros(2, dtype)
  slope, hessian = jax.jit(
    lambda w: (jax.grad(total)(w), jax.hessian(total)(w))
  )(w)
  np.testing.assert_array_equal(slope, [0, 0])
  np.testing.assert_array_equal(hessian, curvature * np.eye(2))


@pytest.mark.parametrize(
  'penalty',
  [regularizers.r1, regularizers.r2, regularizers.gradient_penalty],
)
def test_penalties_do_not_reach_the_generator(penalty):
  total = lambda shift: jnp.sum(penalty(square, jnp.array(POINTS) + shift))
  assert jax.grad(total)(0.3) == 0
  # They reach the critic, whose slope is 2 w x.
  by_critic = lambda w: jnp.sum(
    penalty(lambda x: w * square(x), jnp.ones((1, 2)))
  )
  assert jax.grad(by_critic)(1.0) > 1


@pytest.mark.parametrize(
  'penalty',
  [regularizers.r1, regularizers.r2, regularizers.gradient_penalty],
)
def test_a_critic_has_to_give_one_number_per_example(penalty):
  for critic in (jnp.sum, lambda x: x[:, :1], lambda x: x[:2, 0]):
    with pytest.raises(
      ValueError, match=r'needs one value per example, \(3,\)'
    ):
      penalty(critic, jnp.array(POINTS))


def test_a_negative_target_is_refused():
  with pytest.raises(ValueError, match='target >= 0, got -1'):
    regularizers.gradient_penalty(square, jnp.array(POINTS), target=-1)


def test_interpolate_draws_one_uniform_weight_per_example():
  shape = (500, 2, 2, 1)
  weights = jax.jit(regularizers.interpolate)(
    jax.random.key(0), jnp.zeros(shape), jnp.ones(shape)
  ).reshape(500, 4)
  np.testing.assert_array_equal(weights, np.repeat(weights[:, :1], 4, axis=1))
  weights = np.sort(weights[:, 0])
  assert weights[0] >= 0 and weights[-1] < 1
  # Kolmogorov's distance from the uniform law; 1.63 / sqrt(n) at 1 %.
  assert np.abs(weights - np.arange(500) / 500).max() < 0.073


def test_interpolate_lies_between_real_and_fake():
  real, fake = normal(1, (2, 5, 3))
  at = jax.jit(regularizers.interpolate)(jax.random.key(2), real, fake)
  weights = (at - real) / (fake - real)
  np.testing.assert_allclose(
    weights, np.repeat(weights[:, :1], 3, 1), rtol=1e-9
  )
  assert ((weights >= 0) & (weights < 1)).all()


def test_interpolate_refuses_unequal_shapes():
  with pytest.raises(ValueError, match=r'\(4, 2\) and fake \(3, 2\)'):
    regularizers.interpolate(
      jax.random.key(0), jnp.zeros((4, 2)), jnp.zeros((3, 2))
    )


def test_dragan_points_lie_on_segments_into_the_unit_cube():
  # Ones and minus ones in turn: std 1 exactly. The offset is scale * w * u with
  # w and u uniform, w shared by an example: mean 1/4, second moment 1/9.
  real = jnp.where(jnp.arange(8000) % 2, 1.0, -1.0).reshape(2000, 4)
  points = jax.jit(regularizers.dragan_points)(jax.random.key(0), real, 0.5)
  unit = np.asarray(points - real) / 0.5
  assert unit.min() >= 0 and 0.9 < unit.max() < 1
  np.testing.assert_allclose(unit.mean(), 1 / 4, atol=0.01)
  np.testing.assert_allclose(np.square(unit).mean(), 1 / 9, atol=0.01)
  # E[w^2] E[u]^2 = 1/12 across two elements of an example, 1/16 across two
  # examples.
  within = np.mean(unit[:, 0] * unit[:, 1])
  np.testing.assert_allclose(within, 1 / 12, atol=0.006)
  across = np.mean(unit[:-1, 0] * unit[1:, 0])
  np.testing.assert_allclose(across, 1 / 16, atol=0.006)


def test_dragan_takes_one_std_over_the_whole_batch():
  # Elements 0, 0 and 4, 4: std 2 over all, though 0 within each example.
  real = jnp.array([[0.0, 0.0], [4.0, 4.0]])
  key = jax.random.key(3)
  draw = jax.jit(regularizers.dragan_points)
  offset = draw(key, real, 1.0) - real
  unit = jnp.array([[1.0, 1.0], [-1.0, -1.0]])  # std 1
  expected = draw(key, unit, 1.0) - unit
  np.testing.assert_allclose(offset, 2 * expected, rtol=1e-12)


def draw_interpolate(key, x, axis_name=None):
  return regularizers.interpolate(key, x, -x)


def draw_dragan(key, x, axis_name=None):
  return regularizers.dragan_points(key, x, 0.5, axis_name=axis_name)


def draw_noise(key, x, axis_name=None):
  return regularizers.instance_noise(key, x, 0.1)


@pytest.mark.parametrize('draw', [draw_interpolate, draw_dragan, draw_noise])
def test_a_split_batch_draws_what_the_whole_would(draw):
  key, x = jax.random.key(4), normal(5, (8, 3))
  keys = regularizers.example_keys(key, 8)
  split = jax.vmap(lambda k, x: draw(k, x, 'i'), axis_name='i')
  whole, given, parts = jax.jit(
    lambda: (
      draw(key, x),
      draw(keys, x),
      split(keys.reshape(4, 2), x.reshape(4, 2, 3)),
    )
  )()
  assert len(np.unique((whole - x)[:, 0])) == 8
  np.testing.assert_allclose(given, whole, rtol=1e-12)
  np.testing.assert_allclose(parts.reshape(8, 3), whole, rtol=1e-12)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('draw', [draw_interpolate, draw_dragan, draw_noise])
def test_draws_keep_shape_and_type(draw, dtype):
  for shape in ((4,), (4, 2), (4, 2, 2, 3)):
    x = jax.ShapeDtypeStruct(shape, dtype)
    points = jax.eval_shape(draw, jax.random.key(0), x)
    assert points.shape == shape and points.dtype == dtype


def test_instance_noise_is_gaussian_with_the_std_asked_for():
  draw = jax.jit(regularizers.instance_noise)
  noise = np.asarray(draw(jax.random.key(6), jnp.full((2000, 4), 3.0), 0.2))
  np.testing.assert_allclose(noise.mean(), 3, atol=0.01)
  np.testing.assert_allclose(noise.std(), 0.2, rtol=0.03)
  fourth = np.mean(((noise - 3) / 0.2) ** 4)  # 3 for a Gaussian
  np.testing.assert_allclose(fourth, 3, rtol=0.1)


def test_instance_noise_lets_gradients_through():
  total = lambda x: jnp.sum(
    regularizers.instance_noise(jax.random.key(0), x, 0.2)
  )
  slope = jax.jit(jax.grad(total))(jnp.zeros((2, 2)))
  np.testing.assert_array_equal(slope, np.ones((2, 2)))


def test_example_keys_fold_in_the_row():
  key = jax.random.key(7)
  keys = regularizers.example_keys(key, 3)
  for row in range(3):
    assert keys[row] == jax.random.fold_in(key, row)
  assert regularizers.example_keys(keys, 3) is keys


def test_wrong_keys_are_refused():
  key = jax.random.key(0)
  with pytest.raises(ValueError, match=r'shape \(2,\); a batch of 3'):
    regularizers.example_keys(jax.random.split(key, 2), 3)
  with pytest.raises(ValueError, match='uint32; pass a typed key'):
    regularizers.example_keys(jax.random.key_data(key), 2)


def test_clip_weights():
  params = {'a': jnp.array([-2.0, 0.005, 0.3]), 'b': (jnp.array(0.5),)}
  clipped = regularizers.clip_weights(params, 0.01)
  np.testing.assert_array_equal(clipped['a'], [-0.01, 0.005, 0.01])
  np.testing.assert_array_equal(clipped['b'][0], 0.01)
  with pytest.raises(ValueError, match='c > 0, got 0'):
    regularizers.clip_weights(params, 0)


def test_l2_sums_the_squares_of_all_leaves():
  params = {'kernel': jnp.array([[1.0, -2.0]]), 'bias': jnp.array(3.0)}
  np.testing.assert_allclose(regularizers.l2(params), 14)


@pytest.mark.parametrize(
  ('kernel', 'full', 'off_diagonal'),
  [
    ([[1, 0], [0, 1]], 0, 0),
    ([[0, 1], [-1, 0]], 0, 0),  # a rotation
    ([[2, 0], [0, 2]], 18, 0),  # 4 I - I
    ([[1, 1], [0, 1]], 3, 2),  # W^T W = [[1, 1], [1, 2]]
    ([[1], [2]], 16, 0),  # W^T W = 5
    # One input, two outputs: W W^T = 2, while W^T W is all ones.
    ([[1, 1]], 1, 2),
    ([[1, 0]], 0, 0),  # orthogonal rows cost nothing, though W^T W is not I
    # Input channels and taps are one axis: columns (1, 0) and (1, 1).
    ([[[[1, 1]]], [[[0, 1]]]], 3, 2),
  ],
)
def test_orthogonal(kernel, full, off_diagonal):
  params = {'kernel': jnp.array(kernel, float), 'bias': jnp.full(2, 7.0)}
  np.testing.assert_allclose(regularizers.orthogonal(params), full)
  actual = regularizers.orthogonal(params, off_diagonal=True)
  np.testing.assert_allclose(actual, off_diagonal)


def test_orthogonal_sums_over_leaves():
  params = [2 * jnp.eye(2), (jnp.array([[1.0, 1.0]]), jnp.ones(3))]
  np.testing.assert_allclose(regularizers.orthogonal(params), 18 + 1)


@pytest.mark.parametrize('shape', [(2, 5), (5, 2), (3, 3)])
def test_the_smaller_gram_matrix_changes_value_by_a_constant_only(shape):
  w = normal(8, shape)
  large = lambda w: jnp.sum(jnp.square(w.T @ w - jnp.eye(shape[1])))
  ours, theirs = jax.jit(
    lambda w: [
      jax.value_and_grad(f)(w) for f in (regularizers.orthogonal, large)
    ]
  )(w)
  surplus = max(shape[1] - shape[0], 0)
  np.testing.assert_allclose(ours[0], theirs[0] - surplus, rtol=1e-10)
  np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-10)


def test_unit_columns_by_hand():
  kernel = jnp.array([[3.0, 0.0, 0.0], [4.0, 0.0, -2.0]])
  expected = [[0.6, 0.0, 0.0], [0.8, 0.0, -1.0]]
  np.testing.assert_allclose(regularizers.unit_columns(kernel), expected)
