"""All images of a data set once, in their order, and what they are known by."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gan_jax.data import dataset as dataset_lib
from gan_jax.data import images

# What a thread decodes in one go; and a batch of large images is cut to so many
# bytes, of which two are in memory at once.
_CHUNK = 32
_BATCH_BYTES = 2**25
# Hashed or copied at a time.
_BLOCK_BYTES = 2**24
_MAX_THREADS = 16
_WORTH_THREADS = 16_384  # bytes of an image as stored
_SHOWN = 5


def scan(
  dataset: dataset_lib.Dataset,
  *,
  start: int = 0,
  stop: int | None = None,
  batch_size: int = 500,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Images start .. stop - 1, in their order.

  Sources are decoded by threads, a batch ahead of the caller; memory does not
  grow with their number.

  Args:
    dataset: the examples.
    start: number of the first.
    stop: number after the last; None: the end of the set.
    batch_size: images a batch, at most: fewer where they are large.

  Yields:
    (images uint8 `[n, H, W, C]`, their numbers int64 `[n]`).

  Raises:
    DataError: images cannot be read; names them. Raised when the scan comes to
      them.
    ValueError: start and stop are not within the set.
  """
  size = len(dataset.examples)
  stop = size if stop is None else stop
  if not 0 <= start <= stop <= size or batch_size < 1:
    raise ValueError(
      f'start={start}, stop={stop}, batch_size={batch_size}: there are {size} '
      f'images in {dataset.name!r}.'
    )
  if isinstance(dataset.examples, np.ndarray):
    return _slices(dataset.examples, start, stop, batch_size)
  return _decoded(dataset, start, stop, batch_size)


def subset(
  dataset: dataset_lib.Dataset, indices: Sequence[int]
) -> dataset_lib.Dataset:
  """The examples of these numbers, in this order; nothing is decoded."""
  indices = np.asarray(indices)
  labels = None if dataset.labels is None else dataset.labels[indices]
  examples = dataset.examples
  if isinstance(examples, np.ndarray):
    chosen = examples[indices]
  elif isinstance(examples, images.ImageSource):
    read = lambda some: examples.read([int(indices[i]) for i in some])
    chosen = dataclasses.replace(examples, length=len(indices), read=read)
  else:
    chosen = _Subset(examples, indices)
  return dataset._replace(examples=chosen, labels=labels)


def fingerprint(dataset: dataset_lib.Dataset) -> str:
  """What decides the pixels, as a SHA-256 in hexadecimal.

  Of an array its shape and bytes. Of images that are decoded when asked for the
  stored bytes and what is made of them: shape, and how they are resized. The
  same images as an array and as a source have different fingerprints.

  Raises:
    DataError: images cannot be read.
  """
  examples = dataset.examples
  if isinstance(examples, np.ndarray):
    return _of_array(examples)
  if isinstance(examples, images.ImageSource):
    resized = examples.image_size is not None
    header = ['stored', len(examples), *examples.shape]
    header += [examples.resize] if resized else []
    of_chunk = lambda chunk: [
      hashlib.sha256(encoded.data).digest() for encoded in examples.read(chunk)
    ]
    return _of_chunks(dataset, header, of_chunk)
  of_chunk = lambda chunk: [_of_array(examples[i]['image']) for i in chunk]
  return _of_chunks(dataset, ['decoded', len(examples)], of_chunk)


def unreadable(dataset: dataset_lib.Dataset) -> dict[int, str]:
  """Numbers of the images that cannot be read, and why; all are tried."""
  if isinstance(dataset.examples, np.ndarray):
    return {}

  def of_chunk(chunk):
    reasons = {}
    for i in chunk:
      try:
        dataset.examples[i]
      except (ValueError, OSError) as error:
        reasons[i] = str(error)
    return reasons

  found = {}
  for reasons in _map_chunks(dataset, of_chunk):
    found |= reasons
  return found


def refuse(
  name: str,
  reasons: Sequence[str],
  total: int,
  advice: str = 'Remove them or put them right.',
) -> None:
  """Raises DataError for images that cannot be read, if there are any."""
  if reasons:
    shown = '; '.join(reasons[:_SHOWN])
    more = '; and others' if len(reasons) > _SHOWN else ''
    raise dataset_lib.DataError(
      f'{len(reasons)} of {total} images of {name!r} cannot be read: '
      f'{shown}{more}. {advice}'
    )


@dataclasses.dataclass(frozen=True)
class _Subset:
  """Some examples of a source."""

  examples: Sequence[dict[str, Any]]
  indices: np.ndarray

  def __len__(self) -> int:
    return len(self.indices)

  def __getitem__(self, index: int) -> dict[str, Any]:
    return self.examples[int(self.indices[index])]


def _slices(examples, start, stop, batch_size):
  for first in range(start, stop, batch_size):
    index = np.arange(first, min(first + batch_size, stop))
    yield np.asarray(examples[first : index[-1] + 1]), index


def _decoded(dataset, start, stop, batch_size):
  if start == stop:
    return
  largest = _BATCH_BYTES // max(1, _image_bytes(dataset, start))
  batch_size = max(1, min(batch_size, largest))
  coming = collections.deque()
  pool = concurrent.futures.ThreadPoolExecutor(_num_threads(dataset))
  try:
    for first in range(start, stop, batch_size):
      batch = range(first, min(first + batch_size, stop))
      coming.append((batch, _submit(pool, dataset, batch)))
      if len(coming) > 1:
        yield _gathered(dataset, *coming.popleft())
    yield _gathered(dataset, *coming.popleft())
  finally:  # also when the caller takes no more
    pool.shutdown(cancel_futures=True)


def _submit(pool, dataset, batch):
  chunks = [batch[i : i + _CHUNK] for i in range(0, len(batch), _CHUNK)]
  return [pool.submit(_decode_chunk, dataset, chunk) for chunk in chunks]


def _gathered(dataset, batch, futures):
  pixels, reasons = [], []
  for future in futures:
    some, failed = future.result()
    pixels += some
    reasons += failed
  refuse(dataset.name, reasons, len(batch))
  return np.stack(pixels), np.arange(batch.start, batch.stop)


def _decode_chunk(dataset, chunk) -> tuple[list[np.ndarray], list[str]]:
  source, pixels, reasons = dataset.examples, [], []
  if not isinstance(source, images.ImageSource):
    return [_example(dataset, i)['image'] for i in chunk], []
  for encoded in _read(dataset, source.read, chunk):
    try:
      pixels.append(source.decode(encoded))
    except ValueError as error:
      reasons.append(str(error))
  return pixels, reasons


def _example(dataset, index) -> dict[str, Any]:
  return _read(dataset, dataset.examples.__getitem__, index)


def _read(dataset, read: Callable, what):
  try:
    return read(what)
  except dataset_lib.DataError:
    raise
  except (ValueError, OSError) as error:
    raise dataset_lib.DataError(
      f'{dataset.name!r} cannot be read: {error}'
    ) from error


def _image_bytes(dataset, index) -> int:
  source = dataset.examples
  if isinstance(source, images.ImageSource):
    return int(np.prod(source.shape))
  return _example(dataset, index)['image'].nbytes


def _num_threads(dataset) -> int:
  """Threads pay only where decoding leaves Python's lock: for large images."""
  source = dataset.examples
  if not isinstance(source, images.ImageSource):
    return 1
  (first,) = _read(dataset, source.read, [0])
  large = len(first.data) > _WORTH_THREADS
  return min(_MAX_THREADS, os.cpu_count() or 1) if large else 1


def _of_array(array: np.ndarray) -> str:
  known = _known(['array', str(array.dtype), *array.shape])
  row = max(1, array.nbytes // max(1, len(array)))
  step = max(1, _BLOCK_BYTES // row)
  for first in range(0, len(array), step):
    known.update(np.ascontiguousarray(array[first : first + step]).data)
  return known.hexdigest()


def _of_chunks(dataset, header, of_chunk) -> str:
  known = _known(header)
  for parts in _map_chunks(dataset, lambda c: _read(dataset, of_chunk, c)):
    for part in parts:
      known.update(part if isinstance(part, bytes) else part.encode())
  return known.hexdigest()


def _map_chunks(dataset, function) -> Iterator[Any]:
  """function(range of numbers) for all of them, by threads, in their order."""
  size = len(dataset.examples)
  chunks = [range(size)[i : i + _CHUNK] for i in range(0, size, _CHUNK)]
  with concurrent.futures.ThreadPoolExecutor(_num_threads(dataset)) as pool:
    yield from pool.map(function, chunks)


def _known(header: list):
  return hashlib.sha256(json.dumps(header).encode())
