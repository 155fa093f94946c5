"""A stream of images -> what the metrics need of it, in bounded memory.

Nothing here grows with the number of images but the plan's own list of groups:
features are summed up as they come, and at most `keep` of them are held.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from gan_jax.metrics import frechet, scores, stream
from gan_jax.metrics.feature_net import FeatureNet
from gan_jax.metrics.stream import Batch

SPLITS = 10
KEEP = 10_000
SEED = 2020
LEFT_OUT = -1


class Plan(NamedTuple):
  """What is wanted of a stream; all of it a function of an image's number.

  So the result is the same however batches and processes divide the stream.

  Attributes:
    count: how many images there are.
    group: int8 `[count]`, the group that each belongs to: moments are taken,
      and features kept, by group. `LEFT_OUT` is not looked at at all. None puts
      all into group 0.
    splits: parts of the inception score.
    keep: how many features of group 0, and as many of group 1, are held; 0
      where no metric needs single features.
    seed: of the parts and of the choice of what is kept.
  """

  count: int
  group: np.ndarray | None = None
  splits: int = SPLITS
  keep: int = KEEP
  seed: int = SEED


class Group(NamedTuple):
  """What is known of the images of one group.

  Attributes:
    moments: of all their features; None of a group without images.
    kept: some of their features, float32 `[n, F]`, in the order of the stream.
    index: numbers of these in the stream, int64 `[n]`.
  """

  moments: frechet.Moments | None
  kept: np.ndarray
  index: np.ndarray


class Collected(NamedTuple):
  """What is known of a stream.

  Attributes:
    shape: `(H, W, C)` of its images; None of a part without images.
    groups: by number.
    scores: sums for the inception score; None of a net without logits.
  """

  shape: tuple[int, int, int] | None
  groups: tuple[Group, ...]
  scores: scores.Sums | None

  @property
  def count(self) -> int:
    """How many images were seen."""
    return sum(g.moments.count for g in self.groups if g.moments is not None)

  @property
  def moments(self) -> frechet.Moments:
    """Of all groups together."""
    return merge_moments(group.moments for group in self.groups)


def halves(count: int, side: int, *, seed: int) -> np.ndarray:
  """Groups 0 and 1 of `side` images each, at random, and 2, the others.

  Returns:
    int8 `[count]`.

  Raises:
    ValueError: there are not twice `side` images.
  """
  if not 1 <= side <= count // 2:
    raise ValueError(
      f'{count} images do not make two disjoint sets of {side}; at most '
      f'{count // 2} each.'
    )
  # Not the numbers by which fakes are chosen: where these are made from the
  # real images, one by one, they would be chosen in pairs.
  order = np.random.default_rng([seed, 3]).permutation(count)
  group = np.full(count, 2, np.int8)
  group[order[:side]] = 0
  group[order[side : 2 * side]] = 1
  return group


def collect(batches: Iterable[Batch], net: FeatureNet, plan: Plan) -> Collected:
  """Runs the net over a stream, on all devices of this process.

  The last batch counts whole, whatever its size.

  Args:
    batches: the stream, or this process's part of it.
    net: the feature net.
    plan: for the whole stream.

  Raises:
    ValueError: images are not uint8 `[n, H, W, C]` of one shape, a number is
      not within the plan, or features are not finite.
  """
  if plan.count < 1:
    raise ValueError(f'count={plan.count}: there are no images to look at.')
  tally = _Tally(net, plan)
  for batch, output in stream.outputs(tally.wanted(batches), net):
    tally.add(batch, output)
  return tally.result()


def merge(a: Collected, b: Collected) -> Collected:
  """Two parts of one stream, collected by the same plan, as one."""
  if a.shape is None or b.shape is None:
    shape = a.shape or b.shape
  else:
    shape = stream.same_shape(a.shape, b.shape)
  groups = tuple(map(_merge_groups, a.groups, b.groups))
  if a.scores is None or b.scores is None:
    return Collected(shape, groups, a.scores or b.scores)
  return Collected(shape, groups, scores.merge(a.scores, b.scores))


def merge_moments(
  parts: Iterable[frechet.Moments | None],
) -> frechet.Moments | None:
  """Moments of several parts as one; None stands for an empty part."""
  merged = None
  for part in parts:
    if part is not None:
      merged = part if merged is None else frechet.merge(merged, part)
  return merged


class _Tally:
  """Adds up what comes out of the net."""

  # Features are summed in blocks of so many: products of tall blocks are fast.
  BLOCK = 1024

  def __init__(self, net, plan):
    self._plan, self._net = plan, net
    self._group = plan.group
    if plan.group is None:
      self._group = np.zeros(plan.count, np.int8)
    if self._group.shape != (plan.count,):
      raise ValueError(
        f'group has shape {self._group.shape}, not one entry for each of '
        f'{plan.count} images.'
      )
    self._keep = _chosen(self._group, plan)
    self._split = _splits(self._group, plan)
    number = int(self._group.max()) + 1
    self._moments = [None] * number
    self._waiting = [[] for _ in range(number)]
    self._kept = [[] for _ in range(number)]
    self._sums, self._shape = None, None

  def wanted(self, batches):
    """The stream without what no group wants."""
    for batch in map(stream.checked, batches):
      chosen = self._group[batch.index] != LEFT_OUT
      if chosen.all():
        yield batch
      elif chosen.any():
        yield Batch(batch.images[chosen], batch.index[chosen])

  def add(self, batch, output):
    shape = batch.images.shape[1:]
    self._shape = shape if self._shape is None else self._shape
    features, index = np.asarray(output.features), batch.index
    _check_finite(features, index)
    for group in np.unique(self._group[index]):
      chosen = self._group[index] == group
      self._waiting[group].append(features[chosen])
      if sum(map(len, self._waiting[group])) >= self.BLOCK:
        self._sum_up(group)
      held = chosen & self._keep[index]
      self._kept[group].append((index[held], features[held]))
    if output.logits is not None:
      parts = self._split[index], self._plan.splits
      sums = scores.sums(np.asarray(output.logits), *parts)
      self._sums = (
        sums if self._sums is None else scores.merge(self._sums, sums)
      )

  def _sum_up(self, group):
    if self._waiting[group]:
      features = np.concatenate(self._waiting[group])
      self._moments[group] = frechet.update(self._moments[group], features)
      self._waiting[group] = []

  def result(self):
    groups = []
    for group, moments in enumerate(self._moments):
      del moments  # of the blocks so far
      self._sum_up(group)
      groups.append(Group(self._moments[group], *self._held(group)))
    return Collected(self._shape, tuple(groups), self._sums)

  def _held(self, group):
    none = np.zeros(0, np.int64), np.zeros((0, self._net.size), np.float32)
    parts = [none, *self._kept[group]]
    index, kept = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(index)
    return kept[order], index[order]


def _chosen(group, plan):
  """Which features are held: `keep` at random of groups 0 and 1, bool."""
  chosen = np.zeros(plan.count, bool)
  for number in (0, 1):
    members = np.flatnonzero(group == number)
    # Numbers of its own, as in `halves`.
    rng = np.random.default_rng([plan.seed, 2, number, len(members)])
    chosen[rng.permutation(members)[: plan.keep]] = True
  return chosen


def _splits(group, plan):
  """The split of each image; those that are left out have no part in it."""
  seen = np.flatnonzero(group != LEFT_OUT)
  split = np.zeros(plan.count, np.int64)
  split[seen] = scores.splits_of(len(seen), plan.splits, seed=plan.seed)
  return split


def _check_finite(features, index):
  bad = index[~np.isfinite(features).all(axis=1)]
  if len(bad):
    raise ValueError(
      f'{len(bad)} of {len(features)} feature vectors of a batch hold NaN or '
      f'infinity; the first is that of image {bad[0]}.'
    )


def _merge_groups(a, b):
  index = np.concatenate([a.index, b.index])
  order = np.argsort(index)
  kept = np.concatenate([a.kept, b.kept])[order]
  return Group(merge_moments((a.moments, b.moments)), kept, index[order])
