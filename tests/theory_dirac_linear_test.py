"""The Dirac-GAN near 0: eigenvalues, radii and limits, and the core's."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from scipy import linalg

from gan_jax import diagnostics, games
from gan_jax.theory import dirac, dirac_games, dirac_linear

pytestmark = pytest.mark.float64

H = 0.2
SWEEPS = {'simultaneous': 0, 'alternating 1': 1, 'alternating 5': 5}


def zeros():
  return games.Players(jnp.zeros(()), jnp.zeros(()))


def penalized(penalty):
  return dirac_games.point_game('minimax', penalty)


@pytest.mark.parametrize(
  ('linear', 'expected'),
  [
    (dirac_linear.Linear(), 0.5j),
    (dirac_linear.Linear(coupling=1.0), 1j),
    (dirac_linear.penalized(0.3), -0.15 + 0.47696960070847j),
    (dirac_linear.penalized(1.0), -0.5),
    (dirac_linear.noisy(0.7), -0.1225 + 0.484761539315982j),
    (dirac_linear.consensus(1.0), -0.25 + 0.5j),
  ],
)
def test_eigenvalues(linear, expected):
  expected = [expected, np.conj(expected)]
  np.testing.assert_allclose(
    dirac_linear.eigenvalues(linear), expected, rtol=0, atol=1e-12
  )


# The spectral radius at h = .2: at once, 1 G then 1 D, 1 G then 5 D.
RADII = {
  'gan': (1.0049876, 1, 1),
  'wasserstein': (1.0198039, 1, 1),
  'r1': (0.974679, 0.969536, 0.856682),
  'r2': (0.9, 0.927016, 0.948645),
  'noise': (0.980306, 0.975192, 0.881965),
  'consensus': (0.955249, 0.95, 0.857375),
}
LINEAR = {
  'gan': dirac_linear.Linear(),
  'wasserstein': dirac_linear.Linear(coupling=1.0),
  'r1': dirac_linear.penalized(0.3),
  'r2': dirac_linear.penalized(1.0),
  'noise': dirac_linear.noisy(0.7),
  'consensus': dirac_linear.consensus(1.0),
}


@pytest.mark.parametrize('name', RADII)
def test_formulas_of_spectral_radii(name):
  formulas = [
    dirac_linear.step_radius(LINEAR[name], H, d_steps=d_steps)
    for d_steps in SWEEPS.values()
  ]
  np.testing.assert_allclose(formulas, RADII[name], rtol=0, atol=1e-6)


def test_the_core_has_these_radii():
  sweeps = (0, 1)  # the experiment has the third
  gan = dirac_games.point_game('minimax')
  plain = lambda d_steps: dirac_games.descent(H, d_steps)
  rows = {
    'gan': (gan, plain),
    'wasserstein': (dirac_games.point_game('wasserstein'), plain),
    'r1': (penalized(dirac_games.r1(0.3)), plain),
    'r2': (penalized(dirac_games.r2(1.0)), plain),
    'noise': (dirac_games.noisy_game(0.7), plain),
  }
  rows['consensus'] = gan, lambda n: dirac_games.consensus(H, 1.0, n)
  published = dirac.consensus(1.0, cross=0.5)
  rows['published'] = gan, lambda n: dirac_games.along(published, H, n)

  @jax.jit
  def matrices():
    return {
      (name, sweep): diagnostics.step_jacobian(
        method(list(SWEEPS.values())[sweep]), game, zeros()
      )
      for name, (game, method) in rows.items()
      for sweep in sweeps
    }

  for (name, sweep), matrix in matrices().items():
    radius = np.max(np.abs(np.linalg.eigvals(matrix)))
    expected = RADII['consensus' if name == 'published' else name][sweep]
    np.testing.assert_allclose(radius, expected, rtol=0, atol=1e-6)


def test_several_steps_of_the_generator():
  # Two G and three D steps of the GAN: trace 2 - 6 (h / 2)^2, determinant 1.
  h = 2.0
  half = 1 - 6 * (h / 2) ** 2 / 2
  expected = abs(half) + np.sqrt(half**2 - 1)
  actual = dirac_linear.step_radius(
    dirac_linear.Linear(), h, g_steps=2, d_steps=3
  )
  np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_step_size_limits():
  # gamma / (1/2)^2 = 4 gamma below gamma = 1; (sqrt(gamma^2 + 1) - gamma) 4.
  for gamma in (0.1, 0.5, 1.0):
    actual = dirac_linear.simultaneous_limit(gamma)
    np.testing.assert_allclose(actual, 4 * gamma)
  np.testing.assert_allclose(
    [dirac_linear.simultaneous_limit(gamma) for gamma in (2.0, 10.0)],
    (1.0717968, 0.2005025),
    rtol=1e-6,
  )
  np.testing.assert_allclose(
    [dirac_linear.alternating_limit(g) for g in (0.1, 0.3, 0.5, 1, 2)],
    (3.61995, 2.976123, 2.472136, 1.656854, 0.944272),
    rtol=1e-6,
  )
  assert dirac_linear.circle_limit(1, 4) == 2.0


@pytest.mark.parametrize('d_steps', [0, 1])
def test_limits_part_stable_from_unstable_steps(d_steps):
  limits = (dirac_linear.simultaneous_limit, dirac_linear.alternating_limit)

  @jax.jit
  def matrix(h, gamma):
    game = penalized(dirac_games.r1(gamma))
    method = dirac_games.descent(h, d_steps)
    return diagnostics.step_jacobian(method, game, zeros())

  radius = lambda h, gamma: diagnostics.spectral_radius(matrix(h, gamma))
  for gamma in (0.3, 2.0):
    limit = limits[d_steps](gamma)
    assert radius(limit * (1 - 1e-6), gamma) < 1
    assert radius(limit * (1 + 1e-6), gamma) > 1


@pytest.mark.parametrize('gamma', [0.0, -1.0, float('nan')])
def test_limits_need_a_penalty(gamma):
  for limit in (
    dirac_linear.simultaneous_limit,
    dirac_linear.alternating_limit,
  ):
    with pytest.raises(ValueError, match='needs gamma > 0, got'):
      limit(gamma)


@pytest.mark.parametrize('d_steps', [0, 1, 3])
def test_noise_floor_solves_lyapunov(d_steps):
  linear = dirac_linear.penalized(0.5)
  coupling, own = 0.5 * H, 1 - 0.5 * H
  of_g = np.array([[1, -coupling], [0, 1]])
  of_d = np.array([[1, 0], [coupling, own]])
  noise = np.diag([0, H**2 * 2 * 0.25 * 0.49 / 1000])
  if d_steps:
    powers = [np.linalg.matrix_power(of_d, k) for k in range(d_steps)]
    step = np.linalg.matrix_power(of_d, d_steps) @ of_g
    noise = sum(power @ noise @ power.T for power in powers)
  else:
    step = np.array([of_g[0], of_d[1]])
  covariance = linalg.solve_discrete_lyapunov(step, noise)
  actual = dirac_linear.noise_floor(
    linear, H, std=0.7, num_samples=1000, d_steps=d_steps
  )
  np.testing.assert_allclose(actual, np.sqrt(np.trace(covariance)), rtol=1e-10)


def test_mistakes_are_said():
  linear = dirac_linear.penalized(0.3)
  for call, words in (
    (
      lambda: dirac_linear.step_radius(linear, H, d_steps=-1),
      'd_steps=-1 must be 0 or more',
    ),
    (lambda: dirac_linear.circle_limit(0, 1), 'g_steps=0, d_steps=1 must be 1'),
    (lambda: dirac_games.turns_of(-1), 'd_steps=-1 must be 0'),
    (
      lambda: dirac_linear.noise_floor(
        dirac_linear.Linear(), H, std=0.7, num_samples=10
      ),
      'no step of size h=0.2 converges on Linear',
    ),
  ):
    with pytest.raises(ValueError, match=words):
      call()
