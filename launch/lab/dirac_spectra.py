"""Rows of the Dirac-GAN: spectra, step size limits and continuous time."""

import functools
from collections.abc import Callable

import jax
import numpy as np
from jax import numpy as jnp

from gan_jax import diagnostics, games, losses
from gan_jax.theory import dirac, dirac_games, dirac_linear
from launch.lab import dirac_panels, dirac_rows, result

SIMULTANEOUS_GAMMAS = (0.1, 0.3, 0.5, 1.0, 2.0, 10.0)
ALTERNATING_GAMMAS = (0.1, 0.3, 0.5, 1.0, 2.0)
TURNS = ((1, 1), (1, 5), (2, 3), (5, 1))
NSGAN_SETTLES = {0.05: '.3162', 0.1: '.4471', 0.2: '.6317'}
# Panels whose linear parts differ.
SMOOTH = (
  *('gan', 'wgan', 'r1', 'r1_critical', 'noise'),
  *('consensus', 'consensus_notebook'),
)

Row = result.Row


def zeros() -> games.Players:
  """The equilibrium."""
  return games.Players(jnp.zeros(()), jnp.zeros(()))


def step_matrices(panels: dict) -> dict[tuple[str, str], np.ndarray]:
  """(panel, sweep or 'field') -> a step's or the field's Jacobian at 0.

  The field is what a step of size 1 adds to the players.
  """

  def jacobian(panel, h, d_steps):
    method = panel.method(h, d_steps)
    return diagnostics.step_jacobian(method, panel.game, zeros())

  def each(panel):
    found = {
      sweep: jacobian(panel, dirac_panels.STEP_SIZE, d_steps)
      for sweep, d_steps in dirac_panels.SWEEPS.items()
    }
    return found | {'field': jacobian(panel, 1.0, 0) - jnp.eye(2)}

  @jax.jit  # of all at once, which is far quicker to compile
  def run():
    return {
      (name, key): matrix
      for name in SMOOTH
      for key, matrix in each(panels[name]).items()
    }

  return jax.device_get(run())


def upper_eigenvalue(matrix: np.ndarray) -> complex:
  """That with the largest imaginary part, `[2, 2]`."""
  values = np.linalg.eigvals(matrix)
  return complex(values[np.lexsort((values.real, values.imag))[-1]])


def of_spectra(panels: dict) -> tuple[Row, ...]:
  """Continuous eigenvalues and discrete spectral radii."""
  matrices = step_matrices(panels)
  rows = []
  for name in SMOOTH:
    panel, label = panels[name], dirac_rows.plain_label(panels[name])
    ours = upper_eigenvalue(matrices[name, 'field'])
    paper = dirac_linear.eigenvalues(panel.linear)[0]
    # A double eigenvalue is found to the square root of the rounding error.
    for part in ('real', 'imag'):
      pair = getattr(paper, part), getattr(ours, part)
      rows.append(result.exact(f'{label}: eigenvalue, {part}', *pair, 1e-7))
    for sweep, d_steps in dirac_panels.SWEEPS.items():
      h = dirac_panels.STEP_SIZE
      rows.append(
        result.exact(
          f'{label}: spectral radius of a step, {sweep}',
          dirac_linear.step_radius(panel.linear, h, d_steps=d_steps),
          np.max(np.abs(np.linalg.eigvals(matrices[name, sweep]))),
          1e-7,
          f'step size {h}',
        )
      )
  field = matrices['gan', 'field']
  rows.append(
    result.exact(
      "GAN: product of the Jacobian's off-diagonal entries",
      -(dirac.SLOPE**2),
      field[0, 1] * field[1, 0],
      1e-12,
      "-f'(0)^2; one later paper prints -f'(0)",
    )
  )
  return tuple(rows)


def radius_of_step(method_of: Callable, penalty_of: Callable) -> Callable:
  """(h, gamma) -> the spectral radius of a step at 0, compiled.

  Args:
    method_of: h -> GameTransformation.
    penalty_of: gamma -> Penalty.
  """

  @jax.jit
  def step(h, gamma):
    game = dirac_games.point_game('minimax', penalty_of(gamma))
    return diagnostics.step_jacobian(method_of(h), game, zeros())

  return lambda h, gamma: float(
    np.max(np.abs(np.linalg.eigvals(np.asarray(step(h, gamma)))))
  )


def bisect(stable: Callable[[float], bool], low: float, high: float) -> float:
  """Where `stable` changes from true to false, to rounding.

  Raises:
    ValueError: it is not true at `low` and false at `high`.
  """
  if not stable(low) or stable(high):
    raise ValueError(
      f'bisect needs a step size that is stable at {low} and one that is not '
      f'at {high}.'
    )
  for _ in range(50):
    middle = (low + high) / 2
    low, high = (middle, high) if stable(middle) else (low, middle)
  return (low + high) / 2


def of_limits() -> tuple[Row, ...]:
  """Largest stable step sizes by bisection, against the formulas."""
  rows = []
  for sweep, gammas, formula in (
    ('simultaneous', SIMULTANEOUS_GAMMAS, dirac_linear.simultaneous_limit),
    ('alternating 1', ALTERNATING_GAMMAS, dirac_linear.alternating_limit),
  ):
    method_of = functools.partial(
      dirac_games.descent, d_steps=dirac_panels.SWEEPS[sweep]
    )
    radius = radius_of_step(method_of, dirac_games.r1)
    for gamma in gammas:
      stable = lambda h, radius=radius, gamma=gamma: radius(h, gamma) < 1
      rows.append(
        result.exact(
          f'R1, gamma {gamma:g}, {sweep}: largest stable step size',
          formula(gamma),
          bisect(stable, 1e-3, 8.0),
          1e-6,
          'bisection on the spectral radius',
        )
      )
  for g_steps, d_steps in TURNS:
    radius = radius_of_step(
      lambda h, turns=(g_steps, d_steps): _descent(h, *turns),
      lambda gamma: None,
    )
    # Past the limit the radius grows like a root, so this is sharp enough.
    stable = lambda h, radius=radius: radius(h, 0.0) < 1 + 1e-6
    rows.append(
      result.exact(
        f'GAN, {g_steps} G then {d_steps} D: largest step size on the unit '
        'circle',
        dirac_linear.circle_limit(g_steps, d_steps),
        bisect(stable, 1e-3, 8.0),
        1e-6,
        "sqrt(n_g n_d) h f'(0) = 2",
      )
    )
  return tuple(rows)


def _descent(h, g_steps: int, d_steps: int) -> games.GameTransformation:
  """As `dirac_games.descent`, with several steps of the generator."""
  plain = dirac_games.descent(h)
  return dirac_games.in_turns(plain, ('g',) * g_steps + ('d',) * d_steps)


def of_flows() -> tuple[Row, ...]:
  """What continuous time keeps, and how the non-saturating GAN decays."""
  begin = dirac_panels.start()
  gan = dirac_games.point_game('minimax')
  nsgan = dirac_games.point_game('nonsaturating')
  flow = lambda game, dt, steps: dirac.flow(
    lambda players: diagnostics.field(game, players), begin, dt, steps
  )
  after = flow(gan, 0.02, 5000)
  late = flow(nsgan, 0.05, 20_000)
  rows = [
    result.exact(
      'GAN, continuous time: theta^2 + psi^2 after 100 units of time',
      2.0,
      after.g**2 + after.d**2,
      1e-8,
      'Runge-Kutta of order 4, step .02',
    ),
    result.exact(
      'NSGAN, continuous time: radius over sqrt(8 / t) at t = 1000',
      1.0,
      np.hypot(*late) / np.sqrt(8 / 1000),
      5e-3,
      'asymptotic: equal up to O(1 / t); Runge-Kutta, step .05',
    ),
  ]
  for h, text in NSGAN_SETTLES.items():
    rows.append(
      dirac_rows.printed(
        f'NSGAN, simultaneous, step size {h}: mean radius where it settles',
        text,
        settled_radius(nsgan, h),
        'mean over the last 10000 of 40000 steps; sqrt(2 h) is '
        f'{np.sqrt(2 * h):.4f}',
      )
    )
  return (*rows, *_relativistic_rows())


def settled_radius(
  game: games.Game, h: float, num_steps: int = 40_000
) -> float:
  """The mean radius over the last quarter of simultaneous steps.

  It is no circle: the radius goes up and down by about a percent.
  """
  method = dirac_games.descent(h)

  def body(number, carry):
    (players, state), total = carry
    players, state, _ = games.play(method, [game], state, players)
    late = number >= num_steps - num_steps // 4
    return (players, state), total + late * jnp.hypot(*players)

  @jax.jit
  def run(carry):
    return jax.lax.fori_loop(0, num_steps, body, (carry, jnp.zeros(())))[1]

  begin = dirac_panels.start()
  return float(run((begin, method.init(begin))) / (num_steps // 4))


def _relativistic_rows() -> list[Row]:
  """One real point at 0 has logit 0, so nothing is left of the pairing."""
  rng = np.random.default_rng(0)
  points = games.Players(*jnp.asarray(rng.uniform(-2, 2, size=(2, 100))))
  rows = []
  for title, ours, plain in (
    ('relativistic', losses.get('relativistic'), 'nonsaturating'),
    ('saturating relativistic', losses.saturating('relativistic'), 'minimax'),
  ):
    game = dirac_games.weighted_game(
      ours,
      jnp.zeros(1),
      lambda theta: theta[None],
      dirac_games.linear_critic,
      jnp.ones(1),
    )
    of = lambda game: jax.vmap(lambda at: diagnostics.field(game, at))(points)
    same = of(dirac_games.point_game(plain))
    apart = result.worst(np.abs(np.subtract(of(game), same)))
    rows.append(
      result.exact(
        f'{title} Dirac-GAN: largest difference from the field of {plain}',
        0.0,
        apart,
        1e-14,
        '100 points of [-2, 2]^2',
      )
    )
  return rows
