"""Best critics by convex programming, each with a certificate.

A certificate is a critic, whose loss is computed by the core, and multipliers
that bound all critics (see `landscape_terms`). A value that is only approached
needs a critic with infinite logits; it is given as a finite part and a
direction, and the limit is taken far along it.
"""

import functools
from typing import NamedTuple

import numpy as np

from gan_jax.theory import landscape_terms
from gan_jax.theory.landscape_terms import Pattern

TOLERANCE = 1e-8
# What is left of softplus or exp there, 3e-20, is below rounding.
FAR = 45.0
# Multipliers fulfil A' u = 0 to rounding; more is a mistake, not rounding.
_RESIDUAL = 1e-10
_NEWTON_STEPS = 100


class Critic(NamedTuple):
  """A critic that is best, or comes ever closer to it, and its proof.

  Attributes:
    finite: values at the places, `[P]`.
    direction: the best critics are `finite + t direction` as t grows, `[P]`;
      zero where the best is attained.
    multipliers: of the dual bound, `[K]`; None if the loss falls for ever.
  """

  finite: np.ndarray
  direction: np.ndarray
  multipliers: np.ndarray | None


def certify(name: str, pattern: Pattern, critic: Critic) -> tuple[float, float]:
  """Proves a critic the best.

  Args:
    name: of a loss.
    pattern: of the points.
    critic: from `solve` or a closed form.

  Returns:
    phi as the critic reaches it, and the bound that no critic exceeds; both
    infinite for a critic whose loss falls for ever.

  Raises:
    ValueError: they are more than 1e-8 apart, or the proof has another hole.
  """
  if critic.multipliers is None:
    return _certify_unbounded(name, pattern, critic)
  far = critic.finite + FAR * critic.direction
  value = -landscape_terms.mean_loss(name, far, pattern)
  multipliers = critic.multipliers
  weight = landscape_terms.weight(name, len(pattern))
  residual = landscape_terms.matrix(name, pattern).T @ multipliers
  bound = weight * np.sum(_conjugates_near(name, multipliers))
  gap = bound - value
  # A nan compares false, so it fails too.
  if not (abs(gap) <= TOLERANCE and np.max(np.abs(residual)) <= _RESIDUAL):
    raise ValueError(
      f'loss={name!r} at pattern {pattern} is not certified: the critic '
      f'reaches {value}, the dual bound is {bound}, a gap of {gap:.1e} where '
      f'{TOLERANCE:.0e} is allowed; the multipliers miss their equations by '
      f'{np.max(np.abs(residual)):.1e}.'
    )
  return value + 0.0, float(bound) + 0.0  # no minus zeros


def _conjugates_near(name: str, multipliers: np.ndarray) -> np.ndarray:
  """Conjugates, with multipliers that left their interval by rounding put back.

  A real excess leaves the conjugate, and so the gap, infinite.
  """
  size = len(multipliers)
  size = size if landscape_terms.get(name).kind == 'paired' else size // 2
  slopes = [term.slopes for term in landscape_terms.terms(name, size)]
  inside = np.clip(multipliers, *np.transpose(slopes))
  near = np.abs(inside - multipliers) <= _RESIDUAL
  return landscape_terms.conjugates(name, np.where(near, inside, multipliers))


def _certify_unbounded(name, pattern, critic) -> tuple[float, float]:
  """The loss falls along the direction, as fast as its slopes say."""
  slope = _recession(name, pattern, critic.direction)
  losses_far = [
    landscape_terms.mean_loss(
      name, critic.finite + t * critic.direction, pattern
    )
    for t in (FAR, 2 * FAR)
  ]
  seen = (losses_far[1] - losses_far[0]) / FAR
  if not (slope < 0 and abs(seen - slope) <= 1e-9):
    raise ValueError(
      f'loss={name!r} at pattern {pattern} is not certified: it should fall '
      f'for ever, but its slope is {slope}, seen as {seen}.'
    )
  return np.inf, np.inf


def _recession(name: str, pattern: Pattern, direction: np.ndarray) -> float:
  """The slope of the mean loss far out in a direction."""
  z = landscape_terms.matrix(name, pattern) @ direction
  slopes = [t.slopes for t in landscape_terms.terms(name, len(pattern))]
  # 0 * inf is nan; where z = 0 the term does not change.
  total = sum(
    0.0 if x == 0 else max(low * x, high * x)
    for x, (low, high) in zip(z, slopes, strict=True)
  )
  return total * landscape_terms.weight(name, len(pattern))


def solve(name: str, pattern: Pattern) -> Critic:
  """The best critic by linear programming and Newton's method.

  First, whether the loss falls for ever; second, which terms fall towards their
  infima together, and drop out; third, what is left, which attains its minimum.

  Args:
    name: of a loss.
    pattern: of the points.

  Returns:
    A Critic, still to be certified.

  Raises:
    ValueError: a linear program failed.
  """
  matrix = landscape_terms.matrix(name, pattern)
  nowhere = np.zeros(matrix.shape[1])
  terms = landscape_terms.terms(name, len(pattern))
  falls = _steepest(matrix, terms)
  if falls is not None:
    return Critic(nowhere, falls, None)
  if all(term.pieces for term in terms):
    values, multipliers = _piecewise_linear(matrix, terms)
    return Critic(values, nowhere, multipliers)
  direction, recedes = _receding(matrix, terms)
  values, multipliers = _newton(name, matrix, ~recedes)
  if landscape_terms.get(name).kind != 'separable':
    values, direction = (_anchored(v, pattern) for v in (values, direction))
  # What linear programming leaves of a zero.
  direction = np.where(np.abs(direction) < 1e-9, 0.0, direction)
  return Critic(values, direction, multipliers)


def _anchored(values: np.ndarray, pattern: Pattern) -> np.ndarray:
  """Fixes the constant that a relativistic loss leaves free.

  Zero at a real point that is met, or on average where none is.
  """
  met = [place for place in pattern if place < len(pattern)]
  return values - (values[met[0]] if met else np.mean(values))


def _program(cost, **constraints):
  # Imported here: the rest of the theory does without scipy.
  from scipy import optimize

  found = optimize.linprog(cost, method='highs', **constraints)
  if found.status != 0:
    raise ValueError(f'a linear program of the critic failed: {found.message}')
  return found


def _steepest(matrix, terms) -> np.ndarray | None:
  """A direction in which the sum of the terms falls for ever, or None.

  Minimizes sum_k s_k over directions in the unit box, where s_k is at least
  both slopes of term k times (A d)_k.
  """
  if all(low <= 0 <= high for low, high in (term.slopes for term in terms)):
    return None  # every term has a finite infimum
  num_terms, num_values = matrix.shape
  rows, limits = [], []
  for k, term in enumerate(terms):
    for slope in term.slopes:
      row = np.zeros(num_values + num_terms)
      if np.isinf(slope):  # so that side is closed
        row[:num_values] = np.sign(slope) * matrix[k]
      else:
        row[:num_values], row[num_values + k] = slope * matrix[k], -1
      rows.append(row)
      limits.append(0.0)
  cost = np.repeat([0.0, 1.0], [num_values, num_terms])
  bounds = [(-1, 1)] * num_values + [(None, None)] * num_terms
  for k, term in enumerate(terms):
    if np.all(np.isinf(term.slopes)):  # s_k has no other constraint
      bounds[num_values + k] = (0, 0)
  found = _program(cost, A_ub=np.array(rows), b_ub=limits, bounds=bounds)
  return found.x[:num_values] if found.fun < -1e-9 else None


def _receding(matrix, terms) -> tuple[np.ndarray, np.ndarray]:
  """The terms that approach their infima together, and a direction that does.

  Maximizes the number of terms with recedes * (A d)_k >= 1, where no other
  term may rise: z stays put unless T is flat on that side.
  """
  num_terms, num_values = matrix.shape
  side = np.array([term.recedes for term in terms], np.float64)
  free = np.flatnonzero(side)
  if not free.size:
    return np.zeros(num_values), np.zeros(num_terms, bool)
  fixed = np.flatnonzero(side == 0)
  rows = np.zeros((len(free), num_values + len(free)))
  rows[:, :num_values] = -side[free, None] * matrix[free]
  rows[:, num_values:] = np.eye(len(free))
  equal = np.zeros((len(fixed), num_values + len(free)))
  equal[:, :num_values] = matrix[fixed]
  bounds = [(None, None)] * num_values + [(0, 1)] * len(free)
  found = _program(
    np.repeat([0.0, -1.0], [num_values, len(free)]),
    A_ub=rows,
    b_ub=np.zeros(len(free)),
    A_eq=equal if len(fixed) else None,
    b_eq=np.zeros(len(fixed)) if len(fixed) else None,
    bounds=bounds,
  )
  recedes = np.zeros(num_terms, bool)
  recedes[free] = found.x[num_values:] > 0.5
  return found.x[:num_values], recedes


def _piecewise_linear(matrix, terms) -> tuple[np.ndarray, np.ndarray]:
  """Minimizes a sum of terms that are each the largest of some lines."""
  num_terms, num_values = matrix.shape
  lines = [(k, *line) for k, term in enumerate(terms) for line in term.pieces]
  owner, slope, intercept = (np.array(x) for x in zip(*lines, strict=True))
  rows = np.concatenate(
    [slope[:, None] * matrix[owner], -np.eye(num_terms)[owner]], axis=1
  )
  found = _program(
    np.repeat([0.0, 1.0], [num_values, num_terms]),
    A_ub=rows,
    b_ub=-intercept,
    bounds=[(None, None)] * (num_values + num_terms),
  )
  multipliers = np.bincount(
    owner, -found.ineqlin.marginals * slope, minlength=num_terms
  )
  return found.x[:num_values], multipliers


def _newton(name, matrix, kept) -> tuple[np.ndarray, np.ndarray]:
  """Minimizes the terms that are kept; the others have multiplier 0."""
  derivatives = functools.partial(landscape_terms.derivatives, name)
  values = np.zeros(matrix.shape[1])
  used = np.where(kept[:, None], matrix, 0.0)
  for _ in range(_NEWTON_STEPS):
    level, slope, curvature = derivatives(used @ values)
    slope, curvature = slope * kept, curvature * kept
    gradient = used.T @ slope
    hessian = used.T @ (curvature[:, None] * used)
    # Least squares: constants, and more, leave the loss as it is.
    move = -np.linalg.lstsq(hessian, gradient, rcond=1e-12)[0]
    decrement = -gradient @ move
    if decrement < 1e-26:
      break
    size = 1.0
    start = np.sum(level[kept])
    while size > 1e-9:
      there = derivatives(used @ (values + size * move))[0]
      if np.sum(there[kept]) <= start - 1e-4 * size * decrement + 1e-15:
        break
      size /= 2
    values = values + size * move
  # Newton's equation makes A' (T' + T'' A move) vanish, so this is feasible.
  multipliers = slope + curvature * (used @ move)
  return values, multipliers
