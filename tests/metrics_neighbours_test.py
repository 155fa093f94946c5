"""Precision, recall, density and coverage: by hand, by brute force, by prdc."""

import numpy as np
import pytest

from gan_jax.metrics import neighbours


def both(fake, real, k):
  found = neighbours.precision_recall(fake, real, k=k)
  return (*found, *neighbours.density_coverage(fake, real, k=k))


def column(*values):
  return np.array(values, float)[:, None]


def brute(fake, real, k):
  """The four numbers from all differences, closed balls for the first two."""
  apart = lambda a, b: np.square(a[:, None] - b[None]).sum(-1)
  # The point itself is the first of its neighbours.
  real_radius = np.sort(apart(real, real), axis=1)[:, k]
  fake_radius = np.sort(apart(fake, fake), axis=1)[:, k]
  gaps = apart(real, fake)
  inside = gaps < real_radius[:, None]
  return (
    (gaps <= real_radius[:, None]).any(axis=0).mean(),
    (gaps <= fake_radius[None]).any(axis=1).mean(),
    inside.sum(axis=0).mean() / k,
    inside.any(axis=1).mean(),
  )


def test_points_on_the_line_by_hand():
  # Real 0, 1, 3, 7 reach 1, 1, 2, 4 to their nearest: balls [-1, 1], [0, 2],
  # [1, 5], [3, 11]. Fakes -1.5, 0.5, 4 and 20 lie in 0, 2, 2 and 0 of them,
  # which are all four. Their own balls [-3.5, .5], [-1.5, 2.5], [.5, 7.5] and
  # [4, 36] hold all the real ones.
  real, fake = column(0, 1, 3, 7), column(-1.5, 0.5, 4, 20)
  found = neighbours.precision_recall(fake, real, k=1)
  assert found == neighbours.PrecisionRecall(precision=0.5, recall=1.0)
  found = neighbours.density_coverage(fake, real, k=1)
  assert found == neighbours.DensityCoverage(density=4 / 4, coverage=1.0)


def test_sides_are_not_confused():
  # Fakes gather at one real mode of two: precise, but half is missing.
  rng = np.random.default_rng(0)
  near, far = rng.standard_normal((2, 40, 3)) * 0.1
  fake, real = near[:20], np.concatenate([near[20:], far[:20] + 100])
  precision, recall, density, coverage = both(fake, real, 5)
  assert precision > 0.6 and recall <= 0.5
  assert density > 0.6 and coverage <= 0.5
  precision, recall, _, coverage = both(real, fake, 5)
  assert precision <= 0.5 and recall > 0.6 and coverage > 0.6


def test_k_th_neighbour_leaves_the_point_itself_out():
  # Reach of 0 among 0, 1, 3, 7: 1, 3 and 7.
  for k, reach in ((1, 1), (2, 3), (3, 7)):
    real = column(0, 1, 3, 7)
    edge = neighbours.precision_recall(column(-reach, -99, -99, -99), real, k=k)
    past = neighbours.precision_recall(
      column(-reach - 1e-9, -99, -99, -99), real, k=k
    )
    assert (edge.precision, past.precision) == (0.25, 0.0)


def test_closed_balls_hold_their_edge_and_open_ones_do_not():
  real, fake = column(0, 1), column(2, 50)  # 2 is on the edge of [0, 2]
  assert neighbours.precision_recall(fake, real, k=1).precision == 0.5
  assert neighbours.density_coverage(fake, real, k=1) == (0.0, 0.0)


@pytest.mark.parametrize('offset', [0.0, 1e6])
def test_a_set_in_its_own_balls(offset):
  # Every k-th neighbour is on an edge, so one wrong digit would count.
  x = offset + np.random.default_rng(0).standard_normal((200, 30))
  assert both(x, x, 4) == (1.0, 1.0, 1.0, 1.0)
  assert both(x[::-1], x, 4) == (1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize('k', [1, 3, 5])
@pytest.mark.parametrize('kind', ['random', 'ties', 'copies', 'near copies'])
def test_brute_force(kind, k, monkeypatch):
  monkeypatch.setattr(neighbours, '_BLOCK', 100)  # a few rows at once
  monkeypatch.setattr(neighbours, '_PAIRS', 10)
  for seed in range(5):
    rng = np.random.default_rng(seed)
    fake, real = (
      rng.standard_normal((23, 3)),
      rng.standard_normal((31, 3)) + 0.3,
    )
    if kind == 'ties':  # few different distances, many of each
      fake, real = np.round(fake), np.round(real)
    elif kind == 'copies':
      fake = real[rng.integers(0, 6, 23)]
    elif kind == 'near copies':  # apart by less than products can tell
      fake = 10 + real[rng.integers(0, 6, 23)]
      fake += 1e-8 * rng.standard_normal((23, 3))
      real = real + 10
    np.testing.assert_allclose(both(fake, real, k), brute(fake, real, k))


def test_a_collapsed_generator():
  # All fakes are one vector: their balls are points.
  real = np.random.default_rng(0).standard_normal((50, 4))
  fake = np.tile(real[7], (5000, 1))
  precision, recall, density, coverage = both(fake, real, 3)
  assert (precision, recall) == (1.0, 1 / 50)
  _, _, expected, covered = brute(fake[:4], real, 3)
  assert (density, coverage) == (pytest.approx(expected), covered)


def test_numbers_of_prdc():
  # compute_prdc(real, fake, k) of prdc 0.2 for these two sets.
  rng = np.random.RandomState(0)
  fake, real = 0.9 * rng.randn(60, 8) + 0.2, rng.randn(50, 8)
  for dtype in (np.float64, np.float32):
    a, b = fake.astype(dtype), real.astype(dtype)
    np.testing.assert_allclose(both(a, b, 3), [0.9, 0.8, 1.1277777777, 0.92])
    np.testing.assert_allclose(both(a, b, 5), [29 / 30, 0.84, 1.1, 1.0])


def test_one_distribution_has_density_one():
  # A ball holds k of the other n - 1 real ones by its making, a share k / n of
  # all there is, so k of n fakes as well, on average.
  rng = np.random.default_rng(0)
  fake, real = rng.standard_normal((2, 1000, 2))
  found = neighbours.density_coverage(fake, real)
  assert found.density == pytest.approx(1.0, abs=0.05)
  # It misses all fakes if the k nearest of all others are real.
  assert found.coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_neighbour_errors_are_in_plain_words():
  good = np.random.default_rng(0).standard_normal((9, 2))
  bad = good.copy()
  bad[3:5] = np.nan
  for measure in (neighbours.precision_recall, neighbours.density_coverage):
    with pytest.raises(ValueError, match='fake: 2 of 9 feature vectors hold'):
      measure(bad, good)
    with pytest.raises(ValueError, match='real: 2 of 9 feature vectors hold'):
      measure(good, bad)
    with pytest.raises(ValueError, match='fake have 2 features and real 3'):
      measure(good, np.zeros((9, 3)))
    with pytest.raises(ValueError, match=r'fake must be \[N, F\].*\(9,\)'):
      measure(good[:, 0], good)
    with pytest.raises(ValueError, match='k=0 must be at least 1'):
      measure(good, good, k=0)
    with pytest.raises(
      ValueError, match='more than 9 vectors, got 10 fake and 9'
    ):
      measure(np.ones((10, 2)), good, k=9)
