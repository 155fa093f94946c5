"""Numbers of all rows -> one record, and that as Markdown, HTML and lines."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gan_jax import report
from launch.published import collect, folder, judge
from launch.published import plan as plans

_EMPTY = '-'
_PAPER = {'frechet': 'FID', 'inception_score': 'IS'}


def record(
  plan: plans.Plan,
  runs: judge.Runs,
  *,
  failed: Mapping[str, str],
  released: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
  """All that the tables say, JSON-able.

  Args:
    plan: what was asked for.
    runs: row -> its seeds.
    failed: row -> why it was not brought to its end.
    released: entries of released generators, each with its `name`.
  """
  metrics = _metrics(plan, runs)
  rows = [
    _row(job, protocol, chosen, metrics, failed.get(job.row.name))
    for job in plan.jobs
    for protocol, chosen in _by_protocol(runs[job.row.name], plan.metric)
  ]
  rows += [_released(entry, metrics, plan.metric) for entry in released]
  study, compared = plan.study, _compared(plan, metrics)
  verdicts = judge.judge(study.claims, runs, compared)
  return {
    'study': study.name,
    'data': plan.data,
    'stand_in': plan.stand_in is not None,
    'settings': folder.settings(plan),
    'metric': plan.metric,
    'metrics': metrics,
    'titles': _titles(runs, released, metrics),
    'titles_of': _titles_of(runs, released, plan.metric, metrics),
    'rows': rows,
    'equal_time': _equal_time(plan, runs),
    'claims': [_told(verdict) for verdict in verdicts],
    'left_out': list(plan.left_out),
  }


def _metrics(plan, runs):
  """The compared metric first, then all others that were measured."""
  found = [plan.metric]
  for group in runs.values():
    for run in group:
      for entry in run.entries[-1:]:
        found += collect.metrics_of(entry)
  return list(dict.fromkeys(found))


def _compared(plan, metrics):
  """What claims are judged by: of modes, how many and how evenly."""
  own = (m for m in metrics if m.startswith(f'{plan.metric}.'))
  return [plan.metric, *own]


def _titles(runs, released, metrics):
  first = next(_measured(runs, released), None)
  return {metric: collect.title(metric, first) for metric in metrics}


def _titles_of(runs, released, metric, metrics):
  """The same by protocol: FID in one table may be none in another."""
  found = {}
  for entry in _measured(runs, released):
    titles = {m: collect.title(m, entry) for m in metrics}
    found.setdefault(collect.protocol_of(entry, metric), titles)
  return found


def _measured(runs, released):
  yield from (r.entries[-1] for g in runs.values() for r in g if r.entries)
  yield from released


def _by_protocol(group, metric):
  """Runs whose numbers may stand in one row; '' of those without any."""
  found = {}
  for run in group:
    key = ''
    if run.entries:
      key = collect.protocol_of(run.entries[-1], metric)
    found.setdefault(key, []).append(run)
  if len(found) > 1 and '' in found:  # they stand with the others
    rest = found.pop('')
    next(iter(found.values())).extend(rest)
  return found.items()


def _row(job, protocol, group, metrics, failed):
  of = lambda pick: {m: summary([pick(r, m) for r in group]) for m in metrics}
  entries = [run.entries[-1] for run in group if run.entries]
  taken = [collect.device_seconds(r) for r in group if r.state == 'finished']
  return {
    'name': job.row.name,
    'group': job.row.group,
    'note': job.row.note,
    'paper': dict(job.row.paper),
    'config': job.row.config,
    'changes': dict(job.changes),
    'num_steps': plans.steps(job),
    'protocol': protocol,
    'last': of(collect.last),
    'best': of(collect.best),
    'floor': {
      m: _mean([collect.floor(e, m) for e in entries]) for m in metrics
    },
    'device_seconds': summary([t for t in taken if math.isfinite(t)]),
    'checkpoint_bytes': max((r.checkpoint_bytes for r in group), default=0),
    'seeds': [_seed(run, metrics) for run in group],
    'failed': failed,
  }


def _seed(run, metrics):
  seconds = collect.device_seconds(run)
  return {
    'seed': run.seed,
    'state': run.state,
    'step': run.step,
    'reason': run.reason,
    'last': {m: collect.last(run, m) for m in metrics},
    'best': {m: collect.best(run, m) for m in metrics},
    'device_seconds': seconds if math.isfinite(seconds) else None,
    'curve': [
      [e['step'], *(collect.number(e, m) for m in metrics)] for e in run.entries
    ],
  }


def _released(entry, metrics, metric):
  values = {m: summary([collect.number(entry, m)]) for m in metrics}
  return {
    'name': entry['name'],
    'group': 'released',
    'note': '',
    'paper': {},
    'protocol': collect.protocol_of(entry, metric),
    'last': values,
    'best': values,
    'floor': {m: collect.floor(entry, m) for m in metrics},
    'device_seconds': summary([]),
    'checkpoint_bytes': 0,
    'seeds': [],
    'failed': None,
  }


def summary(values: Sequence[float | None]) -> dict[str, Any]:
  """Mean, standard deviation (n - 1) and count of the values that are there."""
  known = [float(v) for v in values if v is not None]
  return {
    'mean': float(np.mean(known)) if known else None,
    'std': float(np.std(known, ddof=1)) if len(known) > 1 else None,
    'n': len(known),
  }


def _mean(values):
  return summary(values)['mean']


def _equal_time(plan, runs):
  found = []
  for pair in plan.study.equal_time:
    groups = [list(runs.get(name, ())) for name in pair]
    seconds = judge.common_seconds(*groups)
    ended = all(any(r.state == 'finished' for r in g) for g in groups)
    if not ended or not math.isfinite(seconds):
      continue
    if judge.several_protocols(groups, plan.metric):
      continue
    at = lambda run, s=seconds: collect.within(run, s, plan.metric)
    values = [summary([at(run) for run in group]) for group in groups]
    found.append(dict(rows=list(pair), seconds=seconds, values=values))
  return found


def _told(verdict):
  told = verdict._asdict() | {'seeds': list(verdict.seeds)}
  if verdict.interval is not None:
    told['interval'] = verdict.interval._asdict()
  return told


# Words.


def cell(found: dict[str, Any]) -> str:
  """Mean ± standard deviation (n), as far as there are any."""
  if not found['n']:
    return _EMPTY
  mean, std = found['mean'], found['std']
  if std is not None and std < 1e-6 * abs(mean):  # rounding
    std = 0.0
  if not std or abs(mean) >= 1000:
    spread = '' if std is None else f' ± {number(std)}'
    return f'{number(mean)}{spread} ({found["n"]})'
  # Two digits of the deviation, and the mean as far.
  places = min(max(1 - math.floor(math.log10(std)), 0), 4)
  return f'{mean:.{places}f} ± {std:.{places}f} ({found["n"]})'


def number(value: float | None) -> str:
  """Four digits, and none behind the point of large numbers."""
  if value is None:
    return _EMPTY
  return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.4g}'


def diverged(row: dict[str, Any]) -> str:
  """How many of the seeds that were begun diverged, and at which steps."""
  begun = [s for s in row['seeds'] if s['state'] != 'none']
  gone = [s for s in begun if s['state'] == 'diverged']
  if not begun:
    return _EMPTY
  words = f'{len(gone)} of {len(begun)}'
  if not gone:
    return words
  at = ', '.join(f'seed {s["seed"]} at {s["step"]:,}' for s in gone)
  return f'{words}: {at}'


def unfinished(row: dict[str, Any]) -> str:
  """What of a row is not there yet, or ''."""
  left = [s for s in row['seeds'] if s['state'] in ('begun', 'none')]
  if not left:
    return ''
  at = ', '.join(f'seed {s["seed"]} at {s["step"]:,}' for s in left)
  return f'not finished: {at}'


def tables(found: dict[str, Any]) -> list[tuple[str, report.Table]]:
  """(protocol, table) pairs; a table never mixes protocols."""
  keys = list(dict.fromkeys(r['protocol'] for r in found['rows']))
  known = [key for key in keys if key]
  # What has no number yet stands in the first.
  groups = {key: [] for key in known or keys}
  for row in found['rows']:
    groups[row['protocol'] or next(iter(groups))].append(row)
  return [(key, _table(found, key, rows)) for key, rows in groups.items()]


def short_titles(found: dict[str, Any], protocol: str = '') -> dict[str, str]:
  """Titles without the features, which stand beside a table."""
  titles = found.get('titles_of', {}).get(protocol, found['titles'])
  return {m: t.partition(' (')[0] for m, t in titles.items()}


def _table(found, protocol, rows):
  metric, titles = found['metric'], short_titles(found, protocol)
  others = [m for m in found['metrics'] if m != metric]
  said = dict.fromkeys(m for row in rows for m in row['paper'])
  if found['stand_in']:  # the paper has other data
    said = {}
  header = ['row', *(f'paper: {_PAPER.get(m, m)}' for m in said)]
  header += [f'{titles[metric]}, last', f'{titles[metric]}, best']
  header += [f'{titles[m]}, last' for m in others]
  header += ['diverged', 'device-seconds a seed', 'checkpoint, MB']
  lines, against = [], []
  for row in rows:
    cells = [row['name'], *(row['paper'].get(m, _EMPTY) for m in said)]
    cells += [cell(row['last'][metric]), cell(row['best'][metric])]
    cells += [cell(row['last'][m]) for m in others]
    size = row['checkpoint_bytes'] / 1e6
    cells += [diverged(row), cell(row['device_seconds'])]
    lines.append([*cells, f'{size:.1f}' if size else _EMPTY])
    gone = any(s['state'] == 'diverged' for s in row['seeds'])
    against.append(gone or bool(row['failed']))
  floors = {m: _mean([r['floor'][m] for r in rows]) for m in found['metrics']}
  if any(floor is not None for floor in floors.values()):
    cells = ['real against real', *(_EMPTY for _ in said)]
    cells += [number(floors[metric]), _EMPTY]
    cells += [number(floors[m]) for m in others]
    lines.append([*cells, _EMPTY, _EMPTY, _EMPTY])
    against.append(False)
  return report.Table(header, lines, against)


def lines(table: report.Table) -> list[str]:
  """A table for a terminal."""
  rows = [list(table.header), *map(list, table.rows)]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  justified = (
    [row[0].ljust(widths[0])]
    + [x.rjust(w) for x, w in zip(row[1:], widths[1:], strict=True)]
    for row in rows
  )
  return ['  '.join(cells).rstrip() for cells in justified]


def claims(found: dict[str, Any]) -> report.Table | None:
  """What came of the claims."""
  if not found['claims']:
    return None
  header = ['claim', 'by', 'difference, 95 %', 'seeds', 'verdict']
  rows = []
  for told in found['claims']:
    interval = told['interval']
    words = _EMPTY
    if interval:
      ends = ' to '.join(f'{interval[k]:.3g}' for k in ('low', 'high'))
      words = f'{interval["difference"]:.3g} ({ends})'
    title = short_titles(found).get(told['metric'], told['metric'])
    by = (
      title
      if told['metric'] == judge.DIVERGED
      else f'{title}, {_AT[told["at"]]}'
    )
    note = f' ({told["note"]})' if told['note'] else ''
    seeds = ', '.join(map(str, told['seeds']))
    rows.append([told['text'], by, words, seeds, told['verdict'] + note])
  against = [told['verdict'] == judge.CONTRADICTED for told in found['claims']]
  return report.Table(header, rows, against)


_AT = {
  'last': 'last',
  'best': 'best',
  'equal_time': 'at equal device-seconds',
}


def equal_time(found: dict[str, Any]) -> report.Table | None:
  """Pairs of rows at the device-seconds that both reached."""
  if not found['equal_time']:
    return None
  title = short_titles(found)[found['metric']]
  header = ['row', 'against', 'device-seconds', title, f'{title}, against']
  rows = [
    [*pair['rows'], number(pair['seconds']), *map(cell, pair['values'])]
    for pair in found['equal_time']
  ]
  return report.Table(header, rows)
