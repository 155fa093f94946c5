"""Checks of a config's fields by themselves: names, types, ranges."""

import math
from collections.abc import Callable
from typing import Any

import ml_collections

from gan_jax import defaults


def check_fields(config: ml_collections.ConfigDict) -> None:
  """Raises ValueError unless a config has all fields, of the right types.

  A file may have made or replaced fields without any check.
  """
  has, wants = config.to_dict(), defaults.get_config().to_dict()
  _check_group('config', has, wants)
  for group in defaults.FIXED:
    _check_group(f'config.{group}', has[group], wants[group])
  for group in ('generator', 'discriminator', 'game'):
    if not isinstance(has[group].get('name'), str):
      raise ValueError(f'config.{group}.name is missing; it must be a name.')


def _check_group(group, has, wants):
  unknown, missing = sorted(has.keys() - wants), sorted(wants.keys() - has)
  if unknown:
    raise ValueError(f'{group} has no {unknown}; it has {sorted(wants)}.')
  if missing:
    raise ValueError(
      f'{group} lacks {missing}; a config starts from defaults.get_config(), '
      'an optimizer from defaults.optimizer().'
    )
  for field, default in wants.items():
    check_type(f'{group}.{field}', has[field], default)


def check_game(field: str, described: dict[str, Any]) -> None:
  """Raises ValueError for an argument of a method that is of another type.

  Args:
    field: where it is, for the message.
    described: complete, see `defaults.game`.
  """
  known = defaults.GAMES[described['name']]
  for argument, default in known.items():
    if argument == 'method':
      check_game(f'{field}.method', described['method'])
    else:
      check_type(f'{field}.{argument}', described[argument], default)


def prefixed(
  prefix: str, function: Callable, /, *arguments: Any, **options: Any
):
  """Calls; a ValueError's message is led to the field of the config."""
  try:
    return function(*arguments, **options)
  except ValueError as error:
    raise ValueError(f'config.{prefix}{error}') from error


def check_type(field: str, value: Any, like: Any) -> None:
  """Raises ValueError unless a value is of the type of another."""
  fits = (int, float) if isinstance(like, float) else type(like)
  is_flag = isinstance(value, bool)
  if not isinstance(value, fits) or is_flag != isinstance(like, bool):
    raise ValueError(
      f'{field}={value!r} is of type {type(value).__name__}, not '
      f'{type(like).__name__}.'
    )


def check_numbers(config: ml_collections.ConfigDict) -> None:
  """Raises ValueError for a number out of its range."""
  positive = (
    'num_steps',
    'batch_size',
    'accumulate',
    'lazy',
    'keep_checkpoints',
  )
  for field in positive:
    if config[field] < 1:
      raise ValueError(f'config.{field}={config[field]} is less than 1.')
  if config.num_samples < 2:
    raise ValueError(f'config.num_samples={config.num_samples} is less than 2.')
  not_negative = (
    'seed',
    'read_threads',
    'steps_per_call',
    'log_every',
    'sample_every',
    'checkpoint_every',
    'evaluate_every',
    'instance_noise',
    'clip_weights',
    'profile_start',
  )
  for field in not_negative:
    if not 0 <= config[field] < math.inf:
      raise ValueError(f'config.{field}={config[field]} is not in [0, inf).')
  if config.seed >= 2**32:  # jax.random.key takes it modulo that
    raise ValueError(f'config.seed={config.seed} is not below 2**32.')
  weights = [
    (f'{group}.{name}', weight)
    for group in ('penalties', 'auxiliary')
    for name, weight in config[group].items()
  ]
  weights.append(('feature_matching.weight', config.feature_matching.weight))
  for name, weight in weights:
    if not 0 <= weight < math.inf:
      raise ValueError(f'config.{name}={weight} is not in [0, inf).')
  if not 0 <= config.averaging < 1:
    raise ValueError(f'config.averaging={config.averaging} is not in [0, 1).')
  if config.profile_stop < config.profile_start:
    raise ValueError(
      f'config.profile_stop={config.profile_stop} is before '
      f'config.profile_start={config.profile_start}.'
    )
