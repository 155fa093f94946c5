"""Many seeds at once leave behind what each leaves by itself.

The games are those of train_test: a generator z + theta, a critic psi x.
"""

import json
import signal

import chex
import jax
import ml_collections
import numpy as np
import optax
import pytest
from commands import SMALL, assert_mistake, main
from train_test import R1, Shift, batch, descent, lines, own_run, quietly

from configs import digits
from gan_jax import (
  checkpoints,
  games,
  parallel,
  seeds,
  step,
  together,
  train,
)
from gan_jax import workdir as workdirs

STEPS = 12


def of_seed(seed, function=batch, **changes):
  """Every seed its own batches and its own start."""
  known = dict(log_every=4, checkpoint_every=6, num_steps=STEPS, seed=seed)
  run = own_run(lambda n: function(1000 * seed + n), **known | changes)
  theta = {'params': {'theta': np.full(1, 0.1 * seed, np.float32)}}
  return run._replace(initial=games.Players(theta, None))


def group(count=3, **changes):
  """Runs of one setup."""
  setup = changes.pop('setup', of_seed(0).setup._replace(lazy=3))
  return [of_seed(seed, setup=setup, **changes) for seed in range(count)]


def folders(path, count=3):
  return [seeds.folder(path, seed) for seed in range(count)]


def without_speed(folder):
  drop = ('steps_per_second', 'seeds_together')
  return [
    {k: v for k, v in line.items() if k not in drop} for line in lines(folder)
  ]


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
  """(folders, last states) of three runs, each by itself."""
  paths = folders(tmp_path_factory.mktemp('alone'))
  runs = zip(group(), paths, strict=True)
  return paths, [train.train(run, path, say=quietly) for run, path in runs]


@pytest.mark.slow
def test_stacked_steps_are_the_single_ones():
  """The program itself, without a workdir: theta and psi of each seed."""
  runs, devices = group(steps_per_call=2), parallel.make('jit')
  fresh = lambda run: step.init(
    run.setup, jax.random.key(run.seed), run.initial
  )

  def played(how, runs):
    program = together.make(how, runs, devices, {})
    packed = program.pack([devices.replicate(fresh(run)) for run in runs])
    for first in (0, 2):
      packed, metrics = program.call(packed, first)
    ends = [program.one(packed, i).players for i in range(len(runs))]
    return jax.device_get((ends, metrics))

  ends, metrics = played('vmap', runs)
  single = [played('in_turn', [run]) for run in runs]
  for i, (end, seen) in enumerate(single):
    chex.assert_trees_all_close(ends[i], end[0], rtol=1e-5)
    chex.assert_trees_all_close(metrics[i], seen[0], rtol=1e-4, atol=1e-6)
  assert len({float(end[0].g['theta'][0]) for end, _ in single}) == 3


def assert_like_alone(paths, states, alone, which=(0, 1, 2)):
  for path, state, i in zip(paths, states, which, strict=True):
    chex.assert_trees_all_close(state.players, alone[1][i].players, rtol=1e-5)
    assert state.step == state.opt_state == STEPS
    for ours, theirs in zip(
      without_speed(path), without_speed(alone[0][i]), strict=True
    ):
      assert ours.keys() == theirs.keys()
      for name in theirs:
        np.testing.assert_allclose(
          ours[name], theirs[name], rtol=1e-4, atol=1e-6, err_msg=name
        )
    assert checkpoints.steps(path / 'checkpoints') == [12, 6]


@pytest.mark.slow
def test_three_starts_are_three_runs(alone):
  thetas = {float(state.players.g['theta'][0]) for state in alone[1]}
  assert len(thetas) == 3


@pytest.mark.slow
@pytest.mark.parametrize('steps_per_call', [1, 2])
@pytest.mark.parametrize('how', together.NAMES)
def test_each_way_gives_the_single_runs(how, steps_per_call, alone, tmp_path):
  runs, said = group(steps_per_call=steps_per_call), []
  states = seeds.train_seeds(
    runs, folders(tmp_path), together=how, say=said.append
  )
  assert_like_alone(folders(tmp_path), states, alone)
  assert {line['seeds_together'] for line in lines(tmp_path / 'seed-1')} == {3}
  assert said[0] == f'3 of 3 runs to train, {how}.'
  assert any(line.startswith('seed-2: [####') for line in said)
  # Nothing is left to do for the same command, nor for one of a single run.
  again = seeds.train_seeds(runs, folders(tmp_path), together=how, say=quietly)
  chex.assert_trees_all_equal(again[2].players, states[2].players)
  train.train(runs[1], tmp_path / 'seed-1', say=said.append)
  assert said[-1].endswith('is finished: 12 of 12 steps.')


@pytest.mark.slow
@pytest.mark.parametrize(
  ('how', 'wrapper'), [('vmap', 'pmap'), ('unrolled', 'shard_map')]
)
def test_under_each_wrapper(how, wrapper, alone, tmp_path):
  setup = group(1)[0].setup._replace(axis_name=parallel.AXIS)
  runs, paths = group(setup=setup, parallel=wrapper), folders(tmp_path)
  states = seeds.train_seeds(runs, paths, together=how, say=quietly)
  assert_like_alone(paths, states, alone)


@pytest.mark.slow
def test_in_turn_changes_no_bit(alone, tmp_path):
  states = seeds.train_seeds(
    group(), folders(tmp_path), together='in_turn', say=quietly
  )
  chex.assert_trees_all_equal(states[2].players, alone[1][2].players)


def test_stacked_steps_keep_their_condition():
  # A counter with an axis of runs would turn it into a select, that pays both.
  text = []

  def compile_(function):
    def trace(*arguments):
      text.append(str(jax.make_jaxpr(function)(*arguments)))
      return arguments[0], None

    return trace

  devices = parallel.Devices(compile_, lambda tree: tree, lambda fed: fed)
  runs = group(2, steps_per_call=2)
  program = together.make('vmap', runs, devices, {})
  states = [step.init(run.setup, jax.random.key(run.seed)) for run in runs]
  packed = program.pack(states)
  assert packed.step.shape == packed.opt_state.shape == ()
  assert packed.players.g['theta'].shape == (2, 1)
  program.call(packed, 0)
  assert 'cond[' in text[0]


@pytest.mark.parametrize('how', together.NAMES)
def test_every_way_bounds_the_calls_under_way(how, monkeypatch):
  passed = []
  bounded = lambda: lambda returned: passed.append(returned) or returned
  monkeypatch.setattr(parallel, 'bounded', bounded)
  compile_ = lambda function: lambda *given: (given[0], ({}, {}))
  devices = parallel.Devices(compile_, lambda tree: tree, lambda fed: fed)
  runs = group(2)
  program = together.make(how, runs, devices, {})
  states = [step.init(run.setup, jax.random.key(run.seed)) for run in runs]
  program.call(program.pack(states), 0)
  assert len(passed) == (2 if how == 'in_turn' else 1)


@pytest.mark.slow
def test_learning_rates_may_differ_but_not_under_vmap(tmp_path):
  slow, fast = (
    of_seed(0, setup=own_run().setup._replace(method=descent(rate)))
    for rate in (0.1, 0.2)
  )
  paths = folders(tmp_path / 'both', 2)
  with pytest.raises(ValueError, match="differ in more, so take 'unrolled'"):
    seeds.train_seeds([slow, fast], paths, together='vmap', say=quietly)
  states = seeds.train_seeds(
    [slow, fast], paths, together='unrolled', say=quietly
  )
  for run, state, name in zip([slow, fast], states, 'ab', strict=True):
    expected = train.train(run, tmp_path / name, say=quietly)
    chex.assert_trees_all_close(state.players, expected.players, rtol=1e-5)


def test_what_auto_stands_for():
  assert together.choose(group()) == 'vmap'  # nothing but dense layers
  other = own_run().setup._replace(method=descent(0.2))
  runs = [*group(2), of_seed(2, setup=other)]
  assert together.choose(runs) == 'in_turn'


def broken(number):
  """From another start: the third batch of seed 1 is not finite."""
  values = batch(number)['image']
  return {'image': values * np.nan if number == 1004 else values}


@pytest.mark.slow
@pytest.mark.parametrize('how', together.NAMES)
def test_a_seed_that_diverges_leaves_the_others(how, alone, tmp_path):
  runs, paths, said = group(function=broken), folders(tmp_path), []
  outcomes = seeds.train_seeds(runs, paths, together=how, say=said.append)
  assert isinstance(outcomes[1], train.Diverged)
  words = 'loss_d of the discriminator is nan at step 5'
  note = json.loads((paths[1] / 'diverged.json').read_text())
  assert note['step'] == 5 and words in note['reason']
  # What was logged of it before stays; of the others all is there.
  assert [line['step'] for line in lines(paths[1])] == [4]
  rest = [0, 2]
  assert_like_alone(
    [paths[i] for i in rest], [outcomes[i] for i in rest], alone, rest
  )
  shared = [line['seeds_together'] for line in lines(paths[0])]
  assert shared == [3, 2, 2]  # found out when saving step 6
  assert seeds.summary([0, 1, 2], outcomes) == (
    'diverged: seed 1 at step 5; finished: 2 of 3.'
  )
  again = seeds.train_seeds(runs, paths, together=how, say=said.append)
  assert (
    again[1].step == 5 and checkpoints.steps(paths[1] / 'checkpoints') == []
  )
  assert any('seed-1: diverged at step 5' in line for line in said)


@pytest.mark.slow
def test_a_picture_that_is_not_finite_ends_a_seed(tmp_path):
  setup = own_run(generator=Shift(trained=np.inf)).setup
  bad = of_seed(0, setup=setup, sample_every=4)
  paths = folders(tmp_path, 2)
  outcomes = seeds.train_seeds(
    [bad, of_seed(1)._replace(sample_every=4)], paths, say=quietly
  )
  assert 'a sample' in str(outcomes[0]) and outcomes[1].step == STEPS
  assert workdirs.divergence(paths[0])['step'] == 0


@pytest.mark.slow
def test_a_single_run_takes_up_a_seed_that_diverged(tmp_path):
  run, paths, said = of_seed(1, broken), folders(tmp_path, 2), []
  seeds.train_seeds([of_seed(0), run], paths, say=quietly)
  assert workdirs.divergence(paths[1])['step'] == 5
  with pytest.raises(train.Diverged):  # again, and it is still noted
    train.train(run, paths[1], say=said.append)
  assert workdirs.divergence(paths[1])['step'] == 5
  train.train(of_seed(1), paths[1], say=said.append)
  assert workdirs.divergence(paths[1]) is None
  said.clear()
  ended = seeds.train_seeds(group(2), paths, say=said.append)
  assert [state.step for state in ended] == [STEPS, STEPS]
  assert 'seed-1: finished: 12 of 12 steps.' in said


@pytest.mark.slow
def test_a_finished_seed_whose_evaluation_breaks_ends_alone(
  tmp_path, monkeypatch
):
  paths, done = folders(tmp_path, 2), dict(num_steps=4, checkpoint_every=4)
  seeds.train_seeds(group(1, **done), paths[:1], say=quietly)

  def catch_up(run, path, done, say):
    raise train.Diverged('a sample is not finite', done)

  monkeypatch.setattr(seeds.scribe, 'catch_up', catch_up)
  outcomes = seeds.train_seeds(group(2, **done), paths, say=quietly)
  assert outcomes[0].step == 4 and workdirs.divergence(paths[0])['step'] == 4
  assert checkpoints.steps(paths[1] / 'checkpoints') == [4]


@pytest.mark.slow
def test_seeds_at_several_steps_meet(alone, tmp_path):
  paths, said = folders(tmp_path), []
  for i, steps in ((0, 8), (1, 6)):
    run = group(num_steps=steps, checkpoint_every=1)[i]
    train.train(run, paths[i], say=quietly)
  states = seeds.train_seeds(
    group(), paths, together='unrolled', say=said.append
  )
  assert 'seed-1: resuming from the checkpoint of step 6.' in said
  for state, expected in zip(states, alone[1], strict=True):
    chex.assert_trees_all_close(state.players, expected.players, rtol=1e-5)
  steps = [[line['step'] for line in lines(path)] for path in paths]
  assert steps == [[4, 8, 12]] * 3
  shared = [line.get('seeds_together') for line in lines(paths[2])]
  # Up to 6 by itself, from there with seed 1, from 8 with both.
  assert shared == [1, 2, 3]


@pytest.mark.slow
def test_a_signal_saves_all_and_they_go_on(tmp_path):
  """Bit by bit, as the same program plays them again."""

  def function(number):
    if number == 1007:
      signal.raise_signal(signal.SIGTERM)
    return batch(number)

  paths = folders(tmp_path / 'stopped')
  with pytest.raises(train.Interrupted, match='SIGTERM: saved step 8'):
    seeds.train_seeds(group(function=function), paths, say=quietly)
  for path in paths:
    assert checkpoints.steps(path / 'checkpoints')[0] == 8
  ended = seeds.train_seeds(group(), paths, say=quietly)
  whole = seeds.train_seeds(group(), folders(tmp_path / 'whole'), say=quietly)
  for a, b in zip(ended, whole, strict=True):
    chex.assert_trees_all_equal(a.players, b.players)


def test_runs_that_do_not_suit_each_other(tmp_path):
  def refused(runs, words, paths=None, **options):
    with pytest.raises(ValueError, match=words):
      seeds.train_seeds(
        runs, paths or folders(tmp_path, len(runs)), say=quietly, **options
      )

  refused([of_seed(0), of_seed(1, log_every=2)], 'same log_every.* 4 and 2')
  refused(group(2), "together='at_once' is not one of", together='at_once')
  refused(group(2), 'same workdir', [tmp_path, tmp_path])
  refused(group(2), '2 runs and 1 workdirs', [tmp_path])
  feed = of_seed(1).feed._replace(resident={'image': np.zeros((3, 1))})
  refused([of_seed(0), of_seed(1)._replace(feed=feed)], 'the same data')
  (tmp_path / 'seed-1').mkdir()
  (tmp_path / 'seed-1' / 'diverged.json').write_text('{')
  with pytest.raises(workdirs.WorkdirError, match='diverged.json is damaged'):
    seeds.train_seeds(group(2), folders(tmp_path, 2), say=quietly)
  with (
    workdirs.claim(tmp_path / 'seed-0'),
    pytest.raises(workdirs.WorkdirError, match='in use by process'),
  ):
    seeds.train_seeds(group(2), folders(tmp_path, 2), say=quietly)


# Networks, and the command line.


def small_digits():
  config = digits.get_config('quick')
  config.batch_size = 16
  config.data.image_size = 8
  for player in ('generator', 'discriminator'):
    config[player].image_size, config[player].width = 8, 4
  config.discriminator.spectral_norm = True
  config.penalties.r1, config.lazy, config.averaging = 0.5, 4, 0.9
  # A large eps, or Adam makes steps of the rounding of tiny gradients.
  for player in 'gd':
    config[f'optimizer_{player}'].eps = 1e-3
  config.num_steps, config.log_every, config.checkpoint_every = 10, 5, 10
  config.sample_every, config.evaluate_every = 0, 0
  return ml_collections.ConfigDict(config)


@pytest.mark.slow
def test_convolutions_with_norms_and_lazy_r1_give_the_single_runs(tmp_path):
  config = small_digits()
  run = train.build(config)
  runs = [seeds.of_seed(run, seed, config.batch_size) for seed in (0, 1)]
  assert together.choose(runs) == 'in_turn'
  config.seed = 1
  by_config = train.build(config)
  assert by_config.config == runs[1].config
  expected = train.train(by_config, tmp_path / 'alone', say=quietly)
  for how in ('unrolled', 'in_turn'):
    paths = folders(tmp_path / how, 2)
    states = seeds.train_seeds(runs, paths, together=how, say=quietly)
    for part in ('players', 'model_state', 'opt_state', 'averaged'):
      chex.assert_trees_all_close(
        getattr(states[1], part), getattr(expected, part), rtol=1e-4, atol=1e-5
      )


@pytest.mark.slow
def test_seeds_from_the_command_line(tmp_path):
  flags = (
    *SMALL,
    f'--config.compilation_cache={tmp_path / "xla"}',
    f'--workdir={tmp_path / "runs"}',
    '--config.num_steps=4',
    '--config.log_every=2',
    '--config.evaluate_every=4',
    '--config.best_by=frechet',
    '--config.num_samples=100',
  )
  (tmp_path / 'runs' / 'seed-5').mkdir(parents=True)
  workdirs.write_divergence(tmp_path / 'runs' / 'seed-5', 3, 'too bold')
  done = main(*flags, '--seeds=0,3,5')
  assert_mistake(done, 'diverged: seed 5 at step 3; finished: 2 of 3')
  for seed in (0, 3):
    path = tmp_path / 'runs' / f'seed-{seed}'
    assert json.loads((path / 'config.json').read_text())['seed'] == seed
    (entry,) = json.loads((path / 'evaluation.json').read_text())
    assert entry['step'] == 4 and entry['settings']['seed'] == seed
    assert (path / 'best' / 'best.json').exists()
    assert (path / 'samples').exists() and (path / 'tensorboard').exists()
    shared = [line.get('seeds_together') for line in lines(path)]
    assert shared.count(2) == 2
    (path / 'evaluation.json').unlink()
  done = main(*flags, '--seeds=0,5,3', '--mode=evaluate')
  assert done.returncode == 0, done.stderr
  assert 'diverged at step 3, before any checkpoint.' in done.stdout
  assert (tmp_path / 'runs' / 'seed-3' / 'evaluation.json').exists()
  done = main(*SMALL, f'--workdir={tmp_path / "runs" / "seed-0"}', '--seeds=1')
  assert_mistake(done, 'that of a single run')


@pytest.mark.slow
@pytest.mark.parametrize(
  ('flags', 'words'),
  [
    (['--seeds=0,one'], ['--seeds=0,one', 'whole numbers']),
    (['--seeds=1,1'], ['--seeds=1,1', 'different']),
    (['--seeds=-1'], ['--seeds=-1', 'from 0']),
    (['--seeds='], ['--seeds=', 'such as 0,1,2']),
    (['--seeds=0', '--mode=sample'], ['--seeds goes with --mode=train']),
    (['--seeds=0', '--together=at_once'], ['together', 'at_once', 'unrolled']),
    (['--together=vmap'], ['--together goes with --seeds']),
    (['--seeds=0', '--config.seed=3'], ['--config.seed', 'exclude']),
    (['--seeds=0', '--distributed'], ['--seeds is for one process']),
  ],
)
def test_bad_seeds(flags, words, tmp_path):
  config = '--config=configs/digits.py:quick'
  assert_mistake(main(config, f'--workdir={tmp_path}', *flags), *words)


@pytest.mark.slow
def test_every_method_has_a_stacked_form():
  from gan_jax import defaults, methods

  sgd = optax.adam(1e-2)
  for name in defaults.GAMES:
    described = train.game_defaults(name)
    method = methods.make(described, sgd, sgd)
    setup = own_run().setup._replace(method=method, penalties=(R1,))
    if methods.METHODS[name].general_sum:
      from gan_jax import losses

      setup = setup._replace(loss=losses.get('wasserstein'))
    devices = parallel.Devices(
      lambda f: lambda *a: jax.eval_shape(f, *a), lambda t: t, lambda f: f
    )
    runs = group(2, setup=setup)
    program = together.make('vmap', runs, devices, {})
    states = [step.init(setup, jax.random.key(i)) for i in range(2)]
    packed, metrics = program.call(program.pack(states), 0)
    assert packed.step.shape == () and len(metrics) == 2, name
