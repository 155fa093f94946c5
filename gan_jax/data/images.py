"""Encoded images: decoded all at once into an array, or one when asked for."""

import concurrent.futures
import dataclasses
import functools
import io
import os
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

_CHUNK = 256
# Above this many bytes an image, decoding is work outside Python's lock and
# threads help; below, they only wait for each other (measured).
_WORTH_THREADS = 16_384


class Encoded(NamedTuple):
  """An image as stored, before it is decoded."""

  data: bytes
  label: int | None
  where: str  # how an error names it


@dataclasses.dataclass(frozen=True)
class ImageSource:
  """Random access to images that are decoded when asked for.

  `source[i]` is `dict(image=uint8 [H, W, C], label=int)`, the label only where
  there is one; safe to read from many threads.

  Attributes:
    name: of the data set, for errors.
    length: number of images.
    read: indices -> what is stored, in their order.
    shape: `(H, W, C)` of every decoded image; C is 1 or 3.
    image_size: resize to a square of this side; None: as stored.
    resize: how, a name of `RESIZE`.
  """

  name: str
  length: int
  read: Callable[[Sequence[int]], list[Encoded]]
  shape: tuple[int, int, int]
  image_size: int | None
  resize: str = 'square'

  def __len__(self) -> int:
    return self.length

  def __getitem__(self, index: int) -> dict[str, Any]:
    if not 0 <= index < self.length:
      raise IndexError(f'{index} is not in 0..{self.length - 1}.')
    (encoded,) = self.read([index])
    example = {'image': self.decode(encoded)}
    if encoded.label is not None:
      example['label'] = encoded.label
    return example

  def decode(self, encoded: Encoded) -> np.ndarray:
    """Its pixels, uint8 `[H, W, C]`; ValueError if they are not `shape`."""
    fit = functools.partial(RESIZE[self.resize], size=self.image_size)
    pixels = _decode(encoded, self.shape[-1], fit if self.image_size else None)
    if pixels.shape != self.shape:
      raise ValueError(
        f'{encoded.where} has shape {pixels.shape}, not {self.shape}.'
      )
    return pixels

  def nbytes(self) -> int:
    """Size of all images once decoded."""
    return self.length * int(np.prod(self.shape))


def errors_of_pillow() -> tuple[type[Exception], ...]:
  """All that Pillow has been seen to raise on damaged files."""
  from PIL import Image

  return (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
  )


def _decode(encoded: Encoded, channels: int, fit: Callable | None):
  from PIL import Image

  mode = 'L' if channels == 1 else 'RGB'
  try:
    with Image.open(io.BytesIO(encoded.data)) as image:
      if image.mode.startswith(('I', 'F')):
        raise ValueError(f'its mode is {image.mode!r}, not 8 bits a channel')
      image = image if image.mode == mode else image.convert(mode)
      if fit is not None:
        image = fit(image)
      pixels = np.asarray(image)
  except errors_of_pillow() as error:
    raise ValueError(f'{encoded.where} ({error})') from error
  return pixels.reshape(*pixels.shape[:2], channels)


def centre_square(image, size: int):
  """Cuts a PIL image to its centre square, then resizes it to size x size.

  Bicubic. For LSUN as stored, whose shorter side is 256, and size 256 this is
  the centre crop of Sun et al., 2020, and nothing is resized.
  """
  from PIL import Image

  width, height = image.size
  if width == height == size:
    return image
  side = min(width, height)
  left, top = (width - side) // 2, (height - side) // 2
  # Cropped first: resize(box=...) would take in pixels from around the square.
  square = image.crop((left, top, left + side, top + side))
  return square.resize((size, size), Image.Resampling.BICUBIC)


def shorter_side(image, size: int):
  """Resizes a PIL image until its shorter side is `size`, then cuts the centre.

  Bilinear, and rounded as torchvision rounds: what Mescheder et al., 2018, do
  to ImageNet and LSUN, and Sun et al., 2020, to STL-10, whose images are
  square, so that nothing is cut.
  """
  from PIL import Image

  short = min(image.size)
  width, height = (int(size * side / short) for side in image.size)
  if short != size:
    image = image.resize((width, height), Image.Resampling.BILINEAR)
  left, top = round((width - size) / 2), round((height - size) / 2)
  return image.crop((left, top, left + size, top + size))


# The ways to make a square: name -> (PIL image, size) -> PIL image.
RESIZE = {'square': centre_square, 'torchvision': shorter_side}


def decode_all(source: ImageSource) -> tuple[np.ndarray, np.ndarray | None]:
  """Every image, uint8 `[N, H, W, C]`, and every label, int32 `[N]` or None.

  Raises:
    ValueError: naming the images that cannot be read, and how many they are.
  """
  start = time.monotonic()
  images = np.empty((len(source), *source.shape), np.uint8)
  chunks = [
    range(first, min(first + _CHUNK, len(source)))
    for first in range(0, len(source), _CHUNK)
  ]
  work = lambda chunk: _decode_chunk(source, chunk, images)
  large = len(source.read([0])[0].data) > _WORTH_THREADS
  with concurrent.futures.ThreadPoolExecutor(
    (os.cpu_count() or 1) if large else 1
  ) as pool:
    results = list(pool.map(work, chunks))
  _raise_if_unreadable(source, [e for _, errors in results for e in errors])
  labels = [label for chunk_labels, _ in results for label in chunk_labels]
  seconds = time.monotonic() - start
  logging.info(
    '%s: %d images decoded in %.1f s, %.0f a second.',
    source.name,
    len(source),
    seconds,
    len(source) / seconds,
  )
  return images, None if labels[0] is None else np.array(labels, np.int32)


def _decode_chunk(source, chunk, images) -> tuple[list, list[ValueError]]:
  labels, errors = [], []
  for index, encoded in zip(chunk, source.read(chunk), strict=True):
    labels.append(encoded.label)
    try:
      images[index] = source.decode(encoded)
    except ValueError as error:
      errors.append(error)
  return labels, errors


def _raise_if_unreadable(source, errors: list[ValueError]) -> None:
  if errors:
    shown = '; '.join(str(error) for error in errors[:5])
    more = '; ...' if len(errors) > 5 else ''
    raise ValueError(
      f'{len(errors)} of {len(source)} images of {source.name!r} cannot be'
      f' read: {shown}{more}. Remove them or put them right.'
    )
