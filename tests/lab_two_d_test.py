"""The 2-D examples: what is played, how it is scored, what is said."""

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from gan_jax import data, games
from launch.lab import result, two_d, two_d_scores, two_d_train, wasserstein

pytest.importorskip('ot', reason="needs 'gan-jax[theory]'")
RECIPES = two_d_train.RECIPES
REAL, FAKE = np.array([0.2, 0.1]), np.array([-0.6, 0.45])


def _players(critic_bias=0.0):
  """D(x) = 3 x_0 + 4 x_1 + critic_bias, and G(z) = FAKE.

  One unit a layer passes the value on, raised by 50 so that it stays above 0.
  """
  zeros = jax.tree.map(jnp.zeros_like, two_d_train.start(jnp.array(0)))
  d, g = zeros.d, zeros.g
  for i, kernel in enumerate(([3.0, 4.0], 1.0, 1.0, 1.0), start=1):
    layer = d[f'dense{i}']
    rows = 2 if i == 1 else 1
    layer['kernel'] = layer['kernel'].at[:rows, 0].set(jnp.array(kernel))
  d['dense1']['bias'] = d['dense1']['bias'].at[0].set(50.0)
  d['out']['kernel'] = d['out']['kernel'].at[0, 0].set(1.0)
  d['out']['bias'] = jnp.full(1, critic_bias - 50.0)
  g['out']['bias'] = jnp.asarray(FAKE, jnp.float32)
  return games.Players(g, d)


def _method(recipe, which=0, rate=0.01):
  return two_d_train.method_of(recipe, jnp.array(which), jnp.array(rate))


def _loss_d(recipe, players, batch_size=8, **options):
  real = jnp.tile(jnp.asarray(REAL, jnp.float32), (batch_size, 1))
  game = two_d_train.game_of(
    recipe, _method(recipe), real, jax.random.key(0), **options
  )
  return float(game.loss_d(*players)[0])


@pytest.mark.parametrize(
  ('name', 'penalty'),
  [
    # The slope is (3, 4) everywhere: gamma/2 * 25, and (5 - 1)^2.
    ('none', 0.0),
    ('r1', two_d_train.GAMMA / 2 * 25),
    ('r2', two_d_train.GAMMA / 2 * 25),
    ('wgan_gp_1', 16.0),
    ('wgan_gp_5', 16.0),
    ('wgan', 0.0),
    ('consensus', 0.0),
    ('rs', 0.0),
    ('rs_r1', two_d_train.GAMMA / 2 * 25),
  ],
)
def test_the_critic_pays_its_loss_and_its_penalty(name, penalty):
  recipe, players = RECIPES[name], _players()
  real, fake = REAL @ [3, 4], FAKE @ [3, 4]
  softplus = lambda x: np.log1p(np.exp(x))
  expected = {
    'nonsaturating': softplus(-real) + softplus(fake),
    'wasserstein': fake - real,
    'relativistic': softplus(fake - real),
  }[recipe.loss]
  assert _loss_d(recipe, players, penalize=False) == pytest.approx(
    expected, rel=1e-5
  )
  assert _loss_d(recipe, players) == pytest.approx(expected + penalty, rel=1e-5)


def test_r1_is_paid_at_real_and_r2_at_generated_points():
  """A critic that is flat for x_0 > 0 but for LeakyReLU's slope of 0.2."""
  zeros = jax.tree.map(jnp.zeros_like, two_d_train.start(jnp.array(0)))
  d = _players().d
  d['dense1'] = {
    'kernel': zeros.d['dense1']['kernel'].at[0, 0].set(-1.0),
    'bias': zeros.d['dense1']['bias'],
  }
  d['dense2']['bias'] = d['dense2']['bias'].at[0].set(50.0)
  players = games.Players(_players().g, d)
  none = _loss_d(RECIPES['none'], players)
  half = two_d_train.GAMMA / 2
  # Real points lie at x_0 > 0, generated ones at x_0 < 0.
  r1 = _loss_d(RECIPES['r1'], players) - none
  r2 = _loss_d(RECIPES['r2'], players) - none
  assert r1 == pytest.approx(half * 0.04, rel=1e-3)
  assert r2 == pytest.approx(half, rel=1e-3)


def test_instance_noise_is_on_real_and_generated_points():
  """Logits vary by (5 * .3)^2 = 2.25 each, independently of one another."""
  players, size = _players(), 20_000
  noise, none = RECIPES['noise'], RECIPES['none']
  of = lambda recipe, loss: _loss_d(recipe._replace(loss=loss), players, size)
  # ((r - 1)^2 + f^2) / 2 rises by the mean variance, if both have it.
  rise = of(noise, 'least_squares') - of(none, 'least_squares')
  assert rise == pytest.approx(2.25, rel=0.05)
  # (r - f - 1)^2 by their sum, if they are independent.
  loss = 'relativistic_least_squares'
  rise = of(noise, loss) - of(none, loss)
  assert rise == pytest.approx(4.5, rel=0.05)


def _draw(key):
  return jax.random.normal(key, (16, 2))


@pytest.mark.parametrize('name', list(RECIPES))
def test_turns_are_as_the_label_says(name):
  turns = _method(RECIPES[name]).turns
  of_name = {'wgan_gp_5': 5, 'wgan': 5, 'consensus': 0}.get(name, 1)
  assert turns == (('d',) * of_name + ('g',) if of_name else ('gd',))


@pytest.mark.slow
def test_a_step_is_what_games_play_plays():
  """The loop over critic turns against a list of six games."""
  recipe, key = RECIPES['wgan_gp_5']._replace(penalties={}), jax.random.key(4)
  adam = 2
  method, players = _method(recipe, adam, 0.1), two_d_train.start(jnp.array(1))

  def game(turn):
    data_key, game_key = jax.random.split(jax.random.fold_in(key, turn))
    return two_d_train.game_of(recipe, method, _draw(data_key), game_key)

  expected, _, _ = games.play(
    method, [game(i) for i in range(6)], method.init(players), players
  )
  actual, state = two_d_train.step(
    recipe, method, _draw, method.init(players), players, key
  )
  # Adam counts its own steps.
  counts = [
    int(leaf)
    for player in (state.g, state.d)
    for leaf in jax.tree.leaves(player)
    if leaf.ndim == 0
  ]
  assert counts == [1, 5]
  moved = optax.tree.norm(optax.tree.sub(expected, players))
  assert moved > 0.1
  missed = optax.tree.norm(optax.tree.sub(expected, actual))
  assert missed < 1e-4 * moved


def test_wgans_critic_is_clipped_after_each_of_its_turns():
  recipe, players = RECIPES['wgan'], two_d_train.start(jnp.array(0))
  method = _method(recipe)
  state = method.init(players)
  largest = lambda tree: max(float(jnp.abs(x).max()) for x in tree.values())
  flat = lambda d: {str(i): x for i, x in enumerate(jax.tree.leaves(d))}
  assert largest(flat(players.d)) > 0.5
  assert method.turns == ('d',) * 5 + ('g',)
  for turn in range(5):
    game = two_d_train.game_of(
      recipe, method, _draw(jax.random.key(turn)), jax.random.key(turn)
    )
    moves, state, _ = method.update(game, state, players, turn=turn)
    players = optax.apply_updates(players, moves)
    assert largest(flat(players.d)) == pytest.approx(recipe.clip, rel=1e-6)
  assert largest(flat(players.g)) > 0.2  # the generator is not


@pytest.mark.parametrize('which', range(3))
def test_the_chosen_optimizer_moves(which):
  make = list(two_d_train.OPTIMIZERS.values())[which]
  params = {'a': jnp.array([1.0, 2.0]), 'b': jnp.array(3.0)}
  grads = {'a': jnp.array([0.5, -1.0]), 'b': jnp.array(0.1)}
  ours, theirs = two_d_train.optimizer(jnp.array(which), 0.1), make(0.1)
  state, expected_state = ours.init(params), theirs.init(params)
  for _ in range(3):
    moves, state = ours.update(grads, state, params)
    expected, expected_state = theirs.update(grads, expected_state, params)
    for name in params:
      np.testing.assert_allclose(moves[name], expected[name], rtol=1e-6)


def _train(recipe, points, lanes, seeds, num_steps=3):
  return two_d_train.train(
    recipe,
    points,
    lanes,
    jnp.array(seeds),
    num_steps=num_steps,
    batch_size=8,
    num_samples=5,
  )


@pytest.mark.slow
def test_every_lane_trains_as_it_would_alone():
  points = jnp.stack(
    [data.load(name).examples[:50] for name in ('line', 'circle')]
  )
  lanes = two_d_train.Lanes(jnp.array([0, 1, 2]), jnp.array([0.1, 0.01, 0.03]))
  together = _train(RECIPES['r1'], points, lanes, [3, 5])
  assert together.shape == (2, 2, 3, 5, 2)
  one = two_d_train.Lanes(jnp.array([1]), jnp.array([0.01]))
  alone = _train(RECIPES['r1'], points[1:], one, [5])
  np.testing.assert_allclose(together[1, 1, 1], alone[0, 0, 0], atol=1e-5)
  # And no two are the same.
  flat = np.asarray(together).reshape(12, -1)
  gaps = np.abs(flat[:, None] - flat[None]).max(-1) + np.eye(12)
  assert gaps.min() > 1e-6


def test_sizes_are_checked():
  lanes = two_d_train.Lanes(jnp.array([0]), jnp.array([0.1]))
  with pytest.raises(ValueError, match='num_steps=0 is less than 1'):
    _train(RECIPES['none'], jnp.zeros((1, 4, 2)), lanes, [0], num_steps=0)


def test_the_rate_with_the_fewest_diverged_runs_is_chosen():
  inf = np.inf
  scores = np.array(
    [
      [[0.1, 0.1, inf], [0.9, 0.9, 0.9], [0.8, 0.8, 0.8]],
      [[0.5, inf, inf], [0.4, inf, inf], [inf, inf, inf]],
      [[inf, inf, inf], [inf, inf, inf], [inf, inf, inf]],
    ]
  )
  np.testing.assert_array_equal(two_d_scores.choose(scores), [2, 1, 0])


def _plan(**changes):
  small = two_d_scores.Plan(
    {'SGD': (0.1, 0.2), 'Adam': (0.1, 0.2)}, 2, 1, 1, 8, 12, 2
  )
  return small._replace(**changes)


def _samples(plan):
  """As train_all gives them: real points, worse by 1 for the second rate."""
  methods, optimizers = len(two_d.METHODS), len(plan.rates)
  n = plan.num_selecting + plan.num_points
  shape = (methods, len(two_d.SETS), optimizers, 2, plan.seeds, n, 2)
  samples = np.zeros(shape)
  for k, name in enumerate(two_d.SETS):
    samples[:, k] = data.load(name, split='test').examples[:n]
  samples[:, :, :, 1] += 1.0
  return samples


def test_scores_are_distances_to_the_held_out_points():
  plan = _plan()
  samples = _samples(plan)
  samples[0, 1, 0, 0, 1, 3] = np.nan
  samples[0, 2, 1, :, 1] = 2e3
  scores = two_d_scores.measure(plan, samples)
  assert scores.selecting[0, 1, 0, 0, 1] == np.inf
  assert (scores.selecting[0, 2, 1, :, 1] == np.inf).all()
  np.testing.assert_allclose(scores.selecting[1:, :, :, 0], 0, atol=1e-6)
  # A shift by (1, 1).
  np.testing.assert_allclose(
    scores.selecting[1:, :, :, 1], np.sqrt(2), rtol=1e-6
  )
  assert (scores.best[1:] == 0).all() and scores.best[0, 1, 0] == 1
  np.testing.assert_allclose(scores.reported[1:], 0, atol=1e-6)
  assert (scores.floors > 0.01).all()


def test_the_result_counts_what_diverged(monkeypatch, tmp_path):
  plan = _plan()
  samples = _samples(plan)
  samples[0, 1] = np.nan  # all of the unregularized runs on the line
  samples[two_d.METHODS.index('wgan_gp_1'), 2] += 5.0
  monkeypatch.setattr(two_d, 'QUICK', plan)
  monkeypatch.setattr(two_d, 'train_all', lambda plan: samples)
  outcome = two_d.run(result.Settings(tmp_path, quick=True))
  assert '8 of 320 runs diverged' in outcome.seen
  rows = {row.quantity: row for row in outcome.rows}
  assert (
    rows['none: W1 on gaussian, line, circle, four_lines'].settings[:24]
    == '8 of 32 runs diverged; b'
  )
  row = rows['line: R1 against no regularizer']
  assert (row.ours, row.holds) == ('0.000 against inf', True)
  row = rows['circle: WGAN-GP, 1 against no regularizer']
  assert row.ours.endswith('against 0.000') and row.holds is False
  assert rows['circle: R1 against no regularizer'].holds is None
  assert [figure.path.exists() for figure in outcome.figures] == [True, True]
  of_line = [
    run
    for run in outcome.numbers['runs']
    if (run['method'], run['data']) == ('none', 'line')
  ]
  assert [run['diverged'] for run in of_line] == [4, 4]


@pytest.mark.slow
def test_r1_beats_no_regularizer_on_the_circle():
  """SGD at .1, 3,000 steps of 64. Measured: .15-.19 against .83-1.72."""
  points = jnp.asarray(data.load('circle').examples)[None]
  real = data.load('circle', split='test').examples[:400]
  lanes = two_d_train.Lanes(jnp.array([0]), jnp.array([0.1]))

  def scores(name):
    samples = two_d_train.train(
      RECIPES[name],
      points,
      lanes,
      jnp.arange(3),
      num_steps=3000,
      batch_size=64,
      num_samples=400,
    )
    return [wasserstein.distance(x, real) for x in np.asarray(samples)[:, 0, 0]]

  assert max(scores('r1')) + 0.3 < min(scores('none'))


@pytest.mark.parametrize(
  ('a', 'b', 'verdict'),
  [
    (0.1, 0.3, True),
    (0.3, 0.1, False),
    (0.1, 0.15, None),  # within the error
    (np.inf, 0.3, False),  # all runs of a diverged
    (0.1, np.inf, True),
    (np.inf, np.inf, None),
  ],
)
def test_differences_below_their_error_are_not_judged(a, b, verdict):
  assert two_d._less(a, b, 0.1) == verdict


def test_means_and_errors_leave_diverged_runs_out():
  scores = np.array([[1.0, 3.0, np.inf], [np.inf] * 3, [2.0, np.inf, np.inf]])
  mean, error = two_d_scores._mean_and_error(scores)
  np.testing.assert_array_equal(mean, [2.0, np.inf, 2.0])
  # The deviation of 1 and 3 is sqrt 2, over sqrt 2.
  np.testing.assert_allclose(error, [1.0, 0.0, 0.0])
