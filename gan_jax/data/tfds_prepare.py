"""Puts TensorFlow Datasets where `tfds_read` finds them, as array_record."""

import importlib.util
import json
import os
import pathlib
import re
import struct
from collections.abc import Iterator

from gan_jax.data import tfds_read

# TFDS 4.9 needs the second for its official data sets, without declaring it.
NEEDED = ('tensorflow', 'importlib_resources')


def prepare(name: str, data_dir: str) -> pathlib.Path:
  """Downloads and prepares a data set, and returns its directory.

  Does nothing where that is done already. A data set that TFDS has prepared as
  TFRECORD, its default, is copied to array_record beside it, with no download
  and no TensorFlow; TFDS reads both afterwards.

  Raises:
    ImportError: TensorFlow, or what TFDS needs besides, is not installed.
    ValueError: TFDS does not know the name, or wants files downloaded by hand,
      or the TFRECORD files are damaged.
  """
  root = pathlib.Path(data_dir).expanduser()
  directory = tfds_read.newest_version(root / name)
  if directory is None:
    return _download(name, root)
  formats = tfds_read.formats(tfds_read.read_info(directory))
  if tfds_read.FORMAT in formats:
    return directory
  if 'tfrecord' not in formats:
    raise ValueError(
      f'{str(directory)!r} holds {name!r} as {formats[0]}, which cannot be'
      ' converted; name another --data_dir.'
    )
  convert(directory)
  return directory


def _download(name: str, root: pathlib.Path) -> pathlib.Path:
  for module in NEEDED:
    if importlib.util.find_spec(module) is None:
      raise ImportError(
        f'preparing {name!r} needs {module}, which is not installed (reading it'
        ' afterwards does not): pip install "gan_jax[prepare]"',
        name=module,
      )
  import tensorflow_datasets as tfds

  try:
    builder = tfds.builder(
      name, data_dir=str(root), file_format=tfds_read.FORMAT
    )
  except tfds.core.DatasetNotFoundError as error:
    raise ValueError(
      f'{name!r} is not a data set that TFDS knows; see'
      ' https://www.tensorflow.org/datasets/catalog.'
    ) from error
  try:
    builder.download_and_prepare()
  except AssertionError as error:
    # How TFDS tells what has to be downloaded by hand, and where to put it.
    raise ValueError(str(error)) from error
  return pathlib.Path(builder.data_path)


def convert(directory: pathlib.Path) -> None:
  """Copies the TFRECORD files of a version to array_record files beside them.

  Raises:
    ValueError: a file is cut short, or is missing.
  """
  info = tfds_read.read_info(directory)
  for split in info['splits']:
    shards = [int(length) for length in split['shardLengths']]
    for shard, length in enumerate(shards):
      old = directory / _file_name(info, split, shard, 'tfrecord')
      new = directory / _file_name(info, split, shard, tfds_read.FORMAT)
      _copy(old, new, length)
  # Last, so that what was interrupted is not taken for complete.
  info.setdefault('alternativeFileFormats', []).append(tfds_read.FORMAT)
  path = directory / tfds_read.INFO_FILE
  new_path = path.with_suffix('.tmp')
  new_path.write_text(json.dumps(info, indent=2), encoding='utf-8')
  os.replace(new_path, path)


def _file_name(info, split, shard: int, suffix: str) -> str:
  values = {
    'DATASET': info['name'],
    'SPLIT': split['name'],
    'FILEFORMAT': suffix,
    'SHARD_X_OF_Y': f'{shard:05d}-of-{len(split["shardLengths"]):05d}',
  }
  template = split.get(
    'filepathTemplate', '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}'
  )
  return re.sub(r'{(\w+)}', lambda match: values[match[1]], template)


def _copy(old: pathlib.Path, new: pathlib.Path, length: int) -> None:
  from array_record.python import array_record_module

  # One record a group: fast random access, as TFDS itself writes them.
  writer = array_record_module.ArrayRecordWriter(str(new), 'group_size:1')
  count = 0
  for record in _tfrecords(old):
    writer.write(record)
    count += 1
  writer.close()
  if count != length:
    raise ValueError(
      f'{str(old)!r} holds {count} examples where its {tfds_read.INFO_FILE}'
      f' says {length}. Delete it and prepare it again.'
    )


def _tfrecords(path: pathlib.Path) -> Iterator[bytes]:
  """Records of a file: length (8 bytes), its checksum (4), data, checksum."""
  try:
    file = path.open('rb')
  except OSError as error:
    raise ValueError(f'{str(path)!r} cannot be read: {error}.') from error
  with file:
    while head := file.read(12):
      size = struct.unpack('<Q', head[:8])[0] if len(head) == 12 else 0
      record = file.read(size + 4) if size <= path.stat().st_size else b''
      if len(head) != 12 or len(record) != size + 4:
        raise ValueError(
          f'{str(path)!r} is damaged or cut short. Delete the data set and'
          ' prepare it again.'
        )
      yield record[:-4]
