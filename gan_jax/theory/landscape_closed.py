"""Best critics in closed form: separable losses and paired relativistic ones.

A separable loss is minimized place by place. A paired one sees the graph of
arrows x_i -> y_i: along a tree the critic may fall by any amount at every
arrow, around a cycle the leads sum to zero, and by convexity are best equal.

References:
  Sun, Fang & Schwing, Towards a Better Global Loss Landscape of GANs, 2020,
  sections 4 and 5 and their appendix; Nowozin et al., f-GAN, 2016, table 6.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gan_jax.theory import configurations, landscape_terms
from gan_jax.theory.landscape_solver import Critic
from gan_jax.theory.landscape_terms import Pattern


class Best(NamedTuple):
  """The best logits of a separable loss.

  Attributes:
    real: on a real point alone.
    fake: on generated points alone.
    both: how many generated points share a real one -> the logit, and the slope
      of the generated term there.
  """

  real: float
  fake: float
  both: Callable[[int], tuple[float, float]]


_INF = np.inf
_logistic = Best(_INF, -_INF, lambda m: (-np.log(m), 1 / (1 + m)))

# The f-GAN rows: the activation of the logit is f'(p/q), and p/q = 1/m.
SEPARABLE: dict[str, Best] = {
  'minimax': _logistic,
  'nonsaturating': _logistic,
  'f_jensen_shannon': _logistic,
  # With m = 1 every logit is as good as the other; no m > 1 can be balanced.
  'wasserstein': Best(_INF, -_INF, lambda m: (0.0 if m == 1 else -_INF, 1.0)),
  'least_squares': Best(1.0, 0.0, lambda m: (1 / (1 + m), 1 / (1 + m))),
  'hinge': Best(1.0, -1.0, lambda m: (0.0 if m == 1 else -1.0, 1 / m)),
  'f_kl': Best(_INF, -_INF, lambda m: (1 - np.log(m), 1 / m)),
  'f_reverse_kl': Best(_INF, -_INF, lambda m: (-np.log(m), 1.0)),
  'f_pearson': Best(_INF, -2.0, lambda m: (2 / m - 2, 1 / m)),
  'f_hellinger': Best(_INF, -_INF, lambda m: (-np.log(m) / 2, m**-0.5)),
}


def separable(name: str, pattern: Pattern) -> Critic:
  """The best critic of a separable loss, place by place.

  Logits that run to infinity do so without loss where a multiplier of zero is
  allowed (the term has a finite infimum); elsewhere the loss falls for ever.
  """
  best, size = SEPARABLE[name], len(pattern)
  terms = landscape_terms.get(name)
  num_places = max(size, max(pattern) + 1)
  values, slopes = np.zeros(num_places), np.zeros(num_places)
  endless = np.zeros(num_places, bool)
  number = configurations.counts(pattern)
  for place in range(num_places):
    if place >= size:
      values[place], endless[place] = best.fake, terms.fake.slopes[0] > 0
    elif number[place] == 0:
      values[place], endless[place] = best.real, terms.real.slopes[1] < 0
    else:
      values[place], slopes[place] = best.both(number[place])
      endless[place] = np.isinf(values[place])
  direction = np.where(np.isinf(values), np.sign(values), 0.0)
  finite = np.where(np.isinf(values), 0.0, values)
  if np.any(endless):
    return Critic(finite, np.where(endless, direction, 0.0), None)
  real = -number * slopes[:size]
  return Critic(
    finite, direction, np.concatenate([real, slopes[list(pattern)]])
  )


def paired(name: str, pattern: Pattern) -> Critic:
  """The best critic of a paired relativistic loss, from the cycles."""
  size = len(pattern)
  zero = landscape_terms.derivatives(name, np.zeros(size))[1]
  on_cycle = [i for cycle in configurations.cycles(pattern) for i in cycle]
  multipliers = np.zeros(size)
  # relu has its kink at 1, so every term is smooth at a lead of 0.
  multipliers[on_cycle] = zero[on_cycle]
  height = configurations.heights(pattern).astype(np.float64)
  still = np.zeros_like(height)
  if landscape_terms.get(name).real.recedes:
    return Critic(still, height, multipliers)
  return Critic(height, still, multipliers)  # a lead of 1 is enough


def jensen_shannon(counts: np.ndarray) -> float:
  """phi of the logistic loss, `minimax` and `nonsaturating`, with 1/n.

  Args:
    counts: m_j, how many of the n generated points sit on real point j, `[n]`.
      The others, off the data, count nothing.

  Returns:
    (1/n) sum_j [log 1/(1 + m_j) + m_j log m_j/(1 + m_j)]; the best critic has
    D(x_j) = 1/(1 + m_j). -2 log 2 at a match; half of it with 1/(2n).
  """
  m = np.asarray(counts, np.float64)
  safe = np.where(m > 0, m, 1.0)
  return float(np.mean(m * np.log(safe) - (1 + m) * np.log1p(m)))


def relativistic(pattern: Pattern, term_at_zero: float = np.log(2.0)) -> float:
  """phi of a paired relativistic loss, with 1/n.

  Args:
    pattern: of the points.
    term_at_zero: what the critic pays for a pair without a lead, -h(0): log 2
      for `relativistic`, 1 for the hinge and the squares.

  Returns:
    -(K/n) term_at_zero for every directed cycle of K real points.
  """
  on_cycle = sum(len(cycle) for cycle in configurations.cycles(pattern))
  return -on_cycle / len(pattern) * float(term_at_zero)


def relativistic_average_hinge(pattern: Pattern) -> float:
  """phi of `relativistic_average_hinge`, with 1/n: a rival of pairing.

  With a real point that nobody meets, the critic lifts the reals' mean over
  all generated points for free; with a point off the data too it sinks the
  other mean, and phi is 0. Where all share real points but miss some, the
  leads w_j of the met ones over the generated mean have sum_j m_j w_j = 0, and
  the dual of min sum_j relu(1 - w_j), one number s, is max s sum_j m_j with
  s m_j <= 1.

  Returns:
    -1 at a match, 0 with a point off the data, else -1/(2 max_j m_j): each
    collapse is lower than all around it.
  """
  if configurations.matches(pattern):
    return -1.0
  if not configurations.on_data(pattern):
    return 0.0
  return -0.5 / int(np.max(configurations.counts(pattern)))
