"""A stream of images leaves behind what it would at once, however divided."""

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.metrics import collect, stream
from gan_jax.metrics.feature_net import FeatureNet, Output

COUNT, SIZE, CLASSES = 37, 5, 3


def images(count=COUNT, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (count, 4, 4, 3)).astype(np.uint8)


def net(*, on_host=False, batch_size=2):
  """Features that are linear in the pixels, so moments follow by hand."""
  rng = np.random.default_rng(1)
  weights = rng.integers(-3, 4, (48, SIZE + CLASSES)).astype(np.float32)

  def apply(params, x):
    xp = np if on_host else jnp
    made = x.reshape(len(x), -1).astype(xp.float32) @ params
    return Output(made[:, :SIZE], made[:, SIZE:] / 1000)

  return FeatureNet(
    'linear', SIZE, CLASSES, apply, weights, '', '', on_host, batch_size
  )


def features(x):
  return x.reshape(len(x), -1).astype(np.float64) @ net().params[:, :SIZE]


def batches(x, size, first=0):
  for start in range(0, len(x), size):
    part = x[start : start + size]
    yield collect.Batch(part, first + start + np.arange(len(part)))


@pytest.mark.parametrize('on_host', [False, True])
@pytest.mark.parametrize('size', [1, 7, 8, 16, 100])
def test_moments_are_those_of_all_features(size, on_host):
  x = images()
  plan = collect.Plan(COUNT, splits=2)
  found = collect.collect(batches(x, size), net(on_host=on_host), plan)
  assert found.count == COUNT and found.shape == (4, 4, 3)
  expected = features(x)
  np.testing.assert_allclose(found.moments.mean, expected.mean(0), rtol=1e-6)
  np.testing.assert_allclose(
    found.moments.covariance, np.cov(expected.T), rtol=1e-6, atol=1e-6
  )
  # All are kept, in their order.
  np.testing.assert_array_equal(found.groups[0].index, np.arange(COUNT))
  np.testing.assert_allclose(found.groups[0].kept, expected, rtol=1e-6)


def test_groups_are_apart():
  x = images()
  group = np.array([0, 1, 2] * 12 + [1], np.int8)
  plan = collect.Plan(COUNT, group, splits=2, keep=4)
  found = collect.collect(batches(x, 5), net(), plan)
  for number in range(3):
    members = features(x)[group == number]
    part = found.groups[number]
    assert part.moments.count == len(members)
    np.testing.assert_allclose(part.moments.mean, members.mean(0), rtol=1e-6)
    # Of the third group nothing is kept.
    assert len(part.kept) == (0 if number == 2 else 4)
    assert (group[part.index] == number).all()
    kept = features(x)[part.index]
    np.testing.assert_allclose(part.kept, kept, rtol=1e-6)


def test_what_is_left_out_is_not_looked_at():
  x = images()
  x[::3] = 0
  group = np.where(np.arange(COUNT) % 3, 0, collect.LEFT_OUT).astype(np.int8)
  seen = []

  def apply(params, batch):
    seen.extend(batch.reshape(len(batch), -1).sum(1))
    return net(on_host=True).apply(params, batch)

  counting = net(on_host=True)._replace(apply=apply)
  plan = collect.Plan(COUNT, group, splits=2)
  found = collect.collect(batches(x, 5), counting, plan)
  assert found.count == len(seen) == 24 and min(seen) > 0
  expected = features(x[group == 0]).mean(0)
  np.testing.assert_allclose(found.moments.mean, expected, rtol=1e-6)


def test_parts_of_a_stream_merge_to_the_whole():
  x = images()
  plan = collect.Plan(
    COUNT, collect.halves(COUNT, 10, seed=3), splits=3, keep=6
  )
  whole = collect.collect(batches(x, 7), net(), plan)
  parts = [
    collect.collect(batches(x[a:b], 4, first=a), net(), plan)
    for a, b in ((20, COUNT), (0, 20))
  ]
  merged = collect.merge(*parts)
  assert merged.count == COUNT
  for one, other in zip(whole.groups, merged.groups, strict=True):
    np.testing.assert_array_equal(one.index, other.index)
    np.testing.assert_allclose(one.kept, other.kept, rtol=1e-6)
    np.testing.assert_allclose(
      one.moments.covariance, other.moments.covariance, rtol=1e-9, atol=1e-9
    )
  np.testing.assert_array_equal(whole.scores.count, merged.scores.count)
  np.testing.assert_allclose(whole.scores.p, merged.scores.p, rtol=1e-6)


def test_a_part_without_images_changes_nothing():
  plan = collect.Plan(COUNT, splits=2)
  whole = collect.collect(batches(images(), 8), net(), plan)
  nothing = collect.collect(iter(()), net(), plan)
  assert nothing.count == 0 and nothing.shape is None
  for merged in (collect.merge(whole, nothing), collect.merge(nothing, whole)):
    assert merged.shape == (4, 4, 3) and merged.count == COUNT
    np.testing.assert_array_equal(merged.scores.p, whole.scores.p)


def test_halves_are_disjoint_and_of_one_size():
  group = collect.halves(11, 4, seed=0)
  assert np.bincount(group).tolist() == [4, 4, 3]
  assert (collect.halves(11, 4, seed=1) != group).any()
  with pytest.raises(ValueError, match=r'11 images .* two disjoint sets of 6'):
    collect.halves(11, 6, seed=0)


def test_regular_batches_keep_all_and_their_order():
  x = images()
  pieces = [*batches(x[:3], 3), *batches(x[3:30], 27, 3)]
  pieces += [*batches(x[30:], 1, 30)]
  found = list(stream.regular(pieces, 8))
  assert [len(b.images) for b in found] == [8, 8, 8, 8, 5]
  np.testing.assert_array_equal(np.concatenate([b.images for b in found]), x)
  index = np.concatenate([b.index for b in found])
  np.testing.assert_array_equal(index, np.arange(COUNT))


@pytest.mark.parametrize(
  ('x', 'words'),
  [
    (images().astype(np.float32), 'uint8 .* float32'),
    (images()[0], r'got uint8 of shape \(4, 4, 3\)'),
    (np.zeros((2, 4, 4, 2), np.uint8), '1 or 3 channels'),
  ],
)
def test_what_are_no_images(x, words):
  batch = collect.Batch(x, np.arange(len(x)))
  with pytest.raises(ValueError, match=words):
    collect.collect([batch], net(), collect.Plan(COUNT))


@pytest.mark.parametrize('on_host', [False, True])
def test_images_of_two_shapes(on_host):
  pieces = [
    collect.Batch(np.zeros((2, 4, side, 3), np.uint8), np.arange(2))
    for side in (4, 3)
  ]
  with pytest.raises(ValueError, match=r'\(4, 4, 3\) and \(4, 3, 3\)'):
    collect.collect(pieces, net(on_host=on_host), collect.Plan(4))


def test_features_that_are_not_finite():
  broken = net()._replace(params=np.full_like(net().params, np.nan))
  with pytest.raises(ValueError, match='8 of 8 .* NaN .* image 0'):
    collect.collect(batches(images(), 8), broken, collect.Plan(COUNT))


def test_splits_are_of_what_is_looked_at():
  # 12 of 37 images in 4 splits: three each, wherever they stand.
  group = np.full(COUNT, collect.LEFT_OUT, np.int8)
  group[np.random.default_rng(0).permutation(COUNT)[:12]] = 0
  plan = collect.Plan(COUNT, group, splits=4)
  found = collect.collect(batches(images(), 5), net(), plan)
  assert found.scores.count.tolist() == [3, 3, 3, 3]
