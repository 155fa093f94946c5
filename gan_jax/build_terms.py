"""What a config asks for beside networks, loss and method, as functions.

Penalties, projections, the averaged generator and the augmentation, with what
of them moves; a part of `build`, which calls them.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from gan_jax import ada, anneal, batch_game, fields, games, regularizers


def _r1(critic, real, fake, keys, axis_name=None):
  return regularizers.r1(critic, real)


def _r2(critic, real, fake, keys, axis_name=None):
  return regularizers.r2(critic, fake)


def _wgan_gp(critic, real, fake, keys, axis_name=None):
  points = regularizers.interpolate(keys, real, fake)
  return regularizers.gradient_penalty(critic, points)


def _dragan(critic, real, fake, keys, axis_name=None):
  points = regularizers.dragan_points(keys, real, 0.5, axis_name=axis_name)
  return regularizers.gradient_penalty(critic, points)


# name -> (critic, real, fake, keys, axis_name=None) -> [B]
PENALTIES = {'r1': _r1, 'r2': _r2, 'wgan_gp': _wgan_gp, 'dragan': _dragan}

# name -> critic's parameters -> scalar
PARAMETER_PENALTIES = {
  'l2': regularizers.l2,
  'orthogonal': regularizers.orthogonal,
}


def penalties(
  config: ml_collections.ConfigDict,
  factor: anneal.Schedule | None,
  axis_name: str | None,
) -> tuple[batch_game.Penalty, ...]:
  """Gradient penalties of `config.penalties`, with their weights.

  Args:
    config: all its fields.
    factor: of the weights by step, or None where they stay; so below.
    axis_name: of the devices' axis, inside a per-device mapping.

  Raises:
    ValueError: a factor moves nothing; so below.
  """
  weights = config.penalties
  chosen = {name: weights[name] for name in PENALTIES if weights[name]}
  if factor is not None and not chosen:
    raise ValueError(
      'config.anneal.penalties moves gradient penalties, and config.penalties '
      f'has none of {sorted(PENALTIES)}.'
    )
  return tuple(
    batch_game.Penalty(
      name,
      _moved(weight, factor),
      functools.partial(PENALTIES[name], axis_name=axis_name),
    )
    for name, weight in chosen.items()
  )


def _moved(value, factor):
  """A number, or a function of the step where a factor moves it."""
  if factor is None:
    return value
  return lambda step: value * factor(step)


def averaging(
  config: ml_collections.ConfigDict, half_life: anneal.Schedule | None
) -> float | anneal.Schedule:
  """The decay of the averaged generator; 0 for none."""
  if half_life is None:
    return config.averaging
  if not config.averaging:
    raise ValueError(
      'config.anneal.half_life moves the averaged generator, and '
      'config.averaging=0 keeps none.'
    )
  return anneal.averaging(config.averaging, half_life)


def pipeline(
  config: ml_collections.ConfigDict, factor: anneal.Schedule | None
) -> ada.Pipeline:
  """The augmentation of `config.ada`.

  Raises:
    ValueError: an unknown word, or a probability out of range.
  """
  policy, p = config.ada.policy, config.ada.p
  strengths = fields.prefixed('ada.', ada.parse, policy)
  if not 0 <= p <= 1:
    raise ValueError(f'config.ada.p={p} is not in [0, 1].')
  if bool(policy) != bool(p):
    raise ValueError(
      f'config.ada.policy={policy!r} with config.ada.p={p} augments nothing; '
      'set both, or neither.'
    )
  if factor is not None and not policy:
    raise ValueError('config.anneal.ada moves config.ada.p, which is 0.')
  if factor is not None and p * float(factor(0)) > 1:
    raise ValueError(
      f'config.ada.p={p} would be {p * float(factor(0)):.4g} at first: '
      f'config.anneal.ada may be up to {1 / p:.4g}.'
    )
  return ada.Pipeline(strengths, _moved(p, factor))


def parameter_penalty(
  weights: Mapping[str, float],
) -> Callable[[Any], Any] | None:
  """What the critic pays for its parameters, or None."""
  chosen = [
    (weights[name], function)
    for name, function in PARAMETER_PENALTIES.items()
    if weights[name]
  ]
  if not chosen:
    return None
  return lambda d: sum(weight * function(d) for weight, function in chosen)


def projection(
  bound: float, layer: str
) -> Callable[[games.Players], games.Players] | None:
  """What becomes of the critic's parameters after each turn, or None."""
  parts = []
  if layer:
    parts.append(lambda d: _with_unit_columns(d, layer))
  if bound:
    parts.append(lambda d: regularizers.clip_weights(d, bound))
  if not parts:
    return None

  def project(players):
    d = players.d
    for part in parts:
      d = part(d)
    return players._replace(d=d)

  return project


def _with_unit_columns(d, layer):
  kernel = regularizers.unit_columns(d[layer]['kernel'])
  return {**d, layer: {**d[layer], 'kernel': kernel}}
