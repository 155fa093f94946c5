"""Whether a few seeds decide a claim: yes, no, or None."""

import math

import numpy as np

_NORMAL = 1.96  # two-sided, 95 %
# Student's t for 2, 3, ... seeds; from ten on the last, which is careful.
_STUDENT = (12.71, 4.31, 3.19, 2.78, 2.58, 2.45, 2.37, 2.31, 2.27)

WORDS = {True: 'yes', False: 'no', None: 'undecided'}


def most(yes: np.ndarray) -> bool | None:
  """Whether more than half of all seeds would show it.

  Args:
    yes: whether each of the seeds does, `[S]`.

  Returns:
    None if 1/2 lies within Wilson's 95 % interval of the share, and if there
    are no seeds.
  """
  number = len(yes)
  if not number:
    return None
  away = float(np.mean(yes)) - 0.5
  # At a true share of 1/2 the standard error is 1 / (2 sqrt(S)).
  margin = _NORMAL / (2 * math.sqrt(number))
  return None if abs(away) <= margin else away > 0


def above(values: np.ndarray, bound: float) -> bool | None:
  """Whether the geometric mean over all seeds would be above a bound.

  Args:
    values: positive, of each of the seeds, `[S]`.
    bound: positive.

  Returns:
    None if the bound lies within Student's 95 % interval of the logarithms, if
    there are fewer than two seeds, and if a value is not positive and finite.
  """
  values = np.asarray(values, np.float64)
  usable = np.all(np.isfinite(values)) and np.all(values > 0)
  if len(values) < 2 or not usable:
    return None
  logs = np.log(values)
  student = _STUDENT[min(len(logs), 10) - 2]
  margin = student * np.std(logs, ddof=1) / math.sqrt(len(logs))
  away = float(np.mean(logs)) - math.log(bound)
  return None if abs(away) <= margin else away > 0


def below(values: np.ndarray, bound: float) -> bool | None:
  """Whether it would be below; otherwise as `above`."""
  found = above(values, bound)
  return None if found is None else not found
