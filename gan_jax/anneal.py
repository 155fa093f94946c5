"""Values that move by half a cosine while a run goes on, and then stay."""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

Schedule = Callable[[jax.Array], jax.Array]


def half_cosine(first: float, steps: int) -> Schedule:
  """A factor by step: `first` at step 0, 1 from `steps` on.

  Between them first + (1 - first) (1 - cos(pi step / steps)) / 2.
  """

  def factor(step):
    done = jnp.minimum(step / steps, 1.0)
    return 1 + (first - 1) * (1 + jnp.cos(jnp.pi * done)) / 2

  return factor


def factors(described: Mapping[str, float]) -> dict[str, Schedule]:
  """Factors by name, of what moves, from the fields of `config.anneal`.

  Raises:
    ValueError: a number out of range, or something moves in no step.
  """
  values = dict(described)
  steps = values.pop('steps')
  if steps < 0:
    raise ValueError(f'steps={steps} is below 0.')
  for name, first in values.items():
    if not 0 <= first < math.inf:
      raise ValueError(f'{name}={first} is not in [0, inf).')
  moving = {name: first for name, first in values.items() if first != 1}
  if moving and not steps:
    name, first = next(iter(moving.items()))
    raise ValueError(
      f'{name}={first} moves in no step; set anneal.steps, or leave it at 1.'
    )
  return {name: half_cosine(first, steps) for name, first in moving.items()}


def averaging(decay: float, half_life: Schedule) -> Schedule:
  """The decay by step of an average whose half-life moves.

  Args:
    decay: at a factor of 1, in (0, 1).
    half_life: its factor by step; at 0 the average is what is averaged.
  """
  rate = math.log(decay)
  return lambda step: jnp.exp(rate / jnp.maximum(half_life(step), 1e-8))
