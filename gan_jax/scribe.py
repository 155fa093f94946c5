"""What the first process does beside the steps: it writes and speaks."""

import contextlib
import math
import pathlib
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import jax
import numpy as np

from gan_jax import (
  build,
  checkpoints,
  divergence,
  generate,
  logs,
  parallel,
  signals,
  step,
)
from gan_jax import judge as judges


@contextlib.contextmanager
def open_(
  run: build.Run,
  path: pathlib.Path,
  start: int,
  say: Callable[[str], None],
  ending: threading.Event,
  evaluator: futures.Executor | None = None,
) -> Iterator['Scribe']:
  """The scribe of this process; all is written when it closes.

  Args:
    run: what is played.
    path: the workdir.
    start: steps done.
    say: takes each line for the terminal.
    ending: set when a signal came, so that evaluation ends before its time.
    evaluator: who evaluates, for several runs; None for a thread of its own.
  """
  if not parallel.is_leader():
    yield Silent()
    return
  with (
    contextlib.closing(logs.Writer(path, start=start)) as writer,
    _Profiler(run.profile, path / 'profile') as profiler,
    _Background(ending, evaluator) as evaluating,
    _Background(ending) as background,
  ):
    judge = judges.Judge(run, path, writer, say, ending)
    for task in judge.catch_up(start):
      evaluating.run(task)
    yield Scribe(
      run, path, writer, profiler, background, evaluating, judge, say
    )


def catch_up(
  run: build.Run, path: pathlib.Path, done: int, say: Callable[[str], None]
) -> None:
  """Evaluates what a run that has ended was not given the time to."""
  if not judges.missing(run, path, done, say):
    return
  ending = threading.Event()
  with (
    signals.collected(ending.set) as received,
    open_(run, path, done, say, ending),
  ):
    pass
  if received:
    words = 'evaluation has ended; the same command goes on with it.'
    raise signals.Interrupted(words, received[0])


class Scribe:
  """Writes the logs, pictures, checkpoints and profiles of a run."""

  def __init__(
    self, run, path, writer, profiler, background, evaluating, judge, say
  ):
    self._run, self._path, self._say = run, path, say
    self._writer, self._background = writer, background
    self._evaluating, self._judge = evaluating, judge
    self._picture = generate.make_picture(run, path)
    self.profile = profiler.switch

  def log(
    self,
    values: dict[str, np.ndarray],
    done: int,
    rate: float,
    together: int = 0,
  ) -> None:
    """Writes the means of every step's values since the last time.

    Args:
      values: one number a step, by name.
      done: steps.
      rate: steps a second.
      together: how many runs share the program, where they are seeds of one.
    """
    # A lazy penalty is NaN in the steps that do not pay it.
    known = {k: v[~np.isnan(v)] for k, v in values.items()}
    numbers = {
      k: math.fsum(v) / v.size if v.size else math.nan for k, v in known.items()
    }
    penalties = (penalty.name for penalty in self._run.setup.penalties)
    shown = [k for k in (*divergence.PLAYER, *penalties) if k in numbers]
    if numbers.get('iterations'):  # of a method with a solver
      shown += ['iterations', 'residual']
    shown = {k: numbers[k] for k in shown}
    self._say(logs.line(done, self._run.num_steps, rate, shown))
    numbers['steps_per_second'] = rate
    if together:
      numbers['seeds_together'] = together
    self._writer.write(done, numbers)

  def draw(self, state: step.TrainState, done: int) -> None:
    """Draws samples; beside the steps that follow, but for the first picture.

    Raises:
      divergence.Diverged: a sample is not finite; perhaps at a later call.
    """
    state = parallel.local(state)
    if done:
      self._background.run(self._draw, state, done)
    else:  # a generator that is broken from the start stops here
      self._draw(state, done)

  def _draw(self, state, done):
    try:
      path = self._picture(state, done)
    except FloatingPointError as error:
      raise divergence.Diverged(f'{error} at step {done}', done) from error
    self._writer.image(done, path)

  def save(
    self, state: step.TrainState, done: int, pending: list[dict[str, Any]]
  ) -> None:
    """Writes a checkpoint, beside the steps that follow."""
    # Read here: the stream moves on while the thread writes.
    pending = {k: v.tolist() for k, v in pending[0].items()} if pending else {}
    host = {
      'feed': self._run.feed.state(),
      'pending': pending,
      'devices': jax.device_count(),
    }
    self._background.run(self._save, parallel.local(state), done, host)

  def _save(self, state, done, host):
    folder, keep = self._path / 'checkpoints', self._run.keep_checkpoints
    checkpoints.save(folder, done, state, host, keep=keep)

  def evaluate(self, state: step.TrainState, done: int) -> None:
    """Measures samples of a state that was saved, beside the steps.

    In a thread of its own: a signal's checkpoint does not wait for numbers.
    """
    averaged = step.generator_variables(state, averaged=True)
    variables = parallel.local(averaged)
    held = self._background.run(self._judge.hold, done)
    self._evaluating.run(self._judge.judge, held, variables, done)


class Silent:
  """What every process but the first has for a scribe."""

  def profile(self, first, last, state):
    """Does nothing, like the rest."""

  def log(self, values, done, rate, together=0):
    """Nothing."""

  def draw(self, state, done):
    """Nothing."""

  def save(self, state, done, pending):
    """Nothing."""

  def evaluate(self, state, done):
    """Nothing."""


class _Background:
  """One thread that writes files while the device goes on; its own, or shared.

  Two tasks may wait, so that copies of the state do not pile up; a task's error
  is raised at the latest when the run ends. Nobody waits once that begins.
  """

  def __init__(
    self, ending: threading.Event, shared: futures.Executor | None = None
  ):
    self._ending = ending
    self._own = None if shared else futures.ThreadPoolExecutor(max_workers=1)
    self._thread = shared or self._own
    self._tasks = []

  def __enter__(self):
    return self

  def run(self, function, *arguments):
    while len(self._tasks) > 1 and not self._ending.is_set():
      if futures.wait(self._tasks[:1], timeout=0.1).done:
        self._tasks.pop(0).result()
    self._tasks.append(self._thread.submit(function, *arguments))
    return self._tasks[-1]

  def __exit__(self, kind, error, traceback):
    if error is not None:
      self._ending.set()
    futures.wait(self._tasks)
    if self._own:
      self._own.shutdown()
    # A signal ends a run, yet does not hide what went wrong.
    if error is None or isinstance(error, signals.Interrupted):
      for task in self._tasks:
        task.result()


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
