"""Pixel features: a first, honest, cheap yardstick for any set of images.

They see colour and coarse layout and nothing else. A Frechet distance in them
is called by their name and never stands in one table with another's.
"""

import numpy as np

NAME = 'pixels-8x8'
SIZE = 8


def features(images: np.ndarray) -> np.ndarray:
  """Images averaged to 8 x 8 and flattened.

  Args:
    images: `[N, H, W, C]`, H and W at least 8.

  Returns:
    `[N, 64 * C]`, float64, in the images' own units.
  """
  return area_average(images, SIZE).reshape(len(images), -1)


def area_average(images: np.ndarray, size: int) -> np.ndarray:
  """Resizes to `[N, size, size, C]`; each pixel is the mean of what it covers.

  Pixels on the border of two cells count in both by their share, so any size
  from `size` up will do, and the mean of the image is kept.

  Raises:
    ValueError: if images are not `[N, H, W, C]` or smaller than `size`.
  """
  images = np.asarray(images)
  if images.ndim != 4 or min(images.shape[1:3]) < size:
    raise ValueError(
      f'Images must be [N, H, W, C] with H and W at least {size}, got shape '
      f'{images.shape}.'
    )
  rows, columns = (_overlaps(side, size) for side in images.shape[1:3])
  return np.einsum('ih,nhwc,jw->nijc', rows, images, columns, optimize=True)


def _overlaps(side, size):
  """Share of each output cell that each input pixel covers, `[size, side]`."""
  edges = np.arange(size + 1)[:, None] * (side / size)
  pixels = np.arange(side)[None]
  upper = np.minimum(edges[1:], pixels + 1)
  lower = np.maximum(edges[:-1], pixels)
  return np.maximum(upper - lower, 0) * (size / side)
