"""The quadratic game: the published table, dense linear algebra, boundaries."""

import itertools

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from gan_jax import cgd, diagnostics, games
from gan_jax.theory import quadratic

pytestmark = pytest.mark.float64

PAIRS = ((0.09, 0.01), (0.03, 0.03), (0.01, 0.09))
# Of a pair of step sizes, by the core. x moves first in the alternating one.
CORE = {
  'simultaneous': lambda a, b: games.simultaneous(optax.sgd(a), optax.sgd(b)),
  'alternating': lambda a, b: games.alternating(
    optax.sgd(a), optax.sgd(b), first='g'
  ),
  'competitive': cgd.cgd,
}
# A linear map has the same Jacobian everywhere; at 0 conjugate gradients would
# have nothing to solve.
SOMEWHERE = games.Players(jnp.array(0.7), jnp.array(-0.4))


def jacobian(method, a, b, form=quadratic.PAPER):
  players = jax.tree.map(lambda x: jnp.asarray(x, float), SOMEWHERE)
  return diagnostics.step_jacobian(
    CORE[method](a, b), quadratic.game(form), players
  )


@pytest.mark.parametrize('method', quadratic.METHODS)
def test_matrices_are_those_of_the_core(method):
  core = jax.jit(lambda a, b: jacobian(method, a, b))
  for a, b in PAIRS:
    matrix = quadratic.step_matrix(method, a, b)
    np.testing.assert_allclose(core(a, b), matrix, rtol=1e-9, atol=1e-12)


def test_matrices_of_another_form():
  # 2 x^2 + 5 x y + 2 y^2 from (1, 0) with a = b = 0.1: the gradients are 4 and
  # 5, so x goes to 0.6 and y to 0.5; alternating, y sees 5 * 0.6. Competitive:
  # dx = -0.1 (4 + 5 dy), dy = 0.1 (5 + 5 dx): dx = -0.65 / 1.25 = -0.52.
  form, a = quadratic.Form(5.0, 2.0), 0.1
  for method, after in dict(
    simultaneous=(0.6, 0.5), alternating=(0.6, 0.3), competitive=(0.48, 0.24)
  ).items():
    matrix = quadratic.step_matrix(method, a, a, form)
    np.testing.assert_allclose(matrix[:, 0], after, rtol=1e-12)
    core = jax.jit(lambda a, m=method: jacobian(m, a, a, form))
    np.testing.assert_allclose(matrix, core(a), rtol=1e-9)


# Radii as published with the game, or computed by its description.
RADII = {
  'simultaneous': (0.962497, 1.042305, 1.116423),
  'alternating': (0.914549, 0.998198, 1.075360),
  'competitive': (0.875979, 0.956101, 1.030008),
}


@pytest.mark.parametrize('method', quadratic.METHODS)
def test_published_radii(method):
  a, b = np.array(PAIRS).T
  np.testing.assert_allclose(
    quadratic.radius(method, a, b), RADII[method], atol=6e-7
  )


def test_published_eigenvalues():
  a, b = np.array(PAIRS).T
  matrix = quadratic.step_matrix('simultaneous', a, b)
  first, second = quadratic.eigenvalues(matrix)
  # sqrt(0.08) and sqrt(0.0864).
  root = np.sqrt([0.08, 0.0864, 0.08])
  np.testing.assert_allclose(first, np.array([0.92, 1, 1.08]) + 1j * root)
  np.testing.assert_allclose(second, np.conj(first))
  # 1 - 2 a + 2 b + 96 a b
  np.testing.assert_allclose(
    quadratic.determinant(matrix), [0.9264, 1.0864, 1.2464]
  )


def test_eigenvalues_meet_numpy():
  matrices = np.random.default_rng(0).normal(size=(50, 2, 2))
  ours = np.stack(quadratic.eigenvalues(matrices), axis=-1)
  theirs = np.linalg.eigvals(matrices).astype(complex)
  order = np.lexsort((theirs.real, theirs.imag), axis=-1)[:, ::-1]
  theirs = np.take_along_axis(theirs, order, axis=-1)
  np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('method', quadratic.METHODS)
@pytest.mark.parametrize(
  'form', [quadratic.PAPER, quadratic.Form(3.0, 0.7)], ids=['paper', 'other']
)
def test_inequalities_say_where_radii_are_below_one(method, form):
  rng = np.random.default_rng(1)
  a, b = 10 ** rng.uniform(-3.5, 1, (2, 20_000))
  radius = quadratic.radius(method, a, b, form)
  clear = np.abs(radius - 1) > 1e-9
  stable = quadratic.is_stable(method, a, b, form)
  np.testing.assert_array_equal(stable[clear], radius[clear] < 1)
  assert 100 < np.sum(stable) < 19_900


def crossing(method, low, high, at):
  """Where the core's radius passes 1 between two arguments of `at`."""
  core = jax.jit(lambda a, b: jacobian(method, a, b))
  above = lambda t: np.abs(np.linalg.eigvals(core(*at(t)))).max() > 1
  assert not above(low) and above(high)
  for _ in range(45):
    middle = (low + high) / 2
    low, high = (low, middle) if above(middle) else (middle, high)
  return low


@pytest.mark.parametrize(
  ('method', 'gap'),
  [('simultaneous', 48), ('alternating', -2), ('competitive', -52)],
)
def test_largest_step_of_y(method, gap):
  a = 0.015
  b = crossing(method, 1e-4, 1.0, lambda b: (a, b))
  np.testing.assert_allclose(1 / b - 1 / a, gap, rtol=1e-6)
  np.testing.assert_allclose(quadratic.largest_b(method, a), b, rtol=1e-8)
  assert quadratic.threshold(method) == gap


def test_any_step_of_y_below_the_competitive_threshold():
  assert quadratic.largest_b('competitive', 1 / 51.9) == np.inf
  assert quadratic.radius('competitive', 1 / 51.9, 1e6) < 1


@pytest.mark.parametrize(
  ('method', 'weight'),
  [('simultaneous', -96), ('alternating', 104), ('competitive', -96)],
)
def test_longest_step_of_x(method, weight):
  b = 0.004
  a = crossing(method, 0.1, 3.0, lambda a: (a, b))
  np.testing.assert_allclose(4 * a - 4 * b + weight * a * b, 4, rtol=1e-6)


def test_y_alone_runs_away():
  alone = games.simultaneous(optax.set_to_zero(), optax.sgd(0.01))
  players = games.Players(jnp.array(0.0), jnp.array(1.0))
  jacobian = lambda at: diagnostics.step_jacobian(alone, quadratic.game(), at)
  matrix = jax.jit(jacobian)(players)
  np.testing.assert_allclose(matrix, [[1, 0], [0.1, 1.02]], rtol=1e-12)
  np.testing.assert_allclose(quadratic.frozen_factor(0.01), 1.02)
  other = quadratic.Form(5.0, 2.0)
  np.testing.assert_allclose(quadratic.frozen_factor(0.01, other), 1.04)


@pytest.mark.parametrize(
  'function',
  [
    lambda *more: quadratic.step_matrix(*more[:1], 0.1, 0.1, *more[1:]),
    lambda *more: quadratic.radius(*more[:1], 0.1, 0.1, *more[1:]),
    lambda *more: quadratic.is_stable(*more[:1], 0.1, 0.1, *more[1:]),
    lambda *more: quadratic.largest_b(*more[:1], 0.1, *more[1:]),
    quadratic.threshold,
  ],
)
def test_mistakes_are_said(function):
  with pytest.raises(ValueError, match="method='sgd' is not one of"):
    function('sgd')
  for form in itertools.starmap(quadratic.Form, [(2, 1), (5, -1), (3, 0)]):
    with pytest.raises(ValueError, match='coupling > 2 curvature > 0'):
      function('competitive', form)
