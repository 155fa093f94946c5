"""Divergences against numbers by hand, and what best critics come to."""

import functools
import itertools
import math

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from gan_jax import losses
from gan_jax.theory import divergences, transport

pytestmark = pytest.mark.float64

# A fair coin against one that falls 3 to 1.
P, Q = np.array([1 / 2, 1 / 2]), np.array([3 / 4, 1 / 4])
BY_HAND = {
  divergences.kl: math.log(2 / 3) / 2 + math.log(2) / 2,
  divergences.total_variation: 1 / 4,
  divergences.pearson: (1 / 16) / (3 / 4) + (1 / 16) / (1 / 4),
  divergences.hellinger: 2 - math.sqrt(3 / 2) - math.sqrt(1 / 2),
  # The middle is (5/8, 3/8).
  divergences.js: (
    math.log(4 / 5) / 2
    + math.log(4 / 3) / 2
    + 3 / 4 * math.log(6 / 5)
    + math.log(2 / 3) / 4
  )
  / 2,
}


@pytest.mark.parametrize('of', BY_HAND, ids=lambda of: of.__name__)
def test_two_coins(of):
  np.testing.assert_allclose(of(P, Q), BY_HAND[of], rtol=1e-12)
  np.testing.assert_allclose(of(P, P), 0, atol=1e-15)


def test_without_overlap():
  p, q = np.array([1.0, 0.0]), np.array([0.0, 1.0])
  assert divergences.kl(p, q) == np.inf
  np.testing.assert_allclose(divergences.js(p, q), math.log(2), rtol=1e-15)
  assert divergences.total_variation(p, q) == 1
  assert divergences.hellinger(p, q) == 2


def test_sizes_must_agree():
  with pytest.raises(ValueError, match=r'p has shape \(2,\) and q \(3,\)'):
    divergences.kl(P, np.ones(3) / 3)
  with pytest.raises(ValueError, match=r'\[N\]'):
    divergences.js(P[None], Q[None])


@pytest.mark.parametrize(
  ('p', 'q', 'words'),
  [
    ([5.0, 5.0], [1.0, 1.0], 'same sum'),
    ([1.0, 1.0], [1.0, 1.0], 'p sums to 2.0; probabilities sum to 1'),
    ([1.5, -0.5], [0.5, 0.5], 'amounts >= 0'),
    ([0.5, np.nan], [0.5, 0.5], 'finite'),
    ([0.0, 0.0], [0.0, 0.0], 'above 0'),
    ([], [], 'neither empty'),
  ],
)
def test_no_probabilities(p, q, words):
  for of in (divergences.js, divergences.kl):
    with pytest.raises(ValueError, match=words):
      of(np.asarray(p), np.asarray(q))
  # Nothing is known of traced ones.
  if len(p):
    jax.make_jaxpr(divergences.kl)(np.asarray(p), np.asarray(q))


# The value of the best critic of the two coins, from the divergences by hand.
KL, JS = BY_HAND[divergences.kl], BY_HAND[divergences.js]
REVERSE_KL = 3 / 4 * math.log(3 / 2) + math.log(1 / 2) / 4
VALUES = dict(
  minimax=math.log(4) - 2 * JS,
  nonsaturating=math.log(4) - 2 * JS,
  # D = p / (p + q) = 2/5 and 2/3: sum (p (D - 1)^2 + q D^2) / 2.
  least_squares=(0.5 * 9 / 25 + 0.5 / 9 + 0.75 * 4 / 25 + 0.25 * 4 / 9) / 2,
  hinge=2 - 2 / 4,
  f_kl=-KL,
  f_reverse_kl=-REVERSE_KL,
  f_pearson=-1 / 3,
  f_hellinger=-BY_HAND[divergences.hellinger],
  f_jensen_shannon=-2 * JS,
)


def critic_loss(name, logits, p, q):
  """By its definition: a mean over all pairs of real and generated."""
  v = np.asarray(logits)
  pairs = list(itertools.product(range(len(p)), repeat=2))
  real, fake = (jnp.asarray([v[pair[k]] for pair in pairs]) for k in (0, 1))
  of_pairs = np.asarray(losses.get(name).discriminator(real, fake))
  weights = [p[i] * q[j] for i, j in pairs]
  return np.dot(weights, of_pairs)


@pytest.mark.parametrize('name', divergences.OPTIMA)
def test_best_critic_of_two_coins(name):
  best = divergences.best_logits(name, jnp.asarray(P), jnp.asarray(Q))
  found = critic_loss(name, best, P, Q)
  np.testing.assert_allclose(found, VALUES[name], rtol=1e-10)
  of = divergences.OPTIMA[name].value
  np.testing.assert_allclose(of(P, Q), VALUES[name], rtol=1e-10)
  # No other critic nearby does better.
  for shift in ([0.1, 0], [-0.1, 0], [0, 0.1], [0, -0.1], [0.05, 0.05]):
    assert critic_loss(name, best + np.asarray(shift), P, Q) >= found - 1e-12


@pytest.mark.parametrize('name', ['minimax', 'f_pearson', 'relativistic'])
def test_expected_is_the_mean_over_pairs(name):
  logits = jnp.asarray([0.3, -1.2])
  loss = losses.get(name).discriminator
  np.testing.assert_allclose(
    divergences.expected(loss, logits, P, Q),
    critic_loss(name, logits, P, Q),
    rtol=1e-12,
  )


# The gradient in q of what each row follows, by hand; a constant is free.
SLOPES = dict(
  minimax=lambda p, q: np.log(2 * q / (p + q)),
  nonsaturating=lambda p, q: np.log(q / p) - np.log(2 * q / (p + q)),
  least_squares=lambda p, q: (q / (p + q)) ** 2 / 2,
  hinge=lambda p, q: np.sign(q - p),
  f_kl=lambda p, q: -p / q,
  f_reverse_kl=lambda p, q: np.log(q / p),
  f_pearson=lambda p, q: -((p / q) ** 2),
  f_hellinger=lambda p, q: -np.sqrt(p / q),
  f_jensen_shannon=lambda p, q: np.log(2 * q / (p + q)),
)


SLOW = ('f_reverse_kl', 'f_hellinger', 'f_jensen_shannon')


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW))
    for name in divergences.OPTIMA
  ],
)
def test_what_the_generator_follows(name):
  p, scores = jnp.asarray([0.2, 0.5, 0.3]), jnp.asarray([0.4, -0.3, 0.1])
  q = np.asarray(jax.nn.softmax(scores))
  of = divergences.OPTIMA[name].generator_divergence
  both = lambda s: (
    divergences.held_critic_gradient(name, s, p),
    jax.grad(lambda s: of(p, jax.nn.softmax(s)))(s),
  )
  pull, whole = jax.jit(both)(scores)
  # Through softmax: q_i (slope_i - mean slope).
  slope = SLOPES[name](np.asarray(p), q)
  np.testing.assert_allclose(pull, q * (slope - q @ slope), atol=1e-12)
  np.testing.assert_allclose(pull, whole, atol=1e-12)


def test_an_unknown_loss_is_named():
  with pytest.raises(ValueError, match="loss='relativistic' is not one of"):
    divergences.best_logits('relativistic', P, Q)


def test_common_points_of_lines():
  line = np.array([[0.0, 0.0], [0.0, 1.0]])
  points, p, q = divergences.on_common_points(line, line + np.array([0.5, 0.0]))
  assert len(points) == 4
  np.testing.assert_array_equal(np.sort(p), [0, 0, 0.5, 0.5])
  assert not (p * q).any()
  points, p, q = divergences.on_common_points(line, line)
  np.testing.assert_array_equal(p, q)
  with pytest.raises(ValueError, match='shapes'):
    divergences.on_common_points(line, line[:, :1])
  with pytest.raises(ValueError, match='neither set may be empty'):
    divergences.on_common_points(line[:0], line)
  with pytest.raises(ValueError, match='finite, without nan'):
    divergences.on_common_points(line, line * np.nan)


@jax.jit
def js_of_normals(grid, std, mean, other):
  log_p = divergences.log_normal(grid, 0.0, std)
  log_q = divergences.log_normal(grid, mean, other)
  return divergences.js_of_densities(log_p, log_q, grid)


def test_js_of_densities_against_scipy():
  integrate = pytest.importorskip('scipy.integrate')

  def integrand(x):
    p = math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    q = math.exp(-(((x - 1.5) / 0.7) ** 2) / 2) / math.sqrt(2 * math.pi) / 0.7
    m = (p + q) / 2
    return (p * math.log(p / m) + q * math.log(q / m)) / 2

  want, _ = integrate.quad(integrand, -8, 8, epsabs=1e-12, limit=200)
  found = js_of_normals(jnp.linspace(-10.0, 10.0, 4001), 1.0, 1.5, 0.7)
  np.testing.assert_allclose(found, want, rtol=1e-9)


@functools.cache
def shift_gradients():
  z = jnp.linspace(-30.0, 30.0, 6001)
  names = ('minimax', 'nonsaturating', 'wasserstein')
  return jax.jit(
    lambda theta: [
      divergences.shift_gradient(name, theta, 0.5, z) for name in names
    ]
  )


@pytest.mark.parametrize('theta', [0.5, 3.0, 8.0])
def test_gradients_of_a_shift(theta):
  # KL(P_g, P_r) = theta^2 / (2 std^2), and the two losses share its slope.
  std = 0.5
  saturating, other, wasserstein = shift_gradients()(theta)
  np.testing.assert_allclose(
    saturating.mean + other.mean, theta / std**2, rtol=1e-9
  )
  np.testing.assert_allclose(saturating.std, other.std, rtol=1e-6)
  # E_g[p / (p + q)] theta / std^2, integrated over x instead of the latents.
  x = np.linspace(-25, 40, 60_001)
  p = np.exp(-((x / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))
  q = np.exp(-(((x - theta) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))
  both = np.where(p + q > 0, p + q, 1)
  share = np.sum(p * q / both) * (x[1] - x[0])
  np.testing.assert_allclose(
    saturating.mean, share * theta / std**2, rtol=1e-6, atol=1e-14
  )
  np.testing.assert_allclose(wasserstein.mean, 1.0, rtol=1e-9)


def test_uniform_noise_by_hand():
  # Atoms at 0 and 1 under noise of width 1: densities 1/2 on [-1, 1] and on
  # [0, 2], which share half their mass.
  one = jnp.ones(1)
  js = jax.jit(
    lambda width: divergences.noised_js_uniform(
      jnp.zeros(1), one, one, one, width
    )
  )
  np.testing.assert_allclose(js(1.0), math.log(2) / 2, rtol=1e-12)
  np.testing.assert_allclose(js(0.25), math.log(2), rtol=1e-12)
  # Width 2: three quarters shared.
  np.testing.assert_allclose(js(2.0), math.log(2) / 4, rtol=1e-12)


def test_normal_noise_on_single_atoms_is_that_of_normals():
  one = jnp.ones(1)
  of = jax.jit(divergences.noised_js_normal)
  found = of(jnp.zeros(1), one, 2 * one, one, 0.8)
  want = js_of_normals(jnp.linspace(-10.0, 12.0, 4001), 0.8, 2.0, 0.8)
  np.testing.assert_allclose(found, want, rtol=1e-9)


def test_noise_bound_by_hand():
  # Two atoms at distance 1 under noise of width 1: V = 1/3, C = 3.
  bound = divergences.noise_bound(1 / 3, 3.0, math.log(2) / 2)
  want = 2 / math.sqrt(3) + 6 * math.sqrt(math.log(2) / 2)
  np.testing.assert_allclose(bound, want, rtol=1e-12)


def test_noise_bound_on_random_mixtures():
  draw = np.random.default_rng(3)
  x, y = (jnp.asarray(draw.uniform(size=(300, 4))) for _ in range(2))
  p, q = (jnp.asarray(draw.dirichlet(np.ones(4), 300)) for _ in range(2))
  width = jnp.asarray(draw.uniform(0.01, 1, 300))

  @jax.jit
  @jax.vmap
  def sides(x, p, y, q, width):
    js = divergences.noised_js_uniform(x, p, y, q, width)
    bound = divergences.noise_bound(width**2 / 3, 1 + 2 * width, js)
    return transport.on_the_line(x, p, y, q), bound

  left, right = sides(x, p, y, q, width)
  assert (left > 0).all()
  assert (left <= right).all()
