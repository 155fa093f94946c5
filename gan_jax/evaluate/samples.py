"""Samples and real examples, as the metrics take them."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import jax
import numpy as np

from gan_jax.metrics.stream import Batch

if TYPE_CHECKING:
  from gan_jax import data

BATCH_SIZE = 500

Sample = Callable[[int, int], np.ndarray]


def draw(
  sample: Sample, shape: tuple[int, ...], num_samples: int, seeds: list[int]
) -> np.ndarray:
  """All samples at once, float32, as points are wanted.

  Raises:
    ValueError: they are not of the shape of the data, or not finite.
  """
  parts = list(_drawn(sample, shape, num_samples, seeds))
  samples = np.concatenate([part for part, _ in parts])
  _check_finite(samples)
  return samples


def in_range(
  sample: Sample, shape: tuple[int, ...], num_samples: int, seeds: list[int]
) -> Iterator[np.ndarray]:
  """Images in batches, float32, clipped to [-1, 1].

  Raises:
    ValueError: as `draw`.
  """
  for images, _ in _drawn(sample, shape, num_samples, seeds):
    _check_finite(images)
    yield np.clip(images, -1, 1)


def stream(
  sample: Sample,
  shape: tuple[int, ...],
  num_samples: int,
  seeds: list[int],
  *,
  alone: bool = True,
) -> Iterator[Batch]:
  """Images in batches, as 8 bits a channel: what a PNG would hold.

  Args:
    sample: (seed, n) -> images in [-1, 1]; values beyond are clipped.
    shape: of one image.
    num_samples: in all.
    seeds: what the batches' own seeds come from.
    alone: all of them, not only the share of this process.

  Raises:
    ValueError: as `draw`.
  """
  part = (0, 1) if alone else (jax.process_index(), jax.process_count())
  for images, index in _drawn(sample, shape, num_samples, seeds, part):
    _check_finite(images)
    yield Batch(to_bytes(images), index)


def to_bytes(images: np.ndarray) -> np.ndarray:
  """[-1, 1] to the nearest of 0 to 255, uint8."""
  return np.rint((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)


def _drawn(sample, shape, num_samples, seeds, part=(0, 1)):
  """Batches and their numbers; every `part[1]`-th batch from `part[0]` on."""
  size = min(BATCH_SIZE, num_samples)
  for number in range(part[0], -(-num_samples // size), part[1]):
    # A seed of its own for every batch of every run, within int32. Zeros at the
    # end of a sequence change nothing, so the batch's number stands before what
    # may be left out.
    sequence = np.random.SeedSequence([seeds[0], number, *seeds[1:]])
    mixed = sequence.generate_state(1)[0] >> 1
    batch = np.asarray(sample(int(mixed), size), np.float32)
    if batch.shape != (size, *shape):
      raise ValueError(
        f'The sampler gave shape {batch.shape} when asked for {size} samples; '
        f'the data are {shape}.'
      )
    index = np.arange(number * size, min((number + 1) * size, num_samples))
    yield batch[: len(index)], index


def _check_finite(samples):
  count = len(samples)
  bad = np.count_nonzero(~np.isfinite(samples.reshape(count, -1)).all(1))
  if bad:
    raise ValueError(
      f'{bad} of {count} samples hold NaN or infinity: the generator has '
      'diverged.'
    )


def examples(dataset: 'data.Dataset', limit: int, seed: int) -> np.ndarray:
  """Up to `limit` real examples at random, all at once."""
  return np.concatenate(list(in_batches(dataset, limit, seed)))


def in_batches(
  dataset: 'data.Dataset', limit: int, seed: int
) -> Iterator[np.ndarray]:
  """The same in batches: images in [-1, 1], or points."""
  rng = np.random.default_rng(seed)
  chosen = rng.permutation(len(dataset.examples))[:limit]
  for first in range(0, len(chosen), BATCH_SIZE):
    found = _examples(dataset.examples, chosen[first : first + BATCH_SIZE])
    if found.dtype == np.uint8:
      found = found.astype(np.float32) / 127.5 - 1
    yield found


def _examples(examples, chosen):
  if isinstance(examples, np.ndarray):
    return examples[chosen]
  return np.stack([examples[int(i)]['image'] for i in chosen])


def image_shape(dataset: 'data.Dataset') -> tuple[int, ...]:
  """Of one example: `(H, W, C)`, or `(D,)` of points."""
  if isinstance(dataset.examples, np.ndarray):
    return dataset.examples.shape[1:]
  return dataset.examples[0]['image'].shape
