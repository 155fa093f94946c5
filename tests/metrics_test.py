"""Metrics against closed forms, scipy's matrix root, and points set by hand."""

import functools
import warnings

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from sklearn import datasets

from gan_jax.metrics import digits, floors, frechet, modes, pixels


@pytest.fixture(scope='module')
def net():
  return digits.classifier()


@pytest.fixture(scope='module')
def scans():
  """All handwritten digits in [-1, 1], `[1797, 8, 8, 1]`, and their labels."""
  bunch = datasets.load_digits()
  return bunch.images[..., None] / 8 - 1, bunch.target


def rotation(size, seed):
  rng = np.random.default_rng(seed)
  return np.linalg.qr(rng.standard_normal((size, size)))[0]


# The Frechet distance.


@pytest.mark.parametrize(
  ('mean', 'std', 'expected'),
  [(0.0, 1.0, 0.0), (3.0, 1.0, 9.0), (0.0, 3.0, 4.0), (2.0, 0.0, 5.0)],
)
def test_frechet_distance_on_the_line(mean, std, expected):
  # N(0, 1) against N(m, s^2): m^2 + (1 - s)^2.
  actual = frechet.frechet_distance([0.0], [[1.0]], [mean], [[std**2]])
  assert actual == pytest.approx(expected, abs=1e-12)


def test_frechet_distance_of_diagonal_covariances():
  # Each axis by itself: (1-2)^2 + (3-5)^2, and means 3 and 4 apart.
  actual = frechet.frechet_distance(
    np.zeros(2), np.diag([1.0, 9.0]), np.array([3.0, 4.0]), np.diag([4.0, 25.0])
  )
  assert actual == pytest.approx(1 + 4 + 25)


def test_frechet_distance_of_commuting_covariances():
  # Common axes, turned: the standard deviations differ by 1, 1 and 3.
  axes = rotation(3, 0)
  turned = lambda variances: axes @ np.diag(variances) @ axes.T
  actual = frechet.frechet_distance(
    np.ones(3), turned([1.0, 4.0, 0.0]), np.ones(3), turned([4.0, 1.0, 9.0])
  )
  assert actual == pytest.approx(1 + 1 + 9)


@pytest.mark.parametrize('offset', [0.0, 1e4])
@pytest.mark.parametrize('count', [200, 20], ids=['many', 'few'])
def test_frechet_distance_meets_the_root_of_scipy(count, offset):
  size = 40  # so 20 samples leave singular covariances
  rng = np.random.default_rng(count)
  a = rng.standard_normal((count, size)) @ rng.standard_normal((size, size))
  b = rng.standard_normal((count, size)) * 3 + 1
  cov_a, cov_b = np.cov(a.T), np.cov(b.T)
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # scipy says that the matrix is singular
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
  gap = a.mean(0) - b.mean(0)
  expected = gap @ gap + np.trace(cov_a + cov_b) - 2 * np.trace(root).real
  actual = frechet.distance(a + offset, b + offset)
  assert actual == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_is_zero_to_itself_and_symmetric():
  rng = np.random.default_rng(0)
  a, b = rng.standard_normal((30, 50)), 2 * rng.standard_normal((30, 50))
  assert frechet.distance(a, a) < 1e-6 * np.trace(np.cov(a.T))
  assert frechet.distance(a, b) == pytest.approx(frechet.distance(b, a))


def nuclear(a, b):
  """The distance of two sets without a covariance or a root.

  trace((cov_a cov_b)^(1/2)) is the sum of the singular values of a b^T, both
  centred, over sqrt((n - 1) (m - 1)).
  """
  gap = a.mean(0) - b.mean(0)
  a, b = (x - x.mean(0) for x in (a, b))
  n, m = len(a) - 1, len(b) - 1
  overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum() / np.sqrt(n * m)
  return gap @ gap + (a**2).sum() / n + (b**2).sum() / m - 2 * overlap


def rectified(count, size, seed):
  """Like features of a network: from 0 up, few directions, unequal sizes."""
  rng = np.random.default_rng(seed)
  mix = np.random.default_rng(9).standard_normal((8, size))
  x = rng.standard_normal((count, 8)) @ mix + rng.standard_normal((count, size))
  return np.maximum(x, 0) * np.logspace(-3, 1, size)


@pytest.mark.parametrize('offset', [0.0, 1e4])
@pytest.mark.parametrize(
  'counts',
  [(20, 31), (90, 20), (20, 300), (100, 101), (102, 500), (3, 4)],
  ids=str,
)
def test_frechet_distance_of_few_samples_loses_no_digits(counts, offset):
  # A root of the product is off by 1e-7 where it is singular.
  a, b = (rectified(n, 100, seed) for seed, n in enumerate(counts))
  b = 1.1 * b
  # Of what is left of a and b once they have stood at 1e4.
  expected = nuclear((a + offset) - offset, (b + offset) - offset)
  actual = frechet.distance(a + offset, b + offset)
  assert actual == pytest.approx(expected, rel=1e-9)
  seen_a, seen_b = (
    functools.reduce(frechet.update, np.array_split(x + offset, 3), None)
    for x in (a, b)
  )
  actual = frechet.frechet_distance(
    seen_a.mean, seen_a.covariance, seen_b.mean, seen_b.covariance
  )
  assert actual == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_with_features_that_never_fire():
  a, b = rectified(300, 60, 0), rectified(300, 60, 1)
  a[:, 10:40], b[:, 30:] = 0, 0
  assert frechet.distance(a, b) == pytest.approx(nuclear(a, b), rel=1e-12)


def test_frechet_distance_of_a_spectrum_of_many_decades():
  axes = rotation(80, 0)
  rng = np.random.default_rng(0)
  a = rng.standard_normal((300, 80)) * np.logspace(0, -7, 80) @ axes
  b = 1.1 * rng.standard_normal((300, 80)) * np.logspace(0, -7, 80) @ axes
  assert frechet.distance(a, b) == pytest.approx(nuclear(a, b), rel=1e-9)


def test_few_samples_are_said_to_be_few():
  assert frechet.bias_note(65, 64) is None  # 64 deviations may span it all
  note = frechet.bias_note(64, 64)
  assert 'rank 63 at most in 64 features' in note and 'biased upwards' in note
  x = np.random.default_rng(0).standard_normal((65, 64))
  rank = lambda n: np.linalg.matrix_rank(frechet.moments(x[:n]).covariance)
  assert (rank(64), rank(65)) == (63, 64)


def test_moments_in_pieces_equal_the_whole():
  # float32 holds 1e4 + x to 1e-3 only, so the pieces arrive in float64.
  features = np.random.default_rng(0).standard_normal((1000, 7)) + 1e4
  seen = None
  for piece in np.split(features, [1, 3, 500, 998]):
    seen = frechet.update(seen, piece)
  assert seen.count == 1000
  np.testing.assert_allclose(seen.mean, features.mean(0), rtol=1e-14)
  expected = np.cov((features - 1e4).T)
  np.testing.assert_allclose(seen.covariance, expected, atol=1e-11)


def test_moments_are_taken_in_blocks(monkeypatch):
  features = np.random.default_rng(0).standard_normal((23, 4))
  expected = np.cov(features.T)
  monkeypatch.setattr(frechet, '_BLOCK', 5)
  seen = frechet.moments(features)
  assert seen.count == 23
  np.testing.assert_allclose(seen.mean, features.mean(0), atol=1e-14)
  np.testing.assert_allclose(seen.covariance, expected, atol=1e-14)


def test_moments_of_streams_that_are_merged():
  features = np.random.default_rng(0).standard_normal((23, 4)) + 1e4
  parts = (features[:3], features[3:11], features[11:])
  seen = functools.reduce(frechet.merge, map(frechet.moments, parts))
  assert seen.count == 23
  np.testing.assert_allclose(seen.mean, features.mean(0), rtol=1e-14)
  expected = np.cov((features - 1e4).T)
  np.testing.assert_allclose(seen.covariance, expected, atol=1e-11)


def test_moments_of_three_points_by_hand():
  seen = frechet.moments(np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 3.0]]))
  np.testing.assert_allclose(seen.mean, [2.0, 1.0])
  np.testing.assert_allclose(seen.covariance, [[4.0, 3.0], [3.0, 3.0]])


def test_moments_are_in_float64():
  # Integers up to 2^24 + 1 cannot be told apart in float32.
  features = np.array([[2**24], [2**24 + 1]], np.int64)
  np.testing.assert_allclose(frechet.moments(features).covariance, [[0.5]])


def test_frechet_errors_are_in_plain_words():
  good, eye = np.zeros(2), np.eye(2)
  with pytest.raises(ValueError, match='1 of 3 feature vectors hold NaN'):
    frechet.moments(np.array([[0.0], [np.nan], [1.0]]))
  with pytest.raises(ValueError, match='at least 2 samples, got 1'):
    frechet.distance(np.zeros((1, 2)), np.zeros((5, 2)))
  with pytest.raises(ValueError, match='2 features cannot be compared with 3'):
    frechet.frechet_distance(good, eye, np.zeros(3), np.eye(3))
  with pytest.raises(ValueError, match='mean_b and cov_b must be'):
    frechet.frechet_distance(good, eye, good, np.eye(3))
  with pytest.raises(ValueError, match='cov_b is not symmetric'):
    frechet.frechet_distance(good, eye, good, np.array([[1.0, 0.5], [0.0, 1]]))
  for wrong in (np.diag([1.0, -0.01]), np.array([[1.0, 2.0], [2.0, 1.0]])):
    with pytest.raises(ValueError, match='cov_a .* not positive semidefinite'):
      frechet.frechet_distance(good, wrong, good, eye)
  with pytest.raises(ValueError, match='cov_a holds NaN'):
    frechet.frechet_distance(good, eye * np.nan, good, eye)
  with pytest.raises(ValueError, match='2 and of 3 features do not merge'):
    frechet.update(frechet.moments(np.ones((4, 2))), np.ones((4, 3)))
  with pytest.raises(ValueError, match=r'shape \(0, 3\)'):
    frechet.moments(np.zeros((0, 3)))


# Modes and one-dimensional distances.

CENTRES = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])


def test_coverage_of_points_set_by_hand():
  # std 1: 150 in the first mode, 49 at distance 4 from the second, 1 at 2.9
  # from the third. One in 200 is half a percent.
  points = np.concatenate(
    [np.zeros((150, 2)), np.full((49, 2), [10.0, 4.0]), [[0.0, 12.9]]]
  )
  found = modes.coverage(points, CENTRES, 1.0)
  assert (found.covered, found.total) == (1, 3)
  assert found.high_quality == pytest.approx(151 / 200)
  assert found.histogram.tolist() == [150, 49, 1]
  assert found.near.tolist() == [150, 0, 1]
  assert modes.coverage(points, CENTRES, 1.0, minimum=0.005).covered == 2
  assert modes.coverage(points, CENTRES, 1.0, radius=4.0).covered == 2


def test_a_mode_counts_from_its_minimum_on():
  points = np.zeros((700, 2))
  points[:7] = CENTRES[1]
  points[7:13] = CENTRES[2]
  assert modes.coverage(points, CENTRES, 0.1).covered == 2
  assert 0.07 * 100 > 7  # so the bound itself must not be taken literally
  assert modes.covered([7, 6, 87], 100, 0.07) == 2


def test_a_mode_needs_one_sample_at_least():
  found = modes.coverage(np.zeros((10, 2)), CENTRES, 1.0, minimum=0.0)
  assert found.covered == 1


def test_coverage_of_the_mixture_itself():
  # In the plane 1 - exp(-9/2) lie within three standard deviations.
  rng = np.random.default_rng(0)
  which = rng.integers(3, size=100_000)
  points = CENTRES[which] + 0.5 * rng.standard_normal((100_000, 2))
  found = modes.coverage(points, CENTRES, 0.5)
  assert found.covered == 3
  assert found.high_quality == pytest.approx(1 - np.exp(-4.5), abs=2e-3)
  assert found.kl < 1e-3


def test_kl_to_uniform_by_hand():
  assert modes.kl_to_uniform([5, 5, 5, 5]) == 0.0
  assert modes.kl_to_uniform([7, 0, 0, 0]) == pytest.approx(np.log(4))
  assert modes.kl_to_uniform([3, 3, 0, 0]) == pytest.approx(np.log(2))


def test_wasserstein_1d_by_hand():
  # Sorted: 0 1 5 against 2 3 5, so (2 + 2 + 0) / 3.
  assert modes.wasserstein_1d([5, 0, 1], [3, 5, 2]) == pytest.approx(4 / 3)


def test_wasserstein_meets_scipy_and_its_sliced_form_in_1d():
  rng = np.random.default_rng(0)
  a, b = rng.standard_normal(50), 1 + 3 * rng.standard_normal(50)
  expected = scipy.stats.wasserstein_distance(a, b)
  assert modes.wasserstein_1d(a, b) == pytest.approx(expected)
  sliced = modes.sliced_wasserstein(
    a[:, None], b[:, None], directions=3, seed=1
  )
  assert sliced == pytest.approx(expected)


def test_sliced_wasserstein_of_a_shift_in_the_plane():
  # The shift seen along a direction is |v| |cos|, whose mean is 2 / pi.
  a = np.random.default_rng(0).standard_normal((20, 2))
  actual = modes.sliced_wasserstein(
    a, a[::-1] + np.array([3.0, 4.0]), directions=20_000, seed=0
  )
  assert actual == pytest.approx(5 * 2 / np.pi, rel=0.01)


def test_sliced_wasserstein_depends_on_the_seed_alone():
  a, b = np.eye(4), np.zeros((4, 4))
  value = lambda seed: modes.sliced_wasserstein(a, b, directions=8, seed=seed)
  assert value(1) == value(1) != value(2)


def test_mode_errors_are_in_plain_words():
  with pytest.raises(ValueError, match='points must be finite'):
    modes.coverage(np.full((3, 2), np.nan), CENTRES, 1.0)
  with pytest.raises(ValueError, match='std=0.0 is not positive'):
    modes.coverage(CENTRES, CENTRES, 0.0)
  with pytest.raises(ValueError, match=r'\(3, 1\) and \(3, 2\)'):
    modes.coverage(np.zeros((3, 1)), CENTRES, 1.0)
  with pytest.raises(ValueError, match='equally large, got 3 and 2'):
    modes.sliced_wasserstein(CENTRES, CENTRES[:2])
  with pytest.raises(ValueError, match='directions=0'):
    modes.sliced_wasserstein(CENTRES, CENTRES, directions=0)
  with pytest.raises(ValueError, match='empty histogram'):
    modes.kl_to_uniform([0, 0])


# Pixels.


def test_area_average_of_whole_cells():
  image = np.zeros((1, 16, 8, 2))
  image[0, :2, 0, 0] = [1.0, 3.0]  # one cell is two pixels tall here
  image[0, 15, 7, 1] = 5.0
  small = pixels.area_average(image, 8)
  assert small.shape == (1, 8, 8, 2)
  assert small[0, 0, 0].tolist() == [2.0, 0.0]
  assert small[0, 7, 7].tolist() == [0.0, 2.5]
  assert np.count_nonzero(small) == 2


def test_area_average_shares_pixels_between_cells():
  # Three pixels into two cells of one and a half: (1 + 2/2) / 1.5 and the rest.
  image = np.tile(np.array([1.0, 2.0, 7.0]), (3, 1))[None, :, :, None]
  small = pixels.area_average(image, 2)[0, :, :, 0]
  np.testing.assert_allclose(small, [[4 / 3, 16 / 3]] * 2)


def test_pixel_features_are_flat_and_of_the_image_itself_at_8():
  images = np.random.default_rng(0).standard_normal((3, 8, 8, 3))
  np.testing.assert_allclose(pixels.features(images), images.reshape(3, 192))
  with pytest.raises(ValueError, match=r'at least 8, got shape \(1, 8, 7, 1\)'):
    pixels.features(np.zeros((1, 8, 7, 1)))


# Floors.


def test_floor_is_taken_between_disjoint_halves_at_one_count():
  calls = []

  def distance(a, b):
    assert len(a) == len(b) == len(set(b.tolist())) == 3
    calls.append((set(a.tolist()), set(b.tolist())))
    return float(a.mean() >= 100)  # 1 for fakes, 0 for the rest

  fake, real = np.arange(100.0, 110.0), np.arange(7.0)
  found = floors.against_real(fake, real, distance, seed=0, halvings=4)
  assert (found['value'], found['real_against_real']) == (1.0, 0.0)
  assert found['protocol']['count'] == 3
  assert len(calls) == 8
  for (fakes, reference), (other, again) in zip(
    calls[::2], calls[1::2], strict=True
  ):
    assert reference == again and not reference & other
    assert min(fakes) >= 100
  assert len({frozenset(reference) for _, reference in calls}) > 1


def test_floor_needs_examples():
  with pytest.raises(ValueError, match='got 5 and 3'):
    floors.against_real(np.zeros(5), np.zeros(3), max, seed=0)


# The classifier of digits.


def test_held_out_accuracy(net, scans):
  images, labels = scans
  fit, held_out = digits.split()
  assert not set(fit) & set(held_out)
  assert len(fit) + len(held_out) == 1797 and len(held_out) == 360
  right = net.labels(images[held_out]) == labels[held_out]
  assert net.accuracy == np.mean(right) >= 0.97


def test_classifier_takes_any_size(net, scans):
  images, labels = (x[digits.split()[1]] for x in scans)
  larger = images.repeat(3, axis=1).repeat(3, axis=2)
  np.testing.assert_allclose(
    net.features(larger), net.features(images), atol=1e-9
  )
  indices = np.arange(10) * 8 // 10  # nearest neighbour to an odd size
  odd = images[:, indices][:, :, indices]
  assert np.mean(net.labels(odd) == labels) > 0.85


def test_classifier_forgives_what_generators_do(net, scans):
  images, labels = (x[digits.split()[1]] for x in scans)
  rng = np.random.default_rng(0)
  noisy = np.clip(images + 0.3 * rng.standard_normal(images.shape), -1, 1)
  # One pixel to the right; the left border is paper.
  moved = np.concatenate([-np.ones((360, 8, 1, 1)), images[:, :, :-1]], axis=2)
  assert np.mean(net.labels(noisy) == labels) > 0.9
  assert np.mean(net.labels(moved) == labels) > 0.9


@pytest.mark.parametrize('size', [8, 16])
def test_noise_is_no_digit(net, size):
  rng = np.random.default_rng(0)
  shape = (200, size, size, 1)
  for noise in (
    rng.uniform(-1, 1, shape),
    np.tanh(0.5 * rng.standard_normal(shape)),
    np.broadcast_to(rng.uniform(-1, 1, (200, 1, 1, 1)), shape),
  ):
    assert np.mean(net.labels(noise) == digits.NO_DIGIT) > 0.95


def test_logits_are_linear_in_the_features(net, scans):
  images = scans[0][:5]
  features = net.features(images)
  assert features.shape == (5, 64) and net.logits(images).shape == (5, 11)
  expected = features @ net.weights[-1] + net.biases[-1]
  np.testing.assert_allclose(net.logits(images), expected)
  assert features.min() == 0  # rectified


def test_classifier_is_fitted_once(net):
  assert digits.classifier() is net


def test_classifier_errors_are_in_plain_words(net):
  with pytest.raises(ValueError, match='1 channel, got 3'):
    net.features(np.zeros((1, 8, 8, 3)))
  with pytest.raises(ValueError, match='square images'):
    net.features(np.zeros((1, 8, 9, 1)))
  with pytest.raises(ValueError, match='at least 8'):
    net.features(np.zeros((1, 4, 4, 1)))
