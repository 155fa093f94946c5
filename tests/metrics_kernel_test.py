"""The kernel distance: numbers by hand, and its estimate without blocks."""

import numpy as np
import pytest

from gan_jax.metrics import kernel


def brute(a, b, value=lambda x, y: (x @ y / len(x) + 1) ** 3):
  """Means over pairs, each pair by itself; no pair of a row with itself."""
  mean = lambda pairs: np.mean([value(x, y) for x, y in pairs])
  within = lambda s: mean(
    [(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j]
  )
  return within(a) + within(b) - 2 * mean([(x, y) for x in a for y in b])


def test_unbiased_estimate_by_hand():
  # One feature, so k(x, y) = (x y + 1)^3. Pairs within (0, 1): 1; within
  # (2, -1): -1; across: 1, 1, 27, 0, of mean 29 / 4.
  actual = kernel.unbiased_mmd2(np.array([[0.0], [1.0]]), [[2.0], [-1.0]])
  assert actual == pytest.approx(1 - 1 - 2 * 29 / 4)


def test_linear_kernel_is_a_distance_of_means():
  # x.y without its diagonal: |mean a - mean b|^2 - tr C_a / n - tr C_b / m.
  rng = np.random.default_rng(0)
  a, b = rng.standard_normal((9, 4)), rng.standard_normal((13, 4)) + 1
  gap = a.mean(0) - b.mean(0)
  bias = np.trace(np.cov(a.T)) / 9 + np.trace(np.cov(b.T)) / 13
  actual = kernel.unbiased_mmd2(a, b, degree=1, gamma=1.0, coef0=0.5)
  assert actual == pytest.approx(gap @ gap - bias, rel=1e-12)


@pytest.mark.parametrize('counts', [(20, 31), (31, 20), (7, 7)])
def test_blocks_change_nothing(monkeypatch, counts):
  monkeypatch.setattr(kernel, '_BLOCK', 7)
  rng = np.random.default_rng(0)
  a, b = (rng.standard_normal((n, 3)) for n in counts)
  assert kernel.unbiased_mmd2(a, b) == pytest.approx(brute(a, b), rel=1e-12)


def test_settings_of_the_kernel_are_used():
  rng = np.random.default_rng(0)
  a, b = rng.standard_normal((6, 3)), 2 * rng.standard_normal((5, 3))
  settings = dict(degree=4, gamma=0.3, coef0=2.0)
  expected = brute(a, b, lambda x, y: (0.3 * (x @ y) + 2.0) ** 4)
  actual = kernel.unbiased_mmd2(a, b, **settings)
  assert actual == pytest.approx(expected, rel=1e-12)
  mean, _ = kernel.kernel_distance(a[:5], b, subset_size=5, **settings)
  expected = brute(a[:5], b, lambda x, y: (0.3 * (x @ y) + 2.0) ** 4)
  assert mean == pytest.approx(expected, rel=1e-12)


def test_subsets_are_drawn_by_turns_without_replacement():
  rng = np.random.default_rng(0)
  a, b = rng.standard_normal((8, 2)), rng.standard_normal((9, 2)) + 1
  draws = np.random.RandomState(5)
  values = []
  for _ in range(4):
    x = a[draws.choice(8, 3, replace=False)]
    y = b[draws.choice(9, 3, replace=False)]
    values.append(brute(x, y))
  actual = kernel.kernel_distance(a, b, subsets=4, subset_size=3, seed=5)
  np.testing.assert_allclose(actual, [np.mean(values), np.std(values)])


def test_whole_sets_as_subsets_do_not_vary():
  rng = np.random.default_rng(0)
  a, b = rng.standard_normal((10, 3)), rng.standard_normal((10, 3))
  mean, std = kernel.kernel_distance(a, b, subsets=3, subset_size=10)
  assert mean == pytest.approx(kernel.unbiased_mmd2(a, b), rel=1e-10)
  assert std < 1e-12


def test_it_has_no_bias():
  # Over many pairs of tiny sets of one distribution the mean is 0, within four
  # of its deviations; a biased estimate would be above 1 here.
  rng = np.random.default_rng(0)
  values = [
    kernel.unbiased_mmd2(
      rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    )
    for _ in range(2000)
  ]
  assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(2000) < 1


def test_it_computes_in_float64():
  # In float32, products near 1e4 are off by 1e-3.
  rng = np.random.default_rng(0)
  a = (100 + rng.standard_normal((50, 2))).astype(np.float32)
  b = (100 + rng.standard_normal((50, 2))).astype(np.float32)
  expected = brute(a.astype(np.longdouble), b.astype(np.longdouble))
  actual = kernel.unbiased_mmd2(a, b)
  assert actual == pytest.approx(float(expected), rel=1e-7)


def test_kernel_errors_are_in_plain_words():
  few, many = np.zeros((5, 2)), np.zeros((1200, 2))
  message = 'subset_size=1000 .* 5 and 1200 feature vectors. Take at most 5'
  with pytest.raises(ValueError, match=message):
    kernel.kernel_distance(few, many)
  with pytest.raises(
    ValueError, match='subset_size=1000 .* 1200 and 5 feature'
  ):
    kernel.kernel_distance(many, few)
  with pytest.raises(ValueError, match='subset_size=1 at least 2'):
    kernel.kernel_distance(few, few, subset_size=1)
  with pytest.raises(ValueError, match='subsets=0 must be at least 1'):
    kernel.kernel_distance(few, few, subset_size=2, subsets=0)
  with pytest.raises(ValueError, match='a have 2 features and b 3'):
    kernel.unbiased_mmd2(few, np.zeros((5, 3)))
  with pytest.raises(ValueError, match='b: 2 of 5 feature vectors hold NaN'):
    bad = few.copy()
    bad[1, 0], bad[3] = np.nan, np.inf
    kernel.unbiased_mmd2(few, bad)
  with pytest.raises(ValueError, match='a must be at least 2 vectors, got 1'):
    kernel.unbiased_mmd2(few[:1], few)
  with pytest.raises(ValueError, match=r'a must be \[N, F\].*\(5,\)'):
    kernel.unbiased_mmd2(np.zeros(5), few)
  with pytest.raises(ValueError, match='degree=0'):
    kernel.unbiased_mmd2(few, few, degree=0)
  with pytest.raises(ValueError, match='gamma=-1.0'):
    kernel.unbiased_mmd2(few, few, gamma=-1.0)
