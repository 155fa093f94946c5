"""Many seeds of one experiment at once, each in a workdir of its own.

They share the data on the devices and one call of the host; see `together` for
how. Those that are behind (a run was killed between saves, or a seed was added
later) play by themselves until they are where the others wait.
"""

import contextlib
import dataclasses
import os
import pathlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import jax
import numpy as np

from gan_jax import (
  build,
  data,
  divergence,
  loop,
  parallel,
  scribe,
  signals,
  step,
  train,
)
from gan_jax import together as programs
from gan_jax import workdir as workdirs

Say = Callable[[str], None]

# Of these every run has its own; in all else they agree.
_OWN = ('setup', 'feed', 'seed', 'dataset', 'initial', 'config')


@dataclasses.dataclass
class _Seed:
  """A run among others; `outcome` is there when it has ended."""

  run: build.Run
  path: pathlib.Path
  say: Say
  done: int = 0
  state: step.TrainState | None = None
  pending: list[dict[str, np.ndarray]] = dataclasses.field(default_factory=list)
  writer: scribe.Scribe | None = None
  # Closes the writer.
  held: contextlib.ExitStack = dataclasses.field(
    default_factory=contextlib.ExitStack
  )
  outcome: step.TrainState | divergence.Diverged | None = None


def of_seed(
  run: build.Run, seed: int, batch_size: int, threads: int = 0
) -> build.Run:
  """The same run from another seed; shares all that does not depend on it.

  Args:
    run: from `train.build`, or filled by hand with a data set.
    seed: of parameters, latents and order.
    batch_size: of the run.
    threads: that read and decode streamed data, see `data.feed`.
  """
  feed = data.feed(run.dataset, batch_size, seed, threads=threads)
  config = {**run.config, 'seed': seed} if run.config else {}
  return run._replace(seed=seed, feed=feed, config=config)


def folder(workdir: str | os.PathLike, seed: int) -> pathlib.Path:
  """Workdir of one seed."""
  return pathlib.Path(workdir) / f'seed-{seed}'


def train_seeds(
  runs: Sequence[build.Run],
  workdirs: Sequence[str | os.PathLike],
  *,
  together: str = 'auto',
  say: Say = print,
) -> list[step.TrainState | divergence.Diverged]:
  """Plays runs to their end at once, each as `train.train` would by itself.

  Args:
    runs: of the same data and intervals. They differ in seeds; in learning
      rates too, but for 'vmap'.
    workdirs: one for each. The lines of `metrics.jsonl` also tell
      `seeds_together`, how many runs shared the steps. A run that diverges gets
      `diverged.json`, its step and the reason, and is not trained again.
    together: a name of `together.NAMES`, or 'auto'.
    say: takes each line for the terminal.

  Returns:
    For each run its last state, or how it diverged.

  Raises:
    train.Interrupted: SIGINT or SIGTERM came; all states are saved.
    workdir.WorkdirError: see `train.train`; before any step is played.
    checkpoints.CheckpointError: see `train.train`.
    ValueError: the runs do not suit each other or `together`, or there are
      several processes; else see `train.train`.
  """
  paths = [pathlib.Path(path) for path in workdirs]
  together = _checked(runs, paths, together)
  devices = parallel.make(runs[0].parallel)
  seeds = [
    _Seed(run, path, _prefixed(say, path))
    for run, path in zip(runs, paths, strict=True)
  ]
  with contextlib.ExitStack() as locks:
    for seed in seeds:
      train.claim(seed.run, seed.path, locks, seed.say)
    for seed in seeds:
      _start(seed, devices)
    if any(seed.outcome is None for seed in seeds):
      say(f'{_going(seeds)} of {len(seeds)} runs to train, {together}.')
      _play(seeds, together, devices)
  return [seed.outcome for seed in seeds]


def _prefixed(say, path):
  return lambda line: say(f'{path.name}: {line}')


def _going(seeds):
  return sum(seed.outcome is None for seed in seeds)


def _checked(runs, paths, together):
  """Raises ValueError for what is wrong; returns a name for 'auto'."""
  if not runs or len(runs) != len(paths):
    raise ValueError(
      f'{len(runs)} runs and {len(paths)} workdirs; each run needs one.'
    )
  if len({path.absolute() for path in paths}) < len(paths):
    raise ValueError('two runs have the same workdir.')
  if jax.process_count() > 1:
    raise ValueError(
      'many seeds at once are for one process; run each seed by itself on '
      'several, or give each process its own seeds.'
    )
  for run in runs[1:]:
    _check_agree(runs[0], run)
    build.check_axis(run)
  if together == 'auto':
    together = programs.choose(runs)
  programs.check(together, runs)
  train.check(runs[0])
  return together


def _check_agree(a, b):
  for field in build.Run._fields:
    if field not in _OWN and getattr(a, field) != getattr(b, field):
      raise ValueError(
        f'runs together have the same {field}, but these have '
        f'{getattr(a, field)!r} and {getattr(b, field)!r}.'
      )
  name = lambda run: getattr(run.dataset, 'name', None)
  same = _same_arrays(a.feed.resident, b.feed.resident)
  if name(a) != name(b) or not same:
    raise ValueError(
      'runs together have the same data, but these have different ones.'
    )


def _same_arrays(a, b):
  if jax.tree.structure(a) != jax.tree.structure(b):
    return False
  pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  return all(x is y or np.array_equal(x, y) for x, y in pairs)


def _start(seed, devices):
  """Takes one run up, unless it has ended before."""
  ended = workdirs.divergence(seed.path)
  if ended is not None:
    seed.say(
      f'diverged at step {ended["step"]} ({ended["reason"]}); not trained '
      f'again. To try, delete {workdirs.DIVERGED}.'
    )
    seed.outcome = divergence.Diverged(ended['reason'], ended['step'])
    return
  at = train.start(seed.run, seed.path, devices, seed.say)
  seed.state, seed.done, seed.pending = at
  if seed.done >= seed.run.num_steps:
    seed.say(f'finished: {seed.done} of {seed.run.num_steps} steps.')
    with _noting_divergence(seed):
      scribe.catch_up(seed.run, seed.path, seed.done, seed.say)
    seed.outcome = seed.outcome or seed.state


def _play(seeds, together, devices):
  ending = threading.Event()
  resident = devices.replicate(seeds[0].run.feed.resident)
  known = []
  make = lambda runs: programs.make(
    together if len(runs) > 1 else 'in_turn', runs, devices, resident, known
  )
  with (
    signals.collected(ending.set) as received,
    # One for all: evaluations side by side would take the memory of all.
    futures.ThreadPoolExecutor(max_workers=1) as evaluator,
    _all_open(seeds, ending, evaluator),
  ):
    signum = 0
    while not signum and _going(seeds):
      signum = _play_those_behind(seeds, make, received)
    for seed in seeds:
      _close(seed)
  if signum:
    going = [seed.done for seed in seeds if seed.outcome is None]
    done = min(going, default=seeds[0].run.num_steps)
    raise train.Interrupted(signum, done)


@contextlib.contextmanager
def _all_open(seeds, ending, evaluator) -> Iterator[None]:
  """Each run with a writer; an error ends them all, without waiting."""
  with contextlib.ExitStack() as all_held:
    for seed in seeds:
      if seed.outcome is None:
        all_held.enter_context(seed.held)
        train.write_down(seed.run, seed.path, seed.done, seed.say)
        _open(seed, ending, evaluator)
    yield


def _open(seed, ending, evaluator):
  scribed = scribe.open_(
    seed.run, seed.path, seed.done, seed.say, ending, evaluator
  )
  with _noting_divergence(seed):
    seed.writer = seed.held.enter_context(scribed)
    loop.begin(_member(seed), seed.state, seed.done)


def _member(seed):
  return loop.Member(seed.run, seed.writer, seed.pending)


def _play_those_behind(
  seeds: Sequence[_Seed],
  make: Callable[[list[build.Run]], programs.Program],
  received: list[int],
) -> int:
  """Plays until they have caught up or one diverges; returns a signal or 0."""
  going = [seed for seed in seeds if seed.outcome is None]
  start, end = min(seed.done for seed in going), going[0].run.num_steps
  behind = [seed for seed in going if seed.done == start]
  until = min((s.done for s in going if s.done > start), default=end)
  program = make([seed.run for seed in behind])
  members, states = [_member(s) for s in behind], [s.state for s in behind]
  ended = loop.play(
    members, program, states, start, until, received, shared=len(behind)
  )
  for i, seed in enumerate(behind):
    if i not in ended.lost:
      seed.state, seed.done = program.one(ended.packed, i), ended.done
  for i, error in ended.lost.items():
    with _noting_divergence(behind[i]):
      raise error
  for seed in behind:
    if seed.outcome is None and seed.done == end:
      _close(seed)
      seed.outcome = seed.outcome or seed.state
  return ended.signum


def _close(seed):
  """Waits until all is written; a sample may show only now that it diverged."""
  with _noting_divergence(seed, closed=True):
    seed.held.close()


@contextlib.contextmanager
def _noting_divergence(seed: _Seed, *, closed: bool = False) -> Iterator[None]:
  """A run that diverges ends, and is written down; the others go on."""
  try:
    yield
  except divergence.Diverged as error:
    seed.outcome, seed.state = error, None
    workdirs.write_divergence(seed.path, error.step, str(error))
    if not closed:
      with contextlib.suppress(divergence.Diverged):  # once more
        seed.held.close()
    # Only now is a checkpoint written that was on its way.
    seed.say(f'{error}; stopped, {train.kept(seed.path)}. The others go on.')


def summary(seeds: Sequence[int], outcomes: Sequence[Any]) -> str:
  """Which seeds diverged, in a line; '' for none."""
  lost = [
    f'seed {seed} at step {outcome.step}'
    for seed, outcome in zip(seeds, outcomes, strict=True)
    if isinstance(outcome, divergence.Diverged)
  ]
  if not lost:
    return ''
  rest = len(seeds) - len(lost)
  return f'diverged: {", ".join(lost)}; finished: {rest} of {len(seeds)}.'
