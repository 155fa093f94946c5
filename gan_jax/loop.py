"""The training loop: calls of the devices, and what is due after each.

It plays one run, or several together that agree in their intervals.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax import build, divergence, logs, parallel, scribe, step, together

_CALLS_TO_AGREE = 10


class Member(NamedTuple):
  """A run in the loop.

  Attributes:
    run: what is played.
    writer: takes what it leaves behind.
    pending: metrics since its last logged step, host arrays `[steps]` by name;
      the loop changes the list.
  """

  run: build.Run
  writer: scribe.Scribe | scribe.Silent
  pending: list[dict[str, np.ndarray]]


class Ended(NamedTuple):
  """Why and how the loop ended.

  Attributes:
    done: steps.
    packed: all states, as the program has them.
    lost: number of a member that diverged -> how; nothing of this step was
      written for it. The others have had all that was due.
    signum: of the signal that came, or 0; all states are then saved.
  """

  done: int
  packed: Any
  lost: dict[int, divergence.Diverged]
  signum: int = 0


class _Due(NamedTuple):
  log: bool
  sample: bool
  save: bool
  evaluate: bool


def begin(member: Member, state: step.TrainState, done: int) -> None:
  """Draws the first picture.

  Raises:
    divergence.Diverged: a sample is not finite.
  """
  if done == 0 and member.run.sample_every:
    member.writer.draw(state, 0)


def play(
  members: Sequence[Member],
  program: together.Program,
  states: Sequence[step.TrainState],
  start: int,
  until: int,
  received: list[int],
  *,
  shared: int = 0,
) -> Ended:
  """Plays until a step, a signal, or until one of the members diverges.

  Args:
    members: who plays.
    program: theirs.
    states: theirs at the start, on the devices; used up.
    start: steps done.
    until: step to end at, a multiple of `steps_per_call`.
    received: signals, as they come.
    shared: what is logged as `seeds_together`; 0 for a run by itself.
  """
  run, packed = members[0].run, program.pack(states)
  recent, clock = [], logs.Clock(start)
  for number, first in enumerate(range(start, until, run.steps_per_call)):
    done = first + run.steps_per_call
    members[0].writer.profile(first, done, packed)
    packed, metrics = program.call(packed, first)
    recent.append(metrics)
    if first == start:
      # The first call compiles; the speed that is shown leaves it out.
      jax.block_until_ready(packed)
      clock.restart(done)
    due = _due_at(run, done)
    signum = _agreed(received, number, any(due))
    due = due._replace(save=due.save or bool(signum))
    if not any(due):
      continue
    _hand_over(members, recent)
    rate = clock.read(done) if due.log else math.nan
    lost = {}
    for i, member in enumerate(members):
      try:
        state_of = functools.partial(program.one, packed, i)
        _attend(member, state_of, done, due, rate, shared)
      except divergence.Diverged as error:
        lost[i] = error
    if lost or signum:
      return Ended(done, packed, lost, signum)
  _hand_over(members, recent)
  return Ended(until, packed, {})


def _attend(member, state_of, done, due, rate, shared):
  """Does what is due for one member."""
  run, writer, pending = member
  divergence.check_losses(pending[0], done, run.setup.method.turns)
  if not run.log_every:
    pending.clear()
  if due.save or due.sample:
    state = state_of()
    divergence.check_players(state.players, done)
  if due.log:
    writer.log(pending.pop(), done, rate, shared)
  if due.sample:
    writer.draw(state, done)
  if due.save:
    writer.save(state, done, pending)
  if due.evaluate:
    writer.evaluate(state, done)


def _due_at(run, done):
  every = lambda steps: steps > 0 and done % steps == 0
  evaluate = every(run.evaluate_every)
  save = done == run.num_steps or every(run.checkpoint_every) or evaluate
  return _Due(every(run.log_every), every(run.sample_every), save, evaluate)


def _agreed(received, number, due):
  """The signal that stops the run, or 0.

  Several processes have to stop at the same step. To ask each other they wait
  for the devices, so they do it where they wait anyway, and now and then.
  """
  if jax.process_count() > 1 and not due and number % _CALLS_TO_AGREE:
    return 0
  return parallel.agree(received[0] if received else 0)


def _hand_over(members, recent):
  """Gives each member its metrics of the last calls, and forgets them."""
  calls = jax.device_get(recent)
  for member, own in zip(members, zip(*calls, strict=True), strict=bool(calls)):
    member.pending[:] = [_joined([*member.pending, *own])]
  recent.clear()


def _joined(parts):
  """One array a metric, of every step since the last logged one."""
  return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
