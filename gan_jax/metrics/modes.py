"""Which modes of a mixture samples reach, and how far two point sets differ."""

import math
from typing import NamedTuple

import numpy as np


class Coverage(NamedTuple):
  """How samples fall on the modes of a mixture.

  Attributes:
    covered: number of modes with enough samples near their centre.
    total: number of modes.
    high_quality: fraction of samples near any centre.
    histogram: samples by nearest centre, however far, int `[M]`.
    near: samples by nearest centre, those near it only, int `[M]`.
    kl: KL divergence of the histogram from the uniform one, in nats.
  """

  covered: int
  total: int
  high_quality: float
  histogram: np.ndarray
  near: np.ndarray
  kl: float


def coverage(
  points: np.ndarray,
  centres: np.ndarray,
  std: float,
  *,
  radius: float = 3.0,
  minimum: float = 0.01,
) -> Coverage:
  """Counts the modes of an isotropic, evenly weighted mixture that are reached.

  A sample is near a mode when it lies within `radius * std` of its centre; a
  mode is covered when at least `minimum` of all samples (and one) are near it.
  In 2-D, 1 - exp(-9/2) = 98.9 % of the mixture itself is near at radius 3.

  Args:
    points: samples, `[N, D]`.
    centres: `[M, D]`.
    std: standard deviation of every mode, positive.
    radius: in standard deviations.
    minimum: a fraction of all samples.

  Raises:
    ValueError: if shapes do not match, std is not positive, or points are NaN.

  References:
    Srivastava et al., VEEGAN, 2017, section 4.1 (three standard deviations);
    Lin et al., PacGAN, 2018, section 4.1 (KL over nearest modes).
  """
  points, centres = _matched(points, centres, 'points', 'centres')
  if std <= 0:
    raise ValueError(f'std={std} is not positive; the mixture has no width.')
  distances = np.linalg.norm(points[:, None] - centres[None], axis=-1)
  nearest = np.argmin(distances, axis=1)
  is_near = np.min(distances, axis=1) <= radius * std
  near = np.bincount(nearest[is_near], minlength=len(centres))
  histogram = np.bincount(nearest, minlength=len(centres))
  return Coverage(
    covered=covered(near, len(points), minimum),
    total=len(centres),
    high_quality=float(np.mean(is_near)),
    histogram=histogram,
    near=near,
    kl=kl_to_uniform(histogram),
  )


def covered(counts: np.ndarray, total: int, minimum: float) -> int:
  """How many of the counts are at least `minimum` of the total, and one."""
  # The slack is for minimum * total that should be whole but rounds upwards.
  threshold = max(1.0, minimum * total - 1e-9)
  return int(np.count_nonzero(np.asarray(counts) >= threshold))


def kl_to_uniform(counts: np.ndarray) -> float:
  """KL(counts / sum || uniform) in nats: 0 if even, log(M) if all in one."""
  return kl(counts, np.ones(np.shape(counts)))


def kl(p_counts: np.ndarray, q_counts: np.ndarray) -> float:
  """KL(p || q) of two histograms, each divided by its sum, in nats.

  Args:
    p_counts: never negative, `[M]`.
    q_counts: likewise, `[M]`.

  Returns:
    0 or more; infinity if q is empty where p is not.

  Raises:
    ValueError: the shapes differ, or a histogram is empty or negative.
  """
  p, q = np.asarray(p_counts, np.float64), np.asarray(q_counts, np.float64)
  if p.ndim != 1 or p.shape != q.shape:
    raise ValueError(
      f'Two histograms must both be [M], got shapes {p.shape} and {q.shape}.'
    )
  if not (p.sum() > 0 and q.sum() > 0):
    raise ValueError('An empty histogram has no divergence.')
  if p.min() < 0 or q.min() < 0:
    raise ValueError('A histogram has no negative counts.')
  held = p > 0
  if np.any(q[held] == 0):
    return math.inf
  p, q = p[held] / p.sum(), q[held] / q.sum()
  return max(0.0, float(np.sum(p * np.log(p / q))))


def wasserstein_1d(a: np.ndarray, b: np.ndarray) -> float:
  """W1 of two equally large sets of numbers, `[N]`: sorted, then paired.

  Raises:
    ValueError: if the two are not of one size, or not finite.
  """
  a, b = _matched(np.reshape(a, (-1, 1)), np.reshape(b, (-1, 1)), 'a', 'b')
  _same_count(a, b)
  return float(np.mean(np.abs(np.sort(a[:, 0]) - np.sort(b[:, 0]))))


def sliced_wasserstein(
  a: np.ndarray, b: np.ndarray, *, directions: int = 128, seed: int = 0
) -> float:
  """W1 of the projections on random directions, averaged over directions.

  In 1-D this is W1 itself. A shift by v in the plane gives |v| * 2 / pi.

  Args:
    a: points, `[N, D]`.
    b: points, `[N, D]`: the same number.
    directions: how many, drawn evenly from the sphere.
    seed: of the directions.

  Raises:
    ValueError: if shapes do not match or points are not finite.

  References:
    Bonneel et al., Sliced and Radon Wasserstein barycenters of measures, 2015.
  """
  a, b = _matched(a, b, 'a', 'b')
  _same_count(a, b)
  if directions < 1:
    raise ValueError(f'directions={directions} must be at least 1.')
  rng = np.random.default_rng(seed)
  axes = rng.standard_normal((a.shape[1], directions))
  axes /= np.linalg.norm(axes, axis=0)
  gaps = np.sort(a @ axes, axis=0) - np.sort(b @ axes, axis=0)
  return float(np.mean(np.abs(gaps)))


def _matched(a, b, name_a, name_b):
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
    raise ValueError(
      f'{name_a} and {name_b} must be [N, D] and [M, D], got shapes '
      f'{a.shape} and {b.shape}.'
    )
  for name, points in ((name_a, a), (name_b, b)):
    if not len(points) or not np.isfinite(points).all():
      raise ValueError(f'{name} must be finite and not empty.')
  return a, b


def _same_count(a, b):
  if len(a) != len(b):
    raise ValueError(
      f'W1 here pairs sorted values, so both sets must be equally large, got '
      f'{len(a)} and {len(b)}.'
    )
