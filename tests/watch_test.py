"""A watcher follows a training, here one that saves when the watcher speaks."""

import json
import os
import shutil
import signal
import subprocess

import measuring_test
import pytest
from commands import ROOT, SMALL, command, environment, main
from measuring_test import METRIC, compiled_once, own_run  # noqa: F401

import gan_jax
from gan_jax import best, checkpoints, evaluations, signals, train, watch
from gan_jax import workdir as workdirs


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  """A finished run with checkpoints of steps 10, 20 and 30, not evaluated."""
  folder = tmp_path_factory.mktemp('saved')
  run = own_run(30, evaluate_every=0, checkpoint_every=10)
  train.train(run, folder, say=lambda line: None)
  return folder


def look(folder, say, **options):
  changes = {
    k: options.pop(k) for k in ('best_by', 'num_steps') if k in options
  }
  run = own_run(**dict(num_steps=30, evaluate_every=0) | changes)
  watch.watch(run, folder, poll_seconds=0.01, say=say, **options)


def steps_of(folder):
  return [entry['step'] for entry in evaluations.read(folder)]


def test_checkpoints_are_evaluated_as_they_come(saved, tmp_path):
  folder, said = tmp_path / 'run', []
  to_come = [10, 20, 30]

  def bring():
    name = f'checkpoints/{to_come.pop(0):08d}'
    # The last file of a checkpoint comes last, so that it appears whole.
    shutil.copytree(saved / name, folder / 'coming')
    (folder / name).parent.mkdir(exist_ok=True)
    os.replace(folder / 'coming', folder / name)

  def say(line):
    said.append(line)
    if line.startswith('waiting for a run in'):
      folder.mkdir()
      shutil.copy(saved / 'config.json', folder)
      bring()
    elif line.startswith('evaluation at step') and to_come:
      bring()

  look(folder, say, best_by=METRIC)
  assert steps_of(folder) == [10, 20, 30]
  assert said[-1].startswith('the run is at its end, step 30')
  value = {e['step']: e[METRIC]['value'] for e in evaluations.read(folder)}
  assert best.read(folder)['step'] == min(value, key=value.get)
  assert not (folder / 'best' / 'watched').exists()
  # Nothing is left to do for a second watcher of the same numbers.
  again = []
  look(folder, again.append, best_by=METRIC)
  assert again == said[-1:]
  look(folder, again.append, draws=2)
  assert steps_of(folder) == [10, 20, 30] * 2


@pytest.fixture
def copied(saved, tmp_path):
  return shutil.copytree(saved, tmp_path / 'run')


@pytest.mark.parametrize('best_by', ['', METRIC])
def test_a_checkpoint_that_is_removed_meanwhile(copied, best_by, monkeypatch):
  known = checkpoints.restore

  def remove_first(directory, step, like):
    checkpoints.remove(copied / 'checkpoints' / '00000010')
    return known(directory, step, like)

  monkeypatch.setattr(checkpoints, 'restore', remove_first)
  said = []
  look(copied, said.append, best_by=best_by)
  # What is held for a trial stays.
  assert steps_of(copied) == [10, 20, 30] if best_by else [20, 30]
  words = 'no numbers of step 10: '
  assert any(line.startswith(words) for line in said) == (not best_by)


def test_a_damaged_checkpoint_is_said_once(copied, monkeypatch):
  measuring_test.damaged(copied, 20)
  said, rests, rest = [], [], watch._rest

  def third(watching, seconds):
    rests.append(seconds)
    if len(rests) == 3:
      os.kill(os.getpid(), signal.SIGTERM)
    rest(watching, seconds)

  monkeypatch.setattr(watch, '_rest', third)
  with pytest.raises(signals.Interrupted):
    look(copied, said.append, num_steps=40)
  assert steps_of(copied) == [10, 30] and len(rests) == 3
  assert sum('00000020 is damaged' in line for line in said) == 1


def test_a_signal_ends_it(copied):
  def say(line):
    if line.startswith('evaluation at step 10'):
      os.kill(os.getpid(), signal.SIGTERM)

  with pytest.raises(signals.Interrupted, match='SIGTERM') as caught:
    look(copied, say)
  assert caught.value.signum == signal.SIGTERM
  assert steps_of(copied) == [10]
  look(copied, lambda line: None)
  assert steps_of(copied) == [10, 20, 30]


def test_a_signal_ends_its_waiting(tmp_path):
  say = lambda line: os.kill(os.getpid(), signal.SIGINT)
  with pytest.raises(signals.Interrupted, match='SIGINT'):
    look(tmp_path / 'none', say)
  assert not (tmp_path / 'none').exists()


def test_one_watcher_at_a_time_beside_a_training(copied):
  with workdirs.claim(copied):
    look(copied, lambda line: None)
    with (
      workdirs.claim(copied, 'watch.lock'),
      pytest.raises(workdirs.WorkdirError, match='in use by process'),
    ):
      look(copied, lambda line: None)


@pytest.mark.slow
def test_a_watcher_beside_a_training(tmp_path):
  cache = f'--config.compilation_cache={tmp_path / "xla"}'
  flags = (*SMALL, cache, f'--workdir={tmp_path / "run"}')
  flags += '--config.num_steps=60', '--config.checkpoint_every=20'
  watching = '--mode=watch', '--poll_seconds=0.2', '--config.num_samples=200'
  kept = '--config.best_by=frechet'
  with subprocess.Popen(
    command(*flags, *watching, kept),
    cwd=ROOT,
    env=environment(),
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  ) as watcher:
    assert 'waiting for a run' in watcher.stdout.readline()
    trained = main(*flags)
    assert trained.returncode == 0, trained.stderr
    said = watcher.communicate(timeout=100)[0]
  assert watcher.returncode == 0, said
  entries = json.loads((tmp_path / 'run' / 'evaluation.json').read_text())
  value = {e['step']: e['frechet']['value'] for e in entries}
  assert sorted(value) == [20, 40, 60]
  assert best.read(tmp_path / 'run')['step'] == min(value, key=value.get)
  # The same numbers as of the command that measures them afterwards.
  again = '--mode=evaluate', '--checkpoints=all', '--config.num_samples=200'
  done = main(*flags, *again)
  assert done.returncode == 0, done.stderr
  assert (
    json.loads((tmp_path / 'run' / 'evaluation.json').read_text()) == entries
  )
  sampler = gan_jax.load(tmp_path / 'run', best=True)
  assert sampler.step == min(value, key=value.get)
