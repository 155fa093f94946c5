"""Two processes with two devices each, on loopback, are one."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import parallel_test
import pytest
from commands import ROOT, SMALL, command, environment, main

from gan_jax import parallel

pytestmark = pytest.mark.slow


def free_port():
  with socket.socket() as s:
    s.bind(('localhost', 0))
    return s.getsockname()[1]


def start(arguments, **changes):
  """Two processes; arguments is a function of the address and the number."""
  address = f'localhost:{free_port()}'
  env = environment(JAX_NUM_CPU_DEVICES='2', **changes)
  run = lambda i: subprocess.Popen(
    arguments(address, i),
    cwd=ROOT,
    env=env,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  return [run(i) for i in range(2)]


def finish(workers, code=0):
  out = [worker.communicate(timeout=300)[0] for worker in workers]
  for worker, text in zip(workers, out, strict=True):
    assert worker.returncode == code, text
  return out


def by_hand(*flags):
  """The command of `main` for one of two processes."""

  def arguments(address, index):
    where = f'--coordinator={address}', '--num_processes=2'
    return command(*flags, *where, f'--process_id={index}')

  return arguments


@pytest.mark.float64
@pytest.mark.parametrize('wrapper', parallel.NAMES)
def test_two_processes_equal_one_device(wrapper, tmp_path):
  out = tmp_path / 'leaves.pickle'
  script = str(ROOT / 'tests' / 'process_worker.py')
  finish(
    start(lambda at, i: [sys.executable, script, at, '2', str(i), wrapper, out])
  )
  actual = pickle.loads(out.read_bytes())
  expected = jax.tree.leaves(
    {name: parallel_test.one_device(name) for name in parallel_test.PROCESSES}
  )
  assert len(actual) == len(expected) > 30
  for a, b in zip(actual, expected, strict=True):
    rtol = 1e-9 if b.dtype == np.float64 else 1e-6
    np.testing.assert_allclose(
      a, b, rtol=rtol, atol=1e-12 if rtol < 1e-8 else 1e-7
    )


FLAGS = (*SMALL, '--config.log_every=5', '--config.checkpoint_every=10')


def losses(folder):
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  return [
    (row['step'], row['loss_g'], row['loss_d'], row['r1']) for row in rows
  ]


def assert_close(actual, expected):
  assert len(actual) == len(expected)
  actual, expected = np.array(actual, float), np.array(expected, float)
  np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-6)


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
  """The curve of one process with one device."""
  folder = tmp_path_factory.mktemp('alone')
  done = main(*FLAGS, f'--workdir={folder}')
  assert done.returncode == 0, done.stderr
  return losses(folder)


@pytest.mark.parametrize('wrapper', parallel.NAMES)
def test_the_command_line_gives_the_same_curve(wrapper, alone, tmp_path):
  flags = (*FLAGS, f'--workdir={tmp_path}', f'--config.parallel={wrapper}')
  leader, follower = finish(start(by_hand(*flags)))
  assert_close(losses(tmp_path), alone)
  # The first process alone speaks.
  assert f'done: {tmp_path}' in leader and '20/20' in leader
  assert '20/20' not in follower and 'done:' not in follower
  assert sorted(p.name for p in (tmp_path / 'checkpoints').iterdir()) == [
    '00000010',
    '00000020',
  ]


def test_a_run_goes_on_with_another_number_of_processes(alone, tmp_path):
  flags = (*FLAGS, f'--workdir={tmp_path}')
  finish(start(by_hand(*flags, '--config.num_steps=10')))
  done = main(*flags)
  assert done.returncode == 0, done.stderr
  assert 'resuming from the checkpoint of step 10.' in done.stdout
  assert 'on 1 devices, not 4; not bit-exact.' in done.stdout
  assert_close(losses(tmp_path), alone)


def numbers(folder):
  entries = json.loads((folder / 'evaluation.json').read_text())
  return {e['step']: e['frechet']['value'] for e in entries}


def test_evaluation_is_that_of_one_process(tmp_path):
  flags = (*FLAGS, f'--workdir={tmp_path}', '--config.num_samples=600')
  pixels = '--config.evaluation.features=pixels'
  beside = '--config.evaluate_every=10', '--config.best_by=frechet'
  leader, follower = finish(start(by_hand(*flags, pixels, *beside)))
  trained = numbers(tmp_path)
  assert sorted(trained) == [10, 20]
  assert 'evaluation at step 20' in leader and 'evaluation' not in follower
  assert (tmp_path / 'best' / 'best.json').exists()
  (tmp_path / 'evaluation.json').unlink()
  mode = pixels, '--mode=evaluate', '--checkpoints=all'
  leader, follower = finish(start(by_hand(*flags, *mode)))
  assert 'Frechet distance' in leader and 'Frechet distance' not in follower
  together = numbers(tmp_path)
  assert together.keys() == trained.keys()
  for step, value in together.items():
    # Each process has summed up its own half.
    np.testing.assert_allclose(value, trained[step], rtol=1e-4)


def test_a_signal_stops_all_processes_at_one_step(tmp_path):
  flags = (*FLAGS, f'--workdir={tmp_path}', '--config.num_steps=100000')
  workers = start(by_hand(*flags))
  metrics, deadline = tmp_path / 'metrics.jsonl', time.monotonic() + 200
  while not (metrics.exists() and metrics.stat().st_size):
    assert time.monotonic() < deadline
    time.sleep(0.2)
  workers[1].send_signal(signal.SIGTERM)  # one is enough
  out = finish(workers, code=128 + signal.SIGTERM)
  assert all('SIGTERM: saved step' in text for text in out)
  step = int(out[0].split('saved step ')[1].split(';')[0])
  assert (tmp_path / 'checkpoints' / f'{step:08d}' / 'SHA256SUMS').exists()


def test_a_mistake_ends_all_processes(tmp_path):
  folder = tmp_path / 'file'
  folder.write_text('')
  workers = start(by_hand(*FLAGS, f'--workdir={folder}'))
  out = [worker.communicate(timeout=300)[0] for worker in workers]
  assert workers[0].returncode == 2 and 'cannot be written' in out[0]
  assert workers[1].returncode == 2 and 'cannot be written' in out[1]


def test_processes_that_do_not_meet_say_so(tmp_path):
  done = main(*FLAGS, f'--workdir={tmp_path}', '--num_processes=2')
  assert done.returncode == 2
  assert '--coordinator and --process_id missing' in done.stderr
  where = '--num_processes=2', '--process_id=0', '--coordinator=localhost'
  done = main(*FLAGS, f'--workdir={tmp_path}', *where)
  assert done.returncode == 2
  assert "--coordinator='localhost' is not HOST:PORT" in done.stderr
  done = main(*FLAGS, f'--workdir={tmp_path}', '--mode=sample', '--distributed')
  assert done.returncode == 2 and 'is for one process' in done.stderr
  done = main(
    *FLAGS,
    f'--workdir={tmp_path}',
    '--config.batch_size=6',
    XLA_FLAGS='',
    JAX_NUM_CPU_DEVICES='4',
  )
  assert done.returncode == 2
  assert 'config.batch_size=6 is not a multiple of the 4 devices' in done.stderr
  assert os.listdir(tmp_path) == []
