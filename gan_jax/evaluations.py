"""`evaluation.json`: numbers of a run's checkpoints, with their protocols.

It is a list of entries, each a dict: `step`, `weights` ('averaged' or 'raw'),
`settings` (what was asked for) and what `evaluate.evaluate` returns. A training
and a watcher may both add to it, so there is a lock.
"""

import contextlib
import fcntl
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from gan_jax import workdir as workdirs
from gan_jax.metrics import entries as metric_entries

Entry = dict[str, Any]
Say = Callable[[str], None]

_NAME = 'evaluation.json'
# What tells entries of one step apart.
_IDENTITY = ('step', 'weights', 'dataset', 'split', 'settings')


@contextlib.contextmanager
def locked(workdir: str | os.PathLike) -> Iterator[None]:
  """Holds the lock of `evaluation.json` and `best/`; waits for it.

  Raises:
    WorkdirError: the lock cannot be written.
  """
  path = pathlib.Path(workdir) / 'evaluation.lock'
  with contextlib.ExitStack() as held:
    try:
      file = held.enter_context(open(path, 'a'))
      fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
      raise workdirs.WorkdirError(
        f'{path} cannot be locked: {error.strerror}.'
      ) from error
    yield


def read(workdir: str | os.PathLike, *, say: Say = print) -> list[Entry]:
  """All entries, in the order in which they came.

  A file that is damaged is moved aside, which is said.
  """
  if not (pathlib.Path(workdir) / _NAME).exists():
    return []
  with locked(workdir):
    return _read(workdir, say)


def add(workdir: str | os.PathLike, entry: Entry, *, say: Say = print) -> None:
  """Adds an entry; one of the same step, weights and settings makes way.

  A reader sees the list before or after, whole.
  """
  text = lambda known: json.dumps(known, indent=2, allow_nan=False) + '\n'
  with locked(workdir):
    known = _read(workdir, say)
    known = [e for e in known if identity(e) != identity(entry)]
    workdirs.replace(pathlib.Path(workdir) / _NAME, text([*known, entry]))


def cut(workdir: str | os.PathLike, step: int, *, say: Say = print) -> None:
  """Drops the entries after a step: a run goes on from there."""
  if not (pathlib.Path(workdir) / _NAME).exists():
    return
  with locked(workdir):
    known = _read(workdir, say)
    kept = [entry for entry in known if entry['step'] <= step]
    if len(kept) < len(known):
      path = pathlib.Path(workdir) / _NAME
      workdirs.replace(path, json.dumps(kept, indent=2) + '\n')


def identity(entry: Entry) -> str:
  """Equal for entries that would hold the same numbers."""
  return _canonical({name: entry.get(name) for name in _IDENTITY})


def _canonical(value):
  return json.dumps(value, sort_keys=True)


def _read(workdir, say):
  path = pathlib.Path(workdir) / _NAME
  try:
    text = path.read_text()
  except FileNotFoundError:
    return []
  except UnicodeDecodeError:
    text = ''
  try:
    entries = json.loads(text)
    if all(isinstance(entry['step'], int) for entry in entries):
      return list(entries)
  except (ValueError, TypeError, KeyError):
    pass
  aside = _free_name(path)
  os.replace(path, aside)
  say(f'{path} is damaged; it is kept as {aside.name}, and a new one begun.')
  return []


def _free_name(path):
  """`evaluation.damaged.json`, or the next that is not taken."""
  number, name = 1, path.with_name(f'{path.stem}.damaged{path.suffix}')
  while name.exists():
    number += 1
    name = path.with_name(f'{path.stem}.damaged-{number}{path.suffix}')
  return name


# What an entry says.


def measured(entry: Entry) -> dict[str, Entry]:
  """metric -> its part of an entry, for those with a number to show."""
  return {
    name: part
    for name, part in entry.items()
    if isinstance(part, dict) and 'protocol' in part
    if part.get('value', part.get('covered')) is not None
  }


def scalars(entry: Entry) -> dict[str, float]:
  """The numbers of an entry under the names of curves."""
  found = {}
  for name, part in measured(entry).items():
    for field in ('value', 'covered', 'high_quality'):
      if part.get(field) is not None:
        suffix = '' if field == 'value' else f'_{field}'
        found[f'evaluation/{name}{suffix}'] = part[field]
  return found


def line(entry: Entry) -> str:
  """An entry as one line."""
  parts = [
    f'{name} {_cell(part)}{_floor(part)}'
    for name, part in measured(entry).items()
  ]
  return (
    f'evaluation at step {entry["step"]} ({entry["weights"]} weights, '
    f'{entry["num_samples"]} samples): {", ".join(parts)}'
  )


def _floor(part):
  floor = part.get('real_against_real')
  return '' if floor is None else f' (real against real {floor:.4g})'


def _cell(part):
  if 'value' not in part:
    draws = [part, *part.get('draws', [])]
    covered = ','.join(str(draw['covered']) for draw in draws)
    return f'{covered}/{part["total"]}'
  spread = part.get('std_over_draws')
  return f'{part["value"]:.4g}' + (
    '' if spread is None else f' +- {spread:.2g}'
  )


# Tables.


def tables(entries: list[Entry]) -> list[str]:
  """Step by metric, as lines; a table for each protocol.

  Numbers of different protocols never stand in one column.
  """
  groups = []
  for entry in entries:
    group = next((g for g in groups if _alike(g[0], entry)), None)
    if group is None:
      groups.append([entry])
    else:
      group.append(entry)
  lines = []
  for group in groups:
    lines += ['', *_table(group)]
  return lines


def _alike(a, b):
  ours, theirs = measured(a), measured(b)
  draws = [entry.get('settings', {}).get('draws', 1) for entry in (a, b)]
  shared = ('dataset', 'split', 'num_samples')
  return (
    all(a[name] == b[name] for name in shared)
    and draws[0] == draws[1]
    and ours.keys() == theirs.keys()
    and all(metric_entries.same_protocol([ours[m], theirs[m]]) for m in ours)
  )


def _table(group):
  first = group[0]
  names = list(measured(first))
  rows = [['step', 'weights', *names]]
  for entry in group:
    cells = [_cell(part) for part in measured(entry).values()]
    rows.append([str(entry['step']), entry['weights'], *cells])
  floors = [p.get('real_against_real') for p in measured(first).values()]
  if any(floor is not None for floor in floors):
    cells = ['-' if floor is None else f'{floor:.4g}' for floor in floors]
    rows.append(['real', '', *cells])
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  justified = (
    '  '.join(c.rjust(w) for c, w in zip(row, widths, strict=True))
    for row in rows
  )
  draws = first.get('settings', {}).get('draws', 1)
  times = f'{draws} times ' if draws > 1 else ''
  return [
    f'{times}{first["num_samples"]} samples against {first["dataset"]}, split '
    f'{first["split"]}',
    *(line.rstrip() for line in justified),
    *(_protocol(name, part) for name, part in measured(first).items()),
  ]


def _protocol(name, part):
  words = (f'{key} {value}' for key, value in part['protocol'].items())
  return f'  {name}: {", ".join(words)}'
