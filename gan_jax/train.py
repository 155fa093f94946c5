"""The training loop, as a story.

`build(config)` turns names into functions; `train(run, workdir)` plays the run
and leaves a folder that the same command takes up again, bit by bit.
"""

import contextlib
import math
import os
import pathlib
import signal
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import batch_game, checkpoints, generate, logs, step
from gan_jax import build as building
from gan_jax import workdir as workdirs

Run = building.Run
Setup = batch_game.Setup
Penalty = batch_game.Penalty
build = building.build
game_defaults = building.game_defaults

_PLAYER = {
  'loss_g': 'the generator',
  'loss_d': 'the discriminator',
  'real_logit': 'the discriminator',
  'fake_logit': 'the discriminator',
}


class Diverged(Exception):
  """A loss or a parameter is no longer finite; says the step and the player."""


class Interrupted(Exception):
  """A signal ended the run after the call in flight; its state is saved."""

  def __init__(self, signum: int, done: int):
    super().__init__(
      f'{signal.Signals(signum).name}: saved step {done}; the same command '
      'goes on from there.'
    )
    self.signum = signum


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

  Args:
    run: from `build(config)`, or filled by hand.
    workdir: gets `config.json`, `metrics.jsonl`, `tensorboard/`,
      `checkpoints/` and `samples/`.
    say: takes each line for the terminal.

  Returns:
    The state after the last step.

  Raises:
    workdir.WorkdirError: the folder is in use, not writable or of another run.
    checkpoints.CheckpointError: there are checkpoints, but none is whole.
    Diverged: a loss is not finite; the last good checkpoint stays.
    Interrupted: SIGINT or SIGTERM came; the state is saved.
    ValueError: an interval is not a multiple of `steps_per_call`.
  """
  building.check_intervals(run)
  changes = workdirs.check(workdir, run.config)
  with workdirs.claim(workdir) as path:
    for change in changes:
      say(f'resuming with another {change}; not bit-exact where that matters.')
    progress = _start(run, path, say)
    if progress.done >= run.num_steps:
      say(f'{path} is finished: {progress.done} of {run.num_steps} steps.')
      return progress.state
    workdirs.cut_metrics(path, progress.done)
    workdirs.record(path, run.config)
    try:
      return _play(run, path, progress, say)
    except Diverged as error:
      kept = checkpoints.steps(path / 'checkpoints')
      raise Diverged(
        f'{error}; stopped, '
        f'{f"the checkpoint of step {kept[0]} is" if kept else "nothing was"} '
        'kept. Lower the learning rates or add a penalty, in a new workdir.'
      ) from None


def _start(run, path, say):
  like = jax.eval_shape(lambda: step.init(run.setup, jax.random.key(run.seed)))
  restored = checkpoints.restore_latest(path / 'checkpoints', like, say=say)
  if restored is None:
    kept = workdirs.set_aside(path)
    if kept:
      say(f'{path} has no finished checkpoint: starting over, see {kept}.')
    key = jax.random.key(run.seed)
    return _Progress(step.init(run.setup, key), 0, [])
  _check_boundary(restored.step, run.steps_per_call)
  say(f'resuming from the checkpoint of step {restored.step}.')
  run.feed.restore(restored.host['feed'])
  pending = {k: np.array(v) for k, v in restored.host['pending'].items()}
  return _Progress(restored.state, restored.step, [pending] if pending else [])


def _check_boundary(done, steps_per_call):
  """From elsewhere, no call would end at a due step or at the last one."""
  if done % steps_per_call:
    raise workdirs.WorkdirError(
      f'steps_per_call={steps_per_call} does not divide the step of the '
      f'checkpoint, {done}; {math.gcd(done, steps_per_call)} does.'
    )


def _play(run, path, progress, say):
  with (
    contextlib.closing(logs.Writer(path, start=progress.done)) as writer,
    _signals() as received,
    _Profiler(run.profile, path / 'profile') as profiler,
    _Background() as background,
  ):
    return _loop(
      run, path, progress, writer, profiler, background, received, say
    )


def _loop(run, path, progress, writer, profiler, background, received, say):
  state, start, pending = progress
  call = step.make_call(run.setup, run.feed.pick, run.steps_per_call)
  resident = jax.device_put(run.feed.resident)
  picture = generate.make_picture(run, path)
  show = lambda state, done: writer.image(done, _drawn(picture, state, done))
  if start == 0 and run.sample_every:
    show(state, 0)
  clock = logs.Clock(start)
  for first in range(start, run.num_steps, run.steps_per_call):
    done = first + run.steps_per_call
    profiler.switch(first, done, state)
    state, metrics = call(state, resident, _fed(run, first), first)
    pending.append(metrics)
    if first == start:
      # The first call compiles; the speed that is shown leaves it out.
      jax.block_until_ready(state)
      clock.restart(done)
    stop = received[0] if received else None
    save = stop or done == run.num_steps or _due(done, run.checkpoint_every)
    log, sample = _due(done, run.log_every), _due(done, run.sample_every)
    if save or sample or log:
      pending = [_finite(_gather(pending), done, run.setup.method.turns)]
      if not run.log_every:
        pending = []
    if save or sample:
      _check_players(state, done)
    if log:
      _log(pending.pop(), done, run, clock, writer, say)
    if sample:
      background.run(show, _copy(state), done)
    if save:
      # Read here: the stream moves on while the thread writes.
      host = {'feed': run.feed.state(), 'pending': _listed(pending)}
      background.run(_save, run, path, _copy(state), done, host)
    if stop:
      raise Interrupted(stop, done)
  return state


class _Background:
  """One thread that writes files while the device goes on.

  Two tasks may wait, so that copies of the state do not pile up; a task's error
  is raised at the latest when the run ends.
  """

  def __enter__(self):
    self._thread = futures.ThreadPoolExecutor(max_workers=1)
    self._tasks = []
    return self

  def run(self, function, *arguments):
    while len(self._tasks) > 1:
      self._tasks.pop(0).result()
    self._tasks.append(self._thread.submit(function, *arguments))

  def __exit__(self, *raised):
    self._thread.shutdown()
    for task in self._tasks:
      task.result()


# The next call uses its state up, so the thread gets a copy.
_copy = jax.jit(lambda state: jax.tree.map(jnp.copy, state))


def _due(done, every):
  return every > 0 and done % every == 0


def _fed(run, first):
  """What the host sends for one call, `[steps, turns, B, ...]`."""
  turns = len(run.setup.method.turns)
  steps = run.steps_per_call
  fed = run.feed.next(first * turns, steps * turns)
  return jax.tree.map(
    lambda x: np.reshape(x, (steps, turns, *x.shape[1:])), fed
  )


def _gather(pending):
  """One array a metric, of every step since the last logged one."""
  pending = jax.device_get(pending)
  return {k: np.concatenate([p[k] for p in pending]) for k in pending[0]}


def _finite(values, done, turns):
  """Returns the values if every loss is finite.

  Raises:
    Diverged: names the first step, and in it the first player, that is not.
  """
  first_mover = 'the discriminator' if turns[0] == 'd' else 'the generator'
  # Within a step one player's NaN is the other's in the turns that follow.
  names = sorted(_PLAYER, key=lambda name: _PLAYER[name] != first_mover)
  bad = {n: np.flatnonzero(~np.isfinite(values.get(n, ()))) for n in names}
  bad = {n: int(steps[0]) for n, steps in bad.items() if steps.size}
  if not bad:
    return values
  name = min(bad, key=bad.get)
  at = done - len(values[name]) + bad[name] + 1
  raise Diverged(
    f'{name} of {_PLAYER[name]} is {values[name][bad[name]]} at step {at}'
  )


def _drawn(picture, state, done):
  try:
    return picture(state, done)
  except FloatingPointError as error:
    raise Diverged(f'{error} at step {done}') from error


def _log(values, done, run, clock, writer, say):
  # A lazy penalty is NaN in the steps that do not pay it.
  known = {k: v[~np.isnan(v)] for k, v in values.items()}
  numbers = {
    k: math.fsum(v) / v.size if v.size else math.nan for k, v in known.items()
  }
  rate = clock.read(done)
  shown = [*_PLAYER, *(penalty.name for penalty in run.setup.penalties)]
  shown = {k: numbers[k] for k in shown if k in numbers}
  say(logs.line(done, run.num_steps, rate, shown))
  writer.write(done, numbers | {'steps_per_second': rate})


def _listed(pending):
  return {k: v.tolist() for k, v in pending[0].items()} if pending else {}


def _save(run, path, state, done, host):
  folder = path / 'checkpoints'
  checkpoints.save(folder, done, state, host, keep=run.keep_checkpoints)


@jax.jit
def _all_finite(tree):
  return jax.tree.reduce(
    jnp.logical_and, jax.tree.map(lambda x: jnp.isfinite(x).all(), tree)
  )


def _check_players(state, done):
  """A checkpoint of NaN would push a good one out."""
  for player, params in state.players._asdict().items():
    if not _all_finite(params):
      name = {'g': 'the generator', 'd': 'the discriminator'}[player]
      raise Diverged(f'a parameter of {name} is not finite at step {done}')


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
  """Collects SIGINT and SIGTERM, so that the call in flight can end."""
  received = []
  handler = lambda signum, frame: received.append(signum)
  kept = {}
  with contextlib.suppress(ValueError):  # only the main thread may
    for signum in (signal.SIGINT, signal.SIGTERM):
      kept[signum] = signal.signal(signum, handler)
  try:
    yield received
  finally:
    for signum, before in kept.items():
      signal.signal(signum, before)


class _Profiler:
  """Traces the calls that play steps between the two of `run.profile`."""

  def __init__(self, steps: tuple[int, int], path: pathlib.Path):
    self._steps, self._path, self._on = steps, path, False

  def __enter__(self):
    return self

  def switch(self, first: int, last: int, state: step.TrainState) -> None:
    """Starts or stops before the call that plays steps first to last."""
    begin, end = self._steps
    due = max(first, begin) < min(last, end)
    if due != self._on:
      jax.block_until_ready(state)
      if due:
        jax.profiler.start_trace(self._path)
      else:
        jax.profiler.stop_trace()
      self._on = due

  def __exit__(self, *raised):
    if self._on:
      jax.profiler.stop_trace()
