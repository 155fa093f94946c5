"""Which losses have bad basins: every configuration of few points, told apart.

phi is constant on each pattern (`configurations`), so its landscape is a finite
graph: from a pattern one comes to its refinements (points part, at once) and
back (points meet, on arrival). Each of the finitely many patterns of n pairs is
looked at, so nothing is left to sampling. In one dimension a point may have to
cross another; the graph is that of two dimensions and more.

Parting points gives the critic more freedom, so phi never falls near any
configuration: each is a local minimum, of one of the kinds of `KINDS`. That is
checked, not assumed.

References:
  Sun, Fang & Schwing, Towards a Better Global Loss Landscape of GANs, 2020,
  sections 4 and 5: strict local minima, and global-min-reachable landscapes.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from gan_jax.theory import configurations, landscape

# Values are certain to 1e-8; different ones, for n up to 4, are 6e-3 apart.
TIE = 1e-7

KINDS = {
  'global': 'phi is as low as anywhere',
  'strict': 'every other configuration nearby is higher',
  'trapped': 'some nearby are equal, none is lower, and no path that never '
  'rises leads lower',
  'open': 'some nearby are equal, and a path that never rises leads lower',
  'infinite': "the critic's loss falls for ever",
  'saddle': 'some configuration nearby is lower',
}


class Survey(NamedTuple):
  """Every pattern of n pairs.

  Attributes:
    patterns: `[C]`.
    values: phi, `[C]`.
    gaps: of the dual bounds, `[C]`; 0 where phi is infinite.
    kinds: keys of `KINDS`, `[C]`.
    reached: the lowest phi at the end of a path that never rises, `[C]`.
    barriers: how far above its start every path to the global minimum must
      go, `[C]`; 0 from where phi is infinite.
    single: the least rise of phi when one point leaves a real one, `[C]`; inf
      where none can.
    lowest_rise: the least over all configurations nearby, `[C]`; from infinite
      to infinite is none.
  """

  patterns: tuple[configurations.Pattern, ...]
  values: np.ndarray
  gaps: np.ndarray
  kinds: np.ndarray
  reached: np.ndarray
  barriers: np.ndarray
  single: np.ndarray
  lowest_rise: np.ndarray


class Basins(NamedTuple):
  """One line of the table: a loss and a number of pairs.

  Attributes:
    on_data: how many of the n^n - n! configurations with all generated points
      on real ones, yet not on all, are of each kind.
    off_data: how many patterns with a point off the data are of each kind.
    cut_off: patterns from which every path to the global minimum rises, a path
      among infinite values not being said to.
    deepest: how far one has to climb out of the deepest bad basin of finite
      phi; 0 if none.
    saddles: configurations with a lower one nearby.
    lowest: phi at the global minimum.
    matches: whether the global minima are the n! matches and no others.
    gap: the largest of the dual bounds'.
  """

  on_data: dict[str, int]
  off_data: dict[str, int]
  cut_off: int
  deepest: float
  saddles: int
  lowest: float
  matches: bool
  gap: float


@functools.cache
def survey(name: str, size: int) -> Survey:
  """Values, proofs and kinds of all patterns.

  Args:
    name: of a loss in `losses.LOSSES`.
    size: pairs of points, 2 to 4.

  Raises:
    ValueError: another size or loss, or an optimum without a proof.
  """
  if size not in (2, 3, 4):
    raise ValueError(f'size={size} is not 2, 3 or 4 pairs of points.')
  every = configurations.patterns(size)
  solved = {
    c: landscape.phi(name, c) for c in map(configurations.canonical, every)
  }
  found = np.array([solved[configurations.canonical(p)] for p in every])
  values = found[:, 0]
  near, alone = _neighbours(size)
  rises = _rises(values)
  finer = near.T  # (i, j): j is a refinement of i
  least = np.min(np.where(finer, rises, np.inf), 1)
  single = np.min(np.where(finer & alone, rises, np.inf), 1)
  barriers = _barriers(values, near | near.T)
  reached = _lowest_reached(values, near | near.T)
  on_data = np.array([configurations.on_data(p) for p in every])
  kinds = np.where(reached < values - TIE, 'open', 'trapped')
  # A point off the data moves without any change, so no minimum is strict.
  kinds = np.where(on_data & (least > TIE), 'strict', kinds)
  kinds = np.where(least < -TIE, 'saddle', kinds)
  kinds = np.where(np.isinf(values), 'infinite', kinds)
  kinds = np.where(values <= np.min(values) + TIE, 'global', kinds)
  gaps = np.abs(np.diff(np.where(np.isinf(found), 0.0, found))[:, 0])
  arrays = (values, gaps, kinds, reached, barriers, single, least)
  for array in arrays:
    array.flags.writeable = False  # it is kept for the next call
  return Survey(every, *arrays)


@functools.cache
def _neighbours(size: int) -> tuple[np.ndarray, np.ndarray]:
  every = configurations.patterns(size)
  return configurations.refines(every), configurations.single_moves(every)


def _rises(values: np.ndarray) -> np.ndarray:
  """values[j] - values[i]; from infinite to infinite is no rise."""
  with np.errstate(invalid='ignore'):
    rises = values[None, :] - values[:, None]
  return np.where(np.isnan(rises), 0.0, rises)


def _barriers(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
  """How far the lowest pass to the global minimum lies above the start."""
  highest = np.where(values <= np.min(values) + TIE, values, np.inf)
  while True:
    reached = np.min(np.where(steps, highest[None, :], np.inf), 1)
    new = np.minimum(highest, np.maximum(values, reached))
    if np.array_equal(new, highest):
      break
    highest = new
  with np.errstate(invalid='ignore'):
    barriers = highest - values
  return np.where(barriers > TIE, barriers, 0.0)


def _lowest_reached(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
  """The lowest value at the end of a path that never rises."""
  allowed = steps & (_rises(values) <= TIE)
  lowest = values
  while True:
    reached = np.min(np.where(allowed, lowest[None, :], np.inf), 1)
    new = np.minimum(lowest, reached)
    if np.array_equal(new, lowest):
      return lowest
    lowest = new


def basins(name: str, size: int) -> Basins:
  """Counts what `survey` found; the same arguments and errors."""
  found = survey(name, size)
  on_data = np.array([configurations.on_data(p) for p in found.patterns])
  same = np.array([configurations.matches(p) for p in found.patterns])
  number = lambda where: {
    kind: int(np.sum(where & (found.kinds == kind))) for kind in KINDS
  }
  lowest = found.kinds == 'global'
  finite = np.isfinite(found.values)
  return Basins(
    number(on_data & ~same),
    number(~on_data),
    int(np.sum(found.reached > np.min(found.values) + TIE)),
    float(np.max(found.barriers[finite])),
    int(np.sum(found.kinds == 'saddle')),
    float(np.min(found.values)),
    bool(np.array_equal(lowest, same)),
    float(np.max(found.gaps)),
  )


def num_collapsed(size: int) -> int:
  """n^n - n!: all generated points on real ones, but not on all of them."""
  return size**size - math.factorial(size)
