"""Which training methods converge near the equilibrium: decided by computation.

Two games with a known equilibrium stand for the two columns of the paper's
table. General: the Dirac-GAN, whose data and generator are one point each.
Absolutely continuous: real data N(0, 1), a generator mean + scale z and a
critic a x + b x^2, expectations by quadrature. Where the unregularised critic's
loss has curvature, as in the second game, descent is damped; in the first game
the critic sees only the real and the generated point, and it is not.

A game in which a method fails refutes it; one in which it converges proves
nothing about other games (there the paper has theorems).

References:
  Mescheder, Geiger & Nowozin, Which Training Methods for GANs do actually
  Converge?, 2018: its table of local convergence.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import optax
from jax import numpy as jnp

from gan_jax import diagnostics, games, losses, regularizers
from gan_jax.theory import dirac, dirac_games

NUM_NODES = 5  # exact for polynomials of degree 9


class Case(NamedTuple):
  """Data, generator and critic of a game, by quadrature.

  Attributes:
    real: `[B]`.
    generate: the generator's parameters -> `[B]`.
    critic: the critic's parameters -> a function `[B] -> [B]`.
    weights: of the points, `[B]`.
    noise_real: standard normal, `[B]`, for instance noise.
    noise_fake: the same, independent.
    std: of the real data.
    equilibrium: where real and generated points agree and the critic is zero.
  """

  real: jax.Array
  generate: Callable
  critic: Callable
  weights: jax.Array
  noise_real: jax.Array
  noise_fake: jax.Array
  std: float
  equilibrium: games.Players


class Method(NamedTuple):
  """A row of the table.

  Attributes:
    loss: a name.
    penalty: `Case -> Penalty`, or None.
    noise: std of the instance noise.
    consensus: weight of consensus optimization; 0 is plain descent.
  """

  loss: str = 'minimax'
  penalty: Callable[[Case], dirac_games.Penalty] | None = None
  noise: float = 0.0
  consensus: float = 0.0


class Verdict(NamedTuple):
  """What was found near the equilibrium.

  Attributes:
    converges: linearly, for small enough steps.
    jump: the field's largest length close to the equilibrium, 0 if it is
      continuous there.
    eigenvalues: of the field's Jacobian; None where it has no derivative.
    drifts: how far descents with small steps end from the equilibrium, over
      where they start, the least and the greatest; None where the eigenvalues
      decide.
  """

  converges: bool
  jump: float
  eigenvalues: np.ndarray | None
  drifts: tuple[float, float] | None


def point_case() -> Case:
  """The Dirac-GAN: data at 0, a generator at theta, a critic -psi x."""
  (noise_real, noise_fake), weights = _product(2)
  zeros = jnp.zeros_like(weights)
  return Case(
    zeros,
    lambda theta: theta + zeros,
    dirac_games.linear_critic,
    weights,
    noise_real,
    noise_fake,
    0.0,
    games.Players(jnp.zeros(()), jnp.zeros(())),
  )


def gaussian_case() -> Case:
  """Data N(0, 1), a generator mean + scale z, a critic -(a x + b x^2).

  With f of the Dirac-GAN the critic's own block is 2 f''(0) diag(1, 3) and the
  coupling f'(0) diag(1, 2).
  """
  (real, z, noise_real, noise_fake), weights = _product(4)
  return Case(
    real,
    lambda g: g[0] + g[1] * z,
    lambda d: lambda x: -(d[0] * x + d[1] * x**2),
    weights,
    noise_real,
    noise_fake,
    1.0,
    games.Players(jnp.array([0.0, 1.0]), jnp.zeros(2)),
  )


def _product(axes: int) -> tuple[list[jax.Array], jax.Array]:
  """Independent standard normals on a product grid, and its weights."""
  nodes, weights = dirac.normal_nodes(NUM_NODES)
  grid = np.meshgrid(*[nodes] * axes, indexing='ij')
  masses = np.meshgrid(*[weights] * axes, indexing='ij')
  points = [jnp.asarray(axis.ravel()) for axis in grid]
  return points, jnp.asarray(np.prod(masses, axis=0).ravel())


def dragan(gamma: float, one_sided: bool = False) -> Callable:
  """gamma / 2 (|grad D| - 1)^2 at DRAGAN's points around the data."""

  def of_case(case):
    # The core scales by the batch's spread; quadrature nodes have another one.
    spread = float(jnp.std(case.real))
    scale = 0.5 * case.std / spread if spread else 0.5

    def penalty(critic, real, fake):
      near = regularizers.dragan_points(jax.random.key(0), real, scale)
      each = regularizers.gradient_penalty(critic, near, one_sided=one_sided)
      return gamma / 2 * each

    return penalty

  return of_case


# The paper's table: name -> (method, absolutely continuous, general).
TABLE: dict[str, tuple[Method, str, str]] = {
  'unregularised': (Method(), 'yes', 'no'),
  'WGAN': (Method('wasserstein'), 'no', 'no'),
  'WGAN-GP': (
    Method('wasserstein', lambda case: dirac_games.wgan_gp(1.0)),
    'no',
    'no',
  ),
  'DRAGAN': (Method(penalty=dragan(1.0)), 'yes', 'no'),
  'instance noise': (Method(noise=0.7), 'yes', 'yes'),
  'consensus': (Method(consensus=1.0), 'yes', 'yes'),
  "Roth's gradient penalty": (
    Method(penalty=lambda case: dirac_games.roth(1.0)),
    'yes',
    'yes',
  ),
  'R1': (Method(penalty=lambda case: dirac_games.r1(0.3)), 'yes', 'yes'),
  'R2': (Method(penalty=lambda case: dirac_games.r2(0.3)), 'yes', 'yes'),
}


def game(method: Method, case: Case) -> games.Game:
  """The method's losses and penalty on the case's points."""
  fake = lambda g: case.generate(g) + method.noise * case.noise_fake
  return dirac_games.weighted_game(
    losses.get(method.loss),
    case.real + method.noise * case.noise_real,
    fake,
    case.critic,
    case.weights,
    None if method.penalty is None else method.penalty(case),
  )


def transformation(method: Method, h: float) -> games.GameTransformation:
  """Simultaneous descent with step size h, of the core."""
  if method.consensus:
    return dirac_games.consensus(h, method.consensus)
  return dirac_games.descent(h)


def decide(methods: dict[str, Method], case: Case) -> dict[str, Verdict]:
  """Whether methods converge near a case's equilibrium.

  Where the field is continuous there, the eigenvalues of its Jacobian decide:
  all real parts negative, or not. Eigenvalues on the imaginary axis count as a
  no: no step size makes descent converge linearly, whatever slower decay higher
  orders may bring. Where the field jumps, descents with small steps from close
  by decide: all of them have to come nearer.

  Args:
    methods: rows, by name.
    case: a column.

  Returns:
    A Verdict for each row.
  """
  played = {name: game(method, case) for name, method in methods.items()}
  near = _around(case, 1e-7, 32)

  @jax.jit  # of all rows at once, which is far quicker to compile
  def look(near, equilibrium):
    return {
      name: _look(transformation(method, 1.0), played[name], near, equilibrium)
      for name, method in methods.items()
    }

  seen = jax.device_get(look(near, case.equilibrium))
  jumping = [name for name, (jump, _) in seen.items() if not jump <= 1e-3]
  drifts = _drifts({name: played[name] for name in jumping}, case)
  return {
    name: _jumping(float(seen[name][0]), drifts[name])
    if name in jumping
    else _smooth(seen[name][1])
    for name in methods
  }


def _look(
  method: games.GameTransformation,
  played: games.Game,
  near: games.Players,
  equilibrium: games.Players,
) -> tuple[jax.Array, jax.Array]:
  """The field's largest length at points, and its Jacobian, `[N, N]`.

  The field is what a step of size 1 adds to the players.
  """

  def length(players):
    updates = method.update(played, method.init(players), players)[0]
    return optax.tree.norm(updates)

  step = diagnostics.step_jacobian(method, played, equilibrium)
  return jnp.max(jax.vmap(length)(near)), step - jnp.eye(len(step))


def _smooth(jacobian: np.ndarray) -> Verdict:
  values = np.linalg.eigvals(jacobian)
  values = values[np.lexsort((values.imag, values.real))]
  return Verdict(bool(np.max(values.real) < -1e-9), 0.0, values, None)


def _jumping(jump: float, drifts: jax.Array) -> Verdict:
  least, greatest = float(np.min(drifts)), float(np.max(drifts))
  return Verdict(greatest < 1, jump, None, (least, greatest))


def _around(case: Case, radius: float, number: int) -> games.Players:
  """Points at a distance from the equilibrium, `[number, ...]` each."""
  flat, unravel = jax.flatten_util.ravel_pytree(case.equilibrium)
  directions = np.random.default_rng(0).normal(size=(number, flat.size))
  directions /= np.linalg.norm(directions, axis=1, keepdims=True)
  return jax.vmap(unravel)(jnp.asarray(flat[None] + radius * directions))


def _drifts(
  played: dict[str, games.Game],
  case: Case,
  *,
  radius: float = 1e-2,
  h: float = 1e-3,
  num_steps: int = 500,
) -> dict[str, jax.Array]:
  """Final distances of descents from `radius` away, over `radius`, `[8]`."""
  method = dirac_games.descent(h)

  def end(game, players):
    step = lambda _, carry: games.play(method, [game], carry[1], carry[0])[:2]
    carry = (players, method.init(players))
    return jax.lax.fori_loop(0, num_steps, step, carry)[0]

  def distance(game, players):
    away = optax.tree.sub(end(game, players), case.equilibrium)
    return optax.tree.norm(away)

  @jax.jit
  def run(begin):
    of = lambda game: jax.vmap(lambda players: distance(game, players))(begin)
    return {name: of(game) / radius for name, game in played.items()}

  return run(_around(case, radius, 8))
