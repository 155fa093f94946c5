"""All images once, in order, chosen, known by their bytes; folders, arrays."""

import concurrent.futures
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from gan_jax import data
from gan_jax.data import arrays, folder, scanning

COLOURS = np.arange(7 * 3, dtype=np.uint8).reshape(7, 1, 1, 3) * 10
IMAGES = np.broadcast_to(COLOURS, (7, 4, 6, 3)).copy()


def write(path, images):
  path.mkdir(exist_ok=True)
  for i, image in enumerate(images):
    Image.fromarray(np.squeeze(image)).save(path / f'{i}.png')
  return path


@pytest.fixture
def pictures(tmp_path):
  return write(tmp_path / 'pictures', IMAGES)


def opened(path, **options):
  return folder.open_as_stored(f'folder:{path}', **options)


def cut(file):
  file.write_bytes(file.read_bytes()[:45])


def as_source(path):
  return opened(path).dataset


def as_array(path):
  del path
  return data.Dataset('some', IMAGES)


class Listed:
  """A source of no known kind."""

  def __len__(self):
    return len(IMAGES)

  def __getitem__(self, index):
    return {'image': IMAGES[index]}


def as_list(path):
  del path
  return data.Dataset('listed', Listed())


KINDS = pytest.mark.parametrize('kind', [as_array, as_source, as_list])

# Scans.


@KINDS
def test_a_scan_gives_every_image_in_its_place(pictures, kind):
  found = list(data.scan(kind(pictures), start=1, stop=6, batch_size=3))
  assert [len(images) for images, _ in found] == [3, 2]
  assert all(images.dtype == np.uint8 for images, _ in found)
  index = np.concatenate([numbers for _, numbers in found])
  np.testing.assert_array_equal(index, [1, 2, 3, 4, 5])
  images = np.concatenate([images for images, _ in found])
  np.testing.assert_array_equal(images, IMAGES[1:6])


@KINDS
def test_a_scan_of_all_and_of_nothing(pictures, kind):
  ((images, _),) = data.scan(kind(pictures))
  np.testing.assert_array_equal(images, IMAGES)
  assert not list(data.scan(kind(pictures), start=4, stop=4))


@pytest.mark.parametrize('part', [(-1, 3), (4, 3), (0, 8)])
def test_a_scan_beyond_the_set_is_refused(part):
  with pytest.raises(ValueError, match='there are 7 images'):
    data.scan(as_array(None), start=part[0], stop=part[1])


def test_a_scan_reads_one_batch_ahead_and_no_more(pictures, monkeypatch):
  read = []
  monkeypatch.setattr(
    folder, '_read', lambda file, *_: read.append(file) or _encoded(file)
  )
  scan = data.scan(as_source(pictures), batch_size=2)
  read.clear()
  next(scan)
  scan.close()
  # The batch, the next, and the one that its number of threads is judged by.
  assert len(read) <= 2 + 2 + 1


def _encoded(file):
  return data.images.Encoded(file.read_bytes(), None, str(file))


def test_large_images_come_in_smaller_batches(pictures, monkeypatch):
  monkeypatch.setattr(scanning, '_BATCH_BYTES', 2 * IMAGES[0].nbytes)
  sizes = [len(images) for images, _ in data.scan(as_source(pictures))]
  assert sizes == [2, 2, 2, 1]


def test_threads_decode_the_same(pictures, monkeypatch):
  monkeypatch.setattr(scanning, '_WORTH_THREADS', 0)
  monkeypatch.setattr(scanning, '_CHUNK', 2)
  monkeypatch.setattr(scanning.os, 'cpu_count', lambda: 3)
  seen, Pool = [], concurrent.futures.ThreadPoolExecutor
  monkeypatch.setattr(
    concurrent.futures,
    'ThreadPoolExecutor',
    lambda threads: seen.append(threads) or Pool(threads),
  )
  found = [images for images, _ in data.scan(as_source(pictures), batch_size=5)]
  np.testing.assert_array_equal(np.concatenate(found), IMAGES)
  assert seen == [3]


def test_damaged_images_are_named_when_the_scan_comes_to_them(pictures):
  dataset = as_source(pictures)
  cut(pictures / '4.png')
  cut(pictures / '5.png')
  scan = data.scan(dataset, batch_size=3)
  next(scan)
  with pytest.raises(
    data.DataError, match=r'2 of 3 images of .*4\.png .*; .*5\.png .*Remove'
  ):
    next(scan)
  assert set(scanning.unreadable(dataset)) == {4, 5}


def test_an_image_that_is_gone_is_named(pictures):
  dataset = as_source(pictures)
  (pictures / '2.png').unlink()
  with pytest.raises(data.DataError, match=r'2\.png'):
    list(data.scan(dataset))
  with pytest.raises(data.DataError, match=r'2\.png'):
    data.fingerprint(dataset)


@KINDS
def test_a_subset_is_what_was_chosen(pictures, kind):
  chosen = scanning.subset(kind(pictures), [5, 0, 6])
  ((images, index),) = data.scan(chosen)
  np.testing.assert_array_equal(images, IMAGES[[5, 0, 6]])
  np.testing.assert_array_equal(index, [0, 1, 2])


# Fingerprints.


@KINDS
def test_a_fingerprint_is_of_the_images(pictures, kind):
  known = data.fingerprint(kind(pictures))
  assert len(known) == 64
  assert known == data.fingerprint(kind(pictures)._replace(name='other'))
  whole = scanning.subset(kind(pictures), np.arange(7))
  assert known == data.fingerprint(whole)
  fewer, turned = np.arange(6), [0, 1, 2, 3, 4, 6, 5]
  others = [scanning.subset(kind(pictures), some) for some in (fewer, turned)]
  assert len({known, *map(data.fingerprint, others)}) == 3


def test_a_fingerprint_of_an_array_is_of_its_bytes_and_shape(monkeypatch):
  of = lambda images: data.fingerprint(data.Dataset('a', images))
  known = of(IMAGES)
  changed = IMAGES.copy()
  changed[6, 3, 5, 2] ^= 1
  turned = IMAGES.reshape(7, 6, 4, 3)
  assert len({known, of(changed), of(turned)}) == 3
  assert known == of(np.repeat(IMAGES, 2, axis=0)[::2])  # not contiguous
  monkeypatch.setattr(scanning, '_BLOCK_BYTES', 100)
  assert known == of(IMAGES)


def test_a_fingerprint_of_a_source_is_of_how_it_is_resized(pictures):
  ways = [dict(), dict(image_size=4), dict(image_size=3)]
  ways.append(dict(image_size=4, resize='torchvision'))
  known = {data.fingerprint(opened(pictures, **way).dataset) for way in ways}
  assert len(known) == 4
  fits = [opened(pictures, **way).dataset.fit for way in ways]
  assert fits == ['', 'square', 'square', 'torchvision']
  for max_bytes in (0, 2**20):
    options = dict(image_size=4, max_bytes=max_bytes, resize='torchvision')
    assert data.load(f'folder:{pictures}', **options).fit == 'torchvision'
  file = pictures / '3.png'
  Image.fromarray(IMAGES[3] + np.uint8(1)).save(file)
  assert data.fingerprint(as_source(pictures)) not in known


# Folders as stored.


def test_a_folder_keeps_its_size_and_its_one_channel(tmp_path):
  path = write(tmp_path / 'grey', IMAGES[..., :1])
  grey = opened(path)
  assert grey.dataset.examples.shape == (4, 6, 1)
  ((images, _),) = data.scan(grey.dataset)
  np.testing.assert_array_equal(images, IMAGES[..., :1])
  Image.fromarray(IMAGES[0]).save(path / 'colour.png')
  mixed = opened(path)
  assert mixed.dataset.examples.shape == (4, 6, 3)
  assert mixed.num_grey == 7
  ((images, _),) = data.scan(mixed.dataset)
  np.testing.assert_array_equal(images[0], np.repeat(IMAGES[0, ..., :1], 3, -1))


def test_mixed_sizes_are_counted_with_an_example_each(pictures):
  Image.fromarray(IMAGES[0, :3]).save(pictures / 'low.png')
  Image.fromarray(IMAGES[0, :, :5]).save(pictures / 'narrow.png')
  with pytest.raises(
    ValueError,
    match=r"7 of 6 x 4 \(as '.*\.png'\), 1 of 6 x 3 \(as '.*low\.png'\), and 1 "
    'of other sizes. Give image_size',
  ):
    opened(pictures)
  assert opened(pictures, image_size=2).dataset.examples.shape == (2, 2, 3)


def test_an_opaque_alpha_is_dropped_and_another_refused(pictures):
  image = Image.fromarray(IMAGES[1]).convert('RGBA')
  image.save(pictures / '1.png')
  ((images, _),) = data.scan(as_source(pictures))
  np.testing.assert_array_equal(images, IMAGES)
  image.putalpha(254)
  image.save(pictures / '1.png')
  with pytest.raises(ValueError, match=r'1 of 7 .* transparent.*1\.png'):
    opened(pictures)


def test_unreadable_images_are_named_counted_and_skipped_if_asked(pictures):
  cut(pictures / '2.png')  # a good head
  (pictures / '4.png').write_bytes(b'no image')
  grey = Image.fromarray(np.zeros((4, 6), np.uint16))
  grey.save(pictures / '5.png')
  with pytest.raises(
    data.DataError,
    match=r'3 of 7 images .*2\.png.*4\.png \(it is no image.*5\.png \(its mode'
    r" is 'I;16'.*\(skip_unreadable\)",
  ):
    opened(pictures)
  dataset, _, skipped = opened(pictures, skip_unreadable=True)
  ((images, _),) = data.scan(dataset)
  np.testing.assert_array_equal(images, IMAGES[[0, 1, 3, 6]])
  assert ['2.png' in skipped[0], '5.png' in skipped[2]] == [True, True]


def test_more_than_five_are_counted_and_none_left_is_refused(pictures):
  for file in pictures.iterdir():
    cut(file)
  with pytest.raises(data.DataError, match='7 of 7 .*4.png.*and others') as no:
    opened(pictures, skip_unreadable=True)
  assert '5.png' not in str(no.value)


# Arrays.


@pytest.mark.parametrize(
  ('name', 'saved'),
  [
    ('a.npy', IMAGES),
    ('a.npz', {'only': IMAGES}),
    ('a.npz', {'images': IMAGES, 'labels': np.zeros(7)}),
    ('a.npz', {'arr_0': IMAGES, 'labels': np.zeros(7)}),
    ('a.npz:b', {'a': IMAGES[:2], 'b': IMAGES}),
  ],
)
def test_arrays_are_found(tmp_path, name, saved):
  save(tmp_path / name.partition(':')[0], saved)
  assert arrays.is_file_name(name)
  np.testing.assert_array_equal(
    arrays.load(f'{tmp_path}/{name}').examples, IMAGES
  )


def save(path, saved):
  if isinstance(saved, dict):
    np.savez(path, **saved)
  elif isinstance(saved, bytes):
    path.write_bytes(saved)
  else:
    np.save(path, saved)


def zipped(content):
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w') as archive:
    archive.writestr('arr_0.npy', content)
  return file.getvalue()


def npy(array):
  file = io.BytesIO()
  np.save(file, array)
  return file.getvalue()


OBJECTS = np.array([IMAGES, None], dtype=object)
FLOATS = IMAGES / np.float32(255)


@pytest.mark.parametrize(
  ('name', 'saved', 'words'),
  [
    ('gone.npy', None, "there is no file '.*gone.npy'"),
    (
      'a.npz',
      {'a': IMAGES, 'b': IMAGES},
      r"\['a', 'b'\]; say which, as .*:KEY",
    ),
    ('a.npz:c', {'a': IMAGES}, r"no array 'c'; it has \['a'\]"),
    ('a.npz', {'a': OBJECTS}, "cannot be read: 'a', Object arrays"),
    ('a.npy', OBJECTS, 'cannot be read: .*Python objects'),
    ('a.npz', b'no zip', 'cannot be read: it is no .npz file'),
    ('a.npz', npy(IMAGES), 'cannot be read: it is an .npy file'),
    ('a.npz', b'', 'cannot be read: No data'),
    ('a.npz', zipped(npy(IMAGES))[:300], 'cannot be read: .*zip'),
    ('a.npz', zipped(npy(IMAGES)[:200]), 'cannot be read: '),
    ('a.npz', zipped(b'text'), "'arr_0' is no array"),
    ('a.npy', npy(IMAGES)[:200], 'cannot be read: '),
    ('a.npy', IMAGES[:0], r'has no images: its shape is \(0, 4, 6, 3\)'),
    ('a.npy', IMAGES[..., 0], r'their channel: x\[\.\.\., None\]'),
    ('a.npy', IMAGES.transpose(0, 3, 1, 2), r'x\.transpose\(0, 2, 3, 1\)'),
    ('a.npy', np.repeat(IMAGES[..., :1], 4, -1), r'x\[\.\.\., :3\]'),
    (
      'a.npy',
      FLOATS,
      r'from 0 to 0.7843: if the range is \[0, 1\], \(x \* 255',
    ),
    ('a.npy', FLOATS * 2 - 1, r'from -1 to .*\[-1, 1\], \(\(x \+ 1\) \* 127.5'),
    ('a.npy', FLOATS * np.nan, 'float32 .*NaN or infinity'),
    ('a.npy', IMAGES.astype(int), r'grey levels, x\.round'),
    ('a.npy', IMAGES.astype(int) - 300, r'bring them to 0 \.\. 255'),
    ('a.npy', np.zeros((3, 2), np.uint8), r'shape \(3, 2\); it must be uint8'),
    ('a.npy', np.array(['a']), 'it must be uint8'),
  ],
)
def test_other_arrays_are_refused(tmp_path, name, saved, words):
  if saved is not None:
    save(tmp_path / name.partition(':')[0], saved)
  with pytest.raises(ValueError, match=words):
    arrays.load(f'{tmp_path}/{name}')


@pytest.mark.parametrize(
  ('link', 'target'),
  [('here/again', '.'), ('here/above', '..'), ('there/back', '../here')],
)
def test_a_link_that_leads_back_is_not_followed(tmp_path, link, target):
  here = write(tmp_path / 'here', IMAGES[:2])
  write(tmp_path / 'there', IMAGES[2:5])
  # Another folder is: its images are meant to be here.
  (here / 'other').symlink_to('../there')
  (tmp_path / link).symlink_to(target)
  assert len(as_source(here).examples) == 5


def test_images_of_kinds_that_are_not_read_are_refused_or_skipped(pictures):
  count = len(IMAGES)
  for name in ('b.bmp', 'c.TIF', 'notes.txt'):
    (pictures / name).write_bytes(b'')
  words = rf'2 of {count + 2} images .*b\.bmp \(no \.bmp is read\)'
  with pytest.raises(data.DataError, match=words):
    opened(pictures)
  found = opened(pictures, skip_unreadable=True)
  assert len(found.dataset.examples) == count and len(found.skipped) == 2
