"""How the networks start: bounds and moments from the fans, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import models


def _start(module, *names):
  """Fresh leaves of the named layers; what nobody asks for is not compiled."""

  def pick(key):
    params = module.init(key, *module.example_inputs())['params']
    return [params[layer][leaf] for layer, leaf in map(str.split, names)]

  return jax.jit(pick)(jax.random.key(0))


def _assert_uniform(leaf, bound):
  assert 0.9 * bound < jnp.max(jnp.abs(leaf)) <= bound
  np.testing.assert_allclose(jnp.std(leaf), bound / np.sqrt(3), rtol=0.1)


def test_cnn_generator_starts_xavier_and_torch():
  module = models.generator('cnn', width=8, image_size=8)
  l1, conv4, deconv1, bias, scale, shift = _start(
    module,
    'l1 kernel',
    'conv4 kernel',
    'deconv1 kernel',
    'l1 bias',
    'deconv1_bn scale',
    'deconv1_bn bias',
  )
  _assert_uniform(l1, np.sqrt(6 / (128 + 64)))
  _assert_uniform(conv4, np.sqrt(6 / (9 * 8 + 9 * 3)))
  _assert_uniform(deconv1, 1 / np.sqrt(16 * 32))
  _assert_uniform(bias, 1 / np.sqrt(128))
  np.testing.assert_array_equal(scale, 1.0)
  np.testing.assert_array_equal(shift, 0.0)


def test_cnn_discriminator_starts_orthogonal():
  module = models.discriminator('cnn', width=4, image_size=8)
  names = ('conv2 kernel', 'conv7 kernel', 'proj kernel')
  for kernel in _start(module, *names):
    matrix = kernel.reshape(-1, kernel.shape[-1])
    eye = np.eye(matrix.shape[1])
    np.testing.assert_allclose(matrix.T @ matrix, eye, atol=1e-5)
  inputs = module.example_inputs()
  params = jax.eval_shape(module.init, jax.random.key(0), *inputs)['params']
  assert 'bias' not in params['proj'] and 'bias' in params['conv7']


@pytest.mark.parametrize(
  'make, layer, fan',
  [
    (models.generator, 'deconv1', 128),
    (models.discriminator, 'conv2', 4 * 16),
  ],
)
def test_dc_starts_normal(make, layer, fan):
  module = make('dc', width=16, image_size=8, init_std=0.005)
  conv, dense = _start(module, f'{layer} kernel', 'dense kernel')
  np.testing.assert_allclose(jnp.std(conv), 0.005, rtol=0.05)
  assert jnp.max(jnp.abs(conv)) > 0.01  # a uniform distribution ends at 0.0087
  _assert_uniform(dense, 1 / np.sqrt(fan))
  assert make('dc').init_std == 0.01


def test_mlp_starts():
  options = dict(features=(96,), z_size=32, data_shape=(1,), gain=1.4)
  start = lambda initializer: _start(
    models.generator('mlp', initializer=initializer, **options), 'dense1 kernel'
  )[0]
  _assert_uniform(start('torch'), 1.4 / np.sqrt(32))
  _assert_uniform(start('glorot'), 1.4 * np.sqrt(6 / 128))
  wide = start('orthogonal')  # so its rows are orthogonal
  np.testing.assert_allclose(wide @ wide.T, 1.96 * np.eye(32), atol=1e-4)
