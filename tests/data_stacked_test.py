"""Stacked digits: every channel is a digit, and the label says which three."""

import data_tfds_test
import numpy as np
import pytest

from gan_jax import data
from gan_jax.data import digits, stacked
from gan_jax.metrics import digits as digits_net

LABELS = [686, 452, 498, 984]


@pytest.fixture(scope='module')
def small():
  return stacked.load('stacked_digits', image_size=8, num_images=5000)


def test_the_names_are_listed():
  assert {'stacked_digits', 'stacked_mnist'} <= set(data.names())


def test_the_whole_set_as_named():
  whole = data.load('stacked_digits')
  assert whole.examples.shape == (128_000, 16, 16, 3)
  assert whole.examples.dtype == np.uint8 and whole.labels.dtype == np.int32
  assert (whole.name, whole.num_classes) == ('stacked_digits', 1000)
  counts = np.bincount(whole.labels, minlength=1000)
  # 128 of each, give or take 11, and what digits are not even.
  assert counts.shape == (1000,) and 80 < counts.min() < counts.max() < 180
  # The channels are drawn independently: no mutual information to speak of,
  # (9 * 9) / (2 * 128,000) nats being the bias of its estimate.
  cells = counts.reshape(10, 10, 10) / 128_000
  for channel in range(3):
    joint = cells.sum(axis=channel)
    product = np.outer(joint.sum(1), joint.sum(0))
    assert np.sum(joint * np.log(joint / product)) < 3 * 81 / 256_000


def test_every_channel_is_the_digit_that_the_label_says(small):
  singles = digits.load(image_size=8)
  pixels = singles.examples.reshape(len(singles.labels), -1)
  known = {pixels[i].tobytes(): k for i, k in enumerate(singles.labels)}
  for i in range(500):
    found = [known[small.examples[i, ..., c].tobytes()] for c in range(3)]
    assert found == [int(digit) for digit in f'{small.labels[i]:03}']


def test_the_splits_share_no_digit_and_are_those_of_the_classifier(small):
  test = stacked.load('stacked_digits', 'test', image_size=8, num_images=5000)
  pixels = digits.load(image_size=8).examples
  parts = digits_net.split()
  for stacks, indices in zip((small, test), parts, strict=True):
    singles = np.moveaxis(stacks.examples, -1, 0).reshape(-1, 64)
    expected = pixels[indices].reshape(-1, 64)
    # 15,000 draws miss none of 360, and less than one of 1,437.
    found, drawn = (
      {row.tobytes() for row in rows} for rows in (singles, expected)
    )
    assert found <= drawn and len(drawn) - len(found) < 3


def test_the_set_is_always_the_same(small):
  again = stacked.load('stacked_digits', image_size=8, num_images=5000)
  np.testing.assert_array_equal(small.examples, again.examples)
  np.testing.assert_array_equal(small.labels, again.labels)
  # Fewer are the first of more, and labels go with images at any size.
  larger = stacked.load('stacked_digits', image_size=16, num_images=50)
  np.testing.assert_array_equal(small.labels[:50], larger.labels)
  # On every machine: a change of these changes what runs are trained on.
  np.testing.assert_array_equal(small.labels[:4], LABELS)


def test_a_set_larger_than_max_bytes_is_stacked_when_asked_for(small):
  bytes_ = small.examples.nbytes
  options = dict(image_size=8, num_images=5000)
  whole = stacked.load('stacked_digits', max_bytes=bytes_, **options)
  assert isinstance(whole.examples, np.ndarray)
  lazy = stacked.load('stacked_digits', max_bytes=bytes_ - 1, **options)
  assert len(lazy.examples) == 5000 and lazy.labels is None
  for i in (0, 17, 4999):
    example = lazy.examples[i]
    np.testing.assert_array_equal(example['image'], small.examples[i])
    assert example['label'] == small.labels[i]
  with pytest.raises(IndexError):
    lazy.examples[5000]


def test_lazy_and_resident_feeds_give_the_same_batches(small):
  lazy = small._replace(
    examples=stacked.load(
      'stacked_digits', image_size=8, num_images=5000, max_bytes=1
    ).examples,
    labels=None,
  )
  batches = []
  for dataset in (small, lazy):
    feed = data.feed(dataset, 8, 0)
    fed = feed.next(0, 2)
    one = {k: v[1] for k, v in fed.items()} if isinstance(fed, dict) else fed[1]
    batches.append(feed.pick(feed.resident, one))
  for key in ('image', 'label'):
    np.testing.assert_array_equal(batches[0][key], batches[1][key])


@pytest.mark.parametrize(
  ('name', 'options', 'message'),
  [
    ('stacked_digits', dict(split='validation'), r"\['train', 'test'\]"),
    ('stacked_digits', dict(image_size=7), 'must be 8 or more'),
    ('stacked_mnist', {}, "'mnist' .*data_dir must be given"),
    ('stacked_cifar', {}, "is not one of .*'stacked_mnist'"),
  ],
)
def test_bad_settings_are_refused(name, options, message):
  with pytest.raises(ValueError, match=message):
    data.load(name, **options)


def mnist(folder):
  """A prepared 'mnist' of five plain digits: grey level 10 i, label i mod 3."""
  images = np.full((5, 28, 28, 1), 10, np.uint8)
  images *= np.arange(5, dtype=np.uint8)[:, None, None, None]
  data_tfds_test.write_prepared(folder, 'mnist', images, version='3.0.1')
  return str(folder)


def test_stacked_mnist_is_made_of_the_prepared_mnist(tmp_path):
  options = dict(data_dir=mnist(tmp_path), num_images=300)
  made = stacked.load('stacked_mnist', **options)
  assert (made.name, made.num_classes) == ('stacked_mnist', 1000)
  assert made.examples.shape == (300, 28, 28, 3)
  chosen = made.examples[:, 0, 0] // 10
  assert set(np.unique(chosen)) == set(range(5))
  red, green, blue = (chosen % 3).astype(int).T
  np.testing.assert_array_equal(made.labels, 100 * red + 10 * green + blue)
  # 'test' holds the first two; other sizes are those of 'mnist' itself.
  test = stacked.load('stacked_mnist', 'test', image_size=32, **options)
  assert test.examples.shape == (300, 32, 32, 3)
  assert set(np.unique(test.examples)) == {0, 10}
  # So small a limit that the single digits are read when asked for, too.
  lazy = stacked.load('stacked_mnist', max_bytes=1, **options)
  assert not isinstance(lazy.examples.singles.examples, np.ndarray)
  for i in (0, 299):
    example = lazy.examples[i]
    np.testing.assert_array_equal(example['image'], made.examples[i])
    assert example['label'] == made.labels[i]
