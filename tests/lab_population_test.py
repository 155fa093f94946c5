"""Many seeds in one program are the seeds one by one."""

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from gan_jax import games, regularizers
from launch.lab import population, result

pytestmark = pytest.mark.float64


def noisy(key):
  """g d, with noise in g's gradient: a key is seen in what it moves."""
  noise = jax.random.normal(key)
  return games.Game(lambda g, d: g * (d + noise), lambda g, d: -g * d)


def start(key):
  return games.Players(*jax.random.normal(key, (2,)))


def train(method, seeds, **options):
  sizes = dict(num_steps=6, record_every=3) | options
  return population.train(
    method, noisy, start, lambda p: p.g, jnp.asarray(seeds), **sizes
  )


def test_every_seed_plays_as_it_would_alone():
  method = games.alternating(optax.sgd(0.1), optax.sgd(0.2))
  together = train(method, [3, 8])
  assert together.steps.tolist() == [0, 3, 6]
  assert together.seen.shape == (2, 3)
  for i, seed in enumerate((3, 8)):
    alone = train(method, [seed])
    np.testing.assert_allclose(together.seen[i], alone.seen[0], rtol=1e-12)
  np.testing.assert_array_equal(together.seen[:, -1], together.players.g)


def test_every_turn_has_noise_of_its_own():
  """With d held at 0, g moves by -0.1 times the noise of its turn."""
  still = games.alternating(optax.sgd(0.1), optax.sgd(0.0))
  one = population.train(
    still,
    noisy,
    lambda key: games.Players(jnp.zeros(()), jnp.zeros(())),
    lambda p: p.g,
    jnp.arange(400),
    num_steps=50,
    record_every=1,
  )
  moves = np.diff(one.seen, axis=1).ravel() / -0.1
  assert len(np.unique(moves)) == moves.size
  # 20,000 normal draws: mean within 4 of its errors, variance within 5 %.
  assert abs(moves.mean()) < 4 / np.sqrt(moves.size)
  assert abs(moves.var() - 1) < 0.05


def test_players_are_projected_after_every_turn():
  clip = lambda p: p._replace(d=regularizers.clip_weights(p.d, 0.3))
  method = games.simultaneous(optax.sgd(1.0), optax.sgd(1.0))
  game = games.Game(lambda g, d: g * d, lambda g, d: -g * d)
  players = games.Players(jnp.array(2.0), jnp.array(0.1))
  players, _, _ = games.play(
    population.projected(method, clip), [game], method.init(players), players
  )
  # g - d and d + g, the latter clipped.
  np.testing.assert_allclose(players, [1.9, 0.3], rtol=1e-12)


@pytest.mark.parametrize('sizes', [(6, 4), (0, 1), (3, 0)])
def test_sizes_are_checked(sizes):
  method = games.simultaneous(optax.sgd(0.1), optax.sgd(0.1))
  num_steps, every = sizes
  said = f'num_steps={num_steps} is not a positive multiple of record_every='
  with pytest.raises(ValueError, match=said):
    train(method, [0], num_steps=num_steps, record_every=every)


def test_the_worst_of_numbers_keeps_nan():
  assert np.isnan(result.worst([0.0, np.nan, 1.0]))
  assert result.worst(np.array([[1.0, 3.0], [2.0, 0.0]])) == 3.0
