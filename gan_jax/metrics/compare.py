"""Two collected sets -> numbers, each beside its floor, with its protocol.

The real images are in groups (`collect.halves`): 0 and 1 are disjoint and of
one size, so that 1 against 0 is the floor, what real images reach.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from gan_jax.metrics import collect, frechet, kernel, neighbours, prd, scores
from gan_jax.metrics.feature_net import FeatureNet

Entry = dict[str, Any]


class Settings(NamedTuple):
  """What is measured, and how.

  Attributes:
    metrics: rows of `METRICS`.
    reference: how many real images are compared with; 0 for all there are.
    splits: of the inception score.
    keep: features a side, at most, of the metrics that hold them.
    seed: of halves, splits, subsets and choices.
    few: allows a Frechet distance of no more images than features.
  """

  metrics: tuple[str, ...] = ('frechet',)
  reference: int = 0
  splits: int = collect.SPLITS
  keep: int = collect.KEEP
  seed: int = collect.SEED
  few: bool = False


class _Sides(NamedTuple):
  """What a metric is computed from: features of three sets of one size."""

  fake: np.ndarray
  real: np.ndarray
  other: np.ndarray  # real too, disjoint from `real`


class Metric(NamedTuple):
  """A row of `METRICS`.

  Attributes:
    title: for a terminal or a table.
    lower_is_better: whether it is a distance.
    holds: whether it needs single features.
    least: how many a side; of the inception score it is the splits.
  """

  title: str
  lower_is_better: bool
  holds: bool
  least: int = 2


METRICS = {
  'frechet': Metric('Frechet distance', True, False),
  'kernel': Metric('kernel distance', True, True, 4),
  'inception_score': Metric('inception score', False, False),
  'precision': Metric('precision', False, True, 4),
  'recall': Metric('recall', False, True, 4),
  'density': Metric('density', False, True, 6),
  'coverage': Metric('coverage', False, True, 6),
  'prd_precision': Metric('PRD F_1/8 (precision)', False, True, 10),
  'prd_recall': Metric('PRD F_8 (recall)', False, True, 10),
}


# The Frechet distance within each class, which takes a pass for each.
INTRA_CLASS = 'intra_class_frechet'


def check(settings: Settings, net: FeatureNet | None = None) -> None:
  """Raises ValueError for settings that no set of images could meet."""
  known = [*METRICS, INTRA_CLASS]
  for name in settings.metrics:
    if name not in known:
      raise ValueError(f'metrics={name!r} is not one of {known}.')
  if not settings.metrics:
    raise ValueError(f'metrics is empty; give some of {known}.')
  scored = net is not None and 'inception_score' in settings.metrics
  if scored and not net.num_classes:
    raise ValueError(
      f"metrics='inception_score' needs a net that tells classes apart; "
      f'features={net.name!r} has no logits.'
    )
  for name in ('splits', 'keep'):
    if getattr(settings, name) < 1:
      raise ValueError(f'{name}={getattr(settings, name)} must be at least 1.')
  if settings.reference < 0:
    raise ValueError(
      f'reference={settings.reference} must be a number of real images, or 0 '
      'for all.'
    )


def check_counts(
  num_fake: int, num_real: int, net: FeatureNet, settings: Settings
) -> None:
  """Raises ValueError for sets too small, before any work is done on them."""
  _check_least(num_fake, num_real, settings)
  if 'frechet' not in settings.metrics or settings.few:
    return
  reference = settings.reference or num_real
  few = frechet.bias_note(min(num_fake, reference), net.size)
  if few:
    raise ValueError(
      f'{num_fake} samples against {reference} real images in {net.size} '
      f'features: {few} Take more images, or a net of fewer features, or allow '
      'it (few=True).'
    )


def _check_least(num_fake, num_real, settings):
  side = settings.reference or min(num_fake, num_real // 2)
  for name in settings.metrics:
    metric = METRICS[name]
    needed, there = metric.least, min(num_fake, side)
    if metric.holds:
      there = min(there, settings.keep)
    if name == 'inception_score':
      needed = settings.splits
      there = min(num_fake, 2 * settings.reference or num_real)
    if there < needed:
      raise ValueError(
        f'metrics={name!r} needs {needed} images a side at the least; '
        f'{num_fake} samples and {num_real} real images, with reference='
        f'{settings.reference}, keep={settings.keep} and splits='
        f'{settings.splits}, leave {there}.'
      )


def plan_of_fake(count: int, settings: Settings) -> collect.Plan:
  """How the samples are collected."""
  return collect.Plan(
    count, None, settings.splits, _held(settings), settings.seed
  )


def plan_of_real(
  available: int, num_fake: int, settings: Settings
) -> collect.Plan:
  """How the real images are collected.

  The disjoint halves are as many as `settings.reference`, or else as the
  samples, as far as the images go.

  Raises:
    ValueError: there are fewer than 2 images, or not twice the reference.
  """
  if available < 2:
    raise ValueError(f'{available} real images are too few; 2 at the least.')
  side = settings.reference or min(num_fake, available // 2)
  if 2 * side > available:
    raise ValueError(
      f'reference={side} needs twice as many real images, for the floor of '
      f'real against real; there are {available}. Give at most '
      f'{available // 2}, or 0 to compare with all of them.'
    )
  group = collect.halves(available, side, seed=settings.seed)
  if settings.reference:  # the others are not looked at
    group[group == 2] = collect.LEFT_OUT
  return collect.Plan(
    available, group, settings.splits, _held(settings), settings.seed
  )


def compare(
  fake: collect.Collected,
  real: collect.Collected,
  net: FeatureNet,
  settings: Settings,
) -> dict[str, Entry]:
  """Every metric of `settings.metrics`.

  Args:
    fake: collected by `plan_of_fake`.
    real: collected by `plan_of_real`.
    net: what both were collected with.
    settings: the same for both.

  Returns:
    metric -> `value`, `real_against_real` (what real images reach; None with a
    `floor_note` where it cannot be had) and `protocol`, JSON-able.

  Raises:
    ValueError: too few images for a metric, or images of different shapes.
  """
  check(settings, net)
  if fake.shape != real.shape:
    raise ValueError(
      f'The samples are {fake.shape} and the real images {real.shape} (height, '
      'width, channels); bring them to one size.'
    )
  base = net.protocol() | {'image_shape': list(real.shape)}
  entries = {}
  if 'frechet' in settings.metrics:
    entries['frechet'] = _frechet(fake, real, net, settings)
  if 'inception_score' in settings.metrics:
    entries['inception_score'] = _score(fake, real, settings)
  held = [m for m in settings.metrics if METRICS[m].holds]
  if held:
    entries |= _of_held(held, _sides(fake, real, settings), settings)
  ordered = {name: entries[name] for name in settings.metrics}
  for entry in ordered.values():
    entry['protocol'] = base | entry['protocol']
  return ordered


def _held(settings):
  holds = any(METRICS[name].holds for name in settings.metrics)
  return settings.keep if holds else 0


# The Frechet distance, of all images.


def _frechet(fake, real, net, settings):
  reference = real.groups[0].moments if settings.reference else real.moments
  check_counts(fake.count, real.count, net, settings)
  few = frechet.bias_note(min(fake.count, reference.count), net.size)
  side = real.groups[0].moments.count
  floor, note = None, frechet.bias_note(side, net.size)
  if not note or settings.few:
    floor = _between(real.groups[1].moments, real.groups[0].moments)
  protocol = {
    'count': fake.count,
    'count_reference': reference.count,
    'count_floor': side,
    'halves_seed': settings.seed,
  }
  entry = {'value': _between(fake.moments, reference), 'protocol': protocol}
  entry['real_against_real'] = floor
  if few:
    protocol['note'] = few
  if floor is None:
    entry['floor_note'] = note
  return entry


def _between(a, b):
  return frechet.frechet_distance(a.mean, a.covariance, b.mean, b.covariance)


def _score(fake, real, settings):
  mean, std = scores.inception_score(fake.scores)
  real_mean, real_std = scores.inception_score(real.scores)
  return {
    'value': mean,
    'std_over_splits': std,
    # Not a floor: what the real images themselves score.
    'real_against_real': real_mean,
    'real_std_over_splits': real_std,
    'protocol': {
      'count': fake.count,
      'count_reference': real.count,
      'splits': settings.splits,
      'seed': settings.seed,
    },
  }


# Metrics of single features, three sets of one size.


def _sides(fake, real, settings):
  sets = [fake.groups[0].kept, real.groups[0].kept, real.groups[1].kept]
  count = min(map(len, sets))
  rng = np.random.default_rng(settings.seed)
  cut = lambda features: features[rng.permutation(len(features))[:count]]
  return _Sides(*map(cut, sets))


def _of_held(names, sides, settings):
  known: dict[Callable, tuple] = {}
  entries = {}
  for name in names:
    measure, fields = _MEASURES[name]
    if measure not in known:
      known[measure] = (
        measure(sides.fake, sides.real, settings),
        measure(sides.other, sides.real, settings),
      )
    fake, floor = known[measure]
    entries[name] = {
      'value': fake[name],
      'real_against_real': floor[name],
      **{key: fake[key] for key in fields},
      'protocol': {
        'count': len(sides.fake),
        'count_reference': len(sides.real),
        'count_floor': len(sides.other),
        'seed': settings.seed,
        **fake['protocol'],
      },
    }
  return entries


def _kernel(fake, real, settings):
  # Of a whole set there is one subset only, and nothing to deviate.
  subset_size = 1000 if len(real) > 1000 else len(real) // 2
  mean, std = kernel.kernel_distance(
    fake, real, subset_size=subset_size, seed=settings.seed
  )
  protocol = {'kernel': '(x.y/F + 1)^3', 'subsets': 100}
  protocol['subset_size'] = subset_size
  return {'kernel': mean, 'std_over_subsets': std, 'protocol': protocol}


def _precision_recall(fake, real, settings):
  del settings
  found = neighbours.precision_recall(fake, real, k=3)
  return {**found._asdict(), 'protocol': {'neighbours': 3}}


def _density_coverage(fake, real, settings):
  del settings
  found = neighbours.density_coverage(fake, real, k=5)
  return {**found._asdict(), 'protocol': {'neighbours': 5}}


def _prd(fake, real, settings):
  curve = prd.curve(fake, real, seed=settings.seed)
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


# Several numbers side by side, and their names.

# Their names are said of the network that they were defined by, and no other.
_DEFINED_BY = 'inception-v3-fid-2048'
_PUBLISHED = '6726825d'
_SHORT = {'frechet': 'FID', 'kernel': 'KID', 'inception_score': 'IS'}


def title(metric: str, protocol: dict[str, Any]) -> str:
  """What a number is called: FID only of FID's network with its weights."""
  long = 'intra-class Frechet distance'
  if metric in METRICS:
    long = METRICS[metric].title
  published = protocol.get('weights', '').startswith(_PUBLISHED)
  if published and protocol.get('features') == _DEFINED_BY:
    return _SHORT.get(metric, long)
  return long


def same_protocol(entries: Iterable[Entry]) -> bool:
  """Whether numbers may stand side by side: their protocols are equal."""
  protocols = [entry['protocol'] for entry in entries]
  return all(protocol == protocols[0] for protocol in protocols)


def better(metric: str, a: float, b: float) -> bool:
  """Whether value `a` of a metric is better than `b`; NaN never is."""
  if math.isnan(a) or math.isnan(b):
    return not math.isnan(a)
  # What is no row of the table is a distance, or counts modes.
  lower = metric != 'stacked_modes'
  if metric in METRICS:
    lower = METRICS[metric].lower_is_better
  return a < b if lower else a > b


def over_draws(draws: list[dict[str, Entry]]) -> dict[str, Entry]:
  """Several draws of samples, measured alike, as one: means and deviations.

  An entry with a `value` gets the mean over draws, their standard deviation
  `std_over_draws` (n - 1 degrees of freedom) and `draws`, the values; the rest
  is the first draw's. One without gets the other draws' entries as `draws`. One
  draw is left as it is.

  Raises:
    ValueError: the draws were not measured by the same protocol.
  """
  if len(draws) == 1:
    return draws[0]
  return {
    name: _over_draws(name, [d[name] for d in draws]) for name in draws[0]
  }


def _over_draws(name, entries):
  if not same_protocol(entries):
    raise ValueError(f'The draws of {name!r} differ in their protocols.')
  if 'value' not in entries[0]:
    return entries[0] | {'draws': entries[1:]}
  values = [entry['value'] for entry in entries]
  return entries[0] | {
    'value': float(np.mean(values)),
    'std_over_draws': float(np.std(values, ddof=1)),
    'draws': values,
  }
