"""The kernel distance (KID): squared maximum mean discrepancy of features.

Unlike the Frechet distance it is unbiased: its mean does not depend on how many
samples there are, and for two samples of one distribution it is 0, with values
of either sign. All arithmetic is in float64.
"""

import numpy as np

from gan_jax.metrics import arrays

SUBSETS = 100
SUBSET_SIZE = 1000
SEED = 2020
# Rows of a block of the kernel matrix, and its columns: 32 MiB.
_BLOCK = 2048


def kernel_distance(
  a: np.ndarray,
  b: np.ndarray,
  *,
  subsets: int = SUBSETS,
  subset_size: int = SUBSET_SIZE,
  seed: int = SEED,
  degree: int = 3,
  gamma: float | None = None,
  coef0: float = 1.0,
) -> tuple[float, float]:
  """Unbiased MMD^2 on random subsets: mean and deviation.

  The subsets are those that torch-fidelity 0.3 draws with the same seed. It
  computes in the precision of the features, here it is always float64: for
  float32 features the two agree to what float32 holds.

  Args:
    a: features, `[N, F]`.
    b: features, `[M, F]`.
    subsets: how many pairs of subsets.
    subset_size: vectors in each, drawn without replacement.
    seed: of the subsets.
    degree: of the kernel (gamma x.y + coef0)^degree.
    gamma: its scale; None for 1 / F.
    coef0: its constant.

  Returns:
    The mean over the subsets and the population standard deviation. (The
    deviation over sqrt(subsets) understates the error of the mean, for subsets
    overlap.)

  Raises:
    ValueError: if the features are no two sets of one size, or not finite; or
      if there are fewer than `subset_size` of either.

  References:
    Binkowski et al., Demystifying MMD GANs, 2018, section 4 and eq. 4.
  """
  a, b = arrays.pair(a, b, ('a', 'b'), least=2)
  gamma = _kernel(a.shape[1], degree, gamma)
  if subsets < 1 or subset_size < 2:
    raise ValueError(
      f'subsets={subsets} must be at least 1, and subset_size={subset_size} at '
      'least 2.'
    )
  fewest = min(len(a), len(b))
  if subset_size > fewest:
    raise ValueError(
      f'subset_size={subset_size} is more than there are: {len(a)} and '
      f'{len(b)} feature vectors. Take at most {fewest}, or more samples.'
    )
  rng = np.random.RandomState(seed)
  draw = lambda x: x[rng.choice(len(x), subset_size, replace=False)]
  values = [
    _mmd2(draw(a), draw(b), degree, gamma, coef0) for _ in range(subsets)
  ]
  return float(np.mean(values)), float(np.std(values))


def unbiased_mmd2(
  a: np.ndarray,
  b: np.ndarray,
  *,
  degree: int = 3,
  gamma: float | None = None,
  coef0: float = 1.0,
) -> float:
  """Unbiased MMD^2 of all samples, in blocks: memory does not grow with them.

  Args:
    a: features, `[N, F]`.
    b: features, `[M, F]`; N and M may differ.
    degree: of the kernel (gamma x.y + coef0)^degree.
    gamma: its scale; None for 1 / F.
    coef0: its constant.

  Raises:
    ValueError: if the features are no two sets of one size, not finite, or
      fewer than 2.

  References:
    Gretton et al., A kernel two-sample test, 2012, eq. 3.
  """
  a, b = arrays.pair(a, b, ('a', 'b'), least=2)
  gamma = _kernel(a.shape[1], degree, gamma)
  return float(_mmd2(a, b, degree, gamma, coef0))


def _kernel(size, degree, gamma):
  if degree < 1 or degree != int(degree):
    raise ValueError(f'degree={degree} must be a whole number from 1.')
  if gamma is None:
    return 1 / size
  if not gamma > 0:
    raise ValueError(f'gamma={gamma} must be positive, or None for 1 / F.')
  return gamma


def _mmd2(a, b, degree, gamma, coef0):
  n, m = len(a), len(b)
  kernel = (degree, gamma, coef0)
  within = _within(a, *kernel) / (n * (n - 1))
  within += _within(b, *kernel) / (m * (m - 1))
  across = sum(
    np.sum(_values(x, y, *kernel)) for x in _blocks(a) for y in _blocks(b)
  )
  return within - 2 * across / (n * m)


def _within(x, degree, gamma, coef0):
  """Sum of the kernel over all ordered pairs of different rows."""
  total = 0.0
  for i, rows in enumerate(_blocks(x)):
    values = _values(rows, rows, degree, gamma, coef0)
    np.fill_diagonal(values, 0.0)
    total += np.sum(values)
    for other in _blocks(x[: i * _BLOCK]):
      total += 2 * np.sum(_values(rows, other, degree, gamma, coef0))
  return total


def _values(x, y, degree, gamma, coef0):
  """The kernel of all pairs of rows, `[n, m]`."""
  base = x @ y.T
  base *= gamma
  base += coef0
  # Products: an array to a power takes ten times as long.
  power = base.copy()
  for _ in range(int(degree) - 1):
    power *= base
  return power


def _blocks(x):
  for start in range(0, len(x), _BLOCK):
    yield x[start : start + _BLOCK].astype(np.float64)
