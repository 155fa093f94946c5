"""The projection toy under SimGD and CGD: the experiment.

References:
  Schaefer, Zheng and Anandkumar, Implicit Competitive Regularization in GANs,
  ICML 2020, and the authors' blog on it.
"""

from typing import Any

import numpy as np
from jax import numpy as jnp

from launch.lab import competitive_projection_figures as figures
from launch.lab import competitive_projection_play as toy
from launch.lab import competitive_projection_table as table
from launch.lab import result

LRS_G, QUICK_LRS_G = (0.1, 0.3, 1.0, 3.0), (0.1, 3.0)
SEEDS, QUICK_SEEDS = 48, 12
FIRST_SEED = 100  # the search for the setting used those below


def run(settings: result.Settings) -> result.Result:
  """SimGD against CGD from the same starts, for several step sizes."""
  num_seeds = QUICK_SEEDS if settings.quick else SEEDS
  lrs_g = QUICK_LRS_G if settings.quick else LRS_G
  seeds = FIRST_SEED + jnp.arange(num_seeds)
  seen = {
    name: toy.paths(method, jnp.array(lrs_g), seeds, toy.NUM_STEPS)
    for name, method in toy.METHODS.items()
  }
  of = lambda change: {
    name: toy.longest_stay(change(path[..., 0]), toy.RECORD_EVERY)
    for name, path in seen.items()
  }
  stays, smoothed = of(lambda x: x), of(toy.smooth)
  steps = np.arange(0, toy.NUM_STEPS + 1, toy.RECORD_EVERY)
  return result.Result(
    title='The projection toy',
    claim='SimGD stays for a long time where the generator matches what the '
    'critic sees best (theta1 = 2) and then snaps out; CGD prolongs this '
    'plateau.',
    protocol=_protocol(lrs_g, num_seeds),
    seen=table.words(seen, stays, smoothed, lrs_g),
    verdict=table.verdict(stays, lrs_g),
    rows=(
      *table.findings(stays, smoothed, lrs_g),
      *table.shape(seen, stays, lrs_g),
    ),
    numbers=_numbers(seen, stays, smoothed, lrs_g),
    figures=(
      figures.draw_paths(seen, stays, lrs_g, toy.LR_D, steps, settings),
      figures.draw_stays(stays, lrs_g, toy.LR_D, settings),
    ),
  )


def _protocol(lrs_g: tuple[float, ...], num_seeds: int) -> str:
  return (
    'Data at (2, 2), seen by the critic as (200, 2); minimax loss; step sizes '
    f'{toy.LR_D:g} (critic) and {", ".join(f"{lr:g}" for lr in lrs_g)} '
    f'(generator); {toy.NUM_STEPS:,} steps, {num_seeds} seeds, float32, both '
    'methods from the same weights. The plateau is the longest unbroken stay '
    f'within {toy.NEAR:g} of theta1 = 2, of {table.shortest():,} steps or '
    'more. Short bursts forgiven: the same of a running median over '
    f'{toy.FORGIVEN * toy.RECORD_EVERY} steps. A share of seeds agrees or not '
    'where 1/2 is outside its 95 % interval. Loss, activations, start, step '
    'sizes and number of steps are ours: the published figure does not tell '
    'them. The step sizes were chosen on other seeds, with both methods in '
    'sight.'
  )


def _numbers(seen, stays, smoothed, lrs_g) -> dict[str, Any]:
  typical = figures.typical(stays)
  return dict(
    lrs_g=lrs_g,
    lr_d=toy.LR_D,
    shares=table.shares(stays),
    shares_bursts_forgiven=table.shares(smoothed),
    stays={name: stay._asdict() for name, stay in stays.items()},
    paths_of_the_figure={name: path[:, typical] for name, path in seen.items()},
  )
