"""Which metrics a data set gets, and how samples are brought to them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gan_jax.evaluate import (
  in_features,
  samples,
  stacked_digits,
  yardsticks,
)
from gan_jax.evaluate import task as tasks
from gan_jax.metrics import compare, entries

if TYPE_CHECKING:
  from gan_jax import data


class Settings(NamedTuple):
  """How samples are measured.

  Attributes:
    features: a row of `metrics.nets.NETS`; '' for quick yardsticks that suit
      the kind of data and need no weights.
    weights: file of the net's weights; '' looks in the user's cache.
    resize: how images are brought to the net's size; '' is the net's own way.
    comparison: which metrics of the features, and their settings.
    cache: folder of reference statistics; '' for none.
  """

  features: str = ''
  weights: str = ''
  resize: str = ''
  comparison: compare.Settings = compare.Settings()
  cache: str = ''


def settings_of(fields: Mapping[str, Any]) -> Settings:
  """Settings from `config.evaluation`, whose `metrics` are joined by commas.

  Raises:
    ValueError: there is no such metric, or a number is out of range.
  """
  metrics = tuple(filter(None, fields['metrics'].replace(' ', '').split(',')))
  numbers = {k: fields[k] for k in ('reference', 'splits', 'keep', 'few')}
  settings = compare.Settings(metrics=metrics, **numbers)
  compare.check(settings)
  names = ('features', 'weights', 'resize', 'cache')
  return Settings(**{k: fields[k] for k in names}, comparison=settings)


def evaluate(
  sample: samples.Sample,
  dataset: 'data.Dataset',
  *,
  num_samples: int,
  seed: int,
  split: str = 'train',
  settings: Settings | None = None,
  draws: int = 1,
  sample_class: Callable[[int, int, int], np.ndarray] | None = None,
  alone: bool = False,
  known: dict[Any, Any] | None = None,
) -> dict[str, Any]:
  """Measures samples against a data set.

  With `settings.features`, images are compared in the features of that net, by
  `settings.comparison.metrics`, in bounded memory. Without: handwritten digits
  by classes covered and a Frechet distance in the digit classifier's features;
  stacked digits by the modes covered; mixtures with known centres by modes
  covered and sliced W1; other points by sliced W1; other images by a Frechet
  distance in pixels.

  Of several processes every one calls this with the same arguments; each runs
  the net on its share of the images, and all get the same numbers.

  Args:
    sample: (seed, n) -> images `[n, H, W, C]` in [-1, 1] (values beyond are
      clipped, as in any picture) or points `[n, D]`. It is called for batches
      of up to 500, each with a seed of its own.
    dataset: the real examples, as `data.load` gives them.
    num_samples: how many samples to draw, at least 2.
    seed: of the samples and, without features, of halves and directions.
    split: the split `dataset` was loaded from, for the record.
    settings: what is measured, and how; None for quick yardsticks.
    draws: how often samples are drawn and measured, with seeds of their own.
    sample_class: (seed, n, label) -> images of a class, for distances within
      classes; None for a generator without labels.
    alone: only this process calls, though there are others.
    known: what calls for one data set share, so that its examples are looked at
      once: a dict, empty at first. None: the draws of this call share.

  Returns:
    A dict that `json.dumps` takes: `dataset`, `split`, `kind`, `num_samples`,
    `seed`, and an entry a metric, each with its `protocol` and, in the features
    of a net, `real_digest` (of the real images); of several draws, see
    `metrics.entries.over_draws`.

  Raises:
    ValueError: if samples are not finite or not shaped like the data, there
      are too few of either, the settings do not suit the data, or `known` is
      of another data set.
  """
  if num_samples < 2 or len(dataset.examples) < 4:
    raise ValueError(
      f'Evaluation needs num_samples >= 2 and 4 real examples, got '
      f'num_samples={num_samples} and {len(dataset.examples)} examples.'
    )
  if draws < 1:
    raise ValueError(f'draws={draws} must be at least 1.')
  settings = settings or Settings()
  kind = _kind(dataset, settings)
  known = _checked(known, dataset)
  measured = []
  for draw in range(draws):
    task = tasks.Task(
      sample=sample,
      sample_class=sample_class,
      dataset=dataset,
      split=split,
      num_samples=num_samples,
      seeds=[seed, draw],
      settings=settings,
      alone=alone,
      known=known,
    )
    measured.append(_measure(kind, task, seed))
  return {
    'dataset': dataset.name,
    'split': split,
    'kind': kind,
    'num_samples': num_samples,
    'seed': seed,
    **entries.over_draws(measured),
  }


def metrics_of(dataset: 'data.Dataset', settings: Settings) -> tuple[str, ...]:
  """The metrics of one number each that `evaluate` gives.

  Raises:
    ValueError: the settings do not suit the kind of data.
  """
  kind = _kind(dataset, settings)
  if kind == 'stacked':
    return (stacked_digits.METRIC,)
  if kind in ('points', 'mixture'):
    return ('sliced_wasserstein',)
  return settings.comparison.metrics if settings.features else ('frechet',)


def _checked(known, dataset):
  """`known`, which holds on to the examples that it is of."""
  known = {} if known is None else known
  if known.setdefault('examples', dataset.examples) is not dataset.examples:
    raise ValueError(
      f'known= is of other examples than those of {dataset.name!r}; give each '
      'data set a dict of its own.'
    )
  return known


def _kind(dataset, settings):
  if dataset.centres is not None or np.ndim(dataset.examples[0]) == 1:
    if settings.features:
      raise ValueError(
        f'features={settings.features!r} is for images; {dataset.name!r} has '
        'points, which are measured as they are: leave features out.'
      )
    return 'points' if dataset.centres is None else 'mixture'
  if stacked_digits.suits(dataset, settings):
    stacked_digits.check(settings)
    return 'stacked'
  if settings.features:
    return 'images'
  return 'digits' if dataset.name == 'digits' else 'images'


def _measure(kind, task, seed):
  if kind == 'stacked':
    return stacked_digits.measure(task)
  if task.settings.features:
    return in_features.measure(task)
  return yardsticks.measure(kind, task, seed)
