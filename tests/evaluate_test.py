"""Evaluation of samplers whose quality is known: the data, one class, noise."""

import json
import tracemalloc

import numpy as np
import pytest
from sklearn import datasets

from gan_jax import data, evaluate

CENTRES = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
STD = 0.05


def picker(examples):
  """A sampler that repeats examples, `(seed, n) -> [n, ...]`."""
  return lambda seed, n: examples[
    np.random.default_rng(seed).integers(len(examples), size=n)
  ]


@pytest.fixture(scope='module')
def digits():
  bunch = datasets.load_digits()
  images = np.rint(bunch.images * 255 / 16).astype(np.uint8)
  images = images.repeat(2, axis=1).repeat(2, axis=2)[..., None]
  return data.Dataset('digits', images, bunch.target.astype(np.int32), 10)


def mixture(count=1000, seed=0):
  rng = np.random.default_rng(seed)
  points = np.tile(CENTRES, (count // 4, 1))
  points = points + STD * rng.standard_normal(points.shape)
  return data.Dataset('cross', points.astype(np.float32), None, 0, CENTRES, STD)


def scaled(dataset):
  return dataset.examples / 127.5 - 1


def test_digits_themselves_cover_all_classes(digits):
  numbers = evaluate.evaluate(
    picker(scaled(digits)), digits, num_samples=1000, seed=0
  )
  assert numbers['kind'] == 'digits'
  assert numbers['classes']['covered'] == numbers['classes']['total'] == 10
  assert numbers['classes']['smallest_share'] > 0.06
  assert sum(numbers['classes']['histogram']) >= 990
  assert numbers['classifier']['accuracy'] > 0.94
  distance = numbers['frechet']
  # Repeats of the real digits are as near to them as other real ones are.
  assert distance['value'] < 1.5 * distance['real_against_real']
  assert distance['real_against_real'] > 0
  # 1,797 digits make two halves of 898.
  assert distance['protocol']['count'] == 898
  assert distance['protocol']['features'] == 'digits-mlp-64'


@pytest.mark.parametrize('label', range(10))
def test_one_class_is_one_of_ten(digits, label):
  chosen = scaled(digits)[digits.labels == label]
  numbers = evaluate.evaluate(picker(chosen), digits, num_samples=200, seed=0)
  classes = numbers['classes']
  assert classes['covered'] == 1
  assert np.argmax(classes['histogram']) == label
  distance = numbers['frechet']
  assert distance['value'] > 5 * distance['real_against_real']


def test_noise_covers_no_class(digits):
  noise = lambda seed, n: np.random.default_rng(seed).uniform(
    -1, 1, (n, 16, 16, 1)
  )
  numbers = evaluate.evaluate(noise, digits, num_samples=200, seed=0)
  assert numbers['classes']['covered'] == 0
  assert numbers['classes']['no_digit'] == 200


def test_lines_for_digits(digits):
  chosen = scaled(digits)[(digits.labels == 0) | (digits.labels == 7)]
  numbers = evaluate.evaluate(picker(chosen), digits, num_samples=100, seed=3)
  lines = evaluate.describe(numbers)
  assert 'classes covered: 2/10' in lines
  start = lines.index('classes covered: 2/10')
  table = [line.split() for line in lines[start + 1 : start + 12]]
  assert [row[0] for row in table] == [*'0123456789', 'none']
  assert [len(row) for row in table] == [3, *[2] * 6, 3, *[2] * 3]
  shares = [float(row[1].rstrip('%')) for row in table]
  assert sum(shares) == pytest.approx(100, abs=0.5)
  assert max(len(row[-1]) for row in table) == 40
  text = '\n'.join(lines)
  assert f'held-out accuracy {numbers["classifier"]["accuracy"]:.1%}' in text
  assert 'Frechet distance in digits-mlp-64: ' in lines[-1]
  assert '(real against real: ' in lines[-1]
  assert '100 against 100' in lines[-1]


def test_mixture_samples_of_two_modes():
  dataset = mixture()
  two = dataset.examples[np.arange(len(dataset.examples)) % 4 < 2]
  numbers = evaluate.evaluate(picker(two), dataset, num_samples=400, seed=0)
  found = numbers['modes']
  assert (found['covered'], found['total']) == (2, 4)
  assert found['high_quality'] > 0.95 < found['high_quality_real']
  assert found['histogram'][2:] == [0, 0] and sum(found['histogram']) == 400
  assert found['kl_to_uniform'] == pytest.approx(np.log(2), abs=0.02)
  assert found['kl_to_uniform_real'] < 0.02
  distance = numbers['sliced_wasserstein']
  assert distance['value'] > 3 * distance['real_against_real']
  lines = evaluate.describe(numbers)
  assert 'modes covered: 2/4' in lines
  assert 'sliced Wasserstein-1 distance: ' in lines[-1]
  drawn = evaluate.evaluate(
    picker(two), dataset, num_samples=400, seed=0, draws=2
  )
  shown = evaluate.describe(drawn)
  assert 'modes covered: 2/4 (the first of 2 draws)' in shown


def test_mixture_samples_of_the_mixture_meet_the_floor():
  fresh = mixture(4000, seed=1).examples
  numbers = evaluate.evaluate(picker(fresh), mixture(), num_samples=500, seed=0)
  assert numbers['modes']['covered'] == 4
  distance = numbers['sliced_wasserstein']
  assert distance['value'] < 4 * distance['real_against_real']
  assert distance['protocol']['count'] == 500


@pytest.mark.parametrize('size', [1, 2])
def test_points_without_centres(size):
  # A shift by 3 along the line is W1 = 3; in the plane, 3 * 2 / pi.
  points = np.random.default_rng(0).uniform(0, 0.1, (400, size))
  dataset = data.Dataset('square', points.astype(np.float32))
  shift = np.array([3.0, 0.0])[:size]
  numbers = evaluate.evaluate(
    picker(points + shift), dataset, num_samples=200, seed=0
  )
  assert numbers['kind'] == 'points' and 'modes' not in numbers
  expected = 3.0 if size == 1 else 6 / np.pi
  value = numbers['sliced_wasserstein']['value']
  assert value == pytest.approx(expected, rel=0.1)


def images(count=60, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (count, 10, 10, 3)).astype(np.uint8)


def test_other_images_are_compared_in_pixels():
  dataset = data.Dataset('noise', images())
  numbers = evaluate.evaluate(
    picker(scaled(dataset)), dataset, num_samples=1001, seed=0
  )
  distance = numbers['frechet']
  assert numbers['kind'] == 'images' and 'classes' not in numbers
  assert distance['protocol']['features'] == 'pixels-8x8'
  assert distance['protocol']['feature_size'] == 192
  assert distance['protocol']['count'] == 30
  white = lambda seed, n: np.ones((n, 10, 10, 3))
  far = evaluate.evaluate(white, dataset, num_samples=50, seed=0)['frechet']
  assert far['value'] > 2 * far['real_against_real'] > 0


def test_of_images_only_features_are_held():
  # 2,000 samples and 4,000 real ones are 60 MB and 120 MB as float32.
  shape = (50, 50, 1)
  image = np.arange(2500, dtype=np.float32).reshape(1, *shape) / 2500
  examples = np.broadcast_to(np.uint8(image * 255), (4000, *shape))
  sample = lambda seed, n: np.repeat(image, n, axis=0)
  for name in ('noise', 'digits'):
    dataset = data.Dataset(name, examples)
    tracemalloc.start()
    try:
      evaluate.evaluate(sample, dataset, num_samples=2000, seed=0)
      _, peak = tracemalloc.get_traced_memory()
    finally:
      tracemalloc.stop()
    # A few batches of 500, 5 MB each.
    assert peak < 40e6


def test_a_source_counts_like_an_array():
  class Source:
    def __len__(self):
      return 60

    def __getitem__(self, index):
      return dict(image=images()[index], label=0)

  sample = picker(scaled(data.Dataset('noise', images(seed=1))))
  numbers = [
    evaluate.evaluate(
      sample, data.Dataset('noise', examples), num_samples=20, seed=0
    )
    for examples in (images(), Source())
  ]
  assert numbers[0] == numbers[1]


def test_numbers_are_json_and_repeatable():
  evaluated = lambda seed: evaluate.evaluate(
    picker(mixture(seed=1).examples), mixture(), num_samples=80, seed=seed
  )
  numbers = evaluated(0)
  assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
  assert numbers == evaluated(0) != evaluated(1)
  assert numbers['split'] == 'train' and numbers['seed'] == 0


def test_samples_come_in_batches_of_different_seeds():
  asked = []

  def sample(seed, n):
    asked.append((seed, n))
    return mixture().examples[:n]

  evaluate.evaluate(sample, mixture(), num_samples=1100, seed=0)
  assert [n for _, n in asked] == [500, 500, 500]
  seeds = {seed for seed, _ in asked}
  assert len(seeds) == 3 and all(0 <= seed < 2**31 for seed in seeds)


def test_values_beyond_the_range_are_cut_as_in_pictures():
  dataset = data.Dataset('noise', images())
  value = lambda tone: evaluate.evaluate(
    lambda seed, n: np.full((n, 10, 10, 3), tone),
    dataset,
    num_samples=20,
    seed=0,
  )
  assert value(1.0) == value(7.0)


def test_errors_are_in_plain_words(digits):
  nan = lambda seed, n: np.full((n, 16, 16, 1), np.nan)
  with pytest.raises(ValueError, match='20 of 20 samples hold NaN'):
    evaluate.evaluate(nan, digits, num_samples=20, seed=0)
  small = lambda seed, n: np.zeros((n, 8, 8, 1))
  with pytest.raises(ValueError, match=r'\(20, 8, 8, 1\).*\(16, 16, 1\)'):
    evaluate.evaluate(small, digits, num_samples=20, seed=0)
  with pytest.raises(ValueError, match='num_samples=1'):
    evaluate.evaluate(nan, digits, num_samples=1, seed=0)
