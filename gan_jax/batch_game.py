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

from gan_jax import ada, augment, data, games, losses, regularizers, side_terms

Schedule = Callable[[jax.Array], jax.Array]


class Penalty(NamedTuple):
  """A term that the critic adds to its loss.

  Attributes:
    name: under which the term is logged.
    weight: what multiplies it; gamma / 2 for R1 and R2 as in Mescheder 2018.
      A number, or a function of the step.
    function: `(critic, real, fake, keys) -> [B]`, see `regularizers`; a key
      for each example.
  """

  name: str
  weight: float | Schedule
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
      (10 + step)); 0 keeps none. Or a function of the step, as it is.
    instance_noise: standard deviation of noise on what the critic sees.
    dequantize: adds U(0, 1/128) to real images that arrive as bytes.
    flip: mirrors half of the real images.
    diff_augment: what the critic sees of both kinds of images, see
      `augment.diff_augment`; its penalties are then of critic and augmentation.
    pipeline: the same by that of `ada`, after that one.
    accumulate: parts in which each turn's batch is taken, one after another;
      see `accumulation`.
    auxiliary: weights of class terms; the critic must give class logits.
    matching: weight of feature matching; the critic must give features.
    project: `players -> players` after each turn, or None.
    axis_name: of the devices' axis, inside a per-device mapping; modules, loss
      and penalties that average over a batch need it too.
  """

  generator: nn.Module
  discriminator: nn.Module
  loss: losses.GanLoss
  method: games.GameTransformation
  penalties: tuple[Penalty, ...] = ()
  parameter_penalty: Callable[[Any], jax.Array] | None = None
  lazy: int = 1
  averaging: float | Schedule = 0.0
  instance_noise: float = 0.0
  dequantize: bool = False
  flip: bool = False
  diff_augment: tuple[str, ...] = ()
  pipeline: ada.Pipeline = ada.Pipeline()
  accumulate: int = 1
  auxiliary: side_terms.Auxiliary = side_terms.Auxiliary()
  matching: side_terms.Matching = side_terms.Matching()
  project: Callable[[games.Players], games.Players] | None = None
  axis_name: str | None = None


def at_step(setup: Setup, step: jax.Array) -> Setup:
  """A setup whose penalties and augmentation have their numbers of a step."""
  number = lambda x: x(step) if callable(x) else x
  penalties = tuple(
    p._replace(weight=number(p.weight)) for p in setup.penalties
  )
  pipeline = setup.pipeline._replace(p=number(setup.pipeline.p))
  return setup._replace(penalties=penalties, pipeline=pipeline)


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
    setup: the modules, the loss and the penalties, see `at_step`.
    model_state: `batch_stats` and `spectral` of each player.
    batch: `image`, `[B, ...]`, bytes or floats; `label`, `[B]`, where the data
      have them; `row`, `[B]`, the examples' numbers in the batch of all
      devices, 0 .. B - 1 if it is left out. What is drawn for an example is a
      function of its number, but dropout, which is one of its place and of
      `part`, a number, in a batch that is taken in parts.
    key: everything that is drawn for this batch follows from it.
    penalize: whether the penalties are paid.

  Returns:
    A game whose losses return `(scalar, aux)`; `aux` holds `batch_stats` of
    both players and `metrics`.
  """
  rows = batch.get('row', jnp.arange(batch['image'].shape[0]))
  each = lambda key: jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
  names = ('z', 'real', 'noise', 'points', 'g', 'd', 'flip', 'augment')
  keys = {n: jax.random.fold_in(key, i) for i, n in enumerate(names)}
  if 'part' in batch:
    for player in 'gd':
      keys[player] = jax.random.fold_in(keys[player], batch['part'])
  real = _real(setup, batch['image'], each(keys['real']), each(keys['flip']))
  z = latents(each(keys['z']), real.shape[0], setup.generator.z_size)
  labels = batch.get('label')
  generate = functools.partial(
    _train_mode, setup.generator, model_state.g, keys['g'], z, labels
  )
  criticize = functools.partial(_judge, setup, model_state.d, keys['d'])
  zero_sum = is_zero_sum(setup)
  noisy = functools.partial(_noisy, setup, each, keys['noise'], keys['augment'])

  def loss_d(g, d):
    fake, stats_g = generate(g)
    of_real, of_fake, stats_d = _both_verdicts(
      criticize,
      d,
      noisy(real, fake),
      labels,
      model_state.d['batch_stats'],
      together=not zero_sum and not mixes_rows(setup.discriminator),
    )
    value = jnp.mean(setup.loss.discriminator(of_real.logits, of_fake.logits))
    metrics = {
      'real_logit': jnp.mean(of_real.logits),
      'fake_logit': jnp.mean(of_fake.logits),
    }
    if zero_sum:
      metrics['loss_g'] = -value  # without what the critic alone pays
    extra, terms = side_terms.of_critic(
      setup.auxiliary, of_real, of_fake, labels
    )
    value, metrics = value + extra, metrics | terms
    if penalize and setup.penalties:
      augment = _augmentation(setup, each(keys['augment']))
      critic = lambda x: criticize(augment(x), labels, d)[0].logits
      extra, terms = _penalties(setup, critic, real, fake, keys['points'], each)
      value, metrics = value + extra, metrics | terms
    if setup.parameter_penalty is not None:
      value += setup.parameter_penalty(d)
    return value, _aux(stats_g, stats_d, metrics)

  def loss_g(g, d):
    fake, stats_g = generate(g)
    seen_real, seen_fake = noisy(real, fake)
    # Two calls: the real half needs no gradient here, and a loss that does not
    # look at it pays nothing for it.
    of_real, _ = criticize(seen_real, labels, d)
    of_fake, _ = criticize(seen_fake, labels, d, call=1)
    value = side_terms.of_generator(
      setup.auxiliary,
      setup.matching,
      of_real,
      of_fake,
      labels,
      setup.axis_name,
    )
    if not setup.matching.alone:
      logits = of_real.logits, of_fake.logits
      value += jnp.mean(setup.loss.generator(*logits))
    return value, _aux(stats_g, model_state.d['batch_stats'], {})

  if zero_sum:
    return games.zero_sum(loss_d, has_aux=True, axis_name=setup.axis_name)
  return games.Game(loss_g, loss_d, has_aux=True, axis_name=setup.axis_name)


def latents(key: jax.Array, batch_size: int, z_size: int) -> jax.Array:
  """Standard normal latents `[B, z_size]`, each from a key of its own."""
  keys = regularizers.example_keys(key, batch_size)
  return jax.vmap(lambda k: jax.random.normal(k, (z_size,), jnp.float32))(keys)


def takes_labels(module: nn.Module) -> bool:
  """Whether a module tells classes apart (an option `labels` above 1)."""
  return getattr(module, 'labels', 1) > 1


def mixes_rows(module: nn.Module) -> bool:
  """Whether a critic looks at several rows at once (an option `minibatch`)."""
  return bool(getattr(module, 'minibatch', ''))


def is_zero_sum(setup: Setup) -> bool:
  """Whether the loss is zero-sum, and what is paid beside it leaves it so."""
  terms = setup.auxiliary, setup.matching
  return setup.loss.zero_sum and side_terms.keep_zero_sum(*terms)


def _real(setup, image, keys, flip_keys):
  image = augment.flip(flip_keys, image) if setup.flip else image
  return data.to_float(image, keys, dequantize=setup.dequantize)


def _train_mode(
  module, state, key, x, labels, params, *, batch_stats=None, call=0, side=None
):
  """Output and new batch statistics of a training-mode call.

  Calls of one module with other numbers drop out other activations. What it
  gives beside its output goes to the dictionary `side`, if there is one.
  """
  if batch_stats is not None:
    state = {**state, 'batch_stats': batch_stats}
  out, new = module.apply(
    {'params': params, **state},
    x,
    labels if takes_labels(module) else None,
    train=True,
    mutable=('batch_stats',) + ('intermediates',) * (side is not None),
    rngs={'dropout': jax.random.fold_in(key, call)},
  )
  if side is not None:
    side |= new.get('intermediates', {})
  return out, new.get('batch_stats', state['batch_stats'])


def _judge(setup, state, key, x, labels, d, *, batch_stats=None, call=0):
  """Verdict of the critic and its new batch statistics."""
  asked = side_terms.are_asked(setup.auxiliary, setup.matching)
  side = {} if asked else None
  logits, stats = _train_mode(
    setup.discriminator,
    state,
    key,
    x,
    labels,
    d,
    batch_stats=batch_stats,
    call=call,
    side=side,
  )
  return side_terms.verdict(logits, side or {}), stats


def _both_verdicts(criticize, d, seen, labels, batch_stats, *, together):
  if together and not batch_stats:
    # Rows are independent, so one call on both halves is the same and faster.
    # Taken in turns, real and generated ones stay on the device that has them.
    verdict, stats = criticize(_in_turns(*seen), _twice(labels), d)
    pick = lambda i: jax.tree.map(lambda x: _pairs(x)[:, i], verdict)
    return pick(0), pick(1), stats
  # A payoff is linearized by the methods that anticipate. Real logits do not
  # depend on g: by themselves they drop out of every mixed product.
  of_real, stats = criticize(seen[0], labels, d)
  of_fake, stats = criticize(seen[1], labels, d, batch_stats=stats, call=1)
  return of_real, of_fake, stats


def _in_turns(real, fake):
  """`[2B, ...]`: real, fake, real, fake, ..."""
  return jnp.stack([real, fake], axis=1).reshape(-1, *real.shape[1:])


def _pairs(x):
  """`[B, 2, ...]`: what `_in_turns` has put together."""
  return x.reshape(-1, 2, *x.shape[1:])


def _twice(labels):
  return None if labels is None else jnp.repeat(labels, 2)


def _noisy(setup, each, noise_key, augment_key, real, fake):
  """What the critic sees: with instance noise, then augmented."""
  seen = []
  for i, x in enumerate((real, fake)):
    if setup.instance_noise:
      keys = each(jax.random.fold_in(noise_key, i))
      x = regularizers.instance_noise(keys, x, setup.instance_noise)
    keys = each(jax.random.fold_in(augment_key, i))
    seen.append(_augmentation(setup, keys)(x))
  return seen


def _augmentation(setup, keys):
  def augmented(x):
    if setup.diff_augment:
      x = augment.diff_augment(keys, x, setup.diff_augment)
    if setup.pipeline.strengths:
      x = ada.apply(keys, x, *setup.pipeline)
    return x

  return augmented


def _penalties(setup, critic, real, fake, key, each):
  total, terms = 0.0, {}
  # Penalties depend on the critic alone: a zero-sum game stays zero-sum.
  fake = jax.lax.stop_gradient(fake)
  for i, penalty in enumerate(setup.penalties):
    keys = each(jax.random.fold_in(key, i))
    values = penalty.function(critic, real, fake, keys)
    terms[penalty.name] = jnp.mean(values)
    total += setup.lazy * penalty.weight * terms[penalty.name]
  return total, terms


def _aux(stats_g, stats_d, metrics):
  return {'batch_stats': games.Players(stats_g, stats_d), 'metrics': metrics}
