"""The training loop, as a story.

`build(config)` turns names into functions; `train(run, workdir)` plays the run
and leaves a folder that the same command takes up again, bit by bit.
"""

import contextlib
import math
import os
import pathlib
import threading
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from gan_jax import (
  batch_game,
  best,
  checkpoints,
  divergence,
  evaluations,
  loop,
  measuring,
  parallel,
  scribe,
  signals,
  step,
  together,
)
from gan_jax import build as building
from gan_jax import workdir as workdirs

Run = building.Run
Setup = batch_game.Setup
Penalty = batch_game.Penalty
Diverged = divergence.Diverged
build = building.build
game_defaults = building.game_defaults


class Interrupted(signals.Interrupted):
  """A signal ended the run after the call in flight; its state is saved."""

  def __init__(self, signum: int, done: int):
    words = f'saved step {done}; the same command goes on from there.'
    super().__init__(words, signum)


class Progress(NamedTuple):
  """Where a run stands.

  Attributes:
    state: on all devices.
    done: steps.
    pending: metrics since its last logged step.
  """

  state: step.TrainState
  done: int
  pending: list[dict[str, np.ndarray]]


def train(
  run: Run,
  workdir: str | os.PathLike,
  *,
  say: Callable[[str], None] = print,
) -> step.TrainState:
  """Plays a run to its end, from the newest checkpoint in the folder if any.

  It uses all devices that JAX sees, of all processes. Every process of several
  calls it with the same run; the first alone touches the workdir and speaks.

  Args:
    run: from `build(config)`, or filled by hand.
    workdir: gets `config.json`, `metrics.jsonl`, `tensorboard/`,
      `checkpoints/` and `samples/`; `evaluation.json` and `best/` where the run
      is evaluated as it goes; `diverged.json` where it diverges, which another
      try sets aside.
    say: takes each line for the terminal.

  Returns:
    The state after the last step, on all devices.

  Raises:
    workdir.WorkdirError: the folder is in use, not writable or of another run.
    checkpoints.CheckpointError: there are checkpoints, but none is whole.
    Diverged: a loss is not finite; the last good checkpoint stays.
    Interrupted: SIGINT or SIGTERM came; the state is saved.
    parallel.LeaderFailed: in another process than the first, which has raised
      one of the above.
    ValueError: an interval is not a multiple of `steps_per_call`, the setup
      does not suit `run.parallel`, or evaluation could not succeed.
  """
  check(run)
  leads = parallel.is_leader()
  say = say if leads else lambda line: None
  devices, path = parallel.make(run.parallel), pathlib.Path(workdir)
  with contextlib.ExitStack() as held:
    parallel.on_leader(lambda: claim(run, path, held, say))
    progress = start(run, path, devices, say)
    if progress.done >= run.num_steps:
      say(f'{path} is finished: {progress.done} of {run.num_steps} steps.')
      parallel.on_leader(lambda: scribe.catch_up(run, path, progress.done, say))
      return progress.state
    parallel.on_leader(lambda: write_down(run, path, progress.done, say))
    try:
      return _play(run, path, devices, progress, say)
    except Diverged as error:
      if not leads:
        raise
      workdirs.write_divergence(path, error.step, str(error))
      raise Diverged(
        f'{error}; stopped, {kept(path)}. Lower the learning rates or add a '
        'penalty, in a new workdir.',
        error.step,
      ) from None


def check(run: Run) -> None:
  """Finds what would end a run with ValueError before its first step."""
  building.check_intervals(run)
  building.check_axis(run)
  check_evaluation(run)


def check_evaluation(run: Run) -> None:
  """Raises ValueError where evaluation in training could not succeed."""
  if run.best_by and not run.evaluate_every:
    raise ValueError(
      f'best_by={run.best_by!r} needs evaluate_every: the best checkpoint is '
      'one of those evaluated. (Or leave it out here, and give it to '
      '--mode=watch.)'
    )
  if run.evaluate_every and parallel.is_leader():
    measuring.check(run)


def kept(path: pathlib.Path) -> str:
  """What a run that diverged leaves, in words."""
  saved = checkpoints.steps(path / 'checkpoints')
  what = f'the checkpoint of step {saved[0]} is' if saved else 'nothing was'
  return f'{what} kept'


def claim(
  run: Run,
  path: pathlib.Path,
  held: contextlib.ExitStack,
  say: Callable[[str], None],
) -> None:
  """Holds a workdir's lock until `held` closes.

  Raises:
    workdir.WorkdirError: it is in use, not writable or of another run.
  """
  changes = workdirs.check(path, run.config)
  held.enter_context(workdirs.claim(path))
  for change in changes:
    say(f'resuming with another {change}; not bit-exact where that matters.')


def write_down(
  run: Run, path: pathlib.Path, done: int, say: Callable[[str], None]
) -> None:
  """Records the config, and takes back what was written after a step."""
  workdirs.cut_metrics(path, done)
  evaluations.cut(path, done, say=say)
  best.cut(path, done, say=say)
  workdirs.record(path, run.config)
  for name in workdirs.set_aside(path, [workdirs.DIVERGED]):
    say(f'it had diverged, see {name}; trained again.')


def start(
  run: Run,
  path: pathlib.Path,
  devices: parallel.Devices,
  say: Callable[[str], None],
) -> Progress:
  """Takes a run up from its newest checkpoint, or begins it."""
  fresh = lambda: step.init(run.setup, jax.random.key(run.seed), run.initial)
  like = jax.eval_shape(fresh)
  found = {}
  at = parallel.on_leader(lambda: _restore(run, path, like, found, say))
  if at is None:
    return Progress(devices.replicate(fresh()), 0, [])
  state = found.get('state')
  if jax.process_count() > 1:
    state = parallel.from_leader(state, like)
  run.feed.restore(at['feed'])
  pending = {k: np.array(v) for k, v in at['pending'].items()}
  state = devices.replicate(state)
  return Progress(state, at['step'], [pending] if pending else [])


def _restore(run, path, like, found, say):
  """Finds the newest checkpoint; returns what of it is not the state."""
  restored = checkpoints.restore_latest(path / 'checkpoints', like, say=say)
  if restored is None:
    kept = workdirs.set_aside(path)
    if kept:
      names = ' and '.join(kept)
      say(f'{path} has no finished checkpoint: starting over, see {names}.')
    return None
  _check_boundary(restored.step, run.steps_per_call)
  say(f'resuming from the checkpoint of step {restored.step}.')
  before = restored.host.get('devices', 1)
  if before != jax.device_count():
    say(f'on {jax.device_count()} devices, not {before}; not bit-exact.')
  found['state'] = restored.state
  return {**restored.host, 'step': restored.step}


def _check_boundary(done, steps_per_call):
  """From elsewhere, no call would end at a due step or at the last one."""
  if done % steps_per_call:
    raise workdirs.WorkdirError(
      f'steps_per_call={steps_per_call} does not divide the step of the '
      f'checkpoint, {done}; {math.gcd(done, steps_per_call)} does.'
    )


def _play(run, path, devices, progress, say):
  ending = threading.Event()
  try:
    with (
      signals.collected(ending.set) as received,
      scribe.open_(run, path, progress.done, say, ending) as writer,
    ):
      state = _loop(run, devices, progress, received, writer)
  except Interrupted:
    parallel.wait()  # nobody leaves before all is written
    raise
  parallel.wait()
  return state


def _loop(run, devices, progress, received, writer):
  state, done, pending = progress
  member = loop.Member(run, writer, pending)
  loop.begin(member, state, done)
  resident = devices.replicate(run.feed.resident)
  program = together.make('in_turn', [run], devices, resident)
  ended = loop.play([member], program, [state], done, run.num_steps, received)
  for error in ended.lost.values():
    raise error
  if ended.signum:
    raise Interrupted(ended.signum, ended.done)
  return program.one(ended.packed, 0)
