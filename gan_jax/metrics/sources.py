"""What the command line calls A and B: folders, prepared data sets, arrays."""

import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from gan_jax import data
from gan_jax.data import arrays, folder, images, scanning
from gan_jax.metrics import collect

# Smaller sets are decoded at once, larger ones as they are looked at.
_MAX_BYTES = 2**28
_SAY_EVERY = 30.0


class Options(NamedTuple):
  """How images are read.

  Attributes:
    data_dir: where TensorFlow Datasets are prepared.
    image_size: images are made squares of this side; None leaves them.
    fit: how, a name of `data.images.RESIZE`.
    skip_unreadable: of folders, leaves out what cannot be read.
    num: takes so many at random, in their order; 0 takes all.
    seed: of that choice.
    side: 0 for A, 1 for B; each chooses by itself.
  """

  data_dir: str = ''
  image_size: int | None = None
  fit: str = 'square'
  skip_unreadable: bool = False
  num: int = 0
  seed: int = collect.SEED
  side: int = 0


class Source(NamedTuple):
  """Images from somewhere.

  Attributes:
    name: as it was given.
    kind: 'folder', 'arrays' or 'dataset'.
    title: for a person.
    dataset: the images that were taken.
    shape: `(H, W, C)` of the images it yields.
    found: how many readable images there are, taken or not.
    skipped: images that cannot be read, and why.
    fitted: how they were resized; '' as stored.
    num_grey: how many of those found in a folder are stored grey.
  """

  name: str
  kind: str
  title: str
  dataset: data.Dataset
  shape: tuple[int, int, int]
  found: int
  skipped: tuple[str, ...] = ()
  fitted: str = ''
  num_grey: int = 0

  @property
  def count(self) -> int:
    """How many images were taken."""
    return len(self.dataset.examples)

  @property
  def repeated(self) -> bool:
    """Whether grey images are shown as colour, three times the same."""
    return _shape(self.dataset)[-1] != self.shape[-1]


def open_source(name: str, options: Options) -> Source:
  """The images that a name means.

  Args:
    name: a folder, or folder:PATH; an .npz or .npy file, or PATH.npz:KEY; or a
      data set with its split after a colon, by default 'train'.
    options: how they are read.

  Raises:
    ValueError: there are no such images, or they are not as they should be.
  """
  if options.fit not in images.RESIZE:
    raise ValueError(
      f'fit={options.fit!r} is not one of {sorted(images.RESIZE)}.'
    )
  if not name:
    raise ValueError('its name is empty.')
  kind = _kind(name, options.data_dir)
  if kind == 'folder':
    return _folder(name, options)
  if kind == 'arrays':
    dataset = arrays.load(name)
    _check_size(dataset, options.image_size)
    return _source(name, kind, f'arrays {name}', dataset, options)
  title, dataset = _prepared(name, options)
  source = _source(name, kind, title, dataset, options)
  return source._replace(fitted=_fitted(options))


def of_one_shape(a: Source, b: Source) -> tuple[Source, Source]:
  """Both with images of one shape: grey ones beside colour become colour.

  Raises:
    ValueError: their sizes differ.
  """
  if a.shape[:2] != b.shape[:2]:
    size = lambda source: '{} x {}'.format(*source.shape[:2])
    raise ValueError(
      f'The images of A are {size(a)} and those of B {size(b)} (height x '
      'width). Compare images of one size; --image_size=N resizes those of '
      'folders and data sets to N x N.'
    )
  channels = max(a.shape[-1], b.shape[-1])
  of = lambda source: source._replace(shape=(*source.shape[:2], channels))
  return of(a), of(b)


def fingerprint(source: Source) -> str:
  """What decides the images it yields, SHA-256 in hexadecimal."""
  return data.fingerprint(source.dataset) + ('-rgb' if source.repeated else '')


def batches(
  source: Source, say: Callable[[str], None]
) -> Iterator[collect.Batch]:
  """All its images in their order; says every half minute how far it is.

  Raises:
    DataError: images cannot be read; all that cannot are counted.
  """
  start = told = time.monotonic()
  try:
    for pixels, index in data.scan(source.dataset):
      if source.repeated:
        pixels = np.repeat(pixels, 3, axis=-1)
      yield collect.Batch(pixels, index)
      now, done = time.monotonic(), int(index[-1]) + 1
      if now - told > _SAY_EVERY:
        told = now
        rate = done / (now - start)
        say(f'{done} of {source.count} images, {rate:.3g} a second')
  except data.DataError:
    if source.kind == 'folder':
      bad = folder.unreadable(source.dataset)
      folder.refuse(source.dataset.name, bad, source.count)
    raise


def describe(source: Source) -> str:
  """A source in a line."""
  height, width, channels = source.shape
  colours = 'colour' if channels == 3 else 'grey'
  words = f'{source.title}: {source.count} images'
  if source.count < source.found:
    words += f' (at random of {source.found})'
  words += f', {height} x {width}, {colours}'
  if source.repeated:
    words += ' (all grey as stored)'
  elif source.num_grey and channels == 3:
    words += f' ({source.num_grey} grey as stored)'
  if source.fitted:
    words += f', made to fit ({source.fitted})'
  if source.skipped:
    words += f'; {len(source.skipped)} unreadable images SKIPPED'
  return words


def record(source: Source, known: str) -> dict[str, Any]:
  """A source as JSON, with its fingerprint."""
  return {
    'name': source.name,
    'kind': source.kind,
    'count': source.count,
    'found': source.found,
    'skipped': len(source.skipped),
    'skipped_first': list(source.skipped[:5]),
    'shape': list(source.shape),
    'grey_repeated': source.repeated,
    'num_grey': source.num_grey,
    'fit': source.fitted,
    'fingerprint': known,
  }


def _kind(name, data_dir):
  if name.startswith(folder.PREFIX):
    return 'folder'
  if arrays.is_file_name(name):
    return 'arrays'
  path = pathlib.Path(name).expanduser()
  if path.is_dir():
    _refuse_ambiguous(name, path, data_dir)
    return 'folder'
  if path.exists():
    raise ValueError(
      f'{name!r} is a file; it must be a folder of images, a .npz or .npy file '
      'of uint8 arrays, or the name of a data set.'
    )
  if name.startswith(('/', '.', '~')):
    raise ValueError(f'{name!r}: there is no such folder or file.')
  return 'dataset'


def _refuse_ambiguous(name, path, data_dir):
  prepared = pathlib.Path(data_dir or '.').expanduser() / name
  if data_dir and prepared.is_dir() and not prepared.samefile(path):
    raise ValueError(
      f'{name!r} is both a folder here and a data set in {data_dir!r}; write '
      f'folder:{name} or {name}:train.'
    )


def _prepared(name, options):
  known, _, split = name.partition(':')
  split = split or 'train'
  if not options.data_dir and known not in data.names():
    raise ValueError(
      f'{known!r} is no folder and no .npz or .npy file. As a data set it is '
      'looked for in --data_dir=DIR; to prepare it there: python -m '
      f'gan_jax.data prepare {known} --data_dir=DIR'
    )
  dataset = data.load(
    known,
    split=split,
    data_dir=options.data_dir,
    image_size=options.image_size,
    max_bytes=_MAX_BYTES,
    resize=options.fit,
  )
  if np.ndim(_first(dataset)) != 3:
    raise ValueError(f'{known!r} is a set of points; it must be of images.')
  return f'{known}, split {split}', dataset


def _folder(name, options):
  path = name.removeprefix(folder.PREFIX)
  opened = folder.open_as_stored(
    folder.PREFIX + path,
    image_size=options.image_size,
    resize=options.fit,
    skip_unreadable=options.skip_unreadable,
  )
  source = _source(name, 'folder', f'folder {path}', opened.dataset, options)
  return source._replace(
    fitted=_fitted(options), skipped=opened.skipped, num_grey=opened.num_grey
  )


def _source(name, kind, title, dataset, options):
  some = _some(dataset, options)
  found = len(dataset.examples)
  return Source(name, kind, title, some, _shape(some), found)


def _fitted(options):
  return options.fit if options.image_size is not None else ''


def _check_size(dataset, image_size):
  height, width, _ = _shape(dataset)
  if image_size is not None and (height, width) != (image_size, image_size):
    raise ValueError(
      f'image_size={image_size}: the arrays are {height} x {width} and are '
      'taken as they are. Resize them before, or leave image_size out.'
    )


def _some(dataset, options):
  found = len(dataset.examples)
  if not options.num or options.num == found:
    return dataset
  if options.num > found:
    raise ValueError(f'num={options.num}: it has {found} images.')
  # Not the numbers that `collect.halves` draws: they are the reference.
  rng = np.random.default_rng([options.seed, 1, options.side])
  order = rng.permutation(found)
  return scanning.subset(dataset, np.sort(order[: options.num]))


def _first(dataset):
  first = dataset.examples[0]
  return first['image'] if isinstance(first, dict) else first


def _shape(dataset):
  examples = dataset.examples
  if isinstance(examples, np.ndarray):
    return examples.shape[1:]
  return getattr(examples, 'shape', None) or _first(dataset).shape
