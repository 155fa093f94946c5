"""A sampler and a data set -> numbers, each with the protocol it was taken by.

Every distance stands beside its floor, real examples against other real ones at
the same count (`metrics.floors`), and is called by its features.
"""

from collections.abc import Callable
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
_BAR = 40


def evaluate(
  sample: Callable[[int, int], np.ndarray],
  dataset: 'data.Dataset',
  *,
  num_samples: int,
  seed: int,
  split: str = 'train',
) -> dict[str, Any]:
  """Measures samples against a data set, by the kind of data it is.

  Handwritten digits: classes covered and a Frechet distance in the digit
  classifier's features. Mixtures with known centres: modes covered and sliced
  W1. Other points: sliced W1. Other images: a Frechet distance in pixels.

  Args:
    sample: (seed, n) -> images `[n, H, W, C]` in [-1, 1] (values beyond are
      clipped, as in any picture) or points `[n, D]`. It is called for batches
      of up to 500, each with a seed of its own.
    dataset: the real examples, as `data.load` gives them.
    num_samples: how many samples to draw, at least 2.
    seed: of the samples, of the halves, and of the directions.
    split: the split `dataset` was loaded from, for the record.

  Returns:
    A dict that `json.dumps` takes: `dataset`, `split`, `kind`, `num_samples`,
    `seed`, and an entry a metric, each with its `protocol`.

  Raises:
    ValueError: if samples are not finite or not shaped like the data, or there
      are too few of either.
  """
  if num_samples < 2 or len(dataset.examples) < 4:
    raise ValueError(
      f'Evaluation needs num_samples >= 2 and 4 real examples, got '
      f'num_samples={num_samples} and {len(dataset.examples)} examples.'
    )
  kind = _kind(dataset)
  metrics = {
    'digits': _digits,
    'mixture': _mixture,
    'points': _points,
    'images': _images,
  }[kind]
  real = _real(dataset, 2 * num_samples, seed)
  fake = _draw(sample, real.shape[1:], num_samples, seed)
  return {
    'dataset': dataset.name,
    'split': split,
    'kind': kind,
    'num_samples': num_samples,
    'seed': seed,
    **metrics(fake, real, dataset, seed),
  }


def describe(numbers: dict[str, Any]) -> list[str]:
  """What `evaluate` returned, as lines for a terminal."""
  lines = [
    f'{numbers["num_samples"]} samples (seed {numbers["seed"]}) against '
    f'{numbers["dataset"]}, split {numbers["split"]}'
  ]
  if 'classes' in numbers:
    lines += _describe_classes(numbers['classes'], numbers['classifier'])
  if 'modes' in numbers:
    lines += _describe_modes(numbers['modes'])
  for name, title in (
    ('frechet', 'Frechet distance'),
    ('sliced_wasserstein', 'sliced Wasserstein-1 distance'),
  ):
    if name in numbers:
      lines.append(_describe_distance(title, numbers[name]))
  return lines


# Samples and real examples.


def _kind(dataset):
  if dataset.name == 'digits':
    return 'digits'
  if dataset.centres is not None:
    return 'mixture'
  return 'points' if np.ndim(dataset.examples[0]) == 1 else 'images'


def _draw(sample, shape, num_samples, seed):
  batch_size = min(BATCH_SIZE, num_samples)
  batches = []
  for number in range(-(-num_samples // batch_size)):
    # A seed of its own for every batch of every run, within int32.
    mixed = np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1
    batch = np.asarray(sample(int(mixed), batch_size), np.float32)
    if batch.shape != (batch_size, *shape):
      raise ValueError(
        f'The sampler gave shape {batch.shape} when asked for {batch_size} '
        f'samples; the data are {shape}.'
      )
    batches.append(batch)
  samples = np.concatenate(batches)[:num_samples]
  bad = np.count_nonzero(~np.isfinite(samples.reshape(num_samples, -1)).all(1))
  if bad:
    raise ValueError(
      f'{bad} of {num_samples} samples hold NaN or infinity: the generator has '
      'diverged.'
    )
  return samples if len(shape) == 1 else np.clip(samples, -1, 1)


def _real(dataset, limit, seed):
  """Up to `limit` real examples at random: images in [-1, 1], or points."""
  rng = np.random.default_rng(seed)
  chosen = rng.permutation(len(dataset.examples))[:limit]
  if isinstance(dataset.examples, np.ndarray):
    examples = dataset.examples[chosen]
  else:
    examples = np.stack([dataset.examples[int(i)]['image'] for i in chosen])
  if examples.dtype == np.uint8:
    return examples.astype(np.float32) / 127.5 - 1
  return examples


# The metrics, by kind of data.


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


# Lines for a terminal.


def _describe_classes(classes, classifier):
  lines = [f'classes covered: {classes["covered"]}/{classes["total"]}']
  counts = [*classes['histogram'], classes['no_digit']]
  names = [*(str(i) for i in range(classes['total'])), 'none']
  lines += _histogram(names, counts)
  protocol = classes['protocol']
  return [
    *lines,
    f'smallest share: {classes["smallest_share"]:.1%} (a class counts from '
    f'{protocol["minimum_share"]:.0%})',
    f'classifier {protocol["classifier"]}: held-out accuracy '
    f'{classifier["accuracy"]:.1%}',
  ]


def _describe_modes(entry):
  protocol = entry['protocol']
  lines = [f'modes covered: {entry["covered"]}/{entry["total"]}']
  lines += _histogram(map(str, range(entry['total'])), entry['histogram'])
  return [
    *lines,
    f'within {protocol["radius_in_std"]:g} std of a centre: '
    f'{entry["high_quality"]:.1%} (real: {entry["high_quality_real"]:.1%})',
    f'KL of the histogram to uniform: {entry["kl_to_uniform"]:.4f} '
    f'(real: {entry["kl_to_uniform_real"]:.4f})',
  ]


def _describe_distance(title, entry):
  protocol = entry['protocol']
  features = f' in {protocol["features"]}' if 'features' in protocol else ''
  floor, spread = entry['real_against_real'], entry['real_against_real_std']
  count, halvings = protocol['count'], protocol['halvings']
  return (
    f'{title}{features}: {entry["value"]:.4g} (real against real: {floor:.4g} '
    f'+- {spread:.2g}; {count} against {count}, mean of {halvings} halvings)'
  )


def _histogram(names, counts):
  total, largest = sum(counts), max(*counts, 1)
  return [
    f'{name:>6} {count / total:6.1%} '
    f'{"#" * round(_BAR * count / largest)}'.rstrip()
    for name, count in zip(names, counts, strict=True)
  ]
