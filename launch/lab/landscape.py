"""The landscape of the empirical loss: which losses have bad basins.

Everything but the smoothed surfaces is exact; nothing is random but the places
of the points, on which nothing depends. The rows are in `landscape_table`,
the words in `landscape_words`, the drawings in `landscape_figures`.
"""

from typing import NamedTuple

import jax
import numpy as np

from gan_jax import losses
from gan_jax.theory import (
  configurations,
  descent_path,
  landscape_smooth,
  minima,
)
from launch.lab import (
  landscape_figures,
  landscape_table,
  landscape_words,
  result,
)

PAIRS = (2, 3, 4)
JS, RS = 'nonsaturating', 'relativistic'
WIDTH = 0.12
REAL = np.array([0.0, 1.0])
# Six points all on one real, but for a pair that is finished.
COLLAPSE = (0, 0, 0, 3, 0, 0)


class Sizes(NamedTuple):
  """What a quick run does less of.

  Attributes:
    solved: numbers of pairs at which closed forms meet the convex solve.
    walked: numbers of pairs from whose every pattern the path is walked.
    steps: of the smoothed surfaces between the two real points, even.
    grid: of the smoothed critics.
  """

  solved: tuple[int, ...]
  walked: tuple[int, ...]
  steps: int
  grid: int


FULL = Sizes(solved=(2, 3, 4), walked=(2, 3, 4), steps=30, grid=65)
QUICK = Sizes(solved=(2, 3), walked=(2, 3), steps=10, grid=36)


class Surface(NamedTuple):
  """The smoothed landscape of two points.

  Attributes:
    places: of y1 and of y2, `[S]`.
    values: `[S, S]`, first y1.
    minima: places of the local minima deeper than .02, `[M, 2]`.
    levels: the values there, `[M]`.
  """

  places: np.ndarray
  values: np.ndarray
  minima: np.ndarray
  levels: np.ndarray


def smoothed(name: str, sizes: Sizes) -> Surface:
  """phi_s over y1 and y2, for reals at 0 and 1."""
  # From -.5 to 1.5, with 0 and 1 among the places.
  steps = sizes.steps
  places = np.arange(-steps // 2, steps * 3 // 2 + 1) / steps
  pairs = np.stack(np.meshgrid(places, places, indexing='ij'), -1)
  grid = np.linspace(-0.9, 1.9, sizes.grid)
  values, _ = landscape_smooth.surface(
    name, REAL, pairs.reshape(-1, 2), grid, width=WIDTH
  )
  values = values.reshape(len(places), len(places))
  found = landscape_smooth.local_minima(values, margin=0.02)
  return Surface(places, values, places[found], values[tuple(found.T)])


def scattered(
  pattern: configurations.Pattern, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Points in the plane with this pattern, `[n, 2]` and `[n, 2]`."""
  size = len(pattern)
  places = np.random.default_rng(seed).normal(size=(2 * size, 2))
  return places[:size], places[list(configurations.check(pattern))]


def walk(pattern: configurations.Pattern, names: tuple[str, ...]) -> dict:
  """phi of several losses along one path, from scattered points."""
  real, fake = scattered(pattern, seed=0)
  corners = descent_path.path(real, fake).configurations
  return {name: descent_path.profile(name, real, corners) for name in names}


def rises(name: str, sizes: tuple[int, ...]) -> tuple[float, float, int]:
  """The largest rise along the paths from all patterns.

  Returns:
    It; the largest distance from the lowest phi at a path's end; the number of
    paths. A nan anywhere comes back as nan.
  """
  climbs, misses = [], []
  for size in sizes:
    lowest = minima.basins(name, size).lowest
    for pattern in configurations.patterns(size):
      values = walk(pattern, (name,))[name][1]
      climbs.append(descent_path.largest_rise(values))
      misses.append(abs(values[-1] - lowest))
  return result.worst(climbs), result.worst(misses), len(climbs)


def run(settings: result.Settings) -> result.Result:
  """All of it; see the module."""
  sizes = QUICK if settings.quick else FULL
  surfaces = {name: smoothed(name, sizes) for name in (JS, RS)}
  # Thousands of tiny sums in float64: an accelerator would only add waiting.
  with jax.default_device(jax.local_devices(backend='cpu')[0]):
    return _report(settings, sizes, surfaces)


def _report(settings, sizes, surfaces) -> result.Result:
  table = {
    name: {n: minima.basins(name, n) for n in PAIRS} for name in losses.LOSSES
  }
  walks = walk(COLLAPSE, (JS, 'relativistic_average', RS))
  walked = {name: rises(name, sizes.walked) for name in (RS, JS)}
  out = settings.out
  return result.Result(
    title='Landscape of the empirical loss',
    claim=(
      'Sun, Fang & Schwing (2020): with the best of all critics, separable '
      'losses (JS) have n^n - n! bad strict local minima, where generated '
      'points share a real one; the relativistic paired loss (RS) has none, '
      'and from everywhere a path that never rises leads to its global '
      'minimum. What we add: the other losses, relativistic averages among '
      'them.'
    ),
    protocol=_protocol(sizes),
    seen=landscape_words.seen(table, surfaces, walked),
    verdict=landscape_words.verdict(table, walked),
    rows=(
      *landscape_table.two_points(),
      *landscape_table.formulas(sizes.solved),
      *landscape_table.counts(table),
      *landscape_table.single_moves(PAIRS),
      *landscape_table.paths(walked),
      *landscape_table.surface_rows(surfaces, WIDTH),
    ),
    numbers=landscape_words.numbers(table, surfaces, walks, walked),
    figures=(
      landscape_figures.draw_surfaces(out, surfaces),
      landscape_figures.draw_maps(out, surfaces),
      landscape_figures.draw_table(out, table),
      landscape_figures.draw_walks(out, walks),
    ),
  )


def _protocol(sizes: Sizes) -> str:
  walked = ', '.join(map(str, sizes.walked))
  solved = ', '.join(map(str, sizes.solved))
  return (
    'The inner maximum over all functions, phi(y) = max_f -mean loss_D, with '
    "the discriminators' losses of gan_jax.losses, summed and not halved (1/n; "
    'half of a JS value is that with 1/(2n)); each value has a critic and a '
    'dual bound less than 1e-8 apart. phi depends on which points coincide: '
    'all 10, 77 and 799 patterns of 2, 3 and 4 pairs are classified by all '
    'configurations nearby (single points leaving, and any set of them), and '
    'by the paths that never rise, in two dimensions or more. Closed forms '
    f'against the convex solve for n = {solved}, and that of the cycles at '
    'random patterns of 6 to 8 pairs; the path from every pattern '
    f'of n = {walked}. Smoothed surfaces: every point a Gaussian of standard '
    f'deviation {WIDTH} on a grid of {sizes.grid} points from -0.9 to 1.9, '
    'the two of a pair independent, penalty 1e-8 on the square norm of the '
    'critic; reals at 0 and 1. The assumptions of the theorem on separable '
    'losses (h concave, sup h = 0 > h(0)) are quoted at second hand; the '
    "paper's own list was not checked."
  )
