"""Evaluates the checkpoints of a training beside its steps; keeps the best."""

import functools
import pathlib
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

from gan_jax import (
  best,
  build,
  checkpoints,
  divergence,
  evaluations,
  generate,
  logs,
  measuring,
  step,
)

# Under this name trainings hold on to checkpoints in best/.
_WHO = 'trial'


class Judge:
  """Measures saved states, by the averaged generator where there is one."""

  def __init__(
    self,
    run: build.Run,
    path: pathlib.Path,
    writer: logs.Writer,
    say: Callable[[str], None],
    ending: threading.Event,
  ):
    self._run, self._path, self._writer = run, path, writer
    self._say, self._ending = say, ending
    self._weights = measuring.weights_of(run)[0]
    self._measure = None
    if run.evaluate_every:
      self._measure = measuring.make(run, alone=True, stopped=ending.is_set)

  def catch_up(self, done: int) -> Iterator[Callable[[], None]]:
    """Tasks for the saved steps that were not evaluated, up to one.

    A training that ended before its numbers, or goes on by others, has such.
    """
    if not self._run.evaluate_every:
      return
    best.drop(self._path, _WHO)
    if self._run.best_by:
      self._look_back()
    for late in missing(self._run, self._path, done, self._say):
      yield functools.partial(self._judge_saved, late)

  def _look_back(self):
    for entry in evaluations.read(self._path, say=self._say):
      own = measuring.identity(self._run, entry['step'], self._weights)
      if evaluations.identity(entry) == own:
        self._propose(entry)

  def _propose(self, entry):
    metric = self._run.best_by
    best.propose(self._path, entry, metric, _WHO, say=self._say)

  def hold(self, done: int) -> None:
    """Keeps the checkpoint of a step until it is judged."""
    if self._run.best_by:
      best.hold(self._path, done, _WHO)

  def judge(
    self, held: futures.Future, variables: dict[str, Any], done: int
  ) -> None:
    """Measures a generator and writes down what comes of it.

    Args:
      held: what `hold` is to return, or raise.
      variables: of the generator.
      done: steps.

    Raises:
      divergence.Diverged: a sample is not finite.
    """
    held.result()
    self._judge(variables, done)

  def _judge_saved(self, done):
    like, folder = generate.like(self._run.setup), self._path / 'checkpoints'
    try:
      state = checkpoints.restore(folder, done, like).state
      self.hold(done)
    except (checkpoints.Damaged, checkpoints.Gone) as error:
      self._say(f'not evaluated: {error}')
      return
    self._judge(step.generator_variables(state, averaged=True), done)

  def _judge(self, variables, done):
    if self._ending.is_set():
      return
    try:
      entry = self._measure(variables, done, self._weights)
    except measuring.Stopped:
      return
    except measuring.Diverged as error:
      raise divergence.Diverged(f'{error} at step {done}', done) from error
    except ValueError as error:  # no reason to end a training
      self._say(f'no numbers of step {done}: {error}')
      return
    evaluations.add(self._path, entry, say=self._say)
    self._writer.write(done, evaluations.scalars(entry))
    self._say(evaluations.line(entry) + self._verdict(entry))

  def _verdict(self, entry):
    metric = self._run.best_by
    if not metric:
      return ''
    won = best.offer(self._path, entry, metric, _WHO, say=self._say)
    return f'; the best {metric} so far' if won else ''


def missing(
  run: build.Run, path: pathlib.Path, done: int, say: Callable[[str], None]
) -> list[int]:
  """Saved steps up to one that should have been evaluated, oldest first."""
  if not run.evaluate_every:
    return []
  known = {evaluations.identity(e) for e in evaluations.read(path, say=say)}
  weights = measuring.weights_of(run)[0]
  saved = sorted(checkpoints.steps(path / 'checkpoints'))
  due = [s for s in saved if s <= done and s % run.evaluate_every == 0]
  return [s for s in due if measuring.identity(run, s, weights) not in known]
