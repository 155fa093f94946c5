"""The projection toy: one point to match, seen through stretched glasses.

The generator can reach only S = {1/e < theta1 theta2 < e}, the data are the
point (2, 2), and the critic sees theta1 a hundred times larger than theta2. In
that metric the nearest point of S has theta1 close to 2. Playing together, the
pair stays near there for a while (the plateau) although the critic could tell
the two points apart by theta2.

Only figures of it were published. Ours: minimax loss, hidden layers of tanh
(generator) and leaky ReLU with slope 0.2 (critic), PyTorch's uniform start,
for the critic times 0.1, step sizes, number of steps. A search over losses
(minimax, Wasserstein), activations (tanh, ReLU, leaky ReLU), gains (0.1, 1, 2)
and step sizes from 1e-7 to 3 chose them: Wasserstein diverged or left no
plateau, a ReLU critic dies, and a tanh critic is flat at inputs of 200. The
search saw both methods: the largest step size is there because CGD stayed
longer there, the smaller ones because it did not. It used seeds below 16; the
runs here have others.

References:
  Schaefer, Zheng and Anandkumar, Implicit Competitive Regularization in GANs,
  ICML 2020, and the authors' blog on it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax
from jax import numpy as jnp

from gan_jax import cgd, games, losses, models
from launch.lab import population

TARGET = (2.0, 2.0)
SCALE = (100.0, 1.0)
# The generator's step size decides how far CGD and SimGD are apart.
LR_D = 0.01
NUM_STEPS, RECORD_EVERY = 12_000, 20
NEAR = 0.2  # of theta1 = 2
FORGIVEN = 25  # records of a running median, half of which may be elsewhere
METHODS = dict(
  simultaneous=lambda g, d: games.simultaneous(optax.sgd(g), optax.sgd(d)),
  cgd=lambda g, d: cgd.cgd(g, d, tolerance=1e-3, iterations=30),
)


class Stay(NamedTuple):
  """The longest time that a path spent near theta1 = 2.

  Attributes:
    steps: how long, `[...]`.
    begin: step at which it began, `[...]`; 0 if there was none.
    left: whether the path was elsewhere afterwards, `[...]`.
  """

  steps: np.ndarray
  begin: np.ndarray
  left: np.ndarray


def networks() -> tuple[nn.Module, nn.Module]:
  """Generator 4-4-2-2 with a constant input, critic 2-4-4-1; no biases."""
  generator = models.generator(
    'mlp',
    features=(4, 2),
    z_size=4,
    constant_input=True,
    output='strip',
    use_bias=False,
    activation='tanh',
  )
  critic = models.discriminator(
    'mlp', features=(4, 4), input_scale=SCALE, use_bias=False, gain=0.1
  )
  return generator, critic


def theta(g: Any) -> jax.Array:
  """The generator's only point, `[1, 2]`, of its parameters."""
  generator, _ = networks()
  return generator.apply({'params': g}, jnp.zeros((1, 4)))


def game() -> games.Game:
  """The minimax game of one real and one generated point."""
  _, critic = networks()
  loss = losses.get('minimax')
  real = jnp.array([TARGET])

  def payoff(g, d):
    logits = (critic.apply({'params': d}, x) for x in (real, theta(g)))
    return jnp.mean(loss.discriminator(*logits))

  return games.zero_sum(payoff)


def start(key: jax.Array) -> games.Players:
  """Both players' weights; the point is then near (1, 1)."""
  keys = jax.random.split(key)
  return games.Players(
    *(
      module.init(k, *module.example_inputs())['params']
      for module, k in zip(networks(), keys, strict=True)
    )
  )


def paths(
  method: Callable,
  lrs_g: jax.Array,
  seeds: jax.Array,
  num_steps: int = NUM_STEPS,
  record_every: int = RECORD_EVERY,
) -> np.ndarray:
  """Where theta went.

  Args:
    method: `(lr_g, lr_d) -> GameTransformation`.
    lrs_g: the generator's step sizes, `[L]`.
    seeds: of the weights, `[S]`.
    num_steps: a multiple of `record_every`.
    record_every: steps between records.

  Returns:
    `[L, S, R, 2]`, the start first; nan once a run has diverged.
  """

  def of_rate(lr_g):
    return population.train(
      method(lr_g, LR_D),
      lambda key: game(),
      start,
      lambda players: theta(players.g)[0],
      seeds,
      num_steps=num_steps,
      record_every=record_every,
    ).seen

  return np.asarray(jax.jit(jax.vmap(of_rate))(jnp.asarray(lrs_g)))


def longest_stay(theta1: np.ndarray, record_every: int) -> Stay:
  """The longest unbroken stay within `NEAR` of theta1 = 2.

  Args:
    theta1: `[..., R]`, one path along the last axis.
    record_every: steps between records.
  """
  near = np.abs(theta1 - TARGET[0]) <= NEAR
  best, end, run = (np.zeros(near.shape[:-1], int) for _ in range(3))
  for i in range(near.shape[-1]):
    run = np.where(near[..., i], run + 1, 0)
    longer = run > best
    best, end = np.where(longer, run, best), np.where(longer, i, end)
  begin = np.where(best > 0, end - best + 1, 0) * record_every
  return Stay(best * record_every, begin, end < near.shape[-1] - 1)


def smooth(theta1: np.ndarray, window: int = FORGIVEN) -> np.ndarray:
  """The running median of `[..., R]`, which drops short bursts.

  Args:
    theta1: paths along the last axis.
    window: records, an odd number.

  Raises:
    ValueError: the window is even or below 1.
  """
  if window < 1 or window % 2 == 0:
    raise ValueError(f'window={window} must be an odd number of records.')
  edges = [(0, 0)] * (theta1.ndim - 1) + [(window // 2, window // 2)]
  padded = np.pad(theta1, edges, mode='edge')
  windows = np.lib.stride_tricks.sliding_window_view(padded, window, axis=-1)
  return np.median(windows, axis=-1)
