"""The command line: python -m gan_jax.main --config=configs/X.py --workdir=DIR.

Exit codes: 0 done; 2 for a mistake in what was asked, a folder that cannot be
used or a run that diverged, each with one line on stderr; 128 + signal when a
signal ended the run after saving it.
"""

import os
import sys

from absl import flags
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file(
  'config', help_string='File of the experiment, e.g. configs/digits.py.'
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.')
_MODE = flags.DEFINE_enum(
  'mode',
  'train',
  ['train', 'evaluate', 'sample'],
  'Train (or go on), or numbers or pictures of the newest checkpoint.',
)

# What a person asked for, as opposed to a fault of ours.
_MISTAKES = (
  flags.Error,
  AttributeError,  # a typo in a config field, with "Did you mean"
  KeyError,
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
    return _fail(_words(error))
  # Imported late: a typo should not wait for JAX.
  from gan_jax import checkpoints, train, workdir

  _cache(config.compilation_cache)
  try:
    run = train.build(config)
  except ValueError as error:
    return _fail(str(error))
  try:
    _MODES[_MODE.value](run, config)
  except (
    workdir.WorkdirError,
    checkpoints.CheckpointError,
    train.Diverged,
  ) as error:
    return _fail(str(error))
  except train.Interrupted as error:
    print(error, file=sys.stderr)
    return 128 + error.signum
  return 0


def _parse(argv):
  rest = flags.FLAGS(argv)
  if len(rest) > 1:
    raise flags.UsageError(f'unexpected argument {rest[1]!r}.')
  for name, flag in (('config', _CONFIG), ('workdir', _WORKDIR)):
    if not flag.value:
      raise flags.UsageError(f'--{name} is needed.')
  return _CONFIG.value


def _words(error):
  """One line; absl and ml_collections wrap some messages over several."""
  text = str(error.args[0]) if isinstance(error, KeyError) else str(error)
  return ' '.join(text.split()) or type(error).__name__


def _fail(text):
  print(f'error: {text}', file=sys.stderr)
  return 2


def _cache(directory):
  import jax

  if directory and not os.environ.get('JAX_COMPILATION_CACHE_DIR'):
    directory = os.path.expanduser(directory)
    jax.config.update('jax_compilation_cache_dir', directory)


def _train(run, config):
  from gan_jax import train

  del config
  train.train(run, _WORKDIR.value, say=_say)
  _say(f'done: {_WORKDIR.value}')


def _evaluate(run, config):
  from gan_jax import generate, workdir

  workdir.check(_WORKDIR.value, run.config)
  generate.evaluate_run(
    run, _WORKDIR.value, num_samples=config.num_samples, say=_say
  )


def _sample(run, config):
  from gan_jax import generate, workdir

  del config
  workdir.check(_WORKDIR.value, run.config)
  for path in generate.sample(run, _WORKDIR.value):
    _say(str(path))


_MODES = {'train': _train, 'evaluate': _evaluate, 'sample': _sample}


def _say(text):
  print(text, flush=True)


if __name__ == '__main__':
  sys.exit(main())
