"""Several runs in one call of the host: three ways to compile it.

  vmap      their states stacked, one program of the size of one run's; for
            dense networks, where many small products become a larger one
  unrolled  their steps one after another in one program, each with a setup of
            its own; the compiler may overlap what does not depend
  in_turn   one run's program, called for each; compiles once, and gives the
            bits of the single run

A `Program` hides which one it is from the loop.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import build, parallel, step

NAMES = ('vmap', 'unrolled', 'in_turn')


class Program(NamedTuple):
  """What the loop calls.

  Attributes:
    pack: states of all runs, on the devices, to what `call` takes.
    call: `(packed, first) -> (packed, metrics)` plays `steps_per_call` steps of
      each run from step `first`; metrics are a tuple, a dict a run, with
      leaves `[steps]`. What is given is used up (donated).
    one: `(packed, i) -> ` state of run i; to be copied before the next call.
  """

  pack: Callable[[Sequence[step.TrainState]], Any]
  call: Callable[[Any, int], tuple[Any, tuple[dict[str, jax.Array], ...]]]
  one: Callable[[Any, int], step.TrainState]


def make(
  name: str,
  runs: Sequence[build.Run],
  devices: parallel.Devices,
  resident: Any,
  known: list[tuple[build.Run, Callable]] | None = None,
) -> Program:
  """The program of some runs that agree in `steps_per_call`.

  Args:
    name: one of `NAMES`; for one run they are the same but for 'vmap'.
    runs: that share their data.
    devices: how a step is put on them.
    resident: `feed.resident` of the runs, on the devices.
    known: calls that 'in_turn' compiled for earlier programs; it adds its own.

  Raises:
    ValueError: there is no such name, or 'vmap' for runs of several setups.
  """
  check(name, runs)
  if name == 'in_turn':
    return _in_turn(runs, devices, resident, [] if known is None else known)
  makers = {'vmap': _stacked, 'unrolled': _unrolled}
  return makers[name](runs, devices, resident)


def check(name: str, runs: Sequence[build.Run]) -> None:
  """Raises ValueError where `make` would."""
  if name not in NAMES:
    raise ValueError(f'together={name!r} is not one of {["auto", *NAMES]}.')
  if name == 'vmap' and not all(alike(runs[0], run) for run in runs):
    raise ValueError(
      "together='vmap' is for runs that differ in nothing but their seed; "
      "these differ in more, so take 'unrolled'."
    )


def alike(a: build.Run, b: build.Run) -> bool:
  """Whether one compiled step serves both runs: they differ in the seed."""
  if a.setup == b.setup:
    return True
  same = lambda run: {k: v for k, v in run.config.items() if k != 'seed'}
  return bool(a.config) and same(a) == same(b)


def choose(runs: Sequence[build.Run]) -> str:
  """The name that 'auto' stands for, see docs/seeds.md for what was measured.

  Returns:
    'vmap' for dense networks. With convolutions, which vmap makes slow on CPU:
    'in_turn' there, and 'unrolled' on accelerators, by reasoning, unmeasured.
  """
  same = all(alike(runs[0], run) for run in runs)
  if same and not _has_convolutions(runs[0].setup):
    return 'vmap'
  return 'in_turn' if jax.default_backend() == 'cpu' else 'unrolled'


def _has_convolutions(setup):
  state = jax.eval_shape(lambda: step.init(setup, jax.random.key(0)))
  return any(x.ndim == 4 for x in jax.tree.leaves(state.players))


def _in_turn(runs, devices, resident, known):
  calls = [_call_of(run, devices, known) for run in runs]
  bounded = parallel.bounded()

  def call(states, first):
    # Dispatched without waiting: the devices are not idle in between.
    fed = (devices.spread(_fed(run, first)) for run in runs)
    parts = zip(calls, states, fed, strict=True)
    ended = [
      bounded(play(state, resident, f, first)) for play, state, f in parts
    ]
    return tuple(zip(*ended, strict=True))

  return Program(tuple, call, lambda states, i: states[i])


def _call_of(run, devices, known):
  """A compiled call; runs that are alike have the same."""
  for other, call in known:
    if alike(other, run):
      return call
  pick, compile_ = _with_rows(run.feed.pick), devices.compile
  call = step.make_call(run.setup, pick, run.steps_per_call, compile_=compile_)
  known.append((run, call))
  return call


def _unrolled(runs, devices, resident):
  bodies, bounded = [_body(run) for run in runs], parallel.bounded()

  # A program for each set of runs that pay their lazy penalties.
  @functools.cache
  def program(pays):
    def play(states, resident, fed):
      parts = zip(bodies, states, fed, pays, strict=True)
      ended = [body(s, resident, f, penalize=p) for body, s, f, p in parts]
      return tuple(zip(*ended, strict=True))

    return devices.compile(play)

  def call(states, first):
    pays = tuple(_pays(run, first) for run in runs)
    fed = devices.spread(tuple(_fed(run, first) for run in runs))
    return bounded(program(pays)(states, resident, fed))

  return Program(tuple, call, lambda states, i: states[i])


def _stacked(runs, devices, resident):
  body, count = _body(runs[0]), len(runs)
  axes, bounded = _axes(runs[0].setup), parallel.bounded()

  @functools.cache
  def program(pays):
    def play(states, resident, fed):
      one = lambda state, fed: body(state, resident, fed, penalize=pays)
      fed = jax.tree.map(lambda *x: jnp.stack(x), *fed)
      states, metrics = jax.vmap(one, (axes, 0), (axes, 0))(states, fed)
      take = lambda i: jax.tree.map(lambda x: x[i], metrics)
      return states, tuple(take(i) for i in range(count))

    return devices.compile(play)

  def call(states, first):
    fed = devices.spread(tuple(_fed(run, first) for run in runs))
    return bounded(program(_pays(runs[0], first))(states, resident, fed))

  stack = jax.jit(lambda states: _stack(states, axes))
  take = jax.jit(lambda states, i: _take(states, i, axes))
  return Program(lambda states: devices.replicate(stack(states)), call, take)


def _axes(setup):
  """Axis of the runs in each leaf of a stacked state, None for counters.

  All runs count the same. A counter with an axis of runs would make each
  `cond` on it pay for both of its branches.
  """
  like = jax.eval_shape(lambda: step.init(setup, jax.random.key(0)))
  counts = lambda x: x.ndim == 0 and jnp.issubdtype(x.dtype, jnp.integer)
  return jax.tree.map(lambda x: None if counts(x) else 0, like)


def _stack(states, axes):
  def stack(axis, *leaves):
    return leaves[0] if axis is None else jnp.stack(leaves)

  return _over(axes, stack, *states)


def _take(states, i, axes):
  # A counter is copied: what one run's next call uses up is not another's.
  take = lambda axis, x: jnp.copy(x) if axis is None else x[i]
  return _over(axes, take, states)


def _over(axes, function, *trees):
  """Maps over leaves and their axes, though some of these are None."""
  leaves, structure = zip(*map(jax.tree.flatten, trees), strict=True)
  flat = structure[0].flatten_up_to(axes)
  made = [function(*parts) for parts in zip(flat, *leaves, strict=True)]
  return structure[0].unflatten(made)


def _pays(run, first):
  return step.pays_at(run.setup, run.steps_per_call, first)


def _body(run):
  pick = _with_rows(run.feed.pick)
  return step.make_body(run.setup, pick, run.steps_per_call)


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
