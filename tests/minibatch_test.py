"""Minibatch layers: direct sums, numbers by hand, and rows that stay apart."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import batch_game, games, losses, models
from gan_jax.models import minibatch

pytestmark = pytest.mark.float64

B, F, KERNELS, DIMS = 8, 3, 2, 4
X = np.random.default_rng(0).normal(size=(B, F))


def discriminate(x, axis_name=None):
  tensor = np.random.default_rng(1).normal(size=(F, KERNELS * DIMS))
  module = minibatch.Discrimination(KERNELS, DIMS, axis_name=axis_name)
  params = {'tensor': {'kernel': jnp.asarray(tensor)}}
  return module.apply({'params': params}, x)


def test_discrimination_against_the_papers_sum():
  tensor = np.random.default_rng(1).normal(size=(F, KERNELS * DIMS))
  tensor = tensor.reshape(F, KERNELS, DIMS)
  expected = np.zeros((B, KERNELS))
  for i in range(B):
    for j in range(B):
      for k in range(KERNELS):
        difference = (X[i] - X[j]) @ tensor[:, k]
        expected[i, k] += np.exp(-np.abs(difference).sum())
  actual = discriminate(jnp.asarray(X))
  np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.slow
def test_discrimination_of_equal_and_of_distant_rows():
  np.testing.assert_allclose(discriminate(jnp.ones((B, F))), B)
  far = 1e3 * jnp.arange(1.0, 5.0)[:, None] * jnp.ones((1, F))
  np.testing.assert_allclose(discriminate(far), 1)  # each is near itself alone


def test_deviation_by_hand():
  # Channel 0 deviates by 1, channel 1 by 3, of a mean that does not count.
  channels = [[6, 3], [6, -3], [4, 3], [4, -3]]
  x = jnp.array(channels, float)[:, None, None]
  y = minibatch.deviation(jnp.broadcast_to(x, (4, 2, 2, 2)))
  assert y.shape == (4, 2, 2, 3)
  np.testing.assert_allclose(y[..., 2], 2.0, rtol=1e-7)
  np.testing.assert_array_equal(y[:, :1, :1, :2], x)


@pytest.mark.slow
def test_deviation_of_one_row_has_a_slope():
  x = jnp.ones((1, 1, 1, 3))
  value, slope = jax.value_and_grad(
    lambda x: jnp.sum(minibatch.deviation(x)[..., 3])
  )(x)
  np.testing.assert_allclose(value, 1e-4)
  assert np.isfinite(slope).all()


@pytest.mark.slow
@pytest.mark.parametrize(
  'layer',
  [
    discriminate,
    lambda x, axis_name=None: minibatch.deviation(
      x[:, None, None], axis_name=axis_name
    )[:, 0, 0],
  ],
  ids=minibatch.MINIBATCH[::-1],
)
def test_rows_of_all_devices_count(layer):
  four = jax.vmap(lambda x: layer(x, axis_name='data'), axis_name='data')
  parts = four(jnp.asarray(X).reshape(4, 2, F))
  whole = layer(jnp.asarray(X))
  np.testing.assert_allclose(parts.reshape(whole.shape), whole, rtol=1e-12)
  alone = jax.vmap(layer)(jnp.asarray(X).reshape(4, 2, F))
  assert np.abs(alone.reshape(whole.shape) - whole).max() > 0.1


class Spread(nn.Module):
  """The deviation of the batch as every row's logit."""

  minibatch: str = 'deviation'

  @nn.compact
  def __call__(self, x, labels=None, *, train=False):
    return minibatch.deviation(x[:, None, None])[:, 0, 0, -1]


class Constant(nn.Module):
  z_size: int = 2

  @nn.compact
  def __call__(self, z, labels=None, *, train=False):
    return 0 * z


@pytest.mark.parametrize('marked, logit', [('deviation', 1e-4), ('', 0.375)])
def test_real_and_generated_rows_do_not_mix(marked, logit):
  # All real rows are equal, and so are all generated ones: no deviation, but
  # half of what they differ by where one call takes both, as for other critics.
  setup = batch_game.Setup(
    Constant(), Spread(minibatch=marked), losses.get('nonsaturating'), None
  )
  state = {'batch_stats': {}, 'spectral': {}}
  batch = {'image': jnp.full((4, 2), 0.75)}

  @jax.jit
  def metrics():
    game = batch_game.make_game(
      setup, games.Players(state, state), batch, jax.random.key(0)
    )
    return game.loss_d({}, {})[1]['metrics']

  seen = metrics()
  np.testing.assert_allclose(seen['real_logit'], logit, rtol=1e-6)
  np.testing.assert_allclose(seen['fake_logit'], logit, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
  'name, size, kind',
  [
    ('cnn', dict(width=2, image_size=8), 'discrimination'),
    ('dc', dict(width=2, image_size=8), 'discrimination'),
    ('resnet', dict(width=4), 'deviation'),
  ],
)
def test_networks_see_the_batch_and_their_weights_travel(name, size, kind):
  module = models.discriminator(name, **size, minibatch=kind)
  variables = models.initialize(module, jax.random.key(0))
  shape = module.example_inputs()[0].shape[1:]
  x = jax.random.normal(jax.random.key(1), (4, *shape))
  apply = jax.jit(module.apply)
  logits, fewer = apply(variables, x), apply(variables, x[:2])
  assert logits.shape == (4,)
  assert np.abs(logits[:2] - fewer).max() > 1e-6
  plain = models.discriminator(name, **size)
  plain = jax.eval_shape(plain.init, jax.random.key(0), x[:1])
  new = set(variables['params']) - set(plain['params'])
  assert new == ({'minibatch', 'beside'} if kind == 'discrimination' else set())
  back = models.from_torch(module, models.to_torch(module, variables))
  jax.tree.map(np.testing.assert_array_equal, back, dict(variables))
