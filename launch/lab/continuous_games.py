"""Flows against steps, Jacobians at an equilibrium, and two time scales."""

import jax
import numpy as np
import optax
from jax import numpy as jnp

from gan_jax import diagnostics, games
from gan_jax.theory import continuous
from launch.lab import (
  continuous_games_figures,
  continuous_games_orbits,
  continuous_games_ttur,
  result,
)

TITLE = 'Continuous games: orbits, eigenvalues and two time scales'
CLAIM = (
  'On V = xy continuous play circles the saddle for ever; steps of size h '
  'spiral out by sqrt(1 + h^2) each. At the equilibrium of a GAN with a '
  "constant critic the generator's own block of the Jacobian is zero and the "
  'mixed blocks are minus each other transposed (Nagarajan & Kolter 2017). A '
  'flow converges if all eigenvalues have negative real parts, its steps only '
  'for h < 2 |Re| / |lambda|^2 (Mescheder, Nowozin & Geiger 2017). On '
  '(1 + x^2)(100 - y^2) with noisy gradients one fast time scale usually '
  'diverges and fluctuates, a slower one usually converges; two converge fast '
  'if x is the slow player, and are more stable if y is (Heusel et al. 2017, '
  'their notebook).'
)
GAMMAS = (0.0, 0.5)


def run(settings: result.Settings) -> result.Result:
  """All four parts; float64."""
  with jax.enable_x64(True):
    at, gaussian = blocks()
    parts = dict(
      orbits=continuous_games_orbits.orbits(),
      blocks=gaussian,
      steps=steps(at),
      ttur=continuous_games_ttur.ttur(settings.quick),
    )
  figures = continuous_games_figures.draw(parts, settings.out, settings.quick)
  rows = tuple(row for part in parts.values() for row in part['rows'])
  numbers = {
    name: {key: value for key, value in part.items() if key != 'rows'}
    for name, part in parts.items()
  }
  return result.Result(
    TITLE,
    CLAIM,
    _protocol(parts),
    _seen(parts),
    _verdict(parts, rows),
    rows,
    result.plain(_without_complex(numbers)),
    figures,
  )


def _without_complex(tree):
  split = lambda x: [np.real(x), np.imag(x)] if np.iscomplexobj(x) else x
  return jax.tree.map(split, tree)


def _protocol(parts: dict) -> str:
  start = continuous_games_ttur.START
  return (
    f'Float64. Orbits: h = {continuous_games_orbits.STEP}, from (1, 0); radii '
    'from the Jacobian of a whole step. GAN: g_0 + g_1 z against N(0, 1), '
    'critic d_0 + d_1 x + d_2 (x^2 - 1), Gauss-Hermite quadrature of 12 by 12 '
    'nodes, all rows of losses.py but the relativistic averages, which are no '
    'expectations. TTUR: '
    f'start ({start.g}, {start.d}), {continuous_games_ttur.STEPS} steps, x '
    "first as in the authors' code, gradient noise of std 1, base rate 0.01, "
    f'{parts["ttur"]["seeds"]} seeds. The notebook does not say what counts as '
    f'diverging; here it is a distance beyond {continuous_games_ttur.FAR:g}.'
  )


def _seen(parts: dict) -> str:
  radius = {name: of[0] for name, of in parts['orbits']['radii'].items()}
  out = [name for name, value in radius.items() if value > 1 + 1e-9]
  into = [name for name, value in radius.items() if value < 1 - 1e-9]
  centres = [
    name
    for name, values in parts['blocks']['values'].items()
    if not np.min(values['0.0'].real) < -1e-9
  ]
  stay = [name for name in radius if name not in (*out, *into)]
  moved = {
    kind: np.sort(values[-1].real)[-2]
    for kind, values in parts['steps']['paths']['wasserstein'].items()
  }
  weight = parts['steps']['gammas'][-1]
  return (
    f'At h = {parts["orbits"]["step"]} on xy {", ".join(out)} spiral out, '
    f'{", ".join(into)} in; '
    f'the radius of {", ".join(stay)} is 1. The largest entry of the '
    "generator's own block is "
    f'{parts["blocks"]["worst"]["gg"]:.1g}, of any loss; with '
    f'{", ".join(centres)} no eigenvalue is left of the imaginary axis. Of '
    "these 'wasserstein' is computed with a penalty and with consensus: the "
    "constant of its critic stays at 0, and the other eigenvalues' largest "
    f'real part is {moved["penalty"]:.2g} with R1 and '
    f'{moved["consensus"]:.2g} with consensus, both of weight {weight:g}. '
    + continuous_games_ttur.seen(parts['ttur'])
  )


def _verdict(parts: dict, rows: tuple) -> str:
  bad = [row.quantity for row in rows if row.exact and not row.holds]
  if bad:
    return f'Not every closed form holds: {"; ".join(bad)}.'
  return 'All closed forms hold; ' + continuous_games_ttur.verdict(
    parts['ttur']
  )


Found = dict[tuple[str, float], diagnostics.Blocks]


def blocks() -> tuple[Found, dict]:
  """Jacobian blocks of the Gaussian GAN, for every loss and penalty."""
  values, rows = {}, []
  found = {
    (name, gamma): gaussian_blocks(name, gamma)
    for name in continuous.LOCAL
    for gamma in (GAMMAS if name in PENALIZED else GAMMAS[:1])
  }
  for (name, gamma), at in found.items():
    seen = continuous.eigenvalues(at.dense())
    values.setdefault(name, {})[str(gamma)] = seen
    closed = continuous.gaussian_eigenvalues(name, gamma)
    label = f"'{name}'" + (f' with R1 + R2, gamma = {gamma}' if gamma else '')
    rows.append(
      result.exact(
        f'eigenvalues at the equilibrium, {label}: largest difference',
        0.0,
        continuous.spectral_distance(seen, closed),
        1e-6,
        f'lambda of largest real part {seen[-1]:.4g}',
      )
    )
  worst = _worst(found)
  rows += [
    result.exact(
      "largest entry of the generator's own block", 0.0, worst['gg'], 1e-12
    ),
    result.exact(
      'largest entry of gd + dg^T',
      0.0,
      worst['mixed'],
      1e-12,
      'all losses, also those that are not zero-sum: at the equilibrium their '
      'generator has minus the slope of the critic',
    ),
  ]
  return found, dict(values=values, worst=worst, rows=rows)


def _worst(found: Found) -> dict[str, float]:
  return dict(
    gg=result.worst([abs(at.gg) for at in found.values()]),
    mixed=result.worst([abs(at.gd + at.dg.T) for at in found.values()]),
  )


# Losses with penalties in the table; the others behave like one of them.
PENALIZED = ('minimax', 'nonsaturating', 'wasserstein', 'relativistic')


def gaussian_blocks(name: str, gamma: float) -> diagnostics.Blocks:
  """At the equilibrium; gamma is shared by R1 and R2."""
  game = continuous.gaussian_gan(name, r1=0.6 * gamma, r2=0.4 * gamma)
  at = lambda players: diagnostics.jacobian(game, players)
  return jax.jit(at)(continuous.gaussian_equilibrium(name))


def steps(found: Found) -> dict:
  """Step-size limits from eigenvalues, and how consensus and R1 move them."""
  gammas = np.linspace(0, 2, 41)
  rows, limits, paths = [], {}, {}
  for name in ('minimax', 'wasserstein'):
    plain = np.asarray(found[name, 0.0].dense())
    paths[name] = dict(
      consensus=np.stack(
        [
          continuous.eigenvalues(continuous.with_consensus(plain, gamma))
          for gamma in gammas
        ]
      ),
      penalty=np.stack(
        [continuous.gaussian_eigenvalues(name, gamma) for gamma in gammas]
      ),
    )
    limits[name] = {
      kind: [continuous.largest_step(_learned(name, row)) for row in values]
      for kind, values in paths[name].items()
    }
  # Wasserstein's critic constant is free: eigenvalue 0 for ever, left out.
  alphas = np.asarray([1.0, 2.0])
  closed = [min(2 * g / (1 + (g * alphas) ** 2)) for g in gammas]
  rows.append(
    result.exact(
      "largest step under consensus, 'wasserstein': largest difference",
      0.0,
      np.max(np.abs(np.asarray(limits['wasserstein']['consensus']) - closed)),
      1e-6,
      '2 gamma / (1 + gamma^2 alpha^2), least of alpha = 1, 2',
    )
  )
  rows += _steps_at_the_limit(found)
  return dict(gammas=gammas, limits=limits, paths=paths, rows=rows)


def _learned(name: str, values: np.ndarray) -> np.ndarray:
  """Without the one zero of a constant that no loss pins down."""
  return values[abs(values) > 1e-12] if name == 'wasserstein' else values


def _steps_at_the_limit(found: Found) -> list[result.Row]:
  """One step of the core at the limit has spectral radius 1, below it less."""
  rows = []
  cases = (
    ("'minimax', plain", 'minimax', 0.0, 0.0),
    ("'nonsaturating', R1 + R2 of 0.5", 'nonsaturating', 0.5, 0.0),
    ("'minimax', consensus of weight 0.5", 'minimax', 0.0, 0.5),
  )
  for label, name, gamma, weight in cases:
    jacobian = found[name, gamma].dense()
    if weight:
      jacobian = continuous.with_consensus(jacobian, weight)
    values = continuous.eigenvalues(jacobian)
    limit = continuous.largest_step(values)
    at_limit, below = step_radii(name, gamma, weight, [limit, 0.9 * limit])
    inside = result.exact(
      f'spectral radius of a step at 0.9 of the limit: {label}',
      np.max(np.abs(1 + 0.9 * limit * values)),
      below,
      1e-7,
      'max |1 + h lambda|, and below 1',
    )
    rows += [
      result.exact(
        f'spectral radius of a step at the limit: {label}',
        1.0,
        at_limit,
        1e-7,
        f'h = 2 |Re| / |lambda|^2 = {limit:.4f}',
      ),
      inside._replace(holds=inside.holds and below < 1),
    ]
  return rows


def step_radii(
  name: str, gamma: float, weight: float, rates: list[float]
) -> list[float]:
  """Of a whole step of the Gaussian GAN at its equilibrium, for each rate."""
  game = continuous.gaussian_gan(name, r1=0.6 * gamma, r2=0.4 * gamma)
  at = continuous.gaussian_equilibrium(name)

  def matrix(rate):
    sgd = optax.sgd(rate)
    method = games.simultaneous(sgd, sgd)
    if weight:
      method = games.consensus(sgd, sgd, weight=weight)
    return diagnostics.step_jacobian(method, game, at)

  matrices = jax.jit(jax.vmap(matrix))(jnp.asarray(rates))
  return [float(diagnostics.spectral_radius(m)) for m in matrices]
