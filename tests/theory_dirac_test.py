"""The Dirac-GAN by hand, by formula, and made of the core."""

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp
from scipy import integrate, stats

from gan_jax import diagnostics, games, losses, regularizers
from gan_jax.theory import dirac, dirac_games

pytestmark = pytest.mark.float64

H = 0.2


def start(theta=1.0, psi=1.0):
  return games.Players(jnp.asarray(theta), jnp.asarray(psi))


def zeros():
  return start(0.0, 0.0)


def field_of(game, at):
  """As one program: operation by operation takes seconds to compile."""
  return jax.jit(lambda at: diagnostics.field(game, at))(at)


def penalized_point(penalty, name='minimax'):
  return dirac_games.point_game(name, penalty)


# name -> (field by hand, game of the core)
PAIRS = {
  'gan': lambda: (dirac.gan, dirac_games.point_game('minimax')),
  'nonsaturating': lambda: (
    dirac.nonsaturating,
    dirac_games.point_game('nonsaturating'),
  ),
  'wasserstein': lambda: (
    dirac.wasserstein,
    dirac_games.point_game('wasserstein'),
  ),
  'wgan_gp': lambda: (
    dirac.centred(dirac.wasserstein, 0.7),
    penalized_point(dirac_games.wgan_gp(0.7), 'wasserstein'),
  ),
  'target .3': lambda: (
    dirac.centred(dirac.wasserstein, 1.0, 0.3),
    penalized_point(dirac_games.wgan_gp(1.0, target=0.3), 'wasserstein'),
  ),
  'r1': lambda: (
    dirac.penalized(dirac.gan, 0.3),
    penalized_point(dirac_games.r1(0.3)),
  ),
  'r2': lambda: (
    dirac.penalized(dirac.gan, 1.0),
    penalized_point(dirac_games.r2(1.0)),
  ),
  'nonsaturating r1': lambda: (
    dirac.penalized(dirac.nonsaturating, 0.3),
    penalized_point(dirac_games.r1(0.3), 'nonsaturating'),
  ),
  'noise': lambda: (dirac.noisy(0.7), dirac_games.noisy_game(0.7)),
}


def test_the_field_at_one_one():
  # f'(1) = 1 / (1 + e), f'(-1) = e / (1 + e).
  low, high = 1 / (1 + np.e), np.e / (1 + np.e)
  np.testing.assert_allclose(dirac.gan(*start()), (-low, low), rtol=1e-14)
  np.testing.assert_allclose(
    dirac.nonsaturating(*start()), (-high, low), rtol=1e-14
  )
  np.testing.assert_allclose(dirac.wasserstein(*start(2.0, 3.0)), (-3, 2))


def test_penalties_by_hand():
  # gamma psi; gamma sign(psi) (|psi| - target), zero at psi = 0.
  field = dirac.penalized(dirac.wasserstein, 0.3)
  np.testing.assert_allclose(field(*start(2.0, 3.0)), (-3, 2 - 0.9))
  field = dirac.centred(dirac.wasserstein, 0.5)
  np.testing.assert_allclose(field(*start(2.0, -3.0)), (3, 2 + 0.5 * 2))
  np.testing.assert_allclose(field(*start(2.0, 0.0)), (0, 2))


def test_the_core_moves_along_the_fields():
  pairs = {name: pair() for name, pair in PAIRS.items()}
  rng = np.random.default_rng(0)
  points = games.Players(*jnp.asarray(rng.uniform(-2, 2, size=(2, 50))))

  @jax.jit  # of all at once, which is far quicker to compile
  @jax.vmap
  def both(at):
    return {
      name: (diagnostics.field(game, at), field(*at))
      for name, (field, game) in pairs.items()
    }

  for name, (ours, by_hand) in both(points).items():
    np.testing.assert_allclose(ours, by_hand, rtol=0, atol=1e-12, err_msg=name)


def steps(method, game):
  """One step of a method: (players, state) -> the same."""
  turns = [game] * len(method.turns)
  return lambda carry: games.play(method, turns, carry[1], carry[0])[:2]


def trajectories(step_of, first, num_steps=100):
  """name -> step, name -> carry: the carries after every step."""

  @jax.jit
  def run(carries):
    def body(carries, _):
      carries = {name: step_of[name](carries[name]) for name in carries}
      return carries, carries

    return jax.lax.scan(body, carries, length=num_steps)[1]

  return run(first)


def test_whole_plays_agree():
  sweeps = (0, 1)  # the experiment compares all panels in all sweeps
  ours, by_hand, first = {}, {}, {}
  published = dirac.consensus(1.0, cross=0.5)
  for d_steps in sweeps:
    for name in ('nonsaturating r1',):
      field, game = PAIRS[name]()
      method = dirac_games.descent(H, d_steps)
      ours[name, d_steps] = steps(method, game)
      by_hand[name, d_steps] = dirac.euler(field, H, d_steps=d_steps)
      first[name, d_steps] = start(), method.init(start())
    for name, method, field in (
      (
        'consensus',
        dirac_games.consensus(H, 1.0, d_steps),
        dirac.consensus(1.0),
      ),
      ('published', dirac_games.along(published, H, d_steps), published),
    ):
      ours[name, d_steps] = steps(method, dirac_games.point_game('minimax'))
      by_hand[name, d_steps] = dirac.euler(field, H, d_steps=d_steps)
      first[name, d_steps] = start(), method.init(start())
  played = trajectories(ours, first)
  expected = trajectories(by_hand, {key: start() for key in by_hand})
  for key, (players, _) in played.items():
    np.testing.assert_allclose(
      players, expected[key], rtol=0, atol=1e-12, err_msg=str(key)
    )
  for d_steps in sweeps:  # the two forms of consensus differ
    exact, half = expected['consensus', d_steps], expected['published', d_steps]
    assert np.max(np.abs(np.subtract(exact, half))) > 0.1


def test_consensus_descends_half_the_squared_length():
  at = start(0.7, -1.3)
  length = lambda at: sum(x**2 for x in dirac.gan(*at)) / 2
  slope = jax.jit(jax.grad(length))(at)
  expected = np.asarray(dirac.gan(*at)) - 2.0 * np.asarray(slope)
  ours = jax.jit(lambda at: dirac.consensus(2.0)(*at))(at)
  np.testing.assert_allclose(ours, expected, rtol=1e-13)


def test_noise_against_adaptive_quadrature():
  theta, psi, std = 0.8, -1.7, 0.7
  slope = lambda t: 1 / (1 + np.exp(t))  # f'

  def mean(function, centre):
    inside = lambda x: function(x) * stats.norm.pdf(x, centre, std)
    return integrate.quad(inside, centre - 8, centre + 8, epsabs=1e-13)[0]

  v_theta = -psi * mean(lambda t: slope(psi * t), theta)
  v_psi = mean(lambda t: t * slope(psi * t), theta)
  v_psi -= mean(lambda x: x * slope(-psi * x), 0.0)
  field = dirac.noisy(std)(jnp.asarray(theta), jnp.asarray(psi))
  np.testing.assert_allclose(field, (v_theta, v_psi), rtol=1e-8)


@pytest.mark.slow
def test_samples_approach_the_expected_noise():
  # Of 20000 samples the critic's mean has a standard error of .004.
  game = dirac_games.sampled_game(jax.random.key(0), 0.7, 20_000)
  ours = field_of(game, start(0.8, -1.7))
  np.testing.assert_allclose(
    ours, dirac.noisy(0.7)(*start(0.8, -1.7)), rtol=0, atol=0.016
  )


def test_real_and_generated_noise_are_independent():
  # At 0 the critic moves by f'(0) (mean of fake - mean of real), of standard
  # deviation sqrt(2) / 2 * .7 / 10 = .05; shared noise would leave it at 0.
  def field(at):
    game = dirac_games.sampled_game(jax.random.key(1), 0.7, 100)
    return diagnostics.field(game, at)

  kick = jax.jit(field)(zeros())
  assert kick.g == 0
  assert 1e-3 < abs(kick.d) < 0.2


def test_clipping_by_hand():
  step = dirac.euler(dirac.wasserstein, H, clip=1.0)
  # psi would be 1.2; theta saw the old psi.
  np.testing.assert_allclose(step(start()), (0.8, 1.0))
  step = dirac.euler(dirac.wasserstein, H, d_steps=2)
  # theta .8, then psi twice by .2 * .8.
  np.testing.assert_allclose(step(start()), (0.8, 1.32))


def test_flow_of_the_wgan_is_a_rotation():
  # theta' = -psi, psi' = theta from (1, 0): (cos t, sin t).
  field = lambda at: dirac.wasserstein(*at)
  after = dirac.flow(field, start(1.0, 0.0), 0.01, 300)
  np.testing.assert_allclose(after, (np.cos(3), np.sin(3)), rtol=0, atol=1e-9)


def test_the_gan_flow_keeps_its_radius():
  game = dirac_games.point_game('minimax')
  field = lambda at: diagnostics.field(game, at)
  after = dirac.flow(field, start(), 0.02, 1000)
  assert abs(after.g - 1) > 0.1  # it did move
  np.testing.assert_allclose(after.g**2 + after.d**2, 2.0, rtol=1e-9)


def test_how_fast_the_nonsaturating_gan_loses_radius():
  # d/dt r^2 / 2 = -u tanh(u / 2) with u = theta psi.
  game = dirac_games.point_game('nonsaturating')
  theta, psi = jnp.array([1.0, -0.3]), jnp.array([1.0, 2.0])
  field = jax.jit(jax.vmap(lambda at: diagnostics.field(game, at)))
  v, u = field(games.Players(theta, psi)), theta * psi
  np.testing.assert_allclose(
    theta * v.g + psi * v.d, -u * np.tanh(u / 2), rtol=1e-12
  )


@pytest.mark.parametrize(
  ('loss', 'plain'),
  [
    (losses.get('relativistic'), 'nonsaturating'),
    (losses.saturating('relativistic'), 'minimax'),
  ],
)
def test_relativistic_is_plain(loss, plain):
  game = dirac_games.weighted_game(
    loss,
    jnp.zeros(1),
    lambda theta: theta[None],
    dirac_games.linear_critic,
    jnp.ones(1),
  )
  at = start(0.6, -1.1)
  np.testing.assert_allclose(
    field_of(game, at),
    field_of(dirac_games.point_game(plain), at),
    rtol=1e-14,
  )


def test_roth_at_a_point():
  # D = -psi x with psi 2, real 0, fake 1: sigmoid(-D(0)) = 1/2, D(1) = -2.
  penalty = dirac_games.roth(3.0)
  critic = dirac_games.linear_critic(jnp.asarray(2.0))
  actual = penalty(critic, jnp.zeros(1), jnp.ones(1))
  wrong = 1 / (1 + np.exp(2.0))
  np.testing.assert_allclose(actual, [1.5 * 4 * (0.25 + wrong**2)], rtol=1e-12)


def test_roth_leaves_the_generator_alone():
  plain = dirac_games.point_game('minimax')
  charged = penalized_point(dirac_games.roth(3.0))
  at = start(0.6, -1.1)
  ours, expected = (field_of(game, at) for game in (charged, plain))
  np.testing.assert_allclose(ours.g, expected.g, rtol=1e-14)
  assert abs(ours.d - expected.d) > 0.1


def test_weights_of_points():
  # Two pairs with weights 1/4 and 3/4: the generator of a WGAN follows
  # -psi, the critic the weighted difference of the points.
  game = dirac_games.weighted_game(
    losses.get('wasserstein'),
    jnp.array([0.0, 4.0]),
    lambda theta: theta + jnp.array([2.0, 6.0]),
    dirac_games.linear_critic,
    jnp.array([0.25, 0.75]),
  )
  field = field_of(game, start(1.0, 3.0))
  np.testing.assert_allclose(field, (-3, 1 + 5 - 3), rtol=1e-14)


def test_in_turns_moves_one_player_at_a_time():
  plain = games.simultaneous(optax.sgd(H), optax.sgd(H))
  method = dirac_games.in_turns(plain, ('g', 'd', 'd'))
  game = dirac_games.point_game('wasserstein')
  players, _, _ = games.play(method, [game] * 3, method.init(start()), start())
  np.testing.assert_allclose(players, (0.8, 1 + 2 * 0.2 * 0.8))


def test_clip_is_the_cores():
  clipped = regularizers.clip_weights(jnp.asarray(1.2), 1.0)
  assert clipped == dirac.euler(dirac.wasserstein, H, clip=1.0)(start()).d
