"""Metrics of single features: three sets of one size, two of them real."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gan_jax.metrics import collect, kernel, neighbours, prd

SUBSETS = 100
SUBSET_SIZE = 1000
# Neighbours of the balls of precision and recall, of density and coverage.
BALLS = 3
FULL_BALLS = 5


class Sides(NamedTuple):
  """What a metric is computed from: features `[N, F]` of each."""

  fake: np.ndarray
  real: np.ndarray
  other: np.ndarray  # real too, disjoint from `real`


def compare(
  names: Sequence[str],
  fake: collect.Collected,
  real: collect.Collected,
  *,
  seed: int,
) -> dict[str, dict[str, Any]]:
  """Entries of `names`, as `compare.compare` gives them.

  Args:
    names: rows of `compare.METRICS` that hold single features.
    fake: samples, whose group 0 is taken.
    real: real images, whose groups 0 and 1 are taken.
    seed: of subsets and choices.
  """
  sides = sides_of(fake, real, seed=seed)
  known: dict[Callable, tuple] = {}
  entries = {}
  for name in names:
    measure, fields = _MEASURES[name]
    if measure not in known:
      known[measure] = (
        measure(sides.fake, sides.real, seed),
        measure(sides.other, sides.real, seed),
      )
    entries[name] = _entry(name, known[measure], fields, sides, seed)
  return entries


def sides_of(
  fake: collect.Collected, real: collect.Collected, *, seed: int
) -> Sides:
  """As many of each as the smallest set has, chosen at random."""
  sets = [fake.groups[0].kept, real.groups[0].kept, real.groups[1].kept]
  count = min(map(len, sets))
  rng = np.random.default_rng(seed)
  cut = lambda features: features[rng.permutation(len(features))[:count]]
  return Sides(*map(cut, sets))


def _entry(name, measured, fields, sides, seed):
  fake, floor = measured
  return {
    'value': fake[name],
    'real_against_real': floor[name],
    **{key: fake[key] for key in fields},
    'protocol': {
      'count': len(sides.fake),
      'count_reference': len(sides.real),
      'count_floor': len(sides.other),
      'count_floor_reference': len(sides.real),
      'seed': seed,
      **fake['protocol'],
    },
  }


def _kernel(fake, real, seed):
  # Of a whole set there is one subset only, and nothing to deviate.
  whole = len(real) <= SUBSET_SIZE
  subset_size = len(real) // 2 if whole else SUBSET_SIZE
  mean, std = kernel.kernel_distance(
    fake, real, subsets=SUBSETS, subset_size=subset_size, seed=seed
  )
  protocol = {'kernel': '(x.y/F + 1)^3', 'subsets': SUBSETS}
  protocol['subset_size'] = subset_size
  return {'kernel': mean, 'std_over_subsets': std, 'protocol': protocol}


def _precision_recall(fake, real, seed):
  del seed
  found = neighbours.precision_recall(fake, real, k=BALLS)
  return {**found._asdict(), 'protocol': {'neighbours': BALLS}}


def _density_coverage(fake, real, seed):
  del seed
  found = neighbours.density_coverage(fake, real, k=FULL_BALLS)
  return {**found._asdict(), 'protocol': {'neighbours': FULL_BALLS}}


def _prd(fake, real, seed):
  curve = prd.curve(fake, real, seed=seed)
  recall, precision = prd.f_beta(curve)
  return {
    'prd_recall': recall,
    'prd_precision': precision,
    'protocol': {'clusters': 20, 'angles': 1001, 'runs': 10, 'beta': 8},
  }


_MEASURES = {
  'kernel': (_kernel, ('std_over_subsets',)),
  'precision': (_precision_recall, ()),
  'recall': (_precision_recall, ()),
  'density': (_density_coverage, ()),
  'coverage': (_density_coverage, ()),
  'prd_precision': (_prd, ()),
  'prd_recall': (_prd, ()),
}
