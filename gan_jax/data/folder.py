"""A folder of image files."""

import os
import pathlib

import numpy as np

from gan_jax.data import dataset as dataset_lib
from gan_jax.data import images

PREFIX = 'folder:'
SUFFIXES = ('.jpeg', '.jpg', '.png', '.webp')


def load(
  name: str,
  split: str,
  image_size: int | None,
  max_bytes: int,
  resize: str = 'square',
) -> dataset_lib.Dataset:
  """All images below a folder, in the order of their sorted paths.

  Each becomes a square, `[image_size, image_size, 3]`.
  Where every image lies in a sub-folder, and there are two of these or more,
  the sub-folders, sorted by name, are the classes.

  Args:
    name: 'folder:' and the path.
    split: only 'train', all of them.
    image_size: side of the resized images, required.
    max_bytes: when larger than this, they are decoded when asked for.
    resize: a name of `images.RESIZE`.

  Raises:
    ValueError: no such folder, no images, unreadable images, no image_size.
  """
  root = pathlib.Path(name.removeprefix(PREFIX)).expanduser()
  if split != 'train':
    raise ValueError(
      f"split={split!r} of {name!r} is not one of ['train']: a folder is one"
      ' split, name the folder of the other one.'
    )
  files = _find(name, root)
  if image_size is None:
    raise ValueError(
      f'image_size must be given for {name!r}, whose images may be of any size.'
    )
  labels, num_classes = _classes(root, files)
  shape = (image_size, image_size, 3)
  read = lambda indices: [_read(files[i], labels, i) for i in indices]
  source = images.ImageSource(name, len(files), read, shape, image_size, resize)
  if source.nbytes() > max_bytes:
    return dataset_lib.Dataset(name, source, None, num_classes)
  pixels, labels = images.decode_all(source)
  return dataset_lib.Dataset(name, pixels, labels, num_classes)


def _find(name: str, root: pathlib.Path) -> list[pathlib.Path]:
  if not root.is_dir():
    raise ValueError(
      f'{name!r}: there is no folder {str(root)!r}; it must be folder:PATH, the'
      ' PATH of a folder of images.'
    )
  files = [
    pathlib.Path(folder, file)
    for folder, _, names in os.walk(root, followlinks=True)
    for file in names
    if file.lower().endswith(SUFFIXES) and not file.startswith('.')
  ]
  if not files:
    raise ValueError(
      f'{name!r}: the folder {str(root)!r} has no images, that is, no files'
      f' ending in {list(SUFFIXES)}, in it or below.'
    )
  return sorted(files, key=lambda file: file.relative_to(root).as_posix())


def _classes(root, files) -> tuple[np.ndarray | None, int]:
  parents = [file.relative_to(root).parts[:-1] for file in files]
  classes = sorted({parts[0] for parts in parents if parts})
  if len(classes) < 2 or not all(parents):
    return None, 0
  index = {name: i for i, name in enumerate(classes)}
  return np.array([index[parts[0]] for parts in parents], np.int32), len(index)


def _read(file: pathlib.Path, labels, i: int) -> images.Encoded:
  try:
    data = file.read_bytes()
  except OSError as error:
    raise ValueError(f'{str(file)!r} cannot be read: {error}.') from error
  return images.Encoded(
    data, None if labels is None else int(labels[i]), str(file)
  )
