"""Mixtures of Gaussians in the plane, played by several methods.

Two published protocols, each for the sets it was made for. Sun, Fang & Schwing,
Towards a Better Global Loss Landscape of GANs, 2020: five Gaussians and a grid
of 25, Adam, the critic's step and then the generator's on the same batch; with
the relativistic (RS) loss the critic's last row keeps length 1. Metz et al.,
Unrolled Generative Adversarial Networks, 2017, in the notebook's numbers: a
ring, both players at once, the generator's rate ten times the critic's.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax
from jax import numpy as jnp

from gan_jax import data, games, losses, models
from gan_jax.metrics import modes
from launch.lab import population

# In optax's Adam of the critic that is differentiated through: bounds the
# slope of a step at a gradient of zero by 1e6, and moves steps whose gradients
# are well above 1e-6 by nothing.
EPS_ROOT = 1e-12
NUM_SAMPLES = 1000  # Looked at in each record.


class Method(NamedTuple):
  """A row of the comparison.

  Attributes:
    loss: its name in `losses`.
    unroll: virtual critic steps that the generator sees through; None for a
      generator that does not look ahead, played as the set's protocol says.
    label: for figures.
  """

  loss: str
  unroll: int | None
  label: str


METHODS = dict(
  js=Method('nonsaturating', None, 'JS'),
  rs=Method('relativistic', None, 'RS'),
  unrolled_0=Method('minimax', 0, 'k = 0'),
  unrolled_1=Method('minimax', 1, 'k = 1'),
  unrolled_5=Method('minimax', 5, 'k = 5'),
  unrolled_10=Method('minimax', 10, 'k = 10'),
)


class Protocol(NamedTuple):
  """How some sets are learned.

  Attributes:
    datasets: their names in `data`; they are played side by side.
    features: of both networks.
    activation: of the critic; the generator's is `activation_g`.
    activation_g: of the generator.
    start: options of both networks that set their initial weights.
    z_size: latents are standard normal.
    batch_size: of points and of latents.
    rate_g: of Adam.
    rate_d: of Adam.
    betas: of Adam, for both.
    alternate: the critic first, then the generator, on one batch; otherwise
      both at once.
    unit_row: whether RS keeps the critic's last row at length 1.
    final_bias: whether JS and unrolled critics have one; RS never does.
  """

  datasets: tuple[str, ...]
  features: tuple[int, ...]
  activation: str
  activation_g: str
  start: dict
  z_size: int
  batch_size: int
  rate_g: float
  rate_d: float
  betas: tuple[float, float]
  alternate: bool
  unit_row: bool
  final_bias: bool


PROTOCOLS = dict(
  gaussians=Protocol(
    datasets=('five_gaussians', 'grid25'),
    features=(128, 128),
    activation='leaky_relu',
    activation_g='relu',
    start={},
    z_size=2,
    batch_size=128,
    rate_g=1e-4,
    rate_d=1e-4,
    betas=(0.0, 0.9),
    alternate=True,
    unit_row=True,
    final_bias=False,
  ),
  ring=Protocol(
    datasets=('ring8',),
    features=(128, 128),
    activation='tanh',
    activation_g='tanh',
    start=dict(initializer='orthogonal', gain=1.4),
    z_size=256,
    batch_size=512,
    rate_g=1e-3,
    rate_d=1e-4,
    betas=(0.5, 0.999),
    alternate=False,
    unit_row=False,
    final_bias=True,
  ),
)


def networks(protocol: Protocol, method: Method) -> tuple[nn.Module, nn.Module]:
  """Generator and critic."""
  paired = method.loss == 'relativistic'
  common = dict(features=protocol.features, **protocol.start)
  return (
    models.generator(
      'mlp',
      activation=protocol.activation_g,
      z_size=protocol.z_size,
      **common,
    ),
    models.discriminator(
      'mlp',
      activation=protocol.activation,
      final_bias=protocol.final_bias and not paired,
      **common,
    ),
  )


def on_one_batch(method: games.GameTransformation) -> games.GameTransformation:
  """The method, with all turns of a step played on one and the same game."""

  def update(game, state, players, *, turn=0):
    del turn
    turns = [game] * len(method.turns)
    after, state, infos = games.play(method, turns, state, players)
    return jax.tree.map(jnp.subtract, after, players), state, infos[0]

  return games.GameTransformation(method.init, update)


def unit_row(players: games.Players) -> games.Players:
  """The critic's last layer at length 1."""
  out = players.d['params']['out']
  kernel = out['kernel'] / jnp.linalg.norm(out['kernel'])
  params = players.d['params'] | {'out': out | {'kernel': kernel}}
  return players._replace(d=players.d | {'params': params})


def make_method(protocol: Protocol, method: Method) -> games.GameTransformation:
  """Optimizers and turns."""
  b1, b2 = protocol.betas
  adam = lambda rate, **more: optax.adam(rate, b1, b2, 1e-8, **more)
  if method.unroll is not None:
    return games.unrolled(
      adam(protocol.rate_g),
      adam(protocol.rate_d, eps_root=EPS_ROOT),
      steps=method.unroll,
    )
  play = games.alternating if protocol.alternate else games.simultaneous
  played = play(adam(protocol.rate_g), adam(protocol.rate_d))
  if protocol.unit_row and method.loss == 'relativistic':
    played = population.projected(played, unit_row)
  return on_one_batch(played)


def make_game(
  loss: losses.GanLoss,
  generator: nn.Module,
  critic: nn.Module,
  real: jax.Array,
  z: jax.Array,
) -> games.Game:
  """The game on one batch, `[B, 2]` and `[B, z_size]`."""

  def mean(player, g, d):
    fake = generator.apply(g, z)
    return jnp.mean(player(critic.apply(d, real), critic.apply(d, fake)))

  loss_d = lambda g, d: mean(loss.discriminator, g, d)
  if loss.zero_sum:
    return games.zero_sum(loss_d)
  return games.Game(lambda g, d: mean(loss.generator, g, d), loss_d)


class Run(NamedTuple):
  """One method on one set.

  Attributes:
    steps: of the records, `[R]`.
    covered: modes, `[S, R]`; this and the next two as in Counts.
    reached: `[S, R]`.
    quality: `[S, R]`.
    samples: at the end, `[S, N, 2]`.
  """

  steps: np.ndarray
  covered: np.ndarray
  reached: np.ndarray
  quality: np.ndarray
  samples: np.ndarray


def starts(protocol: Protocol, method: Method, seeds) -> games.Players:
  """Players for all seeds, the same for all methods but for RS's last bias."""
  # All methods draw by one program, as drawing takes long to compile.
  _, critic = networks(protocol, method)
  players = _draw(*networks(protocol, METHODS['js']), seeds)
  out = dict(players.d['params']['out'])
  if not critic.final_bias:
    out.pop('bias', None)
  return players._replace(d={'params': players.d['params'] | {'out': out}})


@functools.partial(jax.jit, static_argnums=(0, 1))
def _draw(generator, critic, seeds):
  def start(seed):
    key_g, key_d = jax.random.split(jax.random.key(seed))
    return games.Players(
      generator.init(key_g, *generator.example_inputs()),
      critic.init(key_d, *critic.example_inputs()),
    )

  return jax.vmap(start)(seeds)


def _player(protocol, method, points, latents, num_records, record_every):
  """`(players, set, seed) -> samples [R, N, 2]`: one run, to be vmapped."""
  generator, critic = networks(protocol, method)
  loss, played = losses.get(method.loss), make_method(protocol, method)
  size = protocol.batch_size

  def one(players, at, seed):
    # A stream apart from the one of the start.
    key = jax.random.fold_in(jax.random.key(seed), 1)

    def step(number, carry):
      key_x, key_z = jax.random.split(jax.random.fold_in(key, number))
      real = points[at, jax.random.randint(key_x, (size,), 0, points.shape[1])]
      z = jax.random.normal(key_z, (size, protocol.z_size))
      game = make_game(loss, generator, critic, real, z)
      return games.play(played, [game], carry[1], carry[0])[:2]

    return population.recorded(
      step,
      lambda carry: generator.apply(carry[0].g, latents),
      (players, played.init(players)),
      num_records=num_records,
      record_every=record_every,
    )[1]

  return one


def train(
  protocol: Protocol,
  method: Method,
  seeds: jax.Array,
  *,
  num_steps: int,
  record_every: int,
) -> dict[str, Run]:
  """Plays all sets of the protocol and all seeds in one program.

  Args:
    protocol: whose sets have as many points as one of them, or a divisor.
    method: how to play.
    seeds: `[S]`; a seed has the same start for every set and method, if the
      networks are alike, and the same batches.
    num_steps: a multiple of `record_every`.
    record_every: steps between records.

  Returns:
    A Run for each set, with R = num_steps / record_every + 1 records.

  Raises:
    ValueError: num_steps is not a positive multiple of record_every.
  """
  num_records = population.count_records(num_steps, record_every)
  sets = [data.load(name) for name in protocol.datasets]
  most = max(len(one.examples) for one in sets)
  points = jnp.stack(
    [np.tile(one.examples, (most // len(one.examples), 1)) for one in sets]
  )
  latents = jax.random.normal(jax.random.key(0), (NUM_SAMPLES, protocol.z_size))
  one = _player(protocol, method, points, latents, num_records, record_every)
  by_seed = jax.vmap(one, in_axes=(0, None, 0))
  by_set = jax.jit(jax.vmap(by_seed, in_axes=(None, 0, None)))
  players = starts(protocol, method, seeds)
  samples = np.asarray(by_set(players, jnp.arange(len(sets)), seeds))
  steps = np.arange(0, num_steps + 1, record_every)
  return {
    one.name: Run(
      steps, *count(seen, one.centres, one.std), samples=seen[:, -1]
    )
    for one, seen in zip(sets, samples, strict=True)
  }


class Counts(NamedTuple):
  """How samples fall on the modes, each `[...]`.

  Attributes:
    covered: modes with at least 1 % of the samples within 3 sigma.
    reached: modes that are nearest to at least 1 % of the samples, however far:
      few of them is a collapse, blurred modes are not.
    quality: share of samples within 3 sigma of any mode.
  """

  covered: np.ndarray
  reached: np.ndarray
  quality: np.ndarray


def count(samples: np.ndarray, centres: np.ndarray, std: float) -> Counts:
  """Counts modes, `[..., N, 2]` -> `[...]`; who diverged has none."""

  def one(points):
    if not np.all(np.isfinite(points)):
      return 0, 0, 0.0
    found = modes.coverage(points, centres, std)
    reached = modes.covered(found.histogram, len(points), 0.01)
    return found.covered, reached, found.high_quality

  flat = samples.reshape(-1, *samples.shape[-2:])
  columns = zip(*map(one, flat), strict=True)
  return Counts(*(np.reshape(x, samples.shape[:-2]) for x in columns))
