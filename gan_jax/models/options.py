"""Checks of a model's options, with messages for the reader of a job log.

Every message begins with `option=value`, so that the caller may put the place
of the option in front of it.
"""

import dataclasses
import math
import numbers
from collections.abc import Collection, Mapping
from typing import Any

import flax.linen as nn


def build(
  table: Mapping[str, type[nn.Module]], name: str, options: Mapping[str, Any]
) -> nn.Module:
  """The module that `table` has under `name`, with its options set.

  Raises:
    ValueError: unknown name, unknown option, or a value that is not allowed.
  """
  check_choice('name', name, table)
  allowed = defaults(table[name])
  for option, value in options.items():
    if option not in allowed:
      listed = ', '.join(f'{key}={value!r}' for key, value in allowed.items())
      raise ValueError(
        f'{option}={value!r} is not an option of {name!r}, which has: {listed}.'
      )
  return table[name](**{key: _plain(v) for key, v in options.items()})


def defaults(module: type[nn.Module]) -> dict[str, Any]:
  """Every option of a module class with its default value."""
  fields = dataclasses.fields(module)
  return {f.name: f.default for f in fields if f.name not in ('parent', 'name')}


def check_choice(option: str, value: Any, allowed: Collection[str]) -> None:
  """Raises ValueError unless `value` is one of the allowed names."""
  if not isinstance(value, str) or value not in allowed:
    raise ValueError(f'{option}={value!r} is not one of {sorted(allowed)}.')


def check_size(option: str, value: Any, multiple_of: int = 1) -> None:
  """Raises ValueError unless `value` is a positive multiple of a number."""
  if not _is_integer(value) or value < 1 or value % multiple_of:
    right = f'multiple of {multiple_of}' if multiple_of > 1 else 'integer'
    raise ValueError(f'{option}={value!r} is not a positive {right}.')


def check_sizes(option: str, values: Any, ranks: Collection[int] = ()) -> None:
  """Raises ValueError unless `values` are positive integers, `ranks` many."""
  is_sequence = isinstance(values, (tuple, list))
  if not is_sequence or not all(_is_integer(v) and v >= 1 for v in values):
    raise ValueError(
      f'{option}={values!r} is not a tuple of positive integers.'
    )
  if ranks and len(values) not in ranks:
    counts = ' or '.join(map(str, ranks))
    raise ValueError(f'{option}={values!r} needs {counts} entries.')


def check_number(option: str, value: Any, above: float = -math.inf) -> None:
  """Raises ValueError unless `value` is finite and greater than `above`."""
  is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
  if not is_number or not above < value < math.inf:
    more = '' if above == -math.inf else f' above {above}'
    raise ValueError(f'{option}={value!r} is not a finite number{more}.')


def check_flag(option: str, value: Any) -> None:
  """Raises ValueError unless `value` is True or False."""
  if not isinstance(value, bool):
    raise ValueError(f'{option}={value!r} is not True or False.')


def _plain(value: Any) -> Any:
  """Without lists, which a module cannot hash, and numpy's short integers."""
  if isinstance(value, (tuple, list)):
    return tuple(map(_plain, value))
  return int(value) if _is_integer(value) else value


def _is_integer(value: Any) -> bool:
  return isinstance(value, numbers.Integral) and not isinstance(value, bool)
