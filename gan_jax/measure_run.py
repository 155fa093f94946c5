"""Numbers of a run's checkpoints, chosen by name (`--mode=evaluate`)."""

import os
import pathlib
from collections.abc import Callable

import jax

from gan_jax import (
  best,
  build,
  checkpoints,
  evaluate,
  evaluations,
  generate,
  measuring,
  parallel,
)
from gan_jax import step as steps

Say = Callable[[str], None]

CHECKPOINTS = ('newest', 'all', 'best')


def evaluate_run(
  run: build.Run,
  workdir: str | os.PathLike,
  *,
  which: str = 'newest',
  weights: str | None = None,
  draws: int = 1,
  say: Say = print,
) -> list[evaluations.Entry]:
  """Numbers of checkpoints (`--mode=evaluate`), added to `evaluation.json`.

  Every process of several calls it and runs its share; the first alone reads
  checkpoints, writes and speaks.

  Args:
    run: what is measured.
    workdir: of the run.
    which: 'newest', 'all', 'best', or steps joined by commas. A damaged
      checkpoint is an error where its step is named, and is passed over, which
      is said, among all of them or for the newest.
    weights: see `measuring.weights_of`.
    draws: how often samples are drawn, with seeds of their own.
    say: takes each line for the terminal.

  Raises:
    ValueError: see `measuring.check` and `weights_of`; or samples are not
      finite.
    checkpoints.CheckpointError: a checkpoint is not there, or damaged.
  """
  say = say if parallel.is_leader() else lambda line: None
  measuring.check(run)
  kinds, entries = measuring.weights_of(run, weights), []
  measure = measuring.make(run, draws=draws)
  for name in parallel.on_leader(lambda: _names(workdir, which)):
    found = _shared(run, workdir, name, which, say)
    if found is None:
      continue
    state, step = found
    for kind in kinds:
      variables = steps.generator_variables(state, averaged=kind == 'averaged')
      entries.append(measure(variables, step, kind))
      entry = entries[-1]
      parallel.on_leader(lambda e=entry: evaluations.add(workdir, e, say=say))
      say(f'step {step}, {kind} weights:')
      numbers = {k: v for k, v in entry.items() if k != 'settings'}
      for line in evaluate.describe(numbers):
        say(line)
  if not entries:
    raise checkpoints.CheckpointError(
      f'workdir={str(workdir)!r} has no checkpoint that is whole.'
    )
  if len(entries) > 1:
    for line in evaluations.tables(entries):
      say(line)
  return entries


def _names(workdir, which):
  """Checkpoints to read: 'newest', 'best', or steps, from the first on."""
  if which == 'best':
    return [which]
  available = sorted(checkpoints.steps(pathlib.Path(workdir) / 'checkpoints'))
  if not available:
    raise checkpoints.CheckpointError(
      f'workdir={str(workdir)!r} has no checkpoint yet; train first.'
    )
  if which in CHECKPOINTS:
    return available if which == 'all' else [which]
  asked = steps_of(which)
  missing = [step for step in asked if step not in available]
  if missing:
    raise checkpoints.CheckpointError(
      f'workdir={str(workdir)!r} has no checkpoint of step {missing[0]}; it '
      f'has {available}.'
    )
  return asked


def steps_of(which: str) -> list[int]:
  """The steps in `1000,2000`.

  Raises:
    ValueError: they are none.
  """
  words = which.split(',')
  if not all(word.strip().isdecimal() for word in words):
    raise ValueError(
      f'checkpoints={which!r} is not one of {list(CHECKPOINTS)} or steps, such '
      'as 1000 or 1000,2000.'
    )
  return [int(word) for word in words]


def _shared(run, workdir, name, which, say):
  """State and step of a checkpoint in every process; None to pass it over."""
  like, found = generate.like(run.setup), {}

  def restore():
    try:
      restored = _restored(workdir, name, like, say)
    except (checkpoints.Damaged, checkpoints.Gone) as error:
      if which != 'all':
        raise
      say(f'{error} Passed over.')
      return None
    found['state'] = restored.state
    return restored.step

  step = parallel.on_leader(restore)
  if step is None:
    return None
  state = found.get('state')
  if jax.process_count() > 1:
    state = parallel.from_leader(state, like)
  return state, step


def _restored(workdir, name, like, say):
  if name == 'best':
    return best.restore(workdir, like, say=say)
  folder = pathlib.Path(workdir) / 'checkpoints'
  if name == 'newest':
    return checkpoints.restore_latest(folder, like, say=say)
  return checkpoints.restore(folder, name, like)
