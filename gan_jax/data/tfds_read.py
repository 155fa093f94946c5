"""Reads prepared TensorFlow Datasets (array_record), without TensorFlow."""

import json
import pathlib
import re
from typing import Any

from gan_jax.data import dataset as dataset_lib
from gan_jax.data import images

INFO_FILE = 'dataset_info.json'
FORMAT = 'array_record'
_NAME = re.compile(r'\w+(/[\w.+-]+)?')
_VERSION = re.compile(r'(\d+)\.(\d+)\.(\d+)')


def load(
  name: str,
  split: str,
  data_dir: str,
  image_size: int | None,
  max_bytes: int,
  resize: str = 'square',
) -> dataset_lib.Dataset:
  """The images (and class labels, if any) of a prepared data set.

  The image feature is the one called 'image', or else the first; likewise
  'label', or else the first ClassLabel.

  Args:
    name: as TFDS has it: 'cifar10', 'celeb_a_hq/1024'.
    split: 'train', and whatever else TFDS understands, as 'train[:1000]'.
    data_dir: the folder that holds prepared data sets, each under its name.
    image_size: resize to a square of this side; None: as stored.
    max_bytes: when larger than this, they are decoded when asked for.
    resize: a name of `images.RESIZE`.

  Raises:
    ValueError: for anything not as it should be, saying what to do.
  """
  directory = find(name, data_dir)
  builder = _open(name, directory, data_dir)
  image_key, label_key = _keys(name, directory, builder.info.features)
  records = _records(name, directory, builder, split, image_key)
  keys = [image_key, label_key] if label_key else [image_key]
  stored = builder.info.features[image_key]
  shape = _shape(name, stored, image_size)

  def read(indices):
    rows = _read_rows(name, directory, records, keys, indices)
    encode = lambda i, row: images.Encoded(
      row[image_key],
      row[label_key] if label_key else None,
      f'example {i} of split {split!r}',
    )
    return [encode(i, row) for i, row in zip(indices, rows, strict=True)]

  source = images.ImageSource(
    name, len(records), read, shape, image_size, resize
  )
  classes = builder.info.features[label_key].num_classes if label_key else 0
  # Squares of this side are left alone, whatever the way.
  fit = '' if shape[:2] == tuple(stored.shape[:2]) else resize
  if source.nbytes() > max_bytes:
    return dataset_lib.Dataset(name, source, None, classes, fit=fit)
  pixels, labels = images.decode_all(source)
  return dataset_lib.Dataset(name, pixels, labels, classes, fit=fit)


def prepare_command(name: str, data_dir: str = 'DIR') -> str:
  """The command line that prepares a data set."""
  return f'python -m gan_jax.data prepare {name} --data_dir={data_dir}'


def find(name: str, data_dir: str) -> pathlib.Path:
  """The directory of the newest prepared version; ValueError if none is."""
  if not _NAME.fullmatch(name):
    raise ValueError(
      f'{name!r} is not the name of a data set; a TFDS name is like'
      " 'cifar10' or 'celeb_a_hq/1024'."
    )
  if not data_dir:
    raise ValueError(
      f'{name!r} is read from prepared TensorFlow Datasets, so data_dir must be'
      f' given. To prepare it in a folder DIR: {prepare_command(name)}'
    )
  root = pathlib.Path(data_dir).expanduser()
  if not root.is_dir():
    raise ValueError(
      f'data_dir={data_dir!r} is not a folder. To prepare {name!r} in it:'
      f' {prepare_command(name, data_dir)}'
    )
  directory = newest_version(root / name)
  if directory is None:
    raise ValueError(_not_found(name, data_dir, root))
  return directory


def newest_version(directory: pathlib.Path) -> pathlib.Path | None:
  """The prepared version with the highest number, None if there is none."""
  versions = [
    (tuple(map(int, match.groups())), info.parent)
    for info in directory.glob(f'*/{INFO_FILE}')
    if (match := _VERSION.fullmatch(info.parent.name))
  ]
  return max(versions)[1] if versions else None


def _not_found(name: str, data_dir: str, root: pathlib.Path) -> str:
  """Why there is no such data set, from what there is instead."""
  message = f'{name!r} is not prepared in data_dir={data_dir!r}, which'
  prepare = f'To prepare it: {prepare_command(name, data_dir)}'
  depths = ('', '*/', '*/*/', '*/*/*/')
  infos = [info for d in depths for info in sorted(root.glob(d + INFO_FILE))]
  if not infos:
    what = 'holds no prepared data sets' if any(root.iterdir()) else 'is empty'
    return f'{message} {what}. {prepare}'
  found = sorted({_full_name(read_info(info.parent)) for info in infos})
  if name not in found:
    return f'{message} holds {found}. {prepare}'
  return f'{message} is not the folder above it{_right_folder(name, infos)}.'


def _right_folder(name: str, infos: list[pathlib.Path]) -> str:
  """The data_dir that was meant, when a folder inside it was given."""
  for info in infos:
    folder = info.absolute().parent.parent  # of the version
    for _ in name.split('/'):
      folder = folder.parent
    if newest_version(folder / name):
      return f'; data_dir={str(folder)!r} is'
  return f': it must hold {name}/VERSION/{INFO_FILE}'


def read_info(directory: pathlib.Path) -> dict[str, Any]:
  """What dataset_info.json says; ValueError when it cannot be read."""
  path = directory / INFO_FILE
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError) as error:
    raise ValueError(f'{str(path)!r} cannot be read: {error}.') from error


def _full_name(info: dict[str, Any]) -> str:
  config = info.get('configName')
  return info.get('name', '?') + (f'/{config}' if config else '')


def formats(info: dict[str, Any]) -> list[str]:
  """The formats in which the examples are stored; TFDS's own default first."""
  first = info.get('fileFormat', 'tfrecord')
  return [first, *info.get('alternativeFileFormats', [])]


def _open(name: str, directory: pathlib.Path, data_dir: str):
  info = read_info(directory)
  if info.get('name') != name.split('/')[0]:
    raise ValueError(
      f'{str(directory)!r} should hold {name!r}, but its {INFO_FILE} says'
      f' {_full_name(info)!r}. Name that one, or prepare {name!r} elsewhere:'
      f' {prepare_command(name)}'
    )
  if FORMAT not in formats(info):
    raise ValueError(
      f'{str(directory)!r} holds {name!r} as {formats(info)[0]}, which cannot'
      f' be read without TensorFlow; it must be {FORMAT}. To get that:'
      f' {prepare_command(name, data_dir)}'
    )
  import tensorflow_datasets as tfds

  try:
    return tfds.builder_from_directory(directory)
  except Exception as error:
    # TFDS raises whatever the damage leads to: KeyError, ParseError, OSError.
    raise ValueError(
      f'{str(directory)!r} is not a prepared data set: {error!r}.'
    ) from error


def _keys(name: str, directory, features) -> tuple[str, str | None]:
  """Names of the image and the label feature."""
  import tensorflow_datasets as tfds

  of_type = lambda kind: [k for k, v in features.items() if isinstance(v, kind)]
  image_keys = [
    key
    for key in of_type(tfds.features.Image)
    if features[key].np_dtype == 'uint8'
  ]
  label_keys = of_type(tfds.features.ClassLabel)
  if not image_keys:
    raise ValueError(
      f'{name!r} in {str(directory)!r} has no uint8 image feature; its features'
      f' are {sorted(features)}. Name a data set of images.'
    )
  image_key = 'image' if 'image' in image_keys else image_keys[0]
  label_key = label_keys[0] if label_keys else None
  return image_key, 'label' if 'label' in label_keys else label_key


def _records(name: str, directory, builder, split: str, image_key: str):
  """Random access to the examples, the image left encoded."""
  import tensorflow_datasets as tfds

  splits = list(builder.info.splits)
  try:
    # Decoding is ours: TFDS takes OpenCV where it is installed.
    return builder.as_data_source(
      split,
      decoders={image_key: tfds.decode.SkipDecoding()},
      file_format=FORMAT,
    )
  except (ValueError, KeyError) as error:
    raise ValueError(
      f'split={split!r} of {name!r} in {str(directory)!r} is not one of'
      f' {splits}, nor a part of one, like {splits[0] + "[:1000]"!r}.'
    ) from error
  except RuntimeError as error:
    raise _damaged(name, directory, error) from error


def _read_rows(name, directory, records, keys, indices) -> list[dict[str, Any]]:
  try:
    # A thread pool serves many at once: the faster way for many, not for one.
    rows = (
      [records[indices[0]]]
      if len(indices) == 1
      else records.__getitems__(list(indices))
    )
  except (RuntimeError, ValueError, KeyError) as error:
    raise _damaged(name, directory, error) from error
  # A file cut at a multiple of 64 KB gives empty records, and no error.
  if any(row.get(key) is None for row in rows for key in keys):
    raise _damaged(name, directory, 'it has empty examples')
  return rows


def _damaged(name: str, directory, error) -> ValueError:
  return ValueError(
    f'{str(directory)!r} is damaged: {error}. Delete it and prepare {name!r}'
    f' again: {prepare_command(name)}'
  )


def _shape(name, feature, image_size: int | None) -> tuple[int, int, int]:
  height, width, channels = feature.shape
  channels = 1 if channels == 1 else 3
  if image_size is not None:
    return image_size, image_size, channels
  if height is None or width is None:
    raise ValueError(
      f'image_size must be given for {name!r}, whose images are of any size.'
    )
  return height, width, channels
