"""Feeds: the order of the batches, streams, and where they resume."""

import json
import time

import jax
import numpy as np
import pytest
from PIL import Image

from gan_jax import data


class Source:
  """Example i is an image filled with i, of class i mod 3."""

  def __init__(self, size, *, jitter=False):
    self.size, self.jitter = size, jitter

  def __len__(self):
    return self.size

  def __getitem__(self, i):
    if self.jitter and i % 5 == 0:
      time.sleep(0.002)  # Slow examples must not be overtaken.
    return {'image': np.full((2, 2, 1), i, np.uint8), 'label': np.int32(i % 3)}


def resident_set(size):
  examples = np.stack([Source(size)[i]['image'] for i in range(size)])
  labels = (np.arange(size) % 3).astype(np.int32)
  return data.Dataset('counting', examples, labels, 3)


def stream_set(size, **options):
  return data.Dataset('counting', Source(size, **options), None, 3)


def batches(feed, first, count):
  """The batches' examples (which are their numbers) and labels."""
  fed = feed.next(first, count)
  pick = jax.jit(feed.pick)
  one = lambda i: jax.tree.map(lambda leaf: leaf[i], fed)
  picked = [pick(feed.resident, one(i)) for i in range(count)]
  for batch in picked:
    assert set(batch) == {'image', 'label'}
    np.testing.assert_array_equal(
      batch['label'], batch['image'][:, 0, 0, 0] % 3
    )
  return np.stack([batch['image'][:, 0, 0, 0] for batch in picked])


@pytest.mark.parametrize('dataset', [resident_set(10), stream_set(10)])
def test_every_example_at_most_once_an_epoch(dataset):
  feed = data.feed(dataset, 3, seed=0)  # 3 batches an epoch, one example left
  epochs = batches(feed, 0, 12).reshape(4, 9)
  for epoch in epochs:
    assert len(set(epoch.tolist())) == 9
  assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4  # reshuffled
  left_out = [set(range(10)) - set(epoch.tolist()) for epoch in epochs]
  assert len({example for (example,) in left_out}) > 1


def test_an_epoch_that_divides_has_every_example_once():
  feed = data.feed(resident_set(12), 4, seed=1)
  for epoch in batches(feed, 0, 6).reshape(2, 12):
    np.testing.assert_array_equal(np.sort(epoch), np.arange(12))
    assert not np.array_equal(epoch, np.arange(12))


def test_resident_and_streamed_batches_are_the_same():
  resident = data.feed(resident_set(40), 7, seed=3)
  stream = data.feed(stream_set(40, jitter=True), 7, seed=3)
  expected = batches(resident, 0, 17)
  np.testing.assert_array_equal(batches(stream, 0, 17), expected)
  assert resident.resident['image'].shape == (40, 2, 2, 1)
  assert stream.resident == {}


@pytest.mark.parametrize('make', [resident_set, stream_set])
def test_seeds_differ_and_the_same_seed_agrees(make):
  runs = [batches(data.feed(make(20), 5, seed), 0, 8) for seed in (0, 0, 1)]
  np.testing.assert_array_equal(runs[0], runs[1])
  assert not np.array_equal(runs[0], runs[2])


@pytest.mark.parametrize('make', [resident_set, stream_set])
@pytest.mark.parametrize('stop', range(9))
def test_interrupted_at_any_batch_it_goes_on_as_if_it_were_not(make, stop):
  expected = batches(data.feed(make(11), 3, seed=2), 0, 10)
  interrupted = data.feed(make(11), 3, seed=2)
  if stop:
    np.testing.assert_array_equal(
      batches(interrupted, 0, stop), expected[:stop]
    )
  state = json.loads(json.dumps(interrupted.state()))
  resumed = data.feed(make(11), 3, seed=2)
  resumed.restore(state)
  assert resumed.state() == state
  np.testing.assert_array_equal(
    batches(resumed, stop, 10 - stop), expected[stop:]
  )


@pytest.mark.parametrize('make', [resident_set, stream_set])
def test_batches_out_of_order_and_several_a_call(make):
  feed = data.feed(make(11), 3, seed=2)
  expected = batches(feed, 0, 10)
  np.testing.assert_array_equal(batches(feed, 7, 2), expected[7:9])
  np.testing.assert_array_equal(batches(feed, 1, 5), expected[1:6])
  singly = np.concatenate([batches(feed, b, 1) for b in range(10)])
  np.testing.assert_array_equal(singly, expected)


def test_state_counts_the_batches_handed_out_not_those_read_ahead():
  feed = data.feed(stream_set(40), 4, seed=0)
  assert feed.state() == {'next_batch': 0}
  feed.next(0, 3)
  assert feed.state() == {'next_batch': 3}
  assert data.feed(resident_set(40), 4, seed=0).state() == {}
  feed.restore({})  # From a run whose data were resident: nothing to do.
  assert feed.state() == {'next_batch': 3}


def test_older_checkpoints_counted_examples():
  feed = data.feed(stream_set(40), 4, seed=0)
  feed.restore({'next_index': 12})
  assert feed.state() == {'next_batch': 3}


def test_what_is_fed():
  fed = data.feed(resident_set(20), 5, seed=0).next(2, 4)
  assert fed.shape == (4, 5) and fed.dtype == np.int32
  fed = data.feed(stream_set(20), 5, seed=0).next(2, 4)
  assert fed['image'].shape == (4, 5, 2, 2, 1)
  assert fed['image'].dtype == np.uint8 and fed['label'].dtype == np.int32


def test_points_have_no_labels():
  feed = data.feed(data.load('two_clusters'), 100, seed=0)
  batch = feed.pick(feed.resident, feed.next(0, 1)[0])
  assert set(batch) == {'image'} and batch['image'].dtype == np.float32
  np.testing.assert_array_equal(
    np.sort(batch['image'], axis=0),
    np.sort(data.load('two_clusters').examples, axis=0),
  )


@pytest.mark.parametrize('batch_size', [0, 12])
def test_batch_sizes_out_of_range(batch_size):
  match = f"batch_size={batch_size} must be between 1 and 11.*'counting'"
  with pytest.raises(ValueError, match=match):
    data.feed(resident_set(11), batch_size, seed=0)


@pytest.mark.parametrize('error', [ValueError, OSError])
def test_a_damaged_example_is_named_when_its_turn_comes(error):
  class Damaged(Source):
    def __getitem__(self, i):
      if i == 5:
        raise error(f'example {i} is damaged')
      return super().__getitem__(i)

  order = batches(data.feed(resident_set(12), 3, seed=0), 0, 4)
  (at,) = np.flatnonzero((order == 5).any(axis=1))
  feed = data.feed(data.Dataset('x', Damaged(12)), 3, seed=0)
  for b in range(at):  # It is read ahead, to no harm.
    batches(feed, b, 1)
  match = "image 5 of 'x' cannot be read: example 5 is damaged"
  for _ in range(2):  # The stream does not skip it when asked again.
    with pytest.raises(data.DataError, match=match):
      feed.next(at, 1)
    assert feed.state() == {'next_batch': at}
  np.testing.assert_array_equal(batches(feed, at + 1, 3 - at), order[at + 1 :])


def test_a_damaged_file_is_named_by_its_path(tmp_path):
  for i in range(6):
    pixels = np.full((8, 8, 3), i, np.uint8)
    Image.fromarray(pixels).save(tmp_path / f'{i}.png')
  folder = data.load(f'folder:{tmp_path}', image_size=8, max_bytes=1)
  feed = data.feed(folder, 6, seed=0)
  feed.next(0, 1)
  (tmp_path / '4.png').write_bytes((tmp_path / '4.png').read_bytes()[:40])
  (tmp_path / '3.png').unlink()
  with pytest.raises(data.DataError, match=r'image [34] of .*[34]\.png'):
    feed.next(9, 1)


# Several processes.


class Watched(Source):
  """Remembers what was read."""

  def __init__(self, size):
    super().__init__(size)
    self.read = []

  def __getitem__(self, i):
    self.read.append(i)
    return super().__getitem__(i)


def joined(feeds, first, count):
  """The processes' rows of each batch, one after the other."""
  return np.concatenate([batches(f, first, count) for f in feeds], axis=1)


@pytest.mark.parametrize('make', [resident_set, stream_set])
@pytest.mark.parametrize('count', [2, 3, 6])
def test_processes_share_each_batch_in_order(make, count):
  # 3 batches an epoch and two examples left; 8 batches cross two epochs.
  whole = batches(data.feed(make(20), 6, seed=4, shard=(0, 1)), 0, 8)
  feeds = [data.feed(make(20), 6, 4, shard=(i, count)) for i in range(count)]
  np.testing.assert_array_equal(joined(feeds, 0, 8), whole)
  np.testing.assert_array_equal(joined(feeds, 5, 3), whole[5:])  # and back
  assert batches(feeds[-1], 2, 1).shape == (1, 6 // count)


@pytest.mark.parametrize('before, after', [(1, 2), (2, 1), (3, 2), (2, 6)])
def test_a_stream_resumes_on_another_number_of_processes(before, after):
  make = lambda i, count: data.feed(stream_set(20), 6, 4, shard=(i, count))
  whole = batches(make(0, 1), 0, 8)
  old = [make(i, before) for i in range(before)]
  np.testing.assert_array_equal(joined(old, 0, 4), whole[:4])
  states = [feed.state() for feed in old]
  assert states == [{'next_batch': 4}] * before
  new = [make(i, after) for i in range(after)]
  for feed in new:
    feed.restore(states[0])
    assert feed.state() == {'next_batch': 4}
  np.testing.assert_array_equal(joined(new, 4, 4), whole[4:])


def test_a_process_reads_its_own_rows_only():
  order = batches(data.feed(resident_set(40), 8, seed=0), 0, 5)
  source = Watched(40)
  feed = data.feed(data.Dataset('x', source), 8, seed=0, shard=(1, 4))
  feed.next(0, 3)  # Reads two batches ahead, so the whole epoch.
  assert set(source.read) <= set(order[:, 2:4].ravel().tolist())
  assert set(order[:3, 2:4].ravel().tolist()) <= set(source.read)


def test_rows_of_a_users_own_batches():
  fn = lambda b: {'image': np.arange(6).reshape(6, 1) + 10 * b}
  feeds = [data.feed_from_function(fn, shard=(i, 3)) for i in range(3)]
  np.testing.assert_array_equal(
    feeds[1].next(1, 2)['image'][..., 0], [[12, 13], [22, 23]]
  )
  with pytest.raises(ValueError, match='batch_size=6 must be a multiple of 4'):
    data.feed_from_function(fn, shard=(0, 4)).next(0, 1)


@pytest.mark.parametrize('make', [resident_set, stream_set])
def test_jax_is_asked_for_the_process_when_the_first_batch_is(
  make, monkeypatch
):
  whole = batches(data.feed(make(20), 6, seed=4), 0, 2)
  feed = data.feed(make(20), 6, seed=4)
  odd = data.feed(make(20), 5, seed=4)
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  np.testing.assert_array_equal(batches(feed, 0, 2), whole[:, 3:])
  with pytest.raises(ValueError, match='batch_size=5 must be a multiple of 2'):
    odd.next(0, 1)


@pytest.mark.parametrize('make', [resident_set, stream_set])
def test_shards_that_cannot_be(make):
  with pytest.raises(ValueError, match='batch_size=6 must be a multiple of 4'):
    data.feed(make(20), 6, 0, shard=(0, 4))
  for shard in [(2, 2), (-1, 2), (0, 0)]:
    with pytest.raises(ValueError, match=r'shard=\(.*must be \(index, count\)'):
      data.feed(make(20), 6, 0, shard=shard)


def test_negative_seed():
  with pytest.raises(ValueError, match='seed=-1'):
    data.feed(resident_set(11), 2, seed=-1)


def test_feed_from_function_asks_for_the_right_batches():
  fn = lambda b: {'image': np.full((2, 3), b), 'label': np.array([b, b + 1])}
  feed = data.feed_from_function(fn)
  fed = feed.next(5, 2)
  np.testing.assert_array_equal(fed['image'][:, 0, 0], [5, 6])
  np.testing.assert_array_equal(fed['label'], [[5, 6], [6, 7]])
  one = jax.tree.map(lambda leaf: leaf[1], fed)
  np.testing.assert_array_equal(feed.pick(feed.resident, one)['image'], 6)
  assert feed.state() == {}


@pytest.mark.parametrize(
  'fn, words',
  [
    (lambda b: {'x': np.zeros((2, 3))}, "a dict with 'image'"),
    (lambda b: np.zeros((2, 3)), "a dict with 'image'"),
    (lambda b: {'image': np.zeros((2 + b, 3))}, r'\(2, 3\).*\(3, 3\)'),
    (lambda b: {'image': np.zeros(2), 'label': np.zeros(3)}, 'first axis'),
    (lambda b: {'image': np.float32(1)}, 'first axis'),
  ],
)
def test_feed_from_function_errors(fn, words):
  with pytest.raises(ValueError, match=words):
    data.feed_from_function(fn).next(0, 2)
