"""Streams of images: regular batches of them, and what a net makes of those."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from gan_jax import parallel
from gan_jax.metrics.feature_net import FeatureNet, Output


class Batch(NamedTuple):
  """A piece of a stream.

  Attributes:
    images: uint8 `[n, H, W, C]`, all of a stream of one shape.
    index: their numbers in the whole stream, int `[n]`.
  """

  images: np.ndarray
  index: np.ndarray


def outputs(
  batches: Iterable[Batch], net: FeatureNet
) -> Iterator[tuple[Batch, Output]]:
  """Batches with what the net makes of them, a batch behind the device."""
  if net.on_host:
    for batch in regular(batches, net.batch_size):
      yield batch, net.apply(net.params, batch.images)
    return
  rows = parallel.by_rows(net.apply, net.params)
  size = net.batch_size * rows.devices
  before = None
  for batch in regular(batches, size):
    images = batch.images
    missing = size - len(images)
    if missing:  # one shape, so one compilation
      images = np.concatenate([images, np.repeat(images[:1], missing, axis=0)])
    coming = batch, rows.call(images)
    if before is not None:
      yield before[0], _fetched(*before)
    before = coming
  if before is not None:
    yield before[0], _fetched(*before)


def _fetched(batch, output):
  count = len(batch.images)
  cut = lambda array: None if array is None else np.asarray(array)[:count]
  return Output(cut(output.features), cut(output.logits))


def regular(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
  """The same images in batches of `size`, the last of what is left."""
  waiting, count, shape = [], 0, None
  for batch in map(checked, batches):
    shape = same_shape(shape or batch.images.shape[1:], batch.images.shape[1:])
    waiting.append(batch)
    count += len(batch.images)
    if count >= size:
      whole = Batch(*(np.concatenate(x) for x in zip(*waiting, strict=True)))
      last = count - count % size
      for first in range(0, last, size):
        yield Batch(*(x[first : first + size] for x in whole))
      waiting = [Batch(*(x[last:] for x in whole))] if last < count else []
      count -= last
  if waiting:
    yield Batch(*(np.concatenate(x) for x in zip(*waiting, strict=True)))


def checked(batch: Batch) -> Batch:
  """The batch; ValueError unless its images and numbers are as they should."""
  images = batch.images
  shaped = images.ndim == 4 and images.shape[-1] in (1, 3)
  if not shaped or images.dtype != np.uint8:
    raise ValueError(
      f'Images must be uint8 [N, H, W, C] with 1 or 3 channels, got '
      f'{images.dtype} of shape {images.shape}.'
    )
  if batch.index.shape != (len(images),):
    raise ValueError(
      f'{len(images)} images came with numbers of shape {batch.index.shape}.'
    )
  return batch


def same_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
  """The shape of two sets of images; ValueError if they differ."""
  if a != b:
    raise ValueError(
      f'The images are of different shapes, {a} and {b}; a set must have one. '
      'Give a size that they are resized to.'
    )
  return a
