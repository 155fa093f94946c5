"""The critic over-trained, and the generator striking back: the experiment.

References:
  Schaefer, Zheng and Anandkumar, Implicit Competitive Regularization in GANs,
  ICML 2020, section 3. Numbers of its figures are read off; its learning rate
  for the critic alone is not certain (0.01 here, as for both).
"""

import os
from typing import Any, NamedTuple

import jax
from jax import numpy as jnp

from gan_jax import games
from launch.lab import competitive_drift as drift
from launch.lab import competitive_overtrain_figures as figures
from launch.lab import competitive_overtrain_table as table
from launch.lab import result

BOTH = games.Players(True, True)
ONLY_D = games.Players(False, True)
ONLY_G = games.Players(True, False)
FIRST_SEED = 100  # the rate and the numbers of steps were chosen on those below


class Plan(NamedTuple):
  """How much is trained.

  Attributes:
    seeds: side by side.
    train: steps to the checkpoint, both players by SGD.
    more: steps on from there by SGD.
    cgd: the same by CGD; 0 leaves CGD out.
    strike: steps of the generator against a frozen critic, by either.
    records: along each of these, which are multiples of it.
    control: whether SimGD plays CGD's game too, for as long as CGD.
    judged: whether it is long enough to say anything of the claims.
  """

  seeds: int
  train: int
  more: int
  cgd: int
  strike: int
  records: int = 20
  control: bool = True
  judged: bool = True


QUICK = Plan(3, 2_000, more=400, cgd=400, strike=400, records=10, control=False)
FULL = Plan(10, 3_000, more=1_500, cgd=1_000, strike=1_000)
# 9,000 iterations, then 30 epochs, as published. CGD had 10 epochs and the
# generator up to 100,000 steps there.
MNIST = Plan(1, 9_000, more=14_000, cgd=2_000, strike=2_000)
MNIST_CPU = Plan(1, 10, more=10, cgd=0, strike=10, records=5, judged=False)


def check(plan: Plan) -> None:
  """Raises ValueError unless a plan can be carried out."""
  for name, steps in plan._asdict().items():
    least = 0 if name in ('cgd', 'control', 'judged') else 1
    if steps < least:
      raise ValueError(f'{name}={steps} of the plan is less than {least}.')
    if name in ('train', 'more', 'cgd', 'strike') and steps % plan.records:
      raise ValueError(
        f'{name}={steps} of the plan is not a multiple of '
        f'records={plan.records}.'
      )


def experiment(task: drift.Task, plan: Plan) -> dict[str, drift.Seen]:
  """Trains to a checkpoint, and from there on in every way.

  Args:
    task: networks and data.
    plan: how long.

  Returns:
    What was seen, numpy arrays `[S, records + 1]`: 'train'; for each METHOD of
    'sgd' and 'cgd' 'play METHOD', 'alone METHOD', 'strike METHOD from X' with X
    'checkpoint', the method that over-trained the critic, or 'matched': SGD for
    as long as CGD, if that is not as long anyway; and, if asked for, 'play
    saturating': SimGD on the zero-sum game that CGD plays.

  Raises:
    ValueError: the plan does not fit.
  """
  check(plan)
  keys = jax.vmap(jax.random.key)(FIRST_SEED + jnp.arange(plan.seeds))
  fold = lambda i: jax.vmap(lambda key: jax.random.fold_in(key, i))(keys)
  freeze = jax.jit(jax.vmap(lambda *of: drift.freeze(task, *of)))
  rates = games.Players(task.lr, task.lr)
  build = lambda *how: drift.player(task, *how, plan.records)
  sgd = build(drift.sgd, drift.SGD_LOSS)

  players = jax.jit(jax.vmap(lambda key: drift.start(task, key)))(fold(0))
  every = plan.train // plan.records
  players, train = sgd(
    players, freeze(players, fold(1)), fold(2), BOTH, rates, every
  )
  frozen = freeze(players, fold(1))

  def on(play, steps):
    # All see the same batches.
    return lambda start, moving: play(
      start, frozen, fold(3), moving, rates, steps // plan.records
    )

  # Who plays, and for how long.
  ways, seen = {'sgd': (sgd, plan.more)}, {'train': train}
  if plan.cgd:
    ways['cgd'] = build(drift.competitive, drift.CGD_LOSS), plan.cgd
  if plan.cgd and plan.control:
    control = on(build(drift.sgd, drift.CGD_LOSS), plan.cgd)
    seen['play saturating'] = control(players, BOTH)[1]
  critics = {'checkpoint': players.d}
  for name, way in ways.items():
    seen[f'play {name}'] = on(*way)(players, BOTH)[1]
    after, seen[f'alone {name}'] = on(*way)(players, ONLY_D)
    critics[name] = after.d
  if plan.cgd not in (0, plan.more):  # a fair rival of CGD's critic
    critics['matched'] = on(sgd, plan.cgd)(players, ONLY_D)[0].d
  for name, (play, _) in ways.items():
    for source, d in critics.items():
      start = games.Players(players.g, d)
      seen[f'strike {name} from {source}'] = on(play, plan.strike)(
        start, ONLY_G
      )[1]
  return jax.device_get(seen)


def tasks(settings: result.Settings) -> tuple[dict[str, Any], str]:
  """The data sets with their plans, and what is said of MNIST."""
  chosen = {'digits': (drift.digits(), QUICK if settings.quick else FULL)}
  if settings.quick:
    return chosen, 'MNIST is left out of quick runs.'
  if settings.data_dir is None:
    return chosen, 'MNIST is left out: no data_dir was given.'
  if not os.path.isdir(os.path.join(settings.data_dir, 'mnist')):
    return chosen, f'MNIST is left out: {settings.data_dir} does not hold it.'
  on_cpu = jax.default_backend() == 'cpu'
  chosen['MNIST'] = (
    drift.mnist(settings.data_dir),
    (MNIST_CPU if on_cpu else MNIST),
  )
  if on_cpu:
    return chosen, (
      'MNIST with a few steps only, as there is no accelerator: its networks '
      'run, no more.'
    )
  return chosen, (
    'MNIST has the published networks, rate, batch and checkpoint (after '
    f'{MNIST.train:,} steps) and {MNIST.more:,} steps on by SGD (as published, '
    f'but the rate of the critic alone is not certain); {MNIST.cgd:,} by CGD '
    f'and {MNIST.strike:,} of striking back are fewer than published; '
    f'{MNIST.seeds} seed.'
  )


def run(settings: result.Settings) -> result.Result:
  """The critic alone, in play, and struck back, by SGD and by CGD."""
  chosen, about_mnist = tasks(settings)
  rows, pictures, words, verdicts, numbers = [], [], [], [], {}
  for name, (task, plan) in chosen.items():
    seen = experiment(task, plan)
    rows += table.findings(seen, name, plan)
    steps = dict(sgd=plan.more, cgd=plan.cgd, strike=plan.strike)
    pictures += figures.draw(seen, name, steps, settings)
    if plan.judged:
      words.append(table.describe(seen, name, plan))
      verdicts.append(table.verdict(seen, name, plan))
    numbers[name] = dict(
      plan=plan._asdict(),
      lr=task.lr,
      batch_size=task.batch_size,
      seen={key: x._asdict() for key, x in seen.items()},
    )
  return result.Result(
    title='The critic alone, and the generator striking back',
    claim='From one checkpoint the critic over-fits and drifts when it trains '
    'alone, and stays when both play; an over-trained critic is open to '
    'attack, unless CGD trained it.',
    protocol=_protocol(chosen) + about_mnist,
    seen=' '.join(words),
    verdict=' '.join(verdicts),
    rows=tuple(rows),
    numbers=numbers,
    figures=tuple(pictures),
  )


def _protocol(chosen):
  task, plan = chosen['digits']
  compared = min(drift.NUM_COMPARED, len(task.images))
  return (
    'Simultaneous SGD without momentum, nonsaturating loss, to a checkpoint '
    f'after {plan.train:,} steps; then on, all with the same batches. Drift: '
    f"L2 distance of the critic's outputs on {compared} real and "
    f'{drift.NUM_COMPARED} generated '
    "examples. Striking back: the checkpoint's generator trains, the critic is "
    'frozen (so we read the published figure). CGD plays the zero-sum game in '
    "which the generator maximizes the critic's loss; the critic alone by CGD "
    'answers moves of the generator that are then not made (one-sided CGD). '
    'Digits: 8 x 8, dense networks of 128-128 units, rate '
    f'{task.lr:g}, batch {task.batch_size}, {plan.seeds} seeds, '
    f'{plan.more:,} steps on by SGD, {plan.cgd:,} by CGD, {plan.strike:,} of '
    'striking back. These sizes are ours, chosen on other seeds so that '
    'training has settled at the checkpoint: where it had not (rate 0.02, '
    "4,000 steps, critic's loss 0.6) the critic drifted in play more than half "
    'as far as alone. Late values: median of the last quarter of the records. '
    'A row agrees or not where its bound is outside the 95 % interval of the '
    "seeds' geometric mean, and is left open otherwise. "
  )
