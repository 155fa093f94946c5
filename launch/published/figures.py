"""Figures of a table: the metric over steps and seconds, and all samples."""

import pathlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from gan_jax import report
from launch.lab import drawing
from launch.published import collect, judge, page, table

# Of a sheet of samples: grids in a line, and how many images of each grid's
# side are shown.
_COLUMNS = 4
_INCHES = 2.6
_SIDE = 560  # pixels of each picture, at the most
_LETTERS = 60  # of a line of small print over a panel


class _Panel(NamedTuple):
  """Rows on one pair of axes: of one group, measured by one protocol."""

  group: str
  protocol: str
  rows: dict[str, list[collect.Run]]


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
  panels = _panels(found, runs, metric)
  if not panels:
    return None
  columns = min(3, len(panels))
  lines = -(-len(panels) // columns)
  drawn, places = drawing.page(lines, columns, size=(5.0, 3.9))
  for axes in places.flat[len(panels) :]:
    axes.set_visible(False)
  words = page.differences(dict.fromkeys(panel.protocol for panel in panels))
  for axes, panel in zip(places.flat, panels, strict=False):
    _draw_panel(axes, panel, found, over)
    _head(axes, panel.group, words[panel.protocol])
  name = f'{found["study"]}_{over.replace("-", "_")}'
  shown = drawing.save(drawn, out, name, _caption(found, panels, over))
  return report.Picture(shown.path, shown.caption)


def _head(axes, group, protocol):
  if not protocol:
    axes.set_title(group)
    return
  small = textwrap.fill(protocol, _LETTERS)
  axes.set_title(f'{group}\n{small}', fontsize=9)


def _caption(found, panels, over):
  titles = dict.fromkeys(_title(panel, found['metric']) for panel in panels)
  caption = (
    f'{" and ".join(titles)} over {over}: thin lines are seeds, thick ones '
    'their mean; dashed what real examples reach'
  )
  if any(row['group'] == 'released' for row in found['rows']):
    caption += '; dotted the released generators with running statistics'
  if len({panel.protocol for panel in panels}) > 1:
    caption += '. Panels whose titles differ in small print do not compare'
  return f'{caption}.'


def _title(panel, metric):
  first = next(iter(panel.rows.values()))[0]
  return collect.title(metric, first.entries[-1])


def _over_steps(run, entry):
  del run
  return entry['step']


def _over_seconds(run, entry):
  return collect.seconds_at(run, entry['step'])


_AXES: Mapping[str, Callable] = {
  'steps': _over_steps,
  'device-seconds': _over_seconds,
}


def _panels(found, runs, metric):
  """What there is to draw; as in a table, never two protocols in one."""
  panels = {}
  for row in found['rows']:
    chosen = [
      run
      for run in runs.get(row['name'], ())
      if _protocol(run, metric) == row['protocol']
    ]
    if row['protocol'] and chosen:
      key = row['group'], row['protocol']
      panels.setdefault(key, _Panel(*key, {})).rows[row['name']] = chosen
  return list(panels.values())


def _protocol(run, metric):
  return collect.protocol_of(run.entries[-1], metric) if run.entries else ''


def _draw_panel(axes, panel, found, over):
  metric = found['metric']
  # Rows of one group are told apart by colour, so as many as there are colours.
  for (row, group), colour in zip(
    panel.rows.items(), drawing.CYCLE * 3, strict=False
  ):
    _draw_row(axes, group, metric, _AXES[over], colour, row)
  alike = [r for r in found['rows'] if r['protocol'] == panel.protocol]
  _draw_lines(axes, alike, metric)
  seeds = [run for group in panel.rows.values() for run in group]
  axes.set_xlabel(over)
  axes.set_ylabel(_title(panel, metric), fontsize=9)
  _scale(axes, seeds, metric)
  axes.legend(fontsize=7, frameon=False)


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


def _draw_lines(axes, rows, metric):
  floors = [row['floor'][metric] for row in rows]
  floors = [f for f in floors if f is not None]
  if floors:
    axes.axhline(np.mean(floors), ls='--', lw=1, color=drawing.COLOURS['real'])
  for row in rows:
    value = row['last'][metric]['mean']
    name, _, mode = row['name'].rpartition(', ')
    # Running statistics, as ours have.
    running = row['group'] == 'released' and mode.startswith('evaluation')
    if running and value is not None:
      label = f'{name}: {value:.4g}'
      colour = drawing.COLOURS['none']
      axes.axhline(value, ls=':', lw=1, color=colour, label=label)


def _scale(axes, seeds, metric):
  """A distance that falls by far is drawn in logarithms."""
  values = [value for run in seeds for _, value in _points(run, metric)]
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
