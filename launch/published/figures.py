"""Figures of a table: the metric over steps and seconds, and all samples."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from gan_jax import report
from launch.lab import drawing
from launch.published import collect, judge, table

# Of a sheet of samples: grids in a line, and how many images of each grid's
# side are shown.
_COLUMNS = 4
_INCHES = 2.6
_SIDE = 560  # pixels of each picture, at the most


def curves(
  found: dict[str, Any],
  runs: judge.Runs,
  out: pathlib.Path,
  *,
  over: str = 'steps',
) -> report.Picture | None:
  """The metric of every row: thin lines are seeds, the thick one their mean.

  Args:
    found: the record, see `table.record`.
    runs: row -> its seeds.
    out: the folder of figures.
    over: 'steps' or 'device-seconds'.
  """
  metric = found['metric']
  groups = _groups(found, runs, metric)
  if not groups:
    return None
  columns = min(3, len(groups))
  lines = -(-len(groups) // columns)
  drawn, panels = drawing.page(lines, columns, size=(5.0, 3.9))
  for axes in panels.flat[len(groups) :]:
    axes.set_visible(False)
  at = _AXES[over]
  # Rows of one group are told apart by colour, so as many as there are colours.
  for axes, (group, rows) in zip(panels.flat, groups.items(), strict=False):
    for row, colour in zip(rows, drawing.CYCLE * 3, strict=False):
      _draw_row(axes, runs[row], metric, at, colour, row)
    _draw_lines(axes, found, metric)
    axes.set(title=group, xlabel=over, ylabel=found['titles'][metric])
    _scale(axes, rows, runs, metric)
    axes.legend(fontsize=7, frameon=False)
  name = f'{found["study"]}_{over.replace("-", "_")}'
  caption = (
    f'{found["titles"][metric]} over {over}: thin lines are seeds, thick ones '
    'their mean; dashed what real examples reach'
  )
  if any(row['group'] == 'released' for row in found['rows']):
    caption += '; dotted the released generators with running statistics'
  shown = drawing.save(drawn, out, name, caption + '.')
  return report.Picture(shown.path, shown.caption)


def _over_steps(run, entry):
  del run
  return entry['step']


def _over_seconds(run, entry):
  return collect.seconds_at(run, entry['step'])


_AXES: Mapping[str, Callable] = {
  'steps': _over_steps,
  'device-seconds': _over_seconds,
}


def _groups(found, runs, metric):
  """group -> rows that have something to draw."""
  groups = {}
  for row in found['rows']:
    drawable = (
      r for r in runs.get(row['name'], ()) for _ in _points(r, metric)
    )
    if next(drawable, None) is not None:
      groups.setdefault(row['group'], [])
      if row['name'] not in groups[row['group']]:
        groups[row['group']].append(row['name'])
  return groups


def _points(run, metric):
  for entry in run.entries:
    value = collect.number(entry, metric)
    if value is not None:
      yield entry, value


def _draw_row(axes, group, metric, at, colour, label):
  seen, ended = {}, any(run.state != 'diverged' for run in group)
  for run in group:
    points = [(at(run, entry), value) for entry, value in _points(run, metric)]
    if not points:
      continue
    x, y = zip(*points, strict=True)
    alone = len(group) == 1
    axes.plot(x, y, '.-' if alone else '-', lw=0.7, alpha=0.5, color=colour)
    if run.state == 'diverged':
      axes.plot(x[-1], y[-1], 'x', ms=8, color=colour)
      # The mean is of those that came to their end, if any did.
      if ended:
        continue
    for entry, value in _points(run, metric):
      seen.setdefault(entry['step'], []).append((at(run, entry), value))
  whole = max(map(len, seen.values()), default=0)
  means = [
    np.mean(points, axis=0) for points in seen.values() if len(points) == whole
  ]
  if means:
    x, y = np.array(means).T
    order = np.argsort(x)
    axes.plot(x[order], y[order], '.-', lw=1.8, ms=4, color=colour, label=label)


def _draw_lines(axes, found, metric):
  floors = [r['floor'][metric] for r in found['rows']]
  floors = [f for f in floors if f is not None]
  if floors:
    axes.axhline(np.mean(floors), ls='--', lw=1, color=drawing.COLOURS['real'])
  for row in found['rows']:
    value = row['last'][metric]['mean']
    name, _, mode = row['name'].rpartition(', ')
    # Running statistics, as ours have.
    running = row['group'] == 'released' and mode.startswith('evaluation')
    if running and value is not None:
      label = f'{name}: {value:.4g}'
      colour = drawing.COLOURS['none']
      axes.axhline(value, ls=':', lw=1, color=colour, label=label)


def _scale(axes, rows, runs, metric):
  """A distance that falls by far is drawn in logarithms."""
  values = [
    value for row in rows for r in runs[row] for _, value in _points(r, metric)
  ]
  if not collect.better(metric, 0.0, 1.0):
    axes.set_ylim(bottom=0)
  elif min(values) > 0 and max(values) > 8 * min(values):
    axes.set_yscale('log')
  else:
    axes.set_ylim(bottom=0)


def sheet(
  found: dict[str, Any], runs: judge.Runs, out: pathlib.Path
) -> report.Picture | None:
  """The last samples of every row's first seed, on one sheet."""
  chosen = []
  for row in dict.fromkeys(r['name'] for r in found['rows']):
    pictures = [r for r in runs.get(row, ()) if r.picture]
    if pictures:
      chosen.append((row, pictures[0]))
  if not chosen:
    return None
  columns = min(_COLUMNS, len(chosen))
  lines = -(-len(chosen) // columns)
  size = (_INCHES, _INCHES + 0.4)
  drawn, panels = drawing.page(lines, columns, size=size)
  for axes in panels.flat:
    axes.set_axis_off()
  for axes, (row, run) in zip(panels.flat, chosen, strict=False):
    axes.imshow(_pixels(run.picture), interpolation='nearest')
    axes.set_title(_label(found, row, run), fontsize=8)
  shown = drawing.save(
    drawn,
    out,
    f'{found["study"]}_samples',
    'Samples of the last step drawn, of the first seed of every row.',
  )
  return report.Picture(shown.path, shown.caption)


def _label(found, row, run):
  metric, step = found['metric'], int(run.picture.stem)
  words = [f'seed {run.seed}, step {step:,}']
  for entry in run.entries:  # what was measured of this picture's weights
    value = collect.number(entry, metric)
    if entry['step'] == step and value is not None:
      words.append(f'{table.short_titles(found)[metric]} {value:.4g}')
  return f'{row}\n{", ".join(words)}'


def _pixels(path):
  """A picture, its middle cut out where it is too large."""
  with Image.open(path) as picture:
    pixels = np.asarray(picture.convert('RGB'))
  return pixels[:_SIDE, :_SIDE]


def draw(
  found: dict[str, Any], runs: judge.Runs, out: pathlib.Path
) -> Sequence[report.Picture]:
  """All figures that there is something for."""
  drawn = [curves(found, runs, out)]
  if found['equal_time']:
    drawn.append(curves(found, runs, out, over='device-seconds'))
  drawn.append(sheet(found, runs, out))
  return [picture for picture in drawn if picture is not None]
