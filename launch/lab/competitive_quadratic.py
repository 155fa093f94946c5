"""The quadratic game of implicit competitive regularization, exactly.

References:
  Schaefer, Zheng and Anandkumar, Implicit Competitive Regularization in GANs,
  ICML 2020, and the authors' blog on it.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jax import numpy as jnp

from gan_jax import cgd, diagnostics, games
from gan_jax.theory import quadratic
from launch.lab import drawing, result

PAIRS = ((0.09, 0.01), (0.03, 0.03), (0.01, 0.09))
# Of SimGD, for the three pairs: real part, imaginary part.
PAPER_EIGENVALUES = ((0.92, 0.282843), (1.0, 0.293939), (1.08, 0.282843))
PAPER_RADII = dict(
  simultaneous=(0.962497, 1.042305, 1.116423),
  competitive=(0.875979, 0.956101, 1.030008),
  alternating=(0.914549, 0.998198, 1.075360),
)
NAMES = dict(
  simultaneous='SimGD', alternating='alternating, x first', competitive='CGD'
)
# x is g. Step sizes may be traced.
METHODS = dict(
  simultaneous=lambda a, b: games.simultaneous(optax.sgd(a), optax.sgd(b)),
  alternating=lambda a, b: games.alternating(
    optax.sgd(a), optax.sgd(b), first='g'
  ),
  competitive=cgd.cgd,
)
COLOURS = dict(
  simultaneous=drawing.COLOURS['simultaneous'],
  alternating=drawing.COLOURS['alternating'],
  competitive=drawing.COLOURS['cgd'],
)
START = (0.5, 1.0)
NUM_STEPS = 80
_MARGIN = 1e-6  # the published numbers have six digits
_WINDOW = 3.4


def run(settings: result.Settings) -> result.Result:
  """Radii, stability limits and trajectories of three methods, in float64."""
  with jax.enable_x64(True):
    jacobians = {name: _jacobian(method) for name, method in METHODS.items()}
    rows = (*radii(jacobians), *limits(jacobians), alone())
    paths = {
      (name, pair): trajectory(METHODS[name], *pair)
      for name in METHODS
      for pair in PAIRS
    }
    picture = draw(paths, settings)
  missed = [row.quantity for row in rows if not row.holds]
  return result.Result(
    title='The quadratic game',
    claim='Where y has positive curvature it runs away from (0, 0) alone, yet '
    'both together may converge: SimGD on x^2 + 10 x y + y^2 does exactly '
    'where 1/b - 1/a > 48 (and 4 a - 4 b - 96 a b < 4).',
    protocol='Jacobians of one step of games.simultaneous, games.alternating '
    'and cgd.cgd by automatic differentiation, float64; limits by bisection on '
    'their spectral radius. x minimizes with step size a, y maximizes with b.',
    seen=_words(missed, len(rows)),
    verdict='The exact part agrees with its closed forms.'
    if not missed
    else 'The exact part does NOT agree with its closed forms.',
    rows=rows,
    numbers=_numbers(jacobians, paths),
    figures=(picture,),
  )


def _words(missed, count):
  if missed:
    return f'{len(missed)} of {count} numbers miss: {", ".join(missed)}.'
  return (
    f'All {count} numbers are met. For all three methods 1/b - 1/a has to '
    f'exceed a threshold: {_thresholds()}. A second condition keeps x from '
    'steps that are too long; there SimGD and CGD have -96 a b, alternating '
    'steps 104 a b.'
  )


def _short(name: str) -> str:
  return NAMES[name].partition(',')[0]


def _thresholds() -> str:
  return ', '.join(
    f'{quadratic.threshold(name):g} for {_short(name)}' for name in METHODS
  )


def _jacobian(method: Callable) -> Callable:
  """A compiled function `(a, b) -> [2, 2]`."""

  def jacobian(a, b):
    # Linear, so the same everywhere; at 0 nothing would be left to solve for.
    players = games.Players(jnp.array(0.7), jnp.array(-0.4))
    return diagnostics.step_jacobian(method(a, b), quadratic.game(), players)

  return jax.jit(jacobian)


def _radius(matrix: jax.Array) -> float:
  # By numpy: on an accelerator JAX has no eigenvalues of such matrices.
  return float(np.abs(np.linalg.eigvals(np.asarray(matrix))).max())


def radii(jacobians: dict[str, Callable]) -> list[result.Row]:
  """The published table, and its closed forms."""
  rows = []
  for i, (a, b) in enumerate(PAIRS):
    at = f'a = {a:g}, b = {b:g}'
    values = np.linalg.eigvals(np.asarray(jacobians['simultaneous'](a, b)))
    upper = values[np.argmax(values.imag)]
    for part, paper in zip(('real', 'imag'), PAPER_EIGENVALUES[i], strict=True):
      ours = getattr(upper, part)
      name = f'SimGD eigenvalues, {part} part'.replace('imag', 'imaginary')
      rows.append(result.exact(name, paper, ours, _MARGIN, at))
    for name, paper in PAPER_RADII.items():
      ours = _radius(jacobians[name](a, b))
      label = f'radius of {NAMES[name]}'
      rows.append(result.exact(label, paper[i], ours, _MARGIN, at))
      form = quadratic.radius(name, a, b)
      label = 'the same by its closed form'
      rows.append(result.exact(label, form, ours, 1e-9, f'{NAMES[name]}; {at}'))
  return rows


def crossing(above: Callable[[float], bool], low: float, high: float) -> float:
  """Where a condition that fails at `low` begins to hold, by bisection.

  Raises:
    ValueError: it holds at `low`, or fails at `high`.
  """
  if above(low) or not above(high):
    raise ValueError(
      f'no crossing between low={low} and high={high}: the condition has to '
      'fail at the first and hold at the second.'
    )
  for _ in range(60):
    middle = (low + high) / 2
    low, high = (low, middle) if above(middle) else (middle, high)
  return low


def limits(jacobians: dict[str, Callable]) -> list[result.Row]:
  """Where the core's methods stop being stable, against the inequalities."""
  rows = []
  for name, jacobian in jacobians.items():
    unstable = lambda a, b, f=jacobian: _radius(f(a, b)) > 1
    a = 0.015
    b = crossing(lambda b, f=unstable, a=a: f(a, b), 1e-4, 1.0)
    published = name == 'simultaneous'
    source = 'the paper' if published else 'derived in theory.quadratic'
    rows.append(
      result.exact(
        f'{NAMES[name]}: 1/b - 1/a at the limit of b',
        quadratic.threshold(name),
        1 / b - 1 / a,
        1e-6,
        f'a = {a:g}; closed form, {source}',
      )
    )
    b, weight = 0.004, 104 if name == 'alternating' else -96
    a = crossing(lambda a, f=unstable, b=b: f(a, b), 0.1, 3.0)
    rows.append(
      result.exact(
        f'{NAMES[name]}: 4 a - 4 b {weight:+} a b at the limit of a',
        4.0,
        4 * a - 4 * b + weight * a * b,
        1e-6,
        f'b = {b:g}',
      )
    )
  return rows


def alone() -> result.Row:
  """y's factor in a step while x is frozen at 0."""
  method = games.simultaneous(optax.set_to_zero(), optax.sgd(0.01))
  players = games.Players(jnp.array(0.0), jnp.array(1.0))
  matrix = diagnostics.step_jacobian(method, quadratic.game(), players)
  return result.exact(
    'factor of y in a step, x frozen',
    float(quadratic.frozen_factor(0.01)),
    matrix[1, 1],
    1e-12,
    'b = 0.01, 1 + 2 b',
  )


def trajectory(method: Callable, a: float, b: float) -> np.ndarray:
  """(x, y) at the start and after each step, `[NUM_STEPS + 1, 2]`."""
  play, game = method(a, b), quadratic.game()
  players = games.Players(*(jnp.asarray(x, float) for x in START))

  def step(carry, _):
    players, state = carry
    after = games.play(play, [game] * len(play.turns), state, players)[:2]
    return after, jnp.stack(players)

  carry = (players, play.init(players))
  seen = jax.jit(lambda carry: jax.lax.scan(step, carry, length=NUM_STEPS + 1))
  return np.asarray(seen(carry)[1])


def draw(paths: dict, settings: result.Settings) -> result.Figure:
  """A panel of trajectories for each pair, and the plane of step sizes."""
  page, panels = drawing.page(2, 2, (5.2, 4.2))
  for pair, axes in zip(PAIRS, panels.flat, strict=False):
    _draw_paths(axes, {name: paths[name, pair] for name in METHODS}, pair)
  _draw_region(panels[1, 1])
  return drawing.save(
    page,
    settings.out,
    'competitive_quadratic',
    'Alone, y runs away from (0, 0) (grey); with x playing, the faster x is '
    f'against y, the more methods converge: {_converging()}. Right below: each '
    'method is stable under, or right of, its line; the bend of the '
    'alternating one is the second condition.',
  )


def _converging() -> str:
  told = []
  for a, b in PAIRS:
    stays = [name for name in METHODS if quadratic.is_stable(name, a, b)]
    names = ' + '.join(map(_short, stays)) or 'none'
    told.append(f'{names} at a = {a:g}, b = {b:g}')
  return '; '.join(told)


def _draw_paths(axes, paths, pair):
  a, b = pair
  for name, path in paths.items():
    seen = path[np.cumsum(np.abs(path).max(1) > 4 * _WINDOW) == 0]
    radius = float(quadratic.radius(name, a, b))
    axes.plot(
      *seen.T,
      marker='.',
      ms=4,
      lw=1,
      color=COLOURS[name],
      label=f'{NAMES[name]}: {"in" if radius < 1 else "out"}, {radius:.3f}',
    )
  alone = START[1] * (1 + 2 * b) ** np.arange(NUM_STEPS)
  axes.plot(
    0 * alone,
    alone,
    '.',
    ms=3,
    color=drawing.COLOURS['none'],
    label=f'y alone, x = 0: out, {1 + 2 * b:.3f}',
  )
  axes.plot(*START, 'k*', ms=9)
  axes.plot(0, 0, 'k+', ms=11)
  axes.set(
    xlim=(-_WINDOW, _WINDOW),
    ylim=(-_WINDOW, _WINDOW),
    xlabel='x (minimizes)',
    ylabel='y (maximizes)',
    title=f'a = {a:g}, b = {b:g}',
  )
  axes.legend(fontsize=8, loc='lower left', title='goes; factor a step')


def _draw_region(axes):
  a, b = np.geomspace(1e-3, 0.3, 300), np.geomspace(1e-3, 10, 400)
  for name in METHODS:
    radius = quadratic.radius(name, a[None], b[:, None])
    axes.contour(a, b, radius, levels=[1], colors=COLOURS[name])
    label = f'{NAMES[name]}: 1/b - 1/a = {quadratic.threshold(name):g}'
    axes.plot([], [], color=COLOURS[name], label=label)
  for (x, y), mark in zip(PAIRS, 'os^', strict=True):
    label = f'({x:g}, {y:g})'
    axes.plot(x, y, mark, color='k', ms=7, ls='', label=label)
  axes.set(
    xscale='log',
    yscale='log',
    xlim=(2e-3, 0.3),
    ylim=(2e-3, 10),
    xlabel='a, step size of x',
    ylabel='b, step size of y',
    title='stable below (CGD: also right of) the line',
  )
  axes.legend(fontsize=8)


def _numbers(jacobians: dict, paths: dict) -> dict[str, Any]:
  return dict(
    radii={
      f'{name} {pair}': _radius(jacobians[name](*pair))
      for name in METHODS
      for pair in PAIRS
    },
    trajectories={
      f'{name} {pair}': path for (name, pair), path in paths.items()
    },
  )
