"""Batches for a training loop: batch b is a function of (seed, b), no more.

Several processes share a batch: each is fed one contiguous block of its rows,
and the blocks in the order of the processes are what one process would get.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data import dataset as dataset_lib


class Feed(NamedTuple):
  """How a training loop gets its batches.

  Attributes:
    resident: pytree of arrays to put on the device once; {} when streaming.
    next: `(first, count) -> fed`, batches first .. first + count - 1 as a host
      pytree, every leaf `[count, rows, ...]`: indices of resident examples, or
      the examples themselves when streaming. `rows` are this process's of each
      batch: all of it on one process, batch_size / processes on several.
    pick: `(resident, one) -> dict(image=[B, ...] as stored, label=[B])`, where
      `one` is one batch of `fed`; pure, to be called inside jit. The label is
      there only if the data have one.
    state: `() -> dict` to store in a checkpoint, as JSON: the position of the
      stream in whole batches, the same on every process; {} for resident data.
    restore: `(dict) -> None`, takes up such a position, whatever the number of
      processes that it comes from.
  """

  resident: Any
  next: Callable[[int, int], Any]
  pick: Callable[[Any, Any], dict[str, jax.Array]]
  state: Callable[[], dict[str, Any]]
  restore: Callable[[dict[str, Any]], None]


def feed(
  dataset: dataset_lib.Dataset,
  batch_size: int,
  seed: int,
  *,
  shard: tuple[int, int] | None = None,
  threads: int = 0,
) -> Feed:
  """Shuffled batches without end, every example at most once an epoch.

  An epoch is N // batch_size batches; the remainder of its permutation is
  dropped. Streamed or resident, the order is the same.

  Args:
    dataset: the N examples.
    batch_size: rows of a batch, those of all processes together.
    seed: the order follows from it.
    shard: `(index, count)`, which of how many blocks of a batch to feed; None
      asks JAX for this process when the first batch is asked for.
    threads: that read and decode a streamed set; 0: two a core, up to 16.

  Returns:
    Its feed. `next` raises `DataError` for an example that cannot be read, and
    ValueError if the processes that JAX found do not divide the batch.

  Raises:
    ValueError: for a batch size below 1 or above N or that `count` does not
      divide, a negative seed, or an index that is not in 0 .. count - 1.
  """
  size = len(dataset.examples)
  if not 1 <= batch_size <= size:
    raise ValueError(
      f'batch_size={batch_size} must be between 1 and {size}, the number of'
      f' examples in {dataset.name!r}.'
    )
  if seed < 0:
    raise ValueError(f'seed={seed} must be 0 or more.')
  batches = epoch_batches(size, batch_size, seed)
  rows = _own_rows(batch_size, shard)
  if isinstance(dataset.examples, np.ndarray):
    return _resident_feed(dataset, batches, size // batch_size, rows)
  from gan_jax.data import stream  # which needs grain

  return stream.feed(dataset, batch_size, batches, rows, threads)


def _own_rows(
  batch_size: int, shard: tuple[int, int] | None
) -> Callable[[], slice]:
  """`() -> slice`, the rows of a batch that this process is fed."""

  @functools.cache
  def rows() -> slice:
    index, count = shard or (jax.process_index(), jax.process_count())
    return _block(batch_size, index, count)

  if shard is not None:
    rows()  # A mistake shows now. JAX's own answer may come later than this.
  return rows


def _block(batch_size: int, index: int, count: int) -> slice:
  if not 0 <= index < count:
    raise ValueError(
      f'shard={(index, count)} must be (index, count) with index in'
      ' 0 .. count - 1.'
    )
  if batch_size % count:
    raise ValueError(
      f'batch_size={batch_size} must be a multiple of {count}, the number of'
      ' processes that share each batch.'
    )
  size = batch_size // count
  return slice(index * size, (index + 1) * size)


def epoch_batches(
  size: int, batch_size: int, seed: int
) -> Callable[[int], np.ndarray]:
  """`epoch -> indices`, int32 `[size // batch_size, batch_size]`."""
  count = size // batch_size

  # Two, because a call may span two epochs, and so may reading ahead.
  @functools.lru_cache(maxsize=2)
  def batches(epoch: int) -> np.ndarray:
    rng = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    order = rng.permutation(size)[: count * batch_size].astype(np.int32)
    order.flags.writeable = False  # Callers get views of it.
    return order.reshape(count, batch_size)

  return batches


def _resident_feed(dataset, batches, per_epoch: int, rows) -> Feed:
  resident = {'image': dataset.examples}
  if dataset.labels is not None:
    resident['label'] = dataset.labels

  def next_indices(first: int, count: int) -> np.ndarray:
    parts, stop = [], first + count
    while first < stop:
      epoch, row = divmod(first, per_epoch)
      parts.append(batches(epoch)[row : row + stop - first, rows()])
      first += len(parts[-1])
    return parts[0] if len(parts) == 1 else np.concatenate(parts)

  def pick(resident, indices):
    return {k: jnp.take(v, indices, axis=0) for k, v in resident.items()}

  return Feed(resident, next_indices, pick, dict, lambda state: None)


def feed_from_function(
  fn: Callable[[int], dict[str, Any]], *, shard: tuple[int, int] | None = None
) -> Feed:
  """A feed of a user's own batches.

  Args:
    fn: batch number -> dict of arrays `[B, ...]`, among them 'image', of the
      same shapes each time. It must depend on the number alone, or a resumed
      run sees other batches than an uninterrupted one. On several processes
      each makes the whole batch and keeps its own rows.
    shard: as for `feed`.

  Returns:
    Its feed; `next` raises ValueError where `fn` breaks these rules, or if the
    number of processes does not divide its batches.
  """

  def next_batches(first: int, count: int) -> dict[str, np.ndarray]:
    made = [_checked(fn(b), b) for b in range(first, first + count)]
    for b, batch in enumerate(made, first):
      if _shapes(batch) != _shapes(made[0]):
        raise ValueError(
          f'the function of batches made {_shapes(made[0])} for batch {first}'
          f' but {_shapes(batch)} for batch {b}; they must agree.'
        )
    rows = _own_rows(len(made[0]['image']), shard)()
    return {k: np.stack([batch[k][rows] for batch in made]) for k in made[0]}

  pick = lambda resident, one: one
  return Feed({}, next_batches, pick, dict, lambda state: None)


def _checked(batch, b: int) -> dict[str, np.ndarray]:
  if not isinstance(batch, dict) or 'image' not in batch:
    raise ValueError(
      f"the function of batches must return a dict with 'image' in it, got"
      f' {sorted(batch) if isinstance(batch, dict) else type(batch)} for batch'
      f' {b}.'
    )
  batch = {k: np.asarray(v) for k, v in batch.items()}
  if len({v.shape[:1] for v in batch.values()} | {()}) != 2:
    raise ValueError(
      f'the function of batches made {_shapes(batch)} for batch {b}; all arrays'
      ' must have the same first axis, the batch.'
    )
  return batch


def _shapes(batch) -> dict[str, tuple[int, ...]]:
  return {k: v.shape for k, v in batch.items()}
