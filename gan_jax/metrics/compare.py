"""Two collected sets -> numbers, each beside its floor, with its protocol.

The real images are in groups (`collect.halves`): 0 and 1 are disjoint and of
one size, 2 are the others. The floor, what real images reach, is group 1
against all the others that are looked at.
"""

from typing import Any, NamedTuple

from gan_jax.metrics import collect, frechet, scores, single_features
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

  Groups 0 and 1 are as many as `settings.reference`, or else as the samples, as
  far as the images go. The others are group 2, unless a reference is asked for.

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
    entries |= single_features.compare(held, fake, real, seed=settings.seed)
  ordered = {name: entries[name] for name in settings.metrics}
  for entry in ordered.values():
    entry['protocol'] = base | entry['protocol']
  return ordered


def _held(settings):
  holds = any(METRICS[name].holds for name in settings.metrics)
  return settings.keep if holds else 0


# The Frechet distance, of all images.


def _frechet(fake, real, net, settings):
  check_counts(fake.count, real.count, net, settings)
  side, others = real.groups[1].moments, _others(real)
  # With `settings.reference` only those of group 0 are looked at besides.
  reference = others if settings.reference else real.moments
  few = frechet.bias_note(min(fake.count, reference.count), net.size)
  floor, note = None, frechet.bias_note(min(side.count, others.count), net.size)
  if not note or settings.few:
    floor = _between(side, others)
  protocol = {
    'count': fake.count,
    'count_reference': reference.count,
    'count_floor': side.count,
    'count_floor_reference': others.count,
    'halves_seed': settings.seed,
  }
  entry = {'value': _between(fake.moments, reference), 'protocol': protocol}
  entry['real_against_real'] = floor
  if few:
    protocol['note'] = few
  if floor is None:
    entry['floor_note'] = note
  return entry


def _others(real):
  """The real images without group 1, which stands for samples in the floor."""
  groups = [group for i, group in enumerate(real.groups) if i != 1]
  return collect.merge_moments(group.moments for group in groups)


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
