"""The path that never rises, and the smoothed surfaces."""

import itertools

import numpy as np
import pytest

from gan_jax.theory import configurations, descent_path, landscape_smooth

pytestmark = pytest.mark.float64

LOG_2 = np.log(2.0)
PAIRED = ('relativistic', 'relativistic_hinge', 'relativistic_least_squares')


def follow(name, real, fake):
  corners = descent_path.path(real, fake).configurations
  return corners, descent_path.profile(name, real, corners, between=3)[1]


def random_start(seed, dimension):
  """Points on a small lattice, so that many coincide or lie on one line."""
  random = np.random.default_rng(seed)
  size = int(random.integers(1, 7))
  places = random.permutation(9)[:size]
  fake = random.integers(-1, 10, size=size)
  if dimension == 1:
    return places.astype(float), fake.astype(float)
  lattice = np.stack([np.arange(-1, 10) % 4, np.arange(-1, 10) // 4], 1)
  return lattice[places + 1].astype(float), lattice[fake + 1].astype(float)


@pytest.mark.parametrize('dimension', [1, 2])
@pytest.mark.parametrize('name', PAIRED)
def test_never_rises_and_arrives(name, dimension):
  at_zero = LOG_2 if name == 'relativistic' else 1.0
  for seed in range(8):
    real, fake = random_start(seed, dimension)
    corners, values = follow(name, real, fake)
    assert descent_path.largest_rise(values) < 1e-12, seed
    np.testing.assert_allclose(values[-1], -at_zero, atol=1e-12)
    start, end = (np.reshape(corners[k], fake.shape) for k in (0, -1))
    np.testing.assert_array_equal(start, fake)
    # Every generated point is on a real one, and every real one is met.
    assert {tuple(np.atleast_1d(y)) for y in end} == {
      tuple(np.atleast_1d(x)) for x in real
    }


def test_one_point_at_a_time_and_in_one_piece():
  real, fake = random_start(3, 2)
  corners = descent_path.path(real, fake).configurations
  moved = np.any(np.diff(corners, axis=0) != 0, axis=2)
  assert np.all(np.sum(moved, 1) == 1)


@pytest.mark.parametrize('seed', range(8))
def test_between_corners_the_pattern_is_that_of_the_segment(seed):
  real, fake = random_start(seed, 1)
  corners = descent_path.path(real, fake).configurations
  for start, end in itertools.pairwise(corners):
    inside = {
      configurations.merge(real, start + t * (end - start)).pattern
      for t in (0.11, 0.5, 0.77)
    }
    assert len(inside) == 1


def test_js_rises_along_it():
  # Two points at one real: -.9548; the second has to leave, to -.6931.
  real = np.array([[0.0, 0.0], [1.0, 2.0]])
  _, rs = follow('relativistic', real, real[[0, 0]])
  _, js = follow('nonsaturating', real, real[[0, 0]])
  assert descent_path.largest_rise(rs) == 0
  rise = 1.5 * np.log(3) - 2 * LOG_2
  np.testing.assert_allclose(descent_path.largest_rise(js), rise)
  np.testing.assert_allclose(rs[[0, -1]], [-LOG_2 / 2, -LOG_2])


def test_crossed_pairs_are_left_alone():
  real = np.arange(3.0)
  found = descent_path.path(real, np.array([1.0, 0.0, 0.0]))
  np.testing.assert_array_equal(found.configurations[-1][:, 0], [1, 0, 2])
  np.testing.assert_allclose(found.values[[0, -1]], [-2 / 3 * LOG_2, -LOG_2])


@pytest.mark.parametrize(
  'real',
  [
    np.array([1.0, np.nextafter(1, 2)]),
    np.array([[1e9, 0.0], [1e9, 1e-9]]),
  ],
  ids=['line', 'plane'],
)
def test_no_room_to_step_aside(real):
  with pytest.raises(ValueError, match='vanishes by rounding'):
    descent_path.path(real, real[[0, 0]])
  # About 0 there is.
  values = descent_path.path(real - real[0], 0 * real).values
  np.testing.assert_allclose(values[[0, -1]], [-LOG_2 / 2, -LOG_2])


def test_path_errors():
  with pytest.raises(ValueError, match='duplicates'):
    descent_path.path(np.zeros(2), np.zeros(2))
  with pytest.raises(ValueError, match='between=0'):
    descent_path.profile(
      'relativistic', np.zeros(1), np.ones((2, 1, 1)), between=0
    )


GRID = np.linspace(-0.9, 1.9, 36)
REAL = np.array([0.0, 1.0])
# match, crossed, collapse, another, in between
FAKE = np.array([[0, 1], [1, 0], [0, 0], [0.2, -0.3], [0.5, 0.5]])


def smooth(name, fake=FAKE, width=0.12):
  return landscape_smooth.surface(name, REAL, fake, GRID, width=width)[0]


def test_smoothed_js_is_a_divergence():
  """2 JS - 2 log 2 of the two blurred samples, by sums."""
  normal = lambda m: np.exp(-((GRID - m) ** 2) / 2 / 0.12**2)
  density = lambda x: sum(normal(m) / np.sum(normal(m)) for m in x) / 2
  p = density(REAL)
  expected = [
    np.sum(p * np.log(p / (p + q)) + q * np.log(q / (p + q)))
    for q in map(density, FAKE)
  ]
  found, _ = landscape_smooth.surface(
    'nonsaturating', REAL, FAKE, GRID, width=0.12, penalty=1e-10
  )
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_smoothed_rs_where_pairs_can_be_exchanged():
  # Both members of the pairs alike: no critic is better than a constant.
  values = smooth('relativistic')
  np.testing.assert_allclose(values[:2], -LOG_2, rtol=1e-12)
  np.testing.assert_allclose(values[2], -LOG_2 / 2, atol=1e-3)


def test_the_smoothed_collapse_is_a_hole_for_js_only():
  aside = np.array([[0, 0], [0.4, 0], [0, 0.4], [0, -0.4], [-0.4, 0]])
  js, rs = smooth('nonsaturating', aside), smooth('relativistic', aside)
  assert np.min(js[1:]) > js[0] + 0.1
  np.testing.assert_allclose(rs[2:4], rs[0], atol=1e-3)


def test_local_minima_by_depth():
  surface = np.array([[3, 1, 2, 0, 3], [3, 3, 2.5, 3, 3], [1.9, 4, 4, 4, 4]])
  indices = landscape_smooth.local_minima(surface, margin=0.5)
  assert indices.tolist() == [[0, 3], [0, 1], [2, 0]]
  indices = landscape_smooth.local_minima(surface, margin=1.05)
  assert indices.tolist() == [[0, 3], [2, 0]]


def test_smoothing_errors():
  with pytest.raises(ValueError, match="loss='hinge'"):
    smooth('hinge')
  with pytest.raises(ValueError, match='relativistic_average'):
    smooth('relativistic_average')
  with pytest.raises(ValueError, match=r'width=0\.01'):
    smooth('relativistic', width=0.01)
  with pytest.raises(ValueError, match='3 widths beyond'):
    smooth('relativistic', fake=np.array([[0, 1.8]]))


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    (dict(fake=np.zeros((4, 1))), r'shape \(2,\) and fake \(4, 1\)'),
    (dict(fake=np.zeros((4, 3))), r'shape \(2,\) and fake \(4, 3\)'),
    (dict(fake=np.zeros(2)), r'shape \(2,\) and fake \(2,\)'),
    (dict(fake=np.zeros((0, 2))), 'nothing to compute'),
    (dict(real=np.zeros(2)), r'real=\[0.0, 0.0\] has duplicates'),
    (dict(grid=np.delete(GRID, 7)), 'equal distances'),
    (dict(grid=GRID[::-1]), 'equal distances'),
    (dict(grid=GRID[:1]), 'equal distances'),
  ],
)
def test_points_and_grids_of_other_shapes(change, words):
  given = dict(real=REAL, fake=FAKE, grid=GRID) | change
  with pytest.raises(ValueError, match=words):
    landscape_smooth.surface('relativistic', **given, width=0.12)
