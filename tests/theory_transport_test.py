"""Transport against enumeration, the package POT, and wrong answers."""

import itertools
import math
import types

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from gan_jax.theory import transport

pytestmark = pytest.mark.float64

SUPPLY, DEMAND = [15, 25, 10], [5, 15, 15, 15]
COST = np.array([[10, 2, 20, 11], [12, 7, 9, 20], [4, 14, 16, 18]])


def cheapest_vertex(p, q, cost):
  """The least cost of all basic plans: n + m - 1 cells that fix the rest."""
  n, m = cost.shape
  cells = list(itertools.product(range(n), range(m)))
  sums = np.zeros((n + m, n * m))
  for k, (i, j) in enumerate(cells):
    sums[i, k] = sums[n + j, k] = 1
  sums, amounts = sums[:-1], np.concatenate([p, q])[:-1]
  best = np.inf
  for chosen in itertools.combinations(range(n * m), n + m - 1):
    basis = sums[:, chosen]
    if abs(np.linalg.det(basis)) < 0.5:
      continue  # a cycle; else the determinant is +-1
    plan = np.linalg.solve(basis, amounts)
    if plan.min() >= -1e-9:
      best = min(best, plan @ cost.ravel()[list(chosen)])
  return best


def test_the_textbook_transport_is_the_best_of_all_vertices():
  found = transport.transport(SUPPLY, DEMAND, COST)
  assert cheapest_vertex(SUPPLY, DEMAND, COST) == pytest.approx(435)
  assert found.cost == pytest.approx(435, abs=1e-9)
  assert abs(found.gap) <= 1e-9
  u, v = found.potentials
  assert (u[:, None] + v[None] <= COST + 1e-9).all()
  np.testing.assert_allclose(found.plan.sum(1), SUPPLY, atol=1e-9)
  np.testing.assert_allclose(found.plan.sum(0), DEMAND, atol=1e-9)
  # Where something goes, the potentials are tight.
  tight = (COST - u[:, None] - v[None])[found.plan > 1e-9]
  np.testing.assert_allclose(tight, 0, atol=1e-9)


def test_integer_piles_on_a_line():
  places = np.arange(4.0)[:, None]
  cost = transport.distances(places, places)
  found = transport.transport([3, 2, 1, 4], [1, 2, 4, 3], cost)
  # Over the three gaps move 2, 2 and -1.
  assert found.cost == pytest.approx(5, abs=1e-12)


def test_a_worse_plan_is_not_certified():
  best = transport.transport(SUPPLY, DEMAND, COST)
  # Two units around a cycle of four cells.
  worse = best.plan.copy()
  i, j = np.argwhere(worse > 1)[0]
  k, m = next((k, m) for k, m in np.argwhere(worse > 1) if k != i and m != j)
  worse[i, j] -= 1
  worse[k, m] -= 1
  worse[i, m] += 1
  worse[k, j] += 1
  assert np.vdot(worse, COST) > 435 + 1
  with pytest.raises(ValueError, match='not certified to be the best'):
    transport.certify(SUPPLY, DEMAND, COST, worse, best.potentials[0])
  with pytest.raises(ValueError, match='not certified'):
    transport.certify(SUPPLY, DEMAND, COST, best.plan, np.array([99.0, 0, 0]))
  with pytest.raises(ValueError, match='does not move p to q'):
    transport.certify(SUPPLY, DEMAND, COST, best.plan * 0.9, best.potentials[0])


def test_a_solver_that_stops_short_is_an_error(monkeypatch):
  optimize = pytest.importorskip('scipy.optimize')
  solve = optimize.linprog

  def lazy(c, **options):
    found = solve(-np.asarray(c), **options)  # the dearest plan
    return found

  monkeypatch.setattr(optimize, 'linprog', lazy)
  with pytest.raises(ValueError, match='not certified'):
    transport.transport(SUPPLY, DEMAND, COST)
  failed = types.SimpleNamespace(success=False, message='time limit')
  monkeypatch.setattr(optimize, 'linprog', lambda *args, **options: failed)
  with pytest.raises(ValueError, match='failed: time limit'):
    transport.transport(SUPPLY, DEMAND, COST)
  with pytest.raises(ValueError, match='failed: time limit'):
    transport.best_critic(np.arange(2.0)[:, None], [1, 0], [0, 1])


@pytest.mark.parametrize(
  ('p', 'q', 'cost', 'words'),
  [
    ([1, 1], [1, 1], np.zeros((2, 3)), r'cost \(2, 3\)'),
    ([1, 1], [1, 2], np.zeros((2, 2)), 'same sum'),
    ([2, -1], [1, 0], np.zeros((2, 2)), 'amounts >= 0'),
    ([1, 1], [1, 1], np.full((2, 2), np.nan), 'finite'),
    ([[1, 1]], [1, 1], np.zeros((2, 2)), r'\[N\]'),
    ([1, 1], [1, np.nan], np.zeros((2, 2)), 'p and q need to be finite'),
    ([0, 0], [0, 0], np.zeros((2, 2)), 'above 0'),
    ([], [], np.zeros((0, 0)), 'neither empty'),
  ],
)
def test_bad_amounts(p, q, cost, words):
  with pytest.raises(ValueError, match=words):
    transport.transport(p, q, cost)
  with pytest.raises(ValueError, match=words):
    transport.certify(p, q, cost, cost, np.zeros(len(p)))


@pytest.mark.parametrize(
  ('points', 'p', 'q', 'words'),
  [
    ([0.0, 1.0], [0.5, 0.5], [0.5, 0.25], 'same sum'),
    ([0.0, 1.0], [1.5, -0.5], [0.5, 0.5], 'amounts >= 0'),
    ([0.0, np.nan], [0.5, 0.5], [0.5, 0.5], 'x needs to be finite'),
    ([0.0, 1.0, 2.0], [0.5, 0.5], [0.5, 0.5], r'x has shape \(3,\)'),
    ([], [], [], 'neither empty'),
  ],
)
def test_bad_amounts_on_the_line(points, p, q, words):
  x, p, q = (np.asarray(part, float) for part in (points, p, q))
  with pytest.raises(ValueError, match=words):
    transport.on_the_line(x, p, x, q)


def test_bad_point_sets():
  with pytest.raises(ValueError, match='neither set may be empty'):
    transport.distances(np.zeros((0, 2)), np.zeros((2, 2)))
  with pytest.raises(ValueError, match='finite, without nan'):
    transport.distances(np.zeros((1, 1)), np.full((1, 1), np.nan))
  with pytest.raises(ValueError, match='shapes'):
    transport.distances(np.zeros((2, 2)), np.zeros((2, 3)))
  with pytest.raises(ValueError, match='without duplicates'):
    transport.best_critic(np.zeros((2, 1)), [1, 0], [0, 1])
  with pytest.raises(ValueError, match='slope > 0, got 0'):
    transport.best_critic(np.arange(2.0)[:, None], [1, 0], [0, 1], 0)


def test_against_pot():
  ot = pytest.importorskip('ot')
  draw = np.random.default_rng(0)
  x, y = draw.normal(size=(9, 2)), draw.normal(size=(12, 2))
  p, q = draw.dirichlet(np.ones(9)), draw.dirichlet(np.ones(12))
  cost = transport.distances(x, y)
  found = transport.transport(p, q, cost)
  np.testing.assert_allclose(found.cost, ot.emd2(p, q, cost), rtol=1e-9)
  np.testing.assert_allclose(
    transport.on_the_line(*map(jnp.asarray, (x[:, 0], p, y[:, 0], q))),
    ot.wasserstein_1d(x[:, 0], y[:, 0], p, q, p=1),
    rtol=1e-9,
  )


def test_the_line_is_sorted_matching():
  x, y = jnp.asarray([3.0, -1.0, 0.5]), jnp.asarray([0.0, 4.0, 1.0])
  even = jnp.full(3, 1 / 3)
  # -1 to 0, 0.5 to 1, 3 to 4.
  found = jax.jit(transport.on_the_line)(x, even, y, even)
  np.testing.assert_allclose(found, 2.5 / 3, rtol=1e-12)


@pytest.mark.parametrize('slope', [0.5, 1.0, 3.0])
def test_the_best_critic_earns_slope_times_the_cost(slope):
  draw = np.random.default_rng(2)
  points = draw.normal(size=(7, 2))
  p, q = draw.dirichlet(np.ones(7)), draw.dirichlet(np.ones(7))
  away = transport.distances(points, points)
  found = transport.best_critic(points, p, q, slope)
  cost = transport.transport(p, q, away).cost
  np.testing.assert_allclose(found.value, slope * cost, rtol=1e-9)
  rises = np.abs(found.critic[:, None] - found.critic[None])
  assert (rises <= slope * away + 1e-9).all()
  np.testing.assert_allclose(found.critic @ (p - q), found.value, rtol=1e-12)


def test_clipping_bound_by_hand():
  # 0.5 sqrt(2 * 3) times 0.5 sqrt(3 * 1).
  np.testing.assert_allclose(
    transport.clipping_bound((2, 3, 1), 0.5), math.sqrt(18) / 4, rtol=1e-12
  )
  with pytest.raises(ValueError, match='widths'):
    transport.clipping_bound((2,), 0.5)
  with pytest.raises(ValueError, match='c > 0, got 0'):
    transport.clipping_bound((2, 1), 0)


def test_all_ones_attain_the_bound_and_random_weights_do_not():
  widths, x = (2, 3, 1), jnp.ones((1, 2))

  def critic(kernels):
    return lambda x: (jax.nn.relu(x @ kernels[0]) @ kernels[1])[:, 0]

  both = jax.jit(
    lambda kernels, x: (
      transport.lipschitz_on(critic(kernels), x),
      transport.norms_bound(kernels),
    )
  )
  full = [jnp.full((2, 3), 0.5), jnp.full((3, 1), 0.5)]
  bound = transport.clipping_bound(widths, 0.5)
  x = jnp.tile(x, (30, 1))
  np.testing.assert_allclose(both(full, x), bound, rtol=1e-12)
  draw = np.random.default_rng(4)
  for _ in range(20):
    kernels = [
      jnp.asarray(draw.uniform(-0.5, 0.5, shape)) for shape in ((2, 3), (3, 1))
    ]
    steep, norms = both(kernels, jnp.asarray(draw.normal(size=(30, 2))))
    assert 0 < steep <= norms * (1 + 1e-12) < bound


def test_lipschitz_on_is_the_largest_norm():
  # x^2 + 3 y: slopes (2 x, 3).
  points = jnp.asarray([[0.0, 0.0], [-2.0, 5.0], [1.0, 1.0]])
  found = transport.lipschitz_on(lambda x: x[:, 0] ** 2 + 3 * x[:, 1], points)
  np.testing.assert_allclose(found, 5.0, rtol=1e-12)
