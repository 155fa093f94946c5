"""The search: the sizes, the tuning, the criterion fixed in advance."""

import itertools
from typing import NamedTuple

import jax
import numpy as np

from gan_jax import games
from launch.lab import bad_start_kinds as starting
from launch.lab import bad_start_play as playing
from launch.lab import bad_start_tasks as tasks

MIN_CLASSES = 9
# A run succeeds within this multiple of what the ordinary start, tuned, reaches
# in the median of both losses.
DISTANCE_RATIO = 3.0
# Of the seeds: to succeed, and to fail.
MOST, FEW = 0.8, 0.2
# A slow generator against a fast critic: the nearest to the best reply that the
# theory of the loss landscape assumes.
SLOW = (3e-4, 5e-3)
RULES = {'tuned': 'rates tuned at the start', 'slow': 'slow generator'}


class Size(NamedTuple):
  """How much is played.

  Attributes:
    names: of the starts; the first is the ordinary one, the control.
    rates: tried for the generator and for the critic, all pairs.
    tuning_seeds: rates are chosen on these.
    seeds: reported.
    num_steps: of each player, in tuning and after.
    record_every: steps between records.
    first_steps: of the play that makes a start.
  """

  names: tuple[str, ...]
  rates: tuple[float, ...]
  tuning_seeds: tuple[int, ...]
  seeds: tuple[int, ...]
  num_steps: int
  record_every: int
  first_steps: int = 2000


FULL = Size(
  tuple(starting.KINDS),
  (2e-4, 1e-3, 5e-3),
  (0, 1),
  tuple(range(100, 110)),
  num_steps=4000,
  record_every=200,
)
QUICK = FULL._replace(
  names=('ordinary', 'imbalanced'),
  rates=(1e-3, 5e-3),
  tuning_seeds=(0,),
  seeds=(100, 101, 102),
  num_steps=2000,
)
MNIST = FULL._replace(names=('ordinary', 'one digit', 'imbalanced'))


class Tuned(NamedTuple):
  """What tuning chose.

  Attributes:
    rates: (name, loss) -> the pair whose median distance was least.
    cells: (name, loss) -> that median for each pair, `[pairs]`.
  """

  rates: dict
  cells: dict


class Outcome(NamedTuple):
  """One task's numbers.

  Attributes:
    task: what was played on.
    size: how much.
    tuned: the rates.
    starts: weights, with a leading axis; see `start_index`.
    seen: (rule, name, loss) -> Seen of the reported seeds.
    limit: the distance within which a run succeeds.
  """

  task: tasks.Task
  size: Size
  tuned: Tuned
  starts: games.Players
  seen: dict
  limit: float


def pairs(size: Size) -> np.ndarray:
  """All (generator, critic) rates, `[pairs, 2]`; the same for both losses."""
  return np.asarray(list(itertools.product(size.rates, size.rates)))


def search(task: tasks.Task, size: Size) -> Outcome:
  """Tunes and plays both losses from every start."""
  starts = starting.make(
    task, size.names, every_seed(size), num_steps=size.first_steps
  )
  tuned = tune(task, size, starts)
  keys = list(itertools.product(RULES, size.names, playing.LOSSES))
  runs = table(
    size,
    size.seeds,
    [(name, loss) for _, name, loss in keys],
    [
      SLOW if rule == 'slow' else tuned.rates[name, loss]
      for rule, name, loss in keys
    ],
  )
  together = playing.play(
    task,
    starts,
    runs,
    playing.whole_pool(task),
    num_steps=size.num_steps,
    record_every=size.record_every,
  )
  seen = dict(zip(keys, split(together, len(size.seeds)), strict=True))
  control = [
    seen['tuned', size.names[0], loss].distance[:, -1]
    for loss in playing.LOSSES
  ]
  limit = DISTANCE_RATIO * float(np.median(control))
  return Outcome(task, size, tuned, starts, seen, limit)


def tune(task: tasks.Task, size: Size, starts: games.Players) -> Tuned:
  """The best rates of each loss from each start, on the tuning seeds."""
  grid = pairs(size)
  keys = list(itertools.product(size.names, playing.LOSSES))
  runs = table(
    size,
    size.tuning_seeds,
    [key for key in keys for _ in grid],
    [pair for _ in keys for pair in grid],
  )
  end = playing.play(
    task,
    starts,
    runs,
    playing.whole_pool(task),
    num_steps=size.num_steps,
    record_every=size.num_steps,
  )
  last = end.distance[:, -1].reshape(len(keys), len(grid), -1)
  cells = dict(zip(keys, np.median(last, axis=2), strict=True))
  best = {key: tuple(grid[np.argmin(cells[key])].tolist()) for key in keys}
  return Tuned(best, cells)


def every_seed(size: Size) -> np.ndarray:
  """The seeds of the starts: for tuning, and then the reported ones."""
  return np.asarray(size.tuning_seeds + size.seeds)


def start_index(size: Size, name: str, seed: int) -> int:
  """Where a start lies among all of them."""
  seeds = every_seed(size).tolist()
  return size.names.index(name) * len(seeds) + seeds.index(seed)


def table(
  size: Size,
  seeds: tuple[int, ...],
  cases: list[tuple[str, str]],
  rates: list[tuple[float, float]],
) -> playing.Runs:
  """The runs of all cases, each on all seeds, the seeds inside.

  A seed's start and its batches are the same for both losses and all rates.

  Args:
    size: with the names and seeds of the starts.
    seeds: which of them, `S`.
    cases: (name of the start, loss), one for each pair of rates.
    rates: (generator's, critic's), as many.
  """
  count = len(seeds)
  return playing.Runs(
    np.asarray(
      [start_index(size, name, seed) for name, _ in cases for seed in seeds]
    ),
    np.repeat([loss == 'rs' for _, loss in cases], count),
    np.repeat(np.asarray(rates, float), count, axis=0),
    np.tile(np.asarray(seeds), len(cases)),
    np.zeros(count * len(cases), int),
  )


def split(seen: playing.Seen, count: int) -> list[playing.Seen]:
  """The records of each case, which has `count` runs."""
  parts = []
  for first in range(0, len(seen.classes), count):
    take = lambda x, first=first: x[first : first + count]
    cut = jax.tree.map(take, seen._replace(steps=()))
    parts.append(cut._replace(steps=seen.steps))
  return parts


def succeeds(seen: playing.Seen, limit: float) -> np.ndarray:
  """Which runs end with 9 classes or more within the limit, `[S]`."""
  enough = seen.classes[:, -1] >= MIN_CLASSES
  return enough & (seen.distance[:, -1] <= limit)


def successes(outcome: Outcome, rule: str, name: str) -> dict[str, int]:
  """How many seeds succeed, for each loss."""
  return {
    loss: int(succeeds(outcome.seen[rule, name, loss], outcome.limit).sum())
    for loss in playing.LOSSES
  }


def is_bad(counts: dict[str, int], num_seeds: int) -> bool:
  """Whether JS fails and RS succeeds, by the shares fixed in advance."""
  return counts['js'] <= FEW * num_seeds and counts['rs'] >= MOST * num_seeds


def bad_starts(outcome: Outcome, rule: str) -> list[str]:
  """The starts from which JS fails and RS succeeds, the control left out."""
  count = len(outcome.size.seeds)
  return [
    name
    for name in outcome.size.names[1:]
    if is_bad(successes(outcome, rule, name), count)
  ]


def widest(outcome: Outcome, rule: str) -> str:
  """The start where RS leads JS by most successes, then by distance."""

  def lead(name):
    counts = successes(outcome, rule, name)
    js, rs = (
      np.median(outcome.seen[rule, name, loss].distance[:, -1])
      for loss in playing.LOSSES
    )
    return counts['rs'] - counts['js'], js / max(rs, 1e-9)

  return max(outcome.size.names[1:], key=lead)
