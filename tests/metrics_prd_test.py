"""PRD curves: histograms by hand, and sets whose clusters cannot be missed."""

import numpy as np
import pytest

from gan_jax.metrics import prd


def islands(counts, seed=0):
  """Points about (0, 0), (100, 0), (200, 0) ...: so many of each, `[N, 2]`."""
  rng = np.random.default_rng(seed)
  centres = np.repeat(np.arange(len(counts)) * 100.0, counts)
  return np.stack([centres, 0 * centres], 1) + rng.standard_normal(
    (sum(counts), 2)
  )


def test_equal_histograms():
  # min(s q, q) = min(s, 1): precision min(s, 1), recall min(1, 1 / s).
  found = prd.from_histograms([2, 6], [1, 3], angles=5)
  slope = np.tan(np.pi / 8)
  expected = [0, slope, 1, 1, 1]
  np.testing.assert_allclose(found.precision, expected, atol=1e-9)
  np.testing.assert_allclose(found.recall, expected[::-1], atol=1e-9)
  assert prd.f_beta(found) == (pytest.approx(1.0), pytest.approx(1.0))
  shares = np.random.RandomState(9).rand(9)  # sum to 1 + 2e-16, scaled
  assert np.max(prd.from_histograms(shares, shares)) <= 1


def test_disjoint_histograms():
  found = prd.from_histograms([1, 0], [0, 1])
  assert not found.precision.any() and not found.recall.any()
  assert prd.f_beta(found) == (0.0, 0.0)


def test_two_bins_by_hand():
  # p = (1, 0), q = (1/2, 1/2). At slope s precision is min(s / 2, 1): the fakes
  # are all real, and explain half of what is real.
  found = prd.from_histograms([5, 0], [3, 3], angles=1001)
  slope = np.tan(np.linspace(0, np.pi / 2, 1001)[1:-1])
  expected = np.minimum(slope / 2, 1)
  np.testing.assert_allclose(found.precision[1:-1], expected)
  np.testing.assert_allclose(found.recall[1:-1], expected / slope)
  assert found.precision[500] == pytest.approx(0.5)  # slope 1
  # The best point is precision 1, recall 1/2, for every beta: 65 / 2 over
  # 64 + 1/2, and 65 / 2 over 1 + 64 / 2. The angles miss it by 1e-3.
  recall, precision = prd.f_beta(found)
  assert recall == pytest.approx(65 / 129, abs=1e-3)
  assert precision == pytest.approx(65 / 66, abs=1e-3)


def test_swapped_sides_swap_precision_and_recall():
  rng = np.random.default_rng(0)
  p, q = rng.random(7), rng.random(7)
  there, back = prd.from_histograms(p, q), prd.from_histograms(q, p)
  np.testing.assert_allclose(there.precision, back.recall[::-1], atol=1e-6)
  assert prd.f_beta(there) == pytest.approx(prd.f_beta(back)[::-1])


def test_middle_of_the_curve_is_what_histograms_share():
  # At slope 1 both are 1 - the total variation distance.
  p, q = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.2, 0.7])
  found = prd.from_histograms(p, q)
  share = 1 - np.abs(p - q).sum() / 2
  assert found.precision[500] == pytest.approx(share)
  assert found.recall[500] == pytest.approx(share)


def test_f_beta_by_hand():
  curve = prd.Curve(np.array([0.5, 0.0]), np.array([0.25, 0.0]))
  # beta 2: 5 / 8 over 2 + 1/4; 1/2: 5/4 / 8 over 1/8 + 1/4.
  expected = pytest.approx(5 / 18), pytest.approx(5 / 12)
  assert prd.f_beta(curve, 2.0) == expected


def test_curve_of_islands_is_that_of_their_histograms():
  # As many clusters as islands, so that k-means has one answer.
  fake, real = islands([40, 20, 0]), islands([20, 20, 20], seed=1)
  found = prd.curve(fake, real, clusters=3, runs=2)
  expected = prd.from_histograms([2, 1, 0], [1, 1, 1])
  np.testing.assert_allclose(found, expected, atol=1e-12)


def test_curves_of_the_runs_are_averaged():
  x, y = islands([30, 30]), islands([10, 50], seed=1)
  one = [prd.curve(x, y, clusters=5, runs=1, seed=3 + i) for i in range(3)]
  assert not np.allclose(one[0], one[1])
  mean = prd.curve(x, y, clusters=5, runs=3, seed=3)
  np.testing.assert_allclose(mean, np.mean(one, axis=0), atol=1e-12)


def test_equal_and_disjoint_sets():
  x = islands([30, 30, 30])
  found = prd.curve(x, x, runs=1)
  middle = found.precision[500], found.recall[500]
  assert middle == (pytest.approx(1.0), pytest.approx(1.0))
  found = prd.curve(x, x + 1e4, clusters=6, runs=1)
  assert not found.precision.any() and not found.recall.any()


def test_prd_errors_are_in_plain_words():
  good = islands([30])
  bad = good.copy()
  bad[:2] = np.inf
  with pytest.raises(ValueError, match='real: 2 of 30 feature vectors hold'):
    prd.curve(good, bad)
  with pytest.raises(ValueError, match='got 30 fake and 29 real.*at most 29'):
    prd.curve(good, good[:29])
  with pytest.raises(ValueError, match='clusters=61 between 1 and .* 60'):
    prd.curve(good, good, clusters=61)
  with pytest.raises(ValueError, match='runs=0 must be at least 1'):
    prd.curve(good, good, runs=0)
  with pytest.raises(ValueError, match='p has 2 bins and q 3'):
    prd.from_histograms([1, 2], [1, 2, 3])
  with pytest.raises(ValueError, match='q is an empty histogram'):
    prd.from_histograms([1, 2], [0, 0])
  with pytest.raises(ValueError, match='p must be a histogram'):
    prd.from_histograms([1, -2], [1, 2])
  with pytest.raises(ValueError, match='angles=2 must be at least 3'):
    prd.from_histograms([1, 2], [1, 2], angles=2)
  with pytest.raises(ValueError, match='beta=1.0 must be above 1'):
    prd.f_beta(prd.from_histograms([1], [1]), 1.0)
