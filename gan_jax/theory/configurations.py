"""Which generated points sit on which real ones: all that best critics see.

A critic that may be any function sees no distances. What counts of n real
points x and n generated ones y is which of them coincide: a *pattern*, a tuple
whose entry i says where y_i is. Below n it is the number of a real point; from
n on it numbers the places off the data, in the order in which they are met. So
(0, 0) is a collapse of two points, (0, 2) one match and one point off the data,
(2, 2) two generated points at one place off the data.
"""

import functools
import itertools
from typing import NamedTuple

import numpy as np

Pattern = tuple[int, ...]


class Merged(NamedTuple):
  """Point sets with equal points made one.

  Attributes:
    points: the distinct ones, the real first, in their order, `[P, D]`.
    pattern: the row of `points` at which each generated point is.
  """

  points: np.ndarray
  pattern: Pattern


def merge(real: np.ndarray, fake: np.ndarray) -> Merged:
  """Finds the coinciding points; two coincide if they are exactly equal.

  Args:
    real: distinct points, `[n, D]` or `[n]`.
    fake: as many of the same dimension; they may coincide.

  Raises:
    ValueError: other shapes, numbers that are not finite, or equal real points.
  """
  real, fake = _checked(real, 'real'), _checked(fake, 'fake')
  if real.shape != fake.shape:
    raise ValueError(
      f'real has shape {real.shape} and fake {fake.shape}; the empirical loss '
      'needs as many generated points as real ones, of the same dimension.'
    )
  points, places = list(real), []
  for i, point in enumerate(real):
    if any(np.array_equal(point, other) for other in real[:i]):
      raise ValueError(
        f'real has duplicates: point {i}, {point.tolist()}, is there twice; '
        'a point set with duplicates has other minima.'
      )
  for point in fake:
    equal = [np.array_equal(point, other) for other in points]
    if not any(equal):
      points.append(point)
      equal.append(True)
    places.append(equal.index(True))
  return Merged(np.stack(points), tuple(places))


def _checked(points: np.ndarray, name: str) -> np.ndarray:
  points = np.asarray(points, np.float64)
  if points.ndim == 1:
    points = points[:, None]
  if points.ndim != 2 or points.size == 0:
    raise ValueError(
      f'{name} has shape {points.shape}; points are [n, D] or [n], n > 0.'
    )
  if not np.all(np.isfinite(points)):
    raise ValueError(f'{name} has points that are not finite.')
  return points


def check(pattern: Pattern) -> Pattern:
  """The pattern, with places off the data numbered as they are met.

  Raises:
    ValueError: it is empty or has other than non-negative integers.
  """
  size = len(pattern)
  integer = all(isinstance(place, int | np.integer) for place in pattern)
  if not size or not integer or min(pattern) < 0:
    raise ValueError(
      f'pattern={pattern!r} is not a tuple of non-negative integers.'
    )
  names: dict[int, int] = {}
  return tuple(
    int(place) if place < size else names.setdefault(place, size + len(names))
    for place in pattern
  )


def example(pattern: Pattern) -> tuple[np.ndarray, np.ndarray]:
  """Points on a line with this pattern, `[n]` and `[n]`.

  The real ones are 0, 1, ...; places off the data are -1, -2, ...
  """
  pattern, size = check(pattern), len(pattern)
  fake = [p if p < size else size - 1 - p for p in pattern]
  return np.arange(size, dtype=np.float64), np.array(fake, np.float64)


@functools.cache
def patterns(size: int) -> tuple[Pattern, ...]:
  """All patterns of `size` pairs: 10 for two, 77 for three, 799 for four."""
  every = itertools.product(range(2 * size), repeat=size)
  return tuple(p for p in every if p == check(p))


@functools.cache
def canonical(pattern: Pattern) -> Pattern:
  """The same for all patterns that differ by a renumbering of the pairs."""
  return min(
    _renumbered(pattern, order)
    for order in itertools.permutations(range(len(pattern)))
  )


def _renumbered(pattern: Pattern, order: tuple[int, ...]) -> Pattern:
  """Pair i becomes pair order[i]."""
  size = len(pattern)
  moved = [0] * size
  for i, place in enumerate(pattern):
    moved[order[i]] = order[place] if place < size else place
  return check(tuple(moved))


def counts(pattern: Pattern) -> np.ndarray:
  """How many generated points sit on each real one, `[n]` integers."""
  on_data = [place for place in pattern if place < len(pattern)]
  return np.bincount(np.array(on_data, int), minlength=len(pattern))


def on_data(pattern: Pattern) -> bool:
  """Whether every generated point sits on a real one."""
  return max(pattern) < len(pattern)


def matches(pattern: Pattern) -> bool:
  """Whether the two sets of points are the same."""
  return sorted(pattern) == list(range(len(pattern)))


def cycles(pattern: Pattern) -> tuple[tuple[int, ...], ...]:
  """The directed cycles of the graph x_i -> y_i, equal points being one.

  Every real point has one arrow out, so a part of the graph has either one
  cycle, of real points alone, or a place off the data in which it ends.

  Returns:
    The numbers of the real points along each cycle, the smallest first.
  """
  found = []
  for first in range(len(pattern)):
    walk = [first]
    while pattern[walk[-1]] < len(pattern) and pattern[walk[-1]] not in walk:
      walk.append(pattern[walk[-1]])
    if pattern[walk[-1]] == first == min(walk):
      found.append(tuple(walk))
  return tuple(found)


def heights(pattern: Pattern) -> np.ndarray:
  """Arrows from each place to the cycle, or to the place where its path ends.

  Returns:
    `[P]` integers, for the real points and then the places off the data.
  """
  size = len(pattern)
  height = np.zeros(max(size, max(pattern) + 1), int)
  on_cycle = {i for cycle in cycles(pattern) for i in cycle}
  for i in range(size):
    place = i
    while place < size and place not in on_cycle:
      height[i] += 1
      place = pattern[place]
  return height


def refines(many: tuple[Pattern, ...]) -> np.ndarray:
  """Which patterns are met arbitrarily close to which.

  A small motion parts points that coincide, and makes none coincide. So the
  patterns around one are its refinements: some of the points on a real one
  leave it, together or apart.

  Returns:
    `[C, C]`; entry (i, j): pattern i is a refinement of j, not j itself.
  """
  masks = np.array([_coincidences(pattern) for pattern in many])
  inside = (masks[:, None] & ~masks[None, :]) == 0
  return inside & ~np.eye(len(many), dtype=bool)


def _coincidences(pattern: Pattern) -> int:
  """A bit for every pair of points, at least one generated, that is equal."""
  size = len(pattern)
  on_real = [place == real for place in pattern for real in range(size)]
  together = [a == b for a, b in itertools.combinations(pattern, 2)]
  return sum(1 << k for k, same in enumerate(on_real + together) if same)


def single_moves(many: tuple[Pattern, ...]) -> np.ndarray:
  """Which patterns differ by where one generated point is, `[C, C]`.

  The point may leave a real one, settle on one, or on a place off the data.
  """
  size = len(many[0])
  index = {pattern: i for i, pattern in enumerate(many)}
  near = np.zeros((len(many), len(many)), bool)
  for pattern, row in index.items():
    for i, place in itertools.product(range(size), range(2 * size)):
      # A place off the data beyond all others stands for a new one.
      moved = (*pattern[:i], place, *pattern[i + 1 :])
      near[row, index[check(moved)]] = True
  return near & ~np.eye(len(many), dtype=bool)
