"""Wasserstein-1 of the 2-D examples, and the choice of learning rates."""

import concurrent.futures
import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from gan_jax import data
from launch.lab import two_d_train, wasserstein

SETS = ('gaussian', 'line', 'circle', 'four_lines')
METHODS = tuple(two_d_train.RECIPES)
FAR = 1e3  # a coordinate beyond it counts as diverged


class Plan(NamedTuple):
  """How much is run.

  Attributes:
    rates: learning rates by optimizer; as many for each.
    seeds: of starts and of batches.
    num_steps: of the generator.
    batch_size: points a turn.
    num_selecting: points of each side when the rate is chosen.
    num_points: points of each side in what is reported.
    num_floors: pairs of real sets.
  """

  rates: dict[str, tuple[float, ...]]
  seeds: int
  num_steps: int
  batch_size: int
  num_selecting: int
  num_points: int
  num_floors: int


class Scores(NamedTuple):
  """Wasserstein-1; M methods, K data sets, O optimizers, R rates, S seeds.

  Attributes:
    selecting: of all runs, on `num_selecting` points, `[M, K, O, R, S]`; inf
      where a run diverged.
    best: the rate that is reported, `[M, K, O]` integers.
    reported: on `num_points` other points, `[M, K, O, S]`; inf as above.
    floors: of real points against other real points, `[K, F]`.
    samples: behind `reported`, `[M, K, O, S, num_points, 2]`.
  """

  selecting: np.ndarray
  best: np.ndarray
  reported: np.ndarray
  floors: np.ndarray
  samples: np.ndarray


def measure(plan: Plan, samples: np.ndarray) -> Scores:
  """Chooses each rate on some points and measures it on others.

  Args:
    plan: the sizes.
    samples: `[M, K, O, R, S, num_selecting + num_points, 2]`.
  """
  few, many = plan.num_selecting, plan.num_points
  held_out = np.stack([data.load(name, split='test').examples for name in SETS])
  selecting = _against(samples[..., :few, :], held_out[:, :few])
  best = choose(selecting)
  chosen = np.take_along_axis(
    samples[..., few:, :], best[..., None, None, None, None], axis=3
  )[:, :, :, 0]
  reported = _against(chosen, held_out[:, few : few + many])
  floors = _floors(plan, held_out)
  return Scores(selecting, best, reported, floors, chosen)


def choose(selecting: np.ndarray) -> np.ndarray:
  """The rate with the fewest diverged runs; of those, the least mean.

  Args:
    selecting: scores `[..., R, S]`, inf where a run diverged.

  Returns:
    Places on the axis R, `[...]`.
  """
  finite = np.isfinite(selecting)
  kept = np.maximum(finite.sum(-1), 1)
  means = np.where(finite, selecting, 0).sum(-1) / kept
  lost = (~finite).sum(-1)
  return np.lexsort((means, lost), axis=-1)[..., 0]


def _against(samples, real):
  """W1 of samples `[M, K, ..., N, 2]` to real points `[K, N, 2]`."""
  shape = samples.shape[:-2]
  pairs = [(samples[place], real[place[1]]) for place in np.ndindex(*shape)]
  return np.array(_distances(pairs)).reshape(shape)


def _floors(plan, held_out):
  """Disjoint real sets of the reported size, from the end of the split."""
  n = plan.num_points
  ends = held_out[:, ::-1]
  pairs = [
    (points[2 * i * n : (2 * i + 1) * n], points[(2 * i + 1) * n :][:n])
    for points in ends
    for i in range(plan.num_floors)
  ]
  return np.array(_distances(pairs)).reshape(len(SETS), plan.num_floors)


def _distances(pairs: Iterable) -> list[float]:
  # The solver lets go of Python's lock.
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    return list(pool.map(lambda pair: _distance(*pair), pairs))


def _distance(fake, real):
  if not np.all(np.abs(fake) <= FAR):  # nan too
    return np.inf
  return wasserstein.distance(fake, real)


def _mean_and_error(scores):
  """Over the last axis, without diverged runs; inf and 0 if there is no other.

  The error is the standard error of the mean, 0 of a single run.
  """
  finite = np.isfinite(scores)
  count = np.maximum(finite.sum(-1), 1)
  mean = np.where(finite, scores, 0).sum(-1) / count
  square = np.where(finite, np.square(np.where(finite, scores, 0)), 0).sum(-1)
  variance = np.maximum(square - count * mean**2, 0) / np.maximum(count - 1, 1)
  return np.where(finite.any(-1), mean, np.inf), np.sqrt(variance / count)


def of_best_optimizer(
  scores: Scores,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Places, mean W1 and its standard error, `[M, K]`; chosen as the rates."""
  rates = scores.best[..., None, None]
  selected = np.take_along_axis(scores.selecting, rates, 3)[..., 0, :]
  places = choose(selected)
  chosen = np.take_along_axis(scores.reported, places[..., None, None], 2)
  return places, *_mean_and_error(chosen[:, :, 0])
