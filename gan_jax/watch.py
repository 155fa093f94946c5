"""Evaluates the checkpoints of a training that goes on in another process.

It reads the workdir and adds to `evaluation.json`; the lock of the training is
not taken. `watch.lock` keeps a second watcher out.
"""

import os
import pathlib
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from gan_jax import (
  best,
  build,
  checkpoints,
  evaluations,
  generate,
  measuring,
  signals,
)
from gan_jax import step as steps
from gan_jax import workdir as workdirs

Say = Callable[[str], None]

# Under this name watchers hold on to checkpoints in best/.
_WHO = 'watched'


class _Watch(NamedTuple):
  run: build.Run
  path: pathlib.Path
  kinds: tuple[str, ...]
  draws: int
  measure: Callable
  say: Say
  ending: threading.Event
  passed_over: set[Any]


def watch(
  run: build.Run,
  workdir: str | os.PathLike,
  *,
  weights: str | None = None,
  draws: int = 1,
  poll_seconds: float = 30.0,
  say: Say = print,
) -> None:
  """Evaluates checkpoints as they come, to the last of the run.

  Those that have an entry by the same settings and weights are left alone. It
  waits for a folder that holds no run yet. With `run.best_by` the best
  checkpoint is kept; of 'both' weights, by the averaged ones.

  Args:
    run: what is measured.
    workdir: of the run.
    weights: see `measuring.weights_of`.
    draws: how often samples are drawn, with seeds of their own.
    poll_seconds: between looks.
    say: takes each line for the terminal.

  Raises:
    signals.Interrupted: SIGINT or SIGTERM came.
    workdir.WorkdirError: another watcher is there, or the folder is of another
      run.
    ValueError: see `measuring.check` and `measuring.weights_of`.
  """
  measuring.check(run)
  kinds = measuring.weights_of(run, weights)
  ending = threading.Event()
  with signals.collected(ending.set) as received:
    measure = measuring.make(run, draws=draws, stopped=ending.is_set)
    path, over = pathlib.Path(workdir), set()
    watching = _Watch(run, path, kinds, draws, measure, say, ending, over)
    try:
      _wait_for_run(watching, poll_seconds)
      with workdirs.claim(path, 'watch.lock'):
        best.drop(path, _WHO)
        _look(watching, poll_seconds)
    except measuring.Stopped:
      pass
    if received:
      raise signals.Interrupted('no longer watching.', received[0])


def _wait_for_run(watching, poll_seconds):
  path, waiting = watching.path, False
  while workdirs.recorded(path) is None:
    if not waiting:
      watching.say(f'waiting for a run in {path}.')
    waiting = True
    _rest(watching, poll_seconds)
  workdirs.check(path, watching.run.config)


def _rest(watching, seconds):
  if watching.ending.wait(seconds):
    raise measuring.Stopped('watching')


def _look(watching, poll_seconds):
  """Until the run is at its end and all that it saved has been looked at."""
  shown = []
  while True:
    saved = checkpoints.steps(watching.path / 'checkpoints')
    for step, kind in _new(watching, saved):
      shown += _evaluate(watching, step, kind)
    if saved and saved[0] >= _last_step(watching):
      break
    _rest(watching, poll_seconds)
  for line in evaluations.tables(shown):
    watching.say(line)
  watching.say(
    f'the run is at its end, step {saved[0]}; nothing more to watch.'
  )


def _last_step(watching):
  """Of the run; whoever took it up again may have made it longer."""
  recorded = workdirs.recorded(watching.path) or {}
  return recorded.get('num_steps', watching.run.num_steps)


def _new(watching, saved):
  """(step, weights) without an entry, oldest first: these are removed first."""
  read = evaluations.read(watching.path, say=watching.say)
  known = {evaluations.identity(entry) for entry in read}
  return [
    (step, kind)
    for step in sorted(saved)
    for kind in watching.kinds
    if _identity(watching, step, kind) not in known
    and _mark(watching, step, kind) not in watching.passed_over
  ]


def _identity(watching, step, kind):
  return measuring.identity(watching.run, step, kind, watching.draws)


def _mark(watching, step, kind):
  """Of a checkpoint as it is: one that is written again is another one."""
  folder = watching.path / 'checkpoints'
  return step, kind, checkpoints.digest(folder, step)


def _evaluate(watching, step, kind):
  """The entry of a checkpoint in a list; empty where there can be none."""
  mark = _mark(watching, step, kind)
  try:
    entry = _measured(watching, step, kind)
  except (checkpoints.Gone, checkpoints.Damaged, ValueError) as error:
    watching.passed_over.add(mark)
    watching.say(f'no numbers of step {step}: {error}')
    return []
  finally:
    best.drop(watching.path, _WHO)
  return [entry]


def _measured(watching, step, kind):
  run, path, say = watching.run, watching.path, watching.say
  competes = run.best_by and kind == watching.kinds[0]
  # What is held stays, however soon the training removes its own.
  folder = path / 'checkpoints'
  if competes:
    folder = best.hold(path, step, _WHO)
  state = checkpoints.restore(folder, step, generate.like(run.setup)).state
  averaged = kind == 'averaged'
  variables = steps.generator_variables(state, averaged=averaged)
  entry = watching.measure(variables, step, kind)
  evaluations.add(path, entry, say=say)
  won = competes and best.offer(path, entry, run.best_by, _WHO, say=say)
  verdict = f'; the best {run.best_by} so far' if won else ''
  say(evaluations.line(entry) + verdict)
  return entry
