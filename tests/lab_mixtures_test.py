import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from gan_jax import data, games, losses
from launch.lab import mixtures, mixtures_table, result
from launch.lab import mixtures_play as play

SMALL = dict(features=(4, 4), batch_size=8)


def test_turns_on_one_batch_are_played_one_after_the_other():
  # loss_d = g d, loss_g = -g d, plain steps of 0.1 from (1, 2): first
  # d = 2 - 0.1 * 1 = 1.9, then g = 1 + 0.1 * 1.9 = 1.19.
  game = games.zero_sum(lambda g, d: g * d)
  sgd = optax.sgd(0.1)
  method = play.on_one_batch(games.alternating(sgd, sgd))
  players = games.Players(jnp.array(1.0), jnp.array(2.0))
  assert method.turns == ('gd',)
  after, _, _ = games.play(method, [game], method.init(players), players)
  np.testing.assert_allclose(after, (1.19, 1.9), rtol=1e-6)


def test_unit_row_scales_the_last_layer_alone():
  params = {
    'dense1': {'kernel': jnp.array([[2.0]])},
    'out': {'kernel': jnp.array([[3.0], [4.0]])},
  }
  players = play.unit_row(games.Players({'g': jnp.ones(1)}, {'params': params}))
  np.testing.assert_allclose(
    players.d['params']['out']['kernel'], [[0.6], [0.8]], rtol=1e-6
  )
  np.testing.assert_array_equal(players.d['params']['dense1']['kernel'], [[2]])


def test_networks_are_the_published_ones():
  def sizes(name, method):
    pair = play.networks(play.PROTOCOLS[name], play.METHODS[method])
    shapes = [
      jax.eval_shape(net.init, jax.random.key(0), *net.example_inputs())
      for net in pair
    ]
    return [sum(x.size for x in jax.tree.leaves(tree)) for tree in shapes]

  hidden = 128 * 128 + 128
  # 2-128-128-2 with biases; 2-128-128-1 without the last.
  wanted = [3 * 128 + hidden + 2 * 128 + 2, 3 * 128 + hidden + 128]
  assert sizes('gaussians', 'js') == sizes('gaussians', 'rs') == wanted
  # 256-128-128-2; the critic has its last bias unless the loss is RS.
  wanted = [257 * 128 + hidden + 2 * 128 + 2, 3 * 128 + hidden + 129]
  assert sizes('ring', 'unrolled_5') == wanted
  assert sizes('ring', 'rs') == [wanted[0], wanted[1] - 1]


def one_step(method, protocol):
  """Players of one seed before and after a step on a fixed batch."""
  generator, critic = play.networks(protocol, method)
  rng = np.random.default_rng(0)
  players = jax.tree.map(
    lambda x: jnp.asarray(rng.uniform(-0.5, 0.5, x.shape), jnp.float32),
    games.Players(
      *(
        jax.eval_shape(net.init, jax.random.key(0), *net.example_inputs())
        for net in (generator, critic)
      )
    ),
  )
  real = jnp.asarray(data.load(protocol.datasets[0]).examples[:8])
  z = jnp.asarray(rng.normal(size=(8, protocol.z_size)), jnp.float32)
  game = play.make_game(losses.get(method.loss), generator, critic, real, z)
  played = play.make_method(protocol, method)
  after, _, _ = jax.jit(
    lambda p: games.play(played, [game], played.init(p), p)
  )(players)
  return players, after


@pytest.mark.slow
@pytest.mark.parametrize('method', ['js', 'rs'])
def test_only_the_relativistic_critic_keeps_a_row_of_length_one(method):
  protocol = play.PROTOCOLS['gaussians']._replace(**SMALL)
  _, after = one_step(play.METHODS[method], protocol)
  length = np.linalg.norm(after.d['params']['out']['kernel'])
  assert (abs(length - 1) < 1e-6) == (method == 'rs')


@pytest.mark.slow
def test_looking_ahead_changes_the_generators_step_alone():
  # So large a rate that the critic's next step turns the gradient around.
  protocol = play.PROTOCOLS['ring']._replace(**SMALL, z_size=3, rate_d=0.5)
  before, plain = one_step(play.METHODS['unrolled_0'], protocol)
  _, ahead = one_step(play.METHODS['unrolled_1'], protocol)
  leaves = jax.tree.leaves(ahead)
  assert all(np.all(np.isfinite(leaf)) for leaf in leaves)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), plain.d, ahead.d
  )
  moved = lambda a: jax.tree.leaves(jax.tree.map(jnp.subtract, a.g, before.g))
  # Adam's first step has the size of its rate, whatever the gradient.
  np.testing.assert_allclose(
    [jnp.max(jnp.abs(x)) for x in moved(plain)], 1e-3, rtol=0.02
  )
  signs = zip(moved(plain), moved(ahead), strict=True)
  assert any(jnp.any(a * b < 0) for a, b in signs)


def test_modes_are_counted_for_each_seed_and_record():
  # 1 % of 200 samples are 2; 3 sigma are 0.3.
  centres = np.array([[0.0, 0.0], [5.0, 0.0]])
  far = np.full((200, 2), 9.0)
  one, two, lost = far.copy(), far.copy(), far.copy()
  one[:100] = 0.0, 0.29
  one[100] = 5.0, 0.0  # a single sample does not cover
  two[:2], two[2:4] = centres
  two[4] = 0.0, 0.31
  lost[0] = np.nan
  found = play.count(np.stack([one, two, lost])[None], centres, 0.1)
  np.testing.assert_array_equal(found.covered, [[1, 2, 0]])
  # What is far still counts for the mode nearest to it: of `one`, 99 samples at
  # (9, 9) and that at the second centre.
  np.testing.assert_array_equal(found.reached, [[2, 2, 0]])
  np.testing.assert_allclose(found.quality, [[101 / 200, 4 / 200, 0]])


def test_methods_are_compared_at_a_step_that_all_have_reached():
  run = lambda steps, covered: play.Run(
    np.array(steps), np.array([covered]), None, None, None
  )
  runs = dict(
    js=run([0, 50, 100, 150], [0, 1, 2, 3]), rs=run([0, 40, 80], [0, 7, 8])
  )
  step, covered = mixtures.at_common_step(runs)
  assert step == 80
  assert covered['js'].tolist() == [1] and covered['rs'].tolist() == [8]


def made_runs(quality=0.5, **covered):
  """Runs that end with the given modes, one seed each."""
  return {
    name: play.Run(
      np.array([0, 10]),
      np.array([[0, last] for last in values]),
      # Blurred runs reach more than they cover.
      np.array([[1, max(last, 5)] for last in values]),
      np.full((len(values), 2), quality),
      None,
    )
    for name, values in covered.items()
  }


def test_claims_are_judged_by_the_modes_at_the_end():
  runs = made_runs(
    js=[8, 7],
    rs=[6, 6],
    unrolled_0=[2, 4],
    unrolled_1=[1, 2],
    unrolled_5=[6, 7],
  )
  minus, one, five, collapse = mixtures_table.claim_rows('ring8', runs, 8)
  assert minus.ours == -1.5 and minus.holds is False
  # Differences of -1 and -2: an error of .5.
  assert one.ours == -1.5 and one.holds is False
  assert 'paired standard error 0.5 over 2 seeds' in one.settings
  assert five.ours == 3.5 and five.holds is True
  assert collapse.ours == 0 and collapse.holds is False
  even = made_runs(js=[8, 8], rs=[8, 8], unrolled_0=[8, 8], unrolled_5=[8, 8])
  minus, gain, _ = mixtures_table.claim_rows('ring8', even, 8)
  assert minus.holds is True and gain.holds is None
  assert mixtures_table.claim_rows('ring8', runs, 10)[3].ours == 1
  few = {
    name: run._replace(reached=np.minimum(run.reached, 4))
    for name, run in runs.items()
  }
  assert mixtures_table.claim_rows('ring8', few, 8)[3].holds is True


def test_what_is_within_two_errors_is_not_judged():
  # Differences of 3, -2, 0: a mean of 1/3, an error of sqrt(19/9).
  runs = made_runs(js=[4, 6, 5], rs=[7, 4, 5])
  (row,) = mixtures_table.claim_rows('ring8', runs, 8)
  assert row.ours == pytest.approx(1 / 3) and row.holds is None
  assert 'error 1.5 over 3 seeds' in row.settings
  found = mixtures_table.difference(runs['rs'], runs['js'])
  np.testing.assert_allclose(found.error, np.sqrt(19 / 9))
  # 6 and 7: an error of .5.
  far = made_runs(js=[1, 1], rs=[7, 8])
  assert mixtures_table.difference(far['rs'], far['js']).judged
  # 2 and 0: an error of 1, so exactly one.
  near = made_runs(js=[1, 1], rs=[3, 1])
  assert not mixtures_table.difference(near['rs'], near['js']).judged
  # One seed that differs is not beyond the error.
  one = made_runs(js=[4, 5, 5], rs=[5, 5, 5])
  assert not mixtures_table.difference(one['rs'], one['js']).judged
  alone = made_runs(js=[1], rs=[7])  # one seed has no error
  assert mixtures_table.claim_rows('ring8', alone, 8)[0].holds is None


def test_a_set_without_js_and_rs_is_judged_by_unrolling_alone():
  runs = made_runs(unrolled_0=[3, 3], unrolled_5=[3, 3])
  gain, _ = mixtures_table.claim_rows('ring8', runs, 8)
  assert gain.ours == 0 and gain.holds is False


def test_the_verdict_says_what_could_not_be_judged():
  row = lambda holds: result.finding('ring: RS minus JS', '', 0.0, holds)
  words = mixtures_table.verdict([row(True), row(False), row(None), row(None)])
  assert words == (
    'RS covers at least as many modes as JS in 1 of 2 comparisons judged (2 '
    'could not be judged).'
  )
  words = mixtures_table.verdict([row(None)])
  assert 'could not be judged (comparisons: 1)' in words


@pytest.mark.parametrize('sizes', [mixtures.FULL, mixtures.QUICK])
def test_sizes_fit_the_protocols(sizes):
  assert sizes.num_seeds >= (10 if sizes is mixtures.FULL else 2)
  for name, steps in sizes.steps.items():
    assert set(steps) <= set(play.METHODS)
    assert all(count % sizes.num_records == 0 for count in steps.values())
    play.PROTOCOLS[name]._replace(**sizes.changes[name])


def test_steps_that_are_no_whole_number_of_records():
  with pytest.raises(ValueError, match='num_steps=10 .*record_every=4'):
    play.train(
      play.PROTOCOLS['ring'],
      play.METHODS['js'],
      jnp.arange(1),
      num_steps=10,
      record_every=4,
    )


@pytest.mark.slow
def test_two_methods_cover_five_gaussians_and_the_generator_learns():
  # All but one seed of six had all five modes; at the start none has.
  protocol = play.PROTOCOLS['gaussians']._replace(
    features=(64, 64), rate_g=1e-3, rate_d=1e-3
  )
  for name in ('js', 'rs'):
    found = play.train(
      protocol,
      play.METHODS[name],
      jnp.arange(3),
      num_steps=2000,
      record_every=1000,
    )
    five = found['five_gaussians']
    assert five.steps.tolist() == [0, 1000, 2000]
    assert np.all(five.covered[:, 0] <= 1)
    assert np.mean(five.covered[:, -1]) >= 4
    assert np.mean(five.quality[:, -1]) > 0.4
    assert found['grid25'].samples.shape == (3, play.NUM_SAMPLES, 2)


@pytest.mark.slow
def test_the_experiment_writes_its_figures(tmp_path):
  small = SMALL | dict(z_size=2)
  sizes = mixtures.Sizes(
    num_seeds=2,
    num_records=2,
    steps=dict(gaussians=dict(js=4, rs=4), ring=dict(js=6, rs=6, unrolled_0=4)),
    changes=dict(gaussians=small, ring=small),
  )
  found = mixtures.report(sizes, result.Settings(tmp_path))
  assert len(found.figures) == 3
  assert all(figure.path.stat().st_size > 0 for figure in found.figures)
  assert set(found.numbers['runs']) == {'five_gaussians', 'grid25', 'ring8'}
  assert '2 seeds' in found.protocol
