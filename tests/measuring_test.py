"""Evaluation of a run's checkpoints, in training and afterwards.

The game is that of train_test: z + theta learns the mean of real numbers.
"""

import json
import os
import shutil
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import train_test

from gan_jax import (
  best,
  checkpoints,
  data,
  evaluate,
  evaluations,
  generate,
  measure_run,
  models,
  parallel,
  signals,
  step,
  train,
)

METRIC = 'sliced_wasserstein'


def dataset():
  points = np.random.default_rng(0).normal(train_test.MEAN, 1, (400, 1))
  return data.Dataset('gaussian', points.astype(np.float32))


SETUP = train.Setup(
  train_test.Shift(),
  train_test.Slope(),
  train_test.LOSS,
  train_test.descent(0.1),
)


@pytest.fixture(autouse=True, scope='module')
def compiled_once():
  """Programs of the same setup are compiled for one test only."""
  known = {}

  def once(make):
    def made(setup, *arguments, **options):
      which = make.__name__, setup, *options.keys(), *arguments[1:]
      if which not in known:
        known[which] = make(setup, *arguments, **options)
      return known[which]

    return made

  with pytest.MonkeyPatch.context() as patched:
    for name in ('make_call', 'make_sampler'):
      patched.setattr(step, name, once(getattr(step, name)))
    yield


def own_run(num_steps=40, **changes):
  known = dict(evaluate_every=10, num_samples=50, checkpoint_every=20)
  known |= dict(log_every=10, keep_checkpoints=10, dataset=dataset())
  known |= dict(setup=SETUP)
  return train_test.own_run(num_steps=num_steps, **known | changes)


def quietly(line):
  del line


def lines(folder, *, evaluation):
  """Lines of metrics.jsonl of one of its two kinds, in order of the steps."""
  found = [
    {k: v for k, v in line.items() if k != 'steps_per_second'}
    for line in train_test.lines(folder)
  ]
  is_one = lambda line: any(k.startswith('evaluation/') for k in line)
  chosen = [line for line in found if is_one(line) == evaluation]
  return sorted(chosen, key=lambda line: line['step'])


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """(folder, last state, what was said) of a run that was evaluated."""
  folder, said = tmp_path_factory.mktemp('whole'), []
  state = train.train(own_run(best_by=METRIC), folder, say=said.append)
  return folder, state, said


@pytest.fixture
def copied(whole, tmp_path):
  return shutil.copytree(whole[0], tmp_path / 'run')


def steps_of(folder):
  return [entry['step'] for entry in evaluations.read(folder)]


def test_evaluation_does_not_change_training(whole, tmp_path):
  folder, state, _ = whole
  plain = train.train(own_run(evaluate_every=0), tmp_path, say=quietly)
  chex.assert_trees_all_equal(state, plain)
  ours = lines(folder, evaluation=False)
  assert ours == lines(tmp_path, evaluation=False) and len(ours) == 4
  assert not (tmp_path / 'evaluation.json').exists()


def test_each_evaluated_step_has_numbers_and_a_checkpoint(whole):
  folder, _, said = whole
  assert steps_of(folder) == [10, 20, 30, 40]
  assert checkpoints.steps(folder / 'checkpoints') == [40, 30, 20, 10]
  curve = lines(folder, evaluation=True)
  for entry, point in zip(evaluations.read(folder), curve, strict=True):
    value = entry[METRIC]['value']
    assert point == {'step': entry['step'], f'evaluation/{METRIC}': value}
    assert entry['weights'] == 'raw' and entry['seed'] == 0
    assert entry['settings'] == dict(draws=1, seed=0, num_samples=50)
  assert sum('evaluation at step' in line for line in said) == 4


def test_they_are_those_of_the_checkpoints(whole, copied):
  before = evaluations.read(copied)
  (copied / 'evaluation.json').unlink()
  found = measure_run.evaluate_run(own_run(), copied, which='all', say=quietly)
  assert found == before == evaluations.read(copied)
  (one,) = measure_run.evaluate_run(own_run(), copied, which='20', say=quietly)
  assert one == before[1]
  assert steps_of(copied) == [10, 30, 40, 20]


def test_the_best_is_kept_beside_the_last(whole):
  folder, _, _ = whole
  value = {e['step']: e[METRIC]['value'] for e in evaluations.read(folder)}
  chosen = min(value, key=value.get)
  record = best.read(folder)
  assert (record['step'], record['value']) == (chosen, value[chosen])
  assert sorted(p.name for p in (folder / 'best').iterdir()) == [
    f'{chosen:08d}',
    'best.json',
  ]
  sampler = generate.load_setup(SETUP, folder, best=True)
  assert sampler.step == chosen
  (entry,) = measure_run.evaluate_run(
    own_run(), shutil.copytree(folder, folder / 'copy'), which='best'
  )
  assert entry[METRIC]['value'] == value[chosen]
  shutil.rmtree(folder / 'copy')


def test_a_run_that_goes_on_evaluates_no_step_twice(copied, monkeypatch):
  asked = []
  known = evaluate.evaluate

  def count(*arguments, **options):
    asked.append(options['num_samples'])
    return known(*arguments, **options)

  monkeypatch.setattr(evaluate, 'evaluate', count)
  train.train(own_run(50, best_by=METRIC), copied, say=quietly)
  assert len(asked) == 1 and steps_of(copied) == [10, 20, 30, 40, 50]
  train.train(own_run(50, best_by=METRIC), copied, say=quietly)
  assert len(asked) == 1


def test_what_is_known_of_the_data_is_kept_between_steps(tmp_path, monkeypatch):
  dicts = []
  known = evaluate.evaluate

  def keep(*arguments, **options):
    dicts.append(options['known'])
    return known(*arguments, **options)

  monkeypatch.setattr(evaluate, 'evaluate', keep)
  train.train(own_run(20), tmp_path, say=quietly)
  measure_run.evaluate_run(own_run(20), tmp_path, say=quietly)
  assert dicts[0] is dicts[1] is not dicts[2] and len(dicts) == 3


def test_what_was_not_evaluated_is_when_the_run_goes_on(whole, copied):
  entries = evaluations.read(copied)
  kept = [entries[0], {**entries[3], 'step': 60}]  # and one of a lost future
  (copied / 'evaluation.json').write_text(json.dumps(kept))
  shutil.rmtree(copied / 'best')
  shutil.rmtree(copied / 'checkpoints' / '00000020')
  train.train(own_run(50, best_by=METRIC), copied, say=quietly)
  assert steps_of(copied) == [10, 30, 40, 50]
  assert evaluations.read(copied)[:3] == [entries[0], *entries[2:]]
  value = {e['step']: e[METRIC]['value'] for e in evaluations.read(copied)}
  assert best.read(copied)['step'] == min(value, key=value.get)


def test_a_best_that_is_not_there_is_found_among_what_is(copied):
  entries = evaluations.read(copied)
  entries[0][METRIC]['value'] = 1e-6
  (copied / 'evaluation.json').write_text(json.dumps(entries))
  shutil.rmtree(copied / 'best')
  train.train(own_run(50, best_by=METRIC), copied, say=quietly)
  assert best.read(copied)['step'] == 10
  assert generate.load_setup(SETUP, copied, best=True).step == 10


def test_a_finished_run_still_gets_its_numbers(whole, copied):
  entries = evaluations.read(copied)
  (copied / 'evaluation.json').write_text(json.dumps(entries[:3]))
  before = lines(copied, evaluation=False)
  train.train(own_run(best_by=METRIC), copied, say=quietly)
  assert evaluations.read(copied) == entries
  assert lines(copied, evaluation=False) == before


def test_a_signal_does_not_wait_for_numbers(tmp_path, monkeypatch):
  def endless(sample, *arguments, **options):
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
      sample(0, 4)

  with monkeypatch.context() as patched:
    patched.setattr(evaluate, 'evaluate', endless)
    with pytest.raises(train.Interrupted, match='SIGTERM: saved step'):
      train.train(own_run(1000, best_by=METRIC), tmp_path, say=quietly)
  (done, *_) = saved = checkpoints.steps(tmp_path / 'checkpoints')
  assert steps_of(tmp_path) == [] and saved[-1] == 10
  last = -(-done // 10) * 10
  train.train(own_run(last, best_by=METRIC), tmp_path, say=quietly)
  assert steps_of(tmp_path) == [*range(10, last + 1, 10)]


@pytest.mark.slow
def test_a_generator_that_breaks_in_evaluation_ends_the_run(tmp_path):
  generator = train_test.Shift(trained=np.inf)
  run = own_run(setup=SETUP._replace(generator=generator))
  with pytest.raises(
    train.Diverged, match='50 of 50 .* not finite at step 10;'
  ):
    train.train(run, tmp_path, say=quietly)
  assert steps_of(tmp_path) == []
  with pytest.raises(ValueError, match='50 of 50 samples .* not finite'):
    measure_run.evaluate_run(run, tmp_path)


def test_an_evaluation_that_fails_leaves_no_number(tmp_path, monkeypatch):
  def fail(*arguments, **options):
    raise ValueError('too few of something')

  monkeypatch.setattr(evaluate, 'evaluate', fail)
  said = []
  train.train(own_run(10), tmp_path, say=said.append)
  assert 'no numbers of step 10: too few of something' in said
  assert lines(tmp_path, evaluation=True) == []


# Checkpoints by name.


def damaged(folder, number):
  path = folder / 'checkpoints' / f'{number:08d}' / 'host.json'
  path.write_text(path.read_text() + ' ')


def test_a_damaged_checkpoint_is_passed_over_only_among_all(copied):
  damaged(copied, 40)
  said = []
  found = measure_run.evaluate_run(
    own_run(), copied, which='all', say=said.append
  )
  assert [entry['step'] for entry in found] == [10, 20, 30]
  assert any('00000040 is damaged' in line for line in said)
  (newest,) = measure_run.evaluate_run(own_run(), copied, say=quietly)
  assert newest['step'] == 30
  with pytest.raises(checkpoints.Damaged, match='00000040 is damaged .host'):
    measure_run.evaluate_run(own_run(), copied, which='30,40', say=quietly)


@pytest.mark.parametrize(
  'which, words',
  [
    ('25', r'no checkpoint of step 25; it has \[10, 20, 30, 40\]'),
    ('10,x', r"checkpoints='10,x' .* \['newest', 'all', 'best'\] or steps"),
  ],
)
def test_checkpoints_that_are_not_there(whole, which, words):
  with pytest.raises((checkpoints.CheckpointError, ValueError), match=words):
    measure_run.evaluate_run(own_run(), whole[0], which=which)


def test_without_a_checkpoint(tmp_path):
  for which, words in (('all', 'train first'), ('best', 'config.best_by')):
    with pytest.raises(checkpoints.CheckpointError, match=words):
      measure_run.evaluate_run(own_run(), tmp_path, which=which)
  assert not list(tmp_path.iterdir())


def test_draws_and_weights(tmp_path):
  setup = SETUP._replace(averaging=0.9)
  run = own_run(20, setup=setup, evaluate_every=0)
  train.train(run, tmp_path, say=quietly)
  said = []
  found = measure_run.evaluate_run(
    run, tmp_path, which='all', weights='both', draws=3, say=said.append
  )
  kinds = [(entry['step'], entry['weights']) for entry in found]
  assert kinds == [(20, 'averaged'), (20, 'raw')]
  for entry in found:
    part = entry[METRIC]
    assert len(set(part['draws'])) == 3
    assert part['value'] == pytest.approx(np.mean(part['draws']))
    assert part['std_over_draws'] == pytest.approx(
      np.std(part['draws'], ddof=1)
    )
  assert found[0][METRIC]['value'] != found[1][METRIC]['value']
  assert '3 times 50 samples against gaussian, split train' in said
  # The first draw is the one that a single draw makes.
  (one,) = measure_run.evaluate_run(run, tmp_path, say=quietly)
  assert one[METRIC]['value'] == found[0][METRIC]['draws'][0]
  with pytest.raises(ValueError, match="weights='both', but this run keeps no"):
    measure_run.evaluate_run(own_run(), tmp_path, weights='both')


# Sampling.


def test_samples_of_four_devices_are_those_of_one():
  count = 23
  module = models.generator('mlp', z_size=3, features=(8,), data_shape=(2,))
  setup = SETUP._replace(generator=module)
  z = jax.random.normal(jax.random.key(0), (count, 3))
  variables = module.init(jax.random.key(1), jnp.zeros((1, 3)))
  make = lambda **how: step.make_sampler(setup, batch_size=10, **how)
  four = make(place=parallel.by_rows)(variables, z)
  assert jax.local_device_count() == 4 and four.shape == (count, 2)
  np.testing.assert_allclose(four, make()(variables, z), rtol=1e-5, atol=1e-7)


def test_words_of_a_signal():
  error = signals.Interrupted('no longer watching.', signal.SIGINT)
  assert str(error) == 'SIGINT: no longer watching.'
