"""A run's generator -> an entry of `evaluation.json`."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gan_jax import (
  batch_game,
  build,
  evaluate,
  evaluations,
  generate,
  parallel,
)
from gan_jax import step as steps
from gan_jax.metrics import compare, nets

WEIGHTS = ('averaged', 'raw', 'both')
# A stream of latents beside those of training and of pictures.
_STREAM = 2**31 - 2


class Diverged(ValueError):
  """A sample of the generator is not finite."""


class Stopped(Exception):
  """Evaluation was told to end before its time."""


def check(run: build.Run) -> None:
  """Finds what would make an evaluation fail, before there is one.

  Raises:
    ValueError: the run has no data set, the settings of the evaluation do not
      suit it, weights are missing, there are too few samples, or `best_by` is
      none of what is measured.
  """
  if run.dataset is None:
    raise ValueError('evaluation needs run.dataset; this run has none.')
  try:
    metrics = evaluate.metrics_of(run.dataset, run.evaluation)
  except ValueError as error:
    raise ValueError(f'evaluation.{error}') from error
  if run.evaluation.features:
    _check_net(run, metrics)
  else:
    _check_unused(run)
  if run.best_by and run.best_by not in metrics:
    raise ValueError(
      f'best_by={run.best_by!r} is not one of what is measured, '
      f'{sorted(metrics)}.'
    )


def _check_net(run, metrics):
  labelled = batch_game.takes_labels(run.setup.generator)
  labelled = labelled and run.dataset.labels is not None
  if compare.INTRA_CLASS in metrics and not labelled:
    raise ValueError(
      f'evaluation.metrics has {compare.INTRA_CLASS!r}, which needs a '
      'generator that takes labels, and data in memory that have them.'
    )
  try:
    _check_counts(run, metrics)
  except ValueError as error:
    raise ValueError(f'evaluation: {error}') from error


def _check_counts(run, metrics):
  settings, count = run.evaluation, len(run.dataset.examples)
  net = nets.load(
    settings.features, weights=settings.weights, resize=settings.resize
  )
  wanted = settings.comparison
  if metrics != wanted.metrics:  # modes, of any number of samples
    return
  compare.check(wanted, net)
  rest = tuple(m for m in wanted.metrics if m != compare.INTRA_CLASS)
  wanted = wanted._replace(metrics=rest)
  compare.check_counts(run.num_samples, count, net, wanted)
  compare.plan_of_real(count, run.num_samples, wanted)


def _check_unused(run):
  """Settings that nothing would come of."""
  settings, plain = run.evaluation, evaluate.Settings()
  given = [n for n in ('weights', 'resize') if getattr(settings, n)]
  if settings.comparison.metrics != plain.comparison.metrics:
    given.append('metrics')
  if given:
    raise ValueError(
      f'evaluation.{given[0]} needs evaluation.features, one of '
      f'{sorted(nets.NETS)}.'
    )


def weights_of(run: build.Run, asked: str | None = None) -> tuple[str, ...]:
  """Which weights are measured: 'averaged', 'raw', or both of them.

  Args:
    run: whose generator it is.
    asked: one of `WEIGHTS`; None for the average where the run keeps one.

  Raises:
    ValueError: the run keeps no average.
  """
  if asked is None:
    return ('averaged',) if run.setup.averaging else ('raw',)
  if asked not in WEIGHTS:
    raise ValueError(f'weights={asked!r} is not one of {list(WEIGHTS)}.')
  if asked != 'raw' and not run.setup.averaging:
    raise ValueError(
      f'weights={asked!r}, but this run keeps no averaged generator '
      "(config.averaging is 0); it has 'raw' ones."
    )
  return ('averaged', 'raw') if asked == 'both' else (asked,)


def settings_of(run: build.Run, draws: int = 1) -> dict[str, Any]:
  """What is asked of an evaluation, JSON-able: entries alike in it compare."""
  asked, settings = run.evaluation, {'draws': draws, 'seed': run.seed}
  settings['num_samples'] = run.num_samples
  if not asked.features:
    return settings
  net = nets.load(asked.features, weights=asked.weights, resize=asked.resize)
  rules = asked.comparison._asdict()
  rules['metrics'] = list(asked.comparison.metrics)
  return settings | {'net': net.protocol()} | rules


def identity(run: build.Run, step: int, weights: str, draws: int = 1) -> str:
  """That of the entry which `make`'s function would give."""
  return evaluations.identity(_head(run, step, weights, draws))


def _head(run, step, weights, draws):
  return {
    'step': step,
    'weights': weights,
    'dataset': run.dataset.name,
    'split': run.config.get('data', {}).get('split', 'train'),
    'settings': settings_of(run, draws),
  }


def make(
  run: build.Run,
  *,
  draws: int = 1,
  alone: bool = False,
  stopped: Callable[[], bool] = lambda: False,
) -> Callable[[Any, int, str], evaluations.Entry]:
  """A function `(variables of the generator, step, weights) -> entry`.

  Args:
    run: what is measured.
    draws: how often samples are drawn, with seeds of their own.
    alone: only this process calls, though there are others.
    stopped: asked before each batch of samples.

  What is found out of the data is remembered from one call to the next.

  Raises (the function):
    Diverged: samples are not finite.
    Stopped: `stopped` said so.
    ValueError: see `evaluate.evaluate`; or a number is not finite.
  """
  key = jax.random.fold_in(jax.random.key(run.seed), _STREAM)
  decode = steps.make_sampler(run.setup, place=parallel.by_rows)
  labelled = batch_game.takes_labels(run.setup.generator)
  known = {}

  def measure(variables, step, weights):
    def sample(seed, count, label=None):
      if stopped():
        raise Stopped(f'evaluation of step {step}')
      draw = jax.random.fold_in(key, seed)
      z = generate.latents(run.setup, draw, count)
      labels = None if label is None else np.full(count, label)
      return _finite(decode(variables, z, labels))

    head = _head(run, step, weights, draws)
    numbers = evaluate.evaluate(
      sample,
      run.dataset,
      num_samples=run.num_samples,
      seed=run.seed,
      split=head['split'],
      settings=run.evaluation,
      draws=draws,
      sample_class=sample if labelled else None,
      alone=alone,
      known=known,
    )
    return _checked(head | numbers)

  return measure


def _finite(samples):
  bad = ~np.isfinite(samples.reshape(len(samples), -1)).all(axis=1)
  if bad.any():
    raise Diverged(
      f'{bad.sum()} of {len(samples)} samples of the generator are not finite'
    )
  return samples


def _checked(entry):
  for name, part in evaluations.measured(entry).items():
    if not np.isfinite(part.get('value', 0)):
      raise ValueError(
        f'{name} of step {entry["step"]} is {part["value"]}, which is no '
        'number to keep.'
      )
  return entry
