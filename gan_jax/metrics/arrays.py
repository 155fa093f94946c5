"""What every metric asks of features before it makes a number of them."""

import numpy as np

# Rows looked at together, so that the check of a large set takes no memory.
_BLOCK = 4096


def features(values: np.ndarray, name: str, *, least: int = 1) -> np.ndarray:
  """The values as an array `[N, F]`, not copied where they are one already.

  Args:
    values: `[N, F]`, of any real type.
    name: what they are called in an error.
    least: how many rows the metric needs.

  Raises:
    ValueError: if they are not `[N, F]` with F >= 1, too few, or not finite;
      it says how many rows are not.
  """
  values = np.asarray(values)
  if values.ndim != 2 or values.shape[1] < 1:
    raise ValueError(
      f'{name} must be [N, F] with F >= 1, got shape {values.shape}.'
    )
  if len(values) < least:
    raise ValueError(
      f'{name} must be at least {least} vectors, got {len(values)} (shape '
      f'{values.shape}).'
    )
  bad = sum(
    np.count_nonzero(~np.isfinite(values[i : i + _BLOCK]).all(axis=1))
    for i in range(0, len(values), _BLOCK)
  )
  if bad:
    raise ValueError(
      f'{name}: {bad} of {len(values)} feature vectors hold NaN or infinity.'
    )
  return values


def pair(
  a: np.ndarray, b: np.ndarray, names: tuple[str, str], *, least: int = 1
) -> tuple[np.ndarray, np.ndarray]:
  """Both sets by `features`, and of one feature size.

  Raises:
    ValueError: as `features`, or if the sizes differ.
  """
  a = features(a, names[0], least=least)
  b = features(b, names[1], least=least)
  if a.shape[1] != b.shape[1]:
    raise ValueError(
      f'{names[0]} have {a.shape[1]} features and {names[1]} {b.shape[1]}: '
      'they cannot be compared.'
    )
  return a, b
