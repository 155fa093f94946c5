"""Which classes samples reach, of those that a classifier tells apart."""

import math
from typing import Any, NamedTuple

import numpy as np

from gan_jax.metrics import modes


class Classes(NamedTuple):
  """How samples fall on the classes that a classifier told them to be.

  Attributes:
    covered: number of classes with enough samples.
    total: number of classes, M.
    histogram: samples by class, int `[M]`.
    no_class: samples that the classifier took for none of them.
    smallest_share: samples of the rarest class, as a fraction of all.
    kl: KL divergence of the histogram from the uniform one, in nats; None if
      no sample is of any class.
    threshold: samples that a class needed.
  """

  covered: int
  total: int
  histogram: np.ndarray
  no_class: int
  smallest_share: float
  kl: float | None
  threshold: float

  @property
  def count(self) -> int:
    """How many samples there were."""
    return int(self.histogram.sum()) + self.no_class


def tally(
  labels: np.ndarray, num_classes: int, *, minimum: int = 1, share: float = 0.0
) -> Classes:
  """Counts the classes that samples reach.

  Args:
    labels: what each sample was classified as, int `[N]`, from 0; `num_classes`
      and beyond stand for no class at all.
    num_classes: M.
    minimum: samples that a class needs to be covered, at least 1.
    share: fraction of all samples that it needs besides.

  Raises:
    ValueError: there are no labels, they are no whole numbers from 0, or a
      limit is out of its range.
  """
  labels = np.asarray(labels)
  if labels.ndim != 1 or not labels.size or labels.dtype.kind not in 'iu':
    raise ValueError(
      f'labels must be whole numbers [N] with N >= 1, got {labels.dtype} of '
      f'shape {labels.shape}.'
    )
  if labels.min() < 0:
    raise ValueError(f'labels must be 0 or more, got {labels.min()}.')
  if num_classes < 1 or minimum < 1 or not 0 <= share <= 1:
    raise ValueError(
      f'num_classes={num_classes} and minimum={minimum} must be at least 1, '
      f'and share={share} within 0 to 1.'
    )
  inside = labels[labels < num_classes]
  histogram = np.bincount(inside, minlength=num_classes)
  threshold = max(minimum, share * len(labels))
  return Classes(
    covered=modes.covered(histogram, len(labels), threshold / len(labels)),
    total=num_classes,
    histogram=histogram,
    no_class=len(labels) - len(inside),
    smallest_share=float(histogram.min() / len(labels)),
    kl=modes.kl_to_uniform(histogram) if len(inside) else None,
    threshold=threshold,
  )


def beside_real(
  fake: Classes, real: Classes, *, data: np.ndarray | None = None
) -> dict[str, Any]:
  """What samples reach beside what as many real examples reach.

  Args:
    fake: of the samples.
    real: of real examples, as many, classified in the same way.
    data: examples of each class in the data by their true labels, `[M]`; for
      sets whose classes are not even.

  Returns:
    A dict that `json.dumps` takes. The keys ending in `_real` are those of the
    real examples; those in `_expected`, there if one sample is enough for a
    class, are what even classes would give. With `data`, `kl_to_data` is the
    divergence from their histogram, None where it is infinite or nothing is of
    any class.

  Raises:
    ValueError: the two are not of one count, number of classes and threshold.
  """
  terms = lambda side: (side.count, side.total, side.threshold)
  if terms(fake) != terms(real):
    raise ValueError(
      'Samples and real examples must agree in count, classes and threshold, '
      f'got {terms(fake)} and {terms(real)}.'
    )
  entry = {
    **_numbers(fake, data),
    **{f'{key}_real': value for key, value in _numbers(real, data).items()},
    'total': fake.total,
    'histogram': fake.histogram.tolist(),
    'protocol': {'count': fake.count, 'threshold': fake.threshold},
  }
  if fake.threshold == 1:
    entry['covered_expected'] = expected_covered(fake.total, fake.count)
    entry['kl_to_uniform_expected'] = expected_kl(fake.total, fake.count)
  return entry


def _numbers(found, data):
  numbers = {
    'covered': found.covered,
    'smallest_share': found.smallest_share,
    'no_class': found.no_class,
    'kl_to_uniform': found.kl,
  }
  if data is not None:
    to_data = math.inf if found.kl is None else modes.kl(found.histogram, data)
    numbers['kl_to_data'] = None if to_data == math.inf else to_data
  return numbers


def expected_covered(total: int, count: int) -> float:
  """Classes that `count` draws from `total` even ones reach, on average.

  A class is missed by all draws with probability (1 - 1 / total)^count.
  """
  _check_draws(total, count)
  return total * (1 - (1 - 1 / total) ** count)


def expected_kl(total: int, count: int) -> float:
  """KL to uniform of `count` draws from `total` even classes, on average.

  Exact; near (total - 1) / (2 count) for many draws. Independent draws of any
  other distribution have more on average.
  """
  _check_draws(total, count)
  if total == 1:
    return 0.0
  # A class has k draws with the weight b(k) of a binomial distribution. As
  # k b(k) total / count is b(k - 1) of count - 1 draws, the sum over classes is
  # the mean of log((1 + j) total / count), where j is drawn by the latter.
  others = np.arange(1, count)
  steps = np.log((count - others) / others) - math.log(total - 1)
  log_weights = np.concatenate([[0.0], np.cumsum(steps)])
  log_weights += (count - 1) * math.log1p(-1 / total)
  values = np.log(np.arange(1, count + 1) * (total / count))
  return float(np.exp(log_weights) @ values)


def _check_draws(total, count):
  if total < 1 or count < 1:
    raise ValueError(f'total={total} and count={count} must be at least 1.')
