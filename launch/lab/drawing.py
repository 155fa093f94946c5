"""How the lab's figures look, and how they are written."""

import pathlib
from collections.abc import Callable

import numpy as np
from matplotlib import animation, figure

from launch.lab import result

# One colour for one method, in every figure.
COLOURS = dict(
  js='#2e6f95',
  rs='#d1495b',
  real='#222222',
  fake='#e0a030',
  simultaneous='#2e6f95',
  alternating='#5a9e6f',
  cgd='#d1495b',
  unrolled='#7a5195',
  none='#8a8f98',
)
CYCLE = (
  *('#2e6f95', '#d1495b', '#5a9e6f', '#e0a030', '#7a5195', '#8a8f98'),
  *('#16a3a3', '#b05d2c', '#4b5320', '#c06c9c'),
)


def page(
  rows: int = 1, columns: int = 1, size=(4.6, 3.6), **options
) -> tuple[figure.Figure, np.ndarray]:
  """A figure and its panels `[rows, columns]`.

  Args:
    rows: of panels.
    columns: of panels.
    size: of a panel, width and height in inches.
    **options: of `Figure.subplots`.
  """
  drawn = figure.Figure(
    figsize=(size[0] * columns, size[1] * rows), layout='constrained'
  )
  panels = drawn.subplots(rows, columns, squeeze=False, **options)
  for axes in panels.flat:
    tidy(axes)
  return drawn, panels


def tidy(axes) -> None:
  """A light grid and no box."""
  axes.grid(lw=0.4, alpha=0.5)
  axes.set_axisbelow(True)
  axes.spines[['top', 'right']].set_visible(False)


def save(
  drawn: figure.Figure, out: pathlib.Path, name: str, caption: str
) -> result.Figure:
  """Writes `out/name.png`."""
  path = out / f'{name}.png'
  drawn.savefig(path, dpi=110)
  return result.Figure(path, caption)


def save_animation(
  drawn: figure.Figure,
  draw_frame: Callable[[int], object],
  num_frames: int,
  out: pathlib.Path,
  name: str,
  caption: str,
  *,
  frames_per_second: int = 10,
) -> result.Figure:
  """Writes `out/name.gif`; `draw_frame(i)` changes the artists of frame i."""
  path = out / f'{name}.gif'
  film = animation.FuncAnimation(drawn, draw_frame, frames=num_frames)
  film.save(path, writer=animation.PillowWriter(fps=frames_per_second), dpi=80)
  return result.Figure(path, caption)
