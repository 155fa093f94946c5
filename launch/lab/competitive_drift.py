"""Training goes on for the critic alone, or for both: how far the critic moves.

From one checkpoint of simultaneous training the critic is trained on with the
generator frozen, and with it in play. Its outputs on a fixed set of real and
generated examples tell how far it drifts; then the generator of the checkpoint
is trained against the over-trained critic.

References:
  Schaefer, Zheng and Anandkumar, Implicit Competitive Regularization in GANs,
  ICML 2020, section 3.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import optax
from jax import numpy as jnp

from gan_jax import batch_game, cgd, data, games, losses, models
from launch.lab import population

# The paper's loss is the nonsaturating one. CGD needs a zero-sum game: there
# the generator maximizes the same loss of the critic, as in the authors' code.
SGD_LOSS = losses.get('nonsaturating')
CGD_LOSS = losses.saturating('nonsaturating')
NUM_COMPARED = 500  # real examples, and as many generated ones


class Task(NamedTuple):
  """Networks, their rates and the data.

  Attributes:
    generator: Linen module.
    critic: Linen module.
    images: all of them, floats in [-1, 1], `[N, ...]`.
    lr: of both players.
    batch_size: of both kinds of examples.
  """

  generator: nn.Module
  critic: nn.Module
  images: jax.Array
  lr: float
  batch_size: int


class Frozen(NamedTuple):
  """What the critic said at the checkpoint, and about what.

  Attributes:
    real: the first examples of the set, `[C, ...]`.
    fake: generated ones, `[C, ...]`.
    z: their latents, `[C, Z]`.
    real_logits: `[C]`.
    fake_logits: `[C]`.
  """

  real: jax.Array
  fake: jax.Array
  z: jax.Array
  real_logits: jax.Array
  fake_logits: jax.Array


class Seen(NamedTuple):
  """What is recorded.

  Attributes:
    drift_real: L2 distance of the critic's outputs on the frozen real examples
      from those at the checkpoint.
    drift_fake: the same on the frozen generated ones.
    loss_d: of the critic, on the frozen real examples and what the generator
      now makes of the frozen latents.
    grad_g: norm of the gradient of the generator's nonsaturating loss there.
  """

  drift_real: jax.Array
  drift_fake: jax.Array
  loss_d: jax.Array
  grad_g: jax.Array


def digits() -> Task:
  """Dense networks and scikit-learn's 8 x 8 digits, laid flat."""
  examples = data.load('digits', image_size=8).examples
  images = data.to_float(jnp.asarray(examples)).reshape(-1, 64)
  generator = models.generator(
    'mlp', features=(128, 128), z_size=16, data_shape=(64,), output='tanh'
  )
  critic = models.discriminator('mlp', features=(128, 128), data_shape=(64,))
  return Task(generator, critic, images, lr=0.1, batch_size=64)


def mnist(data_dir: str) -> Task:
  """The paper's networks, rates and batches.

  Raises:
    ValueError: `data_dir` holds no prepared MNIST.
  """
  examples = data.load('mnist', data_dir=data_dir).examples
  images = data.to_float(jnp.asarray(examples))
  generator, critic = models.generator('mnist'), models.discriminator('mnist')
  return Task(generator, critic, images, lr=0.01, batch_size=128)


def start(task: Task, key: jax.Array) -> games.Players:
  """Fresh parameters."""
  keys = jax.random.split(key)
  modules = (task.generator, task.critic)
  return games.Players(
    *(
      module.init(k, *module.example_inputs())['params']
      for module, k in zip(modules, keys, strict=True)
    )
  )


def _state(task):
  """Batch statistics as they start. Training mode does not read them."""
  modules = games.Players(task.generator, task.critic)
  of = lambda module: module.init(jax.random.key(0), *module.example_inputs())
  pick = lambda variables: {
    name: variables.get(name, {}) for name in ('batch_stats', 'spectral')
  }
  return games.Players(*(pick(of(module)) for module in modules))


def make_game(task: Task, loss: losses.GanLoss, key: jax.Array) -> games.Game:
  """One batch: random images of the set, fresh latents for both losses."""
  image_key, key = jax.random.split(key)
  rows = jax.random.randint(image_key, (task.batch_size,), 0, len(task.images))
  setup = batch_game.Setup(task.generator, task.critic, loss, method=None)
  return batch_game.make_game(
    setup, _state(task), dict(image=task.images[rows]), key
  )


def generate(task: Task, g: Any, z: jax.Array) -> jax.Array:
  """Examples in training mode: normalized over these latents."""
  variables = {'params': g, **_state(task).g}
  made, _ = task.generator.apply(
    variables, z, train=True, mutable=('batch_stats',)
  )
  return made


def criticize(task: Task, d: Any, x: jax.Array) -> jax.Array:
  """Logits `[B]`."""
  return task.critic.apply({'params': d}, x)


def freeze(task: Task, players: games.Players, key: jax.Array) -> Frozen:
  """The comparison set, and the critic's outputs on it."""
  real = task.images[:NUM_COMPARED]
  z = jax.random.normal(key, (NUM_COMPARED, task.generator.z_size))
  fake = generate(task, players.g, z)
  logits = (criticize(task, players.d, x) for x in (real, fake))
  return Frozen(real, fake, z, *logits)


def observe(task: Task, frozen: Frozen, players: games.Players) -> Seen:
  """How far the critic is from the checkpoint, and how both fare."""
  distance = lambda x, before: jnp.linalg.norm(
    criticize(task, players.d, x) - before
  )

  def loss_g(g):
    made = criticize(task, players.d, generate(task, g, frozen.z))
    real = criticize(task, players.d, frozen.real)
    loss_d = jnp.mean(SGD_LOSS.discriminator(real, made))
    return jnp.mean(SGD_LOSS.generator(real, made)), loss_d

  (_, loss_d), gradient = jax.value_and_grad(loss_g, has_aux=True)(players.g)
  return Seen(
    distance(frozen.real, frozen.real_logits),
    distance(frozen.fake, frozen.fake_logits),
    loss_d,
    optax.tree.norm(gradient),
  )


def held(
  method: games.GameTransformation, moving: games.Players
) -> games.GameTransformation:
  """The method, with the moves of some players left out.

  `cgd.cgd` with the generator held is what `cgd.one_sided` of the critic does
  to the critic: it answers a move that is then not made.

  Args:
    method: of both players.
    moving: for each player whether it moves; may be traced.
  """

  def update(game, state, players, *, turn=0):
    updates, state, info = method.update(game, state, players, turn=turn)
    keep = lambda tree, moves: jax.tree.map(
      lambda x: jnp.where(moves, x, jnp.zeros_like(x)), tree
    )
    return games.Players(*map(keep, updates, moving)), state, info

  return method._replace(update=update)


def sgd(rates: games.Players) -> games.GameTransformation:
  """Plain SGD of both at once, without momentum."""
  return games.simultaneous(*map(optax.sgd, rates))


def competitive(rates: games.Players) -> games.GameTransformation:
  """CGD, its linear systems solved to 1e-3 or for ten iterations."""
  return cgd.cgd(*rates, tolerance=1e-3, iterations=10)


def player(
  task: Task,
  method: Callable[[games.Players], games.GameTransformation],
  loss: losses.GanLoss,
  num_records: int,
) -> Callable:
  """Compiles training on from given players, many seeds side by side.

  Args:
    task: networks and data.
    method: how to play, of both players' rates.
    loss: of the game.
    num_records: R.

  Returns:
    `(players, frozen, keys, moving, rates, every) -> (players, seen)`. The
    first three have a leading axis for the seeds; `moving` is Players of
    booleans, `every` the number of steps between records. `seen` is a Seen of
    `[S, R + 1]`, the start first.
  """

  def one(images, players, frozen, key, moving, rates, every):
    on = task._replace(images=images)
    play = held(method(rates), moving)

    def step(number, carry):
      game = make_game(on, loss, jax.random.fold_in(key, number))
      return games.play(play, [game], carry[1], carry[0])[:2]

    (after, _), seen = population.recorded(
      step,
      lambda carry: observe(on, frozen, carry[0]),
      (players, play.init(players)),
      num_records=num_records,
      record_every=every,
    )
    return after, seen

  # The images are an argument: as a constant they would be compiled in.
  compiled = jax.jit(jax.vmap(one, (None, 0, 0, 0, None, None, None)))
  return lambda *rest: compiled(task.images, *rest)
