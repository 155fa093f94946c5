"""The Frechet distance between two Gaussians, and the moments it needs.

All arithmetic is in float64: at 512 features float32 is off by several percent.
"""

from typing import NamedTuple

import numpy as np


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
  """Moments of one batch of features, `[N, F]`.

  Raises:
    ValueError: if the features are not `[N, F]` with N >= 1, or not finite.
  """
  features = np.asarray(features, np.float64)
  if features.ndim != 2 or len(features) < 1:
    raise ValueError(
      f'Features must be [N, F] with N >= 1, got shape {features.shape}.'
    )
  bad = np.count_nonzero(~np.isfinite(features).all(axis=1))
  if bad:
    raise ValueError(
      f'{bad} of {len(features)} feature vectors hold NaN or infinity.'
    )
  mean = features.mean(axis=0)
  deviations = features - mean
  return Moments(len(features), mean, deviations.T @ deviations)


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
  if a.mean.shape != b.mean.shape:
    raise ValueError(
      f'Moments of {a.mean.size} and of {b.mean.size} features do not merge.'
    )
  count = a.count + b.count
  step = b.mean - a.mean
  mean = a.mean + step * (b.count / count)
  between = np.outer(step, step) * (a.count * b.count / count)
  return Moments(count, mean, a.scatter + b.scatter + between)


def update(seen: Moments | None, features: np.ndarray) -> Moments:
  """Adds a batch `[N, F]` to the moments seen so far (None at the start)."""
  batch = moments(features)
  return batch if seen is None else merge(seen, batch)


def frechet_distance(
  mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray
) -> float:
  """|mean_a - mean_b|^2 + trace(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)).

  The product has the eigenvalues of the symmetric, positive semidefinite
  cov_a^(1/2) cov_b cov_a^(1/2), so no root of a general matrix is needed and
  singular covariances (fewer samples than features) do no harm.

  Args:
    mean_a: `[F]`.
    cov_a: `[F, F]`, symmetric.
    mean_b: `[F]`.
    cov_b: `[F, F]`, symmetric.

  Returns:
    The squared 2-Wasserstein distance of the two Gaussians, never negative.

  Raises:
    ValueError: if the sizes do not match or a number is not finite.

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
  root = _symmetric_root(cov_a)
  product = root @ cov_b @ root
  eigenvalues = np.linalg.eigvalsh((product + product.T) / 2)
  # Rounding leaves zeros slightly negative.
  overlap = np.sum(np.sqrt(np.maximum(eigenvalues, 0)))
  step = mean_a - mean_b
  distance = step @ step + np.trace(cov_a) + np.trace(cov_b) - 2 * overlap
  return max(float(distance), 0.0)


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


def _symmetric_root(matrix):
  values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
  return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
