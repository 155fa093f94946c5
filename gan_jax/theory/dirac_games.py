"""The Dirac-GAN made of the core's losses, penalties, noise and methods.

`gan_jax.theory.dirac` has the same fields by hand, and the signs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax
from jax import numpy as jnp

from gan_jax import games, losses, regularizers
from gan_jax.theory import dirac

# (critic `[B] -> [B]`, real `[B]`, fake `[B]`) -> `[B]`.
Penalty = Callable[[Callable, jax.Array, jax.Array], jax.Array]


def weighted_game(
  loss: losses.GanLoss,
  real: jax.Array,
  generate: Callable[[Any], jax.Array],
  critic: Callable[[Any], Callable],
  weights: jax.Array,
  penalty: Penalty | None = None,
) -> games.Game:
  """A game whose expectations are sums over weighted pairs of points.

  Args:
    loss: of `losses.get`.
    real: `[B]`.
    generate: the generator's parameters -> `[B]`.
    critic: the critic's parameters -> a function `[B] -> [B]`.
    weights: of the pairs, `[B]`, with sum 1.
    penalty: added to the critic's loss; it has to be constant in the points.

  Returns:
    A Game; zero-sum if the loss is.
  """

  def logits(g, d):
    fake, function = generate(g), critic(d)
    return function(real), function(fake)

  def loss_g(g, d):
    return weights @ loss.generator(*logits(g, d))

  def loss_d(g, d):
    each = loss.discriminator(*logits(g, d))
    if penalty is not None:
      each = each + penalty(critic(d), real, generate(g))
    return weights @ each

  return games.Game(loss_g, loss_d, zero_sum=loss.zero_sum)


def linear_critic(psi: jax.Array) -> Callable:
  """x -> -psi x: the paper's critic with the core's sign."""
  return lambda x: -psi * x


def point_game(name: str, penalty: Penalty | None = None) -> games.Game:
  """The Dirac-GAN.

  Args:
    name: of a loss.
    penalty: on the critic.

  Raises:
    ValueError: the loss is unknown.
  """
  return weighted_game(
    losses.get(name),
    jnp.zeros(1),
    lambda theta: jnp.reshape(theta, (1,)),
    linear_critic,
    jnp.ones(1),
    penalty,
  )


def r1(gamma: float) -> Penalty:
  """gamma / 2 |grad D|^2 at real points."""
  return lambda critic, real, fake: gamma / 2 * regularizers.r1(critic, real)


def r2(gamma: float) -> Penalty:
  """gamma / 2 |grad D|^2 at generated points."""
  return lambda critic, real, fake: gamma / 2 * regularizers.r2(critic, fake)


def roth(gamma: float) -> Penalty:
  """gamma / 2 of both penalties, weighted by how wrong the critic is.

  (1 - D)^2 |grad|^2 at real and D^2 |grad|^2 at generated points, with the
  gradient of the logit and D its sigmoid (Roth et al., Stabilizing Training of
  GANs through Regularization, 2017).
  """

  def penalty(critic, real, fake):
    fake = jax.lax.stop_gradient(fake)
    at_real = jax.nn.sigmoid(-critic(real)) ** 2 * regularizers.r1(critic, real)
    at_fake = jax.nn.sigmoid(critic(fake)) ** 2 * regularizers.r2(critic, fake)
    return gamma / 2 * (at_real + at_fake)

  return penalty


def wgan_gp(gamma: float, target: float = 1.0, seed: int = 0) -> Penalty:
  """gamma / 2 (|grad D| - target)^2 between real and generated points."""

  def penalty(critic, real, fake):
    between = regularizers.interpolate(jax.random.key(seed), real, fake)
    each = regularizers.gradient_penalty(critic, between, target=target)
    return gamma / 2 * each

  return penalty


def noisy_game(std: float, num_nodes: int = dirac.NUM_NODES) -> games.Game:
  """Instance noise in expectation: a Gauss-Hermite rule for real and fake."""
  nodes, weights = map(jnp.asarray, dirac.normal_nodes(num_nodes))
  return weighted_game(
    losses.get('minimax'),
    std * nodes,
    lambda theta: theta + std * nodes,
    linear_critic,
    weights,
  )


def sampled_game(key: jax.Array, std: float, num_samples: int) -> games.Game:
  """Instance noise as it is drawn: an average over samples."""
  key_real, key_fake = jax.random.split(key)
  zeros = jnp.zeros(num_samples)
  return weighted_game(
    losses.get('minimax'),
    regularizers.instance_noise(key_real, zeros, std),
    lambda theta: regularizers.instance_noise(key_fake, theta + zeros, std),
    linear_critic,
    jnp.full(num_samples, 1 / num_samples),
  )


def turns_of(d_steps: int) -> tuple[str, ...]:
  """0: both at once; n: the generator, then n turns of the critic.

  Raises:
    ValueError: d_steps is negative.
  """
  if d_steps < 0:
    raise ValueError(f'd_steps={d_steps} must be 0 (both at once) or more.')
  return ('g',) + ('d',) * d_steps if d_steps else ('gd',)


def descent(h: float, d_steps: int = 0) -> games.GameTransformation:
  """Gradient descent of both players with step size h, generator first.

  Args:
    h: the step size.
    d_steps: as for `turns_of`.
  """
  if not d_steps:
    return games.simultaneous(optax.sgd(h), optax.sgd(h))
  return games.alternating(
    optax.sgd(h), optax.sgd(h), d_steps=d_steps, first='g'
  )


def in_turns(
  method: games.GameTransformation, turns: Sequence[str]
) -> games.GameTransformation:
  """A simultaneous method of which each turn takes the mover's half only.

  Right for methods without memory, such as consensus optimization by `sgd`.
  """

  def update(game, state, players, *, turn=0):
    updates, state, info = method.update(game, state, players)
    moves = updates._asdict()
    for name in set('gd') - set(turns[turn]):
      moves[name] = optax.tree.zeros_like(moves[name])
    return games.Players(**moves), state, info

  return games.GameTransformation(method.init, update, tuple(turns))


def consensus(
  h: float, gamma: float, d_steps: int = 0
) -> games.GameTransformation:
  """The core's consensus optimization, at once or in turns."""
  method = games.consensus(optax.sgd(h), optax.sgd(h), weight=gamma)
  return in_turns(method, turns_of(d_steps))


def along(
  field: dirac.Field, h: float, d_steps: int = 0
) -> games.GameTransformation:
  """Follows a field that is no pair of gradients; ignores the game."""

  def update(game, state, players, *, turn=0):
    del game, turn
    updates = optax.tree.scale(h, field(*players))
    info = games.Info(None, None, None, None, games.telemetry(1.0))
    return updates, state, info

  method = games.GameTransformation(lambda players: (), update)
  return in_turns(method, turns_of(d_steps))
