"""Sets too large for memory: grain reads ahead in threads."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import grain
import numpy as np

from gan_jax.data import feeds

# More threads than this wait for Python's lock rather than for the disk.
_NUM_THREADS = min(16, 2 * (os.cpu_count() or 1))
_BATCHES_AHEAD = 2


def feed(
  source: Sequence[dict[str, Any]],
  batch_size: int,
  epoch_batches: Callable[[int], np.ndarray],
) -> feeds.Feed:
  """A feed of the examples themselves, read ahead of the training loop.

  Args:
    source: random access, `source[i]` is a dict of one example's arrays.
    batch_size: examples a batch.
    epoch_batches: epoch -> indices, int32 `[batches per epoch, batch_size]`.

  Returns:
    Its feed. The position of the stream is that of the batches handed out, not
    of those read ahead; `next` goes wherever it is asked to.
  """
  iterator = iter(_batches(source, batch_size, epoch_batches))

  def next_batches(first: int, count: int) -> dict[str, np.ndarray]:
    at = {'next_index': first * batch_size}
    if iterator.get_state() != at:
      iterator.set_state(at)
    made = [next(iterator) for _ in range(count)]
    return {k: np.stack([batch[k] for batch in made]) for k in made[0]}

  def restore(state: dict[str, Any]) -> None:
    if state:  # Empty when the set was resident before.
      iterator.set_state(state)

  pick = lambda resident, one: one
  return feeds.Feed({}, next_batches, pick, iterator.get_state, restore)


def _batches(source, batch_size: int, epoch_batches):
  """grain's endless data set of batches, in our order."""
  per_epoch = epoch_batches(0).size

  def example(position: int) -> dict[str, Any]:
    epoch, offset = divmod(position, per_epoch)
    return source[int(epoch_batches(epoch).reshape(-1)[offset])]

  # The order is ours rather than grain's shuffle, so that streamed and resident
  # runs see the same batches, whatever grain's version.
  read = grain.ReadOptions(
    num_threads=_NUM_THREADS,
    prefetch_buffer_size=_BATCHES_AHEAD * batch_size,
  )
  return (
    grain.MapDataset.range(2**62)
    .map(example)
    .to_iter_dataset(read)
    .batch(batch_size, drop_remainder=True)
  )
