"""The loss that a generator sees when the critic is the best of all functions.

  phi(y) = max_f  -mean_i loss_D(f(x_i), f(y_i)),

with the discriminator's losses of `losses.py`, summed and not halved, so 1/n
and not 1/(2n) normalizes the logistic one. The generator wants phi small: its
global minimum is where both sets of points are the same. phi depends on which
points coincide and on nothing else (`configurations`).

All sixteen losses are convex in the critic's values (the f-divergences' output
activations included), so a maximum is proven by a dual bound. Closed forms are
used for the separable and the paired losses, a convex solve for the averages.

References:
  Sun, Fang & Schwing, Towards a Better Global Loss Landscape of GANs, 2020,
  sections 3 to 5.
"""

import functools
from typing import NamedTuple

import numpy as np

from gan_jax.theory import (
  configurations,
  landscape_closed,
  landscape_solver,
  landscape_terms,
)


class Inner(NamedTuple):
  """The best critic's payoff at one configuration.

  The best critic need not be the only one: a relativistic loss leaves a
  constant free, a paired one a constant for each part of the graph.

  Attributes:
    value: phi, which the critic reaches (or approaches); inf if the critic's
      loss falls for ever.
    bound: the dual's; no critic of any kind exceeds it.
    gap: bound - value, at most 1e-8 (rounding may make it negative); 0 if both
      are infinite.
    points: the distinct points, the real first, `[P, D]`.
    critic: the best logits there; +-inf where they run to infinity, `[P]`.
    finite: the part of the logits that stays, `[P]`.
    direction: finite + t direction comes to the value as t grows, `[P]`. The
      lead of one infinite logit over another may be infinite too.
    attained: whether some critic with finite logits reaches the value.
  """

  value: float
  bound: float
  gap: float
  points: np.ndarray
  critic: np.ndarray
  finite: np.ndarray
  direction: np.ndarray
  attained: bool


def inner(name: str, real: np.ndarray, fake: np.ndarray) -> Inner:
  """The exact inner maximum, certified.

  Args:
    name: of a loss in `losses.LOSSES`.
    real: n distinct points, `[n, D]` or `[n]`.
    fake: n points, which may coincide, with the same shape. Pair i of a paired
      relativistic loss is real[i], fake[i].

  Returns:
    An Inner.

  Raises:
    ValueError: the loss is unknown, the two sets of points have other shapes,
      a number in them is not finite, real points coincide, or the optimum
      could not be certified to 1e-8.
  """
  landscape_terms.get(name)
  merged = configurations.merge(real, fake)
  critic, value, bound = _solved(name, merged.pattern, False)
  infinite = np.where(critic.direction > 0, np.inf, -np.inf)
  return Inner(
    value,
    bound,
    0.0 if np.isinf(value) else bound - value,
    merged.points,
    np.where(critic.direction == 0, critic.finite, infinite),
    critic.finite,
    critic.direction,
    not np.any(critic.direction),
  )


def phi(
  name: str, pattern: configurations.Pattern, *, convex_solve: bool = False
) -> tuple[float, float]:
  """The certified value at a pattern, and its dual bound.

  Args:
    name: of a loss in `losses.LOSSES`.
    pattern: see `configurations`.
    convex_solve: without the closed forms.

  Raises:
    ValueError: as `inner`.
  """
  landscape_terms.get(name)
  pattern = configurations.check(pattern)
  if len(pattern) <= _RENUMBERED:
    pattern = configurations.canonical(pattern)
  return _solved(name, pattern, convex_solve)[1:]


# Few patterns are different up to a renumbering: 7, 20 and 61 for n = 2, 3, 4.
# Beyond six pairs the n! renumberings take longer than another solve.
_RENUMBERED = 6


@functools.lru_cache(maxsize=10_000)
def _solved(name, pattern, convex_solve):
  kind = landscape_terms.get(name).kind
  if convex_solve or kind == 'average':
    critic = landscape_solver.solve(name, pattern)
  elif kind == 'paired':
    critic = landscape_closed.paired(name, pattern)
  else:
    critic = landscape_closed.separable(name, pattern)
  for array in critic[:2]:
    array.flags.writeable = False  # it is kept for the next call
  return critic, *landscape_solver.certify(name, pattern, critic)
