"""Data sets by name, and the batches of a run as a function of (seed, step)."""

from gan_jax.data import digits, folder, images, stacked, tfds_read, toy
from gan_jax.data.dataset import DataError, Dataset
from gan_jax.data.feeds import Feed, feed, feed_from_function
from gan_jax.data.pixels import to_float
from gan_jax.data.scanning import fingerprint, scan, subset
from gan_jax.data.shares import take_shares

__all__ = [
  'DataError',
  'Dataset',
  'Feed',
  'feed',
  'feed_from_function',
  'fingerprint',
  'load',
  'names',
  'scan',
  'subset',
  'take_shares',
  'to_float',
]


def names() -> dict[str, str]:
  """What `load` takes: name -> what it is, in a line."""
  return {
    **{name: row.summary for name, row in toy.SETS.items()},
    'digits': "scikit-learn's 1,797 handwritten digits, 16 x 16 by default",
    **stacked.SETS,
    'folder:PATH': 'the images in a folder and below; needs image_size',
    'NAME': 'any TFDS image set prepared in data_dir: cifar10, mnist,'
    ' celeb_a_hq/1024, ...',
  }


def load(
  name: str,
  *,
  split: str = 'train',
  data_dir: str = '',
  image_size: int | None = None,
  max_bytes: int = 2**31,
  resize: str = 'square',
) -> Dataset:
  """Loads a data set by name.

  Args:
    name: one of `names()`: a set of points, 'digits', 'stacked_digits',
      'folder:PATH', or the name of a prepared TensorFlow Dataset, such as
      'cifar10'; 'stacked_mnist' is made of the prepared 'mnist'.
    split: 'train', or another that the set has.
    data_dir: where TensorFlow Datasets are prepared; other sets ignore it.
    image_size: images are made squares of this side, see `resize`; None leaves
      them as stored (digits, stacked or not: 16). Not for points.
    max_bytes: images that take more than this once decoded stay on disk, and
      `examples` is a source to stream from.
    resize: 'square' cuts the centre square and resizes that, bicubic;
      'torchvision' resizes the shorter side and cuts the centre, bilinear, as
      the papers' PyTorch code does. Points and digits ignore it.

  Returns:
    The examples, as described at `Dataset`.

  Raises:
    ValueError: in plain words, for anything that is not as it should be.
  """
  if image_size is not None and image_size < 1:
    raise ValueError(f'image_size={image_size} must be 1 or more, or None.')
  if resize not in images.RESIZE:
    raise ValueError(f'resize={resize!r} is not one of {list(images.RESIZE)}.')
  if name in toy.SETS:
    if image_size is not None:
      raise ValueError(
        f'image_size={image_size} must be None for {name!r}, a set of points.'
      )
    return toy.load(name, split)
  if name == 'digits':
    return digits.load(split, image_size)
  if name in stacked.SETS:
    return stacked.load(name, split, data_dir, image_size, max_bytes, resize)
  if name.startswith(folder.PREFIX):
    return folder.load(name, split, image_size, max_bytes, resize)
  if not data_dir:
    raise ValueError(
      f'{name!r} is not one of'
      f' {[*toy.SETS, "digits", *stacked.SETS, "folder:PATH"]}, so it is'
      ' taken for a prepared TensorFlow Dataset, which needs data_dir. To'
      f' prepare it in a folder DIR: {tfds_read.prepare_command(name)}'
    )
  return tfds_read.load(name, split, data_dir, image_size, max_bytes, resize)
