"""The game of one batch: two modules, a loss and penalties become a `Game`.

Everything random or slowly moving (latents, noise, batch statistics, spectral
vectors) is fixed here, so that derivatives of any order see a plain function of
the two players' parameters.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from gan_jax import data, games, losses, regularizers


class Penalty(NamedTuple):
  """A term that the critic adds to its loss.

  Attributes:
    name: under which the term is logged.
    weight: what multiplies it; gamma / 2 for R1 and R2 as in Mescheder 2018.
    function: `(critic, real, fake, key) -> [B]`, see `regularizers`.
  """

  name: str
  weight: float
  function: Callable[..., jax.Array]


class Setup(NamedTuple):
  """All that a step needs and that never changes.

  Attributes:
    generator: Linen module, latents `[B, z_size]` -> examples `[B, ...]`.
    discriminator: Linen module, examples `[B, ...]` -> logits `[B]`.
    loss: what each player minimizes.
    method: how the players move.
    penalties: terms of the critic; it must treat rows independently.
    parameter_penalty: `d -> scalar`, added to the critic's loss, or None.
    lazy: the penalties count `lazy` times in every `lazy`-th step, else not.
    averaging: decay of the averaged generator, min(averaging, (1 + step) /
      (10 + step)); 0 keeps none.
    instance_noise: standard deviation of noise on what the critic sees.
    dequantize: adds U(0, 1/128) to real images that arrive as bytes.
    project: `players -> players` after each turn, or None.
    axis_name: of the devices' axis, inside a per-device mapping.
  """

  generator: nn.Module
  discriminator: nn.Module
  loss: losses.GanLoss
  method: games.GameTransformation
  penalties: tuple[Penalty, ...] = ()
  parameter_penalty: Callable[[Any], jax.Array] | None = None
  lazy: int = 1
  averaging: float = 0.0
  instance_noise: float = 0.0
  dequantize: bool = False
  project: Callable[[games.Players], games.Players] | None = None
  axis_name: str | None = None


def make_game(
  setup: Setup,
  model_state: games.Players,
  batch: dict[str, jax.Array],
  key: jax.Array,
  *,
  penalize: bool = True,
) -> games.Game:
  """Closes both losses over one batch, its noise and one model state.

  Args:
    setup: the modules, the loss and the penalties.
    model_state: `batch_stats` and `spectral` of each player.
    batch: `image`, `[B, ...]`, bytes or floats.
    key: everything that is drawn for this batch follows from it.
    penalize: whether the penalties are paid.

  Returns:
    A game whose losses return `(scalar, aux)`; `aux` holds `batch_stats` of
    both players and `metrics`.
  """
  names = ('z', 'real', 'noise', 'points', 'g', 'd')
  keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))
  real = data.to_float(
    batch['image'], keys['real'], dequantize=setup.dequantize
  )
  z = latents(keys['z'], real.shape[0], setup.generator.z_size)
  generate = functools.partial(
    _train_mode, setup.generator, model_state.g, keys['g'], x=z
  )
  criticize = functools.partial(
    _train_mode, setup.discriminator, model_state.d, keys['d']
  )
  noisy = functools.partial(_noisy, setup.instance_noise, keys['noise'])

  def loss_d(g, d):
    fake, stats_g = generate(g)
    real_logits, fake_logits, stats_d = _both_logits(
      criticize, d, *noisy(real, fake), model_state.d['batch_stats']
    )
    value = jnp.mean(setup.loss.discriminator(real_logits, fake_logits))
    metrics = {
      'real_logit': jnp.mean(real_logits),
      'fake_logit': jnp.mean(fake_logits),
    }
    if penalize:
      critic = lambda x: criticize(d, x=x)[0]
      extra, terms = _penalties(setup, critic, real, fake, keys['points'])
      value, metrics = value + extra, metrics | terms
    if setup.parameter_penalty is not None:
      value += setup.parameter_penalty(d)
    return value, _aux(stats_g, stats_d, metrics)

  def loss_g(g, d):
    fake, stats_g = generate(g)
    seen_real, seen_fake = noisy(real, fake)
    # Two calls: the real half needs no gradient here, and a loss that does not
    # look at it pays nothing for it.
    real_logits, _ = criticize(d, x=seen_real)
    fake_logits, _ = criticize(d, x=seen_fake)
    value = jnp.mean(setup.loss.generator(real_logits, fake_logits))
    return value, _aux(stats_g, model_state.d['batch_stats'], {})

  if setup.loss.zero_sum:
    return games.zero_sum(loss_d, has_aux=True, axis_name=setup.axis_name)
  return games.Game(loss_g, loss_d, has_aux=True, axis_name=setup.axis_name)


def latents(key: jax.Array, batch_size: int, z_size: int) -> jax.Array:
  """Standard normal latents `[B, z_size]`, each from a key of its own."""
  keys = regularizers.example_keys(key, batch_size)
  return jax.vmap(lambda k: jax.random.normal(k, (z_size,), jnp.float32))(keys)


def _train_mode(module, state, key, params, *, x, batch_stats=None):
  """Output and new batch statistics of a training-mode call."""
  if batch_stats is not None:
    state = {**state, 'batch_stats': batch_stats}
  out, new = module.apply(
    {'params': params, **state},
    x,
    train=True,
    mutable=('batch_stats',),
    rngs={'dropout': key},
  )
  return out, new.get('batch_stats', state['batch_stats'])


def _both_logits(criticize, d, real, fake, batch_stats):
  if not batch_stats:
    # Rows are independent, so one call on both halves is the same and faster.
    logits, stats = criticize(d, x=jnp.concatenate([real, fake]))
    return *jnp.split(logits, 2), stats
  real_logits, stats = criticize(d, x=real)
  fake_logits, stats = criticize(d, x=fake, batch_stats=stats)
  return real_logits, fake_logits, stats


def _noisy(std, key, real, fake):
  if not std:
    return real, fake
  key_real, key_fake = jax.random.split(key)
  return (
    regularizers.instance_noise(key_real, real, std),
    regularizers.instance_noise(key_fake, fake, std),
  )


def _penalties(setup, critic, real, fake, key):
  total, terms = 0.0, {}
  # Penalties depend on the critic alone: a zero-sum game stays zero-sum.
  fake = jax.lax.stop_gradient(fake)
  for i, penalty in enumerate(setup.penalties):
    rows = penalty.function(critic, real, fake, jax.random.fold_in(key, i))
    terms[penalty.name] = jnp.mean(rows)
    total += setup.lazy * penalty.weight * terms[penalty.name]
  return total, terms


def _aux(stats_g, stats_d, metrics):
  return {'batch_stats': games.Players(stats_g, stats_d), 'metrics': metrics}
