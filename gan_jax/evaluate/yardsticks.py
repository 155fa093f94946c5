"""Quick yardsticks that need no network's weights, by the kind of data."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gan_jax.evaluate import samples
from gan_jax.evaluate import task as tasks
from gan_jax.metrics import digits, floors, frechet, modes, pixels

DIRECTIONS = 128
# A fifth of a digit's fair share, and more than the classifier's own errors put
# into any wrong class.
DIGIT_SHARE = 0.02
MODE_SHARE = 0.01
MODE_RADIUS = 3.0


def measure(kind: str, task: tasks.Task, seed: int) -> dict[str, Any]:
  """Entries of the metrics that suit a kind of data.

  Of images only features are held, not the images.

  Args:
    kind: 'digits', 'mixture', 'points' or 'images'.
    task: what is measured.
    seed: of halves and directions, and of the choice of real examples.
  """
  if kind in ('digits', 'images'):
    return (_digits if kind == 'digits' else _images)(task, seed)
  real = samples.examples(task.dataset, 2 * task.num_samples, seed)
  shape = real.shape[1:]
  fake = samples.draw(task.sample, shape, task.num_samples, task.seeds)
  return (_mixture if kind == 'mixture' else _points)(fake, real, task, seed)


def _digits(task, seed):
  net = digits.classifier()
  fake, labels = _of_batches(_fake(task), net.features, net.labels)
  counts = np.bincount(labels, minlength=digits.NUM_CLASSES + 1)
  histogram = counts[: digits.NUM_CLASSES]
  classes = {
    'covered': modes.covered(histogram, len(fake), DIGIT_SHARE),
    'total': digits.NUM_CLASSES,
    'histogram': histogram.tolist(),
    'no_digit': int(counts[digits.NO_DIGIT]),
    'smallest_share': float(histogram.min() / len(fake)),
    'protocol': {
      'classifier': digits.NAME,
      'count': len(fake),
      'seed': seed,
      'minimum_share': DIGIT_SHARE,
    },
  }
  classifier = {
    'accuracy': net.accuracy,
    'protocol': {
      'classifier': digits.NAME,
      'fit_on': '80 % of the digits, stratified',
      'measured_on': 'the 20 % held out',
      'seed': digits.SEED,
    },
  }
  distance = _frechet(fake, task, seed, digits.NAME, net.features)
  return {'classes': classes, 'classifier': classifier, 'frechet': distance}


def _mixture(fake, real, task, seed):
  dataset = task.dataset
  limits = dict(radius=MODE_RADIUS, minimum=MODE_SHARE)
  found = modes.coverage(fake, dataset.centres, dataset.std, **limits)
  truth = modes.coverage(real, dataset.centres, dataset.std, **limits)
  entry = {
    'covered': found.covered,
    'total': found.total,
    'high_quality': found.high_quality,
    'high_quality_real': truth.high_quality,
    'histogram': found.histogram.tolist(),
    'near': found.near.tolist(),
    'kl_to_uniform': found.kl,
    'kl_to_uniform_real': truth.kl,
    'protocol': {
      'count': len(fake),
      'count_real': len(real),
      'seed': seed,
      'radius_in_std': MODE_RADIUS,
      'std': float(dataset.std),
      'minimum_share': MODE_SHARE,
    },
  }
  return {'modes': entry, **_points(fake, real, task, seed)}


def _points(fake, real, task, seed):
  compare = lambda a, b: modes.sliced_wasserstein(
    a, b, directions=DIRECTIONS, seed=seed
  )
  entry = floors.against_real(fake, real, compare, seed=seed)
  entry['protocol'] |= {
    'directions': DIRECTIONS,
    **tasks.real(task),
    'available': len(task.dataset.examples),
  }
  return {'sliced_wasserstein': entry}


def _images(task, seed):
  (fake,) = _of_batches(_fake(task), pixels.features)
  return {'frechet': _frechet(fake, task, seed, pixels.NAME, pixels.features)}


def _fake(task) -> Iterator[np.ndarray]:
  shape = samples.image_shape(task.dataset)
  return samples.in_range(task.sample, shape, task.num_samples, task.seeds)


def _frechet(fake, task, seed, name, features):
  dataset, limit = task.dataset, 2 * task.num_samples

  def of_real():
    return _of_batches(samples.in_batches(dataset, limit, seed), features)[0]

  real = tasks.once(task, ('features', name, limit, seed), of_real)
  entry = floors.against_real(fake, real, frechet.distance, seed=seed)
  entry['protocol'] |= {
    'features': name,
    'feature_size': fake.shape[1],
    **tasks.real(task),
    'available': len(dataset.examples),
  }
  return entry


def _of_batches(
  batches: Iterator[np.ndarray], *functions: Callable
) -> list[np.ndarray]:
  """What each function makes of all batches."""
  found = [[function(images) for function in functions] for images in batches]
  return [np.concatenate(parts) for parts in zip(*found, strict=True)]
