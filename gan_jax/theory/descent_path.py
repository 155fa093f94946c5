"""From any configuration to the global minimum, without ever a rise.

For a paired relativistic loss phi counts the points on directed cycles of the
graph x_i -> y_i. So first every generated point that sits on a real one but is
on no cycle steps aside: trees lose arrows, nothing changes. Then these points
go, one by one and straight, each to the real point it is paired with. On its
way y_i may meet others, but every path from there ends off the data, in a
finished pair or in an old cycle and never at x_i, so no cycle comes and none is
broken. On arrival a cycle of one point closes, and phi falls by -h(0)/n.

Reference:
  Sun, Fang & Schwing, Towards a Better Global Loss Landscape of GANs, 2020,
  section 5: the landscape is global-min-reachable.
"""

from typing import NamedTuple

import numpy as np

from gan_jax.theory import configurations, landscape

# Of the length of a segment: a point so close to it is met.
_ON_SEGMENT = 1e-12


class Path(NamedTuple):
  """A path of straight segments; in each, one point moves.

  Attributes:
    configurations: generated points at the corners, and wherever the moving
      one meets another point, `[S, n, D]`.
    values: phi there, `[S]`.
  """

  configurations: np.ndarray
  values: np.ndarray


def path(
  real: np.ndarray, fake: np.ndarray, *, name: str = 'relativistic'
) -> Path:
  """The path of the proof.

  Args:
    real: distinct points, `[n, D]` or `[n]`.
    fake: where the generated points start, of the same shape.
    name: the loss whose phi is computed along it; the path is the same.

  Returns:
    A Path that ends at a global minimum. Between two of its configurations
    the pattern does not change.

  Raises:
    ValueError: as `landscape.inner`; or points are closer than a fraction of
      rounding at their coordinates, so that none can step aside.
  """
  points, pattern = configurations.merge(real, fake)
  real, fake = points[: len(pattern)], points[list(pattern)]
  done = {i for cycle in configurations.cycles(pattern) for i in cycle}
  waiting = [i for i in range(len(pattern)) if i not in done]
  moves = [
    (i, _aside(points, fake[i])) for i in waiting if pattern[i] < len(pattern)
  ]
  moves += [(i, real[i]) for i in waiting]
  corners = [fake]
  for i, target in moves:
    corners += _move(real, corners[-1], i, target)
  values = [landscape.inner(name, real, corner).value for corner in corners]
  return Path(np.stack(corners), np.array(values))


def _aside(points: np.ndarray, point: np.ndarray) -> np.ndarray:
  """So near to the point that no other one can be met, `[D]`."""
  apart = np.linalg.norm(points[:, None] - points[None, :], axis=-1)
  step = np.zeros(points.shape[1])
  step[0] = np.min(apart[apart > 0], initial=1.0) / 4
  if np.array_equal(point + step, point):
    raise ValueError(
      f'points are {4 * step[0]:.1e} apart: a step of a quarter of it aside '
      f'vanishes by rounding at {point.tolist()}; centre or scale the points.'
    )
  return point + step


def _move(real, fake, i, target) -> list[np.ndarray]:
  """Point i goes straight to the target, by way of the points it meets."""
  way = target - fake[i]
  length = np.linalg.norm(way)
  met = []
  for point in np.concatenate([real, np.delete(fake, i, 0)]):
    along = (point - fake[i]) @ way / length**2
    aside = np.linalg.norm(point - fake[i] - along * way)
    if 0 < along < 1 and aside <= _ON_SEGMENT * length:
      met.append((along, tuple(point)))
  stops = [*(point for _, point in sorted(met)), target]
  corners = []
  for stop in stops:
    moved = fake.copy()
    moved[i] = stop
    if not corners or not np.array_equal(moved, corners[-1]):
      corners.append(moved)
  return corners


def profile(
  name: str, real: np.ndarray, corners: np.ndarray, *, between: int = 3
) -> tuple[np.ndarray, np.ndarray]:
  """The exact phi along a path, at its corners and between them.

  Args:
    name: of a loss.
    real: distinct points, `[n, D]` or `[n]`.
    corners: configurations, `[S, n, D]`.
    between: configurations inside each segment, 1 at least.

  Returns:
    Time, 0 to S - 1, and phi, `[S + (S - 1) between]` each.

  Raises:
    ValueError: `between` is below 1, or as `landscape.inner`.
  """
  if between < 1:
    raise ValueError(f'between={between} is not 1 or more.')
  parts = np.arange(between + 1) / (between + 1)
  times, values = [], []
  for k, (start, end) in enumerate(
    zip(corners, [*corners[1:], corners[-1]], strict=True)
  ):
    for part in parts if k + 1 < len(corners) else [0.0]:
      # At a part of 0 the corner is met exactly, as coincidence asks for.
      where = start + part * (end - start)
      times.append(k + part)
      values.append(landscape.inner(name, real, where).value)
  return np.array(times), np.array(values)


def largest_rise(values: np.ndarray) -> float:
  """How far a sequence climbs above the lowest before.

  0 if it never does; nan if nan is in it.
  """
  before = np.minimum.accumulate(values)
  # After nan `before` is nan, and so is what comes back.
  finite = ~np.isposinf(before)
  rises = values[finite] - before[finite]
  return float(np.max(rises, initial=0.0))
