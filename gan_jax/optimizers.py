"""A player's optimizer and learning-rate schedule from their config fields."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax


class HistoricalState(NamedTuple):
  """What historical averaging remembers.

  Attributes:
    mean: of the parameters at all updates so far.
    count: of these updates, int32.
  """

  mean: Any
  count: jax.Array


def historical_averaging(weight: float) -> optax.GradientTransformation:
  """Pulls parameters towards the mean of their own past.

  The gradient of weight * |theta - mean|^2 is added to the updates, where the
  mean is that of theta at all updates before, a constant. The first update has
  no past, so no pull. It needs `params`, and comes before what scales
  gradients. An optimizer that is called at a point that is only looked at
  counts it too.

  Args:
    weight: of the term in the player's loss.

  References:
    Salimans et al., Improved Techniques for Training GANs, 2016, section 3.3.
  """

  def init(params):
    # A copy: the mean of no past is where the first update stands.
    return HistoricalState(
      jax.tree.map(jnp.copy, params), jnp.zeros((), jnp.int32)
    )

  def update(updates, state, params=None):
    if params is None:
      raise ValueError('historical_averaging needs params.')
    pull = lambda u, x, m: u + 2 * weight * (x - m) * (state.count > 0)
    updates = jax.tree.map(pull, updates, params, state.mean)
    share = 1.0 / (state.count + 1)
    follow = lambda m, x: m + (x - m) * share.astype(m.dtype)
    mean = jax.tree.map(follow, state.mean, params)
    return updates, HistoricalState(mean, state.count + 1)

  return optax.GradientTransformation(init, update)


def build(
  described: ml_collections.ConfigDict,
  num_steps: int,
  updates_per_step: int,
  moving: Mapping[str, optax.Schedule] | None = None,
) -> optax.GradientTransformation:
  """An optax optimizer from the fields of `defaults.optimizer`.

  Args:
    described: the fields.
    num_steps: of the run; where the schedule ends.
    updates_per_step: how often its player moves in a step.
    moving: factors by step of `learning_rate`, and of `forgetting`, 1 - b2;
      None where they stay.

  Raises:
    ValueError: an unknown name or schedule, or a number out of range.
  """
  _check_optimizer(described)
  moving = moving or {}
  scale = _one_of('name', described.name, _SCALES)
  if 'forgetting' in moving:
    _check_forgetting(described, moving['forgetting'])
    scale = _annealed_adam(moving['forgetting'], updates_per_step)
  rate = schedule(described, num_steps)
  factor = moving.get('learning_rate', lambda step: 1.0)
  parts = []
  if described.historical:
    parts.append(historical_averaging(described.historical))
  if described.clip_norm:
    parts.append(optax.clip_by_global_norm(described.clip_norm))
  parts.append(scale(described))
  if described.weight_decay:
    parts.append(optax.add_decayed_weights(described.weight_decay))

  def by_update(count):
    step = count // updates_per_step
    return rate(step) * factor(step)

  parts.append(optax.scale_by_learning_rate(by_update))
  return optax.chain(*parts)


def _check_optimizer(described):
  rate = described.learning_rate
  if not 0 < rate < math.inf:
    raise ValueError(f'learning_rate={rate} is not a positive number.')
  for field in ('b1', 'momentum'):  # below 0: Gidel et al. 2019
    if not -1 < described[field] < 1:
      raise ValueError(f'{field}={described[field]} is not in (-1, 1).')
  for field in ('b2', 'decay'):
    if not 0 <= described[field] < 1:
      raise ValueError(f'{field}={described[field]} is not in [0, 1).')
  for field in (
    *('eps', 'warmup', 'decay_start', 'clip_norm', 'weight_decay'),
    'historical',
  ):
    if not 0 <= described[field] < math.inf:
      raise ValueError(f'{field}={described[field]} is not in [0, inf).')


def _check_forgetting(described, factor):
  if described.name != 'adam':
    raise ValueError(
      f'name={described.name!r} has no b2 that anneal.forgetting could move; '
      'adam has.'
    )
  b2 = 1 - (1 - described.b2) * float(factor(0))
  if b2 < 0:
    raise ValueError(
      f'b2={described.b2} would be {b2:.4g} at first: anneal.forgetting may be '
      f'up to {1 / (1 - described.b2):.4g}.'
    )


def _annealed_adam(forgetting, updates_per_step):
  """Adam whose b2 moves; its bias is corrected by the b2 of the update."""
  adam = optax.inject_hyperparams(
    optax.scale_by_adam, static_args=('b1', 'eps', 'eps_root')
  )

  def scale(c):
    b2 = lambda count: 1 - (1 - c.b2) * forgetting(count // updates_per_step)
    return adam(c.b1, b2, c.eps)

  return scale


def _rmsprop(c):
  parts = [optax.scale_by_rms(c.decay, c.eps, eps_in_sqrt=False)]
  if c.momentum:
    parts.append(optax.trace(c.momentum))
  return optax.chain(*parts)


_SCALES = {
  'adam': lambda c: optax.scale_by_adam(c.b1, c.b2, c.eps),
  'rmsprop': _rmsprop,
  'sgd': lambda c: optax.trace(c.momentum) if c.momentum else optax.identity(),
}


def schedule(
  described: ml_collections.ConfigDict, num_steps: int
) -> optax.Schedule:
  """Learning rate by training step: growth, a plateau, then the fall."""
  rate = described.learning_rate
  start = max(described.decay_start, described.warmup)
  if described.schedule != 'constant' and start >= num_steps:
    raise ValueError(
      f'decay_start={described.decay_start} and warmup={described.warmup} '
      f'leave no step of {num_steps} for schedule={described.schedule!r}.'
    )
  fall = _one_of('schedule', described.schedule, _FALLS)
  fall = fall(rate, num_steps - start)
  if not described.warmup:
    return optax.join_schedules([optax.constant_schedule(rate), fall], [start])
  grow = optax.linear_schedule(0.0, rate, described.warmup)
  return optax.join_schedules(
    [grow, optax.constant_schedule(rate), fall], [described.warmup, start]
  )


_FALLS = {
  'constant': lambda rate, steps: optax.constant_schedule(rate),
  'linear': lambda rate, steps: optax.linear_schedule(rate, 0.0, steps),
  'cosine': lambda rate, steps: optax.cosine_decay_schedule(rate, steps),
}


def _one_of(field, name, table):
  if name not in table:
    raise ValueError(f'{field}={name!r} is not one of {sorted(table)}.')
  return table[name]
