"""The inception score, from sums that a stream of logits leaves behind.

The score of a split is exp of the mean KL divergence from its mean class
probabilities. That mean is a difference of two entropies, and both follow from
sums over the images, so no probabilities need to be kept.
"""

from typing import NamedTuple

import numpy as np

from gan_jax.metrics import arrays

SPLITS = 10
SEED = 2020


class Sums(NamedTuple):
  """What the inception score needs of the images seen so far, split by split.

  Attributes:
    count: how many images, int `[S]`.
    p: sums of their class probabilities, `[S, K]`.
    p_log_p: sums of sum_k p_k log p_k, in nats, `[S]`.
  """

  count: np.ndarray
  p: np.ndarray
  p_log_p: np.ndarray


def splits_of(
  count: int, splits: int = SPLITS, *, seed: int | None = SEED
) -> np.ndarray:
  """The split that each of `count` images belongs to, int `[count]`.

  Images are shuffled, then cut into contiguous parts whose sizes differ by one
  at most: the order and the cuts of torch-fidelity 0.3, so that the scores are
  the same for the same images in the same order.

  Args:
    count: number of images in all.
    splits: number of parts.
    seed: of the shuffle; None leaves the order.

  Raises:
    ValueError: if `splits` is below 1 or `count` below 0.
  """
  if splits < 1 or count < 0:
    raise ValueError(
      f'splits={splits} must be at least 1, and count={count} at least 0.'
    )
  bounds = np.arange(splits + 1) * count // splits
  part = np.repeat(np.arange(splits), np.diff(bounds))
  if seed is None:
    return part
  # Image order[i] stands at place i.
  order = np.random.RandomState(seed).permutation(count)
  split = np.empty(count, part.dtype)
  split[order] = part
  return split


def sums(logits: np.ndarray, split: np.ndarray, splits: int = SPLITS) -> Sums:
  """Sums over one batch.

  Args:
    logits: `[n, K]`; the softmax is taken in float64.
    split: the split of each image, int `[n]`, from 0 to `splits` - 1.
    splits: number of splits, S.

  Raises:
    ValueError: if logits are not `[n, K]` or not finite, or the splits do not
      fit them.
  """
  logits = arrays.features(logits, 'logits', least=0).astype(np.float64)
  split = np.asarray(split)
  if split.shape != logits.shape[:1] or split.dtype.kind not in 'iu':
    raise ValueError(
      f'split must be integers of shape {logits.shape[:1]}, one for each row '
      f'of logits, got {split.dtype} of shape {split.shape}.'
    )
  if split.size and (split.min() < 0 or split.max() >= splits):
    raise ValueError(
      f'split must lie in 0 to {splits - 1}, got {split.min()} to '
      f'{split.max()}.'
    )
  p, p_log_p = _probabilities(logits)
  member = np.arange(splits)[:, None] == split
  return Sums(
    member.sum(axis=1), member.astype(float) @ p, member.astype(float) @ p_log_p
  )


def merge(a: Sums, b: Sums) -> Sums:
  """Sums of two streams taken as one.

  Raises:
    ValueError: if they are of different numbers of splits or classes.
  """
  if a.p.shape != b.p.shape:
    raise ValueError(
      'Sums of {} splits and {} classes do not merge with those of {} and '
      '{}.'.format(*a.p.shape, *b.p.shape)
    )
  return Sums(a.count + b.count, a.p + b.p, a.p_log_p + b.p_log_p)


def inception_score(total: Sums) -> tuple[float, float]:
  """exp(E KL(p(y|x) || p(y))): mean and deviation over the splits.

  It lies between 1 and the number of classes; a set of n images cannot score
  above n.

  Returns:
    The mean over the splits and the population standard deviation.

  Raises:
    ValueError: if a split holds no image.

  References:
    Salimans et al., Improved techniques for training GANs, 2016, section 4.
  """
  empty = np.count_nonzero(np.asarray(total.count) < 1)
  if empty:
    raise ValueError(
      f'{empty} of {len(total.count)} splits of the inception score are '
      f'empty ({int(np.sum(total.count))} images in all): take fewer splits '
      'or more images.'
    )
  mean = total.p / total.count[:, None]
  # p log p tends to 0 with p: a class that no image was ever near.
  logs = np.log(np.where(mean > 0, mean, 1.0))
  divergence = total.p_log_p / total.count - np.sum(mean * logs, axis=1)
  scores = np.exp(divergence)
  return float(np.mean(scores)), float(np.std(scores))


def of_logits(
  logits: np.ndarray, *, splits: int = SPLITS, seed: int | None = SEED
) -> tuple[float, float]:
  """Inception score of all logits at once, `[N, K]`: mean and deviation.

  Raises:
    ValueError: if logits are not `[N, K]` or not finite, or N < splits.
  """
  logits = arrays.features(logits, 'logits')
  split = splits_of(len(logits), splits, seed=seed)
  return inception_score(sums(logits, split, splits))


def _probabilities(logits):
  """Softmax `[n, K]` and sum_k p_k log p_k `[n]`."""
  shifted = logits - logits.max(axis=1, keepdims=True)
  log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
  p = np.exp(log_p)
  return p, np.sum(p * log_p, axis=1)
