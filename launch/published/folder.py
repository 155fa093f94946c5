"""The folder of a table: what it is of, and how far each run has come."""

import json
import os
import pathlib
from typing import Any, NamedTuple

from gan_jax import workdir as workdirs
from launch.published import plan as plans

_RECORD = 'study.json'
_LOCK = 'study.lock'


class Seed(NamedTuple):
  """How far one run has come.

  Attributes:
    seed: of the run.
    state: 'finished', 'diverged', 'begun' or 'none'.
    step: of its newest checkpoint, or where it diverged.
    reason: why it diverged, or ''.
  """

  seed: int
  state: str
  step: int = 0
  reason: str = ''


def settings(plan: plans.Plan) -> dict[str, Any]:
  """What all numbers of a table must have in common."""
  asked, evaluation = plan.asked, plan.jobs[0].config.evaluation
  return {
    'study': plan.study.name,
    'data': plan.data,
    'quick': asked.quick,
    'num_steps': asked.num_steps,
    'evaluate_every': plan.jobs[0].config.evaluate_every,
    'num_samples': plan.jobs[0].config.num_samples,
    'metric': plan.metric,
    'features': evaluation.features,
    'metrics': evaluation.metrics,
    'reference': evaluation.reference,
  }


def check(plan: plans.Plan) -> None:
  """Refuses a folder of another table; writes nothing.

  Raises:
    ValueError: the folder holds another study, other data, other settings, or
      something that is no results folder.
  """
  out = plan.asked.out
  if out.exists() and not out.is_dir():
    raise ValueError(f'--out={out} is no folder.')
  path = out / _RECORD
  if not path.exists():
    others = [p.name for p in out.glob('*')] if out.is_dir() else []
    if set(others) - {_LOCK}:
      raise ValueError(
        f'--out={out} has no {_RECORD}, but holds {sorted(others)[0]!r}: it is '
        'no results folder. Give one that is new or empty.'
      )
    return
  _compare(out, _read(path), settings(plan))


def _read(path):
  try:
    record = json.loads(path.read_text())
    if isinstance(record, dict) and 'study' in record:
      return record
  except (OSError, ValueError):
    pass
  raise ValueError(f'{path} cannot be read; restore it, or give another --out.')


def _compare(out, before, asked):
  different = {k: v for k, v in asked.items() if before.get(k) != v}
  if not different:
    return
  if 'study' in different:
    raise ValueError(
      f'--out={out} holds the table {before["study"]!r}, not '
      f'{asked["study"]!r}; give another --out.'
    )
  words = [f'{k} {before.get(k)!r} -> {v!r}' for k, v in different.items()]
  raise ValueError(
    f'--out={out} holds this table with other settings ({"; ".join(words)}), '
    'and numbers of both do not compare; give those settings again, or another '
    '--out. Rows and seeds may be added.'
  )


def record(plan: plans.Plan) -> None:
  """Writes what the folder is of."""
  text = json.dumps(settings(plan), indent=1) + '\n'
  workdirs.replace(plan.asked.out / _RECORD, text)


def claim(out: str | os.PathLike):
  """Holds the folder's lock; `workdir.WorkdirError` if another does."""
  return workdirs.claim(out, _LOCK)


def seed_of(job: plans.Job, seed: int) -> Seed:
  """How far a run has come, by its files."""
  folder = job.seed_folder(seed)
  diverged = divergence(folder)
  if diverged is not None:
    return Seed(seed, 'diverged', *diverged)
  step = newest(folder)
  if step >= plans.steps(job):
    return Seed(seed, 'finished', step)
  begun = (folder / 'config.json').exists()
  return Seed(seed, 'begun' if begun else 'none', step)


def divergence(folder: pathlib.Path) -> tuple[int, str] | None:
  """Step and reason of `diverged.json`, or None where there is none.

  Raises:
    ValueError: it is there, but cannot be read.
  """
  path = folder / 'diverged.json'
  try:
    found = json.loads(path.read_text())
    return int(found['step']), str(found['reason'])
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ValueError(f'{path} cannot be read: {error}') from error


def newest(folder: pathlib.Path) -> int:
  """Step of the newest finished checkpoint; 0 where there is none."""
  sums = (folder / 'checkpoints').glob('*/SHA256SUMS')
  names = [path.parent.name for path in sums]
  return max((int(name) for name in names if name.isdecimal()), default=0)


def undone(job: plans.Job, seeds: tuple[int, ...]) -> list[int]:
  """Seeds that are to be trained, from the start or on."""
  states = (seed_of(job, seed) for seed in seeds)
  return [s.seed for s in states if s.state in ('none', 'begun')]


def known_seeds(plan: plans.Plan) -> dict[str, list[int]]:
  """row -> the seeds asked for, and those that are there from before."""
  known = {}
  for job in plan.jobs:
    there = (p.name[len('seed-') :] for p in job.folder.glob('seed-*'))
    seeds = {int(name) for name in there if name.isdecimal()}
    known[job.row.name] = sorted(seeds | set(plan.asked.seeds))
  return known


def with_all_rows(plan: plans.Plan) -> plans.Plan:
  """The plan with those rows, too, that are there from before."""
  extra = plan.stand_in.extra if plan.stand_in else ()
  names = {job.row.name for job in plan.jobs}
  there = [
    row.name
    for row in (*plan.study.rows, *extra)
    if (plan.asked.out / 'runs' / plans.folder_name(row.name)).is_dir()
    or row.name in names
  ]
  whole = plans.make(plan.study, plan.asked._replace(rows=tuple(there)))
  return whole._replace(left_out=plan.left_out)
