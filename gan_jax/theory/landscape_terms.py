"""The sixteen losses as sums of convex terms of the critic's values.

Every row of `losses.LOSSES` is, for the critic, a mean of convex functions T of
one number each, and that number z is linear in the critic's values: the value
itself (the separable rows), the lead r_i - f_i of a real over a generated
example (the paired relativistic ones), or the lead over the other batch's mean
(the relativistic averages). So the best critic among all functions is a convex
problem in finitely many numbers, and multipliers u with A' u = 0 bound it:

  min_v  mean_k T_k((A v)_k)  >=  -mean_k T_k*(u_k),

with the convex conjugates T*, which are tabulated here. T and its derivatives
are never written down again: they are the core's, read off batches of one.

References:
  Nowozin et al., f-GAN, 2016, section 2; Sun, Fang & Schwing, Towards a Better
  Global Loss Landscape of GANs, 2020, section 4; Boyd & Vandenberghe, Convex
  Optimization, 2004, section 5.7.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

from gan_jax import losses
from gan_jax.theory import configurations

Pattern = configurations.Pattern


class Term(NamedTuple):
  """What convex duality needs to know of one term T.

  Attributes:
    conjugate: u -> T*(u), inside `slopes`.
    slopes: of T at -infinity and at +infinity: where T* is finite.
    recedes: the sign of the side on which T falls for ever towards its
      infimum; 0 where the infimum is attained or there is none.
    pieces: (slope, intercept) of the lines whose largest is T; empty if smooth.
  """

  conjugate: Callable[[np.ndarray], np.ndarray]
  slopes: tuple[float, float]
  recedes: int = 0
  pieces: tuple[tuple[float, float], ...] = ()


class Terms(NamedTuple):
  """One loss.

  Attributes:
    kind: 'separable', 'paired' or 'average'.
    real: the term of a real example (or of a pair).
    fake: the term of a generated example.
  """

  kind: str
  real: Term
  fake: Term


def _xlogx(x: np.ndarray) -> np.ndarray:
  return np.where(x > 0, x * np.log(np.where(x > 0, x, 1.0)), 0.0)


def _entropy(x: np.ndarray) -> np.ndarray:
  return _xlogx(x) + _xlogx(1 - x)


_INF = np.inf
_LOG_2 = np.log(2.0)
# The conjugate of T(-z) at u is T* at -u. The slopes of exp are those without
# the core's cap, exp(50) at most: no multiplier comes near it.
_LOG = Term(lambda u: _entropy(-u), (-1, 0), 1)  # softplus(-z)
_SOFTPLUS = Term(_entropy, (0, 1), -1)
_HINGE = Term(lambda u: u, (-1, 0), 0, ((0, 0), (-1, 1)))  # relu(1 - z)
_HINGE_FAKE = Term(lambda u: -u, (0, 1), 0, ((0, 0), (1, 1)))
_SQUARE = Term(lambda u: u**2 / 4 + u, (-_INF, _INF))  # (z - 1)^2
_FALLING = Term(lambda u: 0 * u, (-1, -1), 0, ((-1, 0),))  # -z
_RISING = Term(lambda u: 0 * u, (1, 1), 0, ((1, 0),))  # z
_EXP_FALLING = Term(lambda u: _xlogx(-u) + u, (-_INF, 0), 1)  # exp(-z)

TERMS: dict[str, Terms] = {
  'minimax': Terms('separable', _LOG, _SOFTPLUS),
  'nonsaturating': Terms('separable', _LOG, _SOFTPLUS),
  'wasserstein': Terms('separable', _FALLING, _RISING),
  # (z - 1)^2 / 2 and z^2 / 2
  'least_squares': Terms(
    'separable',
    Term(lambda u: u**2 / 2 + u, (-_INF, _INF)),
    Term(lambda u: u**2 / 2, (-_INF, _INF)),
  ),
  'hinge': Terms('separable', _HINGE, _HINGE_FAKE),
  # exp(z - 1)
  'f_kl': Terms('separable', _FALLING, Term(_xlogx, (0, _INF), -1)),
  # z - 1
  'f_reverse_kl': Terms(
    'separable', _EXP_FALLING, Term(lambda u: 0 * u + 1, (1, 1), 0, ((1, -1),))
  ),
  # z^2 / 4 + z
  'f_pearson': Terms(
    'separable', _FALLING, Term(lambda u: (u - 1) ** 2, (-_INF, _INF))
  ),
  # exp(-z) - 1 and exp(z) - 1
  'f_hellinger': Terms(
    'separable',
    Term(lambda u: _xlogx(-u) + u + 1, (-_INF, 0), 1),
    Term(lambda u: _xlogx(u) - u + 1, (0, _INF), -1),
  ),
  'f_jensen_shannon': Terms(
    'separable',
    Term(lambda u: _entropy(-u) + _LOG_2, (-1, 0), 1),
    Term(lambda u: _entropy(u) + _LOG_2, (0, 1), -1),
  ),
  'relativistic': Terms('paired', _LOG, _LOG),
  'relativistic_hinge': Terms('paired', _HINGE, _HINGE),
  'relativistic_least_squares': Terms('paired', _SQUARE, _SQUARE),
  'relativistic_average': Terms('average', _LOG, _LOG),
  'relativistic_average_hinge': Terms('average', _HINGE, _HINGE),
  'relativistic_average_least_squares': Terms('average', _SQUARE, _SQUARE),
}


def get(name: str) -> Terms:
  """The terms of a loss.

  Raises:
    ValueError: `name` is not a loss.
  """
  losses.get(name)
  return TERMS[name]


def terms(name: str, size: int) -> tuple[Term, ...]:
  """One term for each row of `matrix`."""
  row = get(name)
  if row.kind == 'paired':
    return (row.real,) * size
  return (row.real,) * size + (row.fake,) * size


def matrix(name: str, pattern: Pattern) -> np.ndarray:
  """A, which takes the critic's values to the arguments of the terms.

  Returns:
    `[2 n, P]`, real rows first; `[n, P]` for a paired loss.
  """
  size = len(pattern)
  places = np.eye(max(size, max(pattern) + 1))
  real, fake = places[:size], places[list(pattern)]
  kind = get(name).kind
  if kind == 'paired':
    return real - fake
  if kind == 'average':
    real, fake = real - np.mean(fake, 0), np.mean(real, 0) - fake
  return np.concatenate([real, fake])


def weight(name: str, size: int) -> float:
  """What each term counts in the loss."""
  return 1 / (2 * size) if get(name).kind == 'average' else 1 / size


def conjugates(name: str, multipliers: np.ndarray) -> np.ndarray:
  """T*(u) of every term; infinite outside the slopes of T.

  Args:
    name: of a loss.
    multipliers: one for each term, `[K]`.
  """
  size = len(multipliers)
  size = size if get(name).kind == 'paired' else size // 2
  values = []
  for term, u in zip(terms(name, size), multipliers, strict=True):
    inside = term.slopes[0] <= u <= term.slopes[1]
    values.append(float(term.conjugate(np.asarray(u))) if inside else np.inf)
  return np.array(values)


def mean_loss(name: str, values: np.ndarray, pattern: Pattern) -> float:
  """The core's mean discriminator loss at the critic's values, `[P]`."""
  # Not compiled: there is little to compute, for many sizes.
  with jax.enable_x64(True):
    real = jnp.asarray(values[: len(pattern)])
    fake = jnp.asarray(values[np.array(pattern)])
    return float(np.mean(losses.get(name).discriminator(real, fake)))


def derivatives(
  name: str, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Value (up to a constant), slope and curvature of every term, `[K]` each.

  Args:
    name: of a loss.
    z: the arguments of the terms, `[K]`.
  """
  real_term, fake_term = _taylor(name)
  if get(name).kind == 'paired':
    return _padded(real_term, z)
  real, fake = np.split(z, 2)
  pairs = zip(_padded(real_term, real), _padded(fake_term, fake), strict=True)
  return tuple(np.concatenate(pair) for pair in pairs)


def _padded(taylor: Callable, z: np.ndarray) -> tuple[np.ndarray, ...]:
  """At a size that is a multiple of 8: few programs to compile."""
  with jax.enable_x64(True):
    found = taylor(jnp.asarray(np.pad(z, (0, -len(z) % 8))))
    return tuple(np.asarray(x)[: len(z)] for x in found)


@functools.cache
def _taylor(name: str) -> tuple[Callable, Callable]:
  """A batch of one pair shows one term: the other example's logit is 0."""
  loss = losses.get(name).discriminator
  real_term = lambda x: loss(x[None], jnp.zeros(1))[0]
  fake_term = lambda x: loss(jnp.zeros(1), x[None])[0]

  def taylor(term):
    slope = jax.grad(term)
    each = lambda x: (term(x), slope(x), jax.grad(slope)(x))
    return jax.jit(jax.vmap(each))

  real = taylor(real_term)
  return real, taylor(fake_term) if get(name).kind == 'separable' else real
