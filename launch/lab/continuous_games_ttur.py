"""The toy of two time scales: four pairs of rates, and a sweep of one."""

import jax
import numpy as np
import optax
from jax import numpy as jnp

from gan_jax import diagnostics, games
from gan_jax.theory import continuous
from launch.lab import population, result

START = games.Players(0.5, -0.4)
PANELS = {
  'lr, lr': (0.01, 0.01),
  'lr/10, lr/10': (0.001, 0.001),
  'lr/100, lr': (0.0001, 0.01),
  'lr, lr/100': (0.01, 0.0001),
}
# What the authors' notebook says of each panel.
SAID = (
  'usually diverges',
  'usually converges',
  'usually converges fast',
  'more stable than (lr, lr)',
)
# The last distances that it prints, of one run each.
NOTEBOOK = (0.7936, 0.0102, 0.0958, 0.1425)
STEPS = 5000
SWEEP = np.round(np.arange(0.008, 0.0141, 0.0005), 4)
# The notebook does not say what diverging is; this is our reading.
FAR = 100.0


def ttur(quick: bool) -> dict:
  """The four panels and a sweep of one common rate, all seeds at once."""
  seeds = 64 if quick else 1024
  rates = np.asarray([*PANELS.values(), *((lr, lr) for lr in SWEEP)])
  history = play(rates, np.arange(seeds))
  distance = distances(history.seen)
  share = np.mean((distance >= FAR).any(1), axis=0)
  panels = {
    name: dict(
      x=np.asarray(history.seen.g[0, :, i]),
      y=np.asarray(history.seen.d[0, :, i]),
      **summary(distance[:, :, i]),
    )
    for i, name in enumerate(PANELS)
  }
  over = SWEEP[share[len(PANELS) :] > 0]
  return dict(
    seeds=seeds,
    steps=np.asarray(history.steps),
    panels=panels,
    sweep=SWEEP,
    share=share[len(PANELS) :],
    first_far=float(over[0]) if len(over) else None,
    rows=_rows(panels),
  )


def distances(players: games.Players) -> np.ndarray:
  """To the saddle; what is no number any more is infinitely far."""
  with np.errstate(over='ignore'):
    found = np.hypot(*(np.asarray(part) for part in players))
  return np.where(np.isnan(found), np.inf, found)


def summary(distance: np.ndarray) -> dict:
  """Of distances `[S, R]`, which may be infinite, over the seeds."""
  with np.errstate(over='ignore'):
    rms = np.sqrt(np.mean(np.square(distance[:, -1])))
  # One of the seeds each, as there is nothing between a number and inf.
  bands = np.quantile(distance, [0.05, 0.5, 0.95], axis=0, method='nearest')
  far = int(np.sum((distance >= FAR).any(1)))
  return dict(distance=bands, rms=float(rms), far=far, seeds=len(distance))


def play(rates: np.ndarray, seeds: np.ndarray) -> population.History:
  """Many rates side by side, `[K, 2]` of x and y; records every 50 steps."""
  scale = lambda lr: optax.stateless(lambda u, _: -jnp.asarray(lr) * u)
  method = games.alternating(scale(rates[:, 0]), scale(rates[:, 1]), first='g')
  like = (len(rates),)

  def game_of(key):
    noise = jax.random.normal(key, (2, *like))
    return continuous.ttur_game(games.Players(noise[0], noise[1]))

  start = games.Players(*(jnp.full(like, value) for value in START))
  return population.train(
    method,
    game_of,
    lambda key: start,
    lambda players: players,
    seeds,
    num_steps=STEPS,
    record_every=50,
  )


def _rows(panels: dict) -> list[result.Row]:
  players = games.Players(jnp.asarray(0.5), jnp.asarray(-0.4))
  game = continuous.ttur_game()
  at = diagnostics.field(game, players)
  saddle = diagnostics.jacobian(
    game, games.Players(jnp.zeros(()), jnp.zeros(()))
  )
  curvatures = continuous.TTUR_CURVATURES
  limit = continuous.largest_step(np.asarray(saddle.gg).ravel())
  rows = [
    result.exact('gradient in x at (.5, -.4)', 99.84, -at.g, 1e-9),
    result.exact('gradient in y at (.5, -.4)', 1.0, at.d, 1e-9),
    result.exact(
      'curvature in x at the saddle', curvatures.g, -saddle.gg[0, 0], 1e-9
    ),
    result.exact(
      'curvature in y at the saddle', -curvatures.d, saddle.dd[0, 0], 1e-9
    ),
    result.exact(
      'largest step of x at the saddle', 0.01, limit, 1e-12, '2 / 200 = base lr'
    ),
  ]
  return rows + _findings(panels)


def _findings(panels: dict) -> list[result.Row]:
  """The notebook's words against ours."""
  fast, slow = panels['lr, lr'], panels['lr/10, lr/10']
  rows = []
  for i, (name, panel) in enumerate(panels.items()):
    holds = (
      2 * panel['far'] > panel['seeds'],
      panel['rms'] < 0.1,
      panel['rms'] < 0.1,
      panel['rms'] < fast['rms'],
    )[i]
    settings = (
      f'{panel["seeds"]} seeds; root mean square distance at the end, linear '
      f'theory {_linear(PANELS[name]):.3g}; the notebook prints {NOTEBOOK[i]} '
      'of one run'
    )
    if i == 0:
      settings += f"; 'diverges' is read as beyond {FAR:g}"
    rows.append(
      result.finding(
        f'TTUR toy ({name})', SAID[i], _behaviour(panel), holds, settings
      )
    )
  rows.append(
    result.finding(
      'TTUR toy (lr, lr): distance at the end over that of (lr/10, lr/10)',
      'large fluctuations',
      fast['rms'] / slow['rms'],
      fast['rms'] > 10 * slow['rms'],
      "root mean squares; 'large' is read as ten times",
    )
  )
  return rows


def _linear(rates: tuple[float, float]) -> float:
  parts = zip(START, rates, continuous.TTUR_CURVATURES, strict=True)
  return float(
    np.hypot(
      *(
        continuous.quadratic_sgd_rms(w, lr, curvature, 1.0, STEPS)
        for w, lr, curvature in parts
      )
    )
  )


def _behaviour(panel: dict) -> str:
  if panel['far'] > 0:
    return f'{panel["far"]} of {panel["seeds"]} seeds beyond {FAR:g}'
  return (
    f'none of {panel["seeds"]} seeds beyond {FAR:g}, {panel["rms"]:.3g} at the '
    'end'
  )


def seen(part: dict) -> str:
  """What came out, in words."""
  ends = '; '.join(
    f'({name}) {_behaviour(panel)}' for name, panel in part['panels'].items()
  )
  first = part['first_far']
  sweep = (
    'at none of the rates of the sweep does a seed go that far'
    if first is None
    else f'the smallest rate of the sweep at which a seed does is {first:g}'
  )
  return (
    f"In TTUR's toy, with root mean square distances: {ends}. At lr = "
    f'{PANELS["lr, lr"][0]:g} the step of x is at its limit 2 / 200, where x '
    f'flips its sign each step and its noise adds up; {sweep}.'
  )


def verdict(part: dict) -> str:
  """Of the one fast time scale, which the notebook says diverges."""
  fast, slow = part['panels']['lr, lr'], part['panels']['lr/10, lr/10']
  told = f"TTUR's one fast time scale: {_behaviour(fast)}"
  if fast['far']:
    return f'{told}.'
  settles = 'settles' if fast['rms'] < 10 * slow['rms'] else 'does not settle'
  return (
    f'{told}, against {slow["rms"]:.3g} at a tenth of the rate: it {settles}. '
    "The notebook, whose word is 'diverges', prints a run that is bounded too "
    f'and ends at {NOTEBOOK[0]}.'
  )
