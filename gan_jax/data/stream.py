"""Sets too large for memory: grain reads ahead in threads."""

import os
from collections.abc import Callable
from typing import Any

import grain
import numpy as np

from gan_jax.data import dataset as dataset_lib
from gan_jax.data import feeds

# More threads than this wait for Python's lock rather than for the disk.
_NUM_THREADS = min(16, 2 * (os.cpu_count() or 1))
_BATCHES_AHEAD = 2


def feed(
  dataset: dataset_lib.Dataset,
  batch_size: int,
  epoch_batches: Callable[[int], np.ndarray],
  rows: Callable[[], slice],
  threads: int = 0,
) -> feeds.Feed:
  """A feed of the examples themselves, read ahead of the training loop.

  Args:
    dataset: `examples[i]` is a dict of one example's arrays.
    batch_size: examples a batch, of all processes together.
    epoch_batches: epoch -> indices, int32 `[batches per epoch, batch_size]`.
    rows: `() -> slice`, the rows of each batch to read; the others are not.
    threads: that read and decode; 0: two a core, up to 16.

  Returns:
    Its feed. The position of the stream is that of the batches handed out, not
    of those read ahead; `next` goes wherever it is asked to.
  """
  iterator, position = None, 0

  def next_batches(first: int, count: int) -> dict[str, np.ndarray]:
    nonlocal iterator, position
    if iterator is None:  # Before this, JAX may not know its processes.
      iterator = iter(_batches(dataset, epoch_batches, rows(), threads))
    at = {'next_index': first * (rows().stop - rows().start)}
    if iterator.get_state() != at:
      iterator.set_state(at)
    made = [next(iterator) for _ in range(count)]
    position = first + count
    return {k: np.stack([batch[k] for batch in made]) for k in made[0]}

  def restore(state: dict[str, Any]) -> None:
    nonlocal position
    if 'next_index' in state:  # Older checkpoints count examples.
      position = state['next_index'] // batch_size
    elif state:  # Empty when the set was resident before.
      position = state['next_batch']

  pick = lambda resident, one: one
  state = lambda: {'next_batch': position}
  return feeds.Feed({}, next_batches, pick, state, restore)


def _batches(dataset, epoch_batches, rows: slice, threads: int):
  """grain's endless data set of these rows of every batch, in our order."""
  per_epoch, size = len(epoch_batches(0)), rows.stop - rows.start

  def example(position: int) -> dict[str, Any]:
    batch, row = divmod(position, size)
    epoch, batch = divmod(batch, per_epoch)
    return _read(dataset, int(epoch_batches(epoch)[batch, rows.start + row]))

  # The order is ours rather than grain's shuffle, so that streamed and resident
  # runs see the same batches, whatever grain's version.
  read = grain.ReadOptions(
    num_threads=threads or _NUM_THREADS,
    prefetch_buffer_size=_BATCHES_AHEAD * size,
  )
  return (
    grain.MapDataset.range(2**62)
    .map(example)
    .to_iter_dataset(read)
    .batch(size, drop_remainder=True)
  )


def _read(dataset, index: int) -> dict[str, Any]:
  try:
    return dataset.examples[index]
  except (ValueError, OSError) as error:
    raise dataset_lib.DataError(
      f'image {index} of {dataset.name!r} cannot be read: {error}'
    ) from error
