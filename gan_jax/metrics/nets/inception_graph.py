"""The graph of FID's Inception-v3, as a table.

The network has four pools whose outputs serve as features, and between them
blocks of parallel branches whose outputs are put side by side. It differs from
the published Inception-v3 in three things: average pools count no padding, the
last block takes the maximum where others average, and there are 1008 classes.

References:
  Szegedy et al., Rethinking the Inception architecture for computer vision,
  2016; the TensorFlow graph of 2015-12-05, used by Heusel et al., GANs trained
  by a two time-scale update rule, 2017.
"""

from collections.abc import Iterator
from typing import NamedTuple

CHANNELS = 3
CLASSES = 1008


class Unit(NamedTuple):
  """A convolution, its batch norm and a ReLU.

  Attributes:
    name: within the block.
    window: height and width of the kernel.
    size: channels of the output.
    stride: of both axes.
    padded: whether zeros around the image keep its size.
  """

  name: str
  window: tuple[int, int]
  size: int
  stride: int = 1
  padded: bool = True


class Branch(NamedTuple):
  """A pool, if any, then units one after the other.

  Attributes:
    units: of the chain.
    pool: 'average', 'max', 'max_by_2'; '' for none.
    ends: units that all take what the chain gives; theirs are put side by side.
  """

  units: tuple[Unit, ...] = ()
  pool: str = ''
  ends: tuple[Unit, ...] = ()


class Block(NamedTuple):
  """Branches from the same input, outputs side by side."""

  name: str
  branches: tuple[Branch, ...]


class Place(NamedTuple):
  """Where a unit is: PyTorch's name for it, and the shape of its kernel."""

  name: str
  kernel: tuple[int, int, int, int]


def _chain(
  name: str, *steps: tuple[int, int, int], halves: bool = False
) -> tuple[Unit, ...]:
  """Units `name_1`, `name_2`, ... of (height, width, channels)."""
  *first, last = (
    Unit(f'{name}_{i}', (height, width), size)
    for i, (height, width, size) in enumerate(steps, 1)
  )
  return (*first, _halving(last) if halves else last)


def _halving(unit: Unit) -> Unit:
  return unit._replace(stride=2, padded=False)


def _one(size: int, name: str = 'branch1x1', pool: str = '') -> Branch:
  return Branch((Unit(name, (1, 1), size),), pool)


_HALVED = Branch(pool='max_by_2')


def _a(name: str, pooled: int) -> Block:
  triple = _chain('branch3x3dbl', (1, 1, 64), (3, 3, 96), (3, 3, 96))
  branches = (
    _one(64),
    Branch(_chain('branch5x5', (1, 1, 48), (5, 5, 64))),
    Branch(triple),
    _one(pooled, 'branch_pool', 'average'),
  )
  return Block(name, branches)


def _b(name: str) -> Block:
  triple = _chain(
    'branch3x3dbl', (1, 1, 64), (3, 3, 96), (3, 3, 96), halves=True
  )
  single = _halving(Unit('branch3x3', (3, 3), 384))
  return Block(name, (Branch((single,)), Branch(triple), _HALVED))


def _c(name: str, size: int) -> Block:
  row, column = (1, 7, size), (7, 1, size)
  branches = (
    _one(192),
    Branch(_chain('branch7x7', (1, 1, size), row, (7, 1, 192))),
    Branch(
      _chain('branch7x7dbl', (1, 1, size), column, row, column, (1, 7, 192))
    ),
    _one(192, 'branch_pool', 'average'),
  )
  return Block(name, branches)


def _d(name: str) -> Block:
  seven = ((1, 1, 192), (1, 7, 192), (7, 1, 192), (3, 3, 192))
  branches = (
    Branch(_chain('branch3x3', (1, 1, 192), (3, 3, 320), halves=True)),
    Branch(_chain('branch7x7x3', *seven, halves=True)),
    _HALVED,
  )
  return Block(name, branches)


def _e(name: str, pool: str) -> Block:
  ends = lambda stem: (
    Unit(f'{stem}a', (1, 3), 384),
    Unit(f'{stem}b', (3, 1), 384),
  )
  branches = (
    _one(320),
    Branch(_chain('branch3x3', (1, 1, 384)), ends=ends('branch3x3_2')),
    Branch(
      _chain('branch3x3dbl', (1, 1, 448), (3, 3, 384)),
      ends=ends('branch3x3dbl_3'),
    ),
    _one(192, 'branch_pool', pool),
  )
  return Block(name, branches)


def _in_line(name: str, *units: Unit) -> Block:
  return Block(name, (Branch(units),))


_POOL = Block('', (_HALVED,))

# Size of the features -> the blocks between the last of them and these.
LAYERS = {
  64: (
    _in_line(
      '',
      _halving(Unit('Conv2d_1a_3x3', (3, 3), 32)),
      Unit('Conv2d_2a_3x3', (3, 3), 32, padded=False),
      Unit('Conv2d_2b_3x3', (3, 3), 64),
    ),
    _POOL,
  ),
  192: (
    _in_line(
      '',
      Unit('Conv2d_3b_1x1', (1, 1), 80),
      Unit('Conv2d_4a_3x3', (3, 3), 192, padded=False),
    ),
    _POOL,
  ),
  768: (
    _a('Mixed_5b.', 32),
    _a('Mixed_5c.', 64),
    _a('Mixed_5d.', 64),
    _b('Mixed_6a.'),
    _c('Mixed_6b.', 128),
    _c('Mixed_6c.', 160),
    _c('Mixed_6d.', 160),
    _c('Mixed_6e.', 192),
  ),
  2048: (_d('Mixed_7a.'), _e('Mixed_7b.', 'average'), _e('Mixed_7c.', 'max')),
}


def blocks(layer: int) -> list[Block]:
  """Those up to a layer of `LAYERS`."""
  return [b for size in LAYERS if size <= layer for b in LAYERS[size]]


def places(layer: int = max(LAYERS)) -> Iterator[Place]:
  """Every unit up to a layer."""
  inputs = CHANNELS
  for block in blocks(layer):
    outputs = 0
    for branch in block.branches:
      size = inputs
      for unit in branch.units:
        yield Place(block.name + unit.name, (*unit.window, size, unit.size))
        size = unit.size
      for unit in branch.ends:
        yield Place(block.name + unit.name, (*unit.window, size, unit.size))
      outputs += sum(unit.size for unit in branch.ends) or size
    inputs = outputs


def openers(block: Block) -> list[Unit]:
  """The units that take the block's input itself, pixel by pixel.

  They are one convolution with all their channels. An average may as well be
  taken after it, of fewer channels: both are linear, and the weights of an
  average sum to 1, so the bias stays.
  """
  return [
    branch.units[0]
    for branch in block.branches
    if branch.units
    and branch.units[0].window == (1, 1)
    and branch.pool in ('', 'average')
  ]
