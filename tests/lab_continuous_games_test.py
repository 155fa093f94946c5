"""The experiment on continuous games: its parts, and a whole quick run."""

import json

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from gan_jax import diagnostics, games
from gan_jax.theory import continuous
from launch.lab import (
  continuous_games,
  continuous_games_figures,
  continuous_games_orbits,
  continuous_games_ttur,
  result,
)

pytestmark = pytest.mark.float64


def test_every_method_has_a_closed_form():
  assert set(continuous_games_orbits.methods(0.1)) == set(
    continuous.BILINEAR_RADII
  )


def test_a_path_by_hand():
  # x y, steps of .2 from (1, 0): y rises to .2, then x falls to .96.
  method = continuous_games_orbits.methods(0.2)['simultaneous']
  start = games.Players(jnp.asarray(1.0), jnp.asarray(0.0))
  found = continuous_games_orbits.path(method, continuous.bilinear(), start, 2)
  np.testing.assert_allclose(found, [[1, 0], [1, 0.2], [0.96, 0.4]])


def test_alternation_keeps_its_ellipse():
  # From (1, 0), x first: (1, .2), then (.96, .392).
  points = np.array([[1, 0], [1, 0.2], [0.96, 0.392]])
  of = continuous_games_orbits._alternating_invariant
  np.testing.assert_allclose(of(points), 1, rtol=1e-12)
  assert abs(of(np.array([[0.96, 0.4]])) - 1) > 1e-3


def test_behaviour_in_words():
  of = continuous_games_ttur._behaviour
  panel = dict(far=1, seeds=1024, rms=np.inf)
  assert of(panel) == '1 of 1024 seeds beyond 100'
  panel = dict(far=0, seeds=64, rms=0.5)
  assert of(panel) == 'none of 64 seeds beyond 100, 0.5 at the end'


def test_a_panel_that_blows_up_is_summed_up_without_a_warning():
  huge = [[0.3, 1e200, np.inf], [0.3, np.nan, 1e200], [0.3, 0.3, 0.3]]
  players = games.Players(np.asarray(huge), np.full((3, 3), 0.4))
  distance = continuous_games_ttur.distances(players)
  found = continuous_games_ttur.summary(distance)
  assert (found['far'], found['seeds'], found['rms']) == (2, 3, np.inf)
  np.testing.assert_allclose(found['distance'][1], [0.5, 1e200, 1e200])
  np.testing.assert_allclose(found['distance'][2], [0.5, np.inf, np.inf])


def test_the_verdict_on_one_fast_time_scale():
  slow = dict(far=0, seeds=64, rms=0.01)
  part = lambda fast: dict(panels={'lr, lr': fast, 'lr/10, lr/10': slow})
  of = lambda fast: continuous_games_ttur.verdict(part(fast))
  assert 'does not settle' in of(dict(far=0, seeds=64, rms=0.9))
  assert 'it settles' in of(dict(far=0, seeds=64, rms=0.02))
  assert of(dict(far=60, seeds=64, rms=np.inf)).endswith(
    '60 of 64 seeds beyond 100.'
  )


def test_the_flow_is_that_of_the_game(monkeypatch):
  start = games.Players(jnp.asarray(1.0), jnp.asarray(0.0))
  times = jnp.arange(11) * 0.2
  rows = lambda: continuous_games_orbits._flow_rows(start, times)
  assert all(row.holds for row in rows())
  wrong = lambda start, time: games.Players(jnp.cos(time), -jnp.sin(time))
  monkeypatch.setattr(continuous, 'bilinear_flow', wrong)
  assert not any(row.holds for row in rows())


def test_losses_with_the_same_spectrum_are_drawn_once():
  spectra = dict(a=np.array([1j, -1j]), b=np.array([1, 2]))
  spectra['c'] = np.array([-1j, 1j])
  assert continuous_games_figures.alike(spectra) == [['a', 'c'], ['b']]


def test_nan_in_a_block_fails_its_row(monkeypatch):
  part = diagnostics.Blocks(
    jnp.full((2, 2), jnp.nan), *(jnp.zeros(s) for s in ((2, 3), (3, 2), (3, 3)))
  )
  whole = {('minimax', 0.0): part, ('wasserstein', 0.0): part}
  worst = continuous_games._worst(whole)
  assert np.isnan(worst['gg'])
  assert worst['mixed'] == 0


@pytest.mark.slow
def test_steps_below_the_limit_contract():
  # Eigenvalues -1/2, -1/4 +- sqrt(3)/4 i, -1/2 +- sqrt(3)/2 i: 1 is the limit.
  radii = continuous_games.step_radii('minimax', 0.0, 0.0, [0.9, 1.0, 1.1])
  np.testing.assert_allclose(radii[1], 1, atol=1e-7)
  assert radii[0] < 1 - 1e-2 < 1 + 1e-2 < radii[2]


def test_an_eigenvalue_that_no_loss_pins_down_is_left_out():
  values = np.array([-1.0, 0.0, 1e-15])
  of = continuous_games._learned
  np.testing.assert_array_equal(of('wasserstein', values), [-1])
  np.testing.assert_array_equal(of('minimax', values), values)


@pytest.mark.slow
def test_a_quick_run(tmp_path):
  with jax.enable_x64(False):  # it asks for double precision itself
    found = continuous_games.run(result.Settings(tmp_path, quick=True))
  exact = [row for row in found.rows if row.exact]
  assert len(exact) > 40
  assert all(row.holds for row in exact)
  assert 'All closed forms hold' in found.verdict
  json.dumps(found.numbers, allow_nan=False)
  assert len(found.figures) == 6
  for figure in found.figures:
    assert 10_000 < figure.path.stat().st_size < 2_000_000
  _check_ttur(found.numbers['ttur'])


def _check_ttur(part):
  """64 seeds: the edge of stability, and linear theory elsewhere."""
  panels = part['panels']
  assert all(panel['far'] == 0 for panel in panels.values())
  # A random walk of 5,000 steps of .01 from .5; y takes a little off it.
  assert 0.6 < panels['lr, lr']['rms'] < 1.1
  # Stationary: lr / sqrt(1 - (1 - lr curvature)^2) in x and y together.
  small = np.hypot(0.001 / np.sqrt(1 - 0.8**2), 0.001 / np.sqrt(1 - 0.998**2))
  slow = np.hypot(0.0001 / np.sqrt(1 - 0.98**2), 0.01 / np.sqrt(1 - 0.98**2))
  assert panels['lr/10, lr/10']['rms'] == pytest.approx(small, rel=0.3)
  assert panels['lr/100, lr']['rms'] == pytest.approx(slow, rel=0.3)
  # Beyond 2 / 200 all blow up, up to it none.
  rates, share = np.asarray(part['sweep']), np.asarray(part['share'])
  np.testing.assert_array_equal(share, np.where(rates > 0.01 + 1e-9, 1, 0))
