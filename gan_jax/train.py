"""The training loop, as a story.

`build(config)` turns names into functions; `train(run, workdir)` plays the run
and leaves a folder that the same command takes up again, bit by bit.
"""

import contextlib
import functools
import math
import os
import pathlib
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax import (
  batch_game,
  best,
  checkpoints,
  divergence,
  evaluations,
  logs,
  measuring,
  parallel,
  scribe,
  signals,
  step,
)
from gan_jax import build as building
from gan_jax import workdir as workdirs

Run = building.Run
Setup = batch_game.Setup
Penalty = batch_game.Penalty
Diverged = divergence.Diverged
build = building.build
game_defaults = building.game_defaults


_CALLS_TO_AGREE = 10


class Interrupted(signals.Interrupted):
  """A signal ended the run after the call in flight; its state is saved."""

  def __init__(self, signum: int, done: int):
    words = f'saved step {done}; the same command goes on from there.'
    super().__init__(words, signum)


class _Progress(NamedTuple):
  state: step.TrainState
  done: int  # steps
  pending: list[dict[str, Any]]  # metrics since the last logged step


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
      is evaluated as it goes.
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
  building.check_intervals(run)
  building.check_axis(run)
  check_evaluation(run)
  leads = parallel.is_leader()
  say = say if leads else lambda line: None
  devices, path = parallel.make(run.parallel), pathlib.Path(workdir)
  with contextlib.ExitStack() as held:
    parallel.on_leader(lambda: _claim(run, workdir, held, say))
    progress = _start(run, path, devices, say)
    if progress.done >= run.num_steps:
      say(f'{path} is finished: {progress.done} of {run.num_steps} steps.')
      parallel.on_leader(lambda: scribe.catch_up(run, path, progress.done, say))
      return progress.state
    parallel.on_leader(lambda: _write_down(run, path, progress.done, say))
    try:
      return _play(run, path, devices, progress, say)
    except Diverged as error:
      if not leads:
        raise
      kept = checkpoints.steps(path / 'checkpoints')
      raise Diverged(
        f'{error}; stopped, '
        f'{f"the checkpoint of step {kept[0]} is" if kept else "nothing was"} '
        'kept. Lower the learning rates or add a penalty, in a new workdir.'
      ) from None


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


def _claim(run, workdir, held, say):
  changes = workdirs.check(workdir, run.config)
  held.enter_context(workdirs.claim(workdir))
  for change in changes:
    say(f'resuming with another {change}; not bit-exact where that matters.')


def _write_down(run, path, done, say):
  workdirs.cut_metrics(path, done)
  evaluations.cut(path, done, say=say)
  best.cut(path, done, say=say)
  workdirs.record(path, run.config)


def _start(run, path, devices, say):
  fresh = lambda: step.init(run.setup, jax.random.key(run.seed), run.initial)
  like = jax.eval_shape(fresh)
  found = {}
  at = parallel.on_leader(lambda: _restore(run, path, like, found, say))
  if at is None:
    return _Progress(devices.replicate(fresh()), 0, [])
  state = found.get('state')
  if jax.process_count() > 1:
    state = parallel.from_leader(state, like)
  run.feed.restore(at['feed'])
  pending = {k: np.array(v) for k, v in at['pending'].items()}
  state = devices.replicate(state)
  return _Progress(state, at['step'], [pending] if pending else [])


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
  state, start, pending = progress
  call = step.make_call(
    run.setup,
    _with_rows(run.feed.pick),
    run.steps_per_call,
    compile_=devices.compile,
  )
  resident = devices.replicate(run.feed.resident)
  if start == 0 and run.sample_every:
    writer.draw(state, 0)
  clock = logs.Clock(start)
  steps = range(start, run.num_steps, run.steps_per_call)
  for number, first in enumerate(steps):
    done = first + run.steps_per_call
    writer.profile(first, done, state)
    fed = devices.spread(_fed(run, first))
    state, metrics = call(state, resident, fed, first)
    pending.append(metrics)
    if first == start:
      # The first call compiles; the speed that is shown leaves it out.
      jax.block_until_ready(state)
      clock.restart(done)
    evaluate = _due(done, run.evaluate_every)
    save = done == run.num_steps or _due(done, run.checkpoint_every) or evaluate
    log, sample = _due(done, run.log_every), _due(done, run.sample_every)
    stop = _agreed(received, number, save or sample or log)
    save = save or stop
    if save or sample or log:
      pending = [
        divergence.check_losses(_gather(pending), done, run.setup.method.turns)
      ]
      if not run.log_every:
        pending = []
    if save or sample:
      divergence.check_players(state.players, done)
    if log:
      writer.log(pending.pop(), done, clock)
    if sample:
      writer.draw(state, done)
    if save:
      writer.save(state, done, pending)
    if evaluate:
      writer.evaluate(state, done)
    if stop:
      raise Interrupted(stop, done)
  return state


def _agreed(received, number, due):
  """The signal that stops the run, or 0.

  Several processes have to stop at the same step. To ask each other they wait
  for the devices, so they do it where they wait anyway, and now and then.
  """
  if jax.process_count() > 1 and not due and number % _CALLS_TO_AGREE:
    return 0
  return parallel.agree(received[0] if received else 0)


def _due(done, every):
  return every > 0 and done % every == 0


def _with_rows(pick):
  """Batches that know which rows of the batch of all devices they have."""

  def pick_with_rows(resident, one):
    return {**pick(resident, one['fed']), 'row': one['row']}

  return pick_with_rows


def _fed(run, first):
  """What the host sends for one call, `[steps, turns, b, ...]`, and its rows.

  Of several processes each sends a part of every batch, b examples.
  """
  steps, turns = run.steps_per_call, len(run.setup.method.turns)
  fed = run.feed.next(first * turns, steps * turns)
  fed = jax.tree.map(lambda x: np.reshape(x, (steps, turns, *x.shape[1:])), fed)
  rows = _rows(steps, turns, jax.tree.leaves(fed)[0].shape[2])
  return {'fed': fed, 'row': rows}


@functools.lru_cache(maxsize=1)
def _rows(steps, turns, local_size):
  batch_size = local_size * jax.process_count()
  parallel.check_batch(batch_size)
  return np.tile(parallel.rows(batch_size), (steps, turns, 1))


def _gather(pending):
  """One array a metric, of every step since the last logged one."""
  pending = jax.device_get(pending)
  return {k: np.concatenate([p[k] for p in pending]) for k in pending[0]}
