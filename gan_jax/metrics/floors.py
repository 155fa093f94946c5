"""A distance to real examples beside its floor, real against real."""

from collections.abc import Callable

import numpy as np

HALVINGS = 5


def against_real(
  fake: np.ndarray,
  real: np.ndarray,
  distance: Callable[[np.ndarray, np.ndarray], float],
  *,
  seed: int,
  halvings: int = HALVINGS,
) -> dict[str, float | dict]:
  """Distance of fake to real, and of real to real, on equal terms.

  Distances of finite sets are biased upwards, the more so the fewer examples
  there are. So the real ones are halved at random into A and B, and
  distance(fake, A) and distance(B, A) are taken at one count on all sides, then
  averaged over several halvings. A generator as good as the data meets the
  floor; one that repeats the data comes out slightly below.

  Args:
    fake: `[N, ...]`.
    real: `[M, ...]`.
    distance: of two sets of equal size.
    seed: of the halves and of the subsets.
    halvings: how many.

  Returns:
    `value`, `real_against_real`, its standard deviation over the halvings, and
    `protocol` with the count used, min(N, M // 2).

  Raises:
    ValueError: if there are fewer than 2 fake or 4 real examples.
  """
  count = min(len(fake), len(real) // 2)
  if count < 2:
    raise ValueError(
      f'A floor needs at least 2 samples and 4 real examples, got {len(fake)} '
      f'and {len(real)}.'
    )
  rng = np.random.default_rng(seed)
  to_fake, to_real = [], []
  for _ in range(halvings):
    order = rng.permutation(len(real))
    reference, other = real[order[:count]], real[order[count : 2 * count]]
    chosen = fake[rng.permutation(len(fake))[:count]]
    to_fake.append(distance(chosen, reference))
    to_real.append(distance(other, reference))
  return {
    'value': float(np.mean(to_fake)),
    'real_against_real': float(np.mean(to_real)),
    'real_against_real_std': float(np.std(to_real)),
    'protocol': {
      'count': count,
      'sides': 'samples, real reference and real floor: the same count, the '
      'two real ones disjoint',
      'halvings': halvings,
      'seed': seed,
    },
  }
