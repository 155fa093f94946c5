"""The command line: python -m gan_jax.main --config=configs/X.py --workdir=DIR.

Several processes run the same command, with --distributed where JAX knows the
cluster (SLURM, Cloud TPU), else with --coordinator, --num_processes and
--process_id; the first alone touches the folder. See docs/scaling.md.

Exit codes: 0 done; 2 for a mistake in what was asked, a folder that cannot be
used or runs that diverged, each with one line on stderr; 128 + signal when a
signal ended the run after saving it; 1 with a traceback for a fault of ours.
"""

import os
import signal
import sys
import traceback

from absl import flags
from ml_collections import config_flags

from gan_jax import flag_words

_CONFIG = config_flags.DEFINE_config_file(
  'config', help_string='File of the experiment, e.g. configs/digits.py.'
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.')
_MODE = flags.DEFINE_enum(
  'mode',
  'train',
  ['train', 'evaluate', 'watch', 'sample', 'export'],
  'Train (or go on); or numbers of checkpoints, those there are or each as '
  'another process saves it (watch); or pictures or weights (npz, with the '
  'names that PyTorch would give) of the newest.',
)
_CHECKPOINTS = flags.DEFINE_string(
  'checkpoints',
  'newest',
  'Of evaluate: newest, all, best, or steps: 1000,2000.',
)
_WEIGHTS = flags.DEFINE_enum(
  'weights',
  None,
  ['averaged', 'raw', 'both'],
  'Of evaluate and watch: which generator; averaged where the run keeps one.',
)
_DRAWS = flags.DEFINE_integer(
  'draws', 1, 'Of evaluate and watch: how often samples are drawn.', 1
)
_POLL_SECONDS = flags.DEFINE_float(
  'poll_seconds', 30.0, 'Of watch: time between looks.', 0.01
)
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed', False, 'One of several processes of a cluster that JAX knows.'
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator', None, 'HOST:PORT of the first of several processes.'
)
_SEEDS = flags.DEFINE_string(
  'seeds',
  None,
  'Of train and evaluate: 0,1,2 are runs of their own in WORKDIR/seed-0, ...; '
  'they train at once. See docs/seeds.md.',
)
_TOGETHER = flags.DEFINE_enum(
  'together',
  'auto',
  ['auto', 'vmap', 'unrolled', 'in_turn'],
  'How several seeds share the devices.',
)
_NUM_PROCESSES = flags.DEFINE_integer('num_processes', None, 'How many.')
_PROCESS_ID = flags.DEFINE_integer('process_id', None, 'Which of them, from 0.')

# flag -> the modes that read it.
_ONLY_OF = {
  'checkpoints': ('evaluate',),
  'weights': ('evaluate', 'watch'),
  'draws': ('evaluate', 'watch'),
  'poll_seconds': ('watch',),
  'seeds': ('train', 'evaluate'),
  'together': ('train',),
}

# What a person asked for, as opposed to a fault of ours.
_MISTAKES = (
  flags.Error,
  AttributeError,  # a typo in a config field, with "Did you mean"
  ImportError,
  KeyError,
  NameError,
  TypeError,
  ValueError,
  OSError,
  SyntaxError,
)


def main(argv: list[str] | None = None) -> int:
  """Runs one command; returns its exit code."""
  argv = list(sys.argv if argv is None else argv)
  if set(argv) & {'--help', '-h', '-help'}:
    print(__doc__)
    print(flags.FLAGS.main_module_help())
    return 0
  try:
    config = _parse(argv)
  except _MISTAKES as error:
    return _fail(flag_words.words_of(error, argv))
  # Imported late: a typo should not wait for JAX.
  from gan_jax import signals

  try:
    code = _run(config)
  except signals.Interrupted as error:
    print(error, file=sys.stderr)
    code = 128 + error.signum
  except KeyboardInterrupt:  # before there was anything to save
    print('interrupted', file=sys.stderr)
    code = 128 + signal.SIGINT
  except Exception:  # a fault of ours
    traceback.print_exc()
    code = 1
  return code if code == 0 else _leave(code)


def _run(config):
  import jax

  from gan_jax import checkpoints, data, parallel, train, workdir

  _cache(config.compilation_cache)
  try:
    _join()
    if _MODE.value == 'train':
      _check_batch(config)
    run = train.build(config)
    _check_evaluation(run)
  except (ValueError, TypeError, OSError, ImportError) as error:
    return _fail(str(error))
  mistakes = (
    workdir.WorkdirError,
    checkpoints.CheckpointError,
    data.DataError,
    parallel.LeaderFailed,
    train.Diverged,
    OSError,  # a full disk
  )
  if _MODE.value != 'train':
    mistakes += (ValueError,)  # too few samples, or a diverged generator
  try:
    _MODES[_MODE.value](run, config)
  except mistakes as error:
    return _fail(str(error))
  except jax.errors.JaxRuntimeError as error:
    if jax.process_count() == 1:
      raise
    # Another has left a sum over all processes; it says why.
    _fail(f'another process has ended, see its message: {error}')
    return 1
  return 0


def _join():
  """Meets the other processes, if there are any."""
  by_hand = {
    'coordinator': _COORDINATOR.value,
    'num_processes': _NUM_PROCESSES.value,
    'process_id': _PROCESS_ID.value,
  }
  missing = [f'--{name}' for name, value in by_hand.items() if value is None]
  if not _DISTRIBUTED.value and len(missing) == len(by_hand):
    return
  if _MODE.value not in ('train', 'evaluate'):
    raise ValueError(
      f'--mode={_MODE.value} is for one process; leave --distributed and '
      '--coordinator out.'
    )
  if missing and not _DISTRIBUTED.value:
    raise ValueError(
      f'{" and ".join(missing)} missing: --coordinator, --num_processes and '
      '--process_id go together.'
    )
  from gan_jax import parallel

  parallel.join(**by_hand)


def _check_batch(config):
  from gan_jax import parallel

  try:
    parallel.check_batch(config.batch_size)
  except ValueError as error:
    raise ValueError(f'config.{error}') from error


def _check_evaluation(run):
  from gan_jax import fields, measuring, train

  if _MODE.value == 'train':
    fields.prefixed('', train.check_evaluation, run)
  elif _MODE.value in ('evaluate', 'watch'):
    fields.prefixed('', measuring.check, run)
    try:
      measuring.weights_of(run, _WEIGHTS.value)
    except ValueError as error:
      raise ValueError(f'--{error}') from error


def _leave(code):
  """Exits; of several processes without waiting minutes for the others."""
  import jax

  if jax.process_count() > 1:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  return code


def _parse(argv):
  rest = flags.FLAGS(argv)
  if len(rest) > 1:
    raise flags.Error(f'unexpected argument {rest[1]!r}; flags begin with --.')
  for name, flag in (('config', _CONFIG), ('workdir', _WORKDIR)):
    if flag.value in (None, ''):
      raise flags.Error(f'--{name} is needed: {flags.FLAGS[name].help}')
  # For a file that could not be read, any field raises OSError.
  if not hasattr(_CONFIG.value, 'num_steps'):
    raise flags.Error(
      '--config must be a file whose get_config() returns the fields of '
      'gan_jax.defaults.get_config().'
    )
  _check_flags()
  return _CONFIG.value


def _check_seeds():
  text = _SEEDS.value
  if text is None:
    if flags.FLAGS['together'].present:
      raise flags.Error('--together goes with --seeds.')
    return
  words = [word.strip() for word in text.split(',')]
  fits = all(word.isdecimal() and int(word) < 2**32 for word in words)
  if not fits or len({int(word) for word in words}) < len(words):
    raise flags.Error(
      f'--seeds={text} is not different whole numbers from 0 to 2**32 - 1, '
      'such as 0,1,2.'
    )
  if 'config.seed' in flags.FLAGS:
    raise flags.Error('--seeds and --config.seed exclude each other.')
  if _several_processes():
    raise flags.Error(
      '--seeds is for one process; leave --distributed and --coordinator out, '
      'or run the seeds one after another.'
    )


def _seeds():
  return [int(word) for word in _SEEDS.value.split(',')]


def _several_processes():
  by_hand = _COORDINATOR, _NUM_PROCESSES, _PROCESS_ID
  return _DISTRIBUTED.value or any(flag.value is not None for flag in by_hand)


def _check_flags():
  _check_seeds()
  for name, modes in _ONLY_OF.items():
    if flags.FLAGS[name].present and _MODE.value not in modes:
      wanted = ' or '.join(f'--mode={mode}' for mode in modes)
      raise flags.Error(
        f'--{name} goes with {wanted}, not with --mode={_MODE.value}.'
      )
  words = _CHECKPOINTS.value.split(',')
  steps = all(word.strip().isdecimal() for word in words)
  if _CHECKPOINTS.value not in ('newest', 'all', 'best') and not steps:
    raise flags.Error(
      f'--checkpoints={_CHECKPOINTS.value} is not newest, all, best, or steps '
      'such as 1000 or 1000,2000.'
    )


def _fail(text):
  print(f'error: {" ".join(text.split())}', file=sys.stderr)
  return 2


def _cache(directory):
  import jax

  if directory and not os.environ.get('JAX_COMPILATION_CACHE_DIR'):
    directory = os.path.expanduser(directory)
    jax.config.update('jax_compilation_cache_dir', directory)


def _train(run, config):
  from gan_jax import parallel, train

  if _SEEDS.value:
    _train_seeds(run, config)
    return
  train.train(run, _WORKDIR.value, say=_say)
  if parallel.is_leader():
    _say(f'done: {_WORKDIR.value}')


def _train_seeds(run, config):
  from gan_jax import seeds, train

  runs, folders = _runs_of_seeds(run, config)
  outcomes = seeds.train_seeds(
    runs, folders, together=_TOGETHER.value, say=_say
  )
  lost = seeds.summary(_seeds(), outcomes)
  if lost:
    raise train.Diverged(f'{_WORKDIR.value}: {lost}')
  _say(f'done: {_WORKDIR.value}')


def _runs_of_seeds(run, config):
  from gan_jax import seeds, workdir

  if workdir.recorded(_WORKDIR.value) is not None:
    raise workdir.WorkdirError(
      f'workdir={_WORKDIR.value!r} is that of a single run; --seeds makes '
      'folders below a workdir, give another.'
    )
  each = _seeds()
  runs = [
    seeds.of_seed(run, seed, config.batch_size, config.read_threads)
    for seed in each
  ]
  return runs, [seeds.folder(_WORKDIR.value, seed) for seed in each]


def _evaluate(run, config):
  from gan_jax import checkpoints, workdir

  if not _SEEDS.value:
    _evaluate_one(run, _WORKDIR.value)
    return
  for one, path in zip(*_runs_of_seeds(run, config), strict=True):
    _say(f'{path}:')
    lost = workdir.divergence(path)
    if lost and not checkpoints.steps(path / 'checkpoints'):
      _say(f'diverged at step {lost["step"]}, before any checkpoint.')
      continue
    _evaluate_one(one, path)


def _evaluate_one(run, path):
  from gan_jax import measure_run, parallel, workdir

  parallel.on_leader(lambda: workdir.check(path, run.config))
  measure_run.evaluate_run(
    run,
    path,
    which=_CHECKPOINTS.value,
    weights=_WEIGHTS.value,
    draws=_DRAWS.value,
    say=_say,
  )


def _watch(run, config):
  from gan_jax import watch

  del config
  watch.watch(
    run,
    _WORKDIR.value,
    weights=_WEIGHTS.value,
    draws=_DRAWS.value,
    poll_seconds=_POLL_SECONDS.value,
    say=_say,
  )


def _sample(run, config):
  from gan_jax import generate, workdir

  del config
  workdir.check(_WORKDIR.value, run.config)
  for path in generate.sample(run, _WORKDIR.value):
    _say(str(path))


def _export(run, config):
  from gan_jax import generate, workdir

  del config
  workdir.check(_WORKDIR.value, run.config)
  for path in generate.export(run, _WORKDIR.value):
    _say(str(path))


_MODES = {
  'train': _train,
  'evaluate': _evaluate,
  'watch': _watch,
  'sample': _sample,
  'export': _export,
}


def _say(text):
  print(text, flush=True)


if __name__ == '__main__':
  sys.exit(main())
