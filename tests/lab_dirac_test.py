"""The Dirac-GAN experiment: its rows, margins and pictures."""

import json

import jax
import numpy as np
import pytest

from launch.lab import (
  dirac,
  dirac_figures,
  dirac_panels,
  dirac_rows,
  dirac_spectra,
  result,
)

pytestmark = pytest.mark.float64


def test_margins_are_half_a_unit_of_the_last_digit():
  assert dirac_rows.printed('', '1.80', 1.7951).holds
  assert not dirac_rows.printed('', '1.80', 1.7949).holds
  assert dirac_rows.printed('', '9e-34', 9.4e-34).holds
  assert not dirac_rows.printed('', '9e-34', 9.6e-34).holds
  assert not dirac_rows.printed('', '-.35826', 0.35826).holds
  assert not dirac_rows.printed('', '9e-34', float('nan')).holds


def test_bisect_finds_where_it_changes():
  actual = dirac_spectra.bisect(lambda h: h**2 < 2, 0.0, 2.0)
  np.testing.assert_allclose(actual, np.sqrt(2), rtol=1e-12)
  for low, high in ((0.0, 1.0), (1.5, 2.0)):
    with pytest.raises(ValueError, match=r'stable at .* and one that is not'):
      dirac_spectra.bisect(lambda h: h**2 < 2, low, high)


def test_upper_eigenvalue():
  rotation = np.array([[0.0, -2.0], [2.0, 0.0]])
  actual = dirac_spectra.upper_eigenvalue(rotation)
  np.testing.assert_allclose(actual, 2j, rtol=1e-12)


def test_every_reference_has_its_panel():
  panels = dirac_panels.make()
  assert len(panels) == 10
  assert set(dirac_rows.RADII) == set(panels) - {'noise'}
  assert set(dirac_rows.TEN_STEPS) == set(dirac_rows.RADII)
  assert sum(len(each) for each in dirac_rows.RADII.values()) == 27
  assert set(dirac_spectra.SMOOTH) <= set(panels)
  assert all(panels[name].linear for name in dirac_spectra.SMOOTH)


def test_a_short_play_and_its_clipping():
  panels = {'wgan': dirac_panels.make()['wgan']}
  paths = dirac_panels.play(panels, 3)
  simultaneous = paths['wgan', 'simultaneous']
  # theta 1 - .2 psi; psi 1 + .2 theta, clipped at 1 while theta > 0.
  np.testing.assert_allclose(simultaneous.theta, [1, 0.8, 0.6, 0.4])
  np.testing.assert_allclose(simultaneous.psi, [1, 1, 1, 1])
  by_hand = dirac_panels.by_hand(panels, 3)
  for key, path in paths.items():
    np.testing.assert_allclose(path, by_hand[key], rtol=0, atol=1e-15)


@pytest.mark.slow
def test_noise_differs_by_seed():
  first = dirac_panels.play_noisy(2, 0, num_steps=3)
  assert first.radius().shape == (2, 4)
  assert first.psi[0, -1] != first.psi[1, -1]


def test_the_caption_tells_who_arrives():
  panels = dirac_panels.make()
  near = dirac_panels.Paths(np.array([1.0, 1e-4]), np.zeros(2))
  paths = {
    (name, sweep): near for name in panels for sweep in dirac_panels.SWEEPS
  }
  far = dirac_panels.Paths(np.array([1.0, 3.0]), np.array([1.0, 4.0]))
  paths['gan', 'alternating 5'] = far
  said = dirac_figures.who_arrives(panels, paths)
  assert said.startswith('8 of 9 end within 0.001 of the equilibrium')
  assert said.endswith('with their radius: GAN (0.0001 to 5).')
  paths['gan', 'alternating 5'] = near
  said = dirac_figures.who_arrives(panels, paths)
  assert said.startswith('9 of 9') and said.endswith('three sweeps.')


def test_without_a_cpu_it_runs_where_it_can(monkeypatch):
  assert dirac.processor().platform == 'cpu'

  def local_devices(backend):
    raise RuntimeError(f'Unknown backend {backend}')

  monkeypatch.setattr(jax, 'local_devices', local_devices)
  assert dirac.processor() is None


@pytest.fixture(scope='module')
def quick(tmp_path_factory):
  return dirac.run(result.Settings(tmp_path_factory.mktemp('out'), quick=True))


@pytest.mark.slow
def test_every_closed_form_and_trajectory_agrees(quick):
  exact = [row for row in quick.rows if row.exact]
  assert len(exact) > 100
  assert not [row for row in exact if not row.holds]


@pytest.mark.slow
def test_the_table_of_local_convergence(quick):
  rows = [row for row in quick.rows if 'converges locally' in row.quantity]
  held = {row.quantity.partition(':')[0]: row.holds for row in rows}
  assert held.pop('DRAGAN, one-sided penalty') is None
  # Its two-sided penalty has a kink at the equilibrium in both cases.
  assert not held.pop('DRAGAN')
  assert len(held) == 8
  assert all(held.values())
  assert 'DRAGAN' in quick.seen
  assert '8 of 9 rows' in quick.seen
  assert 'but for DRAGAN' in quick.verdict


@pytest.mark.slow
def test_noise_floors(quick):
  rows = [row for row in quick.rows if 'linear theory' in row.quantity]
  assert rows
  assert all(row.holds for row in rows)


@pytest.mark.slow
def test_pictures_and_numbers(quick):
  assert len(quick.figures) == 5
  for each in quick.figures:
    assert 10_000 < each.path.stat().st_size < 2_000_000
    assert each.caption
  numbers = json.loads(json.dumps(quick.numbers, allow_nan=False))
  radii = numbers['radius_after_500_steps']
  assert round(radii['gan']['simultaneous'], 3) == 3.097
  eigenvalues = numbers['table']['R1']['general']['eigenvalues']
  np.testing.assert_allclose([x[0] for x in eigenvalues], -0.15)
