"""The best checkpoint so far, kept beside the last ones.

`best/00001000/` is a checkpoint like any other, `best/best.json` says by which
number it is there: metric, value, weights, step, protocol. A checkpoint on
trial is `best/WHO/00001000/`, so that it is not lost while it is evaluated.
"""

import contextlib
import json
import math
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

from gan_jax import checkpoints, evaluations
from gan_jax import workdir as workdirs
from gan_jax.metrics import entries

Say = Callable[[str], None]

_NAME = 'best.json'
# What must be the same for two numbers to compete.
_RULES = ('metric', 'weights', 'dataset', 'split', 'protocol')


def hold(workdir: str | os.PathLike, step: int, who: str) -> pathlib.Path:
  """Keeps a checkpoint for a trial, by hard links where it can.

  Args:
    workdir: of the run.
    step: of the checkpoint.
    who: the one process that does it under this name.

  Returns:
    Folder of checkpoints that has this one.

  Raises:
    checkpoints.Gone: it is not there, or no longer.
    checkpoints.CheckpointError: it is damaged, or cannot be kept.
  """
  folder, name = pathlib.Path(workdir), f'{step:08d}'
  trial = folder / 'best' / who
  checkpoints.copy(folder / 'checkpoints' / name, trial / name)
  return trial


def drop(workdir: str | os.PathLike, who: str) -> None:
  """Ends all trials of a process."""
  shutil.rmtree(pathlib.Path(workdir) / 'best' / who, ignore_errors=True)


def offer(
  workdir: str | os.PathLike,
  entry: evaluations.Entry,
  metric: str,
  who: str,
  *,
  say: Say = print,
) -> bool:
  """Keeps a checkpoint on trial if its number is the best; ends its trial.

  The one before goes when the new one is whole. A number that is not finite
  never wins, and an equal one does not. Numbers by another protocol, or of
  other weights, do not compete: the best is then begun anew, which is said.

  Args:
    workdir: of the run.
    entry: of `evaluation.json`.
    metric: the part of it that counts.
    who: as given to `hold`.
    say: takes a line for the terminal.

  Returns:
    Whether it is kept.
  """
  folder = pathlib.Path(workdir) / 'best'
  trial = folder / who / f'{entry["step"]:08d}'
  with evaluations.locked(workdir):
    wins = _wins(workdir, entry, metric, say)
    if wins:
      _promote(folder, trial, _record(entry, metric))
  checkpoints.remove(trial)
  with contextlib.suppress(OSError):  # others are on trial
    trial.parent.rmdir()
  return wins


def propose(
  workdir: str | os.PathLike,
  entry: evaluations.Entry,
  metric: str,
  who: str,
  *,
  say: Say = print,
) -> None:
  """Offers a checkpoint that was evaluated before, where it is still there."""
  with evaluations.locked(workdir):
    if not _wins(workdir, entry, metric, lambda line: None):
      return
  try:
    hold(workdir, entry['step'], who)
  except (checkpoints.Gone, checkpoints.Damaged):
    return
  offer(workdir, entry, metric, who, say=say)


def read(
  workdir: str | os.PathLike, *, say: Say = print
) -> dict[str, Any] | None:
  """What `best.json` holds; None where nothing is kept, or it is damaged."""
  path = pathlib.Path(workdir) / 'best' / _NAME
  try:
    record = json.loads(path.read_text())
    if isinstance(record['step'], int) and isinstance(record['value'], float):
      return record
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (ValueError, KeyError, TypeError):
    pass
  say(f'{path} is damaged, so no best checkpoint is known.')
  return None


def restore(
  workdir: str | os.PathLike, like: Any, *, say: Say = print
) -> checkpoints.Restored:
  """Reads the best checkpoint.

  Raises:
    checkpoints.CheckpointError: none is kept, or it is damaged.
  """
  record = read(workdir, say=say)
  if record is None:
    raise checkpoints.CheckpointError(
      f'workdir={str(workdir)!r} has no best checkpoint; one is kept by '
      'config.best_by, in training (config.evaluate_every) or by --mode=watch.'
    )
  try:
    folder = pathlib.Path(workdir) / 'best'
    return checkpoints.restore(folder, record['step'], like)
  except checkpoints.Gone:
    if read(workdir, say=say) == record:
      raise
    return restore(workdir, like, say=say)  # a better one came meanwhile


def cut(workdir: str | os.PathLike, step: int, *, say: Say = print) -> None:
  """Moves a best checkpoint of after a step aside: a run goes on from there."""
  folder = pathlib.Path(workdir) / 'best'
  record = read(workdir, say=say)
  if record is None or record['step'] <= step:
    return
  aside = folder.with_name('best.before')
  with evaluations.locked(workdir):
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(folder, aside)
  say(
    f'the best checkpoint, of step {record["step"]}, is later than {step}: '
    f'moved to {aside.name}.'
  )


def _record(entry, metric):
  part = entry[metric]
  known = {name: entry[name] for name in ('step', 'weights', 'dataset')}
  return {
    'metric': metric,
    'value': float(part['value']),
    **known,
    'split': entry['split'],
    'protocol': part['protocol'],
  }


def _wins(workdir, entry, metric, say):
  new, old = _record(entry, metric), read(workdir, say=say)
  if not math.isfinite(new['value']):
    return False
  if old is None:
    return True
  rules = lambda record: [record.get(name) for name in _RULES]
  if rules(old) != rules(new):
    say(
      f'the best checkpoint, of step {old["step"]}, was chosen by '
      f'{old["metric"]} and another protocol or other weights; begun anew.'
    )
    return True
  return entries.better(metric, new['value'], old['value'])


def _promote(folder, trial, record):
  target, replaced = folder / trial.name, folder / 'replaced'
  if target.exists():  # measured anew, or of an abandoned time line
    checkpoints.remove(replaced)
    os.replace(target, replaced)
  os.replace(trial, target)
  text = json.dumps(record, indent=2, allow_nan=False) + '\n'
  workdirs.replace(folder / _NAME, text)
  for other in folder.iterdir():
    if (other.name.isdigit() and other != target) or other == replaced:
      checkpoints.remove(other)
