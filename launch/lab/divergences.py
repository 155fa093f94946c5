"""Divergences, the gradients they give a generator, and transport."""

import jax
import numpy as np
from jax import numpy as jnp

from gan_jax.theory import divergences, transport
from launch.lab import (
  divergences_bounds,
  divergences_figures,
  divergences_gradients,
  result,
)

TITLE = 'Divergences: what the best critic measures and what it teaches'
CLAIM = (
  'KL and Jensen-Shannon do not see how far two distributions without overlap '
  'are apart, Wasserstein does (Arjovsky, Chintala & Bottou 2017, example 1). '
  'With the best critic V = E_r log D + E_g log(1 - D) is 2 JS - log 4, and '
  "the gradient of the generator's part, the saturating loss, vanishes; the "
  'non-saturating loss follows KL(P_g, P_r) - 2 JS, and its '
  'gradient under a noisy critic is Cauchy (Arjovsky & Bottou 2017, theorems '
  '2.4, 2.5, 2.6); f-GAN losses estimate their divergences (Nowozin et al. '
  '2016). Clipped weights bound the slope, W = max / K (Arjovsky et al. 2017), '
  'and W <= 2 sqrt(V) + 2 C sqrt(JS) after noise of variance V (Arjovsky & '
  'Bottou 2017, theorem 3.3).'
)
TEXTBOOK = ([15, 25, 10], [5, 15, 15, 15])
TEXTBOOK_COST = [[10, 2, 20, 11], [12, 7, 9, 20], [4, 14, 16, 18]]
PILES = ([3, 2, 1, 4], [1, 2, 4, 3])


def run(settings: result.Settings) -> result.Result:
  """All six parts; float64, about ten seconds of one core when quick."""
  with jax.enable_x64(True):
    parts = dict(
      lines=parallel_lines(settings.quick),
      gradients=divergences_gradients.vanishing_gradients(settings.quick),
      cauchy=divergences_gradients.noisy_critics(settings.quick),
      identities=divergences_gradients.identities(settings.quick),
      transport=transport_examples(),
      clipping=divergences_bounds.clipping(settings.quick),
      noise=divergences_bounds.noise_bounds(settings.quick),
    )
  figures = divergences_figures.draw(parts, settings.out)
  rows = tuple(row for part in parts.values() for row in part['rows'])
  numbers = {
    name: {key: value for key, value in part.items() if key != 'rows'}
    for name, part in parts.items()
  }
  # A sample of the points; the figure has them all.
  for kind in ('uniform', 'normal'):
    sides = parts['noise'][kind]
    numbers['noise'][kind] = {key: side[:300] for key, side in sides.items()}
  return result.Result(
    TITLE,
    CLAIM,
    _protocol(parts),
    _seen(parts),
    _verdict(rows, parts['cauchy']['fall'], parts['cauchy']['batch'][-1]),
    rows,
    result.plain(numbers),
    figures,
  )


def _protocol(parts: dict) -> str:
  return (
    'Float64. Lines: 16 points each, transport by linear programming with '
    'certified potentials. Gradients: N(0, 1) against N(theta, 1), latents '
    'integrated on a grid, the generator losses of losses.py through jax.grad '
    f'with the critic held. Identities: {parts["identities"]["cases"]} random '
    f'pairs of distributions on {divergences_gradients.POINTS} points. '
    f'Clipping: critics of widths {divergences_bounds.WIDTHS} on N(0, 1) '
    f'against N({divergences_bounds.SHIFT:g}, 1), RMSProp, '
    f'{parts["clipping"]["steps"]} steps, {parts["clipping"]["seeds"]} seeds. '
    f'Noise: {len(parts["noise"]["uniform"]["left"])} random mixtures of '
    f'{divergences_bounds.ATOMS} atoms in [0, 1].'
  )


def _seen(parts: dict) -> str:
  gradients, cauchy, noise = (
    parts[name] for name in ('gradients', 'cauchy', 'noise')
  )
  at = lambda name: gradients['mean'][name][-1]
  std, fall = gradients['std']['nonsaturating'], cauchy['fall']
  ratio = np.asarray(noise['uniform']['ratio'])
  trained = parts['clipping']['trained']
  shares = ', '.join(
    f'{result.worst(part["of_bound"]):.2g} at c = {c}'
    for c, part in trained.items()
  )
  return (
    f'At {gradients["theta"][-1]:g} standard deviations the saturating '
    f'gradient is {at("minimax"):.1e}, the non-saturating one '
    f'{at("nonsaturating"):.3g}, that of Wasserstein {at("wasserstein"):.3g}. '
    'With an exact critic the non-saturating gradient of single latents has a '
    f'standard deviation of at most {result.worst(std):.2g}, and of '
    f'{std[-1]:.1e} there. With noise in D the mean of {cauchy["batch"][-1]} '
    'draws has a spread smaller than one draw by a factor of '
    f'{fall["nonsaturating"]:.2f} (non-saturating) and '
    f'{fall["minimax"]:.1f} (saturating); with noise of the same size in the '
    f'logit, of {fall["noise in the logit"]:.1f} (non-saturating). Clipped '
    f'critics reach a share of the bound on their slope of {shares}. The noise '
    f'bound held in {np.sum(ratio <= 1)} of {len(ratio)} mixtures; at its '
    f'tightest the left side was {result.worst(ratio):.2f} of the right one.'
  )


def _verdict(rows: tuple, fall: dict[str, float], batch: int) -> str:
  """`fall`: how much less a mean of `batch` gradients spreads than one."""
  off = [row.quantity for row in rows if row.exact and not row.holds]
  against = [
    row.quantity for row in rows if not row.exact and row.holds is False
  ]
  first = (
    f'Not every identity holds: {"; ".join(off)}'
    if off
    else 'Every identity holds to rounding'
  )
  if against:
    return f'{first}; against the papers: {"; ".join(against)}.'
  averages = {name: of > np.sqrt(batch) / 2 for name, of in fall.items()}
  if averages['nonsaturating'] or not averages['noise in the logit']:
    return f'{first}; noise in D and in the logit do not differ as expected.'
  return (
    f'{first}; the Cauchy gradient is a property of noise in D, not of the '
    'non-saturating loss on its own: with noise in the logit averaging helps.'
  )


def parallel_lines(quick: bool) -> dict:
  """(0, z) against (theta, z), and two normals at the same distance."""
  thetas = np.linspace(-1, 1, 9 if quick else 21)
  line = np.linspace(0, 1, 16)
  of = lambda theta: np.stack([np.full_like(line, theta), line], axis=1)
  computed = [_between_points(of(0.0), of(theta)) for theta in thetas]
  values = {name: [row[name] for row in computed] for name in computed[0]}
  apart = thetas != 0
  closed = dict(
    kl=np.where(apart, np.inf, 0.0),
    js=np.where(apart, np.log(2), 0.0),
    tv=np.where(apart, 1.0, 0.0),
    w=np.abs(thetas),
  )
  names = dict(kl='KL', js='JS', tv='total variation', w='Wasserstein-1')
  rows = [
    result.exact(
      f'parallel lines: {names[name]}, largest difference over theta',
      0.0,
      _difference(closed[name], np.asarray(values[name])),
      1e-9,
      f'{len(thetas)} distances; closed forms inf, log 2, 1, |theta|, 0 at 0',
    )
    for name in closed
  ]
  normals = two_normals(0.2, np.linspace(0, 1, 41))
  rows += normals.pop('rows')
  return dict(
    theta=thetas, closed=closed, computed=values, normals=normals, rows=rows
  )


def _difference(a: np.ndarray, b: np.ndarray) -> float:
  """The largest; two infinities are the same."""
  same = a == b
  return float(np.max(np.where(same, 0.0, np.abs(np.where(same, 0.0, a) - b))))


def _between_points(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
  points, p, q = divergences.on_common_points(x, y)
  moved = transport.transport(p, q, transport.distances(points, points))
  return dict(
    kl=float(divergences.kl(p, q)),
    js=float(divergences.js(jnp.asarray(p), jnp.asarray(q))),
    tv=float(divergences.total_variation(p, q)),
    w=moved.cost,
  )


def two_normals(std: float, thetas: np.ndarray) -> dict:
  """N(0, std) against N(theta, std): smooth, so every divergence sees theta."""
  grid = jnp.linspace(-4.0, 5.0, 9001)

  @jax.vmap
  def at(theta):
    log_p = divergences.log_normal(grid, 0.0, std)
    log_q = divergences.log_normal(grid, theta, std)
    mean = lambda values: divergences.integral(values, grid)
    cdf = lambda center: jax.scipy.special.ndtr((grid - center) / std)
    return dict(
      kl=mean(jnp.exp(log_p) * (log_p - log_q)),
      js=divergences.js_of_densities(log_p, log_q, grid),
      tv=_total_variation(theta, std),
      w=mean(jnp.abs(cdf(0.0) - cdf(theta))),
    )

  values = jax.jit(at)(jnp.asarray(thetas))
  closed = dict(
    kl=thetas**2 / (2 * std**2),
    tv=jax.scipy.special.erf(thetas / std / np.sqrt(8)),
    w=thetas,
  )
  rows = [
    result.exact(
      f'normals at distance theta: {name.upper()}, largest difference',
      0.0,
      np.max(np.abs(closed[name] - values[name])),
      1e-8,
      f'std {std}; integrated against the closed form',
    )
    for name in closed
  ]
  return dict(std=std, theta=thetas, **jax.device_get(values), rows=rows)


def _total_variation(theta: jax.Array, std: float) -> jax.Array:
  """The integral of p - q up to theta / 2, where the densities cross.

  By Gauss-Legendre over 15 std: trapezoids lose their precision at the kink of
  |p - q|.
  """
  nodes, weights = np.polynomial.legendre.leggauss(100)
  length = 15 * std
  x = theta / 2 + length * (jnp.asarray(nodes) - 1) / 2
  density = lambda center: jnp.exp(divergences.log_normal(x, center, std))
  return length / 2 * jnp.sum(weights * (density(0.0) - density(theta)))


def transport_examples() -> dict:
  """Two classical transports, and the critic that finds the same cost."""
  supply, demand = TEXTBOOK
  textbook = transport.transport(supply, demand, TEXTBOOK_COST)
  places = np.arange(4.0)[:, None]
  piles = transport.transport(*PILES, transport.distances(places, places))
  critics = {
    slope: transport.best_critic(places, *PILES, slope)
    for slope in (1.0, 2.0, 5.0)
  }
  line = transport.on_the_line(
    *(jnp.asarray(part, float) for part in (places[:, 0], PILES[0])),
    *(jnp.asarray(part, float) for part in (places[:, 0], PILES[1])),
  )
  rows = [
    result.exact(
      'three silos, four mills: cheapest transport',
      435,
      textbook.cost,
      1e-9,
      f'a textbook example (Taha, SunRay); gap to its dual {textbook.gap:.0e}',
    ),
    result.exact(
      'piles 3, 2, 1, 4 to 1, 2, 4, 3: cheapest transport',
      5,
      piles.cost,
      1e-9,
      '|2| + |2| + |-1| + |0| over the three gaps between four places',
    ),
    result.exact('the same from the two CDFs', 5, line, 1e-9),
    *(
      result.exact(
        f'the same from the best critic of slope {slope:g}, max / K',
        5,
        critic.value / slope,
        1e-9,
        'Kantorovich-Rubinstein, a second linear program',
      )
      for slope, critic in critics.items()
    ),
  ]
  return dict(
    plan=textbook.plan,
    potentials=textbook.potentials,
    piles=piles.plan,
    critic=critics[1.0].critic,
    rows=rows,
  )
