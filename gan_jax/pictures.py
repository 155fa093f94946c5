"""PNG pictures of samples: arrays in, one file out.

Every file is written beside its place and moved there, so a reader (or a run
that is killed) never finds half a picture.
"""

import math
import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import BinaryIO

import numpy as np
from matplotlib import figure
from PIL import Image

# Small images are enlarged until their shorter side has this many pixels.
_LEGIBLE = 64
_GAP = 2
_PAPER = 255
_REAL_COLOUR = '#8a8f98'
_FAKE_COLOUR = '#d1495b'
_BAR_COLOUR = '#2e6f95'


def grid(
  images: np.ndarray,
  path: str | os.PathLike,
  *,
  columns: int | None = None,
  scale: int | None = None,
) -> None:
  """Writes images as a grid, row by row, with thin white gaps.

  Args:
    images: `[N, H, W, C]` in [-1, 1], C of 1 (grey) or 3 (RGB).
    path: of the PNG; its folder is made if need be.
    columns: images in a row; None makes the grid about square.
    scale: every pixel becomes scale x scale; None enlarges small images until
      a person can see them.

  Raises:
    ValueError: if the images have another shape or are not finite, or a setting
      is below 1.
  """
  images = _bytes(images, 4, '[N, H, W, C]')
  if columns is None:
    columns = math.ceil(math.sqrt(len(images)))
  if columns < 1:
    raise ValueError(f'columns={columns} must be at least 1.')
  empty = -len(images) % columns
  blank = np.full((empty, *images.shape[1:]), _PAPER, np.uint8)
  tiles = np.concatenate([images, blank])
  _write_tiles(tiles.reshape(-1, columns, *images.shape[1:]), path, scale)


def rows(
  images: np.ndarray, path: str | os.PathLike, *, scale: int | None = None
) -> None:
  """Writes rows of images, such as paths between two latents.

  Args:
    images: `[rows, columns, H, W, C]` in [-1, 1]; one path a row.
    path: of the PNG.
    scale: as in `grid`.

  Raises:
    ValueError: if the images have another shape or are not finite, or a setting
      is below 1.
  """
  images = _bytes(images, 5, '[rows, columns, H, W, C]')
  _write_tiles(images, path, scale)


def scatter(
  real_points: np.ndarray,
  fake_points: np.ndarray,
  path: str | os.PathLike,
  title: str = '',
  centres: np.ndarray | None = None,
) -> None:
  """Draws real and generated points: a scatter in 2-D, histograms in 1-D.

  The limits come from the real points (and centres) alone, so that the pictures
  of a run can be leafed through; the legend says how many samples lie outside.

  Args:
    real_points: `[N, 2]` or `[N, 1]`.
    fake_points: `[M, 2]` or `[M, 1]`.
    path: of the PNG.
    title: above the picture.
    centres: of the modes, `[K, 2]` or `[K, 1]`, or None.

  Raises:
    ValueError: if the shapes do not match or the points are not finite.
  """
  real_points, fake_points = _points(real_points), _points(fake_points)
  if real_points.shape[1] != fake_points.shape[1]:
    raise ValueError(
      f'Real points {real_points.shape} and generated points '
      f'{fake_points.shape} differ in dimension.'
    )
  centres = real_points[:0] if centres is None else _points(centres)
  low, high = _limits(np.concatenate([real_points, centres]))
  outside = np.any((fake_points < low) | (fake_points > high), axis=1)
  label = f'generated ({np.count_nonzero(outside)} outside)'
  flat = real_points.shape[1] == 1
  page = figure.Figure(
    figsize=(6.4, 4.0 if flat else 6.0), layout='constrained'
  )
  axes = page.add_subplot(title=title)
  draw = _draw_histogram if flat else _draw_scatter
  draw(axes, real_points, fake_points, centres, label, low, high)
  # Below the axes: samples may be anywhere inside them.
  page.legend(loc='outside lower center', ncols=3, frameon=False)
  _save(page, path)


def bars(
  counts: Sequence[float],
  labels: Sequence[str],
  path: str | os.PathLike,
  *,
  title: str = '',
  ylabel: str = 'samples',
  even: bool = True,
) -> None:
  """Draws counts as bars, each with its number on top.

  Args:
    counts: `[K]`, not negative.
    labels: `[K]`, below the bars.
    path: of the PNG.
    title: above the picture.
    ylabel: of the counts.
    even: draws a dashed line where all bars would be equal.

  Raises:
    ValueError: if there are not as many labels as counts.
  """
  if len(counts) != len(labels):
    raise ValueError(f'{len(counts)} counts have {len(labels)} labels.')
  width = max(4.8, 0.55 * len(counts) + 1.2)
  page = figure.Figure(figsize=(width, 3.6), layout='constrained')
  axes = page.add_subplot(title=title, ylabel=ylabel)
  drawn = axes.bar(range(len(counts)), counts, color=_BAR_COLOUR, width=0.75)
  paper = dict(boxstyle='square,pad=0.15', fc='w', lw=0, alpha=0.85)
  axes.bar_label(drawn, fmt='{:g}', padding=3, fontsize=9, bbox=paper)
  axes.set_xticks(range(len(counts)), [str(label) for label in labels])
  axes.margins(y=0.12)
  if even:
    style = dict(color=_FAKE_COLOUR, ls='--', lw=1, zorder=0)
    axes.axhline(np.mean(counts), label='all equal', **style)
    page.legend(loc='outside lower center', frameon=False)
  _tidy(axes)
  _save(page, path)


# Tiles.


def _bytes(images, rank, shape):
  images = np.asarray(images)
  if images.ndim != rank or images.shape[-1] not in (1, 3) or not images.size:
    raise ValueError(
      f'Images must be {shape} with C of 1 or 3, got shape {images.shape}.'
    )
  if not np.isfinite(images).all():
    raise ValueError('Images that hold NaN or infinity cannot be drawn.')
  return np.round((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)


def _write_tiles(tiles, path, scale):
  """Lays `[R, K, H, W, C]` bytes on paper and writes it."""
  if scale is None:
    scale = math.ceil(_LEGIBLE / min(tiles.shape[2:4]))
  if scale < 1:
    raise ValueError(f'scale={scale} must be at least 1.')
  tiles = tiles.repeat(scale, axis=2).repeat(scale, axis=3)
  num_rows, columns, height, width, channels = tiles.shape
  step_y, step_x = height + _GAP, width + _GAP
  shape = (num_rows * step_y + _GAP, columns * step_x + _GAP, channels)
  paper = np.full(shape, _PAPER, np.uint8)
  for row, column in np.ndindex(num_rows, columns):
    top, left = row * step_y + _GAP, column * step_x + _GAP
    tile = tiles[row, column]
    paper[top : top + height, left : left + width] = tile
  picture = Image.fromarray(paper[..., 0] if channels == 1 else paper)
  _write(path, lambda file: picture.save(file, 'PNG'))


# Points.


def _points(points):
  points = np.asarray(points, np.float64)
  points = points[:, None] if points.ndim == 1 else points
  if points.ndim != 2 or points.shape[1] not in (1, 2):
    raise ValueError(
      f'Points must be [N], [N, 1] or [N, 2], got shape {points.shape}.'
    )
  if not np.isfinite(points).all():
    raise ValueError('Points that hold NaN or infinity cannot be drawn.')
  return points


def _limits(points):
  """Where the real points lie, with room around them: equal in both axes."""
  low, high = points.min(axis=0), points.max(axis=0)
  reach = 0.65 * max(np.max(high - low), 1e-3)
  middle = (low + high) / 2
  return middle - reach, middle + reach


def _draw_scatter(axes, real, fake, centres, label, low, high):
  style = dict(ls='', marker='o', mew=0, ms=3.5, alpha=0.55)
  axes.plot(*real.T, color=_REAL_COLOUR, label='real', **style)
  axes.plot(*fake.T, color=_FAKE_COLOUR, label=label, **style)
  if len(centres):
    axes.plot(*centres.T, 'k+', ms=9, mew=1.4, ls='', label='centres')
  axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect='equal')
  axes.grid(lw=0.4, alpha=0.5)
  axes.set_axisbelow(True)


def _draw_histogram(axes, real, fake, centres, label, low, high):
  edges = np.linspace(low[0], high[0], 61)
  for points, colour, name in (
    (real, _REAL_COLOUR, 'real'),
    (fake, _FAKE_COLOUR, label),
  ):
    # Shares of all points, so that those outside are missed.
    weights = np.full(len(points), 1 / len(points))
    axes.hist(
      points[:, 0], edges, weights=weights, color=colour, alpha=0.6, label=name
    )
  for centre in centres[:, 0]:
    axes.axvline(centre, color='k', lw=1, ls=':')
  axes.set(xlim=(low[0], high[0]), xlabel='value', ylabel='share of points')
  _tidy(axes)


def _tidy(axes):
  axes.spines[['top', 'right']].set_visible(False)


# Files.


def _save(page: figure.Figure, path):
  _write(path, lambda file: page.savefig(file, format='png', dpi=120))


def _write(path, write: Callable[[BinaryIO], None]):
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  descriptor, name = tempfile.mkstemp(dir=path.parent, suffix='.tmp')
  try:
    with os.fdopen(descriptor, 'wb') as file:
      write(file)
    os.chmod(name, 0o644)  # mkstemp's own is 0600
    os.replace(name, path)
  except BaseException:
    os.unlink(name)
    raise
