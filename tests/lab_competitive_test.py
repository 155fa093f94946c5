"""The lab on implicit competitive regularization: maps, frozen players, claims.

What has a closed form is in theory_quadratic_test.
"""

import json

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from gan_jax import cgd, games, models
from launch.lab import (
  competitive,
  competitive_drift,
  competitive_evidence,
  competitive_overtrain,
  competitive_overtrain_table,
  competitive_projection_play,
  competitive_quadratic,
  result,
)

ON = games.Players(True, True)
HOLD_G, HOLD_D = games.Players(False, True), games.Players(True, False)


def test_few_seeds_leave_a_share_open():
  most = lambda yes, number: competitive_evidence.most(np.arange(number) < yes)
  # (share - 1/2) / (1 / (2 sqrt(S))): 10 of 12 are 2.3 standard errors, 9 of
  # 12 are 1.7.
  assert [most(n, 12) for n in (10, 9, 6, 3, 2)] == [
    True,
    None,
    None,
    None,
    False,
  ]
  assert most(0, 0) is None


def test_few_seeds_leave_a_mean_open():
  above, below = competitive_evidence.above, competitive_evidence.below
  # Logarithms 1, 2, 3: mean 2, margin 4.303 / sqrt(3) = 2.484.
  values = np.exp([1.0, 2.0, 3.0])
  bounds = np.exp([-0.55, -0.4, 4.4, 4.55])
  assert [above(values, x) for x in bounds] == [True, None, None, False]
  assert [below(values, x) for x in bounds] == [False, None, None, True]
  for bad in ([2.0], [2.0, np.nan], [2.0, np.inf], [2.0, 0.0]):
    assert above(np.array(bad), 1.0) is None


def test_a_crossing_needs_two_sides():
  find = competitive_quadratic.crossing
  np.testing.assert_allclose(find(lambda x: x > 0.3, 0.0, 1.0), 0.3)
  for low, high in [(0.4, 1.0), (0.0, 0.2)]:
    with pytest.raises(ValueError, match='no crossing between'):
      find(lambda x: x > 0.3, low, high)


def test_a_trajectory_is_its_matrix_again_and_again():
  with jax.enable_x64(True):
    method = competitive_quadratic.METHODS['simultaneous']
    path = competitive_quadratic.trajectory(method, 0.03, 0.03)
  matrix = np.array([[0.94, -0.3], [0.3, 1.06]])  # 1 - 2 a, -10 a; 10 b, 1 + 2b
  np.testing.assert_allclose(path[0], competitive_quadratic.START)
  seven = np.linalg.matrix_power(matrix, 7) @ path[0]
  np.testing.assert_allclose(path[7], seven, rtol=1e-9)


def started(task, seed=0):
  return jax.jit(lambda key: competitive_drift.start(task, key))(
    jax.random.key(seed)
  )


def small_task():
  """Points near the corners of a square, and narrow networks."""
  rng = np.random.default_rng(0)
  images = np.sign(rng.normal(size=(600, 2))) + 0.1 * rng.normal(size=(600, 2))
  return competitive_drift.Task(
    models.generator('mlp', features=(8,), z_size=3),
    models.discriminator('mlp', features=(8,)),
    jnp.asarray(images, jnp.float32),
    lr=0.1,
    batch_size=16,
  )


def a_turn(method, moving):
  """g and d of two and three numbers, before and after one turn."""
  coupling = jnp.array([[1.0, -2.0, 0.5], [3.0, 0.2, -1.0]])
  game = games.zero_sum(
    lambda g, d: jnp.sum(jnp.square(d)) - g @ coupling @ d + jnp.sum(g**3)
  )
  players = games.Players(jnp.array([0.3, -0.4]), jnp.array([1.0, 0.5, -0.7]))
  play = competitive_drift.held(method, moving)
  step = jax.jit(lambda p: games.play(play, [game], play.init(p), p)[0])
  return players, step(players)


@pytest.mark.parametrize('name', ['sgd', 'competitive'])
def test_a_frozen_player_does_not_move(name):
  method = getattr(competitive_drift, name)(games.Players(0.1, 0.1))
  for moving in (HOLD_G, HOLD_D):
    before, after = a_turn(method, moving)
    assert np.array_equal(before.g, after.g) == (not moving.g)
    assert np.array_equal(before.d, after.d) == (not moving.d)


def test_cgd_with_the_generator_held_is_one_sided_for_the_critic():
  options = dict(tolerance=1e-7, iterations=50)
  before, held = a_turn(cgd.cgd(0.5, 0.3, **options), HOLD_G)
  _, one_sided = a_turn(cgd.one_sided(0.5, 0.3, **options), ON)
  np.testing.assert_allclose(held.d, one_sided.d, rtol=1e-5)
  # By its gradient alone the critic goes elsewhere.
  _, plain = a_turn(competitive_drift.sgd(games.Players(0.5, 0.3)), HOLD_G)
  assert np.abs(plain.d - held.d).max() > 0.02
  assert not np.array_equal(before.d, held.d)


def test_drift_is_the_distance_from_the_checkpoint():
  task = small_task()
  players = started(task)
  freeze = jax.jit(
    lambda p: competitive_drift.freeze(task, p, jax.random.key(1))
  )
  frozen = freeze(players)
  observe = jax.jit(lambda p: competitive_drift.observe(task, frozen, p))
  seen = observe(players)
  assert seen.drift_real == seen.drift_fake == 0
  # A shift of every output by 0.5 on 500 real and 500 generated examples.
  d = {**players.d, 'out': dict(players.d['out'])}
  d['out']['bias'] = d['out']['bias'] + 0.5
  moved = observe(games.Players(players.g, d))
  np.testing.assert_allclose(moved.drift_real, 0.5 * np.sqrt(500), rtol=1e-5)
  np.testing.assert_allclose(moved.drift_fake, 0.5 * np.sqrt(500), rtol=1e-5)
  # The generator changes the loss, not the drift.
  other = started(task, 5)
  changed = observe(games.Players(other.g, players.d))
  assert changed.drift_fake == 0 and changed.loss_d != seen.loss_d
  # A critic of zeros pays 2 log 2 and gives the generator no gradient.
  zero = observe(players._replace(d=jax.tree.map(jnp.zeros_like, players.d)))
  np.testing.assert_allclose(zero.loss_d, 2 * np.log(2), rtol=1e-6)
  assert zero.grad_g == 0


@pytest.mark.slow
def test_the_experiment_starts_every_way_at_the_checkpoint():
  plan = competitive_overtrain.Plan(2, 20, more=10, cgd=0, strike=10, records=5)
  seen = competitive_overtrain.experiment(small_task(), plan)
  assert set(seen) == {
    *('train', 'alone sgd', 'play sgd'),
    *('strike sgd from checkpoint', 'strike sgd from sgd'),
  }
  for name, x in seen.items():
    assert x.loss_d.shape == (2, 6), name
  for name in ('alone sgd', 'play sgd', 'strike sgd from checkpoint'):
    np.testing.assert_array_equal(seen[name].drift_real[:, 0], [0, 0])
    np.testing.assert_allclose(
      seen[name].loss_d[:, 0], seen['train'].loss_d[:, -1], rtol=1e-2
    )
  # A frozen critic does not drift, an over-trained one has.
  assert not seen['strike sgd from checkpoint'].drift_real.any()
  struck, alone = seen['strike sgd from sgd'], seen['alone sgd']
  np.testing.assert_allclose(
    struck.drift_real,
    np.repeat(alone.drift_real[:, -1:], 6, 1),
    rtol=1e-5,
  )
  assert not np.array_equal(alone.loss_d[0], alone.loss_d[1])


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    (dict(seeds=0), 'seeds=0 of the plan is less than 1'),
    (dict(cgd=-5), 'cgd=-5 of the plan is less than 0'),
    (dict(more=12), 'more=12 of the plan is not a multiple of records=5'),
  ],
)
def test_mistakes_in_a_plan_are_said(change, words):
  plan = competitive_overtrain.Plan(2, 20, more=10, cgd=0, strike=10, records=5)
  with pytest.raises(ValueError, match=words):
    competitive_overtrain.check(plan._replace(**change))


def test_mnist_is_left_out_aloud(tmp_path):
  tasks = competitive_overtrain.tasks
  for settings, words in [
    (result.Settings(tmp_path), 'no data_dir was given'),
    (result.Settings(tmp_path, data_dir=str(tmp_path)), 'does not hold it'),
    (result.Settings(tmp_path, True, str(tmp_path)), 'left out of quick runs'),
  ]:
    chosen, said = tasks(settings)
    assert list(chosen) == ['digits'] and words in said


def test_results_are_joined_in_order():
  part = lambda name: result.Result(
    name,
    f'c{name}',
    f'p{name}',
    f's{name}',
    f'v{name}',
    (name,),
    {'n': name},
    (),
  )
  joined = competitive.join([part('A'), part('B')])
  assert joined.claim == '(1) A. cA (2) B. cB'
  assert joined.verdict == 'vA vB' and joined.rows == ('A', 'B')
  assert joined.numbers == {'A': {'n': 'A'}, 'B': {'n': 'B'}}


@pytest.mark.slow
def test_the_critic_of_digits_drifts_farther_alone_than_in_play():
  plan = competitive_overtrain.QUICK._replace(cgd=0, seeds=3)
  seen = competitive_overtrain.experiment(competitive_drift.digits(), plan)
  for of in ('real', 'fake'):
    # About 3 in the median of eight seeds.
    found = competitive_overtrain_table.ratio(seen, 'sgd', of)
    assert np.median(found) > 1.5, (of, found)
  late = competitive_overtrain_table.late
  assert np.median(late(seen['alone sgd'].loss_d)) < 0.3
  assert np.median(late(seen['play sgd'].loss_d)) > 0.5


@pytest.mark.slow
def test_the_quick_run(tmp_path, monkeypatch):
  plan = competitive_overtrain.Plan(2, 20, 20, 10, 10, records=5)
  monkeypatch.setattr(competitive_overtrain, 'QUICK', plan)
  monkeypatch.setattr(competitive_projection_play, 'NUM_STEPS', 1000)
  found = competitive.run(result.Settings(tmp_path, quick=True))
  exact = [row for row in found.rows if row.exact]
  assert len(exact) == 31 and all(row.holds for row in exact)
  assert len(found.rows) > 40
  # SGD over-trains for longer than CGD here: there is a rival of equal steps.
  said = [row for row in found.rows if 'for as long as by CGD' in row.quantity]
  assert len(said) == 2 and all(row.holds is None for row in said)
  for figure in found.figures:
    assert figure.path.read_bytes()[:4] == b'\x89PNG' and figure.caption
  assert len(found.figures) == 5
  json.dumps(result.plain(found.numbers), allow_nan=False)
  assert 'MNIST is left out' in found.protocol
