"""Numbers stand beside their floor, carry their protocol, or are refused."""

import json

import numpy as np
import pytest

from gan_jax.evaluate import lines
from gan_jax.metrics import (
  collect,
  compare,
  entries,
  frechet,
  single_features,
  wording,
)
from gan_jax.metrics.feature_net import FeatureNet, Output

SIZE = 4


def net(num_classes=0):
  """Features are the four pixels of the first channel."""

  def apply(params, x):
    del params
    features = x[..., 0].reshape(len(x), -1).astype(np.float32)
    return Output(features, features[:, :num_classes] if num_classes else None)

  return FeatureNet('four', SIZE, num_classes, apply, (), on_host=True)


def images(count, low, high, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(low, high, (count, 2, 2, 3)).astype(np.uint8)


def collected(x, plan, features=None):
  batch = collect.Batch(x, np.arange(len(x)))
  return collect.collect([batch], features or net(), plan)


def both(fake, real, settings, features=None):
  features = features or net()
  return compare.compare(
    collected(fake, compare.plan_of_fake(len(fake), settings), features),
    collected(
      real, compare.plan_of_real(len(real), len(fake), settings), features
    ),
    features,
    settings,
  )


def test_a_shift_of_all_features_by_a_constant():
  # Equal covariances, means apart by 7 in each of four features: 4 * 49.
  real = images(600, 0, 200)
  entry = both(real + 7, real, compare.Settings())['frechet']
  assert entry['value'] == pytest.approx(4 * 49, rel=1e-9)
  # Disjoint halves of one set are near, but never at 0: the means of 300 differ
  # by 2 / 300 of the variance, 200^2 / 12, in each feature.
  assert 0 < entry['real_against_real'] < 4 * (4 * 2 / 300 * 200**2 / 12)
  assert entry['protocol'] == {
    'features': 'four',
    'feature_size': 4,
    'image_shape': [2, 2, 3],
    'count': 600,
    'count_reference': 600,
    'count_floor': 300,
    'count_floor_reference': 300,
    'halves_seed': 2020,
  }


def test_a_reference_of_some_images_and_its_floor_have_one_size():
  real = images(600, 0, 200)
  settings = compare.Settings(reference=100)
  entry = both(images(100, 0, 200, seed=1), real, settings)['frechet']
  counts = {k: v for k, v in entry['protocol'].items() if 'count' in k}
  assert set(counts.values()) == {100} and len(counts) == 4
  # Samples from the same distribution meet the floor, within its spread.
  assert 0.2 < entry['value'] / entry['real_against_real'] < 5
  with pytest.raises(ValueError, match=r'reference=301 .* at most 300'):
    compare.plan_of_real(600, 100, compare.Settings(reference=301))


def test_the_floor_is_as_many_real_images_as_samples_against_all_the_others():
  real = images(600, 0, 200)
  settings = compare.Settings()
  entry = both(images(100, 0, 200, seed=1), real, settings)['frechet']
  counts = {k: v for k, v in entry['protocol'].items() if 'count' in k}
  assert list(counts.values()) == [100, 600, 100, 500]
  side = compare.plan_of_real(600, 100, settings).group == 1
  features = real[..., 0].reshape(600, 4)
  assert entry['real_against_real'] == pytest.approx(
    frechet.distance(features[side], features[~side]), rel=1e-9
  )


@pytest.mark.parametrize(
  ('counts', 'words', 'common'),
  [
    # Few samples; as many as real images; a reference of as many; more than
    # half of the real images; a reference of fewer, and of more.
    ((100, 600, 100, 500), '100 against the other 500', None),
    ((600, 600, 300, 300), '300 against the other 300', 300),
    ((100, 100, 100, 100), '100 against 100 others', None),
    ((500, 600, 300, 300), '300 against the other 300', 300),
    ((300, 100, 100, 100), '100 against 100 others', 100),
    ((100, 300, 300, 300), '300 against 300 others', 100),
  ],
)
def test_counts_in_words_and_where_a_floor_is_of_others(counts, words, common):
  names = ('count', 'count_reference', 'count_floor', 'count_floor_reference')
  protocol = dict(zip(names, counts, strict=True))
  assert wording.counts(protocol) == (f'{counts[0]} against {counts[1]}', words)
  number = {'real_against_real': 1.0, 'protocol': protocol}
  assert wording.common_count(number) == common


def test_a_line_says_what_is_against_how_many():
  counted = {'features': 'net', 'count': 10_000, 'count_reference': 50_000}
  floor = {'count_floor': 10_000, 'count_floor_reference': 40_000}
  numbers = {
    'frechet': {
      'value': 7.25,
      'real_against_real': 3.1,
      'protocol': counted | floor,
    },
    'inception_score': {
      'value': 9.0,
      'std_over_splits': 0.25,
      'real_against_real': 11.5,
      'protocol': counted,
    },
  }
  head = dict(num_samples=10_000, seed=0, dataset='some', split='train')
  assert lines.describe(head | numbers)[1:] == [
    'Frechet distance in net: 7.25 (10000 against 50000 real; real against '
    'real 3.1: 10000 against the other 40000)',
    'inception score in net: 9 +- 0.25 over splits (real images score 11.5 '
    'over 50000 images)',
  ]


def test_counts_in_words_over_classes_and_of_real_images_alone():
  over = dict(count=5, count_reference=[7, 9], count_floor=[3, 4])
  over['count_floor_reference'] = [4, 5]
  found = ('5 against 7 to 9', '3 to 4 against 4 to 5 others')
  assert wording.counts(over) == found
  assert wording.counts(dict(count=5, count_reference=8)) == ('8', '')


def test_every_metric_of_samples_as_good_as_the_data():
  settings = compare.Settings(metrics=tuple(compare.METRICS), splits=2)
  numbers = both(
    images(250, 0, 200, seed=5), images(600, 0, 200), settings, net(3)
  )
  assert list(numbers) == list(compare.METRICS)
  for name in ('precision', 'recall', 'coverage', 'prd_precision'):
    assert numbers[name]['value'] > 0.75, name
    near = abs(numbers[name]['value'] - numbers[name]['real_against_real'])
    assert near < 0.15, name
    # 600 real images make two sets of as many as the samples.
    protocol = numbers[name]['protocol']
    assert protocol['count'] == protocol['count_reference'] == 250
  # The kernel is about 1e12 at pixels of 100.
  assert abs(numbers['kernel']['value']) < 1e11
  assert json.loads(json.dumps(numbers)) == numbers


def test_samples_of_half_the_range_have_precision_and_lack_recall():
  settings = compare.Settings(metrics=('precision', 'recall', 'coverage'))
  numbers = both(images(300, 0, 100), images(600, 0, 200), settings)
  assert numbers['precision']['value'] > 0.9
  assert numbers['recall']['value'] < 0.4
  assert numbers['coverage']['value'] < 0.4


def test_too_few_images_are_refused_or_noted():
  few, many = images(4, 0, 200), images(600, 0, 200)
  with pytest.raises(ValueError, match=r'4 samples against 600 .* 4 features'):
    both(few, many, compare.Settings())
  entry = both(few, many, compare.Settings(few=True))['frechet']
  assert 'rank' in entry['protocol']['note']
  # Enough samples, but the floor's halves would be too small: no floor.
  entry = both(images(50, 0, 200), images(8, 0, 200), compare.Settings())
  assert entry['frechet']['real_against_real'] is None
  assert entry['frechet']['floor_note']


@pytest.mark.parametrize(
  ('settings', 'words'),
  [
    (dict(metrics=('fid',)), r"metrics='fid' is not one of \['frechet'"),
    (dict(metrics=()), 'metrics is empty'),
    (dict(metrics=('inception_score',)), "features='four' has no logits"),
    (dict(splits=0), 'splits=0 must be at least 1'),
    (dict(keep=0), 'keep=0 must be at least 1'),
    (dict(reference=-1), 'reference=-1'),
  ],
)
def test_settings_that_no_images_could_meet(settings, words):
  with pytest.raises(ValueError, match=words):
    compare.check(compare.Settings(**settings), net())


def test_images_of_different_sizes():
  settings = compare.Settings()
  tall = np.zeros((50, 4, 1, 3), np.uint8)
  fake = collected(tall, compare.plan_of_fake(50, settings))
  real = collected(images(50, 0, 9), compare.plan_of_real(50, 50, settings))
  with pytest.raises(ValueError, match=r'\(4, 1, 3\) .* \(2, 2, 3\)'):
    compare.compare(fake, real, net(), settings)


def entry(value, **protocol):
  return {'value': value, 'protocol': protocol}


def test_draws_are_averaged_with_their_deviation():
  draws = [{'frechet': entry(value, count=5)} for value in (1.0, 2.0, 6.0)]
  merged = entries.over_draws(draws)['frechet']
  assert merged['value'] == 3.0
  assert merged['draws'] == [1.0, 2.0, 6.0]
  # Deviations -2, -1, 3: 14 / 2.
  assert merged['std_over_draws'] == pytest.approx(7**0.5)
  assert entries.over_draws(draws[:1]) == draws[0]


def test_numbers_of_different_protocols_are_not_merged():
  draws = [{'frechet': entry(1.0, count=n)} for n in (5, 6)]
  with pytest.raises(ValueError, match='differ in their protocols'):
    entries.over_draws(draws)
  assert not entries.same_protocol([d['frechet'] for d in draws])
  assert entries.same_protocol([draws[0]['frechet']] * 2)


def test_which_value_is_better():
  assert entries.better('frechet', 1.0, 2.0)
  assert not entries.better('frechet', 2.0, 1.0)
  assert entries.better('coverage', 2.0, 1.0)
  assert entries.better('sliced_wasserstein', 1.0, 2.0)
  for metric in ('frechet', 'coverage'):
    assert not entries.better(metric, float('nan'), 1.0)
    assert entries.better(metric, 1.0, float('nan'))
    assert not entries.better(metric, 1.0, 1.0)


def test_fid_is_said_of_one_network_and_its_weights_only():
  of = lambda **protocol: entries.title('frechet', protocol)
  inception = dict(features='inception-v3-fid-2048')
  assert of(**inception, weights='6726825d0af5f729') == 'FID'
  assert of(**inception, weights='00112233') == 'Frechet distance'
  assert of(features='efficientnet-lite0') == 'Frechet distance'


def test_fakes_made_of_the_real_images_are_not_chosen_in_pairs():
  # Each image and its copy: 100 chosen of both at random share a half.
  x = np.arange(4 * 200, dtype=np.int64).reshape(200, 2, 2, 1)
  x = np.repeat(x // 4 % 256, 3, axis=-1).astype(np.uint8)
  for keep in (10_000, 100):
    settings = compare.Settings(metrics=('precision',), keep=keep)
    fake = collected(x, compare.plan_of_fake(200, settings))
    real = collected(x, compare.plan_of_real(200, 200, settings))
    sides = single_features.sides_of(fake, real, seed=settings.seed)
    shared = {*sides.fake[:, 0]} & {*sides.real[:, 0]}
    assert len(sides.fake) == 100
    assert 30 < len(shared) < 70, keep


@pytest.mark.parametrize(
  ('settings', 'words'),
  [
    (dict(metrics=('kernel',), reference=3), "'kernel' needs 4 .* leave 3"),
    (dict(metrics=('precision',), keep=3), "'precision' needs 4 .* leave 3"),
    (dict(metrics=('coverage',), keep=5), "'coverage' needs 6 .* leave 5"),
    (dict(metrics=('prd_recall',), keep=9), "'prd_recall' needs 10"),
    (dict(metrics=('inception_score',), splits=9, reference=4), 'leave 8'),
    (dict(metrics=('inception_score',), splits=51), 'leave 50'),
  ],
)
def test_too_few_are_refused_before_they_are_looked_at(settings, words):
  settings = compare.Settings(**settings)
  with pytest.raises(ValueError, match=words):
    compare.check_counts(50, 100, net(3), settings)


@pytest.mark.parametrize('name', compare.METRICS)
def test_the_least_that_is_asked_for_is_enough(name):
  least = compare.METRICS[name].least
  settings = compare.Settings(metrics=(name,), splits=2, few=True)
  fake, real = images(least, 0, 200), images(2 * least, 0, 200, seed=1)
  compare.check_counts(least, 2 * least, net(3), settings)
  entry = both(fake, real, settings, net(3))[name]
  assert np.isfinite([entry['value'], entry['real_against_real']]).all()
