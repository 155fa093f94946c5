"""What the best critic measures, and what it tells the generator.

Distributions are vectors of probabilities `[N]`, p of the real and q of the
generated points; densities in 1-D are given on an even grid. All in nats.

References:
  [1] Goodfellow et al., Generative Adversarial Nets, 2014, theorem 1.
  [2] Nowozin et al., f-GAN, 2016, table 1.
  [3] Arjovsky & Bottou, Towards Principled Methods for Training Generative
      Adversarial Networks, 2017, theorems 2.4, 2.5, 2.6 and 3.3.
  [4] Arjovsky et al., Wasserstein GAN, 2017, example 1.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

from gan_jax import losses
from gan_jax.theory import transport

LOG_2 = math.log(2)


def _check(p: jax.Array, q: jax.Array) -> None:
  shapes = jnp.shape(p), jnp.shape(q)
  if len(shapes[0]) != 1 or shapes[0] != shapes[1]:
    raise ValueError(
      f'p has shape {shapes[0]} and q {shapes[1]}; a divergence needs two '
      'vectors of probabilities over the same points, [N] and [N].'
    )
  transport.check_amounts(p, q)
  for name, part in (('p', p), ('q', q)):
    # The sum of a traced one is not known yet.
    if not isinstance(part, jax.core.Tracer):
      total = float(np.sum(np.asarray(part)))
      if not abs(total - 1) <= transport.SUM_MARGIN:
        raise ValueError(f'{name} sums to {total}; probabilities sum to 1.')


def kl(p: jax.Array, q: jax.Array) -> jax.Array:
  """Kullback-Leibler, sum p log(p / q); inf where q is 0 and p is not."""
  _check(p, q)
  return jnp.sum(jax.scipy.special.rel_entr(p, q))


def js(p: jax.Array, q: jax.Array) -> jax.Array:
  """Jensen-Shannon, KL(p, m)/2 + KL(q, m)/2 with m = (p + q)/2; <= log 2."""
  _check(p, q)
  middle = (p + q) / 2
  return (kl(p, middle) + kl(q, middle)) / 2


def total_variation(p: jax.Array, q: jax.Array) -> jax.Array:
  """sum |p - q| / 2, between 0 and 1."""
  _check(p, q)
  return jnp.sum(jnp.abs(p - q)) / 2


def pearson(p: jax.Array, q: jax.Array) -> jax.Array:
  """Pearson's chi-square, sum (p - q)^2 / q."""
  _check(p, q)
  return jnp.sum(jnp.square(p - q) / q)


def hellinger(p: jax.Array, q: jax.Array) -> jax.Array:
  """Squared Hellinger, sum (sqrt p - sqrt q)^2, without a half."""
  _check(p, q)
  return jnp.sum(jnp.square(jnp.sqrt(p) - jnp.sqrt(q)))


class Optimum(NamedTuple):
  """What one loss comes to when its critic is the best there is.

  Attributes:
    logits: of the best critic, from log(p / q).
    value: `(p, q) -> scalar`, the critic's least loss.
    generator_divergence: `(p, q) -> scalar`: the gradient of the generator's
      loss, with the best critic held, is the gradient of this in q.
    labels: of value and generator_divergence.
  """

  logits: Callable[[jax.Array], jax.Array]
  value: Callable[[jax.Array, jax.Array], jax.Array]
  generator_divergence: Callable[[jax.Array, jax.Array], jax.Array]
  labels: tuple[str, str]


def _f(logits: Callable, divergence: Callable, label: str) -> Optimum:
  """A row of f-GAN: both players see one divergence."""
  value = lambda p, q: -divergence(p, q)
  return Optimum(logits, value, divergence, (f'-{label}', label))


_same = lambda u: u
_twice_js = lambda p, q: 2 * js(p, q)
_goodfellow = lambda p, q: 2 * LOG_2 - 2 * js(p, q)


def _least_squares_value(p, q):
  return jnp.sum(p * q / (p + q)) / 2


def _least_squares_divergence(p, q):
  """From dF/dq = (1 - D)^2 / 2 with D = p / (p + q), integrated in q."""
  middle = (p + q) / 2
  return kl(p, middle) - pearson(p, middle) / 4


OPTIMA: dict[str, Optimum] = {
  'minimax': Optimum(  # [1]
    _same, _goodfellow, _twice_js, ('-V = log 4 - 2 JS', '2 JS')
  ),
  'nonsaturating': Optimum(  # [3] theorem 2.5
    _same,
    _goodfellow,
    lambda p, q: kl(q, p) - 2 * js(p, q),
    ('-V = log 4 - 2 JS', 'KL(q, p) - 2 JS'),
  ),
  'least_squares': Optimum(
    jax.nn.sigmoid,
    _least_squares_value,
    _least_squares_divergence,
    ('sum pq / (2p + 2q)', 'KL(p, m) - chi2(p, m) / 4'),
  ),
  'hinge': Optimum(
    jnp.sign,
    lambda p, q: 2 - 2 * total_variation(p, q),
    lambda p, q: 2 * total_variation(p, q),
    ('2 - 2 TV', '2 TV'),
  ),
  'f_kl': _f(lambda u: 1 + u, kl, 'KL(p, q)'),
  'f_reverse_kl': _f(_same, lambda p, q: kl(q, p), 'KL(q, p)'),
  'f_pearson': _f(lambda u: 2 * jnp.expm1(u), pearson, 'chi2(p, q)'),
  'f_hellinger': _f(lambda u: u / 2, hellinger, 'H2(p, q)'),
  'f_jensen_shannon': _f(_same, _twice_js, '2 JS'),
}


def expected(
  function: losses.LossFunction, logits: jax.Array, p: jax.Array, q: jax.Array
) -> jax.Array:
  """A loss's mean over independent real and generated points.

  Args:
    function: of a row of `losses.LOSSES` without batch means.
    logits: of the critic at each point, `[N]`.
    p: of the real points, `[N]`.
    q: of the generated points, `[N]`.

  Returns:
    sum_ij p_i q_j function(logits_i, logits_j).
  """
  _check(p, q)
  n = len(p)
  of_pairs = function(jnp.repeat(logits, n), jnp.tile(logits, n))
  return p @ of_pairs.reshape(n, n) @ q


def best_logits(name: str, p: jax.Array, q: jax.Array) -> jax.Array:
  """The best critic of a row of `OPTIMA`, `[N]`; p and q positive.

  Raises:
    ValueError: `name` has no closed form here.
  """
  return _optimum(name).logits(jnp.log(p) - jnp.log(q))


def _optimum(name: str) -> Optimum:
  if name not in OPTIMA:
    raise ValueError(f'loss={name!r} is not one of {sorted(OPTIMA)}.')
  return OPTIMA[name]


def held_critic_gradient(
  name: str, scores: jax.Array, p: jax.Array
) -> jax.Array:
  """The generator's gradient when the best critic is held.

  Args:
    name: a key of `OPTIMA`.
    scores: the generator's parameters, q = softmax(scores), `[N]`.
    p: real, `[N]`.

  Returns:
    d/dscores of the generator's mean loss, `[N]`.
  """
  q = jax.nn.softmax(scores)
  logits = jax.lax.stop_gradient(best_logits(name, p, q))
  loss = losses.get(name).generator
  mean = lambda s: expected(loss, logits, p, jax.nn.softmax(s))
  return jax.grad(mean)(scores)


def on_common_points(
  x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Two evenly weighted point sets as probabilities on their union.

  Args:
    x: `[N, F]` real points.
    y: `[M, F]` generated points.

  Returns:
    The union `[K, F]`, p `[K]` and q `[K]`. Points are the same if all their
    coordinates are equal.

  Raises:
    ValueError: a set is empty, a point is not finite, or the points have
      different numbers of coordinates.
  """
  x, y = transport.checked_points(x, y)
  points, owner = np.unique(np.concatenate([x, y]), axis=0, return_inverse=True)
  owner = owner.ravel()
  count = lambda part: np.bincount(part, minlength=len(points)) / len(part)
  return points, count(owner[: len(x)]), count(owner[len(x) :])


def log_normal(x: jax.Array, mean, std) -> jax.Array:
  """The logarithm of a normal density, like x."""
  return -jnp.square((x - mean) / std) / 2 - jnp.log(
    std * math.sqrt(2 * math.pi)
  )


def integral(values: jax.Array, grid: jax.Array) -> jax.Array:
  """Trapezoids on an even grid `[N]`; exponentially exact for smooth decay."""
  step = grid[1] - grid[0]
  return step * (jnp.sum(values) - (values[0] + values[-1]) / 2)


def js_of_densities(
  log_p: jax.Array, log_q: jax.Array, grid: jax.Array
) -> jax.Array:
  """Jensen-Shannon of two densities, given by logarithms on a grid, `[N]`."""
  log_m = jnp.logaddexp(log_p, log_q) - LOG_2
  part = lambda log_r: jnp.exp(log_r) * (log_r - log_m)
  return integral(part(log_p) + part(log_q), grid) / 2


class ShiftGradient(NamedTuple):
  """Of the generator's loss, in the shift theta of N(theta, std).

  Attributes:
    mean: over the latents.
    std: of one latent's gradient.
  """

  mean: jax.Array
  std: jax.Array


def shift_gradient(
  name: str, theta: jax.Array, std: float, z: jax.Array
) -> ShiftGradient:
  """How a critic at its best pulls N(theta, std) to the real N(0, std).

  Args:
    name: a key of `OPTIMA`, or 'wasserstein', whose critic is the best of
      slope 1, x -> -sign(theta) x.
    theta: distance, a scalar.
    std: of both normals.
    z: an even grid of latents, `[N]`; wide enough for theta, as most of a
      vanishing gradient comes from latents near -theta / (2 std).

  Returns:
    A ShiftGradient; the latents are integrated, not drawn.
  """
  loss = losses.get(name).generator

  def critic(x):
    if name == 'wasserstein':
      return -jnp.sign(theta) * x
    # log p - log q, the squares multiplied out.
    return _optimum(name).logits(theta * (theta - 2 * x) / (2 * std**2))

  def one(shift, z):
    logits = critic(shift + std * z)
    return loss(jnp.zeros(1), logits[None])[0]

  gradients = jax.vmap(jax.grad(one), (None, 0))(theta, z)
  weights = jnp.exp(log_normal(z, 0.0, 1.0))
  mean = integral(weights * gradients, z)
  square = integral(weights * jnp.square(gradients - mean), z)
  return ShiftGradient(mean, jnp.sqrt(square))


def noised_js_uniform(
  x: jax.Array, p: jax.Array, y: jax.Array, q: jax.Array, width: jax.Array
) -> jax.Array:
  """JS of two mixtures of atoms on the line after uniform noise; exact.

  Args:
    x: `[N]` atoms of the real mixture.
    p: `[N]` their probabilities.
    y: `[M]` atoms of the generated mixture.
    q: `[M]` their probabilities.
    width: the noise is uniform on [-width, width]; its variance width^2 / 3.
  """
  ends = jnp.concatenate([x - width, x + width, y - width, y + width])
  ends = jnp.sort(ends)
  middles, lengths = (ends[1:] + ends[:-1]) / 2, jnp.diff(ends)

  def mass(atoms, weights):
    near = jnp.abs(middles[:, None] - atoms[None]) < width
    return lengths * jnp.sum(near * weights[None], 1) / (2 * width)

  # Constant between two ends, so their masses tell all.
  return js(mass(x, p), mass(y, q))


def noised_js_normal(
  x: jax.Array,
  p: jax.Array,
  y: jax.Array,
  q: jax.Array,
  std: jax.Array,
  *,
  points: int = 4001,
) -> jax.Array:
  """As `noised_js_uniform`, with normal noise, on a grid of `points`."""
  low = jnp.minimum(jnp.min(x), jnp.min(y)) - 12 * std
  high = jnp.maximum(jnp.max(x), jnp.max(y)) + 12 * std
  grid = jnp.linspace(low, high, points)

  def log_density(atoms, weights):
    parts = log_normal(grid[:, None], atoms[None], std)
    return jax.scipy.special.logsumexp(parts, axis=1, b=weights[None])

  return js_of_densities(log_density(x, p), log_density(y, q), grid)


def noise_bound(variance, diameter, noised_js) -> jax.Array:
  """2 sqrt(V) + 2 C sqrt(JS) >= Wasserstein-1 of the clean distributions [3].

  Args:
    variance: V, the mean square length of the noise, which has mean 0.
    diameter: C, of a ball that holds both supports after the noise.
    noised_js: Jensen-Shannon after the noise.
  """
  return 2 * jnp.sqrt(variance) + 2 * diameter * jnp.sqrt(noised_js)
