"""A run that was killed goes on as if nothing had happened."""

import json
import pathlib
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from commands import ROOT, SMALL, assert_mistake, command, environment, main

from gan_jax import checkpoints

STEPS = 200
# Logged steps, saved steps and the end fall apart on purpose.
FLAGS = (
  *SMALL,
  f'--config.num_steps={STEPS}',
  '--config.log_every=7',
  '--config.checkpoint_every=20',
  '--config.sample_every=75',
)


# Whole runs in processes of their own.
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return f'--config.compilation_cache={tmp_path_factory.mktemp("xla")}'


@pytest.fixture(scope='module')
def whole(tmp_path_factory, cache):
  workdir = tmp_path_factory.mktemp('runs') / 'whole'
  done = main(*FLAGS, cache, f'--workdir={workdir}')
  assert done.returncode == 0, done.stderr
  return workdir


def interrupt(workdir, cache, signum):
  """Starts a run and sends a signal once it has saved and logged more."""
  process = subprocess.Popen(
    command(*FLAGS, cache, f'--workdir={workdir}'),
    cwd=ROOT,
    env=environment(),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  deadline = time.monotonic() + 120
  while not (saved(workdir) and logged(workdir) > saved(workdir)[0]):
    assert process.poll() is None, process.communicate()
    assert time.monotonic() < deadline
    time.sleep(0.002)
  process.send_signal(signum)
  process.communicate()
  return process.returncode


def saved(workdir):
  return checkpoints.steps(workdir / 'checkpoints')


def logged(workdir):
  lines = metrics(workdir)
  return lines[-1]['step'] if lines else 0


def metrics(workdir):
  path = pathlib.Path(workdir) / 'metrics.jsonl'
  if not path.exists():
    return []
  lines = path.read_text().splitlines(keepends=True)
  return [json.loads(line) for line in lines if line.endswith('\n')]


def without_times(lines):
  return [
    {k: v for k, v in line.items() if k != 'steps_per_second'} for line in lines
  ]


def raw_arrays(workdir, step):
  """Every array of a checkpoint, read by orbax without our code."""
  import jax
  import orbax.checkpoint as ocp

  with ocp.PyTreeCheckpointer() as checkpointer:
    folder = workdir / 'checkpoints' / f'{step:08d}' / 'state'
    tree = checkpointer.restore(folder)
  plain = lambda x: (
    jax.random.key_data(x)
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    else x
  )
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    jax.tree_util.keystr(path): np.asarray(plain(x)) for path, x in leaves
  }


def assert_same_run(workdir, whole):
  ours, theirs = raw_arrays(workdir, STEPS), raw_arrays(whole, STEPS)
  assert ours.keys() == theirs.keys() and len(ours) > 50
  for name, array in ours.items():
    assert array.tobytes() == theirs[name].tobytes(), name
  assert without_times(metrics(workdir)) == without_times(metrics(whole))


@pytest.mark.filterwarnings('ignore')
def test_sigkill_between_checkpoints_changes_no_bit(tmp_path, cache, whole):
  workdir = tmp_path / 'killed'
  assert interrupt(workdir, cache, signal.SIGKILL) == -signal.SIGKILL
  # Multiples of 7, so never a step that was saved.
  assert logged(workdir) % 20 and logged(workdir) > saved(workdir)[0]
  assert saved(workdir)[0] < STEPS
  newest = saved(workdir)[0]
  done = main(*FLAGS, cache, f'--workdir={workdir}')
  assert done.returncode == 0, done.stderr
  assert f'resuming from the checkpoint of step {newest}' in done.stdout
  assert_same_run(workdir, whole)


@pytest.mark.filterwarnings('ignore')
def test_sigterm_saves_and_the_run_goes_on(tmp_path, cache, whole):
  workdir = tmp_path / 'terminated'
  code = interrupt(workdir, cache, signal.SIGTERM)
  assert code == 128 + signal.SIGTERM
  # The call in flight ended, and its state was saved.
  assert logged(workdir) <= saved(workdir)[0] < STEPS
  done = main(*FLAGS, cache, f'--workdir={workdir}')
  assert done.returncode == 0, done.stderr
  assert_same_run(workdir, whole)


def test_what_a_run_leaves_behind(whole):
  assert [line['step'] for line in metrics(whole)] == list(range(7, STEPS, 7))
  assert sorted(p.name for p in (whole / 'samples').iterdir()) == [
    '00000000.png',
    '00000075.png',
    '00000150.png',
  ]
  assert json.loads((whole / 'config.json').read_text())['num_steps'] == STEPS
  assert list((whole / 'tensorboard').glob('events.*'))
  line = metrics(whole)[0]
  assert {'loss_g', 'loss_d', 'r1', 'real_logit', 'steps_per_second'} <= set(
    line
  )


def test_a_finished_run_is_left_alone(whole, cache):
  before = (whole / 'metrics.jsonl').read_text()
  done = main(*FLAGS, cache, f'--workdir={whole}')
  assert done.returncode == 0 and 'is finished' in done.stdout
  assert (whole / 'metrics.jsonl').read_text() == before


def test_another_config_is_refused_by_name(whole, cache):
  done = main(
    *FLAGS, cache, f'--workdir={whole}', '--config.optimizer_g.b1=0.25'
  )
  assert_mistake(done, 'optimizer_g.b1: 0.5 -> 0.25', 'another config')


def test_a_longer_run_goes_on_and_says_so(whole, cache, tmp_path):
  workdir = tmp_path / 'longer'
  shutil.copytree(whole, workdir)
  done = main(*FLAGS, cache, f'--workdir={workdir}', '--config.num_steps=203')
  assert done.returncode == 0, done.stderr
  assert 'num_steps: 200 -> 203' in done.stdout
  assert metrics(workdir)[-1]['step'] == 203


@pytest.mark.filterwarnings('ignore')
def test_a_flipped_bit_falls_back_to_the_checkpoint_before(
  whole, cache, tmp_path
):
  workdir = tmp_path / 'damaged'
  shutil.copytree(whole, workdir)
  folder = workdir / 'checkpoints' / f'{STEPS:08d}' / 'state'
  files = [p for p in folder.rglob('*') if p.is_file()]
  largest = max(files, key=lambda p: p.stat().st_size)
  content = bytearray(largest.read_bytes())
  content[len(content) // 2] ^= 4
  largest.write_bytes(content)
  done = main(*FLAGS, cache, f'--workdir={workdir}')
  assert done.returncode == 0, done.stderr
  assert largest.name in done.stdout and 'damaged' in done.stdout
  assert 'resuming from the checkpoint of step 180' in done.stdout
  assert_same_run(workdir, whole)


def test_sample_and_evaluate_modes(whole, cache):
  done = main(*FLAGS, cache, f'--workdir={whole}', '--mode=sample')
  assert done.returncode == 0, done.stderr
  paths = [pathlib.Path(line) for line in done.stdout.splitlines()]
  assert [p.name for p in paths] == [
    '00000200.png',
    'interpolation-00000200.png',
  ]
  assert all(p.exists() for p in paths)
  done = main(
    *FLAGS,
    cache,
    f'--workdir={whole}',
    '--mode=evaluate',
    '--config.num_samples=100',
  )
  assert done.returncode == 0, done.stderr
  assert 'classes covered: ' in done.stdout
  (numbers,) = json.loads((whole / 'evaluation.json').read_text())
  assert numbers['step'] == STEPS and numbers['weights'] == 'averaged'
