"""The table of local convergence against eigenvalues derived on paper."""

import jax
import numpy as np
import pytest

from gan_jax import diagnostics, games
from gan_jax.theory import local_convergence

pytestmark = pytest.mark.float64


def of_table(*names):
  return {name: local_convergence.TABLE[name][0] for name in names}


ALL = of_table(*local_convergence.TABLE) | {
  'one-sided': local_convergence.Method(
    penalty=local_convergence.dragan(1.0, one_sided=True)
  )
}


@pytest.fixture(scope='module')
def general():
  with jax.enable_x64(True):
    return local_convergence.decide(ALL, local_convergence.point_case())


@pytest.fixture(scope='module')
def continuous():
  with jax.enable_x64(True):
    return local_convergence.decide(ALL, local_convergence.gaussian_case())


def pair(own_g, own_d, coupling):
  """Eigenvalues of [[own_g, -coupling], [coupling, own_d]]."""
  return np.roots([1, -own_g - own_d, own_g * own_d + coupling**2])


# With f'(0) = 1/2, f''(0) = -1/4. R1 and R2: -gamma on the critic. Roth:
# (1/4 + 1/4) gamma. Noise: 2 f'' std^2. Consensus: J - gamma J^T J.
POINT = {
  'unregularised': (0, 0, 0.5),
  'WGAN': (0, 0, 1),
  'instance noise': (0, -0.5 * 0.49, 0.5),
  'consensus': (-0.25, -0.25, 0.5),
  "Roth's gradient penalty": (0, -0.5, 0.5),
  'R1': (0, -0.3, 0.5),
  'R2': (0, -0.3, 0.5),
}

# A pair for (mean, a) and one for (scale, b). The critic's own block is
# 2 f'' (E x^2, E x^4) = (-1/2, -3/2), its penalty gamma E (1, (2 x)^2) =
# gamma (1, 4), the coupling f' d/dg E (x, x^2) = f' (1, 2). Noise of variance
# s: E x^2 = 1 + s, and b's own entry is 2 f'' E x^4 = -(3/2) (1 + s)^2.
S = 0.49
GAUSSIAN = {
  'unregularised': ((0, -0.5, 0.5), (0, -1.5, 1)),
  'WGAN': ((0, 0, 1), (0, 0, 2)),
  'instance noise': (
    (0, -0.5 * (1 + S), 0.5),
    (0, -1.5 * (1 + S) ** 2, 1),
  ),
  "Roth's gradient penalty": ((0, -0.5 - 0.5, 0.5), (0, -1.5 - 2.0, 1)),
  'R1': ((0, -0.5 - 0.3, 0.5), (0, -1.5 - 1.2, 1)),
  'R2': ((0, -0.5 - 0.3, 0.5), (0, -1.5 - 1.2, 1)),
}


def assert_same(actual, expected):
  order = lambda values: np.sort_complex(np.round(values, 6))
  np.testing.assert_allclose(order(actual), order(expected), atol=2e-6)


@pytest.mark.parametrize('name', POINT)
def test_eigenvalues_of_the_general_case(general, name):
  assert_same(general[name].eigenvalues, pair(*POINT[name]))


@pytest.mark.slow
@pytest.mark.parametrize('name', GAUSSIAN)
def test_eigenvalues_with_densities(continuous, name):
  expected = np.concatenate([pair(*each) for each in GAUSSIAN[name]])
  assert_same(continuous[name].eigenvalues, expected)


@pytest.mark.slow
def test_consensus_with_densities(continuous):
  # J - J^T J of both pairs' J = [[0, -c], [c, own]].
  values = []
  for own, c in ((-0.5, 0.5), (-1.5, 1.0)):
    matrix = np.array([[0, -c], [c, own]])
    values.append(np.linalg.eigvals(matrix - matrix.T @ matrix))
  assert_same(continuous['consensus'].eigenvalues, np.concatenate(values))


# (absolutely continuous, general) as computed. DRAGAN's penalty of target 1
# pushes the critic away from zero wherever it is taken.
ANSWERS = {
  'unregularised': (True, False),
  'WGAN': (False, False),
  'WGAN-GP': (False, False),
  'DRAGAN': (False, False),
  'one-sided': (True, False),
  'instance noise': (True, True),
  'consensus': (True, True),
  "Roth's gradient penalty": (True, True),
  'R1': (True, True),
  'R2': (True, True),
}


@pytest.mark.parametrize('name', ANSWERS)
def test_answers_of_the_general_case(general, name):
  assert general[name].converges == ANSWERS[name][1]


@pytest.mark.slow
@pytest.mark.parametrize('name', ANSWERS)
def test_answers_with_densities(continuous, name):
  assert continuous[name].converges == ANSWERS[name][0]


@pytest.mark.slow
def test_some_answers_with_densities():
  found = local_convergence.decide(
    of_table('unregularised', 'WGAN', 'R1'), local_convergence.gaussian_case()
  )
  for name, each in found.items():
    assert each.converges == ANSWERS[name][0]
    expected = np.concatenate([pair(*values) for values in GAUSSIAN[name]])
    assert_same(each.eigenvalues, expected)


@pytest.mark.parametrize('name', ['WGAN-GP', 'DRAGAN'])
def test_where_the_field_jumps(general, name):
  assert general[name].eigenvalues is None
  assert 10 < general[name].drifts[0] <= general[name].drifts[1]
  # |psi| = 0+ is pushed away by gamma (1 - |psi|) = 1.
  np.testing.assert_allclose(general[name].jump, 1.0, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['WGAN-GP', 'DRAGAN'])
def test_where_the_field_jumps_with_densities(continuous, name):
  assert continuous[name].eigenvalues is None
  assert continuous[name].drifts[0] > 10
  assert continuous[name].jump > 0.5


def test_smooth_rows_do_not_jump(general):
  assert all(general[name].jump == 0 for name in POINT)
  assert all(general[name].drifts is None for name in POINT)


@pytest.mark.parametrize(
  'case', [local_convergence.point_case, local_convergence.gaussian_case]
)
def test_the_equilibrium_is_one(case):
  case = case()
  np.testing.assert_allclose(np.sum(case.weights), 1, rtol=1e-12)
  methods = of_table('unregularised', 'WGAN', 'instance noise', 'R1', 'R2')

  @jax.jit
  def fields():
    return {
      name: diagnostics.field(
        local_convergence.game(method, case), case.equilibrium
      )
      for name, method in methods.items()
    }

  for part in jax.tree.leaves(fields()):
    np.testing.assert_allclose(part, 0, atol=1e-12)


def test_gaussian_moments():
  case = local_convergence.gaussian_case()
  fake = case.generate(games.Players(0, 0).g + np.array([2.0, 3.0]))
  mean = lambda x: float(case.weights @ x)
  # N(2, 9): E x = 2, E x^2 = 13; N(0, 1): E x^4 = 3; all independent.
  np.testing.assert_allclose(mean(fake), 2, rtol=1e-12)
  np.testing.assert_allclose(mean(fake**2), 13, rtol=1e-12)
  np.testing.assert_allclose(mean(case.real**4), 3, rtol=1e-12)
  np.testing.assert_allclose(mean(case.real * fake), 0, atol=1e-12)
  np.testing.assert_allclose(
    mean(case.noise_real * case.noise_fake), 0, atol=1e-12
  )
  np.testing.assert_allclose(mean(case.noise_fake * fake), 0, atol=1e-12)


def test_the_table_is_the_papers():
  assert len(local_convergence.TABLE) == 9
  answers = [row[1:] for row in local_convergence.TABLE.values()]
  assert answers == [
    ('yes', 'no'),
    ('no', 'no'),
    ('no', 'no'),
    ('yes', 'no'),
    *[('yes', 'yes')] * 5,
  ]
