"""The Frechet distance between two Gaussians, and the moments it needs.

All arithmetic is in float64: at 512 features float32 is off by several percent.
"""

from typing import NamedTuple

import numpy as np
import threadpoolctl
from scipy.linalg import lapack

from gan_jax.metrics import arrays

# Feature vectors taken in float64 at once.
_BLOCK = 2048
# How far a covariance may be from symmetric and semidefinite, as a share of its
# trace: what one that was stored in float32 needs.
_TOLERANCE = 1e-4


class Moments(NamedTuple):
  """What a stream of feature vectors leaves behind.

  Attributes:
    count: how many vectors were seen.
    mean: their mean, `[F]`.
    scatter: sum of the outer products of the deviations from the mean,
      `[F, F]`.
  """

  count: int
  mean: np.ndarray
  scatter: np.ndarray

  @property
  def covariance(self) -> np.ndarray:
    """The unbiased covariance, `[F, F]`; ValueError below two vectors."""
    if self.count < 2:
      raise ValueError(
        f'A covariance needs at least 2 samples, got {self.count}.'
      )
    return self.scatter / (self.count - 1)


def moments(features: np.ndarray) -> Moments:
  """Moments of features `[N, F]`, in blocks, with no float64 copy of all.

  Raises:
    ValueError: if the features are not `[N, F]` with N >= 1, or not finite.
  """
  return update(None, features)


def merge(a: Moments, b: Moments) -> Moments:
  """Moments of two streams taken as one.

  Deviations are taken from each part's own mean, so features that sit far from
  zero lose no digits (the difference of raw second moments loses them all).

  Raises:
    ValueError: if the two have different feature sizes.

  References:
    Chan, Golub & LeVeque, Updating formulae and a pairwise algorithm for
    computing sample variances, 1979, eq. 2.1.
  """
  _same_size(a.mean.size, b.mean.size)
  count = a.count + b.count
  step = b.mean - a.mean
  mean = a.mean + step * (b.count / count)
  between = np.outer(step, step) * (a.count * b.count / count)
  return Moments(count, mean, a.scatter + b.scatter + between)


def update(seen: Moments | None, features: np.ndarray) -> Moments:
  """Adds a batch `[N, F]` to the moments seen so far (None at the start).

  One product, of N + 1 rows, a batch: with thousands of features it pays to
  pass some hundred vectors at once.

  Raises:
    ValueError: as `moments` and `merge`.
  """
  features = arrays.features(features, 'features')
  if seen is not None:
    _same_size(seen.mean.size, features.shape[1])
  for start in range(0, len(features), _BLOCK):
    block = features[start : start + _BLOCK].astype(np.float64)
    seen = _add(seen, block)
  return seen


def _add(seen, block):
  """As `merge`, with the step between the means as one more deviation."""
  mean = block.mean(axis=0)
  rows = block - mean
  if seen is None:
    return Moments(len(block), mean, rows.T @ rows)
  count = seen.count + len(block)
  step = mean - seen.mean
  weight = np.sqrt(seen.count * len(block) / count)
  rows = np.concatenate([rows, weight * step[None]])
  scatter = rows.T @ rows
  scatter += seen.scatter
  return Moments(count, seen.mean + step * (len(block) / count), scatter)


def bias_note(count: int, size: int) -> str | None:
  """What a distance of too few samples would mean; None of enough.

  Args:
    count: samples on the smaller side.
    size: number of features.

  Returns:
    A sentence for `count` <= `size`, where a covariance is singular.
  """
  if count > size:
    return None
  return (
    f'{count} samples give a covariance of rank {max(count - 1, 0)} at most in '
    f'{size} features, so the distance is biased upwards, by more the fewer '
    'samples there are, and compares only with distances at equal counts.'
  )


def frechet_distance(
  mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray
) -> float:
  """|mean_a - mean_b|^2 + trace(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)).

  With cov_a = P P^T and cov_b = Q Q^T the trace of the root is the sum of the
  singular values of P^T Q. Triangular factors with pivoting stop at the rank,
  so no root is taken of a rounding error: singular covariances (fewer samples
  than features) cost no digits, where a root of the product loses half of them.

  Args:
    mean_a: `[F]`.
    cov_a: `[F, F]`, symmetric.
    mean_b: `[F]`.
    cov_b: `[F, F]`, symmetric.

  Returns:
    The squared 2-Wasserstein distance of the two Gaussians, never negative.

  Raises:
    ValueError: if the sizes do not match, a number is not finite, or a matrix
      is no covariance: not symmetric, or not semidefinite.

  References:
    Dowson & Landau, The Frechet distance between multivariate normal
    distributions, 1982, eq. 4; Heusel et al., 2017, eq. 6.
  """
  mean_a, cov_a = _checked('a', mean_a, cov_a)
  mean_b, cov_b = _checked('b', mean_b, cov_b)
  if mean_a.shape != mean_b.shape:
    raise ValueError(
      f'{mean_a.size} features cannot be compared with {mean_b.size}.'
    )
  overlap = _overlap(_factor('a', cov_a), _factor('b', cov_b))
  step = mean_a - mean_b
  distance = step @ step + np.trace(cov_a) + np.trace(cov_b) - 2 * overlap
  return max(float(distance), 0.0)  # rounding takes equal ones below 0


def distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
  """Frechet distance of two sets of features, `[N, F]` and `[M, F]`."""
  a, b = moments(features_a), moments(features_b)
  return frechet_distance(a.mean, a.covariance, b.mean, b.covariance)


def _checked(name, mean, covariance):
  mean = np.asarray(mean, np.float64)
  covariance = np.asarray(covariance, np.float64)
  if mean.ndim != 1 or covariance.shape != (mean.size, mean.size):
    raise ValueError(
      f'mean_{name} and cov_{name} must be [F] and [F, F], got shapes '
      f'{mean.shape} and {covariance.shape}.'
    )
  if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
    raise ValueError(f'mean_{name} or cov_{name} holds NaN or infinity.')
  return mean, covariance


def _same_size(a, b):
  if a != b:
    raise ValueError(f'Moments of {a} and of {b} features do not merge.')


def _factor(name, matrix):
  """P `[F, rank]` with P P^T = matrix: Cholesky with complete pivoting."""
  scale = np.abs(np.diagonal(matrix)).sum()
  if np.abs(matrix - matrix.T).max() > _TOLERANCE * scale:
    raise ValueError(f'cov_{name} is not symmetric.')
  packed, order, rank, _ = lapack.dpstrf((matrix + matrix.T) / 2, lower=1)
  factor = np.empty((len(matrix), rank))
  factor[order - 1] = np.tril(packed)[:, :rank]
  # What was left out is negative, or rounding.
  if np.abs(np.sum(factor**2) - np.trace(matrix)) > _TOLERANCE * scale:
    raise ValueError(
      f'cov_{name} is no covariance: it is not positive semidefinite.'
    )
  return factor


def _overlap(a, b):
  """trace((a a^T b b^T)^(1/2)) of the factors of two covariances."""
  product = a.T @ b
  # Two threads meet after every column here. Where they share their cores with
  # anything else that takes ten times as long; alone it saves a quarter.
  with threadpoolctl.threadpool_limits(1):
    return np.sum(np.linalg.svd(product, compute_uv=False))
