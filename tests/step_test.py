"""The training step on the Dirac-GAN, where every move is done by hand.

The generator is a point theta, the data sit at 0, the critic is psi x
(Mescheder et al. 2018, section 2). With the Wasserstein loss the critic's
gradient is theta and the generator's -psi: from (1, 1) with rate 0.2 the
numbers below follow.
"""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax import batch_game, data, games, losses, models, regularizers, step


class Point(nn.Module):
  """theta for every latent."""

  z_size: int = 1

  def example_inputs(self):
    return (jnp.zeros((1, 1)),)

  @nn.compact
  def __call__(self, z, labels=None, *, train=False):
    theta = self.param('theta', nn.initializers.ones, (1,))
    return jnp.broadcast_to(theta[None], z.shape)


class Slope(nn.Module):
  """psi x."""

  def example_inputs(self):
    return (jnp.zeros((1, 1)),)

  @nn.compact
  def __call__(self, x, labels=None, *, train=False):
    psi = self.param('psi', nn.initializers.ones, (1,))
    return jnp.sum(x * psi[None], axis=1)


R1 = batch_game.Penalty(
  'r1', 0.5, lambda critic, real, fake, key: regularizers.r1(critic, real)
)


@functools.partial(jax.jit, static_argnames=('setup', 'penalize'))
def train_step(state, batches, *, setup, penalize=True):
  return step.train_step(state, batches, setup=setup, penalize=penalize)


def dirac(method=None, **changes):
  sgd = optax.sgd(0.2)
  return step.Setup(
    Point(),
    Slope(),
    losses.get('wasserstein'),
    method or games.alternating(sgd, sgd),
    **changes,
  )


def play(setup, steps=1, penalize=True):
  state = step.init(setup, jax.random.key(0))
  batches = {'image': jnp.zeros((len(setup.method.turns), 4, 1))}
  for _ in range(steps):
    state, metrics = train_step(state, batches, setup=setup, penalize=penalize)
  theta, psi = state.players.g['theta'][0], state.players.d['psi'][0]
  return (float(theta), float(psi)), state, metrics


def test_alternating_descent():
  # psi <- 1 - 0.2 * 1, then theta <- 1 + 0.2 * 0.8.
  (theta, psi), state, metrics = play(dirac())
  np.testing.assert_allclose([theta, psi], [1.16, 0.8], rtol=1e-6)
  assert state.step == 1
  # The critic's loss is psi theta = 1 at (1, 1); in the generator's turn the
  # payoff is psi theta = 0.8.
  np.testing.assert_allclose(metrics['fake_logit'], 1.0, rtol=1e-6)
  np.testing.assert_allclose(metrics['loss_d'], 1.0, rtol=1e-6)
  np.testing.assert_allclose(metrics['loss_g'], -0.8, rtol=1e-6)
  np.testing.assert_allclose(metrics['gradient_equivalents'], 1.0)


def test_generator_first():
  sgd = optax.sgd(0.2)
  setup = dirac(games.alternating(sgd, sgd, first='g'))
  # theta <- 1 + 0.2 * 1, then psi <- 1 - 0.2 * 1.2.
  np.testing.assert_allclose(play(setup)[0], [1.2, 0.76], rtol=1e-6)


def test_simultaneous_descent():
  sgd = optax.sgd(0.2)
  setup = dirac(games.simultaneous(sgd, sgd))
  np.testing.assert_allclose(play(setup)[0], [1.2, 0.8], rtol=1e-6)


@pytest.mark.parametrize(
  'lazy, penalize, psi',
  [
    # d(0.5 psi^2)/dpsi = psi, so the gradient is 1 + 1.
    (1, True, 0.6),
    # Every fourth step pays four times: 1 + 4.
    (4, True, 0.0),
    (4, False, 0.8),
  ],
)
def test_lazy_r1(lazy, penalize, psi):
  setup = dirac(penalties=(R1,), lazy=lazy)
  (_, moved), _, metrics = play(setup, penalize=penalize)
  np.testing.assert_allclose(moved, psi, atol=1e-6)
  np.testing.assert_allclose(metrics['r1'], 1.0 if penalize else np.nan)


def test_a_weight_and_a_decay_that_move():
  # First no penalty and no memory: psi .8, theta and its average 1.16. Then
  # psi <- .8 - .2 (1.16 + 2 .8), and the average is halfway to the new theta.
  penalty = R1._replace(weight=lambda step: 1.0 * step)
  setup = dirac(penalties=(penalty,), averaging=lambda step: 0.5 * step)
  (theta, psi), state, metrics = play(setup, steps=2)
  assert (theta, psi) == pytest.approx((1.16 + 0.2 * 0.248, 0.248))
  average = float(state.averaged['params']['theta'][0])
  assert average == pytest.approx((1.16 + theta) / 2)
  assert metrics['r1'] == pytest.approx(0.8**2)


def test_penalty_on_parameters_and_projection():
  clip = lambda p: p._replace(d=regularizers.clip_weights(p.d, 0.1))
  setup = dirac(parameter_penalty=lambda d: 3 * regularizers.l2(d))
  # Gradient 1 + 6 psi = 7.
  np.testing.assert_allclose(play(setup)[0][1], -0.4, rtol=1e-6)
  np.testing.assert_allclose(play(dirac(project=clip))[0][1], 0.1, rtol=1e-6)


def test_averaged_generator_follows_after_the_generators_turn():
  _, state, _ = play(dirac(averaging=0.9))
  # The decay of the first step is 1 / 10: 0.1 * 1 + 0.9 * 1.16.
  np.testing.assert_allclose(
    state.averaged['params']['theta'], [1.144], rtol=1e-6
  )
  variables = step.generator_variables(state, averaged=True)
  np.testing.assert_allclose(variables['params']['theta'], [1.144], rtol=1e-6)
  variables = step.generator_variables(state, averaged=False)
  np.testing.assert_allclose(variables['params']['theta'], [1.16], rtol=1e-6)


def test_averaging_reaches_its_decay():
  setup = dirac(averaging=0.5)
  _, before, _ = play(setup, steps=8)
  (theta, _), after, _ = play(setup, steps=9)
  # In step 8, counted from 0, the ramp is at 9 / 18; then 0.5 holds.
  expected = 0.5 * before.averaged['params']['theta'] + 0.5 * theta
  np.testing.assert_allclose(
    after.averaged['params']['theta'], expected, rtol=1e-5
  )
  (theta, _), last, _ = play(setup, steps=10)
  expected = 0.5 * after.averaged['params']['theta'] + 0.5 * theta
  np.testing.assert_allclose(
    last.averaged['params']['theta'], expected, rtol=1e-5
  )


def test_instance_noise_reaches_the_critic_alone():
  (theta, psi), _, metrics = play(dirac(instance_noise=1.0))
  assert abs(psi - 0.8) > 1e-3  # the mean of eight noises
  np.testing.assert_allclose(theta, 1 + 0.2 * psi, rtol=1e-6)
  assert metrics['real_logit'] != 0


class Normalized(nn.Module):
  """Batch norm of a shifted latent: running means can be done by hand."""

  z_size: int = 1

  def example_inputs(self):
    return (jnp.zeros((2, 1)),)

  @nn.compact
  def __call__(self, z, labels=None, *, train=False):
    norm = nn.BatchNorm(use_running_average=not train, momentum=0.5)
    return norm(z * 0.0 + 2.0)


def test_generator_statistics_advance_in_every_turn():
  sgd = optax.sgd(0.2)
  setup = dirac(games.alternating(sgd, sgd), averaging=0.5)
  setup = setup._replace(generator=Normalized())
  state = step.init(setup, jax.random.key(0))
  batches = {'image': jnp.zeros((2, 4, 1))}
  state, _ = train_step(state, batches, setup=setup)
  # 0 -> 1 in the critic's turn -> 1.5 in the generator's; the average takes
  # nine tenths of it in the first step.
  mean = lambda stats: stats['BatchNorm_0']['mean']
  np.testing.assert_allclose(mean(state.model_state.g['batch_stats']), [1.5])
  np.testing.assert_allclose(
    mean(state.averaged['batch_stats']), [1.35], rtol=1e-6
  )


class NormalizedCritic(nn.Module):
  """Batch norm in the critic."""

  def example_inputs(self):
    return (jnp.zeros((2, 1)),)

  @nn.compact
  def __call__(self, x, labels=None, *, train=False):
    norm = nn.BatchNorm(use_running_average=not train, momentum=0.5)
    return norm(x)[:, 0]


def test_critic_statistics_see_real_then_fake_in_its_own_turn():
  setup = dirac()._replace(discriminator=NormalizedCritic())
  state = step.init(setup, jax.random.key(0))
  batches = {'image': jnp.full((2, 4, 1), 4.0)}
  state, _ = train_step(state, batches, setup=setup)
  mean = state.model_state.d['batch_stats']['BatchNorm_0']['mean']
  # 0 -> 2 on the real batch (all 4) -> 1.5 on the fake one (all 1).
  np.testing.assert_allclose(mean, [1.5])


def small_cnn_setup(**changes):
  size = dict(width=2, image_size=8, channels=1)
  sgd = optax.sgd(1e-2)
  return step.Setup(
    models.generator('cnn', z_size=4, **size),
    models.discriminator('cnn', spectral_norm=True, **size),
    losses.get('relativistic'),
    games.alternating(sgd, sgd, first='g'),
    **changes,
  )


@pytest.mark.slow
def test_spectral_vectors_advance_before_the_critics_turn_only():
  setup = small_cnn_setup()
  state = step.init(setup, jax.random.key(0))
  batches = {'image': jnp.zeros((2, 4, 8, 8, 1), jnp.uint8)}
  after, _ = train_step(state, batches, setup=setup)
  expected = models.power_iteration(
    state.players.d, state.model_state.d['spectral']
  )
  # The critic moves after its generator here, so its parameters were still old.
  chex.assert_trees_all_close(
    after.model_state.d['spectral'], expected, rtol=1e-5
  )


@pytest.mark.slow
def test_a_call_of_three_steps_equals_three_calls():
  setup = small_cnn_setup(penalties=(R1,), lazy=2, averaging=0.9)
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (20, 8, 8, 1), np.uint8)
  dataset = data.Dataset('x', images, None, 0, None, 0.0)
  feed = data.feed(dataset, 4, 0)
  shaped = lambda x, k: jax.tree.map(
    lambda a: np.reshape(a, (k, 2, *a.shape[1:])), x
  )
  together = step.make_call(setup, feed.pick, 3)
  state = step.init(setup, jax.random.key(1))
  one, metrics = together(state, feed.resident, shaped(feed.next(0, 6), 3), 0)
  single = step.make_call(setup, feed.pick, 1)
  state, seen = step.init(setup, jax.random.key(1)), []
  for i in range(3):
    fed = shaped(feed.next(2 * i, 2), 1)
    state, values = single(state, feed.resident, fed, i)
    seen.append(values)
  stacked = jax.tree.map(lambda *x: np.concatenate(x), *seen)
  np.testing.assert_array_equal(np.isnan(metrics['r1']), [False, True, False])
  chex.assert_trees_all_close(metrics, stacked, rtol=1e-4, atol=1e-5)
  chex.assert_trees_all_close(one.players, state.players, atol=1e-5)
  assert one.step == state.step == 3


@pytest.mark.slow
def test_a_step_is_a_function_of_the_key_and_its_number():
  setup = small_cnn_setup()
  batches = {'image': jnp.ones((2, 4, 8, 8, 1), jnp.uint8)}
  state = step.init(setup, jax.random.key(0))
  first, _ = train_step(state, batches, setup=setup)
  again, _ = train_step(state, batches, setup=setup)
  chex.assert_trees_all_equal(first.players, again.players)
  later = state._replace(step=state.step + 1)
  other, _ = train_step(later, batches, setup=setup)
  difference = optax.tree.norm(optax.tree.sub(first.players, other.players))
  assert difference > 0


def test_sampler_pads_to_one_shape():
  setup = dirac()
  state = step.init(setup, jax.random.key(0))
  sample = step.make_sampler(setup, batch_size=4)
  variables = step.generator_variables(state, averaged=True)
  made = sample(variables, jnp.zeros((6, 1)))
  np.testing.assert_array_equal(made, np.ones((6, 1)))


class Labelled(nn.Module):
  """The example's value plus ten times its label."""

  labels: int = 4

  def example_inputs(self):
    return jnp.zeros((1, 1)), jnp.zeros((1,), jnp.int32)

  @nn.compact
  def __call__(self, x, labels=None, *, train=False):
    scale = self.param('scale', nn.initializers.ones, (1,))
    return scale * (x[:, 0] + 10.0 * labels)


@pytest.mark.parametrize('name', ['relativistic', 'nonsaturating'])
def test_each_example_meets_its_own_label(name):
  # Generated examples are theta = 1 with the labels of the real ones, so the
  # logits follow by hand; a wrong order changes the loss of each pair.
  setup = dirac(penalties=(R1._replace(weight=3.0),))
  setup = setup._replace(discriminator=Labelled(), loss=losses.get(name))
  real, label = jnp.array([[5.0], [-2.0], [0.5]]), jnp.array([3, 0, 1])
  state = step.init(setup, jax.random.key(0))
  game = batch_game.make_game(
    setup, state.model_state, dict(image=real, label=label), jax.random.key(1)
  )
  r, f = np.array([35.0, -2.0, 10.5]), np.array([31.0, 1.0, 11.0])
  softplus = lambda x: np.log1p(np.exp(x))
  expected = {
    'relativistic': softplus(f - r).mean(),
    'nonsaturating': (softplus(-r) + softplus(f)).mean(),
  }[name]
  # The critic's slope is 1 everywhere.
  value, _ = game.loss_d(*state.players)
  np.testing.assert_allclose(value, expected + 3.0, rtol=1e-5)
