"""One training step, and the sampler: pure functions of a `TrainState`.

A step is `method.turns` turns. Each turn has a fresh batch, fresh latents and
one model state that stays constant inside it; between turns the players move
and the model state advances. The averaged generator follows once a step.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan_jax import accumulation, batch_game, games, models

Setup = batch_game.Setup

# What a module keeps beside its parameters.
_STATE_COLLECTIONS = ('batch_stats', 'spectral')
_DRAWN = games.Players(None, None)
# At once by a sampler: 250 images of 128 px, 4 of 1024.
_PIXELS_SAMPLED = 2**22
# Telemetry of a step from that of its turns; of all else the last one counts.
_JOINED_OVER_TURNS = {
  'iterations': jnp.add,
  'gradient_equivalents': jnp.add,
  'residual': jnp.maximum,
}


class TrainState(NamedTuple):
  """All that changes, so that a step can be replayed.

  Attributes:
    players: parameters.
    model_state: batch statistics and spectral vectors of each player.
    opt_state: of the method.
    averaged: variables of the averaged generator, or None.
    step: steps done, int32.
    key: of the run; what a step draws is a function of (key, step).
  """

  players: games.Players
  model_state: games.Players
  opt_state: Any
  averaged: Any
  step: jax.Array
  key: jax.Array


def init(
  setup: Setup,
  key: jax.Array,
  initial: games.Players = _DRAWN,
) -> TrainState:
  """Draws the players' parameters and makes everything else ready.

  Args:
    setup: what a step is made of.
    key: of the run.
    initial: variables of each player's module to start from, or None to draw
      them.
  """
  key_g, key_d, key_run = jax.random.split(key, 3)
  params_g, state_g = _init_module(setup.generator, key_g, initial.g)
  params_d, state_d = _init_module(setup.discriminator, key_d, initial.d)
  players = games.Players(params_g, params_d)
  averaged = None
  if setup.averaging:
    averaged = jax.tree.map(jnp.copy, _averaged_part(params_g, state_g))
  return TrainState(
    players,
    games.Players(state_g, state_d),
    # Copies, so that a method may keep its players: the state is donated.
    setup.method.init(jax.tree.map(jnp.copy, players)),
    averaged,
    jnp.zeros((), jnp.int32),
    key_run,
  )


def _init_module(module, key, variables):
  if variables is None:
    variables = jax.jit(module.init)(key, *module.example_inputs())
  # Copies: what a run starts from may start others, and the state is donated.
  variables = jax.tree.map(jnp.array, variables)
  state = {name: variables.get(name, {}) for name in _STATE_COLLECTIONS}
  return variables['params'], state


def _averaged_part(params, state):
  return {'params': params, 'batch_stats': state['batch_stats']}


def train_step(
  state: TrainState,
  batches: dict[str, jax.Array],
  *,
  setup: Setup,
  penalize: bool = True,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """Plays every turn of one step.

  Args:
    state: before the step.
    batches: `image` as stored, `[turns, B, ...]`, and what else
      `batch_game.make_game` takes: one batch a turn.
    setup: what the step is made of.
    penalize: whether this step pays the (lazy) penalties.

  Returns:
    The state after the step, and float32 scalars: each player's loss at the
    last turn that computed it, mean logits, penalties (NaN in a step without)
    and the method's telemetry, summed over the turns but for the largest
    residual.
  """
  metrics = {penalty.name: jnp.nan for penalty in setup.penalties}
  for turn in range(len(setup.method.turns)):
    batch = jax.tree.map(lambda x, turn=turn: x[turn], batches)
    state, seen = _play_turn(state, batch, turn, setup, penalize)
    for name, joined in _JOINED_OVER_TURNS.items():
      seen[name] = joined(seen.get(name, 0), metrics.get(name, 0))
    metrics |= seen
  metrics = {k: jnp.asarray(v, jnp.float32) for k, v in metrics.items()}
  return state._replace(step=state.step + 1), metrics


def _play_turn(state, batch, turn, setup, penalize):
  movers = setup.method.turns[turn]
  count = state.step * len(setup.method.turns) + turn
  key = jax.random.fold_in(state.key, count)
  model_state = _advance_spectral(state.players, state.model_state, movers)
  # What the critic alone pays is not computed where it does not move.
  penalize = penalize and 'd' in movers
  now = batch_game.at_step(setup, state.step)
  make_game = lambda part: batch_game.make_game(
    now, model_state, part, key, penalize=penalize
  )
  game = accumulation.in_parts(make_game, batch, setup.accumulate)
  updates, opt_state, info = setup.method.update(
    game, state.opt_state, state.players, turn=turn
  )
  players = optax.apply_updates(state.players, updates)
  if setup.project is not None:
    players = setup.project(players)
  model_state = _next_model_state(model_state, info, movers)
  averaged = state.averaged
  if averaged is not None and turn == _last_turn(setup.method.turns, 'g'):
    fresh = _averaged_part(players.g, model_state.g)
    share = 1 - _decay(setup.averaging, state.step)
    averaged = optax.incremental_update(fresh, averaged, share)
  state = state._replace(
    players=players,
    model_state=model_state,
    opt_state=opt_state,
    averaged=averaged,
  )
  return state, _turn_metrics(info, movers, setup.axis_name)


def _last_turn(turns, player):
  """Before it, a player may stand at a point that it only looks at."""
  moved = (i for i, movers in enumerate(turns) if player in movers)
  return max(moved, default=None)


def _decay(decay, step):
  """As a schedule tells; of a number, less at first.

  So that the average forgets the initial weights.
  """
  if callable(decay):
    return decay(step)
  return jnp.minimum(decay, (1 + step) / (10 + step))


def _advance_spectral(players, model_state, movers):
  """One power iteration before each turn of a player; constant inside it."""

  def advance(params, state, name):
    if name not in movers or not state['spectral']:
      return state
    spectral = models.power_iteration(params, state['spectral'])
    return {**state, 'spectral': spectral}

  return games.Players(
    advance(players.g, model_state.g, 'g'),
    advance(players.d, model_state.d, 'd'),
  )


def _next_model_state(model_state, info, movers):
  """The generator's statistics advance every turn, the critic's in its own.

  Where both losses ran, each player's statistics come from its own loss.
  """
  aux_g = info.aux_d if info.aux_g is None else info.aux_g
  stats_g, stats_d = aux_g['batch_stats'].g, model_state.d['batch_stats']
  if 'd' in movers:
    stats_d = info.aux_d['batch_stats'].d
  return games.Players(
    {**model_state.g, 'batch_stats': stats_g},
    {**model_state.d, 'batch_stats': stats_d},
  )


def _turn_metrics(info, movers, axis_name):
  """Each player's loss and the critic's metrics, in its own turns.

  A zero-sum payoff gives both in every turn; the generator's is then told
  without the penalties, as in other games.
  """
  metrics = {} if info.aux_d is None else dict(info.aux_d['metrics'])
  if axis_name is not None:
    metrics = jax.lax.pmean(metrics, axis_name)
  losses = info._asdict()
  losses['loss_g'] = metrics.pop('loss_g', info.loss_g)
  seen = {f'loss_{player}': losses[f'loss_{player}'] for player in movers}
  metrics = metrics if 'd' in movers else {}
  return metrics | seen | info.telemetry


def _on_one_device(function):
  return jax.jit(function, donate_argnums=0)


def make_call(
  setup: Setup,
  pick: Callable,
  steps: int,
  compile_: Callable[[Callable], Callable] = _on_one_device,
) -> Callable:
  """Compiles `steps` training steps into one call to the devices.

  Args:
    setup: what a step is made of.
    pick: `(resident, fed) -> batch`, see `data.Feed`.
    steps: steps a call.
    compile_: of a function `(state, resident, fed) -> (state, metrics)`; see
      `parallel.Devices`.

  Returns:
    `(state, resident, fed, step) -> (state, metrics)`: leaves of `fed` are
    `[steps, turns, B, ...]`, those of `metrics` `[steps]`; `step` counts the
    steps done, on the host. The state given is used up (donated).
  """
  # The host knows the step, so it picks one of two programs.
  body = make_body(setup, pick, steps)
  paying, free = (
    compile_(functools.partial(body, penalize=penalize))
    for penalize in (True, False)
  )

  def call(state, resident, fed, step):
    pays = pays_at(setup, steps, step)
    return (paying if pays else free)(state, resident, fed)

  return call


def pays_at(setup: Setup, steps: int, step: int) -> bool:
  """Whether the program with penalties plays the call that begins at a step.

  It plays all calls of several steps, and finds out by itself.
  """
  return steps > 1 or not setup.penalties or step % setup.lazy == 0


def make_body(setup: Setup, pick: Callable, steps: int) -> Callable:
  """What `make_call` compiles: a pure function, as if for one device.

  Args:
    setup: what a step is made of.
    pick: `(resident, fed) -> batch`, see `data.Feed`.
    steps: steps a call.

  Returns:
    `(state, resident, fed, *, penalize) -> (state, metrics)`, see `pays_at`.
  """

  def one(state, resident, fed, penalize):
    batches = jax.vmap(functools.partial(pick, resident))(fed)
    return train_step(state, batches, setup=setup, penalize=penalize)

  def single(state, resident, fed, *, penalize):
    fed = jax.tree.map(lambda x: x[0], fed)
    state, metrics = one(state, resident, fed, penalize)
    return state, jax.tree.map(lambda x: x[None], metrics)

  def several(state, resident, fed, *, penalize=True):
    del penalize

    def body(state, fed):
      pay = lambda penalize: one(state, resident, fed, penalize)
      if setup.lazy == 1 or not setup.penalties:
        return pay(True)
      due = state.step % setup.lazy == 0
      return jax.lax.cond(due, lambda: pay(True), lambda: pay(False))

    return jax.lax.scan(body, state, fed)

  return single if steps == 1 else several


def generator_variables(state: TrainState, *, averaged: bool) -> dict[str, Any]:
  """Variables of the generator, or of its average where the run keeps one."""
  if averaged and state.averaged is not None:
    return {**state.averaged, 'spectral': state.model_state.g['spectral']}
  return {'params': state.players.g, **state.model_state.g}


def _on_this_device(function, variables):
  return functools.partial(jax.jit(function), variables), 1


def make_sampler(
  setup: Setup,
  batch_size: int = 0,
  place: Callable[[Callable, Any], tuple] = _on_this_device,
) -> Callable:
  """A function `(variables, z, labels=None) -> examples`.

  Latents `[N, z_size]` and labels `[N]`, where the generator takes them, to
  numpy `[N, ...]`. Labels left out are all classes in turn. The generator runs
  in evaluation mode: running statistics, no dropout. Labels that are not
  classes, one for each latent, are a ValueError.

  Args:
    setup: whose generator it is.
    batch_size: latents at once; rounded up so that all devices get equally
      many. 0: 250, fewer where images are large.
    place: function of rows -> that on the devices, and how many there are; see
      `parallel.by_rows`.
  """

  if not batch_size:
    sides = setup.discriminator.example_inputs()[0].shape[1:3]
    batch_size = max(1, min(250, _PIXELS_SAMPLED // math.prod(sides)))

  def generate(variables, rows):
    z, labels = rows
    labels = labels if batch_game.takes_labels(setup.generator) else None
    return setup.generator.apply(variables, z, labels, train=False)

  def sample(variables, z, labels=None):
    rows = np.asarray(z), _checked_labels(setup.generator, len(z), labels)
    call, devices = place(generate, variables)
    size = -(-batch_size // devices) * devices
    parts = []
    for first in range(0, len(z), size):
      part = [x[first : first + size] for x in rows]
      count = len(part[0])
      # One shape, so one compilation.
      padded = [
        np.concatenate([x, np.zeros((size - count, *x.shape[1:]), x.dtype)])
        for x in part
      ]
      parts.append(np.asarray(call(tuple(padded)))[:count])
    return np.concatenate(parts)

  return sample


def _checked_labels(generator, count, labels):
  classes = getattr(generator, 'labels', 1)
  if labels is None:
    return np.arange(count, dtype=np.int32) % classes
  labels = np.asarray(labels)
  if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(
      f'labels have shape {labels.shape} and type {labels.dtype}; they must be '
      f'integers of shape ({count},), one for each latent.'
    )
  if count and not 0 <= labels.min() <= labels.max() < classes:
    raise ValueError(
      f'labels lie between {labels.min()} and {labels.max()}; the generator '
      f'takes 0 to {classes - 1}.'
    )
  return labels.astype(np.int32)
