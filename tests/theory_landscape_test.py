"""Best critics: numbers by hand, a convex solve, and a peer's minimizer."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from scipy import optimize

from gan_jax import losses
from gan_jax.theory import (
  configurations,
  landscape,
  landscape_closed,
  landscape_solver,
  landscape_terms,
)

pytestmark = pytest.mark.float64

LOG_2 = np.log(2.0)
NAMES = sorted(losses.LOSSES)
REAL = np.array([0.0, 1.0])
# y for x = (0, 1): match, crossed, mode dropping, collapse, no match.
FAKE = [(0, 1), (1, 0), (0, 9), (0, 0), (8, 9)]


def phi(name, pattern):
  return landscape.phi(name, pattern)[0]


# By hand. D at a real point shared by m: 1/(1 + m); cycles for the paired ones.
# The squares' collapse: minimize 1/2 (v - 1)^2 + v^2. The averages, collapse:
# the missed real point is as high as one likes, so of the four terms of each
# half only that of the shared point, at a lead of 0, stays; in squares, with
# v(x1) = 0, v(x2) = u: 1 + (u - 1)^2 + 2 (u/2 - 1)^2 over 4 at u = 4/3. One
# match, squares: by symmetry x2 at a, the fake at -a: .8 over 4 at a = .8.
COLLAPSE_JS = LOG_2 - 1.5 * np.log(3)
TWO_POINTS = {
  'nonsaturating': (-2 * LOG_2, -2 * LOG_2, -LOG_2, COLLAPSE_JS, 0),
  'minimax': (-2 * LOG_2, -2 * LOG_2, -LOG_2, COLLAPSE_JS, 0),
  'f_jensen_shannon': (0, 0, LOG_2, COLLAPSE_JS + 2 * LOG_2, 2 * LOG_2),
  'least_squares': (-1 / 4, -1 / 4, -1 / 8, -1 / 6, 0),
  'hinge': (-2, -2, -1, -1, 0),
  'wasserstein': (0, 0, np.inf, np.inf, np.inf),
  'f_kl': (0, 0, np.inf, np.inf, np.inf),
  'f_pearson': (0, 0, np.inf, np.inf, np.inf),
  'f_reverse_kl': (0, 0, np.inf, LOG_2, np.inf),
  'f_hellinger': (0, 0, 1, 2 - np.sqrt(2), 2),
  'relativistic': (-LOG_2, -LOG_2, -LOG_2 / 2, -LOG_2 / 2, 0),
  'relativistic_hinge': (-1, -1, -1 / 2, -1 / 2, 0),
  'relativistic_least_squares': (-1, -1, -1 / 2, -1 / 2, 0),
  'relativistic_average': (-LOG_2, -LOG_2, 0, -LOG_2 / 4, 0),
  'relativistic_average_hinge': (-1, -1, 0, -1 / 4, 0),
  'relativistic_average_least_squares': (-1, -1, -1 / 5, -1 / 3, 0),
}


@pytest.mark.parametrize('name', NAMES)
def test_two_points(name):
  found = [landscape.inner(name, REAL, np.array(fake)) for fake in FAKE]
  values = [inner.value for inner in found]
  np.testing.assert_allclose(values, TWO_POINTS[name], rtol=1e-9, atol=1e-12)
  assert max(abs(inner.gap) for inner in found) < 1e-8


def test_examples_of_more_points():
  js, rs = 'nonsaturating', 'relativistic'
  four_on_one = (np.log(1 / 5) + 4 * np.log(4 / 5)) / 4
  np.testing.assert_allclose(phi(js, (0, 0, 0, 0)), four_on_one, rtol=1e-9)
  np.testing.assert_allclose(phi(js, (0, 0, 1, 1)), COLLAPSE_JS, rtol=1e-9)
  np.testing.assert_allclose(phi(js, (0, 0, 1)), -np.log(3), rtol=1e-9)
  three_on_one = (np.log(1 / 4) + 3 * np.log(3 / 4)) / 3
  np.testing.assert_allclose(phi(js, (2, 2, 2)), three_on_one, rtol=1e-9)
  # A cycle of three, a tree that hangs on it; two loops; a path off the data.
  np.testing.assert_allclose(phi(rs, (1, 2, 0, 0)), -3 / 4 * LOG_2, rtol=1e-9)
  np.testing.assert_allclose(phi(rs, (0, 1, 1, 2)), -2 / 4 * LOG_2, rtol=1e-9)
  np.testing.assert_allclose(phi(rs, (1, 2, 3, 4)), 0, atol=1e-12)
  # Every m_j > 0 costs m log m / n against the reversed KL.
  mixed = (3 * np.log(3)) / 4
  np.testing.assert_allclose(phi('f_reverse_kl', (0, 0, 0, 1)), mixed)
  # The hinge's average sees the most crowded real point: 1 / (2 max m).
  average = 'relativistic_average_hinge'
  np.testing.assert_allclose(phi(average, (0, 0, 0, 1)), -1 / 6, rtol=1e-9)
  np.testing.assert_allclose(phi(average, (0, 0, 1, 1)), -1 / 4, rtol=1e-9)


def orbits(*sizes):
  every = [p for n in sizes for p in configurations.patterns(n)]
  return sorted({configurations.canonical(p) for p in every}, key=str)


def against_the_solve(name, patterns):
  for pattern in patterns:
    closed = landscape.phi(name, pattern)
    solved = landscape.phi(name, pattern, convex_solve=True)
    np.testing.assert_allclose(closed, solved, rtol=1e-9, atol=1e-10)


# One of each shape: the others are slow tests.
@pytest.mark.parametrize(
  'name', ['minimax', 'least_squares', 'hinge', 'f_kl', 'relativistic']
)
def test_closed_forms_against_the_convex_solve(name):
  against_the_solve(name, [*orbits(2), *orbits(3)[::4]])


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_closed_forms_of_more_points_against_the_convex_solve(name):
  against_the_solve(name, orbits(2, 3, 4))


@pytest.mark.parametrize('size', [2, 3, 4])
def test_formulas_on_all_patterns(size):
  for pattern in configurations.patterns(size):
    counts = configurations.counts(pattern)
    js = landscape_closed.jensen_shannon(counts)
    np.testing.assert_allclose(phi('minimax', pattern), js, atol=1e-10)
    rs = landscape_closed.relativistic(pattern)
    np.testing.assert_allclose(phi('relativistic', pattern), rs, atol=1e-10)
    hinge = landscape_closed.relativistic(pattern, 1.0)
    found = phi('relativistic_hinge', pattern)
    np.testing.assert_allclose(found, hinge, atol=1e-10)
    average = landscape_closed.relativistic_average_hinge(pattern)
    found = phi('relativistic_average_hinge', pattern)
    np.testing.assert_allclose(found, average, atol=1e-10)


@pytest.mark.parametrize('size', [6, 7, 8])
def test_cycles_of_many_points_against_the_convex_solve(size):
  random = np.random.default_rng(size)
  for _ in range(3):
    pattern = tuple(random.integers(0, size + 2, size).tolist())
    closed = landscape_closed.relativistic(pattern)
    found = landscape.phi('relativistic', pattern, convex_solve=True)
    np.testing.assert_allclose(found, closed, atol=1e-8)
    np.testing.assert_allclose(phi('relativistic', pattern), closed, atol=1e-8)
  whole = (*range(1, size - 1), 0, 0)  # one long cycle and a tree on it
  value = -(size - 1) / size * LOG_2
  np.testing.assert_allclose(phi('relativistic', whole), value, rtol=1e-9)


def test_more_than_six_pairs_are_not_renumbered(monkeypatch):
  def fail(pattern):
    raise AssertionError(pattern)

  monkeypatch.setattr(configurations, 'canonical', fail)
  np.testing.assert_allclose(phi('relativistic', tuple(range(12))), -LOG_2)


def test_what_is_kept_cannot_be_written():
  for name in ('nonsaturating', 'relativistic', 'relativistic_average'):
    found = landscape.inner(name, REAL, np.zeros(2))
    for array in (found.finite, found.direction):
      with pytest.raises(ValueError, match='read-only'):
        array[0] = 7.0


@pytest.mark.parametrize(
  ('name', 'pattern'),
  [
    ('nonsaturating', (0, 0, 1)),
    ('relativistic', (1, 0, 2)),
    ('relativistic_average_least_squares', (0, 0, 1, 4)),
    ('relativistic_least_squares', (1, 2, 1)),
  ],
)
def test_a_peer_minimizes_the_same(name, pattern):
  loss = losses.get(name).discriminator
  size = len(pattern)
  mean = jax.jit(lambda v: jnp.mean(loss(v[:size], v[jnp.array(pattern)])))
  slope = jax.jit(jax.grad(mean))
  start = np.zeros(max(size, max(pattern) + 1))
  found = optimize.minimize(mean, start, jac=slope, method='BFGS', tol=1e-9)
  # An infimum that is not attained leaves the peer a little above.
  np.testing.assert_allclose(phi(name, pattern), -found.fun, atol=1e-6)


@pytest.mark.parametrize('name', NAMES)
def test_losses_are_convex_and_no_critic_beats_the_bound(name):
  random = np.random.default_rng(0)
  for pattern in [(0, 0, 3), (1, 0, 0), (0, 1, 2), (1, 2, 3)]:
    bound = landscape.phi(name, pattern)[1]
    for scale in (1.0, 60.0):  # beyond the cap of exp too
      a, b = random.normal(size=(2, max(3, max(pattern) + 1))) * scale
      ends = [landscape_terms.mean_loss(name, v, pattern) for v in (a, b)]
      middle = landscape_terms.mean_loss(name, (a + b) / 2, pattern)
      assert middle <= np.mean(ends) + 1e-9 * max(np.abs(ends))
      assert max(-ends[0], -ends[1]) <= bound + 1e-12


@pytest.mark.parametrize('name', NAMES)
def test_conjugates_are_the_largest_distance_to_a_line(name):
  row = landscape_terms.get(name)
  loss = losses.get(name).discriminator
  z, zero = np.linspace(-30, 30, 60001), jnp.zeros(1)
  terms = [jax.vmap(lambda x: loss(x[None], zero)[0])(z)] * 2
  at_zero = 0.0
  if row.kind == 'separable':
    # A batch of one shows R(z) + F(0) and R(0) + F(z).
    terms[1] = jax.vmap(lambda x: loss(zero, x[None])[0])(z)
    at_zero = float(loss(zero, zero)[0])
  for at in (0.2, 0.4, 0.9):
    u = [
      float(np.clip(sign * at, *term.slopes))
      for sign, term in ((-1, row.real), (1, row.fake))
    ]
    ours = float(row.real.conjugate(u[0]) + row.fake.conjugate(u[1]))
    lines = sum(np.max(x * z - term) for x, term in zip(u, terms, strict=True))
    np.testing.assert_allclose(ours, lines + at_zero, atol=1e-6)


def test_the_critic_at_a_collapse():
  js = landscape.inner('nonsaturating', REAL, np.zeros(2))
  odds = 1 / (1 + np.exp(-js.critic))
  np.testing.assert_allclose(odds, [1 / 3, 1.0], rtol=1e-12)
  assert np.isposinf(js.critic[1]) and not js.attained
  squares = landscape.inner('least_squares', REAL, np.array([0.0, 5.0]))
  np.testing.assert_allclose(squares.critic, [1 / 2, 1, 0])
  assert squares.attained
  np.testing.assert_allclose(squares.points, [[0], [1], [5]])
  falls = landscape.inner('f_kl', REAL, np.zeros(2))
  assert falls.value == falls.bound == np.inf and falls.gap == 0
  np.testing.assert_allclose(falls.critic, [1 - np.log(2), np.inf])


def test_the_critic_of_an_average_that_misses_a_real_point():
  found = landscape.inner('relativistic_average', REAL, np.zeros(2))
  # The missed one runs off; the shared one stays, at a lead of 0.
  assert np.isposinf(found.critic[1]) and found.direction[0] == 0
  assert not found.attained
  hinge = landscape.inner('relativistic_average_hinge', REAL, np.zeros(2))
  assert hinge.attained and hinge.critic[1] >= hinge.critic[0] + 2 - 1e-9


def test_the_critic_along_a_tree():
  # x0 -> x1 -> x2 -> off: every lead has to grow.
  fake = np.array([1.0, 2.0, 7.0])
  found = landscape.inner('relativistic', np.arange(3.0), fake)
  assert found.value == pytest.approx(0, abs=1e-12)
  np.testing.assert_allclose(found.direction, [3, 2, 1, 0])
  hinge = landscape.inner('relativistic_hinge', np.arange(3.0), fake)
  np.testing.assert_allclose(hinge.critic, [3, 2, 1, 0])
  assert hinge.attained


def test_points_of_any_dimension_and_order():
  random = np.random.default_rng(1)
  real = random.normal(size=(3, 5))
  fake = np.stack([real[2], random.normal(size=5), real[2]])
  for name in NAMES:
    found = landscape.inner(name, real, fake)
    assert found.points.shape == (4, 5)
    np.testing.assert_allclose(found.value, phi(name, (0, 0, 3)), atol=1e-9)
  # x2 -> x2 is a loop in the first pairing, there is none in the second.
  order = [1, 2, 0]
  value = landscape.inner('relativistic', real, fake).value
  np.testing.assert_allclose(value, -LOG_2 / 3)
  paired_anew = landscape.inner('relativistic', real, fake[[0, 2, 1]])
  np.testing.assert_allclose(paired_anew.value, 0, atol=1e-12)
  both = landscape.inner('relativistic', real[order], fake[order])
  np.testing.assert_allclose(both.value, value)


@pytest.mark.parametrize(
  ('real', 'fake', 'words'),
  [
    (np.zeros(2), np.zeros(2), 'duplicates: point 1'),
    (REAL, np.zeros(3), r'\(2, 1\) and fake \(3, 1\)'),
    (REAL[:, None], np.zeros((2, 2)), 'same dimension'),
    (REAL, np.array([0, np.nan]), 'fake has points that are not finite'),
    (np.array([np.inf, 0]), REAL, 'real has points that are not finite'),
    (np.zeros((0, 2)), np.zeros((0, 2)), r'shape \(0, 2\)'),
    (np.zeros((1, 1, 1)), REAL, r'real has shape \(1, 1, 1\)'),
  ],
)
def test_bad_points(real, fake, words):
  with pytest.raises(ValueError, match=words):
    landscape.inner('relativistic', real, fake)


def test_bad_names_and_patterns():
  with pytest.raises(ValueError, match="loss='jensen' is not one of"):
    landscape.inner('jensen', REAL, REAL)
  for pattern in ((), (0, -1), (0.5, 1)):
    with pytest.raises(ValueError, match='pattern='):
      landscape.phi('relativistic', pattern)


def test_nothing_is_certified_but_the_best():
  pattern = (0, 0, 3)
  critic = landscape_closed.separable('nonsaturating', pattern)
  for wrong in (
    critic._replace(finite=critic.finite + 1e-3),
    critic._replace(direction=0 * critic.direction),
    critic._replace(multipliers=critic.multipliers * 1.001),
    critic._replace(multipliers=critic.multipliers - 2),
    critic._replace(multipliers=None),
    critic._replace(finite=critic.finite * np.nan),
  ):
    with pytest.raises(ValueError, match='is not certified'):
      landscape_solver.certify('nonsaturating', pattern, wrong)
  # So close that the gap does not show it: the multipliers do not add up.
  critic = landscape_closed.separable('nonsaturating', (0, 1))
  askew = critic._replace(multipliers=critic.multipliers + 1e-6)
  with pytest.raises(ValueError, match='miss their equations by 2'):
    landscape_solver.certify('nonsaturating', (0, 1), askew)
