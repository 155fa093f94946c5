"""Trains small GANs on sets in the plane: all settings in one program.

A program is one method; data sets, optimizers, learning rates and seeds are
axes of it. Every setting of one seed sees the same start, the same latents and
the same rows of its data.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jax import numpy as jnp

from gan_jax import batch_game, build, games, losses, models, regularizers
from launch.lab import population

GAMMA = 1.0  # of R1 and R2, which weigh gamma / 2
FEATURES = (16, 16, 16, 16)
Z_SIZE = 16
OPTIMIZERS: dict[str, Callable] = {
  'SGD': optax.sgd,
  'RMSprop': lambda rate: optax.rmsprop(
    rate, decay=0.99, eps=1e-8, eps_in_sqrt=False
  ),
  'Adam': lambda rate: optax.adam(rate, b1=0.5, b2=0.9),
}
_STATE = {'batch_stats': {}, 'spectral': {}}


class Recipe(NamedTuple):
  """One method of the comparison.

  Attributes:
    label: for figures.
    loss: a name of `losses`.
    penalties: weights by the trainer's names.
    critic_steps: turns of the critic before each of the generator.
    clip: bound of the critic's weights after each of its turns, or None.
    noise: standard deviation of instance noise, on real and generated points.
    consensus: weight of consensus optimization, or None. Both players then
      move at once; else in turns, the critic first.
  """

  label: str
  loss: str = 'nonsaturating'
  penalties: dict[str, float] = {}
  critic_steps: int = 1
  clip: float | None = None
  noise: float = 0.0
  consensus: float | None = None


RECIPES = {
  'none': Recipe('none'),
  'r1': Recipe('R1', penalties={'r1': GAMMA / 2}),
  'r2': Recipe('R2', penalties={'r2': GAMMA / 2}),
  'wgan_gp_1': Recipe('WGAN-GP, 1', 'wasserstein', {'wgan_gp': 1.0}),
  'wgan_gp_5': Recipe('WGAN-GP, 5', 'wasserstein', {'wgan_gp': 1.0}, 5),
  'wgan': Recipe('WGAN, 5', 'wasserstein', critic_steps=5, clip=0.1),
  'consensus': Recipe('consensus', consensus=1.0),
  'noise': Recipe('inst. noise', noise=0.3),
  'rs': Recipe('RS', 'relativistic'),
  'rs_r1': Recipe('RS + R1', 'relativistic', {'r1': GAMMA / 2}),
}


class Lanes(NamedTuple):
  """Optimizers and rates that are trained side by side.

  Attributes:
    which: places in OPTIMIZERS, `[L]` int32.
    rate: learning rates of both players, `[L]`.
  """

  which: jax.Array
  rate: jax.Array


def nets() -> tuple[Any, Any]:
  """Generator and critic."""
  options = dict(features=FEATURES, activation='leaky_relu')
  return (
    models.generator('mlp', z_size=Z_SIZE, **options),
    models.discriminator('mlp', **options),
  )


def optimizer(which: jax.Array, rate: jax.Array):
  """One of OPTIMIZERS, chosen by a traced number.

  All three are computed and one is followed: so they share a program. On nets
  of a thousand weights that costs little.
  """
  all_of_them = [make(rate) for make in OPTIMIZERS.values()]

  def init(params):
    return tuple(each.init(params) for each in all_of_them)

  def update(grads, states, params=None):
    moves, states = zip(
      *(
        each.update(grads, state, params)
        for each, state in zip(all_of_them, states, strict=True)
      ),
      strict=True,
    )
    chosen = [which == i for i in range(len(moves))]
    return jax.tree.map(lambda *x: jnp.select(chosen, x), *moves), states

  # Flat: one vector a player, so a tenth of the operations to compile.
  return optax.flatten(optax.GradientTransformation(init, update))


def method_of(
  recipe: Recipe, which: jax.Array, rate: jax.Array
) -> games.GameTransformation:
  """How the players of a recipe move."""
  both = optimizer(which, rate), optimizer(which, rate)
  if recipe.consensus is not None:
    return games.consensus(*both, weight=recipe.consensus)
  method = games.alternating(*both, d_steps=recipe.critic_steps)
  if recipe.clip is None:
    return method
  clip = lambda d: regularizers.clip_weights(d, recipe.clip)
  return population.projected(method, lambda p: p._replace(d=clip(p.d)))


def game_of(
  recipe: Recipe,
  method: games.GameTransformation,
  real: jax.Array,
  key: jax.Array,
  *,
  penalize: bool = True,
) -> games.Game:
  """The game that the trainer would play on one batch.

  Args:
    recipe: its loss, penalties and noise.
    method: how it is played.
    real: a batch, `[B, 2]`.
    key: latents, noise and points of penalties follow from it.
    penalize: whether the critic's penalties are paid.
  """
  setup = batch_game.Setup(
    *nets(),
    losses.get(recipe.loss),
    method,
    tuple(
      batch_game.Penalty(name, weight, build.PENALTIES[name])
      for name, weight in recipe.penalties.items()
    ),
    instance_noise=recipe.noise,
  )
  state = games.Players(_STATE, _STATE)
  return batch_game.make_game(
    setup, state, {'image': real}, key, penalize=penalize
  )


def step(
  recipe: Recipe,
  method: games.GameTransformation,
  draw: Callable[[jax.Array], jax.Array],
  state: Any,
  players: games.Players,
  key: jax.Array,
) -> tuple[games.Players, Any]:
  """All turns of one step, as `games.play` would play them.

  The critic's turns are one loop: unrolled, five of them take five times as
  long to compile.

  Args:
    recipe: what is played.
    method: of `method_of`.
    draw: a key -> a batch `[B, 2]`.
    state: of the method.
    players: before the step.
    key: of the step.

  Returns:
    The players and the state after the step.
  """
  last = len(method.turns) - 1

  def play(number, carry, turn):
    players, state = carry
    data_key, game_key = jax.random.split(jax.random.fold_in(key, number))
    penalize = 'd' in method.turns[turn]
    game = game_of(recipe, method, draw(data_key), game_key, penalize=penalize)
    moves, state, _ = method.update(game, state, players, turn=turn)
    return optax.apply_updates(players, moves), state

  carry = players, state
  if last == 1:
    carry = play(0, carry, 0)
  elif last > 1:  # All before the last are the critic's, and so are alike.
    carry = jax.lax.fori_loop(0, last, lambda i, c: play(i, c, 0), carry)
  return play(last, carry, last)


def start(seed: jax.Array) -> games.Players:
  """Both players' parameters, the same for every method."""
  keys = jax.random.split(jax.random.key(seed))
  return games.Players(
    *(
      net.init(key, *net.example_inputs())['params']
      for net, key in zip(nets(), keys, strict=True)
    )
  )


# Compiled once for all methods.
_starts = jax.jit(jax.vmap(start))


def train(
  recipe: Recipe,
  points: jax.Array,
  lanes: Lanes,
  seeds: jax.Array,
  *,
  num_steps: int,
  batch_size: int,
  num_samples: int,
) -> jax.Array:
  """Trains every data set, lane and seed, and draws samples.

  Args:
    recipe: the method.
    points: data, `[K, N, 2]`.
    lanes: optimizers and rates, L of them.
    seeds: `[S]` integers.
    num_steps: of the generator.
    batch_size: points a turn.
    num_samples: drawn at the end, from each generator.

  Returns:
    Samples `[S, K, L, num_samples, 2]`; nan where a run diverged.

  Raises:
    ValueError: a size is less than 1.
  """
  sizes = dict(
    num_steps=num_steps, batch_size=batch_size, num_samples=num_samples
  )
  for name, size in sizes.items():
    if size < 1:
      raise ValueError(f'{name}={size} is less than 1.')

  def one(seed, players, data, which, rate):
    key = jax.random.fold_in(jax.random.key(seed), 1)
    method = method_of(recipe, which, rate)

    def draw(key):
      return data[jax.random.randint(key, (batch_size,), 0, len(data))]

    def body(i, carry):
      of_step = jax.random.fold_in(key, i)
      return step(recipe, method, draw, carry[1], carry[0], of_step)

    carry = players, method.init(players)
    players, _ = jax.lax.fori_loop(0, num_steps, body, carry)
    z = batch_game.latents(
      jax.random.fold_in(key, num_steps), num_samples, Z_SIZE
    )
    return nets()[0].apply({'params': players.g}, z)

  # The axes one by one: what is drawn depends on the seed alone, and so is
  # drawn once for all data sets and lanes.
  every = jax.vmap(one, (None, None, None, 0, 0))
  every = jax.vmap(every, (None, None, 0, None, None))
  every = jax.vmap(every, (0, 0, None, None, None))
  return jax.jit(every, compiler_options=_compiler_options(num_steps))(
    seeds, _starts(seeds), points, *lanes
  )


def _compiler_options(num_steps):
  """On CPU: level 1 runs as fast as the default and compiles sooner.

  Level 0 runs at half that speed, which a few hundred steps do not feel.
  """
  if jax.default_backend() != 'cpu':
    return None
  return {'xla_backend_optimization_level': 0 if num_steps < 1000 else 1}
