"""A folder of image files."""

import collections
import dataclasses
import os
import pathlib
from typing import NamedTuple

import numpy as np

from gan_jax.data import dataset as dataset_lib
from gan_jax.data import images, scanning

PREFIX = 'folder:'
SUFFIXES = ('.jpeg', '.jpg', '.png', '.webp')
# Images too, but not read.
_OTHERS = ('.avif', '.bmp', '.gif', '.heic', '.pgm', '.ppm', '.tif', '.tiff')


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
    return dataset_lib.Dataset(name, source, None, num_classes, fit=resize)
  pixels, labels = images.decode_all(source)
  return dataset_lib.Dataset(name, pixels, labels, num_classes, fit=resize)


class Opened(NamedTuple):
  """A folder whose images are all alike.

  Attributes:
    dataset: a source, decoded when asked for; no labels.
    num_grey: how many of its images are stored grey.
    skipped: images that cannot be read, and why; empty unless asked for.
  """

  dataset: dataset_lib.Dataset
  num_grey: int
  skipped: tuple[str, ...] = ()


def open_as_stored(
  name: str,
  *,
  image_size: int | None = None,
  resize: str = 'square',
  skip_unreadable: bool = False,
) -> Opened:
  """All images below a folder, as `load` has them but of the size they have.

  Where all are grey they have 1 channel; grey ones among others become colour.
  An alpha channel is dropped if it is opaque.

  Args:
    name: 'folder:' and the path.
    image_size: None: all images must be of one size.
    resize: a name of `images.RESIZE`.
    skip_unreadable: leaves out the images that cannot be read. All are decoded
      once more for this.

  Raises:
    DataError: images cannot be read, or are of a kind that is not; names five
      of them, and counts them. It may also come when a damaged one is decoded.
    ValueError: no such folder, no images, sizes differ or images are
      transparent.
  """
  root = pathlib.Path(name.removeprefix(PREFIX)).expanduser()
  files = _find(name, root)
  seen = [_look(file) for file in files]
  bad = {i: reason for i, reason in enumerate(seen) if isinstance(reason, str)}
  if bad or skip_unreadable:
    bad = unreadable(_source(name, files, (1, 1, 3), 1, resize)) | bad
  good = [i for i in range(len(files)) if i not in bad]
  others = _walk(root, _OTHERS)
  for i, file in enumerate(others, len(files)):
    bad[i] = f'{file} (no {file.suffix} is read)'
  if not skip_unreadable or not good:
    refuse(name, bad, len(files) + len(others))
  files, seen = [files[i] for i in good], [seen[i] for i in good]
  _refuse_transparent(name, files, seen)
  width, height = image_size or 0, image_size or 0
  if image_size is None:
    width, height = _one_size(name, files, seen)
  channels = 1 if all(one.grey for one in seen) else 3
  shape = (height, width, channels)
  dataset = _source(name, files, shape, image_size, resize)
  skipped = tuple(bad[i] for i in sorted(bad))
  return Opened(dataset, sum(one.grey for one in seen), skipped)


def unreadable(dataset: dataset_lib.Dataset) -> dict[int, str]:
  """Numbers of a source's images that cannot be decoded, and why."""
  # To one pixel: whatever their size is, it is not asked for here.
  source = dataclasses.replace(dataset.examples, image_size=1, shape=(1, 1, 3))
  return scanning.unreadable(dataset._replace(examples=source))


def refuse(name: str, bad: dict[int, str], total: int) -> None:
  """Raises DataError for images that cannot be read, if there are any."""
  advice = 'Remove them, put them right, or leave them out (skip_unreadable).'
  scanning.refuse(name, [bad[i] for i in sorted(bad)], total, advice)


def _source(name, files, shape, image_size, resize) -> dataset_lib.Dataset:
  read = lambda indices: [_read(files[i], None, i) for i in indices]
  source = images.ImageSource(name, len(files), read, shape, image_size, resize)
  fit = '' if image_size is None else resize
  return dataset_lib.Dataset(name, source, fit=fit)


class _Seen(NamedTuple):
  """What the head of a file says."""

  size: tuple[int, int]  # width, height
  grey: bool
  transparent: bool


def _look(file: pathlib.Path) -> _Seen | str:
  """The head of a file, or why it cannot be read."""
  from PIL import Image

  try:
    with Image.open(file) as image:
      if image.mode.startswith(('I', 'F')):
        return f'{file} (its mode is {image.mode!r}, not 8 bits a channel)'
      grey = image.mode in ('1', 'L', 'LA', 'La')
      return _Seen(image.size, grey, _transparent(image))
  except Image.UnidentifiedImageError:  # names the file once more
    return f'{file} (it is no image that Pillow knows)'
  except images.errors_of_pillow() as error:
    return f'{file} ({error})'


def _transparent(image) -> bool:
  if not (image.mode.lower().endswith('a') or 'transparency' in image.info):
    return False
  lowest, _ = image.convert('RGBA').getchannel('A').getextrema()
  return lowest < 255


def _refuse_transparent(name, files, seen) -> None:
  which = [file for file, one in zip(files, seen, strict=True) if one[2]]
  if which:
    raise ValueError(
      f'{len(which)} of {len(files)} images of {name!r} are transparent, the '
      f'first is {str(which[0])!r}. Put them on a background: what is behind '
      'transparent pixels is not meant to be seen.'
    )


def _one_size(name, files, seen) -> tuple[int, int]:
  sizes = collections.Counter(one.size for one in seen)
  if len(sizes) == 1:
    return seen[0].size
  example = {one.size: file for file, one in zip(files, seen, strict=True)}
  shown = ', '.join(
    f'{count} of {size[0]} x {size[1]} (as {str(example[size])!r})'
    for size, count in sizes.most_common(2)
  )
  others = len(seen) - sum(count for _, count in sizes.most_common(2))
  raise ValueError(
    f'The images of {name!r} differ in size (width x height): {shown}'
    f'{f", and {others} of other sizes" if others else ""}. Give image_size, '
    'and all are resized to squares of it.'
  )


def _find(name: str, root: pathlib.Path) -> list[pathlib.Path]:
  if not root.is_dir():
    raise ValueError(
      f'{name!r}: there is no folder {str(root)!r}; it must be folder:PATH, the'
      ' PATH of a folder of images.'
    )
  files = _walk(root, SUFFIXES)
  if not files:
    raise ValueError(
      f'{name!r}: the folder {str(root)!r} has no images, that is, no files'
      f' ending in {list(SUFFIXES)}, in it or below.'
    )
  return files


def _walk(root: pathlib.Path, suffixes) -> list[pathlib.Path]:
  """Files of these endings, in the order of their sorted paths."""
  files = []
  for folder, folders, names in os.walk(root, followlinks=True):
    here = pathlib.Path(folder)
    folders[:] = [x for x in folders if not _leads_back(root, here / x)]
    files += [
      pathlib.Path(folder, file)
      for file in names
      if file.lower().endswith(suffixes) and not file.startswith('.')
    ]
  return sorted(files, key=lambda file: file.relative_to(root).as_posix())


def _leads_back(root: pathlib.Path, folder: pathlib.Path) -> bool:
  """Whether a link leads to where the walk from the root came through."""
  if not folder.is_symlink():
    return False
  target = folder.resolve()
  depth = len(folder.relative_to(root).parts)
  through = [parent.resolve() for parent in folder.parents[:depth]]
  return any(parent.is_relative_to(target) for parent in through)


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
