"""Prepared TensorFlow Datasets, written here and read without TensorFlow."""

import io
import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gan_jax import data
from gan_jax.data import __main__ as command
from gan_jax.data import stacked

FEATURES = 'tensorflow_datasets.core.features.'
IMAGE = FEATURES + 'image_feature.Image'
LABEL = FEATURES + 'class_label_feature.ClassLabel'
TEXT = FEATURES + 'text_feature.Text'


def pixels(count, shape=(6, 4, 3)):
  return np.random.RandomState(0).randint(0, 256, (count, *shape), np.uint8)


def png(image):
  file = io.BytesIO()
  Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(
    file, 'png'
  )
  return file.getvalue()


def write_array_record(path, records):
  from array_record.python import array_record_module

  writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')
  for record in records:
    writer.write(record)
  writer.close()


def write_tfrecord(path, records):
  with open(path, 'wb') as file:  # Checksums are not looked at.
    for record in records:
      file.write(struct.pack('<Q', len(record)) + b'crc0' + record + b'crc1')


WRITERS = {'array_record': write_array_record, 'tfrecord': write_tfrecord}


def features_json(shape, labelled, image_key):
  dimensions = [str(-1 if size is None else size) for size in shape]
  features = {
    'id': {'pythonClassName': TEXT, 'text': {}},
    image_key: {
      'pythonClassName': IMAGE,
      'image': {'dtype': 'uint8', 'shape': {'dimensions': dimensions}},
    },
  }
  if labelled:
    label = {'pythonClassName': LABEL, 'classLabel': {'numClasses': '3'}}
    features['label'] = label
  if image_key is None:
    del features[None]
  top = FEATURES + 'features_dict.FeaturesDict'
  return {'pythonClassName': top, 'featuresDict': {'features': features}}


def example(i, image, labelled, image_key):
  from tensorflow_datasets.proto import tf_example_pb2

  proto = tf_example_pb2.Example()
  proto.features.feature['id'].bytes_list.value.append(f'id{i}'.encode())
  if image_key:
    proto.features.feature[image_key].bytes_list.value.append(png(image))
  if labelled:
    proto.features.feature['label'].int64_list.value.append(i % 3)
  return proto.SerializeToString()


def write_prepared(
  data_dir,
  name,
  images,
  *,
  labelled=True,
  version='1.0.0',
  file_format='array_record',
  image_key='image',
  shape=None,
):
  """A prepared set with all images in 'train', in 2 shards, and 2 in 'test'."""
  directory = data_dir / name / version
  directory.mkdir(parents=True)
  base, _, config = name.partition('/')
  records = [
    example(i, image, labelled, image_key) for i, image in enumerate(images)
  ]
  splits = {'train': (records[:3], records[3:]), 'test': (records[:2],)}
  for split, shards in splits.items():
    for i, shard in enumerate(shards):
      file = f'{base}-{split}.{file_format}-{i:05d}-of-{len(shards):05d}'
      WRITERS[file_format](directory / file, shard)
  info = {
    'name': base,
    'version': version,
    'fileFormat': file_format,
    'splits': [
      {
        'name': split,
        'shardLengths': [str(len(shard)) for shard in shards],
        'filepathTemplate': '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}',
        'numBytes': '1',
      }
      for split, shards in splits.items()
    ],
  }
  if config:
    info['configName'] = config
  features = features_json(shape or images.shape[1:], labelled, image_key)
  (directory / 'dataset_info.json').write_text(json.dumps(info))
  (directory / 'features.json').write_text(json.dumps(features))
  return directory


def test_reads_every_pixel_and_label_without_tensorflow(tmp_path):
  images = pixels(8)
  write_prepared(tmp_path, 'tiny', images)
  loaded = data.load('tiny', data_dir=str(tmp_path))
  np.testing.assert_array_equal(loaded.examples, images)
  np.testing.assert_array_equal(loaded.labels, [0, 1, 2, 0, 1, 2, 0, 1])
  assert loaded.labels.dtype == np.int32 and loaded.num_classes == 3
  test = data.load('tiny', split='test', data_dir=str(tmp_path))
  np.testing.assert_array_equal(test.examples, images[:2])
  part = data.load('tiny', split='train[2:5]', data_dir=str(tmp_path))
  np.testing.assert_array_equal(part.examples, images[2:5])


def test_reading_imports_neither_tensorflow_nor_opencv(tmp_path):
  write_prepared(tmp_path, 'tiny', pixels(8))
  program = (
    'import sys; from gan_jax import data; '
    f'data.load("tiny", data_dir={str(tmp_path)!r}); '
    'print([m for m in ("tensorflow", "cv2") if m in sys.modules])'
  )
  # In a process of its own: other tests' packages may import them.
  done = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == '[]'


def test_configuration_one_channel_and_the_newest_version(tmp_path):
  images = pixels(5, (5, 5, 1))
  for version in ('9.0.0', '10.0.0'):  # Not the last in the alphabet.
    write_prepared(
      tmp_path,
      'faces/8x8',
      images if version == '10.0.0' else images[::-1],
      labelled=False,
      version=version,
      image_key='photo',
    )
  loaded = data.load('faces/8x8', data_dir=str(tmp_path))
  np.testing.assert_array_equal(loaded.examples, images)
  assert (loaded.labels, loaded.num_classes) == (None, 0)


def test_resizes_the_centre_square(tmp_path):
  images = np.zeros((4, 6, 4, 3), np.uint8)
  images[:, 1:5] = [10, 20, 30]  # The centre square of 6 x 4.
  write_prepared(tmp_path, 'tiny', images, shape=(None, None, 3))
  loaded = data.load('tiny', data_dir=str(tmp_path), image_size=2)
  assert loaded.examples.shape == (4, 2, 2, 3)
  assert np.all(loaded.examples == np.array([10, 20, 30]))
  assert loaded.fit == 'square'
  with pytest.raises(ValueError, match="image_size must be given for 'tiny'"):
    data.load('tiny', data_dir=str(tmp_path))


def test_a_set_says_how_its_images_were_made_squares(tmp_path):
  write_prepared(tmp_path, 'tiny', pixels(4))
  write_prepared(tmp_path, 'even', pixels(4, (4, 4, 3)))
  for name, size, fit in (
    ('tiny', None, ''),
    ('tiny', 2, 'torchvision'),
    ('even', 4, ''),  # squares of that side already
    ('even', 3, 'torchvision'),
  ):
    for max_bytes in (0, 2**20):
      options = dict(image_size=size, max_bytes=max_bytes, resize='torchvision')
      assert data.load(name, data_dir=str(tmp_path), **options).fit == fit
  write_prepared(tmp_path, 'mnist', pixels(4, (4, 4, 1)))
  for max_bytes in (0, 2**20):
    options = dict(data_dir=str(tmp_path), max_bytes=max_bytes, num_images=5)
    fits = [
      stacked.load('stacked_mnist', image_size=size, **options).fit
      for size in (None, 3)
    ]
    assert fits == ['', 'square']


def test_streams_what_does_not_fit_in_the_same_order(tmp_path):
  images = pixels(8)
  write_prepared(tmp_path, 'tiny', images)
  resident = data.load('tiny', data_dir=str(tmp_path), max_bytes=images.nbytes)
  stream = data.load(
    'tiny', data_dir=str(tmp_path), max_bytes=images.nbytes - 1
  )
  assert isinstance(resident.examples, np.ndarray)
  assert len(stream.examples) == 8 and stream.labels is None
  assert stream.num_classes == 3
  expected = data.feed(resident, 3, seed=0)
  fed = data.feed(stream, 3, seed=0).next(0, 5)
  np.testing.assert_array_equal(fed['image'], images[expected.next(0, 5)])
  np.testing.assert_array_equal(fed['label'], expected.next(0, 5) % 3)


def error_of(name, data_dir, **options):
  with pytest.raises(ValueError) as error:
    data.load(name, data_dir=str(data_dir), **options)
  return str(error.value)


def test_errors_about_the_folder(tmp_path):
  command = 'python -m gan_jax.data prepare tiny --data_dir='
  assert command + 'DIR' in error_of('tiny', '')
  missing = error_of('tiny', tmp_path / 'no')
  assert 'is not a folder' in missing and f'{command}{tmp_path}/no' in missing
  empty = error_of('tiny', tmp_path)
  assert 'is empty' in empty and f'{command}{tmp_path}' in empty
  (tmp_path / 'incomplete.ABC_1.0.0').mkdir()
  assert 'holds no prepared data sets' in error_of('tiny', tmp_path)
  write_prepared(tmp_path, 'other', pixels(4))
  write_prepared(tmp_path, 'faces/8x8', pixels(4))
  assert "holds ['faces/8x8', 'other']" in error_of('tiny', tmp_path)
  assert "holds ['faces/8x8', 'other']" in error_of('faces', tmp_path)
  assert f"data_dir='{tmp_path}' is" in error_of('other', tmp_path / 'other')
  assert f"data_dir='{tmp_path}' is" in error_of(
    'faces/8x8', tmp_path / 'faces' / '8x8'
  )
  assert 'is not the name of a data set' in error_of('../tiny', tmp_path)


def test_errors_about_the_data_set(tmp_path):
  write_prepared(tmp_path, 'other', pixels(4))
  os.rename(tmp_path / 'other', tmp_path / 'tiny')
  error = error_of('tiny', tmp_path)
  assert f'{tmp_path}/tiny/1.0.0' in error and "says 'other'" in error
  write_prepared(tmp_path, 'words', pixels(4), image_key=None)
  error = error_of('words', tmp_path)
  assert 'has no uint8 image feature' in error and "['id', 'label']" in error
  write_prepared(tmp_path, 'good', pixels(4))
  for split in ('valid', 'train[:x]'):
    error = error_of('good', tmp_path, split=split)
    assert f'split={split!r}' in error and "['train', 'test']" in error


def truncate(path):
  os.truncate(path, path.stat().st_size * 3 // 4)


def truncate_to_whole_blocks(path):
  os.truncate(path, 2**16)  # array_record then gives empty records, silently.


def flip_a_bit(path):
  contents = bytearray(path.read_bytes())
  contents[5_000] ^= 1  # In the middle of the second image.
  path.write_bytes(contents)


@pytest.mark.parametrize(
  'damage', [truncate, truncate_to_whole_blocks, flip_a_bit, os.remove]
)
def test_damaged_files(tmp_path, damage):
  directory = write_prepared(tmp_path, 'tiny', pixels(8, (32, 32, 3)))
  damage(directory / 'tiny-train.array_record-00000-of-00002')
  error = error_of('tiny', tmp_path)
  assert f"'{directory}' is damaged" in error and 'prepare tiny' in error
  stream = lambda: data.load('tiny', data_dir=str(tmp_path), max_bytes=1)
  with pytest.raises(ValueError, match='is damaged'):
    data.feed(stream(), 8, seed=0).next(0, 1)


def test_damaged_descriptions_and_images(tmp_path):
  directory = write_prepared(tmp_path, 'tiny', pixels(8), shape=(5, 5, 3))
  error = error_of('tiny', tmp_path)
  assert '8 of 8 images' in error and '(6, 4, 3), not (5, 5, 3)' in error
  (directory / 'features.json').unlink()
  assert f"'{directory}' is not a prepared" in error_of('tiny', tmp_path)
  (directory / 'dataset_info.json').write_text('{"name"')
  assert "dataset_info.json' cannot be read" in error_of('tiny', tmp_path)


def test_tfrecord_is_refused_and_the_named_command_helps(tmp_path, capsys):
  images = pixels(8)
  write_prepared(tmp_path, 'tiny', images, file_format='tfrecord')
  error = error_of('tiny', tmp_path)
  words = f'python -m gan_jax.data prepare tiny --data_dir={tmp_path}'
  assert 'as tfrecord' in error and error.endswith(words)
  assert command.main(words.split()[3:]) == 0
  np.testing.assert_array_equal(
    data.load('tiny', data_dir=str(tmp_path)).examples, images
  )
  assert command.main(words.split()[3:]) == 0  # Nothing left to do.
  assert capsys.readouterr().out.split() == [f'{tmp_path}/tiny/1.0.0'] * 2


def test_tfrecord_files_cut_short_are_not_converted(tmp_path, capsys):
  directory = write_prepared(
    tmp_path, 'tiny', pixels(8), file_format='tfrecord'
  )
  shard = directory / 'tiny-train.tfrecord-00001-of-00002'
  (first,) = struct.unpack('<Q', shard.read_bytes()[:8])
  for size, words in ((first + 16, 'holds 1 examples'), (first, 'cut short')):
    os.truncate(shard, size)
    assert command.main(['prepare', 'tiny', f'--data_dir={tmp_path}']) == 2
    assert words in capsys.readouterr().err
    assert 'as tfrecord' in error_of('tiny', tmp_path)


def test_preparing_without_tensorflow_says_what_to_install(tmp_path):
  # A path that hides TensorFlow, should it be installed.
  hide = (
    'import importlib.util as u, runpy, sys; find = u.find_spec;'
    'u.find_spec = lambda n, *a: None if n == "tensorflow" else find(n, *a);'
    f'sys.argv[1:] = ["prepare", "cifar10", "--data_dir={tmp_path}"];'
    'runpy.run_module("gan_jax.data", run_name="__main__")'
  )
  run = subprocess.run([sys.executable, '-c', hide], capture_output=True)
  assert run.returncode == 2
  assert 'pip install "gan_jax[prepare]"' in run.stderr.decode()
  assert 'Traceback' not in run.stderr.decode()


def test_list_prints_the_names():
  run = subprocess.run(
    [sys.executable, '-m', 'gan_jax.data', 'list'], capture_output=True
  )
  assert run.returncode == 0
  assert {'ring8', 'digits'} <= set(run.stdout.decode().split())
