"""A bad initial point on MNIST: does JS fail from where RS succeeds?

python -m launch.mnist_bad_start --out=DIR --data_dir=DIR
    [--start=DIR] [--start_loss=js] [--start_seed=0] [--start_steps=N]
    [--rows=NAMES] [--seeds=N] [--data=digits] [--dry_run] [--quick] ...

First plays on an imbalanced set of digits and exports both players, the start:
one for all rows and seeds, in a folder of its own (OUT-start, or --start, which
several tables may share). Then JS and RS go on from there on all digits, and
beside it from fresh draws; the seeds differ in batches and latents. Another
start is another --start_seed and --out. Further flags and exit codes are those
of all launchers of tables: --help.
"""

import contextlib
import io
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Sequence

from configs import mnist_bad_start
from gan_jax import workdir as workdirs
from launch import arguments
from launch.published import command, folder, plan, study

_CONFIG = 'configs/mnist_bad_start.py'
_QUICK_STEPS = 20
_PLAYERS = ('generator', 'discriminator')


def main(argv: Sequence[str] | None = None) -> int:
  """Makes the start if it is not there, then the table; the exit code."""
  argv = list(sys.argv[1:] if argv is None else argv)
  if {'--help', '-h'} & set(argv):
    print(__doc__)
    return command.main(make_study(), ['--help'])
  flags, rest = _parse(argv)
  if flags.out is None:  # which is told there
    return command.main(make_study(), rest)
  files = _files(flags)
  table = make_study(files)
  # A mistake in the other flags should not wait for the start.
  with contextlib.redirect_stdout(io.StringIO()):
    command.main(table, [*rest, '--dry_run'])
  try:
    _check_steps(flags, files)
  except (ValueError, workdirs.WorkdirError) as error:
    arguments.Parser(__doc__).error(str(error))
  commands = _start_commands(flags)
  if flags.dry_run:
    for line in commands:
      print(shlex.join(line))
    return command.main(table, rest)
  # Also where the start is there: then it is only compared with these flags.
  for line in commands:
    code = subprocess.run(line, check=False).returncode
    if code:  # it has said why
      return code if code > 0 else 128 - code
  return command.main(table, rest)


def _parse(argv):
  """The flags of the start, and what is left for the table."""
  parser = arguments.Parser(__doc__)
  parser.add_argument('--start', type=pathlib.Path)
  parser.add_argument('--start_loss', choices=('js', 'rs'), default='js')
  parser.add_argument('--start_seed', type=int, default=0)
  parser.add_argument('--start_steps', type=int, default=0)
  own, rest = parser.parse_known_args(argv)
  # These the table reads too.
  parser.add_argument('--out', type=pathlib.Path)
  parser.add_argument('--data', default='')
  parser.add_argument('--data_dir', default='')
  parser.add_argument('--quick', action='store_true')
  parser.add_argument('--dry_run', action='store_true')
  flags, _ = parser.parse_known_args(argv)
  if own.start_steps < 0:
    parser.error(f'--start_steps={own.start_steps} must be at least 1.')
  return flags, rest


def _folder(flags):
  if flags.start:
    return flags.start.absolute()
  out = flags.out.absolute()
  return out.with_name(f'{out.name}-start')


def _start_changes(flags):
  """Fields of the run that makes the start."""
  changes = dict(_digits(None)) if flags.data == 'digits' else {}
  if flags.data == 'digits':
    changes |= {'data.name': 'digits', 'num_steps': 500, 'evaluate_every': 0}
  if flags.data_dir and flags.data != 'digits':
    changes['data_dir'] = flags.data_dir
  if flags.quick:
    changes['num_steps'] = _QUICK_STEPS
  if flags.start_steps:
    changes['num_steps'] = flags.start_steps
  return changes | {'seed': flags.start_seed}


def _start_commands(flags):
  overrides = [f'--config.{k}={v}' for k, v in _start_changes(flags).items()]
  common = [
    *(sys.executable, '-m', 'gan_jax.main'),
    f'--config={plan.config_path(_CONFIG)}:start,{flags.start_loss}',
    f'--workdir={_folder(flags)}',
    *overrides,
  ]
  return [common, [*common, '--mode=export']]


def _steps(flags):
  """Of the run that makes the start."""
  config = plan.read_config(f'{_CONFIG}:start')
  return _start_changes(flags).get('num_steps', config.num_steps)


def _files(flags):
  """Field of a config -> file of the start that it is to name."""
  exported, steps = _folder(flags) / 'export', _steps(flags)
  return {f'{p}_from': exported / f'{p}-{steps:08d}.npz' for p in _PLAYERS}


def _check_steps(flags, files):
  """Refuses fewer steps than the start has: only its end is exported."""
  path, asked = _folder(flags), _steps(flags)
  newest = folder.newest(path)
  if newest <= asked or all(file.exists() for file in files.values()):
    return
  made = (workdirs.recorded(path) or {}).get('num_steps', newest)
  given = '' if flags.start_steps else ' (not given, so by default)'
  other = '--start' if flags.start else '--out'
  raise ValueError(
    f'--start_steps={asked}{given} is less than the {made} steps that the '
    f'start in {path} was made with; give --start_steps={made}, or another '
    f'{other} folder.'
  )


def _digits(row):
  """The same at 16 x 16 and a quarter of the width, for a CPU."""
  del row
  players = {
    f'{player}.{option}': value
    for player in _PLAYERS
    for option, value in dict(width=16, image_size=16).items()
  }
  return players | {
    'num_steps': 1000,
    'data.image_size': 16,
    'data.resize': 'square',
    'evaluation.features': '',
    'sample_every': 250,
    'checkpoint_every': 250,
    'num_samples': 1797,
    'batch_size': 32,
  }


# Name of a row's start -> the players that come from there, and a word on it.
_STARTS = {
  'bad': (_PLAYERS, 'both players from the imbalanced digits'),
  'bad_g': (_PLAYERS[:1], 'the generator from there, a fresh critic'),
  'fresh': ((), 'both players drawn afresh'),
}


def _rows(files):
  for start, (players, note) in _STARTS.items():
    fields = [f'{player}_from' for player in players]
    changes = {field: str(files[field]) for field in fields if files}
    for loss in ('js', 'rs'):
      yield study.Row(
        f'{start},{loss}',
        f'{_CONFIG}:{loss}',
        changes=changes,
        group=start,
        note=note,
      )


def make_study(files: dict[str, pathlib.Path] | None = None) -> study.Study:
  """The study, with the weights that its bad rows start from.

  Args:
    files: 'generator_from' and 'discriminator_from' -> file; None where nothing
      is to be trained.
  """
  source = 'Sun, Fang & Schwing 2020 (curves of FID, no number)'
  return study.Study(
    name='mnist_bad_start',
    title='MNIST from a bad initial point',
    intro=(
      'Sun, Fang & Schwing (2020) show by curves of FID that from some '
      'initial point JS fails on MNIST where RS succeeds. How the point was '
      'made is not known. Here it is a pair that has played on '
      f'{mnist_bad_start.SHARES} (class:share; the 5s and 7s that the '
      "authors' loader can leave), one point for all seeds; `bad` goes on from "
      'both players, `bad_g` from the generator with a fresh critic, `fresh` '
      'from new draws.',
      'Protocol: the CNN pair at 32 x 32 with spectral norm, batch 64, rates '
      "2e-4, Adam (0.5, 0.999), no averaging; the authors' defaults, since no "
      'command for MNIST is recorded.',
    ),
    rows=tuple(_rows(files)),
    data='mnist',
    claims=(
      study.Claim(
        f'From the bad start RS ends at a lower distance than JS: {source}.',
        better='bad,rs',
        worse='bad,js',
      ),
      study.Claim(
        'And the start is the cause: RS is further ahead of JS from there than '
        'from a fresh draw.',
        better='bad,rs',
        worse='bad,js',
        than=('fresh,rs', 'fresh,js'),
      ),
      study.Claim(
        'The same with the generator alone from there.',
        better='bad_g,rs',
        worse='bad_g,js',
      ),
    ),
    stand_ins=(
      study.StandIn(
        name='digits',
        about="scikit-learn's digits at 16 x 16, a quarter of the width, "
        'batches of 32, 1,000 steps; the start is made of its 5s and 7s in the '
        'same shares, by 500 steps.',
        change=_digits,
        evaluate_every=100,
      ),
    ),
    evaluate_every=1000,
    num_samples=10_000,
    metrics=('frechet', 'recall', 'coverage'),
    features='mnist-lenet',
    get_data='Prepare it: python -m gan_jax.data prepare mnist --data_dir=DIR.',
    expensive=('bad_g,js', 'bad_g,rs'),
  )


if __name__ == '__main__':
  sys.exit(main())
