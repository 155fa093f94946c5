"""Improved precision and recall, density and coverage: who lies near whom.

Each set is described by balls around its members, out to their k-th nearest
neighbour. Squared distances come from products of the centred vectors, in
float64 and in blocks; those that this leaves too near a radius to tell are
taken again from the differences. So radii and all decisions are those of
sum((x - y)^2) in float64, for equal and nearly equal vectors too.
"""

import functools
from typing import NamedTuple

import numpy as np

from gan_jax.metrics import arrays

# Entries of a block of the matrix of distances: 64 MiB.
_BLOCK = 2**23
# Entries of the differences taken at once: what a cache holds.
_PAIRS = 2**17


class PrecisionRecall(NamedTuple):
  """Shares between 0 and 1.

  Attributes:
    precision: of the fakes that lie in a ball of the real ones.
    recall: of the real ones that lie in a ball of the fakes.
  """

  precision: float
  recall: float


class DensityCoverage(NamedTuple):
  """How full the balls of the real ones are.

  Attributes:
    density: real balls that a fake lies in, over k, on average: about 1 for two
      samples of one distribution, and not bounded by 1.
    coverage: share of the real balls that hold a fake.
  """

  density: float
  coverage: float


class _Points(NamedTuple):
  """Different vectors, as often as they occur.

  A collapsed generator makes equal ones by the thousand; they are looked at
  once.
  """

  x: np.ndarray  # [U, F], as given
  centred: np.ndarray  # [U, F], float64
  square: np.ndarray  # |centred|^2, [U]
  times: np.ndarray  # [U]


def precision_recall(
  fake: np.ndarray, real: np.ndarray, *, k: int = 3
) -> PrecisionRecall:
  """Improved precision and recall.

  The balls are closed, as in the paper's eq. 1: a set lies in its own balls
  even where it repeats itself. The numbers depend on both counts: compare only
  at equal ones.

  Args:
    fake: features, `[N, F]`.
    real: features, `[M, F]`.
    k: which neighbour bounds a ball, the point itself not counted.

  Raises:
    ValueError: if the features are no two sets of one size, not finite, or no
      more than k.

  References:
    Kynkaanniemi et al., Improved precision and recall metric for assessing
    generative models, 2019, eqs. 1 and 2.
  """
  fake, real = _prepared(fake, real, k)
  real_radius, fake_radius = _radii(real, k), _radii(fake, k)
  precise = np.zeros(len(fake.x), bool)
  recalled = np.zeros(len(real.x), bool)
  for rows, within in _tests(real, fake):
    precise |= within(real_radius[rows, None], closed=True).any(axis=0)
    recalled[rows] = within(fake_radius[None], closed=True).any(axis=1)
  return PrecisionRecall(_mean(precise, fake), _mean(recalled, real))


def density_coverage(
  fake: np.ndarray, real: np.ndarray, *, k: int = 5
) -> DensityCoverage:
  """Density and coverage.

  The balls are open, as in the authors' program, so that the density of a set
  in its own balls is 1.

  Args:
    fake: features, `[N, F]`.
    real: features, `[M, F]`.
    k: which neighbour bounds a ball, the point itself not counted.

  Raises:
    ValueError: if the features are no two sets of one size, not finite, or no
      more than k.

  References:
    Naeem et al., Reliable fidelity and diversity metrics for generative models,
    2020, eqs. 3 and 4.
  """
  fake, real = _prepared(fake, real, k)
  radius = _radii(real, k)
  balls = np.zeros(len(fake.x))
  covered = np.zeros(len(real.x), bool)
  for rows, within in _tests(real, fake):
    inside = within(radius[rows, None], closed=False)
    balls += real.times[rows] @ inside
    covered[rows] = inside.any(axis=1)
  return DensityCoverage(_mean(balls, fake) / k, _mean(covered, real))


def _prepared(fake, real, k):
  if k < 1:
    raise ValueError(f'k={k} must be at least 1.')
  fake, real = arrays.pair(fake, real, ('fake', 'real'))
  if min(len(fake), len(real)) <= k:
    raise ValueError(
      f'k={k} neighbours besides the point itself need more than {k} vectors, '
      f'got {len(fake)} fake and {len(real)} real ones.'
    )
  # Products of vectors far from zero would lose the digits of their distance.
  centre = real.mean(axis=0, dtype=np.float64)
  return _points(fake, centre), _points(real, centre)


def _points(x, centre):
  seen = {}
  which = [seen.setdefault(row.tobytes(), i) for i, row in enumerate(x)]
  first, times = np.unique(which, return_counts=True)
  x = x if len(first) == len(x) else x[first]
  centred = x - centre
  return _Points(x, centred, np.einsum('nf,nf->n', centred, centred), times)


def _mean(values, points):
  return float(values @ points.times / points.times.sum())


def _distances(a, b):
  """Blocks of rows of the squared distances from `a` to `b`.

  Yields:
    The rows (a slice), |a_i - b_j|^2 `[n, M]`, and a bound of their error.
  """
  height = max(_BLOCK // len(b.x), 1)
  # Sums of F products in any order are off by F eps / 2 of their size. It is
  # three such sums here, and as much again in what they are compared with.
  unit = 4 * (a.x.shape[1] + 4) * np.finfo(np.float64).eps
  for start in range(0, len(a.x), height):
    rows = slice(start, start + height)
    square = a.centred[rows] @ b.centred.T
    square *= -2
    square += a.square[rows, None]
    square += b.square
    slack = unit * (a.square[rows, None] + b.square.max())
    yield rows, square, slack


def _tests(a, b):
  """Blocks of rows of `a`, each with the function (radius, closed=) of them."""
  for rows, square, slack in _distances(a, b):
    yield rows, functools.partial(_within, a, b, rows, square, slack)


def _exact(x, y, i, j):
  """|x_i - y_j|^2 of pairs, `[P]`, from differences."""
  step = max(_PAIRS // x.shape[1], 1)
  parts = [np.zeros(0)]
  for start in range(0, len(i), step):
    at = slice(start, start + step)
    gap = x[i[at]].astype(np.float64) - y[j[at]]
    gap *= gap
    parts.append(np.sum(gap, axis=1))
  return np.concatenate(parts)


def _within(a, b, rows, square, slack, radius, *, closed):
  """Which squared distances are below squared radii, bool `[n, M]`."""
  inside = square < radius
  i, j = np.nonzero(np.abs(square - radius) <= slack)
  exact = _exact(a.x[rows], b.x, i, j)
  bound = np.broadcast_to(radius, square.shape)[i, j]
  inside[i, j] = exact <= bound if closed else exact < bound
  return inside


def _radii(points, k):
  """Squared distance of each to its k-th nearest neighbour, `[U]`."""
  radii = np.zeros(len(points.x))
  # Of k + 1 different ones, itself among them, one is at least as far.
  reach = min(k, len(points.x) - 1)
  for rows, square, slack in _distances(points, points):
    bound = np.partition(square, reach, axis=1)[:, reach, None] + 2 * slack
    i, j = np.nonzero(square <= bound)
    exact = _exact(points.x[rows], points.x, i, j)
    order = np.lexsort((exact, i))
    i, j, exact = i[order], j[order], exact[order]
    radii[rows] = _weighted(i, points.times[j], exact, k, len(square))
  return radii


def _weighted(i, times, exact, k, count):
  """The first value of each row i that more than k points lie within."""
  total = np.cumsum(times)
  first = np.searchsorted(i, np.arange(count))
  before = total[first] - times[first]
  enough = total - before[i] > k
  place = np.where(enough, np.arange(len(i)), len(i))
  return exact[np.minimum.reduceat(place, first)]
