"""Layers against numbers worked out by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.models import layers


def test_conv_adds_up_its_window_and_its_bias():
  # 3x3 of ones over 4x4 ones, padded: 4 at the corners, 6 at edges, 9 inside.
  module = layers.Conv(1)
  params = {'kernel': jnp.ones((3, 3, 1, 1)), 'bias': jnp.array([0.5])}
  actual = module.apply({'params': params}, jnp.ones((1, 4, 4, 1)))
  line = np.array([2, 3, 3, 2])
  np.testing.assert_allclose(actual[0, :, :, 0], np.outer(line, line) + 0.5)


def test_strided_conv_halves_and_correlates():
  # Output i reads pixels 2 i - 1 + k: tap k = 3 alone reads 2 i + 2.
  module = layers.Conv(1, 4, 2, use_bias=False)
  kernel = jnp.zeros((4, 4, 1, 1)).at[1, 3, 0, 0].set(1.0)
  x = jnp.arange(16.0).reshape(1, 4, 4, 1)
  actual = module.apply({'params': {'kernel': kernel}}, x)
  np.testing.assert_allclose(actual[0, :, :, 0], [[2, 0], [10, 0]])


def test_dense_maps_the_last_axis():
  params = {
    'kernel': jnp.array([[1.0, 2.0], [3.0, 4.0]]),
    'bias': jnp.array([10.0, 20.0]),
  }
  actual = layers.Dense(2).apply({'params': params}, jnp.ones((1, 3, 2)))
  np.testing.assert_allclose(actual, np.broadcast_to([14.0, 26.0], (1, 3, 2)))


@pytest.mark.parametrize(
  'module, shape, bound',
  [
    (layers.Dense(400), (1, 100), 1 / 10),  # fan 100
    (layers.Conv(400), (1, 4, 4, 4), 1 / 6),  # 3 * 3 * 4
    (layers.Conv(400, 4, 2), (1, 4, 4, 4), 1 / 8),  # 4 * 4 * 4
    (layers.ConvTranspose(100), (1, 2, 2, 4), 1 / 40),  # 4 * 4 * 100
  ],
  ids=['dense', 'conv3', 'conv4', 'transpose'],
)
def test_weights_and_biases_start_as_in_pytorch(module, shape, bound):
  init = jax.jit(module.init)
  params = init(jax.random.key(0), jnp.zeros(shape))['params']
  assert set(params) == {'kernel', 'bias'}
  for leaf in jax.tree.leaves(params):
    assert leaf.dtype == jnp.float32
    assert 0.9 * bound < jnp.max(leaf) <= bound
    assert -0.9 * bound > jnp.min(leaf) >= -bound
  # Uniform within b: standard deviation b / sqrt 3.
  std = jnp.std(params['kernel'])
  np.testing.assert_allclose(std, bound / np.sqrt(3), rtol=0.02)


@pytest.mark.parametrize(
  'module, shape',
  [
    (layers.Dense(4, use_bias=False, spectral_norm=True), (1, 3)),
    (layers.Conv(4, use_bias=False, spectral_norm=True), (1, 4, 4, 3)),
    (layers.ConvTranspose(4, use_bias=False, spectral_norm=True), (1, 2, 2, 3)),
  ],
  ids=['dense', 'conv', 'transpose'],
)
def test_normalized_layers_ignore_the_scale_of_their_kernel(module, shape):
  shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(shape))
  assert set(shapes['params']) == {'kernel'}
  assert shapes['spectral']['u'].shape == (4,)
  rng = np.random.default_rng(0)
  kernel = rng.normal(size=shapes['params']['kernel'].shape)
  x = jnp.asarray(rng.normal(size=shape))
  apply = jax.jit(
    lambda kernel: module.apply(
      {'params': {'kernel': kernel}, 'spectral': {'u': jnp.full(4, 0.5)}}, x
    )
  )
  y = apply(kernel)
  np.testing.assert_allclose(apply(7 * kernel), y, rtol=1e-4, atol=1e-6)


class Norm(nn.Module):
  train: bool
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x):
    return layers.batch_norm(
      x, train=self.train, axis_name=self.axis_name, name='bn'
    )


def test_batch_norm_by_hand():
  # Mean 2, variance 1; a tenth of each goes into running 0 and 4.
  x = jnp.array([[1.0], [3.0]])
  variables = {
    'params': {'bn': {'scale': jnp.ones(1), 'bias': jnp.zeros(1)}},
    'batch_stats': {'bn': {'mean': jnp.zeros(1), 'var': jnp.full(1, 4.0)}},
  }
  y, moved = Norm(train=True).apply(variables, x, mutable='batch_stats')
  np.testing.assert_allclose(y, [[-1.0], [1.0]], rtol=1e-4)
  stats = moved['batch_stats']['bn']
  np.testing.assert_allclose(stats['mean'], [0.2], rtol=1e-6)
  np.testing.assert_allclose(stats['var'], [3.7], rtol=1e-6)
  y = Norm(train=False).apply(variables, x)
  np.testing.assert_allclose(y, x / 2, rtol=1e-5)
  variables['batch_stats']['bn']['var'] = jnp.zeros(1)
  y = Norm(train=False).apply(variables, x)
  np.testing.assert_allclose(y, x / np.sqrt(1e-5), rtol=1e-5)


@pytest.mark.parametrize('num_devices', [1, 4])
def test_batch_norm_of_a_narrow_band_far_from_zero(num_devices):
  # Squares near 10 000 are a thousandth apart in float32, more than the
  # variance. The first device's own mean is another than the rest's.
  mean, std = 100.0, 0.02
  rng = np.random.default_rng(0)
  x = mean + std * rng.normal(size=(64, 3))
  x[:16] += std
  x = x.astype(np.float32)
  exact = x.astype(np.float64)
  variance = exact.var(axis=0)
  module = Norm(train=True, axis_name='data' if num_devices > 1 else None)
  variables = {
    'params': {'bn': {'scale': jnp.ones(3), 'bias': jnp.zeros(3)}},
    'batch_stats': {'bn': {'mean': jnp.zeros(3), 'var': jnp.zeros(3)}},
  }

  def apply(x):
    y, moved = module.apply(variables, x, mutable='batch_stats')
    return y, moved['batch_stats']['bn']

  if num_devices > 1:
    mesh = jax.make_mesh(
      (num_devices,), ('data',), axis_types=(jax.sharding.AxisType.Auto,)
    )
    apply = jax.shard_map(
      apply,
      mesh=mesh,
      in_specs=jax.P('data'),
      out_specs=(jax.P('data'), jax.P()),
    )
  y, stats = jax.jit(apply)(x)
  np.testing.assert_allclose(stats['mean'], exact.mean(0) / 10, rtol=1e-6)
  np.testing.assert_allclose(stats['var'], variance / 10, rtol=1e-3)
  expected = (exact - exact.mean(0)) / np.sqrt(variance + 1e-5)
  np.testing.assert_allclose(y, expected, atol=2e-3)


def test_dense_takes_a_start_for_its_bias():
  module = layers.Dense(2, bias_init=nn.initializers.constant(3.0))
  params = module.init(jax.random.key(0), jnp.ones((1, 4)))['params']
  np.testing.assert_array_equal(params['bias'], [3.0, 3.0])


def test_computation_follows_the_widest_type():
  module = layers.Conv(2, spectral_norm=True)
  x = jnp.ones((1, 4, 4, 1), jnp.bfloat16)
  variables = jax.jit(module.init)(jax.random.key(0), x)
  apply = lambda variables: jax.eval_shape(module.apply, variables, x).dtype
  assert apply(variables) == jnp.float32
  half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), variables['params'])
  assert apply({**variables, 'params': half}) == jnp.bfloat16
