"""Optimal transport between finitely many points, with a proof of optimality.

Every answer carries Kantorovich potentials; an answer whose gap to them is not
closed is an error, never a number. Plain NumPy in float64: linear programs are
solved by SciPy.

References:
  [1] Villani, Topics in Optimal Transportation, 2003, chapter 1.
  [2] Arjovsky et al., Wasserstein GAN, 2017, eq. 2 and algorithm 1.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

# A gap above this, relative to the size of the costs, is not an optimum.
MAX_GAP = 1e-9
# Sums of amounts that were added up in float32 are known to about this.
SUM_MARGIN = 1e-5


class Transport(NamedTuple):
  """A plan and the proof that none is cheaper.

  Attributes:
    cost: of the plan.
    plan: how much goes from i to j, `[N, M]`.
    potentials: u `[N]` and v `[M]` with u_i + v_j <= cost_ij everywhere.
    gap: cost - (sum p u + sum q v); no plan is cheaper by more.
  """

  cost: float
  plan: np.ndarray
  potentials: tuple[np.ndarray, np.ndarray]
  gap: float


def checked_points(
  x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Two point sets, `[N, F]` and `[M, F]`, in float64.

  Raises:
    ValueError: other shapes, an empty set, or a coordinate that is not finite.
  """
  x, y = np.asarray(x, float), np.asarray(y, float)
  shapes = f'points of shapes {x.shape} and {y.shape}'
  if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
    raise ValueError(f'{shapes}; they need to be [N, F] and [M, F].')
  if not (x.size and y.size):
    raise ValueError(f'{shapes}; neither set may be empty.')
  if not (np.isfinite(x).all() and np.isfinite(y).all()):
    raise ValueError(f'{shapes} need to be finite, without nan.')
  return x, y


def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Euclidean, `[N, M]`, of points as in `checked_points`."""
  x, y = checked_points(x, y)
  return np.linalg.norm(x[:, None] - y[None], axis=2)


def check_amounts(p: jax.Array, q: jax.Array) -> None:
  """Two vectors that hold finite amounts >= 0, of the same sum above 0.

  Traced ones (under jit, vmap or grad) have no numbers yet and pass.

  Raises:
    ValueError: they are not.
  """
  if jnp.ndim(p) != 1 or jnp.ndim(q) != 1 or not (len(p) and len(q)):
    raise ValueError(
      f'p has shape {jnp.shape(p)} and q {jnp.shape(q)}; they need to be [N] '
      'and [M], neither empty.'
    )
  if isinstance(p, jax.core.Tracer) or isinstance(q, jax.core.Tracer):
    return
  p, q = np.asarray(p, float), np.asarray(q, float)
  if not (np.isfinite(p).all() and np.isfinite(q).all()):
    raise ValueError('p and q need to be finite.')
  a, b = p.sum(), q.sum()
  fits = min(p.min(), q.min()) >= 0 and a > 0 and abs(a - b) <= SUM_MARGIN * a
  if not fits:
    raise ValueError(
      f'p sums to {a} (least {p.min()}) and q to {b} (least {q.min()}); they '
      'need amounts >= 0 of the same sum, above 0.'
    )


def _checked(p, q, cost) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  p, q, cost = (np.asarray(part, float) for part in (p, q, cost))
  if p.ndim != 1 or q.ndim != 1 or cost.shape != (len(p), len(q)):
    raise ValueError(
      f'p has shape {p.shape}, q {q.shape} and cost {cost.shape}; they need to '
      'be [N], [M] and [N, M].'
    )
  check_amounts(p, q)
  if not np.isfinite(cost).all():
    raise ValueError('cost needs to be finite.')
  # A plan moves p to q to MAX_GAP.
  return p, q * (p.sum() / q.sum()), cost


def certify(
  p: np.ndarray,
  q: np.ndarray,
  cost: np.ndarray,
  plan: np.ndarray,
  u: np.ndarray,
) -> Transport:
  """Proves a plan optimal from potentials of the sources.

  The potentials of the holes, and then those of the sources, are made as large
  as the costs allow, so that they are feasible whatever u was; the proof does
  not rest on the solver.

  Args:
    p: `[N]` amounts at the sources.
    q: `[M]` amounts wanted.
    cost: `[N, M]`.
    plan: `[N, M]`.
    u: `[N]`, a guess.

  Returns:
    A Transport.

  Raises:
    ValueError: shapes or amounts do not fit, the plan does not move p to q, or
      its cost is above the potentials' by more than `MAX_GAP`.
  """
  p, q, cost = _checked(p, q, cost)
  plan, u = np.asarray(plan, float), np.asarray(u, float)
  wrong = max(
    -plan.min(), abs(plan.sum(1) - p).max(), abs(plan.sum(0) - q).max()
  )
  if not wrong <= MAX_GAP * p.sum():
    raise ValueError(f'the plan does not move p to q: it is off by {wrong}.')
  v = (cost - u[:, None]).min(0)
  u = (cost - v[None]).min(1)
  total = float(np.vdot(plan, cost))
  gap = total - float(p @ u + q @ v)
  if not gap <= MAX_GAP * p.sum() * max(abs(cost).max(), 1e-300):
    raise ValueError(
      f'the plan costs {total}, {gap} above its potentials: not certified to '
      'be the best.'
    )
  return Transport(total, plan, (u, v), gap)


def transport(p: np.ndarray, q: np.ndarray, cost: np.ndarray) -> Transport:
  """The cheapest way to move p to q, by linear programming.

  Args:
    p: `[N]` amounts at the sources.
    q: `[M]` amounts wanted, of the same sum.
    cost: `[N, M]` of a unit from i to j.

  Returns:
    A Transport.

  Raises:
    ValueError: shapes or amounts do not fit, the solver fails, or its answer
      is not certified.
  """
  from scipy import optimize, sparse

  p, q, cost = _checked(p, q, cost)
  n, m = cost.shape
  leaves = sparse.kron(sparse.eye(n), np.ones((1, m)))
  enters = sparse.kron(np.ones((1, n)), sparse.eye(m))
  # The last column's sum follows from the others.
  rows = sparse.vstack([leaves, enters]).tocsr()[:-1]
  found = optimize.linprog(
    cost.ravel(),
    A_eq=rows,
    b_eq=np.concatenate([p, q])[:-1],
    method='highs-ds',
    options=dict(
      primal_feasibility_tolerance=1e-10, dual_feasibility_tolerance=1e-10
    ),
  )
  if not found.success:
    raise ValueError(f'the linear program failed: {found.message}')
  plan = np.maximum(found.x.reshape(n, m), 0)
  return certify(p, q, cost, plan, found.eqlin.marginals[:n])


def on_the_line(
  x: jax.Array, p: jax.Array, y: jax.Array, q: jax.Array
) -> jax.Array:
  """Wasserstein-1 of weighted points on the line: the area between the CDFs.

  Args:
    x: `[N]` points.
    p: `[N]` probabilities.
    y: `[M]` points.
    q: `[M]` probabilities.

  Returns:
    A scalar. Differentiable, under jit and vmap.

  Raises:
    ValueError: sizes do not fit, or, where they are not traced, a point is not
      finite or p and q are no amounts of the same sum.
  """
  check_amounts(p, q)
  if jnp.shape(x) != jnp.shape(p) or jnp.shape(y) != jnp.shape(q):
    raise ValueError(
      f'x has shape {jnp.shape(x)}, p {jnp.shape(p)}, y {jnp.shape(y)} and q '
      f'{jnp.shape(q)}; they need to be [N], [N], [M] and [M].'
    )
  for name, part in (('x', x), ('y', y)):
    traced = isinstance(part, jax.core.Tracer)
    if not (traced or np.isfinite(np.asarray(part)).all()):
      raise ValueError(f'{name} needs to be finite.')
  points, weights = jnp.concatenate([x, y]), jnp.concatenate([p, -q])
  order = jnp.argsort(points)
  ahead = jnp.cumsum(weights[order])[:-1]
  return jnp.sum(jnp.abs(ahead) * jnp.diff(points[order]))


class Witness(NamedTuple):
  """The best critic under a bound on its slope.

  Attributes:
    value: sum p f - sum q f.
    critic: f at each point, `[N]`; the first is 0.
    gap: K times the transport cost - value; no critic of slope K gains more.
  """

  value: float
  critic: np.ndarray
  gap: float


def best_critic(
  points: np.ndarray, p: np.ndarray, q: np.ndarray, slope: float = 1.0
) -> Witness:
  """Kantorovich-Rubinstein: the K-Lipschitz function that tells p from q best.

  Its value is K W(p, q), so W = (1 / K) max.

  Args:
    points: `[N, F]`, without duplicates.
    p: `[N]`.
    q: `[N]`.
    slope: K > 0.

  Returns:
    A Witness, certified by the transport's cost.

  Raises:
    ValueError: sizes do not fit, points coincide, slope <= 0, or the two
      programs do not agree.
  """
  from scipy import optimize

  if not slope > 0:
    raise ValueError(f'best_critic needs slope > 0, got {slope}.')
  away = distances(points, points)
  p, q, away = _checked(p, q, away)
  i, j = np.nonzero(~np.eye(len(p), dtype=bool))
  if len(i) and away[i, j].min() == 0:
    raise ValueError('best_critic needs points without duplicates.')
  rows = np.zeros((len(i), len(p)))
  rows[np.arange(len(i)), i], rows[np.arange(len(i)), j] = 1, -1
  found = optimize.linprog(
    q - p,
    A_ub=rows,
    b_ub=slope * away[i, j],
    bounds=[(0, 0)] + [(None, None)] * (len(p) - 1),
    method='highs-ds',
  )
  if not found.success:
    raise ValueError(f'the linear program failed: {found.message}')
  value = float((p - q) @ found.x)
  most = slope * transport(p, q, away).cost
  over = (rows @ found.x - slope * away[i, j]).max(initial=0.0)
  size = slope * max(float(away.max()), 1e-300)
  if not (abs(most - value) <= MAX_GAP * size and over <= MAX_GAP * size):
    raise ValueError(
      f'the critic gains {value}, transport allows {most}, slopes are exceeded '
      f'by {over}: not certified.'
    )
  return Witness(value, found.x, most - value)


def clipping_bound(widths: Sequence[int], c: float) -> float:
  """The largest slope of a network with all weights in [-c, c] [2].

  For dense layers with activations of slope at most 1: the product of the
  layers' norms, each at most c sqrt(inputs outputs). All weights equal to c
  attain it where every activation has slope 1.

  Args:
    widths: of input, hidden layers and output.
    c: the clip.

  Raises:
    ValueError: fewer than two widths, or c <= 0.
  """
  if len(widths) < 2 or min(widths) < 1:
    raise ValueError(f'widths={widths} are not those of two layers or more.')
  if not c > 0:
    raise ValueError(f'clipping_bound needs c > 0, got {c}.')
  pairs = itertools.pairwise(widths)
  return math.prod(c * math.sqrt(a * b) for a, b in pairs)


def norms_bound(params: Any) -> jax.Array:
  """The product of the spectral norms of all kernels `[in, out]`."""
  kernels = [leaf for leaf in jax.tree.leaves(params) if jnp.ndim(leaf) == 2]
  return math.prod(jnp.linalg.norm(kernel, 2) for kernel in kernels)


def lipschitz_on(
  critic: Callable[[jax.Array], jax.Array], x: jax.Array
) -> jax.Array:
  """The largest norm of the critic's gradient at points x, `[N, F]`.

  Only a lower bound of the Lipschitz constant: points between may be steeper.

  Args:
    critic: `[N, F] -> [N]`, rows independent.
    x: where.
  """
  slopes = jax.grad(lambda x: jnp.sum(critic(x)))(x)
  return jnp.max(jnp.linalg.norm(slopes, axis=1))
