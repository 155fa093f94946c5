"""Some classes of a data set, and of each only a share."""

import numpy as np

from gan_jax.data import dataset as dataset_lib
from gan_jax.data import scanning

# Which examples stay must not change with the seed of a run.
SEED = 1


def parse(text: str) -> dict[int, float]:
  """'5:0.2,7:1' -> {5: 0.2, 7: 1.0}; a class alone is all of it.

  Raises:
    ValueError: it is written in another way, a class is named twice, or a share
      is not in (0, 1].
  """
  shares = {}
  for word in filter(None, (word.strip() for word in text.split(','))):
    name, colon, share = word.partition(':')
    try:
      label, value = int(name), float(share) if colon else 1.0
    except ValueError:
      raise ValueError(
        f'shares={text!r} must be classes and their shares, as in 5:0.2,7:1; '
        f'{word!r} is not.'
      ) from None
    if not 0 < value <= 1:
      raise ValueError(
        f'shares={text!r}: the share of class {label} is not in (0, 1].'
      )
    if label in shares:
      raise ValueError(f'shares={text!r} names class {label} twice.')
    shares[label] = value
  return shares


def take_shares(dataset: dataset_lib.Dataset, text: str) -> dataset_lib.Dataset:
  """The examples that stay, in their order.

  Args:
    dataset: with labels.
    text: what stays of which class, as in '5:0.2,7:1'; '' is all of all. Of n
      examples of a class with share s, round(s n) are drawn, by the same seed
      always.

  Raises:
    ValueError: the text is wrong, the data set has no labels or not this class,
      or nothing would be left of one.
  """
  shares = parse(text)
  if not shares:
    return dataset
  if dataset.labels is None:
    # Labels of a set that is too large for memory come with its images.
    reason = 'they are read from disk' if dataset.num_classes else 'it has none'
    raise ValueError(
      f'shares={text!r} needs the labels of {dataset.name!r} at hand; {reason}.'
    )
  kept = [_kept(dataset, label, shares, text) for label in sorted(shares)]
  return scanning.subset(dataset, np.sort(np.concatenate(kept)))


def _kept(dataset, label, shares, text):
  indices = np.flatnonzero(dataset.labels == label)
  if not len(indices):
    found = sorted(map(int, np.unique(dataset.labels)))
    raise ValueError(
      f'shares={text!r}: {dataset.name!r} has no examples of class {label}, '
      f'only of {found}.'
    )
  count = round(shares[label] * len(indices))
  if not count:
    raise ValueError(
      f'shares={text!r} leaves none of the {len(indices)} examples of class '
      f'{label} in {dataset.name!r}.'
    )
  rng = np.random.default_rng([SEED, label])
  return rng.permutation(indices)[:count]
