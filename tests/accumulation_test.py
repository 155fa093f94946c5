"""A batch in parts is the batch: derivatives, draws, and what is refused."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import digits
from gan_jax import (
  accumulation,
  batch_game,
  build,
  games,
  losses,
  parallel,
  regularizers,
  step,
)

pytestmark = pytest.mark.float64


class Maker(nn.Module):
  """A dense layer; z_size is its input's."""

  z_size: int = 3

  def example_inputs(self):
    return (jnp.zeros((1, self.z_size)),)

  @nn.compact
  def __call__(self, z, labels=None, *, train=False):
    return jnp.tanh(nn.Dense(2, param_dtype=jnp.float64)(z))


class Judge(nn.Module):
  """One hidden layer, smooth, so that second derivatives are there."""

  def example_inputs(self):
    return (jnp.zeros((1, 2)),)

  @nn.compact
  def __call__(self, x, labels=None, *, train=False):
    hidden = jnp.tanh(nn.Dense(4, param_dtype=jnp.float64)(x))
    return nn.Dense(1, param_dtype=jnp.float64)(hidden)[:, 0]


def _wgan_gp(critic, real, fake, keys):
  points = regularizers.interpolate(keys, real, fake)
  return regularizers.gradient_penalty(critic, points)


def whole_and_parts(loss, count, size=6):
  """Both games of one batch, and the players."""
  setup = batch_game.Setup(
    Maker(),
    Judge(),
    losses.get(loss),
    method=None,
    penalties=(batch_game.Penalty('wgan_gp', 3.0, _wgan_gp),),
    instance_noise=0.1,
  )
  rng = np.random.default_rng(0)
  batch = {'image': jnp.asarray(rng.normal(size=(size, 2)))}
  players = games.Players(
    Maker().init(jax.random.key(1), jnp.zeros((1, 3)))['params'],
    Judge().init(jax.random.key(2), jnp.zeros((1, 2)))['params'],
  )
  state = {'batch_stats': {}, 'spectral': {}}
  make = lambda part: batch_game.make_game(
    setup, games.Players(state, state), part, jax.random.key(3)
  )
  in_parts = accumulation.in_parts(make, batch, count)
  return make(batch), in_parts, players


def test_parts_by_hand():
  # loss_d is the mean of (d x - g)^2 over x = 1 .. 4. At g = 1 and d = 2 these
  # are 1, 9, 25 and 49; its slope in d the mean of 2 (d x - g) x, 2, 12, 30 and
  # 56; that of this in g the mean of -2 x, -5. loss_g is the mean of g x.
  def make_game(part):
    x = part['image']
    loss_d = lambda g, d: (jnp.mean((d * x - g) ** 2), {'mean': jnp.mean(x)})
    return games.Game(lambda g, d: (jnp.mean(g * x), {}), loss_d, has_aux=True)

  game = accumulation.in_parts(make_game, {'image': jnp.arange(1.0, 5.0)}, 2)
  players = games.Players(jnp.array(1.0), jnp.array(2.0))

  def derive(players):
    at = games.derivatives(game, players)
    one = jnp.array(1.0)
    slopes = at.grad_d, at.grad_g, at.d_from_g(one), at.g_from_d(one)
    return at.loss_d, at.loss_g, *slopes, at.aux_d['mean']

  actual = jax.jit(derive)(players)
  np.testing.assert_allclose(actual, [21, 2.5, 25, 2.5, -5, 0, 2.5], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize('name', parallel.NAMES)
def test_parts_on_four_devices_are_the_batch_of_one(name):
  axis = parallel.axis_name(name)
  fed = {
    'image': np.random.default_rng(0).normal(size=(1, 2, 8, 2)),
    'row': np.tile(np.arange(8, dtype=np.int32), (1, 2, 1)),
  }

  def played(count, axis=None, compile_=jax.jit):
    sgd = optax.sgd(0.1)
    setup = batch_game.Setup(
      Maker(),
      Judge(),
      losses.get('relativistic'),
      games.alternating(sgd, sgd),
      penalties=(batch_game.Penalty('wgan_gp', 3.0, _wgan_gp),),
      accumulate=count,
      axis_name=axis,
    )
    state = step.init(setup, jax.random.key(0))
    call = step.make_call(setup, lambda resident, one: one, 1, compile_)
    return call(state, {}, fed_of(compile_), 0)

  devices = parallel.make(name)
  fed_of = lambda by: fed if by is jax.jit else devices.spread(fed)
  expected, metrics = played(1)
  actual, seen = played(2, axis, devices.compile)
  chex.assert_trees_all_close(
    (actual.players, seen['loss_d']),
    (expected.players, metrics['loss_d']),
    rtol=1e-6,
    atol=1e-9,
  )


@pytest.mark.slow
@pytest.mark.parametrize('loss', ['relativistic', 'minimax'])
def test_gradients_and_products_are_those_of_the_whole_batch(loss):
  # Latents, noise and mixing weights are drawn by row, or this would fail.
  whole, parts, players = whole_and_parts(loss, 3)
  assert parts.zero_sum == whole.zero_sum

  @jax.jit
  def derived(players):
    found = []
    for game in (whole, parts):
      at = games.derivatives(game, players)
      products = at.g_from_d(players.d), at.d_from_g(players.g)
      found.append((at.loss_g, at.loss_d, at.aux_d, at.grad_g, at.grad_d))
      found[-1] += products
    return found

  expected, actual = derived(players)
  chex.assert_trees_all_close(actual, expected, rtol=1e-6, atol=1e-9)
  assert max(jnp.max(jnp.abs(x)) for x in jax.tree.leaves(actual[-1])) > 1e-3


def test_parts_have_every_row_once_and_their_numbers():
  batch = {'image': jnp.arange(6.0)[:, None], 'label': jnp.arange(10, 16)}
  parts = accumulation.split(batch, 3)
  # Part i begins at row i: a batch of two devices, rows 0-2 and 3-5, stays on
  # both in each part.
  np.testing.assert_array_equal(parts['row'], [[0, 3], [1, 4], [2, 5]])
  np.testing.assert_array_equal(parts['image'][:, :, 0], parts['row'])
  np.testing.assert_array_equal(parts['label'], parts['row'] + 10)
  np.testing.assert_array_equal(parts['part'], [0, 1, 2])
  with pytest.raises(ValueError, match='accumulate=4 does not divide the 6 ro'):
    accumulation.split(batch, 4)


@pytest.mark.slow
def test_between_the_passes_only_inputs_are_kept():
  # Of the loss in parts nothing that grows with the hidden layer remains.
  whole, parts, players = whole_and_parts('nonsaturating', 50, size=1000)

  def kept(game):
    vjp = lambda d: jax.vjp(lambda d: game.loss_d(players.g, d)[0], d)[1]
    leaves = jax.tree.leaves(jax.eval_shape(vjp, players.d))
    return sum(leaf.size for leaf in leaves)

  assert kept(parts) < 0.2 * kept(whole)


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(loss='relativistic_average'), r"loss='rel.*' couples .* means over"),
    (dict(penalties=dict(dragan=1.0, r1=0.0)), 'dragan couples its rows by'),
    (dict(), 'config.accumulate=2 .* generator couples its rows by batch norm'),
    (dict(accumulate=0), 'config.accumulate=0 is less than 1'),
  ],
)
def test_what_couples_rows_is_refused(changes, message):
  config = digits.get_config()
  config.accumulate = 2
  config.update(changes)
  with pytest.raises(ValueError, match=message):
    build.build(config)


def test_parts_must_be_equal():
  with pytest.raises(ValueError, match='accumulate=5 does not divide batch_si'):
    accumulation.check(5, 64)
  accumulation.check(4, 64)
