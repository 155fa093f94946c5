"""Games whose flows, Jacobians and step-size limits are known exactly.

References:
  [1] Mescheder, Nowozin & Geiger, The Numerics of GANs, 2017: lemma 4 and
      section 3 (steps), 4 (consensus).
  [2] Nagarajan & Kolter, Gradient descent GAN optimization is locally stable,
      2017, theorem 3.1 (blocks at the equilibrium).
  [3] Mescheder, Geiger & Nowozin, Which Training Methods for GANs do actually
      Converge?, 2018.
  [4] Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a
      Local Nash Equilibrium, 2017, and the authors' notebook of its toy.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

from gan_jax import games, losses, regularizers


def bilinear(alpha: float = 1.0) -> games.Game:
  """V = alpha x y; x = g minimizes, y = d maximizes."""
  return games.zero_sum(lambda g, d: -alpha * g * d)


def bilinear_flow(
  start: games.Players, time: jax.Array, alpha: float = 1.0
) -> games.Players:
  """Where continuous play of `bilinear` is after a time: a rotation.

  Args:
    start: two scalars.
    time: any shape.
    alpha: of the game; the angular speed, counter-clockwise for alpha > 0.

  Returns:
    Players of the shape of time; x^2 + y^2 stays what it was.
  """
  cos, sin = jnp.cos(alpha * time), jnp.sin(alpha * time)
  return games.Players(
    start.g * cos - start.d * sin, start.g * sin + start.d * cos
  )


def _optimistic_radius(c: float) -> float:
  """z^2 - (1 + 2ic) z + ic = 0."""
  return float(abs(np.roots([1, -(1 + 2j * c), 1j * c])).max())


def _alternating_radius(c: float) -> float:
  """z^2 - (2 - c^2) z + 1 = 0: on the unit circle until c = 2."""
  return float(abs(np.roots([1, c**2 - 2, 1])).max())


# The factor of the radius in a step h on alpha x y; consensus with weight 1.
BILINEAR_RADII: dict[str, Callable[[float, float], float]] = {
  'simultaneous': lambda h, alpha: math.hypot(1, h * alpha),
  'alternating': lambda h, alpha: _alternating_radius(h * alpha),
  'optimistic': lambda h, alpha: _optimistic_radius(h * alpha),
  'extragradient': lambda h, alpha: math.hypot(1 - (h * alpha) ** 2, h * alpha),
  'consensus': lambda h, alpha: math.hypot(1 - h * alpha**2, h * alpha),
  'cgd': lambda h, alpha: 1 / math.hypot(1, h * alpha),
}


def eigenvalues(matrix: jax.Array) -> np.ndarray:
  """Of `[N, N]`, by real part, then imaginary part; NumPy on any machine.

  Raises:
    ValueError: the matrix is not square.
  """
  matrix = np.asarray(matrix)
  if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
    raise ValueError(f'a matrix of shape {matrix.shape} is not square.')
  return np.sort_complex(np.linalg.eigvals(matrix))


def spectral_distance(a: np.ndarray, b: np.ndarray) -> float:
  """How far two spectra are apart: the best pairing's largest distance.

  A double eigenvalue is known to the root of the rounding error only, 1e-8.

  Args:
    a: `[N]`, at most 8: all pairings are tried.
    b: `[N]`.

  Raises:
    ValueError: the sizes differ, or there are more than 8.
  """
  if len(a) != len(b) or len(a) > 8:
    raise ValueError(f'spectra of {len(a)} and {len(b)}; at most 8 and 8.')
  distance = np.abs(np.asarray(a)[:, None] - np.asarray(b)[None])
  rows = np.arange(len(a))
  return float(
    min(
      distance[rows, list(columns)].max()
      for columns in itertools.permutations(rows)
    )
  )


def flow_converges(values: np.ndarray) -> bool:
  """Whether continuous play does: all real parts negative."""
  return bool(np.max(np.real(values)) < 0)


def largest_step(values: np.ndarray) -> float:
  """The step size below which v -> v + h J v contracts [1, eq. 12].

  The least of 2 |Re| / |lambda|^2: |1 + h lambda| < 1 below it, and = 1 at it.

  Args:
    values: eigenvalues of J.

  Returns:
    0 where an eigenvalue has no negative real part: no step is small enough.
  """
  values = np.atleast_1d(values)
  if not flow_converges(values):
    return 0.0
  return float(np.min(2 * -values.real / np.abs(values) ** 2))


def with_consensus(jacobian: jax.Array, weight: float) -> jax.Array:
  """The field's Jacobian at an equilibrium once |field|^2 is penalized [1]."""
  return jacobian - weight * jacobian.T @ jacobian


class Local(NamedTuple):
  """What a loss is at the equilibrium, where every logit is the same.

  Attributes:
    logit: of the best critic there.
    curvature: second derivatives of the critic's loss, in r plus in f.
    coupling: how strongly the players turn each other, the product of the first
      derivatives in f of the generator's and of minus the critic's loss.
    shift_invariant: whether only differences of logits count, so that a
      constant in the critic is free.
  """

  logit: float
  curvature: float
  coupling: float
  shift_invariant: bool = False


# By hand from the losses. `relativistic_average*` need a whole batch and are
# not expectations; the other rows are complete.
LOCAL: dict[str, Local] = {
  'minimax': Local(0.0, 1 / 2, 1 / 4),
  'nonsaturating': Local(0.0, 1 / 2, 1 / 4),
  'wasserstein': Local(0.0, 0.0, 1.0),
  'least_squares': Local(1 / 2, 2.0, 1 / 4),
  'hinge': Local(0.0, 0.0, 1.0),
  'f_kl': Local(1.0, 1.0, 1.0),
  'f_reverse_kl': Local(0.0, 1.0, 1.0),
  'f_pearson': Local(0.0, 1 / 2, 1.0),
  'f_hellinger': Local(0.0, 2.0, 1.0),
  'f_jensen_shannon': Local(0.0, 1 / 2, 1 / 4),
  'relativistic': Local(0.0, 1 / 2, 1 / 4, True),
  'relativistic_hinge': Local(0.0, 0.0, 1.0, True),
  'relativistic_least_squares': Local(0.0, 4.0, 4.0, True),
}


def gaussian_critic(d: jax.Array, x: jax.Array) -> jax.Array:
  """d_0 + d_1 x + d_2 (x^2 - 1): quadratic, in Hermite polynomials.

  Args:
    d: `[3]`.
    x: `[B]`.

  Returns:
    `[B]`. On the real data, N(0, 1), the three terms are uncorrelated.
  """
  return d[0] + d[1] * x + d[2] * (jnp.square(x) - 1)


def gaussian_gan(
  name: str, *, r1: float = 0.0, r2: float = 0.0, nodes: int = 12
) -> games.Game:
  """The smallest GAN with two things to learn: a mean and a scale.

  Real data are N(0, 1), generated are g_0 + g_1 z with z from N(0, 1), and the
  critic is `gaussian_critic`, which just suffices to tell normals apart. The
  expectation over real and latent is a Gauss-Hermite product rule, exact at the
  equilibrium, where derivatives of the losses are polynomials.

  Args:
    name: a key of `LOCAL`.
    r1: weight of the squared slope at real data, with the paper's 1/2.
    r2: the same at generated data.
    nodes: of the quadrature, in each direction.

  Returns:
    A Game of players g `[2]` and d `[3]`.

  Raises:
    ValueError: `name` needs batch means or is unknown.
  """
  _local(name)
  loss = losses.get(name)
  points, weights = np.polynomial.hermite_e.hermegauss(nodes)
  weights = weights / weights.sum()
  real, z = (jnp.asarray(part.ravel()) for part in np.meshgrid(points, points))
  weights = jnp.asarray(np.outer(weights, weights).ravel())

  def mean_of(function, g, d):
    fake = g[0] + g[1] * z
    return weights @ function(
      gaussian_critic(d, real), gaussian_critic(d, fake)
    )

  def penalty(g, d):
    critic = lambda x: gaussian_critic(d, x)
    at_real = weights @ regularizers.r1(critic, real)
    at_fake = weights @ regularizers.r2(critic, g[0] + g[1] * z)
    return (r1 * at_real + r2 * at_fake) / 2

  loss_d = lambda g, d: mean_of(loss.discriminator, g, d) + penalty(g, d)
  if loss.zero_sum and not (r1 or r2):
    return games.zero_sum(loss_d)
  return games.Game(lambda g, d: mean_of(loss.generator, g, d), loss_d)


def _local(name: str) -> Local:
  if name not in LOCAL:
    raise ValueError(f'loss={name!r} is not one of {sorted(LOCAL)}.')
  return LOCAL[name]


def gaussian_equilibrium(name: str) -> games.Players:
  """Generated = real, and a critic that is constant, of `gaussian_gan`."""
  logit = _local(name).logit
  return games.Players(jnp.asarray([0.0, 1.0]), jnp.asarray([logit, 0.0, 0.0]))


def gaussian_eigenvalues(name: str, gamma: float = 0.0) -> np.ndarray:
  """Of the field of `gaussian_gan` at its equilibrium, in closed form, `[5]`.

  The critic's three terms have variances 1 (the constant's mean square), 1 and
  2 and slopes of mean square 0, 1 and 4; the generator moves the means of the
  second and third by 1 and 2. So the field falls apart into
  -(curvature), lambda^2 + (k + gamma) lambda + s = 0 for the mean and
  lambda^2 + (2 k + 4 gamma) lambda + 4 s = 0 for the scale.

  Args:
    name: a key of `LOCAL`.
    gamma: r1 + r2.

  Returns:
    Sorted as by `eigenvalues`.
  """
  local = _local(name)
  k, s = local.curvature, local.coupling
  constant = 0.0 if local.shift_invariant else -k
  pairs = np.roots([1, k + gamma, s]), np.roots([1, 2 * k + 4 * gamma, 4 * s])
  return np.sort_complex(np.concatenate([[constant], *pairs]))


def ttur_payoff(x: jax.Array, y: jax.Array) -> jax.Array:
  """(1 + x^2)(100 - y^2); x minimizes, y maximizes; a saddle at 0 [4].

  Args:
    x: any shape; side by side games.
    y: the same.
  """
  return (1 + jnp.square(x)) * (100 - jnp.square(y))


def ttur_game(noise: games.Players | None = None) -> games.Game:
  """TTUR's toy, g = x and d = y; of arrays, the sum of independent games.

  Args:
    noise: what is added to each player's gradient, like the players. Without,
      the game is zero-sum.
  """
  total = lambda g, d: jnp.sum(ttur_payoff(g, d))
  if noise is None:
    return games.zero_sum(lambda g, d: -total(g, d))
  return games.Game(
    lambda g, d: total(g, d) + jnp.sum(noise.g * g),
    lambda g, d: -total(g, d) + jnp.sum(noise.d * d),
  )


# Second derivatives of each player's own loss at the saddle.
TTUR_CURVATURES = games.Players(200.0, 2.0)


def quadratic_sgd_rms(
  start: float, lr: float, curvature: float, sigma: float, steps: int
) -> float:
  """Root mean square of w after steps of w -= lr (curvature w + sigma noise).

  Near its saddle each player of TTUR's toy is such a bowl. The factor of a step
  is 1 - lr curvature; at -1 the noise adds up to a random walk.

  Args:
    start: w at first.
    lr: step size.
    curvature: of the bowl.
    sigma: std of the gradient's noise.
    steps: how many.

  Returns:
    inf where it is beyond float64.

  Raises:
    ValueError: steps or sigma is negative, or a number is not finite.
  """
  given = dict(start=start, lr=lr, curvature=curvature, sigma=sigma)
  for name, value in given.items():
    if not math.isfinite(value):
      raise ValueError(f'{name}={value} needs to be finite.')
  if steps < 0 or sigma < 0:
    raise ValueError(f'steps={steps} and sigma={sigma} need to be >= 0.')
  square = np.float64(1 - lr * curvature) ** 2
  with np.errstate(over='ignore'):
    kept = square**steps
    grown = steps if square == 1 else (1 - kept) / (1 - square)
    parts = (kept, start**2), (grown, (lr * sigma) ** 2)
    # Nothing stays nothing, however much it grows.
    return float(np.sqrt(sum(factor * part for factor, part in parts if part)))
