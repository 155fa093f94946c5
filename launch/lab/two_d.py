"""Four sets in the plane, ten methods, three optimizers: which get there."""

import jax
import numpy as np
from jax import numpy as jnp

from gan_jax import data
from launch.lab import result, two_d_figures, two_d_scores, two_d_train

SETS, METHODS = two_d_scores.SETS, two_d_scores.METHODS

PENALIZED = ('r1', 'r2', 'wgan_gp_1', 'wgan_gp_5')
CLAIM = (
  'Mescheder, Geiger & Nowozin, "Which Training Methods for GANs do actually '
  'Converge?" (2018), compare methods on a Gaussian, a line, a circle and four '
  'lines in the plane: R1, R2 and WGAN-GP do about equally well, training '
  'without a regularizer badly. We know this order from a third party; the '
  'paper has bars and no table, and their heights we do not know.'
)


_ADAPTIVE = (3e-3, 1e-3, 3e-4)
FULL = two_d_scores.Plan(
  {'SGD': (0.3, 0.1, 0.03), 'RMSprop': _ADAPTIVE, 'Adam': _ADAPTIVE},
  seeds=5,
  num_steps=5000,
  batch_size=128,
  num_selecting=512,
  num_points=2048,
  num_floors=5,
)
QUICK = two_d_scores.Plan(
  {'RMSprop': (3e-3,)},
  seeds=2,
  num_steps=300,
  batch_size=64,
  num_selecting=256,
  num_points=512,
  num_floors=2,
)


def run(settings: result.Settings) -> result.Result:
  """Trains everything, measures it, and draws two figures."""
  plan = QUICK if settings.quick else FULL
  scores = two_d_scores.measure(plan, train_all(plan))
  return result.Result(
    title='2-D examples',
    claim=CLAIM,
    protocol=_protocol(plan),
    seen=_seen(plan, scores),
    verdict=_verdict(plan, scores),
    rows=tuple(_rows(plan, scores)),
    numbers=_numbers(plan, scores),
    figures=_draw(plan, scores, settings.out),
  )


def train_all(plan: two_d_scores.Plan) -> np.ndarray:
  """Samples of every run, `[M, K, O, R, S, N, 2]`, in order of the tables."""
  optimizers = list(two_d_train.OPTIMIZERS)
  lanes = [
    (optimizers.index(name), rate)
    for name, rates in plan.rates.items()
    for rate in rates
  ]
  which, rate = zip(*lanes, strict=True)
  points = jnp.stack([data.load(name).examples for name in SETS])
  of_methods = []
  for name in METHODS:
    samples = two_d_train.train(
      two_d_train.RECIPES[name],
      points,
      two_d_train.Lanes(jnp.array(which), jnp.array(rate)),
      jnp.arange(plan.seeds),
      num_steps=plan.num_steps,
      batch_size=plan.batch_size,
      num_samples=plan.num_selecting + plan.num_points,
    )
    of_methods.append(np.moveaxis(jax.device_get(samples), 0, 2))
  all_runs = np.stack(of_methods)
  shape = (*all_runs.shape[:2], len(plan.rates), -1, *all_runs.shape[3:])
  return all_runs.reshape(shape)


def _protocol(plan):
  rates = '; '.join(
    f'{name} {", ".join(f"{rate:g}" for rate in rates)}'
    for name, rates in plan.rates.items()
  )
  recipes = two_d_train.RECIPES
  return (
    f'Data sets with coordinates of our choice ({", ".join(SETS)}). Both nets '
    'have 4 hidden layers of 16 units, LeakyReLU: a recollection of the '
    f"paper's appendix, not confirmed; latents {two_d_train.Z_SIZE}, slope 0.2 "
    f'and initialisation are ours. {plan.num_steps:,} generator steps of '
    f'batch {plan.batch_size} (recollected: 50,000 of about 512), '
    f'{plan.seeds} seeds; the critic moves first, then the generator, but both '
    f'at once under consensus. Learning rates of both players: {rates}; '
    "RMSprop decays by .99, Adam's betas are .5 and .9. Non-saturating loss "
    'except for WGAN (wasserstein) and RS (relativistic). R1 and R2 weigh '
    f'gamma/2, gamma = {two_d_train.GAMMA:g}; WGAN-GP '
    f'{recipes["wgan_gp_1"].penalties["wgan_gp"]:g}, with 1 or 5 critic steps; '
    f'WGAN clips to {recipes["wgan"].clip:g} after each of 5 critic steps; '
    f'consensus weighs {recipes["consensus"].consensus:g}; instance noise has '
    f'std {recipes["noise"].noise:g}; these weights are ours and fixed. The '
    f'rate of each bar is chosen on {plan.num_selecting} held-out and as many '
    f'generated points by the same seeds, and reported on {plan.num_points} '
    'others: exact Wasserstein-1 by linear programming (POT), each optimum '
    'certified by its dual. A run with a coordinate beyond '
    f'{two_d_scores.FAR:g} or not finite counts as diverged.'
  )


def _seen(plan, scores):
  _, means, _ = two_d_scores.of_best_optimizer(scores)
  excess = means / scores.floors.mean(1)
  order = np.argsort(np.median(excess, axis=1))
  ranked = ', '.join(
    f'{two_d_train.RECIPES[METHODS[m]].label} {np.median(excess[m]):.1f}'
    for m in order
  )
  lost = ~np.isfinite(scores.selecting)
  by_method = ', '.join(
    f'{two_d_train.RECIPES[name].label} {lost[m].sum()}'
    for m, name in enumerate(METHODS)
    if lost[m].any()
  )
  return (
    'Wasserstein-1 with the best optimizer and rate, in units of the floor '
    f'(real points against other real points), median of the {len(SETS)} data '
    f'sets: {ranked}. Of all rates and optimizers, {lost.sum()} of '
    f'{lost.size} runs diverged, of {lost[0].size} for each method'
    + (f': {by_method}; none of the others.' if by_method else '.')
  )


def _verdict(plan, scores):
  rows = [*_against_none(scores, ''), *_alike_rows(scores, '')]
  judged = [row.holds for row in rows if row.holds is not None]
  return (
    f'{sum(judged)} of {len(judged)} comparisons agree with the order that a '
    'third party reports, penalized critics about alike and better than none; '
    f'{len(rows) - len(judged)} are closer than two standard errors.'
    + f' {plan.num_steps} steps are too few to settle it.'
    * (plan.num_steps < FULL.num_steps)
  )


def _against_none(scores, setting):
  """Each penalty against no regularizer, on each data set."""
  _, mean, error = two_d_scores.of_best_optimizer(scores)
  none = METHODS.index('none')
  for name in PENALIZED:
    for k, of in enumerate(SETS):
      m = METHODS.index(name)
      unsure = np.hypot(error[none, k], error[m, k])
      yield result.finding(
        f'{of}: {two_d_train.RECIPES[name].label} against no regularizer',
        'better',
        f'{mean[m, k]:.3f} against {mean[none, k]:.3f}',
        _less(mean[m, k], mean[none, k], 2 * unsure),
        f'{setting}; standard error of the difference {unsure:.3f}',
      )


def _less(a, b, unsure):
  """Whether a < b, both inf if all runs diverged; None if nobody can tell."""
  if a == b or (np.isfinite([a, b]).all() and abs(a - b) <= unsure):
    return None
  return a < b


def _alike_rows(scores, setting):
  """Whether R1, R2 and the better WGAN-GP are close to each other."""
  _, mean, _ = two_d_scores.of_best_optimizer(scores)
  for k, of in enumerate(SETS):
    penalized = np.array([mean[METHODS.index(name), k] for name in PENALIZED])
    ratio = _ratio(penalized)
    yield result.finding(
      f'{of}: largest over least of R1, R2, WGAN-GP (its better one)',
      'alike: below 2',
      f'{ratio:.2f}',
      ratio < 2,
      setting,
    )


def _ratio(penalized):
  r1, r2, *wgan_gp = penalized
  three = [r1, r2, min(wgan_gp)]
  least = min(three)
  return max(three) / least if 0 < least < np.inf else np.inf


def _rows(plan, scores):
  setting = (
    f'W1 of {plan.num_points} points, {plan.seeds} seeds, best of '
    f'{", ".join(plan.rates)} and their rates; third party, order only'
  )
  yield from _against_none(scores, setting)
  yield from _alike_rows(scores, setting)
  places, means, _ = two_d_scores.of_best_optimizer(scores)
  for m, name in enumerate(METHODS):
    lost = ~np.isfinite(scores.selecting[m])
    yield result.finding(
      f'{two_d_train.RECIPES[name].label}: W1 on {", ".join(SETS)}',
      None,
      ', '.join(f'{x:.3f}' for x in means[m]),
      None,
      f'{lost.sum()} of {lost.size} runs diverged; best optimizers: '
      + ', '.join(list(plan.rates)[place] for place in places[m]),
    )
  yield result.finding(
    f'real against real: W1 on {", ".join(SETS)}',
    None,
    ', '.join(f'{x:.3f}' for x in scores.floors.mean(1)),
    None,
    f'{plan.num_floors} pairs of {plan.num_points} points',
  )


def _numbers(plan, scores):
  runs = [
    dict(
      method=METHODS[m],
      data=SETS[k],
      optimizer=optimizer,
      rates=plan.rates[optimizer],
      selecting=scores.selecting[m, k, o],
      reported_rate=plan.rates[optimizer][scores.best[m, k, o]],
      reported=scores.reported[m, k, o],
      diverged=int((~np.isfinite(scores.selecting[m, k, o])).sum()),
    )
    for m in range(len(METHODS))
    for k in range(len(SETS))
    for o, optimizer in enumerate(plan.rates)
  ]
  recipes = {
    name: recipe._asdict() for name, recipe in two_d_train.RECIPES.items()
  }
  return result.plain(
    dict(
      plan=plan._asdict(),
      recipes=recipes,
      axes='selecting: [rate, seed], reported: [seed]; +inf is diverged',
      floors=dict(zip(SETS, scores.floors, strict=True)),
      runs=runs,
    )
  )


def _draw(plan, scores, out):
  shown = 400
  places, _, _ = two_d_scores.of_best_optimizer(scores)
  clouds = {
    (name, of): scores.samples[m, k, places[m, k], 0, :shown]
    for m, name in enumerate(METHODS)
    for k, of in enumerate(SETS)
  }
  real = {name: data.load(name, split='test').examples[:shown] for name in SETS}
  reported = np.where(np.isfinite(scores.reported), scores.reported, np.nan)
  return (
    two_d_figures.bars(
      reported,
      scores.floors,
      SETS,
      METHODS,
      tuple(plan.rates),
      out,
      'Wasserstein-1 of generated to held-out real points: bars are means and '
      f'standard deviations of {plan.seeds} seeds (dots), at the best learning '
      'rate; dotted: real against other real points.',
    ),
    two_d_figures.clouds(
      clouds,
      real,
      METHODS,
      out,
      f'{shown} samples of the first seed, each method with its best optimizer '
      'and rate, over real points.',
    ),
  )
