"""What a run leaves behind on disk: who may write there, and what stays true.

`config.json` is the record of the experiment, `metrics.jsonl` its curve; a
lock keeps a second process out.
"""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from gan_jax import defaults

# What may differ when a run is taken up again; of a group, all its fields.
CHANGEABLE = (
  'best_by',
  'checkpoint_every',
  'compilation_cache',
  'data_dir',
  'evaluate_every',
  'evaluation',
  'keep_checkpoints',
  'log_every',
  'num_samples',
  'num_steps',
  'parallel',
  'profile_start',
  'profile_stop',
  'read_threads',
  'sample_every',
  'steps_per_call',
)

# What a run leaves that diverged.
DIVERGED = 'diverged.json'
_NUMBERS = ('metrics.jsonl', 'evaluation.json')


class WorkdirError(Exception):
  """The workdir cannot be used; says why, and what would be right."""


@contextlib.contextmanager
def claim(
  workdir: str | os.PathLike, lock_name: str = 'lock'
) -> Iterator[pathlib.Path]:
  """Makes the folder and holds its lock, so that one process writes there.

  Args:
    workdir: the folder.
    lock_name: the file that is locked; each kind of use has its own.

  Raises:
    WorkdirError: it cannot be made or written, or another process holds it.
  """
  path = pathlib.Path(workdir)
  try:
    path.mkdir(parents=True, exist_ok=True)
    lock = open(path / lock_name, 'a+')  # noqa: SIM115, held until the run ends
  except OSError as error:
    raise WorkdirError(
      f'workdir={str(path)!r} cannot be written: {error.strerror}.'
    ) from error
  with lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      if error.errno not in (errno.EAGAIN, errno.EACCES):
        raise WorkdirError(
          f'workdir={str(path)!r} cannot be locked: {error.strerror}.'
        ) from error
      lock.seek(0)
      raise WorkdirError(
        f'workdir={str(path)!r} is in use by process {lock.read().strip()}; '
        'wait for it to end, or give another workdir.'
      ) from error
    lock.truncate(0)
    lock.write(f'{os.getpid()}\n')
    lock.flush()
    yield path


def check(workdir: str | os.PathLike, config: dict[str, Any]) -> list[str]:
  """Compares a config with the one that made the folder; writes nothing.

  Returns:
    What differs though it may, as `name: old -> new`.

  Raises:
    WorkdirError: something differs that may not; or the record is unreadable.
  """
  record = recorded(workdir)
  if record is None:
    return []
  before, asked = _flat(record), _flat(json.loads(json.dumps(config)))
  # What an older version did not record was as it is by default now.
  known = _flat(defaults.get_config().to_dict())
  before = {n: known[n] for n in asked if n in known} | before
  names = sorted(before.keys() | asked.keys())
  different = [
    (n, f'{n}: {before.get(n)!r} -> {asked.get(n)!r}')
    for n in names
    if before.get(n) != asked.get(n)
  ]
  forbidden = [text for n, text in different if not _may_change(n)]
  if forbidden:
    raise WorkdirError(
      f'workdir={str(workdir)!r} was made by another config: '
      f'{"; ".join(forbidden)}. Use the recorded values or a new workdir.'
    )
  return [text for _, text in different]


def recorded(workdir: str | os.PathLike) -> dict[str, Any] | None:
  """What `config.json` holds, or None where there is none.

  Raises:
    WorkdirError: it cannot be read, or holds something else.
  """
  path = pathlib.Path(workdir) / 'config.json'
  try:
    config = json.loads(path.read_text())
  except (FileNotFoundError, NotADirectoryError):
    return None
  except OSError as error:
    raise WorkdirError(f'{path} cannot be read: {error.strerror}.') from error
  except ValueError as error:
    raise WorkdirError(
      f'{path} is not valid JSON ({error}); restore it, or give another '
      'workdir.'
    ) from error
  if not isinstance(config, dict):
    raise WorkdirError(
      f'{path} holds no config; restore it, or give another workdir.'
    )
  return config


def record(workdir: pathlib.Path, config: dict[str, Any]) -> None:
  """Writes `config.json`."""
  text = json.dumps(config, indent=2, sort_keys=True) + '\n'
  replace(workdir / 'config.json', text)


def replace(path: pathlib.Path, text: str) -> None:
  """Writes a file so that a reader sees the old or the new one, whole."""
  partial = path.with_name(path.name + '.partial')
  partial.write_text(text)
  os.replace(partial, path)


def cut_metrics(workdir: pathlib.Path, step: int) -> None:
  """Drops the lines of `metrics.jsonl` after a step, and a torn last line."""
  path = workdir / 'metrics.jsonl'
  if not path.exists():
    return
  kept = []
  text = path.read_text(errors='replace')
  for line in text.splitlines(keepends=True):
    try:
      if line.endswith('\n') and json.loads(line)['step'] <= step:
        kept.append(line)
    except (ValueError, KeyError, TypeError):
      break
  replace(path, ''.join(kept))


def set_aside(
  workdir: pathlib.Path, names: Sequence[str] = _NUMBERS
) -> list[str]:
  """Moves files of a run that starts over; returns their new names."""
  moved = []
  for name in names:
    path = workdir / name
    if path.exists() and path.stat().st_size:
      moved.append(f'{path.stem}.before{path.suffix}')
      os.replace(path, path.with_name(moved[-1]))
  return moved


def write_divergence(workdir: pathlib.Path, step: int, reason: str) -> None:
  """Notes that a run diverged: `--seeds` and tables do not train it again."""
  text = json.dumps({'step': step, 'reason': reason}, indent=2) + '\n'
  replace(workdir / DIVERGED, text)


def divergence(workdir: str | os.PathLike) -> dict[str, Any] | None:
  """`step` and `reason` of a run that diverged, or None.

  Raises:
    WorkdirError: the note is damaged.
  """
  path = pathlib.Path(workdir) / DIVERGED
  try:
    note = json.loads(path.read_text())
    return {'step': int(note['step']), 'reason': str(note['reason'])}
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (ValueError, KeyError, TypeError) as error:
    raise WorkdirError(
      f'{path} is damaged; delete it, and the run goes on from its newest '
      'checkpoint.'
    ) from error


def _may_change(name):
  return name.partition('.')[0] in CHANGEABLE


def _flat(tree, prefix=''):
  if not isinstance(tree, dict):
    return {prefix: tree}
  flat = {}
  for name, value in tree.items():
    flat |= _flat(value, f'{prefix}.{name}' if prefix else name)
  return flat
