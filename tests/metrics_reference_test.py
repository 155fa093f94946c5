"""What was collected, as bytes, and kept: the same, or computed anew."""

import os
import pathlib

import numpy as np
import pytest

from gan_jax.metrics import collect, frechet, reference, scores
from gan_jax.metrics.feature_net import FeatureNet

RNG = np.random.default_rng(0)
NET = FeatureNet('net', 3, 2, lambda params, images: images, ())
PLAN = collect.Plan(20, collect.halves(20, 6, seed=1))
KEY = {'data': 'abc', 'count': 20}


def group(count):
  features = RNG.normal(size=(count, 3)).astype(np.float32)
  index = np.arange(count, dtype=np.int64)
  return collect.Group(frechet.moments(features), features, index)


def collected():
  empty = collect.Group(
    None, np.zeros((0, 3), np.float32), np.zeros(0, np.int64)
  )
  sums = scores.sums(RNG.normal(size=(8, 2)), np.arange(8) % 4, 4)
  return collect.Collected((4, 5, 3), (group(5), empty, group(7)), sums)


def assert_same(a, b):
  assert a.shape == b.shape
  assert len(a.groups) == len(b.groups)
  for one, other in zip(flat(a), flat(b), strict=True):
    assert (one is None) == (other is None)
    if one is not None:
      assert np.asarray(one).dtype == np.asarray(other).dtype
      np.testing.assert_array_equal(one, other)


def flat(whole):
  for part in whole.groups:
    yield from (part.kept, part.index)
    yield from part.moments or (None,)
  yield from whole.scores or (None,)


NOTHING = collect.Collected(None, (), None)
PART = collect.Collected(None, (collected().groups[1],), None)


@pytest.mark.parametrize('whole', [collected(), NOTHING, PART])
def test_bytes_are_all_of_it(whole):
  assert_same(reference.load(reference.dump(whole)), whole)


def test_what_was_loaded_still_merges():
  whole = reference.load(reference.dump(collected()))
  assert collect.merge(whole, whole).count == 2 * (5 + 7)


@pytest.mark.parametrize('place', [0, 31, 32, 700, -1])
def test_damaged_bytes_are_refused(place):
  dumped = bytearray(reference.dump(collected()))
  dumped[place] ^= 1
  with pytest.raises(ValueError, match='damaged'):
    reference.load(bytes(dumped))


@pytest.mark.parametrize('length', [0, 10, 40, 900])
def test_cut_bytes_are_refused(length):
  with pytest.raises(ValueError, match='damaged'):
    reference.load(reference.dump(collected())[:length])


class Computed:
  """Counts how often it is called."""

  def __init__(self):
    self.times, self.made = 0, collected()

  def __call__(self):
    self.times += 1
    return self.made


def look_up(compute, folder, key=KEY):
  said = []
  found = reference.cached(
    compute, key=key, folder=str(folder), say=said.append
  )
  assert_same(found, compute.made)
  return said


def test_it_is_computed_once_and_then_read(tmp_path):
  compute, folder = Computed(), tmp_path / 'new' / 'cache'
  assert look_up(compute, folder) == []
  assert look_up(compute, folder) == []
  assert compute.times == 1
  assert len(list(folder.iterdir())) == 1  # nothing half written is left
  look_up(compute, folder, KEY | {'count': 21})
  assert compute.times == 2
  look_up(compute, folder, dict(reversed(KEY.items())))  # the order is nothing
  assert compute.times == 2


@pytest.mark.parametrize('mask', [0o022, 0o077])
def test_files_are_for_those_whom_the_umask_lets_read_them(tmp_path, mask):
  before = os.umask(mask)
  try:
    look_up(Computed(), tmp_path)
  finally:
    os.umask(before)
  (file,) = tmp_path.iterdir()
  assert file.stat().st_mode & 0o777 == 0o666 & ~mask


def test_an_empty_folder_name_keeps_nothing(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  compute = Computed()
  look_up(compute, '')
  look_up(compute, '')
  assert compute.times == 2
  assert not list(tmp_path.iterdir())


def test_the_home_folder_is_known(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  look_up(Computed(), '~/kept')
  assert len(list((tmp_path / 'kept').iterdir())) == 1


@pytest.mark.parametrize(
  'damage',
  [
    lambda content: content[:-1],
    lambda content: content[:20],
    lambda content: b'',
    lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    lambda content: content.replace(b'abc', b'abd', 1),
  ],
)
def test_a_damaged_file_is_computed_anew_and_put_right(tmp_path, damage):
  compute = Computed()
  look_up(compute, tmp_path)
  (file,) = tmp_path.iterdir()
  file.write_bytes(damage(file.read_bytes()))
  (said,) = look_up(compute, tmp_path)
  assert file.name in said and 'computed anew' in said and 'damaged' in said
  assert compute.times == 2
  assert look_up(compute, tmp_path) == []
  assert compute.times == 2


def test_another_version_is_another_file(tmp_path, monkeypatch):
  compute = Computed()
  look_up(compute, tmp_path)
  monkeypatch.setattr(reference, 'VERSION', reference.VERSION + 1)
  assert look_up(compute, tmp_path) == []
  assert compute.times == 2


def test_a_folder_that_cannot_be_used_is_said_once(tmp_path):
  folder = tmp_path / 'file'
  folder.write_text('in the way')
  compute = Computed()
  (said,) = look_up(compute, folder)
  assert 'not kept' in said and str(folder) in said
  assert look_up(compute, folder) == []
  assert compute.times == 2


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'replace', full)
  (said,) = look_up(Computed(), tmp_path)
  assert 'No space left' in said
  assert not list(tmp_path.iterdir())


def test_errors_of_the_computation_are_not_hidden(tmp_path):
  def compute():
    raise OSError('the data are gone')

  with pytest.raises(OSError, match='the data are gone'):
    reference.cached(compute, key=KEY, folder=str(tmp_path))
  assert not list(pathlib.Path(tmp_path).iterdir())


def test_a_key_is_all_that_numbers_follow_from(monkeypatch):
  key = reference.key_of(NET, PLAN, fingerprint='abc')
  assert reference.key_of(NET, PLAN._replace(), fingerprint='abc') == key
  group = collect.halves(20, 6, seed=2)
  others = [
    reference.key_of(NET, PLAN, fingerprint='abd'),
    *(
      reference.key_of(NET._replace(**change), PLAN, fingerprint='abc')
      for change in (dict(name='a'), dict(digest='b'), dict(resize='clean'))
    ),
    *(
      reference.key_of(NET, PLAN._replace(**change), fingerprint='abc')
      for change in (
        dict(group=group),
        dict(group=None),
        dict(splits=3),
        dict(keep=3),
        dict(seed=3),
      )
    ),
  ]
  # What is fitted anew by another version is another net.
  filed = NET._replace(digest='c')
  others.append(reference.key_of(filed, PLAN, fingerprint='abc'))
  monkeypatch.setattr('sklearn.__version__', '0.1')
  others.append(reference.key_of(NET, PLAN, fingerprint='abc'))
  assert reference.key_of(filed, PLAN, fingerprint='abc') == others[-2]
  assert key not in others
  assert len({str(other) for other in others}) == len(others)
