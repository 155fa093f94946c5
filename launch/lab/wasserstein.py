"""Wasserstein-1 between two point sets: exact, and certified by its dual."""

import numpy as np

NEEDS_POT = (
  'the Wasserstein distance needs the package POT: '
  "pip install 'gan-jax[theory]'"
)


def distance(
  a: np.ndarray,
  b: np.ndarray,
  *,
  tolerance: float = 1e-6,
  max_iterations: int = 10_000_000,
) -> float:
  """Least mean distance over which one set's mass is moved onto the other.

  Every point of a set weighs the same; the distance is Euclidean. POT solves
  the linear program by network simplex in float64. Its potentials, lowered
  until they are feasible, bound the optimum from below.

  Args:
    a: points `[N, F]`.
    b: points `[M, F]`.
    tolerance: how far the plan may be above that bound, as a share of the
      largest distance from a point of `a` to one of `b`.
    max_iterations: of the solver.

  Returns:
    W1, in the unit of the coordinates.

  Raises:
    ImportError: POT is not installed; the message says how to get it.
    ValueError: the sets are empty, not of the same width or not finite, or the
      solver's answer is not certified.

  References:
    Bonneel et al., Displacement Interpolation Using Lagrangian Mass Transport,
    2011 (the solver); Villani, Optimal Transport, 2009, theorem 5.10 (duality).
  """
  a, b = _points('a', a), _points('b', b)
  if a.shape[1] != b.shape[1]:
    raise ValueError(
      f'a has shape {a.shape} and b {b.shape}; both need as many columns.'
    )
  cost = _distances(a, b)
  if not np.isfinite(cost).all():
    raise ValueError('a and b are so far apart that distances overflow.')
  plan, potential = _solve(cost, max_iterations)
  _check_plan(plan)
  primal = float(np.sum(plan * cost))
  gap = primal - lower_bound(cost, potential)
  if not gap <= tolerance * cost.max():
    raise ValueError(
      f'the transport plan costs {primal:.9g}, {gap:.3g} above what its dual '
      f'proves; that is more than tolerance={tolerance:g} of the largest '
      f'distance {cost.max():.3g}.'
    )
  return primal


def lower_bound(cost: np.ndarray, potential: np.ndarray) -> float:
  """What the transport costs at least, by any potential whatever.

  Args:
    cost: `[N, M]`.
    potential: v of the columns, `[M]`.

  Returns:
    mean(u) + mean(v), where u is the largest with u + v <= cost everywhere.
  """
  u = np.min(cost - potential[None], axis=1)
  return float(np.mean(u) + np.mean(potential))


def _points(name, points):
  points = np.asarray(points, np.float64)
  if points.ndim != 2 or not points.size:
    raise ValueError(
      f'{name} has shape {points.shape}; a point set is [N, F], not empty.'
    )
  if not np.isfinite(points).all():
    bad = np.count_nonzero(~np.isfinite(points).all(axis=1))
    raise ValueError(
      f'{bad} of the {len(points)} points of {name} are not finite.'
    )
  return points


def _distances(a, b):
  # Differences, not the expanded square: that loses half the digits of points
  # that are close, which are the ones a good plan pairs.
  square = np.zeros((len(a), len(b)))
  for x, y in zip(a.T, b.T, strict=True):
    square += np.square(x[:, None] - y[None])
  return np.sqrt(square)


def _solve(cost, max_iterations):
  try:
    import ot
  except ImportError as error:
    raise ImportError(NEEDS_POT) from error
  weights = [np.full(n, 1 / n) for n in cost.shape]
  try:
    plan, log = ot.emd(*weights, cost, numItermax=max_iterations, log=True)
  except UserWarning as warning:  # where warnings are errors
    raise ValueError(f'POT did not solve the transport: {warning}') from warning
  if log['warning'] is not None:
    raise ValueError(f'POT did not solve the transport: {log["warning"]}')
  return plan, log['v']


def _check_plan(plan):
  """Raises ValueError unless the plan moves all mass, and no other."""
  rows, columns = (
    np.abs(plan.sum(axis) * n - 1).max()
    for axis, n in ((1, plan.shape[0]), (0, plan.shape[1]))
  )
  if not (plan.min() >= 0 and max(rows, columns) <= 1e-9):
    raise ValueError(
      f"POT's plan misses its weights by {max(rows, columns):.3g} of a point, "
      f'and its smallest entry is {plan.min():.3g}.'
    )
