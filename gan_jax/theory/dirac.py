"""The Dirac-GAN: one real point, one generated point, a linear critic.

The data sit at 0, the generator is a point at theta and the critic is linear
with slope psi. With f(t) = -log(1 + exp(-t)) the paper's critic maximizes
f(psi theta) + f(0): it is high on generated points. The critics of
`gan_jax.losses` are high on real points and minimize, so theirs is -psi x, and
softplus(-psi theta) = -f(psi theta) is what they minimize; theta and psi then
move alike. A penalty gamma / 2 psi^2 of the paper is `regularizers.r1` (or
`r2`) with weight gamma / 2.

Here are the paper's vector fields by hand; `dirac_linear` has its eigenvalues
and step size limits by formula, `dirac_games` the same games made of the core's
losses and penalties.

References:
  Mescheder, Geiger & Nowozin, Which Training Methods for GANs do actually
  Converge?, 2018, sections 2 and 3, and the authors' notebook.
"""

import functools
import math
from collections.abc import Callable

import jax
import numpy as np
from jax import numpy as jnp

from gan_jax import games

SLOPE = 0.5  # f'(0)
CURVATURE = -0.25  # f''(0)
NUM_NODES = 80  # the noisy fields are then right to 1e-9 for |psi| std <= 2

Field = Callable[[jax.Array, jax.Array], games.Players]


def _slope(t):
  return jax.nn.sigmoid(-t)


def _curvature(t):
  return -jax.nn.sigmoid(t) * jax.nn.sigmoid(-t)


def gan(theta: jax.Array, psi: jax.Array) -> games.Players:
  """(-psi f'(theta psi), theta f'(theta psi)): where both players go."""
  slope = _slope(theta * psi)
  return games.Players(-psi * slope, theta * slope)


def nonsaturating(theta: jax.Array, psi: jax.Array) -> games.Players:
  """As `gan`, but the generator follows -psi f'(-theta psi)."""
  slope_g, slope_d = _slope(-theta * psi), _slope(theta * psi)
  return games.Players(-psi * slope_g, theta * slope_d)


def wasserstein(theta: jax.Array, psi: jax.Array) -> games.Players:
  """(-psi, theta); clip psi after each of its steps."""
  return games.Players(-psi, theta)


def penalized(field: Field, gamma: float) -> Field:
  """The field with gamma / 2 psi^2 charged to the critic: R1 and R2 alike."""

  def regularized(theta, psi):
    v = field(theta, psi)
    return v._replace(d=v.d - gamma * psi)

  return regularized


def centred(field: Field, gamma: float, target: float = 1.0) -> Field:
  """The field with gamma / 2 (|psi| - target)^2: WGAN-GP's penalty."""

  def regularized(theta, psi):
    v = field(theta, psi)
    pull = gamma * jnp.sign(psi) * (jnp.abs(psi) - target)
    return v._replace(d=v.d - pull)

  return regularized


def noisy(std: float, num_nodes: int = NUM_NODES) -> Field:
  """`gan` with Gaussian noise on real and generated points, in expectation.

  Args:
    std: of the noise.
    num_nodes: of the Gauss-Hermite rule.
  """
  nodes, weights = map(jnp.asarray, normal_nodes(num_nodes))

  def field(theta, psi):
    real, fake = std * nodes, theta + std * nodes
    gain = fake * _slope(psi * fake) - real * _slope(-psi * real)
    return games.Players(-psi * weights @ _slope(psi * fake), weights @ gain)

  return field


def consensus(gamma: float, cross: float = 1.0) -> Field:
  """`gan` minus gamma times the gradient of half its squared length.

  Args:
    gamma: the weight.
    cross: of the term with f''. The gradient has 1; the authors' notebook has
      1/2, which changes the field at second order only.
  """

  def field(theta, psi):
    v, slope = gan(theta, psi), _slope(theta * psi)
    bend = cross * (theta**2 + psi**2) * slope * _curvature(theta * psi)
    return games.Players(
      v.g - gamma * (theta * slope**2 + psi * bend),
      v.d - gamma * (psi * slope**2 + theta * bend),
    )

  return field


def euler(
  field: Field, h: float, *, d_steps: int = 0, clip: float = math.inf
) -> Callable[[games.Players], games.Players]:
  """One step along a field, by hand.

  Args:
    field: where the players go.
    h: the step size of both.
    d_steps: 0 moves both at once; n moves theta once, then psi n times.
    clip: psi is clipped to [-clip, clip] after it has moved.
  """

  def step(players):
    theta, psi = players
    v = field(theta, psi)
    theta = theta + h * v.g
    if not d_steps:
      return games.Players(theta, jnp.clip(psi + h * v.d, -clip, clip))
    for _ in range(d_steps):
      psi = jnp.clip(psi + h * field(theta, psi).d, -clip, clip)
    return games.Players(theta, psi)

  return step


@functools.partial(jax.jit, static_argnums=(0, 3))
def flow(field: Callable, players: games.Players, dt: float, num_steps: int):
  """Follows `players -> Players` in continuous time, by Runge-Kutta of order 4.

  Args:
    field: a function that can be hashed.
    players: at time 0.
    dt: the step.
    num_steps: how many.

  Returns:
    The players at time `num_steps * dt`.
  """

  def along(scale, direction, players):
    return jax.tree.map(lambda x, v: x + scale * v, players, direction)

  def step(_, players):
    a = field(players)
    b = field(along(dt / 2, a, players))
    c = field(along(dt / 2, b, players))
    d = field(along(dt, c, players))
    mean = jax.tree.map(
      lambda *k: (k[0] + 2 * k[1] + 2 * k[2] + k[3]) / 6, a, b, c, d
    )
    return along(dt, mean, players)

  return jax.lax.fori_loop(0, num_steps, step, players)


def normal_nodes(num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
  """Points and probabilities, `[N]` each, of the standard normal (Gauss)."""
  nodes, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
  return nodes, weights / np.sum(weights)
