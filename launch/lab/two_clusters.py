"""Two clusters on the line: JS against RS, epochs to cover both.

The game is in `two_clusters_play`, the readings in `two_clusters_table`.
"""

import numpy as np
from jax import numpy as jnp

from launch.lab import result, two_clusters_figures
from launch.lab import two_clusters_play as play
from launch.lab import two_clusters_table as table

FULL = play.Sizes(num_seeds=100, num_epochs=5000, record_every=20)
QUICK = play.Sizes(num_seeds=8, num_epochs=4000, record_every=20)


def _draw(settings, records, times) -> tuple[result.Figure, ...]:
  js = records['js']
  covered = {name: table.is_covered(r.near) for name, r in records.items()}
  slow = np.minimum(times['js'], js.epochs[-1])
  typical = int(np.argsort(slow, kind='stable')[(len(slow) - 1) // 2])
  last = min(1.4 * slow[typical], js.epochs[-1])
  seen = table.collapsed(js)
  out, figures = settings.out, two_clusters_figures
  return (
    figures.draw_times(out, js.epochs, times, covered),
    figures.animate(out, records, play.GRID, typical, last),
    figures.draw_losses(
      out,
      {name: r.loss for name, r in records.items()},
      {name: row.plateau for name, row in play.OBJECTIVES.items()},
    ),
    figures.draw_collapse(out, seen, play.OBJECTIVES['js'].plateau),
  )


def run(settings: result.Settings) -> result.Result:
  """JS against RS from the same starts; see the module."""
  sizes = QUICK if settings.quick else FULL
  seeds = jnp.arange(sizes.num_seeds)
  records = {
    name: play.train(objective, seeds, sizes)
    for name, objective in play.OBJECTIVES.items()
  }
  times = {
    name: table.epochs_to_cover(record) for name, record in records.items()
  }
  return result.Result(
    title='Two clusters in one dimension',
    claim=(
      'Sun, Fang & Schwing (2020): on two clusters the separable (JS) loss '
      'first collapses onto one, a bad local minimum where the loss is '
      '.4774 and D = 1/3 there, 1 at the other; the relativistic paired (RS) '
      'loss has no such minimum and covers both sooner.'
    ),
    protocol=_protocol(sizes),
    seen=table.seen(times, records, sizes),
    verdict=table.verdict(times, records, sizes),
    rows=(*table.plateau_rows(), *table.findings(records, times, sizes)),
    numbers=table.numbers(records, times, sizes),
    figures=_draw(settings, records, times),
  )


def _protocol(sizes) -> str:
  return (
    'The script of the paper: 100 real points in [0, .3] and [4, 4.3], 100 '
    'latents in [-5, 5], both fixed; critic 1-10-10-1 sigmoid, generator '
    '1-5-5-1 tanh, PyTorch start; an epoch is 10 critic steps on fixed samples '
    'and 10 generator steps, all on the whole set; SGD .01, momentum .9, kept '
    'throughout. Losses: nonsaturating, its critic loss halved, and '
    f'relativistic. {sizes.num_seeds} seeds side by side, {sizes.num_epochs} '
    'epochs; points, latents and networks differ by seed, and are the same '
    'for both losses. The generators of random numbers of numpy and PyTorch '
    'cannot be repeated in JAX, so no seed is one of theirs. The script '
    'seeds PyTorch anew between drawing the latents and building the '
    'networks, so that both are the same random numbers, and its runs spread '
    'less; here they are independent. With independent seeds PyTorch spreads '
    'as broadly: RS runs of it cover both first after 300 to 1500 epochs, '
    f'and one never. Covered: {play.ENOUGH} samples within {play.MARGIN} of 0 '
    f'and {play.ENOUGH} within {play.MARGIN} of 4, looked at every '
    f'{play.CHECK_EVERY} epochs; this criterion is ours, after the margins '
    'the script counts by.'
  )
