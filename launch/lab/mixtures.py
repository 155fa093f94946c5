"""Five Gaussians, a ring of 8, a grid of 25: modes covered by each method.

JS against RS against unrolled, each set by the protocol published for it; the
protocols are in `mixtures_play`, the judgements in `mixtures_table`.
"""

from typing import NamedTuple

import numpy as np
from jax import numpy as jnp

from gan_jax import data
from launch.lab import (
  mixtures_figures,
  mixtures_play,
  mixtures_table,
  result,
)


class Sizes(NamedTuple):
  """How much is computed.

  Attributes:
    num_seeds: of every method.
    num_records: of every run.
    steps: by protocol and method; a multiple of num_records.
    changes: by protocol, what differs from the published one.
  """

  num_seeds: int
  num_records: int
  steps: dict[str, dict[str, int]]
  changes: dict[str, dict]


def _unrolled(**steps) -> dict[str, int]:
  return {f'unrolled_{k[1:]}': count for k, count in steps.items()}


# JS and RS as long as published; looking ahead costs k times as much a step.
FULL = Sizes(
  num_seeds=10,
  num_records=40,
  steps=dict(
    gaussians=dict(js=20_000, rs=20_000)
    | _unrolled(k0=8000, k1=8000, k5=8000, k10=8000),
    ring=dict(js=25_000, rs=25_000)
    | _unrolled(k0=10_000, k1=10_000, k5=10_000, k10=10_000),
  ),
  changes=dict(gaussians={}, ring={}),
)
QUICK = Sizes(
  num_seeds=3,
  num_records=10,
  steps=dict(
    gaussians=dict(js=2000, rs=2000),
    ring=_unrolled(k0=2400, k5=2400),
  ),
  changes=dict(
    gaussians=dict(features=(64, 64), rate_g=1e-3, rate_d=1e-3),
    ring=dict(
      features=(64, 64), z_size=16, batch_size=64, rate_g=1e-3, rate_d=1e-3
    ),
  ),
)


def train_all(sizes: Sizes) -> dict[str, dict[str, mixtures_play.Run]]:
  """Runs by set and method."""
  runs = {}
  for name, steps in sizes.steps.items():
    protocol = mixtures_play.PROTOCOLS[name]._replace(**sizes.changes[name])
    for method, num_steps in steps.items():
      found = mixtures_play.train(
        protocol,
        mixtures_play.METHODS[method],
        jnp.arange(sizes.num_seeds),
        num_steps=num_steps,
        record_every=num_steps // sizes.num_records,
      )
      for dataset, run in found.items():
        runs.setdefault(dataset, {})[method] = run
  return runs


def at_common_step(
  runs: dict[str, mixtures_play.Run],
) -> tuple[int, dict[str, np.ndarray]]:
  """The last step that all runs of a set reached, and the modes there.

  Of a run without a record at that very step the last one before it counts.
  """
  step = min(int(run.steps[-1]) for run in runs.values())
  place = lambda run: np.searchsorted(run.steps, step, side='right') - 1
  return step, {
    method: run.covered[:, place(run)] for method, run in runs.items()
  }


def _protocol(sizes: Sizes) -> str:
  text = (
    'A mode is covered if at least 1 % of 1,000 samples, at fixed latents, '
    'lie within 3 standard deviations of it, and reached if 1 % are nearer '
    'to it than to the others; near are samples within 3 standard '
    'deviations of any. 5 Gaussians and the grid (Sun et al.): generator '
    '2-128-128-2 ReLU, critic 2-128-128-1 LeakyReLU without a last bias, '
    'batch 128, Adam 1e-4, betas (0, .9), critic then generator on the same'
    " batch, RS with the critic's last row of length 1; 20,000 steps. Ring "
    '(the notebook of Metz et al.): 256-128-128-2 and 2-128-128-1, tanh, '
    'orthogonal start with gain 1.4, batch 512, Adam 1e-4 for the critic '
    'and 1e-3 for the generator, beta1 .5, both at once; 25,000 steps; 8 '
    "distinct modes where the notebook's first and last coincide. JS is the"
    ' nonsaturating loss; unrolled play is the saturating one, through the '
    f"critic's Adam, whose eps_root is {mixtures_play.EPS_ROOT:g}, and "
    'moves both players at once on every set. Batches are drawn with '
    f'replacement. {sizes.num_seeds} seeds. A difference is judged if it is '
    f'beyond {mixtures_table.NUM_ERRORS:g} paired standard errors over seeds. '
    'Steps here: '
  )
  counts = [
    f'{protocol} {mixtures_table.label(method)} {count:,}'
    for protocol, steps in sizes.steps.items()
    for method, count in steps.items()
  ]
  text += '; '.join(counts) + '.'
  for protocol, changes in sizes.changes.items():
    if changes:
      text += f' Reduced, {protocol}: {changes}.'
  return text


def run(settings: result.Settings) -> result.Result:
  """JS, RS and unrolled play on the sets; see the module."""
  return report(QUICK if settings.quick else FULL, settings)


def report(sizes: Sizes, settings: result.Settings) -> result.Result:
  """Trains, draws, and judges."""
  runs = train_all(sizes)
  sets = {name: data.load(name) for name in runs}
  totals = {name: len(one.centres) for name, one in sets.items()}
  common = {name: at_common_step(of_set) for name, of_set in runs.items()}
  rows = mixtures_table.table(runs, totals)
  out, figures = settings.out, mixtures_figures
  return result.Result(
    title='Modes of Gaussian mixtures',
    claim=(
      'The relativistic paired loss (RS) covers at least as many modes as the '
      'separable one (JS) (Sun, Fang & Schwing, 2020); a generator that looks '
      'k critic steps ahead covers more modes than one that does not, which '
      'collapses (Metz et al., 2017).'
    ),
    protocol=_protocol(sizes),
    seen=mixtures_table.seen(runs, totals),
    verdict=mixtures_table.verdict(rows),
    rows=rows,
    numbers=_numbers(runs, sizes, totals),
    figures=(
      figures.draw_bars(
        out,
        {name: covered for name, (_, covered) in common.items()},
        {name: step for name, (step, _) in common.items()},
        totals,
      ),
      figures.draw_curves(out, runs, totals),
      figures.draw_samples(
        out, runs, {name: one.examples[:1000] for name, one in sets.items()}
      ),
    ),
  )


def _numbers(runs, sizes, totals) -> dict:
  return result.plain(
    dict(
      sizes=sizes._asdict(),
      modes=totals,
      runs={
        name: {
          method: dict(
            steps=run.steps,
            covered=run.covered,
            reached=run.reached,
            quality=run.quality,
          )
          for method, run in of_set.items()
        }
        for name, of_set in runs.items()
      },
    )
  )
