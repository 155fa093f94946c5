"""Classes and modes: counted by hand, and by all outcomes of a few draws."""

import itertools
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.data import stacked as stacked_data
from gan_jax.metrics import classes, digits, modes, nets, stacked
from gan_jax.metrics.feature_net import FeatureNet, Output

# Divergences of histograms.


def test_kl_of_histograms_set_by_hand():
  # (1/2, 1/2) from (1/4, 3/4): log(2) / 2 + log(2/3) / 2 = log(4/3) / 2.
  assert modes.kl([3, 3], [10, 30]) == pytest.approx(math.log(4 / 3) / 2)
  # The other way: log(1/2) / 4 + 3 log(3/2) / 4.
  expected = (math.log(1 / 2) + 3 * math.log(3 / 2)) / 4
  assert modes.kl([10, 30], [3, 3]) == pytest.approx(expected)
  assert modes.kl([1, 2, 3], [2, 4, 6]) == 0
  assert modes.kl([0, 5], [5, 5]) == pytest.approx(math.log(2))
  assert modes.kl([1, 5], [0, 5]) == math.inf


@pytest.mark.parametrize(
  ('p', 'q', 'message'),
  [
    ([1, 2], [1, 2, 3], 'shapes'),
    ([[1, 2]], [[1, 2]], 'shapes'),
    ([0, 0], [1, 2], 'empty'),
    ([1, 2], [0, 0], 'empty'),
    ([-1, 3], [1, 2], 'negative'),
    ([1, 3], [-1, 2], 'negative'),
  ],
)
def test_kl_refuses_what_is_no_pair_of_histograms(p, q, message):
  with pytest.raises(ValueError, match=message):
    modes.kl(p, q)


# Classes.


def test_tally_of_labels_set_by_hand():
  found = classes.tally(np.array([0, 0, 1, 0, 3, 1, 4, 9]), 4)
  np.testing.assert_array_equal(found.histogram, [3, 2, 0, 1])
  assert (found.covered, found.total, found.no_class) == (3, 4, 2)
  assert (found.smallest_share, found.count, found.threshold) == (0, 8, 1)
  # Shares 1/2, 1/3, 1/6 of four: log 4 less the entropy.
  entropy = math.log(2) / 2 + math.log(3) / 3 + math.log(6) / 6
  assert found.kl == pytest.approx(math.log(4) - entropy)


@pytest.mark.parametrize(
  ('limits', 'covered', 'threshold'),
  [
    (dict(minimum=1), 3, 1),
    (dict(minimum=2), 2, 2),
    (dict(minimum=3), 1, 3),
    (dict(share=0.25), 2, 2),  # of all eight, those of no class too
    (dict(share=0.26), 1, 2.08),
    (dict(share=0.1), 3, 1),
    (dict(minimum=3, share=0.1), 1, 3),
  ],
)
def test_a_class_needs_as_many_samples_as_asked(limits, covered, threshold):
  found = classes.tally(np.array([0, 0, 1, 0, 3, 1, 4, 9]), 4, **limits)
  assert found.covered == covered
  assert found.threshold == pytest.approx(threshold)


def test_the_rarest_class_is_a_share_of_all_samples():
  assert classes.tally(np.array([0, 0, 0, 1, 2]), 2).smallest_share == 0.2


def test_samples_of_no_class_cover_nothing_and_have_no_divergence():
  found = classes.tally(np.full(5, 10), 10)
  assert (found.covered, found.no_class, found.kl) == (0, 5, None)


@pytest.mark.parametrize(
  ('labels', 'limits', 'message'),
  [
    ([], {}, 'N >= 1'),
    ([[1, 2]], {}, 'shape'),
    ([0.0, 1.0], {}, 'whole numbers'),
    ([True], {}, 'whole numbers'),
    ([0, -1], {}, '-1'),
    ([0], dict(minimum=0), 'minimum=0'),
    ([0], dict(share=1.5), 'share=1.5'),
  ],
)
def test_tally_refuses_what_it_cannot_count(labels, limits, message):
  with pytest.raises(ValueError, match=message):
    classes.tally(np.array(labels), 3, **limits)


def test_beside_real_is_json_and_has_a_floor_for_every_number():
  fake = classes.tally(np.array([0, 0, 1, 3]), 3)
  real = classes.tally(np.array([0, 1, 2, 2]), 3)
  entry = classes.beside_real(fake, real, data=np.array([10, 10, 20]))
  assert json.loads(json.dumps(entry)) == entry
  assert (entry['covered'], entry['covered_real']) == (2, 3)
  assert (entry['no_class'], entry['no_class_real']) == (1, 0)
  assert (entry['smallest_share'], entry['smallest_share_real']) == (0, 0.25)
  # 2/3 and 1/3, of 1/4 each.
  expected = 2 * math.log(8 / 3) / 3 + math.log(4 / 3) / 3
  assert entry['kl_to_data'] == pytest.approx(expected)
  assert entry['kl_to_data_real'] == 0
  assert entry['kl_to_uniform_real'] == pytest.approx(
    math.log(3) - 1.5 * math.log(2)
  )
  assert entry['covered_expected'] == pytest.approx(3 * (1 - 16 / 81))
  assert entry['protocol'] == {'count': 4, 'threshold': 1}


def test_beside_real_where_there_is_no_divergence():
  real = classes.tally(np.array([0, 1, 2]), 3, minimum=2)
  nothing = classes.tally(np.array([3, 3, 3]), 3, minimum=2)
  entry = classes.beside_real(nothing, real, data=np.array([1, 1, 0]))
  assert entry['kl_to_uniform'] is None and entry['kl_to_data'] is None
  assert entry['kl_to_data_real'] is None  # infinite: class 2 is not in data
  assert json.loads(json.dumps(entry)) == entry
  # The closed forms are for one sample a class.
  assert not [key for key in entry if key.endswith('_expected')]


def test_beside_real_refuses_other_terms():
  four = classes.tally(np.array([0, 1, 2, 2]), 3)
  for other in (
    classes.tally(np.array([0, 1, 2]), 3),
    classes.tally(np.array([0, 1, 2, 2]), 4),
    classes.tally(np.array([0, 1, 2, 2]), 3, minimum=2),
  ):
    with pytest.raises(ValueError, match='must agree in count'):
      classes.beside_real(four, other)


# What even classes give.


@pytest.mark.parametrize(('total', 'count'), [(1, 3), (2, 1), (2, 2), (3, 5)])
def test_expectations_are_means_over_all_outcomes(total, count):
  outcomes = [
    classes.tally(np.array(draws), total)
    for draws in itertools.product(range(total), repeat=count)
  ]
  actual = classes.expected_covered(total, count)
  assert actual == pytest.approx(np.mean([found.covered for found in outcomes]))
  actual = classes.expected_kl(total, count)
  assert actual == pytest.approx(np.mean([found.kl for found in outcomes]))


def test_expectations_at_the_size_of_the_protocol():
  # 1,000 exp(-26) modes are missed; 999 / 52,000, and the next term of the
  # series, (1000^2 - 1) / (12 * 26000^2).
  assert classes.expected_covered(1000, 26_000) == pytest.approx(1000, abs=1e-8)
  expected = 999 / 52_000 + (1000**2 - 1) / (12 * 26_000**2)
  assert classes.expected_kl(1000, 26_000) == pytest.approx(expected, rel=1e-3)
  # At one draw a mode 1 - 1/e of them are reached, within 1 / N.
  assert classes.expected_covered(1000, 1000) == pytest.approx(632.3, abs=0.05)
  assert classes.expected_kl(1000, 1) == pytest.approx(math.log(1000))


def test_even_draws_are_near_their_expectations():
  rng = np.random.default_rng(0)
  found = classes.tally(rng.integers(0, 1000, 5000), 1000)
  # Five standard deviations: those of KL are about sqrt(M / 2) / N = .0045.
  assert abs(found.covered - classes.expected_covered(1000, 5000)) < 5 * 2.6
  assert abs(found.kl - classes.expected_kl(1000, 5000)) < 5 * 0.0045


@pytest.mark.parametrize('bad', [(0, 5), (5, 0)])
def test_expectations_refuse_no_classes_and_no_draws(bad):
  for function in (classes.expected_covered, classes.expected_kl):
    with pytest.raises(ValueError, match='must be at least 1'):
      function(*bad)


# Stacked digits.


def grey_level(images):
  """A classifier that reads the digit off the grey level."""
  return images[:, 0, 0, 0].astype(int)


def coloured(*rows):
  """Plain images, `[N, 8, 8, 3]`, of the given colours."""
  return np.tile(np.array(rows, np.uint8)[:, None, None], (1, 8, 8, 1))


def test_modes_are_read_with_red_as_hundreds():
  images = coloured((1, 2, 3), (0, 0, 7), (9, 9, 9), (3, 2, 1))
  labels = stacked.labels(images, grey_level)
  np.testing.assert_array_equal(labels, [123, 7, 999, 321])


@pytest.mark.parametrize('channel', [0, 1, 2])
def test_one_channel_without_a_digit_makes_no_mode(channel):
  colour = [1, 2, 3]
  colour[channel] = 10
  found = stacked.mode_counts(coloured(colour, (1, 2, 3)), grey_level)
  assert (found.covered, found.total, found.no_class) == (1, 1000, 1)
  assert found.histogram[123] == found.histogram.sum() == 1


def test_modes_need_as_many_samples_as_asked():
  images = coloured((1, 2, 3), (1, 2, 3), (4, 5, 6))
  assert stacked.mode_counts(images, grey_level).covered == 2
  assert stacked.mode_counts(images, grey_level, minimum=2).covered == 1
  assert stacked.mode_counts(images, grey_level, minimum=3).covered == 0


@pytest.mark.parametrize(
  ('images', 'classify', 'message'),
  [
    (np.zeros((2, 8, 8, 1), np.uint8), grey_level, r'\[N, H, W, 3\]'),
    (np.zeros((2, 8, 8, 3), np.float32), grey_level, 'float32'),
    (np.zeros((8, 8, 3), np.uint8), grey_level, 'shape'),
    (coloured((1, 2, 3)), lambda x: np.zeros(2, int), 'for 1 images'),
    (coloured((1, 2, 3)), lambda x: np.zeros(1), 'whole number'),
    (coloured((1, 2, 3)), lambda x: np.array([-1]), 'digit -1'),
  ],
)
def test_labels_refuse_other_images_and_classifiers(images, classify, message):
  with pytest.raises(ValueError, match=message):
    stacked.labels(images, classify)


def net_of(apply, num_classes=10, **options):
  return FeatureNet('toy', 1, num_classes, apply, jnp.ones(()), **options)


def test_a_net_classifies_in_full_batches():
  seen = []

  def apply(params, images):
    seen.append(images.shape)
    level = jnp.asarray(images[:, 0, 0, :1], jnp.float32) * params
    return Output(level, -jnp.abs(level - jnp.arange(10.0)[None]))

  images = (np.arange(7, dtype=np.uint8) * 3 % 10)[:, None, None, None]
  for on_host in (False, True):
    net = net_of(apply, batch_size=3, on_host=on_host)
    found = stacked.classifier(net)(images)
    np.testing.assert_array_equal(found, [0, 3, 6, 9, 2, 5, 8])
  # Compiled once, then called three times on the host.
  assert seen == [(3, 1, 1, 1)] * 4


def test_a_net_without_ten_classes_or_with_nan_is_refused():
  logits = lambda params, images: Output(
    jnp.zeros((len(images), 1)), jnp.full((len(images), 10), jnp.nan)
  )
  with pytest.raises(ValueError, match="'toy' tells 0 classes apart"):
    stacked.classifier(net_of(logits, num_classes=0))
  with pytest.raises(ValueError, match='NaN'):
    stacked.classifier(net_of(logits))(np.zeros((2, 8, 8, 1), np.uint8))


@pytest.fixture(scope='module')
def held_out():
  """Stacks of digits that the classifier has not seen."""
  return stacked_data.load('stacked_digits', 'test', num_images=4000)


@pytest.fixture(scope='module')
def classify():
  return stacked.classifier(nets.load('digits'))


def test_the_digits_net_reads_held_out_stacks(held_out, classify):
  labels = stacked.labels(held_out.examples, classify)
  # Three digits must be right at once.
  accuracy = np.mean(labels == held_out.labels)
  single = digits.classifier().accuracy
  assert single > 0.95
  assert accuracy == pytest.approx(single**3, abs=0.02)


def test_permuted_channels_permute_the_digits(held_out, classify):
  images = held_out.examples[:300]
  labels = stacked.labels(images, classify)
  assert np.count_nonzero(labels < 1000) > 250
  turned = stacked.labels(images[..., ::-1], classify)
  for label, other in zip(labels, turned, strict=True):
    if label < 1000:
      assert f'{other:03}' == f'{label:03}'[::-1]
    else:
      assert other == 1000


def test_real_stacks_reach_as_many_modes_as_even_draws(held_out, classify):
  found = stacked.mode_counts(held_out.examples, classify)
  # 4,000 draws miss 18 of 1,000 modes, give or take 4, and a few more for the
  # classifier's errors; digits are not quite even.
  expected = classes.expected_covered(1000, 4000 - found.no_class)
  assert abs(found.covered - expected) < 20
  assert found.kl == pytest.approx(classes.expected_kl(1000, 4000), rel=0.15)


def test_a_generator_without_some_digits_is_caught(held_out, classify):
  # No 7 in blue and no 0 in red: 9 * 10 * 9 modes are left.
  labels = held_out.labels
  kept = (labels % 10 != 7) & (labels >= 100)
  found = stacked.mode_counts(held_out.examples[kept], classify)
  cells = found.histogram.reshape(10, 10, 10)
  assert cells[0].sum() + cells[:, :, 7].sum() < 0.02 * found.count
  even = classes.expected_kl(810, found.count - found.no_class)
  assert found.kl == pytest.approx(math.log(1000 / 810) + even, rel=0.15)


def test_noise_is_no_digit(classify):
  noise = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), np.uint8)
  assert stacked.mode_counts(noise, classify).no_class > 95
