"""Quick yardsticks that need no network's weights, by the kind of data."""

from typing import TYPE_CHECKING, Any

import numpy as np

from gan_jax.metrics import digits, floors, frechet, modes, pixels

if TYPE_CHECKING:
  from gan_jax import data

BATCH_SIZE = 500
DIRECTIONS = 128
# A fifth of a digit's fair share, and more than the classifier's own errors put
# into any wrong class.
DIGIT_SHARE = 0.02
MODE_SHARE = 0.01
MODE_RADIUS = 3.0


def measure(
  kind: str,
  fake: np.ndarray,
  real: np.ndarray,
  dataset: 'data.Dataset',
  seed: int,
) -> dict[str, Any]:
  """Entries of the metrics that suit a kind of data.

  Args:
    kind: 'digits', 'mixture', 'points' or 'images'.
    fake: samples, images in [-1, 1] or points.
    real: real examples, alike.
    dataset: what the real ones are of.
    seed: of halves and directions.
  """
  return {
    'digits': _digits,
    'mixture': _mixture,
    'points': _points,
    'images': _images,
  }[kind](fake, real, dataset, seed)


def _digits(fake, real, dataset, seed):
  net = digits.classifier()
  counts = np.bincount(net.labels(fake), minlength=digits.NUM_CLASSES + 1)
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
  distance = _frechet(fake, real, dataset, seed, digits.NAME, net.features)
  return {'classes': classes, 'classifier': classifier, 'frechet': distance}


def _mixture(fake, real, dataset, seed):
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
  return {'modes': entry, **_points(fake, real, dataset, seed)}


def _points(fake, real, dataset, seed):
  compare = lambda a, b: modes.sliced_wasserstein(
    a, b, directions=DIRECTIONS, seed=seed
  )
  entry = floors.against_real(fake, real, compare, seed=seed)
  entry['protocol'] |= {
    'directions': DIRECTIONS,
    'real': f'{dataset.name}, {len(dataset.examples)} points',
  }
  return {'sliced_wasserstein': entry}


def _images(fake, real, dataset, seed):
  entry = _frechet(fake, real, dataset, seed, pixels.NAME, pixels.features)
  return {'frechet': entry}


def _frechet(fake, real, dataset, seed, name, features):
  fake, real = _in_batches(features, fake), _in_batches(features, real)
  entry = floors.against_real(fake, real, frechet.distance, seed=seed)
  entry['protocol'] |= {
    'features': name,
    'feature_size': fake.shape[1],
    'real': f'{dataset.name}, {len(dataset.examples)} images',
  }
  return entry


def _in_batches(features, images):
  starts = range(0, len(images), BATCH_SIZE)
  return np.concatenate([features(images[i : i + BATCH_SIZE]) for i in starts])
