"""Drawings of the landscape of the empirical loss."""

import pathlib

import numpy as np

from gan_jax.theory import descent_path, minima
from launch.lab import drawing, landscape_table, result

_TITLES = {'nonsaturating': 'JS (separable)', 'relativistic': 'RS (paired)'}
_MARKS = {
  'match (global minimum)': (((0, 1), (1, 0)), '*', 'white'),
  'collapse, y1 = y2': (((0, 0), (1, 1)), 'X', drawing.COLOURS['fake']),
  'one match, other off the data': (((0, -0.4), (1.4, 1)), 'o', '#5a9e6f'),
  'no match': (((-0.4, 1.4),), 's', '#8a8f98'),
}
_LEVELS = np.linspace(-1, 0, 25)
_RELATIVE = 'phi / |phi at the match|'


def _relative(surface) -> np.ndarray:
  return np.clip(surface.values / -np.min(surface.values), -1, 0)


def draw_surfaces(out: pathlib.Path, surfaces: dict) -> result.Figure:
  """The two surfaces in 3-D."""
  drawn, panels = drawing.page(
    1, 2, (4.8, 4.2), subplot_kw=dict(projection='3d')
  )
  for axes, (name, surface) in zip(panels[0], surfaces.items(), strict=True):
    y1, y2 = np.meshgrid(surface.places, surface.places, indexing='ij')
    axes.plot_surface(
      *(y1, y2, _relative(surface)),
      cmap='viridis',
      vmin=-1,
      vmax=0,
      rcount=81,
      ccount=81,
      lw=0,
    )
    axes.view_init(elev=42, azim=-62)
    axes.set(
      xlabel='y1', ylabel='y2', zlim=(-1, 0), title=_TITLES[name], zlabel=''
    )
    axes.set_zticks([-1, -0.75, -0.5, -0.25, 0])
  drawn.suptitle(f'{_RELATIVE}; reals at x1 = 0, x2 = 1', fontsize=10)
  return drawing.save(
    drawn,
    out,
    'landscape_surfaces',
    'Smoothed landscapes of two generated points, over where they are. Local '
    f'minima, and bad ones among them: {_minima(surfaces)}.',
  )


def _minima(surfaces: dict) -> str:
  return '; '.join(
    f'{_TITLES[name]} {len(surface.levels)}, {landscape_table.num_bad(surface)}'
    for name, surface in surfaces.items()
  )


def draw_maps(out: pathlib.Path, surfaces: dict) -> result.Figure:
  """The same from above, with the states marked."""
  drawn, panels = drawing.page(1, 2, (4.8, 4.4))
  for axes, (name, surface) in zip(panels[0], surfaces.items(), strict=True):
    shown = axes.contourf(
      surface.places,
      surface.places,
      _relative(surface).T,
      levels=_LEVELS,
      cmap='viridis',
    )
    axes.contour(
      surface.places,
      surface.places,
      _relative(surface).T,
      levels=_LEVELS,
      colors='white',
      linewidths=0.4,
      linestyles='solid',
    )
    for label, (places, marker, colour) in _MARKS.items():
      axes.scatter(
        *np.transpose(places),
        marker=marker,
        s=150 if marker == '*' else 80,
        c=colour,
        edgecolors='black',
        label=label,
        zorder=3,
      )
    bad = landscape_table.num_bad(surface)
    axes.set(
      xlabel='y1 (paired with x1 = 0)',
      ylabel='y2 (paired with x2 = 1)',
      title=f'{_TITLES[name]}: {bad} bad local minima',
      aspect='equal',
    )
  drawn.colorbar(shown, ax=panels[0].tolist(), label=_RELATIVE, shrink=0.8)
  handles, labels = panels[0, 0].get_legend_handles_labels()
  drawn.legend(handles, labels, loc='outside lower center', ncols=4, fontsize=8)
  return drawing.save(
    drawn,
    out,
    'landscape_maps',
    'The same from above, with the states of two points marked. From the '
    f'collapse y1 = y2 = 0, y2 goes up to {_ASIDE}: {_around(surfaces)}.',
  )


_ASIDE = 0.3


def _around(surfaces: dict) -> str:
  """Whether the collapse onto x1 is lower than where y2 has left it."""
  parts = []
  for name, surface in surfaces.items():
    zero, aside = (np.argmin(np.abs(surface.places - x)) for x in (0, _ASIDE))
    rise = surface.values[zero, aside] - surface.values[zero, zero]
    rise = round(float(rise), 2) + 0.0  # no minus zeros
    parts.append(f'{_TITLES[name]} phi changes by {rise:.2f} nats')
  return '; '.join(parts)


_CELL = {
  'strict': ('#d1495b', '{} strict minima'),
  'trapped': ('#e0a030', '{} flat, no way down'),
  'open': ('#5a9e6f', 'none: {} flat, a way down'),
  'infinite': ('#c9cdd2', 'none, but {} infinite'),
}


def draw_table(out: pathlib.Path, table: dict) -> result.Figure:
  """Losses by kind of their collapsed configurations."""
  names, sizes = list(table), list(next(iter(table.values())))
  drawn, panels = drawing.page(1, 1, (9.2, 6.0))
  axes = panels[0, 0]
  for row, name in enumerate(names):
    for column, size in enumerate(sizes):
      found = table[name][size]
      kind = max(_CELL, key=lambda kind: found.on_data[kind])
      colour, words = _CELL[kind]
      axes.barh(row, 0.97, 0.92, column - 0.485, color=colour)
      text = words.format(found.on_data[kind])
      axes.text(column, row, text, ha='center', va='center', fontsize=8)
    climbs = [table[name][size].deepest for size in sizes]
    text = ', '.join(f'{x:.3f}' for x in climbs) if any(climbs) else '-'
    text = 'infinite' if np.all(np.isinf(climbs)) else text
    axes.text(len(sizes), row, text, ha='center', va='center', fontsize=8)
  columns = [
    f'n = {n}: {minima.num_collapsed(n)} collapsed\nconfigurations'
    for n in sizes
  ]
  axes.set_xticks(
    range(len(sizes) + 1), [*columns, 'rise on the way out\nof the deepest']
  )
  axes.set_yticks(range(len(names)), names)
  axes.tick_params(length=0, labeltop=True, labelbottom=False)
  axes.set(ylim=(len(names) - 0.5, -0.5), xlim=(-0.5, len(sizes) + 0.5))
  axes.grid(False)
  axes.spines[:].set_visible(False)
  return drawing.save(
    drawn,
    out,
    'landscape_table',
    'What the n^n - n! configurations are in which generated points share real '
    'ones and miss others. Red: bad strict local minima; green: flat, and a '
    'path that never rises leads down; grey: the loss of the best critic is '
    f'infinite there. Without a bad basin: {_without(table)}.',
  )


def _without(table: dict) -> str:
  """Losses with a finite phi at the collapses and a way out of each."""
  stuck = ('strict', 'trapped', 'infinite', 'saddle')
  names = [
    name
    for name, by_size in table.items()
    if not any(at.on_data[kind] for at in by_size.values() for kind in stuck)
  ]
  return ', '.join(names) or 'none'


def draw_walks(out: pathlib.Path, walks: dict) -> result.Figure:
  """phi along the constructive path."""
  labels = {
    'nonsaturating': ('JS', drawing.COLOURS['js'], '-'),
    'relativistic_average': ('relativistic average', '#7a5195', '--'),
    'relativistic': ('RS', drawing.COLOURS['rs'], '-'),
  }
  drawn, panels = drawing.page(1, 1, (6.8, 3.8))
  axes = panels[0, 0]
  for name, (time, phi) in walks.items():
    label, colour, style = labels[name]
    # phi at a corner is that of the corner alone: segments in between.
    axes.step(time, phi, where='mid', label=label, color=colour, ls=style, lw=2)
  axes.set(
    xlabel='segment of the path (one generated point moves in each)',
    ylabel='phi, nats',
    title='Six points: from a collapse to the match',
  )
  axes.legend()
  climbs = [
    f'{labels[name][0]} {descent_path.largest_rise(phi):.3f}'
    for name, (_, phi) in walks.items()
  ]
  return drawing.save(
    drawn,
    out,
    'landscape_walk',
    'The exact phi along the path of the proof: first the points that are on '
    'no cycle leave the real one they share, then each goes to its own. '
    f'Largest rise above what was lowest before: {", ".join(climbs)}.',
  )
