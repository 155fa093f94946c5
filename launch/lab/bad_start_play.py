"""Plays both losses from given weights: many runs in one compiled program."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import numpy as jnp

from gan_jax import games, losses
from gan_jax.metrics import frechet
from launch.lab import bad_start_tasks as tasks
from launch.lab import population

LOSSES = ('js', 'rs')
_JS, _RS = losses.get('nonsaturating'), losses.get('relativistic')
# Adam's betas in the published code of RS-GAN.
BETAS = dict(b1=0.5, b2=0.999)
MIN_SHARE = 0.01  # of the samples, for a class to count


class Runs(NamedTuple):
  """What tells one run from another; all `[R]` but `rates`.

  Attributes:
    start: the number of the start it begins at.
    is_rs: whether it plays the relativistic loss, else the nonsaturating one.
    rates: learning rates of the generator and of the critic, `[R, 2]`.
    seed: of its batches.
    pool: the number of the pool that its real images come from.
  """

  start: Any
  is_rs: Any
  rates: Any
  seed: Any
  pool: Any


class Seen(NamedTuple):
  """What was recorded; `T` records of `R` runs.

  Attributes:
    steps: after how many steps, `[T]`; the first is 0.
    classes: with 1 % of the samples or more, of ten, `[R, T]`.
    distance: Frechet, to real images in the judge's features, `[R, T]`; inf
      where a run is no longer finite.
    loss_g: of the generator on held samples, `[R, T]`.
    loss_d: of the critic, `[R, T]`.
    players: at the end, with a leading axis for the runs.
  """

  steps: np.ndarray
  classes: np.ndarray
  distance: np.ndarray
  loss_g: np.ndarray
  loss_d: np.ndarray
  players: games.Players


def whole_pool(task: tasks.Task) -> jax.Array:
  """The pool of all real images, `[1, N]`; see `pools`."""
  return pools(np.ones((1, len(task.labels))))


def pools(weights: np.ndarray) -> jax.Array:
  """Cumulated shares, `[P, N]`, of images drawn with these weights `[P, N]`."""
  return jnp.asarray(
    np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1), jnp.float32
  )


def game(
  task: tasks.Task, is_rs: jax.Array, real: jax.Array, z: jax.Array
) -> games.Game:
  """One batch's game, by either loss.

  Args:
    task: whose players these are.
    is_rs: scalar, relativistic if true; traced, so one program plays both.
    real: `[B, S, S, 1]`.
    z: `[B, Z]`.
  """

  def loss_of(player):
    def loss(g, d):
      logits = (
        task.critic.apply(d, real),
        task.critic.apply(d, task.generator.apply(g, z)),
      )
      js, rs = (getattr(row, player)(*logits) for row in (_JS, _RS))
      return jnp.mean(jnp.where(is_rs, rs, js))

    return loss

  return games.Game(loss_of('generator'), loss_of('discriminator'))


def method_of(rates: jax.Array) -> games.GameTransformation:
  """One turn each, the generator first, as in RS-GAN's code."""
  adam = functools.partial(optax.adam, **BETAS)
  return games.alternating(adam(rates[0]), adam(rates[1]), first='g')


def play(
  task: tasks.Task,
  starts: games.Players,
  runs: Runs,
  shares: jax.Array,
  *,
  num_steps: int,
  record_every: int,
) -> Seen:
  """Plays every run from its start.

  Args:
    task: the data, the players and the judge.
    starts: weights, with a leading axis.
    runs: which of them, and how.
    shares: of the pools, `[P, N]`.
    num_steps: of each player; a multiple of `record_every`.
    record_every: steps between records.

  Raises:
    ValueError: num_steps is not a positive multiple of record_every.
  """
  num_records = population.count_records(num_steps, record_every)
  runs = Runs(*map(jnp.asarray, runs))
  players = jax.tree.map(lambda x: x[runs.start], starts)
  one = functools.partial(_one, task, num_records, record_every)
  program = jax.jit(jax.vmap(one, in_axes=(0, 0, None, None)))
  record, players = jax.device_get(program(players, runs, task.images, shares))
  steps = np.arange(0, num_steps + 1, record_every)
  return _seen(task, steps, record, players)


def _one(task, num_records, record_every, players, run, images, shares):
  """One run: its records, the first before any step, and the players."""
  method = method_of(run.rates)
  num_turns = len(method.turns)
  key = jax.random.key(run.seed)

  def batch(number):
    keys = jax.random.split(jax.random.fold_in(key, number))
    position = jax.random.uniform(keys[0], (task.batch_size,))
    chosen = jnp.searchsorted(shares[run.pool], position)
    real = images[jnp.minimum(chosen, len(images) - 1)]
    z = jax.random.normal(keys[1], (task.batch_size, task.generator.z_size))
    return game(task, run.is_rs, real, z)

  def step(i, carry):
    turns = [batch(i * num_turns + turn) for turn in range(num_turns)]
    return games.play(method, turns, carry[1], carry[0])[:2]

  (players, _), record = population.recorded(
    step,
    lambda carry: observe(task, run.is_rs, carry[0], images),
    (players, method.init(players)),
    num_records=num_records,
    record_every=record_every,
  )
  return record, players


def observe(
  task: tasks.Task,
  is_rs: jax.Array,
  players: games.Players,
  images: jax.Array,
) -> dict[str, jax.Array]:
  """Class counts, moments of features and losses on `task.count` samples."""
  z = tasks.held_latents(task)
  features, logits = task.judge(task.generator.apply(players.g, z))
  mean = jnp.mean(features, axis=0)
  deviations = features - mean[None]
  played = game(task, is_rs, images[: task.count], z)
  return dict(
    counts=jnp.bincount(jnp.argmax(logits, axis=1), length=logits.shape[1]),
    mean=mean,
    covariance=deviations.T @ deviations / (task.count - 1),
    loss_g=played.loss_g(*players),
    loss_d=played.loss_d(*players),
  )


def _seen(task, steps, record, players):
  enough = record['counts'][..., : tasks.NUM_CLASSES] >= MIN_SHARE * task.count
  return Seen(
    steps,
    enough.sum(axis=-1),
    _distances(task, record['mean'], record['covariance']),
    record['loss_g'],
    record['loss_d'],
    players,
  )


def _distances(task, means, covariances):
  out = np.full(means.shape[:2], np.inf)
  for at in np.ndindex(out.shape):
    mean, covariance = means[at], covariances[at]
    if np.isfinite(mean).all() and np.isfinite(covariance).all():
      reference = task.reference
      out[at] = frechet.frechet_distance(
        mean, covariance, reference.mean, reference.covariance
      )
  return out
