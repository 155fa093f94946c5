"""Many seeds of one small game in one compiled program."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import numpy as jnp

from gan_jax import games


class History(NamedTuple):
  """What was observed.

  Attributes:
    steps: after how many steps, `[R]`; the first is 0.
    seen: `observe`'s tree, with leading axes `[S, R]` for seeds and records.
    players: at the end, with a leading axis for the seeds.
  """

  steps: jax.Array
  seen: Any
  players: games.Players


def train(
  method: games.GameTransformation,
  game_of: Callable[[jax.Array], games.Game],
  start: Callable[[jax.Array], games.Players],
  observe: Callable[[games.Players], Any],
  seeds: jax.Array,
  *,
  num_steps: int,
  record_every: int,
) -> History:
  """Plays every seed's game, side by side by vmap.

  Args:
    method: how to play.
    game_of: a key -> the game of one turn; the key draws its batch. All turns
      of all steps have keys of their own.
    start: a key -> the players at the start.
    observe: what to record of the players.
    seeds: `[S]` integers.
    num_steps: a multiple of `record_every`.
    record_every: steps between records.

  Returns:
    A History. A seed that diverges goes on as nan.

  Raises:
    ValueError: num_steps is not a positive multiple of record_every.
  """
  num_records = count_records(num_steps, record_every)
  num_turns = len(method.turns)

  def one(seed):
    start_key, key = jax.random.split(jax.random.key(seed))
    players = start(start_key)

    def step(number, carry):
      turns = [
        game_of(jax.random.fold_in(key, number * num_turns + turn))
        for turn in range(num_turns)
      ]
      return games.play(method, turns, carry[1], carry[0])[:2]

    (players, _), seen = recorded(
      step,
      lambda carry: observe(carry[0]),
      (players, method.init(players)),
      num_records=num_records,
      record_every=record_every,
    )
    return seen, players

  seen, players = jax.jit(jax.vmap(one))(jnp.asarray(seeds))
  return History(jnp.arange(0, num_steps + 1, record_every), seen, players)


def count_records(num_steps: int, record_every: int) -> int:
  """How often one looks after the start.

  Raises:
    ValueError: num_steps is not a positive multiple of record_every.
  """
  if record_every < 1 or num_steps < 1 or num_steps % record_every:
    raise ValueError(
      f'num_steps={num_steps} is not a positive multiple of '
      f'record_every={record_every}.'
    )
  return num_steps // record_every


def recorded(
  step: Callable[[jax.Array, Any], Any],
  observe: Callable[[Any], Any],
  carry: Any,
  *,
  num_records: int,
  record_every: int | jax.Array,
) -> tuple[Any, Any]:
  """Steps on, and looks at the start and after every `record_every` steps.

  Args:
    step: `(number, carry) -> carry`.
    observe: what to record of a carry.
    carry: at the start.
    num_records: R.
    record_every: steps between records.

  Returns:
    The carry at the end, and `observe`'s tree with a leading axis `[R + 1]`.
  """

  def block(carry, first):
    body = lambda i, carry: step(first + i, carry)
    carry = jax.lax.fori_loop(0, record_every, body, carry)
    return carry, observe(carry)

  first = observe(carry)
  firsts = jnp.arange(num_records) * record_every
  carry, seen = jax.lax.scan(block, carry, firsts)
  join = lambda a, b: jnp.concatenate([jnp.asarray(a)[None], b])
  return carry, jax.tree.map(join, first, seen)


def projected(
  method: games.GameTransformation,
  project: Callable[[games.Players], games.Players],
) -> games.GameTransformation:
  """The method, with the players projected after every turn.

  Weight clipping is one such projection, unit rows are another.
  """

  def update(game, state, players, *, turn=0):
    updates, state, info = method.update(game, state, players, turn=turn)
    moved = project(jax.tree.map(jnp.add, players, updates))
    return jax.tree.map(jnp.subtract, moved, players), state, info

  return method._replace(update=update)
