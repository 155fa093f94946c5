"""Three grey digits as the red, green and blue of one image: 1,000 modes.

A generator that drops modes of ten digits is hard to catch; of a thousand it is
easy. The digits are drawn independently and uniformly from the single ones, so
a class is as frequent as its three digits are together: 1 in 1,000, nearly.
"""

import dataclasses
from typing import Any

import numpy as np

from gan_jax.data import dataset as dataset_lib
from gan_jax.data import digits, tfds_read

SETS = {
  'stacked_digits': "three of scikit-learn's digits as RGB, 1,000 classes",
  'stacked_mnist': 'three digits of MNIST, prepared in data_dir, as RGB',
}
NUM_IMAGES = 128_000  # as in the protocol of PacGAN
CHANNELS = 3
NUM_CLASSES = 10**CHANNELS
SEED = 0

# The parts into which `metrics.digits` cuts the digits: it is fitted to
# 'train', so that 'test' is new to the classifier as well as to the generator.
SPLITS = ('train', 'test')
HELD_OUT = 0.2


def load(
  name: str,
  split: str = 'train',
  data_dir: str = '',
  image_size: int | None = None,
  max_bytes: int = 2**31,
  resize: str = 'square',
  *,
  num_images: int = NUM_IMAGES,
) -> dataset_lib.Dataset:
  """Stacked digits, uint8 `[num_images, S, S, 3]`; always the same ones.

  The label is 100 r + 10 g + b, of the digits in red, green and blue.

  Args:
    name: a row of `SETS`.
    split: of the single digits. 'stacked_digits' has 'train', made of four
      fifths of the 1,797, and 'test', made of the others; 'stacked_mnist' has
      those of MNIST, and parts of them, as 'train[:1000]'. Each makes
      `num_images` stacks.
    data_dir: where 'mnist' is prepared.
    image_size: of the single digits, as for 'digits' (None: 16) and for a
      prepared set (None: 28).
    max_bytes: larger sets are stacked when asked for.
    resize: for MNIST, as in `data.load`.
    num_images: how many.

  Raises:
    ValueError: for anything not as it should be, saying what to do.

  References:
    Metz et al., Unrolled Generative Adversarial Networks, 2017, section 3.3.1;
    Srivastava et al., VEEGAN, 2017, section 4.2; Lin et al., PacGAN, 2018,
    section 4.2, whose code has 128,000 training images.
  """
  if name == 'stacked_digits':
    singles = _digits(split, image_size)
  else:
    singles = tfds_read.load(
      'mnist', split, data_dir, image_size, max_bytes, resize
    )
  rng = np.random.Generator(np.random.Philox(key=SEED))
  count = len(singles.examples)
  indices = rng.integers(0, count, (num_images, CHANNELS), dtype=np.int32)
  source = StackedSource(singles, indices)
  if source.nbytes() > max_bytes:
    return dataset_lib.Dataset(name, source, None, NUM_CLASSES, fit=singles.fit)
  images = np.stack([singles.examples[i, ..., 0] for i in indices.T], axis=-1)
  labels = _joined(singles.labels[indices])
  return dataset_lib.Dataset(name, images, labels, NUM_CLASSES, fit=singles.fit)


@dataclasses.dataclass(frozen=True)
class StackedSource:
  """Random access to images that are stacked when asked for.

  `source[i]` is `dict(image=uint8 [H, W, 3], label=int)`.

  Attributes:
    singles: the grey digits, of 10 classes; an array or themselves a source.
    indices: which three of them make an image, int `[N, 3]`.
  """

  singles: dataset_lib.Dataset
  indices: np.ndarray

  def __len__(self) -> int:
    return len(self.indices)

  def __getitem__(self, index: int) -> dict[str, Any]:
    if not 0 <= index < len(self):
      raise IndexError(f'{index} is not in 0..{len(self) - 1}.')
    chosen = [_single(self.singles, int(i)) for i in self.indices[index]]
    image = np.concatenate([one['image'] for one in chosen], axis=-1)
    label = _joined(np.array([one['label'] for one in chosen]))
    return {'image': image, 'label': int(label)}

  def nbytes(self) -> int:
    """Size of all images once stacked."""
    first = _single(self.singles, 0)['image']
    return self.indices.size * first.nbytes


def _single(singles, index):
  example = singles.examples[index]
  if isinstance(example, dict):
    return example
  return {'image': example, 'label': singles.labels[index]}


def _joined(labels: np.ndarray) -> np.ndarray:
  """Three digits, `[..., 3]`, as one number, int32 `[...]`."""
  return (labels @ 10 ** np.arange(CHANNELS)[::-1]).astype(np.int32)


def _digits(split: str, image_size: int | None) -> dataset_lib.Dataset:
  """A part of the digits."""
  if split not in SPLITS:
    raise ValueError(
      f"split={split!r} of 'stacked_digits' is not one of {list(SPLITS)}."
    )
  from sklearn import model_selection

  whole = digits.load('train', image_size)
  parts = model_selection.train_test_split(
    np.arange(len(whole.labels)),
    test_size=HELD_OUT,
    stratify=whole.labels,
    random_state=SEED,
  )
  chosen = parts[SPLITS.index(split)]
  return whole._replace(
    examples=whole.examples[chosen], labels=whole.labels[chosen]
  )
