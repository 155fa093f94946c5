"""scikit-learn's handwritten digits: 1,797 images, nothing to fetch."""

import numpy as np

from gan_jax.data import dataset as dataset_lib


def load(
  split: str = 'train', image_size: int | None = None
) -> dataset_lib.Dataset:
  """All digits, uint8 `[1797, image_size, image_size, 1]`, with labels 0..9.

  Args:
    split: only 'train', all 1,797.
    image_size: 8 or more, 16 by default; enlarged by bicubic interpolation.

  Raises:
    ValueError: for another split or a smaller size.

  References:
    Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
  """
  size = 16 if image_size is None else image_size
  if split != 'train':
    raise ValueError(
      f"split={split!r} of 'digits' is not one of ['train'], which is all 1,797"
      ' images.'
    )
  if size < 8:
    raise ValueError(f"image_size={size} of 'digits' must be 8 or more.")
  from sklearn import datasets

  bunch = datasets.load_digits()
  images = np.stack([_enlarge(image, size) for image in bunch.images])
  labels = bunch.target.astype(np.int32)
  return dataset_lib.Dataset('digits', images[..., None], labels, 10)


def _enlarge(image: np.ndarray, size: int) -> np.ndarray:
  """Grey values 0..16, `[8, 8]`, to 0..255, `[size, size]`."""
  from PIL import Image

  # In floats, so that the interpolation's overshoot is cut only once.
  grey = Image.fromarray((image * (255 / 16)).astype(np.float32))
  if size != 8:
    grey = grey.resize((size, size), Image.Resampling.BICUBIC)
  return np.clip(np.rint(np.asarray(grey)), 0, 255).astype(np.uint8)
