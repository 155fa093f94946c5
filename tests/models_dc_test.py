"""The critics of competitive gradient descent and their dropout, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import models
from gan_jax.models import dropout, mnist


def _shapes(module):
  return jax.eval_shape(
    module.init, jax.random.key(0), *module.example_inputs()
  )


def _count(module):
  params = _shapes(module)['params']
  return sum(leaf.size for leaf in jax.tree.leaves(params))


def _filled(module, seed=0):
  """Random variables; running variances are about one, vectors u are unit."""
  rng = np.random.default_rng(seed)

  def one(path, leaf):
    values = rng.uniform(-0.5, 0.5, leaf.shape)
    if path[-1].key == 'u':
      values /= np.linalg.norm(values)
    if path[-1].key == 'var':
      values += 1.0
    return jnp.asarray(values, leaf.dtype)

  return jax.tree_util.tree_map_with_path(one, _shapes(module))


def _taps(module, value=1.0, **values):
  """Layers that pass channel 0 on, times a value; dense kernels are constant.

  Batch norm does nothing, biases are zero, but for leaves named in `values`.
  """

  def one(path, leaf):
    layer, kind = path[-2].key, path[-1].key
    if f'{layer}_{kind}' in values:
      return jnp.full_like(leaf, values[f'{layer}_{kind}'])
    if kind == 'kernel' and leaf.ndim == 2:
      return jnp.full_like(leaf, 1.0)
    if kind == 'kernel':
      # Strided kernels take every second pixel, transposed ones repeat each.
      side = leaf.shape[0]
      centre = slice(1, 3) if 'deconv' in layer else (side - 1) // 2
      return jnp.zeros_like(leaf).at[centre, centre, 0, 0].set(value)
    if kind == 'var':
      return jnp.full_like(leaf, 1 - 1e-5)
    return jnp.full_like(leaf, 1.0 if kind == 'scale' else 0.0)

  return jax.tree_util.tree_map_with_path(one, _shapes(module))


def _draw(x, rate, seed=0, **options):
  layer = dropout.ChannelDropout(rate, **options)
  rngs = {'dropout': jax.random.key(seed)}
  return jax.jit(lambda x: layer.apply({}, x, train=True, rngs=rngs))(x)


def test_dropout_takes_whole_channels_and_keeps_the_mean():
  x = jnp.ones((2048, 2, 3, 8))
  out = np.asarray(_draw(x, 0.25))
  assert out.shape == x.shape
  np.testing.assert_array_equal(out, np.broadcast_to(out[:, :1, :1], out.shape))
  kept = out[:, 0, 0] > 0
  np.testing.assert_allclose(out[:, 0, 0][kept], 4 / 3, rtol=1e-6)
  np.testing.assert_array_equal(out[:, 0, 0][~kept], 0.0)
  # 16,384 draws of standard deviation sqrt(3/16): the mean's is 0.0034.
  assert abs(kept.mean() - 0.75) < 0.015
  # Channels and examples are drawn apart: all eight are kept in 0.75^8 = 0.1.
  assert abs(kept.all(axis=1).mean() - 0.75**8) < 0.03
  assert np.all(np.abs(kept.mean(axis=0) - 0.75) < 0.05)
  assert len(np.unique(kept, axis=0)) > 100


def test_dropout_is_the_identity_in_evaluation_and_at_rate_zero():
  x = jnp.arange(8.0).reshape(2, 4)
  layer = dropout.ChannelDropout(0.9)
  np.testing.assert_array_equal(layer.apply({}, x, train=False), x)
  # No key is asked for where nothing is dropped.
  nothing = dropout.ChannelDropout(0.0)
  np.testing.assert_array_equal(nothing.apply({}, x, train=True), x)


def test_dropout_is_a_function_of_its_key():
  x = jnp.ones((32, 16))
  first, again, other = _draw(x, 0.5), _draw(x, 0.5), _draw(x, 0.5, seed=1)
  np.testing.assert_array_equal(first, again)
  assert 0.3 < jnp.mean(first != other) < 0.7
  # The first rows do not know how many follow, nor the precision of theirs.
  np.testing.assert_array_equal(_draw(x[:5], 0.5), first[:5])
  with jax.enable_x64(True):
    double = _draw(jnp.ones((32, 16), jnp.float64), 0.5)
    assert double.dtype == jnp.float64
  np.testing.assert_array_equal(np.asarray(double), first)


@pytest.mark.parametrize('wrapper', ['vmap', 'shard_map'])
def test_dropout_on_four_devices_draws_what_one_draws(wrapper):
  x = jnp.ones((8, 3, 16))
  one = _draw(x, 0.5)
  local = lambda x: _draw(x, 0.5, axis_name='data')
  if wrapper == 'vmap':
    four = jax.vmap(local, axis_name='data')(x.reshape(4, 2, 3, 16))
  else:
    axis_types = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((4,), ('data',), axis_types=axis_types)
    spec = jax.P('data')
    run = jax.shard_map(
      local, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
    )
    four = jax.jit(run)(x)
  np.testing.assert_array_equal(four.reshape(x.shape), one)
  assert len(np.unique(one[:, 0], axis=0)) == 8


@pytest.mark.parametrize('rate', [1.0, -0.1, float('nan'), True, '0.5'])
def test_dropout_rates_outside_of_range_are_named(rate):
  shown = repr(rate)
  with pytest.raises(ValueError, match=f'^rate={shown} is not '):
    dropout.ChannelDropout(rate)
  with pytest.raises(ValueError, match=f'^dropout={shown} is not '):
    models.discriminator('dc', dropout=rate)


def test_variants_of_the_dc_critic_have_these_variables():
  count = lambda **options: _count(models.discriminator('dc', **options))
  assert count() == count(spectral_norm=True, dropout=0.5) == 662_977
  # A scale and a shift for each of 64 + 128 + 256 channels.
  assert count(batch_norm=True) == 662_977 + 896
  shapes = _shapes(
    models.discriminator('dc', batch_norm=True, spectral_norm=True)
  )
  convs = {'conv1', 'conv2', 'conv3'}
  norms = {f'{name}_bn' for name in convs}
  assert set(shapes['params']) == convs | norms | {'dense'}
  assert set(shapes['batch_stats']) == norms
  assert set(shapes['spectral']) == convs | {'dense'}
  assert set(_shapes(models.discriminator('dc'))) == {'params'}


def test_dc_critic_normalizes_before_its_slope():
  # 1 - 3 = -2 behind the first norm, then three slopes of 0.01; behind the
  # second, -0.02 + 3 stays; four pixels are left.
  module = models.discriminator(
    'dc', width=1, image_size=16, channels=1, batch_norm=True
  )
  variables = _taps(module, conv1_bn_mean=3.0, conv2_bn_bias=3.0)
  logits = jax.jit(module.apply)(variables, jnp.ones((1, 16, 16, 1)))
  np.testing.assert_allclose(logits, [4 * 2.98], rtol=1e-5)


def test_dc_critic_divides_each_weight_by_its_norm():
  # Taps of 7 become taps of 1, and ones for 16 features become quarters.
  module = models.discriminator(
    'dc', width=1, image_size=16, channels=1, spectral_norm=True
  )
  variables = _taps(module, value=7.0)
  first = lambda u: jnp.zeros_like(u).at[0].set(1.0)
  variables['spectral'] = jax.tree.map(first, variables['spectral'])
  logits = jax.jit(module.apply)(variables, jnp.ones((1, 16, 16, 1)))
  np.testing.assert_allclose(logits, [4 / 4], rtol=1e-5)


def test_dc_critic_drops_behind_each_activation():
  module = models.discriminator(
    'dc', width=1, image_size=8, channels=1, dropout=0.5
  )
  variables = _taps(module)

  def logits(seed):
    rngs = {'dropout': jax.random.key(seed)}
    x = jnp.ones((512, 8, 8, 1))
    return module.apply(
      variables, x, train=True, mutable=('batch_stats',), rngs=rngs
    )[0]

  logits = jax.jit(logits)
  first = logits(0)
  # The tapped channel must survive three times, and is doubled each time.
  assert set(np.unique(first)) == {0.0, 8.0}
  assert abs(jnp.mean(first > 0) - 1 / 8) < 0.06
  np.testing.assert_array_equal(logits(0), first)
  assert jnp.any(logits(1) != first)
  whole = jax.jit(module.apply)(variables, jnp.ones((1, 8, 8, 1)))
  np.testing.assert_array_equal(whole, [1.0])


@pytest.mark.slow
@pytest.mark.float64
def test_derivatives_see_one_mask():
  # With a fixed mask the slope along a direction is that of differences.
  module = models.discriminator(
    'dc', width=2, image_size=8, channels=1, dropout=0.5
  )
  variables = _filled(module)
  rng = np.random.default_rng(1)
  x, v = jnp.asarray(rng.normal(size=(2, 4, 8, 8, 1)))
  rngs = {'dropout': jax.random.key(3)}
  f = jax.jit(
    lambda x: jnp.sum(module.apply(variables, x, train=True, rngs=rngs) ** 2)
  )
  slope = jnp.vdot(jax.jit(jax.grad(f))(x), v)
  step = 1e-6
  difference = (f(x + step * v) - f(x - step * v)) / (2 * step)
  assert abs(slope) > 1e-3
  np.testing.assert_allclose(slope, difference, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.float64
def test_dc_critic_on_four_devices_equals_one():
  module = models.discriminator(
    'dc',
    width=2,
    image_size=8,
    dropout=0.3,
    batch_norm=True,
    spectral_norm=True,
  )
  variables = _filled(module)
  x = jnp.asarray(np.random.default_rng(1).normal(size=(8, 8, 8, 3)))
  key = jax.random.key(2)

  def apply(module):
    return lambda x: module.apply(
      variables, x, train=True, mutable=('batch_stats',), rngs={'dropout': key}
    )

  expected, stats = jax.jit(apply(module))(x)
  four = jax.vmap(apply(module.clone(axis_name='data')), axis_name='data')
  actual, each = jax.jit(four)(x.reshape(4, 2, 8, 8, 3))
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
  close(actual.reshape(8), expected)
  jax.tree.map(lambda a, b: close(a[3], b), each, stats)


@pytest.mark.parametrize('option', ['batch_norm', 'spectral_norm'])
def test_flags_of_the_dc_critic(option):
  with pytest.raises(ValueError, match=f"^{option}='yes' is not True or False"):
    models.discriminator('dc', **{option: 'yes'})


def test_mnist_parameter_counts():
  # Counted in PyTorch on the authors' code.
  assert _count(models.generator('mnist')) == 6_675_009
  assert _count(models.discriminator('mnist')) == 1_102_721
  params = _shapes(models.discriminator('mnist'))['params']
  # 28 -> 24 -> 12 -> 8 -> 4, with 64 channels at last.
  assert params['dense1']['kernel'].shape == (1024, 1024)
  assert params['conv2']['kernel'].shape == (5, 5, 32, 64)
  params = _shapes(models.generator('mnist'))['params']
  assert params['dense2']['kernel'].shape == (1024, 7 * 7 * 128)


def test_mnist_generator_rectifies_before_it_normalizes():
  # relu(-1) + 0.3; 32 such; relu(9.6 - 10) + 0.2; relu(0.2 - 1) + 0.1.
  module = models.generator('mnist', width=1, image_size=16, z_size=1)
  biases = dict(dense1_bias=-1.0, dense2_bias=-10.0, deconv1_bias=-1.0)
  shifts = dict(dense1_bn_bias=0.3, dense2_bn_bias=0.2, deconv1_bn_bias=0.1)
  apply = jax.jit(module.apply)
  images = apply(_taps(module, **biases, **shifts), jnp.zeros((2, 1)))
  expected = np.full((2, 16, 16, 1), np.tanh(0.1))
  np.testing.assert_allclose(images, expected, rtol=1e-5)
  # Where each layer passes on, relu(9.6 - 9) + 0.2 = 0.8, + 0.1.
  biases = dict(biases, dense2_bias=-9.0, deconv1_bias=0.0)
  images = apply(_taps(module, **biases, **shifts), jnp.zeros((1, 1)))
  np.testing.assert_allclose(images, np.tanh(expected[:1] * 0 + 0.9), rtol=1e-5)


def test_mnist_generator_moves_its_statistics():
  module = models.generator('mnist', width=1, image_size=16, z_size=1)
  variables = _taps(module)
  z = jnp.array([[1.0], [-1.0], [3.0], [-1.0]])
  apply = jax.jit(
    lambda z: module.apply(variables, z, train=True, mutable='batch_stats')
  )
  images, new = apply(z)
  assert images.shape == (4, 16, 16, 1)
  # relu gives 1, 0, 3, 0: mean 1, variance 1.5; running ones move by a tenth.
  statistics = new['batch_stats']['dense1_bn']
  np.testing.assert_allclose(statistics['mean'], 0.1, rtol=1e-5)
  np.testing.assert_allclose(statistics['var'], 0.9 + 0.15, rtol=1e-4)


def test_mnist_critic_by_hand():
  # Signs change, and each second value meets the slope: -0.01 and 0.01 behind
  # the convolutions, -(2 pixels' channels: 0.01 and 0), -0.0001, 32 of them.
  module = models.discriminator('mnist', width=1, image_size=16)
  variables = _taps(module, value=-1.0, dense1_kernel=-1.0)
  logits = jax.jit(module.apply)(variables, jnp.ones((2, 16, 16, 1)))
  np.testing.assert_allclose(logits, 2 * [-0.0032], rtol=1e-5)


def test_max_pool_by_hand():
  x = jnp.arange(48.0).reshape(1, 4, 6, 2)
  # The lower right pixel of each four, rows 1 and 3, columns 1, 3 and 5.
  np.testing.assert_array_equal(mnist.max_pool(x), x[:, 1::2, 1::2])
  np.testing.assert_array_equal(mnist.max_pool(-x), -x[:, ::2, ::2])


def test_max_pool_shares_gradients_of_ties():
  x = jnp.array([[2.0, 2.0, 1.0, 5.0], [0.0, 2.0, 5.0, 5.0]])
  gradient = jax.grad(lambda x: jnp.sum(mnist.max_pool(x[None, ..., None])))(x)
  third = 1 / 3
  expected = [[third, third, 0, third], [0, third, third, third]]
  np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_mnist_starts():
  def pick(key):
    start = lambda module: module.init(key, *module.example_inputs())['params']
    g = start(models.generator('mnist', width=8, image_size=16))
    d = start(models.discriminator('mnist', width=8, image_size=16))
    normal = [p['kernel'] for p in (g['deconv1'], d['conv2'])]
    return normal, d['dense1']['kernel']

  normal, dense = jax.jit(pick)(jax.random.key(0))
  for kernel in normal:
    np.testing.assert_allclose(np.std(kernel), 0.01, rtol=0.05)
    assert np.max(kernel) > 0.02  # a uniform distribution ends at 0.0173
  # From the 16 channels of the one pixel that is left.
  assert 0.9 / 4 < np.max(dense) <= 1 / 4


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(image_size=30), '^image_size=30 is not a positive multiple of 4'),
    (dict(image_size=12), '^image_size=12 is too small for two 5x5 conv'),
    (dict(width=0), '^width=0 is not a positive integer'),
    (dict(channels=0), '^channels=0 is not a positive integer'),
    (dict(init_std=0), '^init_std=0 is not a finite number above 0'),
  ],
)
def test_mistakes_in_options_of_mnist(options, message):
  for make in (models.generator, models.discriminator):
    with pytest.raises(ValueError, match=message):
      make('mnist', **options)
  with pytest.raises(ValueError, match='^z_size=0 is not a positive integer'):
    models.generator('mnist', z_size=0)
  with pytest.raises(ValueError, match='^final_bias=1 is not True or False'):
    models.discriminator('mnist', final_bias=1)
