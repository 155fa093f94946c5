"""Jacobians of games and of steps against blocks and radii by hand."""

import jax
import numpy as np
import optax
import pytest
import toy_games
from jax import numpy as jnp

from gan_jax import cgd, diagnostics, games

pytestmark = pytest.mark.float64


def origin():
  return games.Players(jnp.zeros(()), jnp.zeros(()))


def radius(method, game, players=None, **options):
  """Of one step, compiled."""
  of = lambda at: diagnostics.step_jacobian(method, game, at, **options)
  return diagnostics.spectral_radius(jax.jit(of)(players or origin()))


def sgd(step_g, step_d):
  return optax.sgd(step_g), optax.sgd(step_d)


def test_field_and_blocks_of_the_bilinear_game():
  # 3 x y: x descends by -3 y, y ascends by 3 x.
  game = toy_games.bilinear(3.0)
  at = games.Players(jnp.asarray(0.5), jnp.asarray(0.4))
  np.testing.assert_allclose(diagnostics.field(game, at), [-1.2, 1.5])
  blocks = diagnostics.jacobian(game, at)
  np.testing.assert_allclose(blocks.dense(), [[0, -3], [3, 0]], atol=1e-15)
  assert blocks.gd.shape == (1, 1)


def test_blocks_of_two_numbers_against_three():
  a = np.array([[2.0, 0.5], [0.5, 1.0]])
  b = np.diag([1.0, 3.0, 0.2])
  m, n = np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(3, 2) ** 2
  game = games.Game(
    lambda g, d: g @ a @ g / 2 + g @ m @ d,
    lambda g, d: d @ b @ d / 2 + d @ n @ g,
  )
  draw = np.random.default_rng(0).normal
  at = games.Players(jnp.asarray(draw(size=2)), jnp.asarray(draw(size=3)))
  blocks = jax.jit(lambda at: diagnostics.jacobian(game, at))(at)
  for found, want in zip(blocks, (-a, -m, -n, -b), strict=True):
    np.testing.assert_allclose(found, want, atol=1e-14)
  np.testing.assert_allclose(blocks.dense(), np.block([[-a, -m], [-n, -b]]))
  np.testing.assert_allclose(
    diagnostics.field(game, at).d, -(b @ at.d + n @ at.g), rtol=1e-12
  )


def test_blocks_of_trees_are_in_the_order_of_the_leaves():
  # loss_g = a u + 2 b v, where g = {a, b} and d = {u, v}.
  game = games.zero_sum(lambda g, d: -(g['a'] * d['u'] + 2 * g['b'] * d['v']))
  zero = jnp.zeros(())
  at = games.Players({'b': zero, 'a': zero}, {'v': zero, 'u': zero})
  blocks = diagnostics.jacobian(game, at)
  np.testing.assert_allclose(blocks.gd, [[-1, 0], [0, -2]], atol=1e-15)
  np.testing.assert_allclose(blocks.dg, [[1, 0], [0, 2]], atol=1e-15)


# x^2 + 10 x y + y^2, x minimizes, y maximizes, steps a of x and b of y. The
# matrix of a simultaneous step is [[1 - 2a, -10a], [10b, 1 + 2b]].
SIMULTANEOUS = {
  (0.09, 0.01): 0.962497,
  (0.03, 0.03): 1.042305,
  (0.01, 0.09): 1.116423,
}
ALTERNATING = {
  (0.09, 0.01): 0.914549,
  (0.03, 0.03): 0.998198,
  (0.01, 0.09): 1.075360,
}
COMPETITIVE = {
  (0.09, 0.01): 0.875979,
  (0.03, 0.03): 0.956101,
  (0.01, 0.09): 1.030008,
}


def matrices(method_of, game, **options):
  """Of one step, for the three pairs of steps at once, `[3, N, N]`."""
  of = lambda a, b: diagnostics.step_jacobian(
    method_of(a, b), game, origin(), **options
  )
  pairs = jnp.asarray(list(SIMULTANEOUS)).T
  return np.asarray(jax.jit(jax.vmap(of))(*pairs))


def radii(of):
  return [abs(np.linalg.eigvals(matrix)).max() for matrix in of]


def test_radii_of_simultaneous_steps_on_the_quadratic_game():
  found = matrices(
    lambda a, b: games.simultaneous(*sgd(a, b)), toy_games.icr_quadratic()
  )
  for matrix, (a, b) in zip(found, SIMULTANEOUS, strict=True):
    want = [[1 - 2 * a, -10 * a], [10 * b, 1 + 2 * b]]
    np.testing.assert_allclose(matrix, want, rtol=1e-12)
  np.testing.assert_allclose(
    radii(found), list(SIMULTANEOUS.values()), atol=6e-7
  )


def test_radii_of_alternating_steps_on_the_quadratic_game():
  found = matrices(
    lambda a, b: games.alternating(*sgd(a, b), first='g'),
    toy_games.icr_quadratic(),
  )
  for matrix, (a, b) in zip(found, ALTERNATING, strict=True):
    # y answers the moved x.
    second = [10 * b * (1 - 2 * a), 1 + 2 * b - 100 * a * b]
    np.testing.assert_allclose(
      matrix, [[1 - 2 * a, -10 * a], second], rtol=1e-12
    )
  np.testing.assert_allclose(
    radii(found), list(ALTERNATING.values()), atol=6e-7
  )


def test_radii_of_cgd_need_differences():
  # At the fixed point its solver stops before the first iteration.
  found = matrices(cgd.cgd, toy_games.icr_quadratic(), difference=0.5)
  for matrix, (a, b) in zip(found, COMPETITIVE, strict=True):
    # (1 + 100ab) move_x = -a (2x + 10y) - 10ab (10x + 2y), and the like of y.
    moves = [
      [-2 * a - 100 * a * b, -10 * a - 20 * a * b],
      [10 * b - 20 * a * b, 2 * b - 100 * a * b],
    ]
    want = np.eye(2) + np.array(moves) / (1 + 100 * a * b)
    np.testing.assert_allclose(matrix[:2, :2], want, rtol=1e-7)
  np.testing.assert_allclose(
    radii(found), list(COMPETITIVE.values()), atol=6e-7
  )


# On alpha x y with steps of .2, c = .2 alpha, for alpha 1, 3, 6.
BILINEAR = {
  'simultaneous': (1.0198, 1.1662, 1.5620),
  'linearized': (0.9806, 0.8773, 1.2781),
  'consensus': (0.8246, 1.0, 6.3151),
  'symplectic': (0.8246, 1.0, 6.3151),
  'optimistic': (0.9789, 1.0574, 2.3448),
  'cgd': (0.98058, 0.85749, 0.64018),
}


def method_of(name):
  both = sgd(0.2, 0.2)
  return {
    'simultaneous': lambda: games.simultaneous(*both),
    'linearized': lambda: cgd.linearized_cgd(0.2),
    'consensus': lambda: games.consensus(*both, weight=1.0),
    'symplectic': lambda: games.symplectic(*both, weight=1.0, align=False),
    'optimistic': lambda: games.optimistic(*both),
    'cgd': lambda: cgd.cgd(0.2),
  }[name]()


@pytest.mark.parametrize('name', BILINEAR)
def test_radii_of_the_bilinear_game(name):
  method = method_of(name)
  of = lambda alpha: diagnostics.step_jacobian(
    method, toy_games.bilinear(alpha), origin(), difference=1.0
  )
  matrices = jax.jit(jax.vmap(of))(jnp.asarray([1.0, 3.0, 6.0]))
  found = [abs(np.linalg.eigvals(m)).max() for m in np.asarray(matrices)]
  digits = 6e-6 if name == 'cgd' else 6e-5
  np.testing.assert_allclose(found, BILINEAR[name], atol=digits)


def test_what_a_method_remembers_is_part_of_the_step():
  # Heavy ball with momentum -1/2 on x^2 - y^2, steps .2: for each player
  # z^2 - (1 - 1/2 - .4) z - 1/2 = 0.
  method = games.negative_momentum(0.2, momentum=-0.5, alternate=False)
  found = radius(method, toy_games.saddle(1.0))
  np.testing.assert_allclose(found, (0.1 + np.sqrt(2.01)) / 2, rtol=1e-9)


def test_radius_of_alternating_negative_momentum():
  # On x y: ((z - 1)(z - b))^2 + c^2 z^3 = 0, of moves x, then y.
  b, c = -0.5, 0.2
  square = np.polymul(*[np.polymul([1, -1], [1, -b])] * 2)
  want = abs(np.roots(square + np.array([0, c**2, 0, 0, 0]))).max()
  method = games.negative_momentum(c, momentum=b)
  found = radius(method, toy_games.bilinear())
  np.testing.assert_allclose(found, want, rtol=1e-7)
  assert want < 1


def test_all_turns_are_one_step():
  # Dirac-GAN with R1 of .3, steps of .2: one of the generator, five of the
  # critic.
  game = toy_games.dirac('minimax', gamma=0.3)
  method = games.alternating(*sgd(0.2, 0.2), d_steps=5, first='g')
  # theta' = theta + h psi / 2 (signs by turns), psi' = .94 psi - h theta' / 2.
  turn_g = np.array([[1, -0.1], [0, 1]])
  turn_d = np.array([[1, 0], [0.1, 0.94]])
  want = np.linalg.matrix_power(turn_d, 5) @ turn_g
  found = radius(method, game)
  np.testing.assert_allclose(found, abs(np.linalg.eigvals(want)).max(), 1e-9)
  np.testing.assert_allclose(found, 0.856682, atol=6e-7)


@pytest.mark.slow
def test_differences_agree_with_derivatives():
  method = games.extragradient(*sgd(0.1, 0.2))
  game, at = toy_games.nested_zero_sum(), toy_games.nested_start()
  of = lambda difference: jax.jit(
    lambda at: diagnostics.step_jacobian(
      method, game, at, difference=difference
    )
  )(at)
  np.testing.assert_allclose(of(1e-5), of(None), rtol=1e-6, atol=1e-9)


def test_a_given_state_is_where_the_method_stands():
  # Optimism moves by 2 u - past, so the past shifts the players, not the slope.
  method, game = games.optimistic(*sgd(0.2, 0.2)), toy_games.bilinear()
  fresh = method.init(origin())
  moved = jax.tree.map(lambda leaf: leaf + 1.0, fresh)
  of = lambda state: diagnostics.step_jacobian(method, game, origin(), state)
  np.testing.assert_allclose(of(fresh), of(moved), atol=1e-14)
  assert of(fresh).shape == (4, 4)


def test_spectral_radius_needs_a_square():
  with pytest.raises(ValueError, match=r'shape \(2, 3\) is not square'):
    diagnostics.spectral_radius(jnp.zeros((2, 3)))
  turn = jnp.asarray([[0.0, -2.0], [2.0, 0.0]])
  np.testing.assert_allclose(diagnostics.spectral_radius(turn), 2.0)
