"""V = xy: the flow, and what steps of the game methods make of it."""

import jax
import numpy as np
import optax
from jax import numpy as jnp

from gan_jax import cgd, diagnostics, games
from gan_jax.theory import continuous
from launch.lab import result

STEP = 0.2
ALPHAS = (1.0, 3.0, 6.0)
SUBSTEPS = 20


def methods(step: float) -> dict[str, games.GameTransformation]:
  """The methods of `continuous.BILINEAR_RADII`, from the core."""
  sgd = optax.sgd(step)
  return {
    'simultaneous': games.simultaneous(sgd, sgd),
    'alternating': games.alternating(sgd, sgd, first='g'),
    'optimistic': games.optimistic(sgd, sgd),
    'extragradient': games.extragradient(sgd, sgd),
    'consensus': games.consensus(sgd, sgd, weight=1.0),
    'cgd': cgd.cgd(step),
  }


def orbits() -> dict:
  """V = xy: the flow, the core's methods, and the radius of a step."""
  num_steps = 100
  start = games.Players(jnp.asarray(1.0), jnp.asarray(0.0))
  paths, radii, rows = {}, {}, []
  for name, method in methods(STEP).items():
    radii[name] = bilinear_radii(method)
    paths[name] = path(method, continuous.bilinear(), start, num_steps)
    rows += [
      result.exact(
        f'radius of a step on {alpha:g} x y: {name}',
        continuous.BILINEAR_RADII[name](STEP, alpha),
        radius,
        1e-7,
        f'h = {STEP}',
      )
      for alpha, radius in zip(ALPHAS, radii[name], strict=True)
    ]
  times = jnp.arange(num_steps + 1) * STEP
  flow = continuous.bilinear_flow(start, times)
  rows += _flow_rows(start, times) + _path_rows(paths, num_steps)
  return dict(
    step=STEP, paths=paths, flow=np.stack(flow, 1), radii=radii, rows=rows
  )


def _flow_rows(start: games.Players, times: jax.Array) -> list[result.Row]:
  """The closed flow against the field of the core's game."""
  game = continuous.bilinear()
  flow = lambda time: continuous.bilinear_flow(start, time)

  @jax.jit
  def gaps(times):
    at, speed = jax.jvp(flow, (times,), (jnp.ones_like(times),))
    field = jax.vmap(lambda players: diagnostics.field(game, players))(at)
    integrated = integrate(game, start, times[1] - times[0], len(times) - 1)
    return [
      jnp.max(jnp.abs(jnp.stack(a) - jnp.stack(b)))
      for a, b in ((speed, field), (integrated, at))
    ]

  speed, position = gaps(times)
  return [
    result.exact(
      'speed of the closed flow less the field of the game, largest',
      0.0,
      speed,
      1e-12,
      'along the circle, by jax.jvp',
    ),
    result.exact(
      'the closed flow less the integrated field, largest distance',
      0.0,
      position,
      1e-8,
      f'Runge-Kutta of order 4, {SUBSTEPS} steps per h, to time {times[-1]:g}',
    ),
  ]


def integrate(
  game: games.Game, start: games.Players, time: jax.Array, records: int
) -> games.Players:
  """The flow of a game's field by Runge-Kutta, every `time`.

  Returns:
    Players with leading axis `[records + 1]`; the first is the start.
  """
  h = time / SUBSTEPS
  field = lambda players: diagnostics.field(game, players)
  plus = lambda at, v, scale: jax.tree.map(lambda a, b: a + scale * b, at, v)

  def step(_, at):
    one = field(at)
    two = field(plus(at, one, h / 2))
    three = field(plus(at, two, h / 2))
    four = field(plus(at, three, h))
    for v, share in ((one, 1), (two, 2), (three, 2), (four, 1)):
      at = plus(at, v, h * share / 6)
    return at

  def record(at, _):
    return jax.lax.fori_loop(0, SUBSTEPS, step, at), at

  return jax.lax.scan(record, start, length=records + 1)[1]


def _path_rows(
  paths: dict[str, np.ndarray], num_steps: int
) -> list[result.Row]:
  grown = np.hypot(*paths['simultaneous'][-1])
  ellipse = _alternating_invariant(paths['alternating'])
  return [
    result.exact(
      f'radius after {num_steps} simultaneous steps',
      (1 + STEP**2) ** (num_steps / 2),
      grown,
      1e-9,
      'sqrt(1 + h^2) to the power of the steps',
    ),
    result.exact(
      'largest of x^2 + y^2 - h x y along alternation, less 1',
      0.0,
      np.max(np.abs(ellipse - 1)),
      1e-12,
      'an ellipse that a step, x first, keeps',
    ),
  ]


def _alternating_invariant(points: np.ndarray) -> np.ndarray:
  """x' = x - h y, y' = y + h x' keep it; 1 at (1, 0)."""
  x, y = points.T
  return x**2 + y**2 - STEP * x * y


def bilinear_radii(method: games.GameTransformation) -> list[float]:
  """Spectral radii of a whole step on alpha x y, for ALPHAS."""
  zero = games.Players(jnp.zeros(()), jnp.zeros(()))
  # Differences, as CGD's solver has no derivative at the saddle itself.
  of = lambda alpha: diagnostics.step_jacobian(
    method, continuous.bilinear(alpha), zero, difference=1.0
  )
  matrices = jax.jit(jax.vmap(of))(jnp.asarray(ALPHAS))
  return [float(diagnostics.spectral_radius(m)) for m in matrices]


def path(
  method: games.GameTransformation,
  game: games.Game,
  start: games.Players,
  num_steps: int,
) -> np.ndarray:
  """Two numbers before and after each step, `[num_steps + 1, 2]`."""

  def step(carry, _):
    turns = [game] * len(method.turns)
    players, state, _ = games.play(method, turns, carry[1], carry[0])
    return (players, state), jnp.stack(players)

  def whole(start):
    return jax.lax.scan(step, (start, method.init(start)), length=num_steps)[1]

  after = np.asarray(jax.jit(whole)(start))
  return np.concatenate([np.asarray(jnp.stack(start))[None], after])
