"""The starts that are searched: how each is made, and that it is what it says.

Every seed makes weights of its own. Both losses begin at the very same ones.
"""

from typing import NamedTuple

import jax
import numpy as np
import optax
from jax import numpy as jnp

from gan_jax import games
from launch.lab import bad_start_play as playing
from launch.lab import bad_start_tasks as tasks

# Both players', for the play on a part of the data.
PRETRAINING_RATES = (1e-3, 5e-3)


class Kind(NamedTuple):
  """How a start is made from an ordinary one.

  Attributes:
    words: what it is.
    labels: play this part of the data first: label -> share of its images.
    is_rs: whether that play is by the relativistic loss.
    keep_critic: whether the critic of that play stays; else it is a new one.
    one_image: regress the generator onto a single real image.
    scale: factor of all the generator's weights.
    shift: added to the generator's output before tanh.
  """

  words: str
  labels: dict[int, float] | None = None
  is_rs: bool = False
  keep_critic: bool = False
  one_image: bool = False
  scale: float = 1.0
  shift: float = 0.0


# RS-GAN's loader offers all 7s and a fifth of the 5s, perhaps for this.
IMBALANCED = {7: 1.0, 5: 0.2}
KINDS = {
  'ordinary': Kind('PyTorch initialisation of both players'),
  'one image': Kind('regressed onto one real image', one_image=True),
  'one digit': Kind('played on the 1s alone; new critic', {1: 1.0}),
  'imbalanced': Kind('played on 7s and a fifth of the 5s', IMBALANCED),
  'imbalanced, both': Kind(
    'the same, with the critic of that play', IMBALANCED, keep_critic=True
  ),
  'imbalanced, by RS': Kind(
    'the same as imbalanced, played by RS', IMBALANCED, is_rs=True
  ),
  'half': Kind('played on 0 to 4; new critic', dict.fromkeys(range(5), 1.0)),
  'large': Kind("the generator's weights times 4", scale=4.0),
  'shifted': Kind("the generator's output bias plus 3", shift=3.0),
}


def ordinary(task: tasks.Task, seed: jax.Array) -> games.Players:
  """Both players at their usual initial weights."""
  keys = jax.random.split(jax.random.key(seed))
  return games.Players(
    task.generator.init(keys[0], *task.generator.example_inputs()),
    task.critic.init(keys[1], *task.critic.example_inputs()),
  )


def make(
  task: tasks.Task,
  names: tuple[str, ...],
  seeds: np.ndarray,
  *,
  num_steps: int,
) -> games.Players:
  """All starts of all seeds.

  Args:
    task: whose players these are.
    names: of `KINDS`.
    seeds: `[S]` integers.
    num_steps: of the play before, where there is one.

  Returns:
    Weights with one leading axis, `[len(names) * S]`, the seeds inside.
  """
  seeds = jnp.asarray(seeds)
  usual = jax.jit(jax.vmap(lambda seed: ordinary(task, seed)))(seeds)
  played = [name for name in names if KINDS[name].labels]
  after = _play_first(task, played, usual, seeds, num_steps) if played else {}
  made = [
    after[name] if name in after else _change(task, KINDS[name], usual, seeds)
    for name in names
  ]
  return jax.tree.map(lambda *parts: jnp.concatenate(parts), *made)


def weights_of(labels: np.ndarray, shares: dict[int, float]) -> np.ndarray:
  """1 for the images that are in a pool, 0 for the others, `[N]`.

  Args:
    labels: `[N]`.
    shares: label -> what share of its images, the first ones, is in it.
  """
  weights = np.zeros(len(labels))
  for label, share in shares.items():
    at = np.flatnonzero(labels == label)
    weights[at[: max(1, round(share * len(at)))]] = 1
  return weights


def _play_first(task, names, usual, seeds, num_steps):
  """The starts that are made by playing a part of the data."""
  kinds = [KINDS[name] for name in names]
  shares = np.stack([weights_of(task.labels, kind.labels) for kind in kinds])
  count = len(seeds)
  runs = playing.Runs(
    np.tile(np.arange(count), len(names)),
    np.repeat([kind.is_rs for kind in kinds], count),
    np.tile(np.asarray([PRETRAINING_RATES]), (count * len(names), 1)),
    np.tile(np.asarray(seeds) + 10_000, len(names)),
    np.repeat(np.arange(len(names)), count),
  )
  end = playing.play(
    task,
    usual,
    runs,
    playing.pools(shares),
    num_steps=num_steps,
    record_every=num_steps,
  ).players
  new = jax.jit(jax.vmap(lambda seed: ordinary(task, seed).d))
  fresh = new(seeds + 20_000)
  made = {}
  for i, (name, kind) in enumerate(zip(names, kinds, strict=True)):
    mine = slice(i * count, (i + 1) * count)
    part = jax.tree.map(lambda x, mine=mine: jnp.asarray(x[mine]), end)
    made[name] = part if kind.keep_critic else part._replace(d=fresh)
  return made


def _change(task, kind, usual, seeds):
  """The starts that are made without a play."""
  g = usual.g
  if kind.one_image:
    chosen = task.images[(seeds * 37) % len(task.images)]
    g = jax.jit(jax.vmap(lambda g, x, s: _regress(task, g, x, s)))(
      g, chosen, seeds
    )
  g = jax.tree.map(lambda x: kind.scale * x, g)
  out = g['params']['out']
  out = {**out, 'bias': out['bias'] + kind.shift}
  return usual._replace(g={**g, 'params': {**g['params'], 'out': out}})


def _regress(task, g, image, seed, *, num_steps=600, rate=2e-3):
  """The generator, fitted so that every latent gives one image."""
  optimizer = optax.adam(rate)
  shape = (64, task.generator.z_size)

  def miss(g, z):
    return jnp.mean(jnp.square(task.generator.apply(g, z) - image[None]))

  def step(i, carry):
    z = jax.random.normal(jax.random.fold_in(jax.random.key(seed), i), shape)
    grads = jax.grad(miss)(carry[0], z)
    updates, state = optimizer.update(grads, carry[1], carry[0])
    return optax.apply_updates(carry[0], updates), state

  return jax.lax.fori_loop(0, num_steps, step, (g, optimizer.init(g)))[0]
