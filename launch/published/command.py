"""The command line of every launcher of a published table.

python -m launch.STUDY --out=DIR [--data_dir=DIR] [--rows=NAMES] [--seeds=N]
    [--data=NAME] [--dry_run] [--quick]

Trains all seeds of each row together, in a program of its own, evaluates as it
goes, and ends in DIR/STUDY.md, STUDY.json, index.html and figures. The same
command goes on where it was stopped, and trains nothing twice; rows and seeds
may be added. --dry_run prints the commands and what they will cost, and reads
no data. See docs/published.md.

Exit codes: 0 done (a seed that diverged is a result); 1 a row failed, which the
table names; 2 for a mistake in what was asked, with one line on stderr; 128 +
signal when a signal ended it, after the runs were saved.
"""

import pathlib
import shlex
import signal
import sys
from typing import Any

import jax

from gan_jax import build, fields, together, train
from gan_jax import workdir as workdirs
from launch import arguments
from launch.published import (
  collect,
  cost,
  devices,
  figures,
  folder,
  forecast,
  generators,
  page,
  play,
  table,
)
from launch.published import plan as plans
from launch.published import study as studies

_MOST_SEEDS = 1000


def main(study: studies.Study, argv: list[str] | None = None) -> int:
  """Runs one study; returns the exit code."""
  argv = list(sys.argv[1:] if argv is None else argv)
  parser = _parser(study)
  flags = parser.parse_args(argv)
  # The programs started from here need the accelerator; this one must not.
  jax.config.update('jax_platforms', 'cpu')
  try:
    plan = plans.make(study, _asked(flags))
    folder.check(plan)
    if flags.dry_run:
      forecast.say(plan, flags.tflops, flags.together, _say)
      return 0
    machine = devices.visible()
    at_once = flags.at_once or len(machine.names)
    devices.check_at_once(machine, at_once)
    if flags.generators:
      generators.check(flags.generators, plan)
    _check_first(plan)
    plan.asked.out.mkdir(parents=True, exist_ok=True)
    with folder.claim(plan.asked.out):
      return _run(plan, flags, machine, at_once, argv)
  except (ValueError, OSError, workdirs.WorkdirError) as error:
    parser.error(str(error))


def _parser(study):
  about = f'{study.title}\n\n{__doc__.replace("STUDY", study.name)}'
  parser = arguments.Parser(about)
  flag = parser.add_argument
  flag('--out', type=pathlib.Path, required=True, help='folder of results')
  flag(
    '--rows', action='append', default=[],
    help="names between ';', or given more than once; left out: "
    + '; '.join(r.name for r in study.rows if r.name not in study.expensive),
  )  # fmt: skip
  flag(
    '--seeds', default=str(study.seeds),
    help=f'how many ({study.seeds}), or which: 0,1,2',
  )  # fmt: skip
  sets = [study.data, *(s.name for s in study.stand_ins)]
  flag('--data', default='', help=f'{", ".join(sets)}; the first by default')
  flag('--data_dir', default='', help='of prepared data sets')
  flag('--features', default=None, help=f'feature net, {study.features!r}')
  flag('--weights', default='', help='file of its weights')
  flag('--num_steps', type=int, default=0, help='of every run')
  flag(
    '--evaluate_every', type=int, default=0,
    help=f'steps between evaluations, {study.evaluate_every:,}',
  )  # fmt: skip
  flag('--num_samples', type=int, default=0, help=f'{study.num_samples:,}')
  flag('--quick', action='store_true', help='some steps, to see that it works')
  flag('--dry_run', action='store_true', help='prints commands and costs')
  flag('--at_once', type=int, default=0, help='rows side by side; one a device')
  flag(
    '--together',
    default='',
    choices=('auto', *together.NAMES),
    help='how seeds share a program; see main',
  )
  flag(
    '--tflops', type=float, default=cost.TFLOPS,
    help=f'of the device, for --dry_run: {cost.TFLOPS:g} (H100)',
  )  # fmt: skip
  if study.generators:
    flag(
      '--generators', type=pathlib.Path, help='folder of released generators'
    )
  else:
    parser.set_defaults(generators=None)
  return parser


def _asked(flags):
  for name in ('num_steps', 'evaluate_every', 'num_samples', 'at_once'):
    if getattr(flags, name) < 0:
      raise ValueError(f'--{name}={getattr(flags, name)} must be at least 1.')
  if not flags.tflops > 0:
    raise ValueError(f'--tflops={flags.tflops} must be above 0.')
  words = (name.strip() for group in flags.rows for name in group.split(';'))
  return plans.Asked(
    out=flags.out,
    rows=tuple(dict.fromkeys(filter(None, words))),
    seeds=seeds_of(flags.seeds),
    data=flags.data,
    data_dir=flags.data_dir,
    features=flags.features,
    weights=flags.weights,
    num_steps=flags.num_steps,
    evaluate_every=flags.evaluate_every,
    num_samples=flags.num_samples,
    quick=flags.quick,
  )


def seeds_of(text: str) -> tuple[int, ...]:
  """'3' are the seeds 0, 1 and 2; '3,' and '0,3' are those that are named.

  Raises:
    ValueError: it is neither a count of at least 1 nor seeds, all different.
  """
  words = [word.strip() for word in text.split(',')]
  named = [int(word) for word in words if word.isdecimal()]
  if not all(word.isdecimal() or not word for word in words) or not named:
    raise ValueError(
      f'--seeds={text!r} is not a count, or seeds such as 0,1,2.'
    )
  if ',' not in text:
    named = list(range(min(named[0], _MOST_SEEDS + 1)))
  if not named or len(set(named)) < len(named):
    raise ValueError(f'--seeds={text!r} must be at least one, all different.')
  if len(named) > _MOST_SEEDS or max(named) >= 2**32:
    raise ValueError(
      f'--seeds={text!r} must be at most {_MOST_SEEDS} seeds below 2**32.'
    )
  return tuple(named)


def _check_first(plan):
  """Builds a run of every row before any is trained: a mistake shows now."""
  described, dataset = None, None
  for job in plan.jobs:
    wanted = job.config.data.to_dict() | {'data_dir': job.config.data_dir}
    if wanted != described:  # rows of the same data share what was loaded
      described, dataset = wanted, None
    try:
      run = build.build(job.config, dataset)
      if dataset is None:
        fields.prefixed('', train.check_evaluation, run)
    except ValueError as error:
      hint = _hint(plan, str(error))
      raise ValueError(f'row {job.row.name!r}: {error}{hint}') from error
    dataset = run.dataset


def _hint(plan, words):
  """What a flag of this command could do about a mistake in the config."""
  if words.startswith('config.evaluation'):
    return ' Here: --weights=FILE, --features=NAME, --num_samples=N.'
  own = words.startswith('config.data') and plan.stand_in is None
  return f' {plan.study.get_data}' if own else ''


def _run(plan, flags, machine, at_once, argv):
  folder.record(plan)
  seeds, tasks = plan.asked.seeds, []
  if flags.generators:
    tasks.append(generators.task(plan, flags.generators))
  tasks += [play.task(job, seeds, flags.together) for job in plan.jobs]
  ended = play.play(tasks, machine, at_once, _say)
  whole = folder.with_all_rows(plan)
  known = folder.known_seeds(whole)
  runs = {
    job.row.name: [
      collect.run(job, seed, play.shares_of(job.folder, seed))
      for seed in known[job.row.name]
    ]
    for job in whole.jobs
  }
  failed = {} if ended else _failed(plan, runs)
  found = table.record(
    whole, runs, failed=failed, released=generators.read(plan)
  )
  pictures = figures.draw(found, runs, plan.asked.out)
  command = shlex.join(['python', '-m', f'launch.{plan.study.name}', *argv])
  path = page.write(plan, found, pictures, command)
  for line in page.lines(found):
    _say(line)
  _say(f'\n{path}, {path.with_name("index.html")}')
  if ended:
    name = signal.Signals(ended).name
    print(f'{name}: saved; the same command goes on.', file=sys.stderr)
    return 128 + ended
  lacking = flags.generators and not generators.is_whole(plan)
  return 1 if failed or lacking else 0


def _failed(plan, runs) -> dict[str, str]:
  """row -> why it is not at its end, or has no numbers there."""
  failed: dict[str, Any] = {}
  for job in plan.jobs:
    for run in runs[job.row.name]:
      if run.seed not in plan.asked.seeds or run.state == 'diverged':
        continue
      measured = run.state == 'finished' and collect.is_measured(job, run.seed)
      if not measured:
        words = play.reason(job.folder / play.LOG)
        failed[job.row.name] = f'{words} (see {job.folder / play.LOG})'
  return failed


def _say(text):
  print(text, flush=True)
