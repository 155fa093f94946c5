"""Points in the plane (or on the line) with a known distribution.

Every set is a fixed, seeded sample, float32 `[N, 2]`; 'test' is a second sample
of the same distribution. Mixtures interleave their modes: point k belongs to
mode k mod M, so all modes weigh the same.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gan_jax.data import dataset as dataset_lib

SPLITS = ('train', 'test')
NUM_POINTS = 40_000


class ToySet(NamedTuple):
  """How a set of points is drawn, and what is known of it."""

  sample: Callable[[np.random.Generator], np.ndarray]  # generator -> [N, F]
  summary: str
  centres: np.ndarray | None = None  # [M, 2]
  std: float = 0.0
  splits: tuple[str, ...] = SPLITS


def ring(num_modes: int, radius: float = 1.0) -> np.ndarray:
  """Centres at angles 2 pi k / num_modes, `[num_modes, 2]`."""
  angle = 2 * np.pi * np.arange(num_modes) / num_modes
  return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def grid(side: int, spacing: float = 1.0) -> np.ndarray:
  """Centres of a square grid around the origin, `[side * side, 2]`."""
  ticks = spacing * (np.arange(side) - (side - 1) / 2)
  return np.stack(np.meshgrid(ticks, ticks, indexing='ij'), -1).reshape(-1, 2)


def mixture(
  centres: np.ndarray,
  std: float,
  summary: str,
  *,
  per_centre: int,
  repeated: int | None = None,
) -> ToySet:
  """Isotropic Gaussians; `repeated` is a centre that counts twice."""
  drawn = centres
  if repeated is not None:
    drawn = np.concatenate([centres, centres[repeated : repeated + 1]])

  def sample(rng):
    points = np.tile(drawn, (per_centre, 1))
    return points + std * rng.standard_normal(points.shape)

  return ToySet(sample, summary, centres, std)


def _line(rng):
  x = rng.uniform(-1, 1, NUM_POINTS)
  return np.stack([x, np.zeros_like(x)], axis=1)


def _circle(rng):
  angle = rng.uniform(0, 2 * np.pi, NUM_POINTS)
  return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _four_lines(rng):
  x = rng.uniform(-1, 1, NUM_POINTS)
  height = np.arange(NUM_POINTS) % 4
  return np.stack([x, -1 + 2 * height / 3], axis=1)


def _two_clusters(rng):
  del rng  # The published script draws from numpy's old generator, seed 0.
  points = np.random.RandomState(0).uniform(0, 0.3, 100)
  points[1::2] += 4
  return points[:, None]


# Mescheder et al. (2018) name gaussian, line, circle and four_lines without
# coordinates: those here are ours.
_WGAN = 1.414  # The divisor in WGAN-GP's gan_toy, rounded as it is there.
_RSGAN_STD = 0.002**0.5
SETS = {
  'gaussian': mixture(
    np.zeros((1, 2)),
    1.0,
    'standard normal distribution',
    per_centre=NUM_POINTS,
  ),
  'line': ToySet(_line, 'uniform on the segment from (-1, 0) to (1, 0)'),
  'circle': ToySet(_circle, 'uniform on the unit circle'),
  'four_lines': ToySet(
    _four_lines, 'uniform on 4 segments, x in [-1, 1], y = -1, -1/3, 1/3, 1'
  ),
  'two_gaussians': mixture(
    np.array([[-1.0, 0.0], [1.0, 0.0]]),
    _RSGAN_STD,
    '2 Gaussians at (-1, 0) and (1, 0), variance .002 (Sun et al., 2020)',
    per_centre=2000,
  ),
  'five_gaussians': mixture(
    ring(5),
    _RSGAN_STD,
    '5 Gaussians on the unit circle, variance .002, 2,000 points each'
    ' (Sun et al., 2020)',
    per_centre=2000,
  ),
  'ring8': mixture(
    ring(8),
    0.01,
    '8 Gaussians on the unit circle, std .01 (Mescheder et al., 2017)',
    per_centre=NUM_POINTS // 8,
  ),
  'ring8_unrolled': mixture(
    ring(7),
    0.01,
    "the Unrolled GAN notebook's ring: its first and last of 8 modes coincide,"
    ' so 7 modes, the first twice as heavy (Metz et al., 2017)',
    per_centre=NUM_POINTS // 8,
    repeated=0,
  ),
  'ring8_wgan': mixture(
    ring(8, 2 / _WGAN),
    0.02 / _WGAN,
    '8 Gaussians, radius 1.414, std .014 (Gulrajani et al., 2017)',
    per_centre=NUM_POINTS // 8,
  ),
  'grid25': mixture(
    grid(5),
    _RSGAN_STD,
    '25 Gaussians on the integers -2..2, variance .002 (Sun et al., 2020)',
    per_centre=2000,
  ),
  'grid25_wgan': mixture(
    grid(5, 2 / (2 * _WGAN)),
    0.05 / (2 * _WGAN),
    '25 Gaussians, spacing .707, std .018 (Gulrajani et al., 2017)',
    per_centre=2000,
  ),
  'two_clusters': ToySet(
    _two_clusters,
    '100 points on the line, [0, .3] and [4, 4.3] in turn (Sun et al., 2020)',
    splits=('train',),
  ),
}


def load(name: str, split: str = 'train') -> dataset_lib.Dataset:
  """The named sample, float32 `[N, 2]` (`two_clusters`: `[100, 1]`).

  Raises:
    ValueError: for a split that the set does not have.
  """
  row = SETS[name]
  if split not in row.splits:
    raise ValueError(
      f'split={split!r} of {name!r} is not one of {list(row.splits)}.'
    )
  rng = np.random.Generator(np.random.Philox(key=SPLITS.index(split)))
  points = row.sample(rng).astype(np.float32)
  return dataset_lib.Dataset(
    name, points, centres=row.centres, std=float(row.std)
  )
