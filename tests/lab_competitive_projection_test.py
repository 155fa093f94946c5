"""The projection toy: networks, maps, plateaus, and what is said of them."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from gan_jax import models
from launch.lab import (
  competitive_projection_play,
  competitive_projection_table,
)


def generator_weights(s, t):
  """With hidden units at tanh(40) = 1, the output map gets (s, t)."""
  return {
    'dense1': {'kernel': jnp.full((4, 4), 10.0)},
    'dense2': {'kernel': jnp.full((4, 2), 10.0)},
    'out': {'kernel': jnp.array([[s - 1.0, t - 2.0], [1.0, 2.0]])},
  }


def test_the_generator_maps_its_weights_into_the_strip():
  # e^(t / 2) = 2 at s = 0; at s far out the edge, theta1 theta2 = e.
  theta = competitive_projection_play.theta
  found = theta(generator_weights(0.0, 2 * np.log(2)))
  np.testing.assert_allclose(found, [[2.0, 0.5]], rtol=1e-5)
  found = theta(generator_weights(20.0, 0.0))
  np.testing.assert_allclose(found, [[np.sqrt(np.e)] * 2], rtol=1e-5)
  lower = theta(generator_weights(-20.0, 1.0))
  np.testing.assert_allclose(np.prod(lower), 1 / np.e, rtol=1e-5)


def test_the_critic_sees_the_first_coordinate_a_hundred_times_larger():
  _, critic = competitive_projection_play.networks()
  players = jax.jit(competitive_projection_play.start)(jax.random.key(0))
  plain = models.discriminator('mlp', features=(4, 4), use_bias=False)
  x = jnp.array([[2.0, 2.0], [-0.3, 0.7]])
  np.testing.assert_allclose(
    critic.apply({'params': players.d}, x),
    plain.apply({'params': players.d}, x * jnp.array([[100.0, 1.0]])),
    rtol=1e-6,
  )
  sizes = [sum(x.size for x in jax.tree.leaves(p)) for p in players]
  assert sizes == [28, 28]


def test_the_payoff_is_the_critics_cross_entropy():
  zero = jax.tree.map(
    jnp.zeros_like, competitive_projection_play.start(jax.random.key(0))
  )
  game = competitive_projection_play.game()
  assert game.zero_sum
  np.testing.assert_allclose(game.loss_d(*zero), 2 * np.log(2), rtol=1e-6)


@pytest.mark.slow
def test_both_methods_start_equal_and_small_steps_keep_them_so():
  seen = {
    name: competitive_projection_play.paths(
      method, jnp.array([1e-3, 3.0]), jnp.arange(3), 20, 10
    )
    for name, method in competitive_projection_play.METHODS.items()
  }
  sim, other = seen['simultaneous'], seen['cgd']
  assert sim.shape == (2, 3, 3, 2)
  np.testing.assert_array_equal(sim[:, :, 0], other[:, :, 0])
  np.testing.assert_array_equal(sim[0, :, 0], sim[1, :, 0])
  assert np.abs(sim[:, :, 0] - 1).max() < 0.6
  assert len(np.unique(sim[0, :, 0, 0])) == 3
  apart = np.abs(sim - other)[:, :, -1].max((1, 2))
  assert apart[0] < 1e-3 < apart[1]


def test_the_longest_stay():
  theta1 = np.array([[1, 2.1, 1, 1.9, 2.0, 2.15, 3], [1, 1, 2, 1, 2, 2, 2]])
  stay = competitive_projection_play.longest_stay(theta1, 10)
  np.testing.assert_array_equal(stay.steps, [30, 30])
  np.testing.assert_array_equal(stay.begin, [30, 40])
  np.testing.assert_array_equal(stay.left, [True, False])
  never = competitive_projection_play.longest_stay(np.full((1, 4), np.nan), 10)
  assert never.steps == never.begin == 0


def test_a_running_median_forgives_bursts():
  burst = np.array([2.0, 2, 2, 9, 2, 2, 2])
  smooth = competitive_projection_play.smooth
  np.testing.assert_array_equal(smooth(burst[None], 3), np.full((1, 7), 2.0))
  step = np.array([1.0, 1, 1, 5, 5, 5])
  np.testing.assert_array_equal(smooth(step, 3), step)
  with pytest.raises(ValueError, match='window=4 must be an odd number'):
    smooth(step, 4)


def test_shares_of_seeds():
  make = lambda steps, left: competitive_projection_play.Stay(
    np.array([steps]), np.zeros((1, 4)), np.array([left])
  )
  left = [True, True, False, True]
  stays = dict(
    simultaneous=make([1000, 2000, 1000, 10], left),
    cgd=make([2000, 1000, 1100, 10], left),
  )
  share = competitive_projection_table.shares(stays)
  found = {name: float(value[0]) for name, value in share.items()}
  assert found == dict(plateau=0.75, snaps=0.5, longer=0.25, shorter=0.25)


def test_verdicts_on_the_toy_name_the_step_sizes():
  make = lambda sim, other: {
    name: competitive_projection_play.Stay(steps, 0 * steps, steps > 0)
    for name, steps in dict(simultaneous=sim, cgd=other).items()
  }
  sim = np.full((3, 12), 1000)
  other = np.array([[2000] * 12, [2000] * 6 + [500] * 6, [500] * 12])
  found = competitive_projection_table.verdict(make(sim, other), (0.1, 1, 3))
  assert 'prolongs the plateau in most seeds at step sizes 0.1;' in found
  assert (
    'CGD does not prolong the plateau in most seeds at step sizes 3' in found
  )
  assert 'seeds do not decide whether CGD prolongs the plateau at 1;' in found
  assert 'depends on numbers not published' in found
  found = competitive_projection_table.verdict(make(sim[2:], other[2:]), (3.0,))
  assert found.endswith(
    'does not prolong the plateau in most seeds at step sizes 3.'
  )
  open_only = competitive_projection_table.verdict(
    make(sim[:1], other[1:2]), (1.0,)
  )
  assert open_only.startswith('The seeds do not decide')


def test_theta2_is_read_on_plateaus_only():
  # Seed 0 stays at (2, 1) from record 10 on, seed 1 never comes near.
  path = np.full((1, 2, 601, 2), 4.0)
  path[0, 0, 10:] = (2.0, 1.0)
  stays = {
    name: competitive_projection_play.longest_stay(path[..., 0], 20)
    for name in competitive_projection_play.METHODS
  }
  seen = dict.fromkeys(stays, path)
  top, middle = competitive_projection_table.shape(seen, stays, (0.1,))
  assert top.ours == '4' and top.holds is None  # two seeds do not decide
  assert middle.ours == '1.00; below 1.3 in 100% of 1'
  nowhere = path + 3
  stays = {
    name: competitive_projection_play.longest_stay(nowhere[..., 0], 20)
    for name in stays
  }
  row = competitive_projection_table.shape(
    dict.fromkeys(stays, nowhere), stays, (0.1,)
  )[1]
  assert row.ours == 'no seed has a plateau' and row.holds is None


@pytest.mark.slow
def test_large_steps_of_cgd_prolong_the_plateau():
  found = [
    competitive_projection_play.longest_stay(
      competitive_projection_play.paths(
        method, jnp.array([3.0]), 200 + jnp.arange(8)
      )[..., 0],
      competitive_projection_play.RECORD_EVERY,
    ).steps
    for method in competitive_projection_play.METHODS.values()
  ]
  assert np.mean(found[1] > found[0]) > 0.5
  assert np.median(found[1]) > 1.2 * np.median(found[0])
