"""Two clusters on the line: how long each loss takes to cover both.

Sun, Fang & Schwing, Towards a Better Global Loss Landscape of GANs, 2020, train
a tiny generator on points near 0 and near 4. With the separable (JS) loss it
first puts everything near 0 and stays for a while, at a bad local minimum of
the empirical loss; with the relativistic paired loss (RS) there is none.

The script's numbers: 100 real points and 100 latents, fixed; 10 steps of the
critic on the whole set, then 10 of the generator; SGD 1e-2 with momentum 0.9,
never reset. Its JS critic minimizes half of the sum that `losses` has, and its
generator the whole: half of the sum at rate 1e-2 is the sum at rate 5e-3.

One thing of the script is not kept: it seeds PyTorch anew between drawing the
latents and building the networks, so its latents and first weights are the same
random numbers. Here they are independent, and times spread more; so they do in
PyTorch once the second seeding is taken out.
"""

from typing import NamedTuple

import jax
import numpy as np
import optax
from jax import numpy as jnp

from gan_jax import games, losses, models

CLUSTERS = (0.0, 4.0)  # Where they begin; each is 0.3 wide.
NUM_POINTS, WIDTH, MARGIN = 100, 0.3, 0.36
ENOUGH = 30  # Samples that make a cluster covered.
CHECK_EVERY = 100  # Epochs between looks at coverage.
D_STEPS = G_STEPS = 10
GRID = np.linspace(-2.0, 6.0, 81)

GENERATOR = models.generator(
  'mlp', features=(5, 5), activation='tanh', data_shape=(1,), z_size=1
)
CRITIC = models.discriminator(
  'mlp', features=(10, 10), activation='sigmoid', data_shape=(1,)
)


class Objective(NamedTuple):
  """A row of the comparison.

  Attributes:
    loss: its name in `losses`.
    rate_d: the critic's step size on that loss.
    share: factor from that loss to the logged one.
    plateau: the logged loss of the best critic while all samples sit on one
      real point of two.
  """

  loss: str
  rate_d: float
  share: float
  plateau: float


RATE_G, MOMENTUM = 1e-2, 0.9
OBJECTIVES = dict(
  js=Objective('nonsaturating', 5e-3, 0.5, 0.75 * np.log(3) - np.log(2) / 2),
  rs=Objective('relativistic', 1e-2, 1.0, np.log(2) / 2),
)


class Sizes(NamedTuple):
  """How much is computed."""

  num_seeds: int
  num_epochs: int
  record_every: int


class Points(NamedTuple):
  """What the script draws once: `[100, 1]` each."""

  real: jax.Array
  z: jax.Array


class Record(NamedTuple):
  """What was seen of one objective.

  Attributes:
    epochs: of the records, `[R]`; the first is 0.
    loss: the critic's in the last of its steps of each epoch, as the script
      logs it, `[S, E]`.
    near: samples near each cluster, `[S, R, 2]`.
    samples: the generator's values at the fixed latents, `[S, R, 100]`.
    critic: sigmoid of the logit at GRID, `[S, R, 81]`.
    critic_at_clusters: the same at their left ends, `[S, R, 2]`.
  """

  epochs: np.ndarray
  loss: np.ndarray
  near: np.ndarray
  samples: np.ndarray
  critic: np.ndarray
  critic_at_clusters: np.ndarray


def draw(key: jax.Array) -> Points:
  """Even rows near 0, odd rows near 4; latents even on [-5, 5]."""
  key_x, key_z = jax.random.split(key)
  shape = (NUM_POINTS, 1)
  left = jnp.where(jnp.arange(NUM_POINTS) % 2 == 0, *CLUSTERS)[:, None]
  real = left + jax.random.uniform(key_x, shape, maxval=WIDTH)
  return Points(real, 10 * (jax.random.uniform(key_z, shape) - 0.5))


def start(key: jax.Array) -> games.Players:
  """Both networks as PyTorch starts them."""
  key_g, key_d = jax.random.split(key)
  return games.Players(
    GENERATOR.init(key_g, *GENERATOR.example_inputs()),
    CRITIC.init(key_d, *CRITIC.example_inputs()),
  )


def make_game(objective: Objective, points: Points) -> games.Game:
  """The game on all points; real row i meets latent row i."""
  loss = losses.get(objective.loss)

  def logits(g, d):
    fake = GENERATOR.apply(g, points.z)
    return CRITIC.apply(d, points.real), CRITIC.apply(d, fake)

  return games.Game(
    lambda g, d: jnp.mean(loss.generator(*logits(g, d))),
    lambda g, d: jnp.mean(loss.discriminator(*logits(g, d))),
  )


def make_method(objective: Objective) -> games.GameTransformation:
  """The script's optimizers; a player at rest keeps its momentum."""
  return games.alternating(
    optax.sgd(RATE_G, momentum=MOMENTUM),
    optax.sgd(objective.rate_d, momentum=MOMENTUM),
    d_steps=D_STEPS,
    g_steps=G_STEPS,
  )


def play_epoch(method, game, players, state):
  """One epoch; also the critic's loss before its last step.

  As `games.play`, but the ten turns of a player, all alike, are one loop: it
  compiles in a fraction of the time.
  """

  def take(first, length, carry):
    def turn(carry, _):
      updates, state, info = method.update(game, carry[1], carry[0], turn=first)
      return (optax.apply_updates(carry[0], updates), state), info.loss_d

    return jax.lax.scan(turn, carry, length=length)

  carry, logged = take(0, D_STEPS, (players, state))
  (players, state), _ = take(D_STEPS, G_STEPS, carry)
  return players, state, logged[-1]


def observe(players, points):
  samples = GENERATOR.apply(players.g, points.z)[:, 0]
  value = lambda x: jax.nn.sigmoid(CRITIC.apply(players.d, x[:, None]))
  clusters = jnp.asarray(CLUSTERS)
  near = jnp.abs(samples[:, None] - clusters[None]) < MARGIN
  grid = jnp.asarray(GRID, samples.dtype)
  return jnp.sum(near, axis=0), samples, value(grid), value(clusters)


def train(objective: Objective, seeds: jax.Array, sizes: Sizes) -> Record:
  """Plays all seeds side by side; each has points and a start of its own.

  Args:
    objective: which pair of losses.
    seeds: `[S]` integers.
    sizes: `record_every` has to divide `num_epochs`.
  """
  method = make_method(objective)

  def one(seed):
    key_points, key_start = jax.random.split(jax.random.key(seed))
    points, players = draw(key_points), start(key_start)
    game = make_game(objective, points)

    def epoch(carry, _):
      players, state, logged = play_epoch(method, game, *carry)
      return (players, state), logged

    def block(carry, _):
      carry, logged = jax.lax.scan(epoch, carry, length=sizes.record_every)
      return carry, (logged, observe(carry[0], points))

    first = observe(players, points)
    carry = players, method.init(players)
    count = sizes.num_epochs // sizes.record_every
    _, (logged, seen) = jax.lax.scan(block, carry, length=count)
    join = lambda a, b: jnp.concatenate([a[None], b])
    return logged.reshape(-1), jax.tree.map(join, first, seen)

  logged, seen = jax.device_get(jax.jit(jax.vmap(one))(seeds))
  epochs = np.arange(0, sizes.num_epochs + 1, sizes.record_every)
  return Record(epochs, objective.share * logged, *seen)
