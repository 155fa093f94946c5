"""What each player minimizes: one number per example, found by name.

`r` and `f` are the critic's logits on real and on generated examples. The terms
on real and on generated examples are summed, not halved, except in the
`relativistic_average*` losses, which are the mean of the two.

References:
  [1] Goodfellow et al., Generative Adversarial Nets, 2014, eq. 1 and section 3.
  [2] Arjovsky et al., Wasserstein GAN, 2017, eq. 2.
  [3] Nowozin et al., f-GAN, 2016, tables 2 (output activations) and 6.
  [4] Mao et al., Least Squares Generative Adversarial Networks, 2017, eq. 9.
  [5] Lim & Ye, Geometric GAN, 2017; Miyato et al., Spectral Normalization,
      2018, eqs. 16 and 17.
  [6] Jolicoeur-Martineau, The relativistic discriminator, 2018, and its code.
  [7] Sun, Fang & Schwing, Towards a Better Global Loss Landscape of GANs, 2020.
  [8] Schaefer et al., Implicit Competitive Regularization in GANs, 2020: the
      saturating game.
  [9] Odena et al., Conditional Image Synthesis with Auxiliary Classifier GANs,
      2017, eq. 3.
  [10] Salimans et al., Improved Techniques for Training GANs, 2016, sec. 3.1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import numpy as jnp

# Above this, `exp` goes on as its tangent: exp(50) still leaves float32 (and
# bfloat16) room for logits of 1e4 and for batch means.
EXP_CAP = 50.0

LossFunction = Callable[[jax.Array, jax.Array], jax.Array]


class GanLoss(NamedTuple):
  """A pair of losses, each minimized by its player.

  Attributes:
    generator: `(real_logits [B], fake_logits [B]) -> [B]`.
    discriminator: `(real_logits [B], fake_logits [B]) -> [B]`.
    zero_sum: whether `generator` is minus `discriminator` up to terms free of
      the generator. Then the payoff of the game is `discriminator`.
  """

  generator: LossFunction
  discriminator: LossFunction
  zero_sum: bool


def _check_logits(real_logits: jax.Array, fake_logits: jax.Array) -> None:
  real, fake = jnp.shape(real_logits), jnp.shape(fake_logits)
  # [B, 1] against [B] would broadcast to [B, B] without a word.
  if len(real) != 1 or real != fake:
    raise ValueError(
      f'real_logits has shape {real} and fake_logits {fake}; a loss needs one '
      'logit per example, [B] and [B].'
    )


def _checked(function: LossFunction) -> LossFunction:
  def loss(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    _check_logits(real_logits, fake_logits)
    return function(real_logits, fake_logits)

  return loss


def _loss(
  generator: LossFunction, discriminator: LossFunction, *, zero_sum: bool
) -> GanLoss:
  return GanLoss(_checked(generator), _checked(discriminator), zero_sum)


def _saddle(real_term: Callable, fake_term: Callable) -> GanLoss:
  """The critic minimizes real_term(r) + fake_term(f); g maximizes it."""
  return _loss(
    lambda r, f: -fake_term(f),
    lambda r, f: real_term(r) + fake_term(f),
    zero_sum=True,
  )


def _paired(term: Callable) -> GanLoss:
  """Relativistic [6]: example i of one batch against example i of the other."""
  return _loss(
    lambda r, f: term(f - r), lambda r, f: term(r - f), zero_sum=False
  )


def _averaged(term: Callable, axis_name: str | None = None) -> GanLoss:
  """Relativistic average [6]: each example against the other batch's mean.

  Args:
    term: what the critic pays for a real example that leads by `x`; a generated
      one that leads by `x` costs it `term(-x)`.
    axis_name: the mapped axis over which the batch means are taken too.

  Returns:
    The mean of the real and the generated terms; the generator swaps the roles.
  """

  def mean(logits):
    local = jnp.mean(logits)
    return local if axis_name is None else jax.lax.pmean(local, axis_name)

  def discriminator(r, f):
    return (term(r - mean(f)) + term(mean(r) - f)) / 2

  return _loss(lambda r, f: discriminator(f, r), discriminator, zero_sum=False)


def _exp(x: jax.Array) -> jax.Array:
  """exp(x), continued above EXP_CAP as the tangent there.

  A critic that is certain (logits of 1e4) would otherwise give inf, and inf
  times zero is nan one derivative on. The slope stays exp(EXP_CAP), so the
  player is still pushed back.
  """
  return jnp.exp(jnp.minimum(x, EXP_CAP)) * (1 + jnp.maximum(x - EXP_CAP, 0))


_LOG_2 = 0.6931471805599453

# How far a lead of x (real over generated) is from what the critic wants.
_log = lambda x: jax.nn.softplus(-x)
_hinge = lambda x: jax.nn.relu(1 - x)
_square = lambda x: jnp.square(x - 1)  # not halved, as in the code of [6]

_AVERAGES = {
  'relativistic_average': _log,
  'relativistic_average_hinge': _hinge,
  'relativistic_average_least_squares': _square,
}

LOSSES: dict[str, GanLoss] = {
  # [1] eq. 1. softplus(-r) is -log sigmoid(r), without the overflow in exp.
  'minimax': _saddle(_log, jax.nn.softplus),
  # [1] section 3: the generator maximizes log D instead.
  'nonsaturating': _loss(
    lambda r, f: jax.nn.softplus(-f),
    lambda r, f: jax.nn.softplus(-r) + jax.nn.softplus(f),
    zero_sum=False,
  ),
  # [2] eq. 2; the critic has to be Lipschitz by other means.
  'wasserstein': _saddle(jnp.negative, lambda f: f),
  # [4] eq. 9 with a = 0, b = c = 1, and its halves.
  'least_squares': _loss(
    lambda r, f: jnp.square(f - 1) / 2,
    lambda r, f: (jnp.square(r - 1) + jnp.square(f)) / 2,
    zero_sum=False,
  ),
  # [5]
  'hinge': _loss(
    lambda r, f: -f,
    lambda r, f: jax.nn.relu(1 - r) + jax.nn.relu(1 + f),
    zero_sum=False,
  ),
  # [3]: -g(r) and f*(g(f)) of the logit v, simplified. The value of the best
  # critic is minus the divergence of p (real) from q (generated).
  # KL(p, q): g = v, f*(t) = exp(t - 1).
  'f_kl': _saddle(jnp.negative, lambda f: _exp(f - 1)),
  # KL(q, p): g = -exp(-v), f*(t) = -1 - log(-t).
  'f_reverse_kl': _saddle(lambda r: _exp(-r), lambda f: f - 1),
  # sum (p - q)^2 / q: g = v, f*(t) = t^2 / 4 + t.
  'f_pearson': _saddle(jnp.negative, lambda f: jnp.square(f) / 4 + f),
  # sum (sqrt p - sqrt q)^2: g = 1 - exp(-v), f*(t) = t / (1 - t).
  'f_hellinger': _saddle(lambda r: _exp(-r) - 1, lambda f: _exp(f) - 1),
  # 2 JS(p, q): g = log 2 - softplus(-v), f*(t) = -log(2 - exp t).
  'f_jensen_shannon': _saddle(
    lambda r: jax.nn.softplus(-r) - _LOG_2,
    lambda f: jax.nn.softplus(f) - _LOG_2,
  ),
  # [6], [7]: RS-GAN is `relativistic`.
  'relativistic': _paired(_log),
  'relativistic_hinge': _paired(_hinge),
  'relativistic_least_squares': _paired(_square),
} | {name: _averaged(term) for name, term in _AVERAGES.items()}


def get(name: str, *, axis_name: str | None = None) -> GanLoss:
  """The losses of both players.

  Args:
    name: a key of `LOSSES`. `least_squares` has Mao's factor 1/2, the
      relativistic squares have none, as in Jolicoeur-Martineau's code. In
      `f_kl`, `f_reverse_kl` and `f_hellinger` exp goes on as a straight line
      above `EXP_CAP`.
    axis_name: a mapped axis; makes the batch means of `relativistic_average*`
      global. The other losses ignore it.

  Returns:
    A GanLoss. Its functions raise ValueError unless both logits are `[B]`.

  Raises:
    ValueError: `name` is unknown.
  """
  if name not in LOSSES:
    raise ValueError(f'loss={name!r} is not one of {sorted(LOSSES)}.')
  if name in _AVERAGES:
    return _averaged(_AVERAGES[name], axis_name)
  return LOSSES[name]


def saturating(name: str, *, axis_name: str | None = None) -> GanLoss:
  """The zero-sum game in which the generator maximizes the critic's loss.

  It is what the PyTorch packages for competitive gradient descent play when
  given one scalar [8]; `saturating('nonsaturating')` moves as `minimax` does.

  Args:
    name: a key of `LOSSES`; its discriminator's loss is kept.
    axis_name: as in `get`.

  Returns:
    A GanLoss with `zero_sum` true.

  Raises:
    ValueError: `name` is unknown.
  """
  payoff = get(name, axis_name=axis_name).discriminator
  return GanLoss(lambda r, f: -payoff(r, f), payoff, True)


def class_cross_entropy(
  class_logits: jax.Array, labels: jax.Array
) -> jax.Array:
  """-log of the probability that a classifier gives the right class [9].

  Args:
    class_logits: `[B, K]`.
    labels: the right classes, integers `[B]`.

  Returns:
    `[B]`.

  Raises:
    ValueError: other shapes or types.
  """
  shape, count = jnp.shape(class_logits), jnp.shape(labels)
  integers = jnp.issubdtype(jnp.result_type(labels), jnp.integer)
  if len(shape) != 2 or count != shape[:1] or not integers:
    raise ValueError(
      f'class_logits have shape {shape} and labels {count} of type '
      f'{jnp.result_type(labels)}; it needs [B, K] and integers [B].'
    )
  right = jnp.take_along_axis(class_logits, labels[:, None], axis=1)[:, 0]
  return jax.nn.logsumexp(class_logits, axis=1) - right


def feature_matching(
  real_features: jax.Array,
  fake_features: jax.Array,
  *,
  axis_name: str | None = None,
) -> jax.Array:
  """Squared distance of the batches' mean features [10].

  Args:
    real_features: of a critic, `[B, F]`.
    fake_features: the same of generated examples.
    axis_name: a mapped axis over which the means are taken too.

  Returns:
    A scalar: it is a function of the batches, not of single examples.

  Raises:
    ValueError: unless both are `[B, F]`.
  """
  real, fake = jnp.shape(real_features), jnp.shape(fake_features)
  if len(real) != 2 or real != fake:
    raise ValueError(
      f'real_features have shape {real} and fake_features {fake}; both must be '
      '[B, F].'
    )
  gap = jnp.mean(real_features - fake_features, axis=0)
  gap = gap if axis_name is None else jax.lax.pmean(gap, axis_name)
  return jnp.sum(jnp.square(gap))
