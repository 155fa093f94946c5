"""The inception score: closed forms, and sums that come in pieces."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from gan_jax.metrics import scores


def confident(labels, size=5):
  """Logits so far apart that the softmax is 1 and 0 in float64."""
  return np.where(np.arange(size) == np.asarray(labels)[:, None], 1e3, 0.0)


def test_sure_and_even_classes_score_their_number():
  # KL(one class || uniform over 4) = log 4; the fifth class never appears.
  mean, std = scores.of_logits(confident([0, 1, 2, 3] * 3), splits=1)
  assert mean == pytest.approx(4.0, rel=1e-12)
  assert std == 0.0


def test_classes_that_depend_on_nothing_score_one():
  row = np.random.default_rng(0).standard_normal(7)
  mean, std = scores.of_logits(np.tile(row, (20, 1)), splits=4)
  assert (mean, std) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-12))


def test_score_of_two_images_by_hand():
  # p = (3/4, 1/4) and (1/4, 3/4) have the mean (1/2, 1/2), so each divergence
  # is 3/4 log(3/2) + 1/4 log(1/2).
  logits = np.log([[3.0, 1.0], [1.0, 3.0]])
  expected = np.exp(0.75 * np.log(1.5) + 0.25 * np.log(0.5))
  mean, _ = scores.of_logits(logits, splits=1)
  assert mean == pytest.approx(expected, rel=1e-14)


def test_deviation_over_splits_is_that_of_the_population():
  # In order, the first half holds one class and the second two: 1 and 2.
  logits = confident([0, 0, 0, 0, 1, 2, 1, 2])
  mean, std = scores.of_logits(logits, splits=2, seed=None)
  assert (mean, std) == (pytest.approx(1.5), pytest.approx(0.5))


def test_score_is_the_mean_divergence_of_scipy():
  logits = 3 * np.random.default_rng(0).standard_normal((90, 20))
  p = scipy.special.softmax(logits, axis=1)
  split = scores.splits_of(90, 7)
  expected = []
  for number in range(7):
    part = p[split == number]
    divergences = [scipy.stats.entropy(row, part.mean(0)) for row in part]
    expected.append(np.exp(np.mean(divergences)))
  mean, std = scores.of_logits(logits, splits=7)
  assert mean == pytest.approx(np.mean(expected), rel=1e-12)
  assert std == pytest.approx(np.std(expected), rel=1e-9)


def test_splits_differ_by_one_image_at_most():
  # 23 * i / 10, rounded down: 0 2 4 6 9 11 13 16 18 20 23.
  in_order = scores.splits_of(23, 10, seed=None)
  sizes = [2, 2, 2, 3, 2, 2, 3, 2, 2, 3]
  assert in_order.tolist() == np.repeat(np.arange(10), sizes).tolist()
  shuffled = scores.splits_of(23, 10)
  assert sorted(shuffled) == in_order.tolist() != shuffled.tolist()
  assert scores.splits_of(0, 3).shape == (0,)


def test_splits_are_those_of_the_shuffled_images():
  # The images in the order of the permutation, cut in three.
  order = np.random.RandomState(2020).permutation(10)
  part = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
  split = scores.splits_of(10, 3)
  assert split[order].tolist() == part.tolist()
  assert split.tolist() != part[order].tolist()  # the inverse, by mistake


def test_sums_in_pieces_equal_the_whole():
  logits = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)
  split = scores.splits_of(50, 4)
  whole = scores.sums(logits, split, 4)
  seen = None
  for at in np.split(np.arange(50), [1, 1, 20, 49]):  # one of them empty
    part = scores.sums(logits[at], split[at], 4)
    seen = part if seen is None else scores.merge(seen, part)
  assert whole.count.tolist() == [12, 13, 12, 13] == seen.count.tolist()
  np.testing.assert_allclose(seen.p, whole.p, rtol=1e-13)
  np.testing.assert_allclose(seen.p_log_p, whole.p_log_p, rtol=1e-13)
  assert whole.p.dtype == np.float64
  np.testing.assert_allclose(whole.p.sum(axis=1), whole.count)


def test_softmax_is_taken_in_float64():
  # Both have float32 logits; the odds of e^-20 would be lost in 1 + e^-20.
  logits = np.array([[20.0, 0.0]], np.float32)
  total = scores.sums(logits, np.array([0]), 1)
  assert total.p[0, 1] == pytest.approx(scipy.special.expit(-20.0), rel=1e-12)


def test_large_logits_are_no_trouble():
  logits = np.array([[3e38, -3e38], [-3e38, 3e38]], np.float32)
  assert scores.of_logits(logits, splits=1)[0] == pytest.approx(2.0)


def test_score_errors_are_in_plain_words():
  logits = np.zeros((3, 2))
  with pytest.raises(ValueError, match='2 of 5 splits .* are empty .3 images'):
    scores.of_logits(logits, splits=5)
  with pytest.raises(ValueError, match='logits: 1 of 3 feature vectors hold'):
    scores.of_logits(np.array([[0.0], [np.inf], [1.0]]), splits=1)
  with pytest.raises(ValueError, match=r'logits must be \[N, F\].*\(3,\)'):
    scores.of_logits(np.zeros(3))
  with pytest.raises(ValueError, match='logits must be at least 1'):
    scores.of_logits(np.zeros((0, 3)))
  with pytest.raises(ValueError, match='splits=0 must be at least 1'):
    scores.splits_of(5, 0)
  with pytest.raises(ValueError, match=r'integers of shape \(3,\)'):
    scores.sums(logits, np.zeros(2, int), 1)
  with pytest.raises(ValueError, match='in 0 to 1, got 0 to 2'):
    scores.sums(logits, np.arange(3), 2)
  a = scores.sums(logits, np.zeros(3, int), 2)
  b = scores.sums(np.zeros((3, 4)), np.zeros(3, int), 2)
  with pytest.raises(ValueError, match='2 splits and 2 classes .* 2 and 4'):
    scores.merge(a, b)
