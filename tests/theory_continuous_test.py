"""Flows, spectra and step limits by hand, and the core's steps against them."""

import functools

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from gan_jax import diagnostics, games
from gan_jax.theory import continuous

pytestmark = pytest.mark.float64


def test_the_flow_turns_and_solves_its_equation():
  start = games.Players(0.6, -0.2)
  flow = lambda t: continuous.bilinear_flow(start, t, 3.0)
  at, speed = jax.jvp(flow, (jnp.asarray(0.7),), (jnp.asarray(1.0),))
  # dx/dt = -3 y, dy/dt = 3 x.
  np.testing.assert_allclose(speed, [-3 * at.d, 3 * at.g], rtol=1e-12)
  np.testing.assert_allclose(at.g**2 + at.d**2, 0.4, rtol=1e-12)
  field = diagnostics.field(continuous.bilinear(3.0), at)
  np.testing.assert_allclose(speed, field, rtol=1e-12)
  quarter = continuous.bilinear_flow(games.Players(1.0, 0.0), np.pi / 2)
  np.testing.assert_allclose(quarter, [0, 1], atol=1e-15)


def test_bilinear_radii_by_hand():
  radius = continuous.BILINEAR_RADII
  of = {name: function(0.2, 3.0) for name, function in radius.items()}
  np.testing.assert_allclose(of['simultaneous'], np.sqrt(1.36), rtol=1e-12)
  np.testing.assert_allclose(of['alternating'], 1, rtol=1e-12)
  np.testing.assert_allclose(of['cgd'], 1 / np.sqrt(1.36), rtol=1e-12)
  np.testing.assert_allclose(of['consensus'], 1.0, rtol=1e-12)
  np.testing.assert_allclose(
    of['extragradient'], np.hypot(0.64, 0.6), rtol=1e-12
  )
  np.testing.assert_allclose(of['optimistic'], 1.0574, atol=6e-5)
  # Beyond h alpha = 2 alternation leaves: z^2 + 7 z + 1 at 3.
  np.testing.assert_allclose(
    radius['alternating'](3.0, 1.0), (7 + np.sqrt(45)) / 2, rtol=1e-12
  )


def test_largest_step_by_hand():
  # -1 +- 3i: 2 / 10; -4: 1/2.
  values = np.array([-1 + 3j, -1 - 3j, -4])
  assert continuous.largest_step(values) == pytest.approx(0.2, rel=1e-12)
  at_limit = abs(1 + 0.2 * values)
  assert at_limit.max() == pytest.approx(1, rel=1e-12)
  assert continuous.largest_step(np.array([1j, -1j])) == 0
  assert continuous.largest_step(np.array([-1, 0.1])) == 0
  assert continuous.flow_converges(values)
  assert not continuous.flow_converges(np.array([-1, 0]))


def test_spectra_are_paired():
  a = np.array([1, 1j, -1j])
  assert continuous.spectral_distance(a, a[::-1]) == 0
  assert continuous.spectral_distance(a, [1.5, 1j, -1j]) == pytest.approx(0.5)
  with pytest.raises(ValueError, match='3 and 2'):
    continuous.spectral_distance(a, a[:2])
  with pytest.raises(ValueError, match='not square'):
    continuous.eigenvalues(np.zeros((2, 3)))


# Of the mean's pair and the scale's pair, and of the critic's constant.
HALF, QUARTER = np.sqrt(3) / 2, np.sqrt(3) / 4
SPECTRA = dict(
  # l^2 + l/2 + 1/4, l^2 + l + 1, -1/2
  minimax=[-0.25 + QUARTER * 1j, -0.5 + HALF * 1j, -0.5],
  # l^2 + 1, l^2 + 4, 0
  wasserstein=[1j, 2j, 0],
  # l^2 + 2 l + 1/4, l^2 + 4 l + 1, -2
  least_squares=[-1 - HALF, -1 + HALF, -2 - 2 * HALF, -2 + 2 * HALF, -2],
  # as minimax, but the constant is free
  relativistic=[-0.25 + QUARTER * 1j, -0.5 + HALF * 1j, 0],
)


@functools.cache
def gaussian_blocks(name):
  game = continuous.gaussian_gan(name)
  of = jax.jit(lambda at: diagnostics.jacobian(game, at))
  return of(continuous.gaussian_equilibrium(name))


@pytest.mark.parametrize('name', SPECTRA)
def test_spectra_by_hand(name):
  want = SPECTRA[name]
  # A complex one comes with its conjugate.
  want = [*want, *(np.conj(x) for x in want if np.imag(x))]
  closed = continuous.gaussian_eigenvalues(name)
  assert continuous.spectral_distance(closed, want) < 1e-9
  if name == 'minimax':  # the others are slow: below
    seen = continuous.eigenvalues(gaussian_blocks(name).dense())
    assert continuous.spectral_distance(seen, want) < 1e-9


def test_blocks_of_minimax_by_hand():
  blocks = gaussian_blocks('minimax')
  np.testing.assert_allclose(blocks.gg, np.zeros((2, 2)), atol=1e-13)
  # The generator's loss falls by half the critic's rise: d mean of (x, x^2 - 1)
  # over d (mean, scale) is diag(1, 2).
  np.testing.assert_allclose(blocks.gd, [[0, 0.5, 0], [0, 0, 1]], atol=1e-13)
  np.testing.assert_allclose(blocks.dg, -blocks.gd.T, atol=1e-13)
  # Two softplus curvatures of 1/4 times the variances 1, 1, 2.
  np.testing.assert_allclose(blocks.dd, np.diag([-0.5, -0.5, -1.0]), atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize('name', continuous.LOCAL)
def test_the_closed_form_is_the_spectrum(name):
  game = continuous.gaussian_gan(name, r1=0.3, r2=0.4)
  at = continuous.gaussian_equilibrium(name)

  def both(at):
    return diagnostics.field(game, at), diagnostics.jacobian(game, at)

  field, blocks = jax.jit(both)(at)
  np.testing.assert_allclose(field.d, np.zeros(3), atol=1e-13)
  np.testing.assert_allclose(field.g, np.zeros(2), atol=1e-13)
  np.testing.assert_allclose(blocks.gg, np.zeros((2, 2)), atol=1e-12)
  closed = continuous.gaussian_eigenvalues(name, 0.7)
  # Double eigenvalues are known to the root of the rounding error.
  assert (
    continuous.spectral_distance(continuous.eigenvalues(blocks.dense()), closed)
    < 1e-6
  )


def test_the_average_losses_are_no_expectations():
  with pytest.raises(ValueError, match="loss='relativistic_average'"):
    continuous.gaussian_gan('relativistic_average')
  with pytest.raises(ValueError, match='not one of'):
    continuous.gaussian_equilibrium('nothing')


@pytest.mark.slow
def test_consensus_steps_by_its_jacobian():
  sgd, at = optax.sgd(0.1), continuous.gaussian_equilibrium('nonsaturating')
  game = continuous.gaussian_gan('nonsaturating')
  method = games.consensus(sgd, sgd, weight=0.7)
  of = lambda at: (
    diagnostics.jacobian(game, at).dense(),
    diagnostics.step_jacobian(method, game, at),
  )
  jacobian, step = jax.jit(of)(at)
  want = continuous.with_consensus(jacobian, 0.7)
  np.testing.assert_allclose((step - np.eye(5)) / 0.1, want, atol=1e-12)


def test_consensus_by_hand():
  # i alpha moves to i alpha - weight alpha^2.
  turn = np.array([[0.0, -3.0], [3.0, 0.0]])
  found = continuous.eigenvalues(continuous.with_consensus(turn, 0.5))
  np.testing.assert_allclose(found, [-4.5 - 3j, -4.5 + 3j], rtol=1e-12)


def test_the_toy_of_two_time_scales():
  at = games.Players(jnp.asarray(0.5), jnp.asarray(-0.4))
  assert float(continuous.ttur_payoff(*at)) == pytest.approx(1.25 * 99.84)
  # 2 x (100 - y^2) down, -2 y (1 + x^2) up.
  field = diagnostics.field(continuous.ttur_game(), at)
  np.testing.assert_allclose(field, [-99.84, 1.0], rtol=1e-12)
  noise = games.Players(jnp.asarray(0.25), jnp.asarray(-2.0))
  noisy = diagnostics.field(continuous.ttur_game(noise), at)
  np.testing.assert_allclose(noisy, [-99.84 - 0.25, 3.0], rtol=1e-12)
  zero = games.Players(jnp.zeros(()), jnp.zeros(()))
  of = lambda at: diagnostics.jacobian(continuous.ttur_game(), at)
  blocks = jax.jit(of)(zero)
  curvatures = continuous.TTUR_CURVATURES
  want = np.diag([-curvatures.g, -curvatures.d])
  np.testing.assert_allclose(blocks.dense(), want, atol=1e-12)
  assert continuous.largest_step(np.array([-200.0])) == pytest.approx(0.01)


def test_quadratic_sgd_rms_by_hand():
  # One step: (1 - .5) 2 and noise of .1 * 3.
  of = continuous.quadratic_sgd_rms
  assert of(2.0, 0.1, 5.0, 3.0, 1) == pytest.approx(np.sqrt(1 + 0.09))
  # At the edge a random walk: .5^2 + 100 * .01^2.
  assert of(0.5, 0.01, 200.0, 1.0, 100) == pytest.approx(np.sqrt(0.26))
  # In the long run lr sigma / sqrt(1 - factor^2).
  assert of(0.5, 0.1, 5.0, 1.0, 10_000) == pytest.approx(0.1 / np.sqrt(0.75))


def test_quadratic_sgd_rms_beyond_float64_and_of_nonsense():
  of = continuous.quadratic_sgd_rms
  # A factor of -1.2 a step; 1.2^10000 is about 10^792.
  assert of(0.5, 0.011, 200.0, 1.0, 5000) == np.inf
  assert of(0.0, 0.011, 200.0, 0.0, 5000) == 0
  with pytest.raises(ValueError, match='lr=nan needs to be finite'):
    of(0.5, np.nan, 200.0, 1.0, 10)
  with pytest.raises(ValueError, match='steps=-1 and sigma=1.0'):
    of(0.5, 0.1, 2.0, 1.0, -1)
