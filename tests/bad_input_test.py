"""A mistake gets one line that says what would be right, and writes nothing.

Every case goes through the command line, in a process of its own.
"""

import subprocess
import sys

import numpy as np
import pytest
from commands import ROOT, assert_mistake, environment, main
from data_tfds_test import pixels, write_prepared
from resume_test import raw_arrays

QUICK = '--config=configs/digits.py:quick'
CIFAR10 = '--config=configs/cifar10_landscape.py:quick'


def assert_refused(tmp_path, flags, words):
  workdir = tmp_path / 'run'
  assert_mistake(main(*flags, f'--workdir={workdir}'), *words)
  assert not workdir.exists()


# Found while parsing flags, before JAX is imported.
@pytest.mark.parametrize(
  'flags, words',
  [
    (['--config=configs/digits.py:bogus'], ["'bogus'", "'quick'"]),
    (
      ['--config=configs/cifar10_landscape.py:cnn,bogus'],
      ["'bogus'", "'rs_hinge'", "'quarter'", "'nosn'"],
    ),
    ([QUICK, '--bogus=1'], ['bogus']),
    ([QUICK, '--mode=bogus'], ['--mode=bogus', 'train|evaluate|watch|sample']),
    (
      [QUICK, '--draws=2'],
      ['--draws goes with --mode=evaluate or --mode=watch, not'],
    ),
    (
      [QUICK, '--mode=evaluate', '--checkpoints=last'],
      ['--checkpoints=last is not newest, all, best'],
    ),
    ([QUICK, 'bogus'], ["'bogus'", '--']),
    ([], ['--config is needed', 'configs/digits.py']),
    (['--config=configs/nope.py'], ['--config', 'No such file', 'nope.py']),
    (
      ['--config=configs/nope.py', '--config.loss=hinge'],
      ['No such file', 'nope.py'],
    ),
    (
      [QUICK, '--config.lsos=x'],
      ['--config.lsos=x', 'Did you mean "loss" instead of "lsos"?'],
    ),
    (
      [QUICK, '--config.optimizer_g.learning_rat=1'],
      ['--config.optimizer_g.learning_rat=1', '"learning_rate"'],
    ),
    (
      [QUICK, '--config.generator.slope=0.1'],
      ['--config.generator.slope=0.1', 'fields of the file'],
    ),
    (
      [QUICK, '--config.game.foo=1'],
      [
        '--config.game.foo=1',
        "config.game is 'alternating'",
        "['d_steps', 'first', 'g_steps']",
        '--config=configs/toy.py:acgd',
      ],
    ),
    ([QUICK, '--config.num_steps=abc'], ['config.num_steps=abc', 'int']),
    ([QUICK, '--config.game.d_steps=1.5'], ['config.game.d_steps=1.5', 'int']),
  ],
)
def test_flags(tmp_path, flags, words):
  assert_refused(tmp_path, flags, words)


def test_words_that_do_not_go_together(tmp_path):
  flags = ['--config=configs/cifar10_landscape.py:cnn,bottleneck']
  assert_refused(tmp_path, flags, ["'bottleneck' does not go with 'cnn'"])


def test_workdir_is_needed():
  assert_mistake(main(QUICK), '--workdir is needed')


@pytest.mark.parametrize(
  'body, words',
  [
    ("config.num_steps = 'many'", ['many', 'str', 'int']),
    ('config = defaults.get_confg()', ["no attribute 'get_confg'"]),
    ('config = undefined', ["'undefined' is not defined"]),
    ('config = )', ['mine.py, line 4']),
    ('config = 5', ['get_config()', 'gan_jax.defaults']),
    ("config.lsos = 'x'", ["config has no ['lsos']", "'loss'"]),
    (
      "config.game = dict(name='alternating', d_steps=1.5)",
      ['config.game.d_steps=1.5', 'float', 'int'],
    ),
  ],
)
def test_a_file_of_ones_own(tmp_path, body, words):
  file = tmp_path / 'mine.py'
  file.write_text(
    'from gan_jax import defaults\ndef get_config():\n'
    f'  config = defaults.get_config()\n  {body}\n  return config\n'
  )
  assert_refused(tmp_path, [f'--config={file}'], words)


# Found while the run is built.
@pytest.mark.parametrize(
  'flags, words',
  [
    (['loss=bogus'], ["config.loss='bogus'", "'relativistic_hinge'"]),
    (['generator.name=bogus'], ['config.generator', "'bogus'", "'cnn'"]),
    (['discriminator.name=bogus'], ['config.discriminator', "'bogus'"]),
    (['data.name=bogus'], ['config.data', "'bogus'", "'ring8'", 'folder:']),
    (['game.name=bogus'], ["config.game='bogus'", "'simultaneous'"]),
    (
      ['game.name=acgd'],
      ["'acgd' has no argument ['d_steps'", "'warm_start']", 'toy.py:acgd'],
    ),
    (['game.d_steps=0'], ['config.game', 'd_steps >= 1', 'got 0']),
    (
      ['optimizer_g.name=bogus'],
      ["config.optimizer_g.name='bogus'", "'adam', 'rmsprop', 'sgd'"],
    ),
    (
      ['optimizer_d.schedule=bogus'],
      ["config.optimizer_d.schedule='bogus'", "'cosine'"],
    ),
    (
      ['optimizer_d.schedule=linear', 'optimizer_d.decay_start=20'],
      ['config.optimizer_d.decay_start=20', "'linear'", 'of 20'],
    ),
    (['num_steps=0'], ['config.num_steps=0', 'less than 1']),
    (['batch_size=-3'], ['config.batch_size=-3', 'less than 1']),
    (['batch_size=1798'], ['config.batch_size=1798', 'between 1 and 1797']),
    (['seed=4294967296'], ['config.seed=4294967296', '2**32']),
    (['log_every=7', 'steps_per_call=5'], ['log_every=7', 'steps_per_call=5']),
    # An option of another net than the one chosen.
    (
      ['discriminator.name=mlp'],
      ['config.discriminator', "of 'mlp'", 'features='],
    ),
    (['parallel=pjit'], ["config.parallel='pjit'", "'shard_map'"]),
    (['diff_augment=colour'], ["config.diff_augment='colour'", "'color'"]),
    (
      ['generator.image_size=32'],
      ['config.generator', '(32, 32, 1)', '(16, 16, 1)'],
    ),
    (['generator.width=0'], ['config.generator', 'width=0', 'positive']),
    (
      ['evaluate_every=10', 'best_by=bogus'],
      ["config.best_by='bogus'", "['frechet']"],
    ),
  ],
)
def test_configs(tmp_path, flags, words):
  flags = [QUICK, *(f'--config.{flag}' for flag in flags)]
  assert_refused(tmp_path, flags, words)


def test_a_method_that_does_not_go_with_the_loss(tmp_path):
  words = ["config.game.name='acgd'", "'relativistic'", 'general_sum_acgd']
  flags = ['--config=configs/digits.py:quick,acgd']
  assert_refused(tmp_path, flags, [*words, 'config.saturating=True'])


# Data that are not there.


def missing(folder):
  return [f"data_dir='{folder}' is not a folder"]


def empty(folder):
  folder.mkdir()
  return [str(folder), 'is empty']


def tfrecord(folder):
  images = pixels(4, (32, 32, 3))
  write_prepared(folder, 'cifar10', images, file_format='tfrecord')
  return ['tfrecord', 'array_record']


def another_set(folder):
  write_prepared(folder, 'mnist', pixels(4, (28, 28, 1)))
  return ["'cifar10' is not prepared", "holds ['mnist']"]


@pytest.mark.parametrize('prepare', [missing, empty, tfrecord, another_set])
def test_data_dir(tmp_path, prepare):
  folder = tmp_path / 'data'
  words = prepare(folder)
  command = f'python -m gan_jax.data prepare cifar10 --data_dir={folder}'
  flags = [CIFAR10, f'--config.data_dir={folder}']
  assert_refused(tmp_path, flags, [*words, command])


def test_no_data_dir(tmp_path):
  command = 'python -m gan_jax.data prepare cifar10 --data_dir=DIR'
  assert_refused(tmp_path, [CIFAR10], ['needs data_dir', command])


# The workdir.


def test_workdir_below_a_file(tmp_path):
  file = tmp_path / 'file'
  file.write_text('kept')
  done = main(QUICK, f'--workdir={file}/run')
  assert_mistake(done, f"workdir='{file}/run'", 'cannot be written')
  assert file.read_text() == 'kept'


HOLD = """
import sys
from gan_jax import workdir
with workdir.claim(sys.argv[1]):
  print('held', flush=True)
  sys.stdin.read()
"""


def test_workdir_in_use(tmp_path):
  workdir = tmp_path / 'run'
  with subprocess.Popen(
    [sys.executable, '-c', HOLD, str(workdir)],
    cwd=ROOT,
    env=environment(),
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  ) as holder:
    assert holder.stdout.readline() == 'held\n'
    done = main(QUICK, f'--workdir={workdir}')
    holder.stdin.close()
  assert_mistake(done, f"'{workdir}'", f'by process {holder.pid};', 'another')
  assert [p.name for p in workdir.iterdir()] == ['lock']


@pytest.mark.parametrize('mode', ['evaluate', 'sample'])
@pytest.mark.parametrize('exists', [False, True])
def test_no_checkpoint_yet(tmp_path, mode, exists):
  workdir = tmp_path / 'run'
  if exists:
    workdir.mkdir()
  done = main(QUICK, f'--workdir={workdir}', f'--mode={mode}')
  assert_mistake(done, f"'{workdir}'", 'no checkpoint', 'train first')
  assert workdir.exists() == exists
  assert not exists or not list(workdir.iterdir())


@pytest.mark.parametrize('text', ['{"seed": 0', '[1, 2]'])
def test_damaged_record(tmp_path, text):
  (tmp_path / 'config.json').write_text(text)
  done = main(QUICK, f'--workdir={tmp_path}')
  assert_mistake(
    done, tmp_path / 'config.json', 'restore it', 'another workdir'
  )
  assert [p.name for p in tmp_path.iterdir()] == ['config.json']
  assert (tmp_path / 'config.json').read_text() == text


DIVERGING = """
from configs import digits
from gan_jax import defaults

def get_config():
  config = digits.get_config('quick')
  net = dict(name='mlp', features=(8,), data_shape=(16, 16, 1))
  config.generator = config.discriminator = net
  # It grows from 0 by 1e36 a step, so the first step is still harmless.
  config.optimizer_d = defaults.optimizer(learning_rate=1e38, warmup=100)
  config.checkpoint_every = 1
  return config
"""


@pytest.mark.filterwarnings('ignore')  # orbax, on where arrays go
def test_divergence_keeps_the_last_good_checkpoint(tmp_path):
  file, workdir = tmp_path / 'diverging.py', tmp_path / 'run'
  file.write_text(DIVERGING)
  done = main(f'--config={file}', f'--workdir={workdir}')
  # The critic moves first in step 2, and its generator is the first to see it.
  assert_mistake(
    done,
    'loss_g of the generator is nan at step 2;',
    'the checkpoint of step 1 is kept',
    'Lower the learning rates',
  )
  (kept,) = (workdir / 'checkpoints').iterdir()
  assert kept.name == '00000001'
  arrays = raw_arrays(workdir, 1)
  assert len(arrays) > 10
  assert all(np.isfinite(array).all() for array in arrays.values())
  assert (workdir / 'metrics.jsonl').read_text() == ''
