"""Losses: literal numbers, large logits, what the zero-sum flag promises."""

import functools
import itertools
import math

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from gan_jax import losses

pytestmark = pytest.mark.float64

NAMES = sorted(losses.LOSSES)
AVERAGES = [name for name in NAMES if name.startswith('relativistic_average')]

# Numbers of a pocket calculator: log(1 + e^x) and 1 / (1 + e^-x).
LOG2 = 0.6931471805599453
SP = {-2: 0.1269280110429726, -1: 0.3132616875182228, 0: LOG2}
SP |= {1: 1.3132616875182228, 2: 2.1269280110429726}
S = {-2: 0.1192029220221176, -1: 0.2689414213699951}
S |= {1: 0.7310585786300049, 2: 0.8807970779778824}
E1, E2 = 0.3678794411714423, 0.1353352832366127  # 1/e, 1/e^2

# name: at logits (r, f), the generator's (value, d/dr, d/df), then the
# discriminator's.
TABLE = {
  'minimax': {
    # softplus(-1) twice; slopes are the probabilities of the wrong answer.
    (1, -1): ((-SP[-1], 0, -S[-1]), (2 * SP[-1], -S[-1], S[-1])),
    (0, 0): ((-LOG2, 0, -0.5), (2 * LOG2, -0.5, 0.5)),
  },
  'nonsaturating': {
    # -log sigmoid(-1) = softplus(1): the fake is caught, its slope is large.
    (1, -1): ((SP[1], 0, -S[1]), (2 * SP[-1], -S[-1], S[-1])),
    (0, 0): ((LOG2, 0, -0.5), (2 * LOG2, -0.5, 0.5)),
  },
  'wasserstein': {
    (1, -1): ((1, 0, -1), (-2, -1, 1)),  # f - r against -f
    (0, 0): ((0, 0, -1), (0, -1, 1)),
  },
  'least_squares': {
    # (-1 - 1)^2 / 2; (1 - 1)^2 / 2 + (-1)^2 / 2.
    (1, -1): ((2, 0, -2), (0.5, 0, -1)),
    (0, 0): ((0.5, 0, -1), (0.5, -1, 0)),
  },
  'hinge': {
    # Both margins are just met: on the kink relu has slope 0.
    (1, -1): ((1, 0, -1), (0, 0, 0)),
    (0, 0): ((0, 0, -1), (2, -1, 1)),
  },
  'f_kl': {
    # -r + e^(f - 1).
    (1, -1): ((-E2, 0, -E2), (-1 + E2, -1, E2)),
    (0, 0): ((-E1, 0, -E1), (E1, -1, E1)),
  },
  'f_reverse_kl': {
    # e^-r + f - 1.
    (1, -1): ((2, 0, -1), (E1 - 2, -E1, 1)),
    (0, 0): ((1, 0, -1), (0, -1, 1)),
  },
  'f_pearson': {
    # -r + f^2 / 4 + f: -1 + 1/4 - 1.
    (1, -1): ((0.75, 0, -0.5), (-1.75, -1, 0.5)),
    (0, 0): ((0, 0, -1), (0, -1, 1)),
  },
  'f_hellinger': {
    # e^-r - 1 + e^f - 1.
    (1, -1): ((1 - E1, 0, -E1), (2 * E1 - 2, -E1, E1)),
    (0, 0): ((0, 0, -1), (0, -1, 1)),
  },
  'f_jensen_shannon': {
    # minimax, but zero at zero.
    (1, -1): (
      (LOG2 - SP[-1], 0, -S[-1]),
      (2 * SP[-1] - 2 * LOG2, -S[-1], S[-1]),
    ),
    (0, 0): ((0, 0, -0.5), (0, -0.5, 0.5)),
  },
  'relativistic': {
    # The real one leads by 2.
    (1, -1): ((SP[2], S[2], -S[2]), (SP[-2], -S[-2], S[-2])),
    (0, 0): ((LOG2, 0.5, -0.5), (LOG2, -0.5, 0.5)),
  },
  'relativistic_hinge': {
    # 1 + 2 against 1 - 2 cut off.
    (1, -1): ((3, 1, -1), (0, 0, 0)),
    (0, 0): ((1, 1, -1), (1, -1, 1)),
  },
  'relativistic_least_squares': {
    # (-2 - 1)^2 against (2 - 1)^2, not halved.
    (1, -1): ((9, 6, -6), (1, 2, -2)),
    (0, 0): ((1, 2, -2), (1, -2, 2)),
  },
}
# The mean over a batch of one is that one.
for _name in ('', '_hinge', '_least_squares'):
  TABLE[f'relativistic_average{_name}'] = TABLE[f'relativistic{_name}']


def players(loss):
  return (loss.generator, loss.discriminator)


def random_logits(seed, size):
  return jnp.array(np.random.default_rng(seed).normal(size=(2, size)))


def sum_and_slopes(function, r, f):
  total = lambda r, f: jnp.sum(function(r, f))
  value, slopes = jax.jit(jax.value_and_grad(total, (0, 1)))(r, f)
  return value, *slopes


LARGE = itertools.product((1e4, -1e4, 0, 80, -80), repeat=2)
# Also outside the hinges' margins; inside, even their slopes are opposite.
ORDINARY = [(0.3, -0.7), (-0.4, 1.2), (2.1, 0.6), (0.5, -2.3)]
POINTS = [*TABLE['hinge'], *ORDINARY, *LARGE]


@functools.cache  # compiled once a name
def at_points(name, dtype):
  """For both players value [P], slopes [P, 2], in float32 curvature too."""

  def evaluate(function):
    total = lambda logits: jnp.sum(function(logits[:1], logits[1:]))
    results = [jax.value_and_grad(total)]
    if dtype == np.float32:
      results.append(jax.hessian(total))
    return lambda points: [jax.vmap(result)(points) for result in results]

  loss = jax.jit(lambda x: [evaluate(p)(x) for p in players(losses.get(name))])
  return loss(jnp.array(POINTS, dtype))


def test_the_table_is_complete():
  assert set(TABLE) == set(losses.LOSSES)
  assert len(TABLE) == 16


@pytest.mark.parametrize('name', NAMES)
def test_values_and_slopes(name):
  for player, [(value, slopes)] in enumerate(at_points(name, np.float64)):
    for at, expected in TABLE[name].items():
      point = POINTS.index(at)
      actual = [value[point], *slopes[point]]
      np.testing.assert_allclose(actual, expected[player], atol=1e-14)


@pytest.mark.parametrize('name', NAMES)
def test_one_number_per_example(name):
  r, f = jnp.array([1.0, 0.0, 1.0]), jnp.array([-1.0, 0.0, -1.0])
  for index, function in enumerate(players(losses.get(name))):
    assert function(r, f).shape == (3,)
    if name not in AVERAGES:
      both = [TABLE[name][at][index][0] for at in ((1, -1), (0, 0), (1, -1))]
      np.testing.assert_allclose(function(r, f), both, atol=1e-14)


@pytest.mark.parametrize(
  ('name', 'generator', 'discriminator'),
  [
    # Reals 1, -1 lead the fakes' mean 1/2 by 1/2, -3/2; fakes 1, 0 lead the
    # reals' mean 0 by 1, 0. Each number is the mean of a real and a fake term.
    ('relativistic_average_hinge', (0.75, 0.5), (1.25, 1.75)),
    ('relativistic_average_least_squares', (1.125, 0.625), (2.125, 3.625)),
    (
      'relativistic_average',
      # softplus of (-1, 1/2), (0, -3/2); of (-1/2, 1), (3/2, 0).
      (
        (SP[-1] + 0.9740769841801067) / 2,
        (LOG2 + 0.2014132779827524) / 2,
      ),
      ((0.4740769841801067 + SP[1]) / 2, (1.7014132779827524 + LOG2) / 2),
    ),
  ],
)
def test_averages_over_the_batch(name, generator, discriminator):
  r, f, loss = jnp.array([1.0, -1.0]), jnp.array([1.0, 0.0]), losses.get(name)
  np.testing.assert_allclose(loss.generator(r, f), generator, rtol=1e-14)
  np.testing.assert_allclose(
    loss.discriminator(r, f), discriminator, rtol=1e-14
  )


def test_the_batch_mean_is_differentiated_too():
  # All four hinges of the critic are active, at slope 1/2 each. Half of a
  # logit's slope comes by its own term, half by the two terms with its mean.
  loss = losses.get('relativistic_average_hinge')
  _, by_r, by_f = sum_and_slopes(
    loss.discriminator, jnp.array([1.0, -1.0]), jnp.array([1.0, 0.0])
  )
  np.testing.assert_allclose(by_r, [-1, -1])
  np.testing.assert_allclose(by_f, [1, 1])


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('name', NAMES)
def test_large_logits_stay_finite(name, dtype):
  # Curvature too: CGD takes mixed second derivatives.
  results = jax.tree.leaves(at_points(name, dtype))
  assert len(results) == (6 if dtype == np.float32 else 4)
  for result in results:
    assert result.dtype == dtype
    assert np.isfinite(result).all()


def test_exp_goes_on_as_its_tangent():
  # Ten above the cap, e^50 (1 + 10), with slope e^50; just below it e^x.
  cap = math.exp(50)
  critic = losses.get('f_hellinger').discriminator
  for x, value, slope in ((60.0, 11 * cap, cap), (49.0, cap / math.e, None)):
    logits = jnp.array([x])
    for function in (
      lambda v: critic(0 * v, v)[0],
      lambda v: critic(-v, 0 * v)[0],
    ):
      np.testing.assert_allclose(function(logits), value, rtol=1e-12)
      actual = jnp.abs(jax.grad(function)(logits))[0]
      np.testing.assert_allclose(actual, slope or value, rtol=1e-12)
  generator = losses.get('f_kl').generator  # -e^(f - 1)
  np.testing.assert_allclose(
    generator(jnp.zeros(1), jnp.array([61.0])), -11 * cap, rtol=1e-12
  )


def test_the_flags():
  flagged = {name for name in NAMES if losses.LOSSES[name].zero_sum}
  f_gans = {name for name in NAMES if name.startswith('f_')}
  assert flagged == {'minimax', 'wasserstein'} | f_gans
  assert len(f_gans) == 5


@pytest.mark.parametrize('name', NAMES)
def test_zero_sum_means_opposite_gradients_of_the_generator(name):
  [(_, ours)], [(_, theirs)] = at_points(name, np.float64)
  rows = [POINTS.index(point) for point in ORDINARY]
  fake = np.array(rows), 1
  opposite = np.isclose(ours[fake], -theirs[fake], rtol=1e-9, atol=1e-12)
  assert opposite.all() == losses.get(name).zero_sum


@pytest.mark.parametrize('name', NAMES)
def test_saturating_plays_minus_the_critics_loss(name):
  r, f = random_logits(1, 6)
  loss = losses.saturating(name)
  assert loss.zero_sum
  critic = losses.get(name).discriminator(r, f)
  np.testing.assert_array_equal(loss.discriminator(r, f), critic)
  np.testing.assert_array_equal(loss.generator(r, f), -critic)


PAIRS = {
  'bernoulli': ((0.5, 0.5), (0.25, 0.75)),
  'categorical': ((0.2, 0.3, 0.5), (0.5, 0.4, 0.1)),
}


def kl(p, q):
  return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def middle(p, q):
  return [(a + b) / 2 for a, b in zip(p, q, strict=True)]


# name: the best logit at p / q = u, from t = phi'(u) and v = g^-1(t); and the
# divergence sum q phi(p / q) by its definition.
DIVERGENCES = {
  'f_kl': (lambda u: 1 + math.log(u), kl),
  'f_reverse_kl': (math.log, lambda p, q: kl(q, p)),
  'f_pearson': (
    lambda u: 2 * (u - 1),
    lambda p, q: sum((a - b) ** 2 / b for a, b in zip(p, q, strict=True)),
  ),
  'f_hellinger': (
    lambda u: math.log(u) / 2,
    lambda p, q: sum((a**0.5 - b**0.5) ** 2 for a, b in zip(p, q, strict=True)),
  ),
  'f_jensen_shannon': (
    math.log,
    lambda p, q: kl(p, middle(p, q)) + kl(q, middle(p, q)),
  ),
}


def test_the_divergences_are_those_of_a_calculator():
  p, q = PAIRS['bernoulli']
  actual = [DIVERGENCES[name][1](p, q) for name in DIVERGENCES]
  # log(4/3) / 2; 3/4 log 3/2 - 1/4 log 2; 1/4 + 1/12; 2 - 2 (sum sqrt(p q));
  # with (3/8, 5/8) in the middle.
  numbers = [0.14384103622589, 0.13081203594113, 1 / 3, 0.06814834742186]
  np.testing.assert_allclose(actual, [*numbers, 0.06764415113721], rtol=1e-11)


@pytest.mark.parametrize('pair', PAIRS)
@pytest.mark.parametrize('name', DIVERGENCES)
def test_the_best_critic_finds_the_divergence(name, pair):
  (p, q), (best, divergence) = PAIRS[pair], DIVERGENCES[name]
  logits = jnp.array([best(a / b) for a, b in zip(p, q, strict=True)])
  weights = jnp.outer(jnp.array(p), jnp.array(q)).ravel()

  def expected_loss(logits):  # over independent draws from p and from q
    r, f = (x.ravel() for x in jnp.meshgrid(logits, logits, indexing='ij'))
    return jnp.vdot(weights, losses.get(name).discriminator(r, f))

  value, slope = jax.jit(jax.value_and_grad(expected_loss))(logits)
  np.testing.assert_allclose(-value, divergence(p, q), rtol=1e-10)
  np.testing.assert_allclose(slope, np.zeros(len(p)), atol=1e-12)


def test_minimax_at_the_best_critic_is_jensen_shannon():
  # Goodfellow et al. 2014, theorem 1: -log 4 + 2 JS, for the payoff's negative.
  p, q = PAIRS['bernoulli']
  best = [math.log(a / b) for a, b in zip(p, q, strict=True)]
  r, f = np.meshgrid(best, best, indexing='ij')
  terms = losses.get('minimax').discriminator(
    jnp.array(r.ravel()), jnp.array(f.ravel())
  )
  value = np.vdot(np.outer(p, q).ravel(), terms)
  np.testing.assert_allclose(
    -value, -math.log(4) + 0.06764415113721, rtol=1e-11
  )


@pytest.mark.parametrize('name', NAMES)
def test_wrong_shapes_name_both(name):
  for function in players(losses.get(name)):
    for real, fake in (((4, 1), (4,)), ((4,), (3,)), ((), ()), ((1,), (4,))):
      with pytest.raises(ValueError) as error:
        function(jnp.zeros(real), jnp.zeros(fake))
      assert f'{real} and fake_logits {fake}' in str(error.value)


@pytest.mark.parametrize('function', [losses.get, losses.saturating])
def test_an_unknown_name_lists_the_known(function):
  with pytest.raises(ValueError, match="'hing' is not one of .*'hinge'"):
    function('hing')


@pytest.mark.parametrize('name', [*AVERAGES, 'hinge'])
def test_averages_are_global_over_a_mapped_axis(name):
  r, f = random_logits(2, 8)
  split = [x.reshape(4, 2) for x in (r, f)]
  pairs = (
    (losses.get(name).generator, losses.get(name, axis_name='i').generator),
    (
      losses.saturating(name).discriminator,
      losses.saturating(name, axis_name='i').discriminator,
    ),
  )
  for whole, part in pairs:
    expected = jax.jit(whole)(r, f)
    mapped = jax.jit(jax.vmap(part, axis_name='i'))(*split)
    np.testing.assert_allclose(mapped.ravel(), expected, rtol=1e-12)
    local = jax.jit(jax.vmap(whole))(*split).ravel()
    assert np.allclose(local, expected) == (name not in AVERAGES)


@pytest.mark.parametrize('name', AVERAGES)
def test_averages_are_global_over_devices(name):
  r, f = random_logits(3, 8)

  def loss_of(axis_name):
    critic = losses.get(name, axis_name=axis_name).discriminator

    def loss(weight, r, f):
      return jnp.mean(critic(jnp.tanh(weight * r), jnp.tanh(weight * f)))

    return jax.value_and_grad(loss)

  auto = (jax.sharding.AxisType.Auto,)
  sharded = jax.shard_map(
    lambda *args: jax.lax.pmean(loss_of('i')(*args), 'i'),
    mesh=jax.make_mesh((4,), ('i',), axis_types=auto),
    in_specs=(jax.P(), jax.P('i'), jax.P('i')),
    out_specs=jax.P(),
    check_vma=False,
  )
  np.testing.assert_allclose(
    jax.jit(sharded)(0.7, r, f), loss_of(None)(0.7, r, f), rtol=1e-9
  )
