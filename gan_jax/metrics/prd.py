"""Precision and recall for distributions: a curve between the two.

Both sets are clustered together. Each gives a histogram over the clusters, and
the curve says how much of either histogram the other can explain, the one
weighed against the other.
"""

from typing import NamedTuple

import numpy as np
import threadpoolctl
from sklearn import cluster

from gan_jax.metrics import arrays

CLUSTERS = 20
ANGLES = 1001
RUNS = 10
BETA = 8.0
# Starts of k-means, and how far the outer angles are from the axes.
_STARTS = 10
_EDGE = 1e-10


class Curve(NamedTuple):
  """Pairs of precision and recall, from slope 0 to an infinite one.

  Attributes:
    precision: rises with the slope, `[A]`.
    recall: falls with it, `[A]`; precision over the slope.
  """

  precision: np.ndarray
  recall: np.ndarray


def curve(
  fake: np.ndarray,
  real: np.ndarray,
  *,
  clusters: int = CLUSTERS,
  angles: int = ANGLES,
  runs: int = RUNS,
  seed: int = 0,
) -> Curve:
  """The curve of two sets of features, averaged over several clusterings.

  Args:
    fake: features, `[N, F]`.
    real: features, `[N, F]`: as many, for clusters would lean to the larger
      set.
    clusters: how many, by mini-batch k-means, the best of ten starts.
    angles: points of the curve.
    runs: clusterings, each with a seed of its own.
    seed: of the clusterings.

  Raises:
    ValueError: if the features are no two sets of one size, not finite, of
      different counts, or together fewer than `clusters`.

  References:
    Sajjadi et al., Assessing generative models via precision and recall, 2018,
    sections 3.3 and 4.
  """
  fake, real = arrays.pair(fake, real, ('fake', 'real'))
  if len(fake) != len(real):
    raise ValueError(
      f'PRD clusters both sets together, so they must be equally large, got '
      f'{len(fake)} fake and {len(real)} real. Take equally many, at most '
      f'{min(len(fake), len(real))}.'
    )
  if runs < 1 or not 1 <= clusters <= 2 * len(fake):
    raise ValueError(
      f'runs={runs} must be at least 1, and clusters={clusters} between 1 and '
      f'the number of vectors, {2 * len(fake)}.'
    )
  union = np.concatenate([fake, real], dtype=np.float64)
  curves = [
    from_histograms(*_histograms(union, clusters, seed + run), angles)
    for run in range(runs)
  ]
  return Curve(*np.mean(curves, axis=0))


def from_histograms(
  p: np.ndarray, q: np.ndarray, angles: int = ANGLES
) -> Curve:
  """The curve of two distributions over the same bins.

  At slope s precision is sum_i min(s q_i, p_i) and recall that over s.

  Args:
    p: of the fakes, `[B]`; scaled to sum to 1.
    q: of the real ones, `[B]`; likewise.
    angles: points, at equal angles strictly between the axes. With an odd
      number the middle one has slope 1.

  Raises:
    ValueError: if the histograms do not match, are empty, negative or not
      finite, or `angles` is below 3.

  References:
    Sajjadi et al., 2018, eqs. 7 and 8 and algorithm 1.
  """
  p, q = _distribution('p', p), _distribution('q', q)
  if p.shape != q.shape:
    raise ValueError(f'p has {p.size} bins and q {q.size}: give the same bins.')
  if angles < 3:
    raise ValueError(f'angles={angles} must be at least 3.')
  slope = np.tan(np.linspace(_EDGE, np.pi / 2 - _EDGE, angles))
  precision = np.minimum(slope[:, None] * q, p[None]).sum(axis=1)
  # Sums of shares come out at 1 + 1e-16 too.
  return Curve(np.clip(precision, 0, 1), np.clip(precision / slope, 0, 1))


def f_beta(found: Curve, beta: float = BETA) -> tuple[float, float]:
  """The curve as two numbers: the best F_beta and the best F_(1/beta).

  F_beta = (1 + beta^2) precision recall / (beta^2 precision + recall).

  Args:
    found: the curve.
    beta: above 1, so that the first weighs recall and the second precision.

  Raises:
    ValueError: if `beta` is not above 1.

  References:
    Sajjadi et al., 2018, section 4.3.
  """
  if not 1 < beta < np.inf:
    raise ValueError(f'beta={beta} must be above 1.')
  return _largest(found, beta), _largest(found, 1 / beta)


def _histograms(union, clusters, seed):
  """Counts of both halves in each cluster, `[clusters]` twice."""
  means = cluster.MiniBatchKMeans(clusters, n_init=_STARTS, random_state=seed)
  # On several threads sums come in any order, and labels with them.
  with threadpoolctl.threadpool_limits(1):
    labels = means.fit(union).labels_
  half = len(union) // 2
  count = lambda part: np.bincount(part, minlength=clusters)
  return count(labels[:half]), count(labels[half:])


def _distribution(name, values):
  values = np.asarray(values, np.float64)
  if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any():
    raise ValueError(
      f'{name} must be a histogram [B] of finite numbers from 0, got {values}.'
    )
  if not values.sum() > 0:
    raise ValueError(f'{name} is an empty histogram.')
  return values / values.sum()


def _largest(found, beta):
  square = beta**2
  below = square * found.precision + found.recall
  above = (1 + square) * found.precision * found.recall
  return float(np.max(above / np.where(below > 0, below, 1.0)))
