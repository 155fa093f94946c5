"""The landscape experiment, at two pairs of points."""

import json

import numpy as np
import pytest

from launch.lab import landscape, landscape_table, landscape_words, result

pytestmark = pytest.mark.float64


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
  patch = pytest.MonkeyPatch()
  sizes = landscape.Sizes(solved=(2,), walked=(2,), steps=6, grid=36)
  patch.setattr(landscape, 'QUICK', sizes)
  patch.setattr(landscape, 'PAIRS', (2,))
  out = tmp_path_factory.mktemp('landscape')
  yield landscape.run(result.Settings(out, quick=True))
  patch.undo()


def test_every_closed_form_agrees(tiny):
  exact = [row for row in tiny.rows if row.exact]
  assert len(exact) > 20
  assert not [row for row in exact if not row.holds]


def test_findings(tiny):
  found = {row.quantity: row for row in tiny.rows if not row.exact}
  against = [name for name, row in found.items() if row.holds is False]
  assert against == ['hinge: bad local minima, n = 2, 3, 4']
  silent = [row for row in found.values() if row.holds is None]
  assert all(row.paper is None for row in silent) and len(silent) == 7
  for kind in ('', '_hinge', '_least_squares'):
    row = found[f'relativistic_average{kind}: bad local minima, n = 2, 3, 4']
    assert row.ours == '2'


def test_losses_without_depth_or_path_say_so(tiny):
  rows = {row.quantity: row for row in tiny.rows}
  for name in ('wasserstein', 'f_kl', 'f_pearson'):
    row = rows[f'{name}: bad local minima, n = 2, 3, 4']
    assert row.ours == 'infinite' and 'climb' not in row.settings
  row = rows['f_reverse_kl: bad local minima, n = 2, 3, 4']
  assert 'climb out of the deepest: infinite;' in row.settings
  row = rows['minimax: strict minima left by no single point, n = 2']
  assert row.paper == row.ours == 2


def test_words_figures_and_numbers(tiny):
  assert '2 (RS) local minima' in tiny.seen and 'hinge' in tiny.verdict
  assert tiny.verdict.startswith('The claim holds for JS and RS')
  assert len(tiny.figures) == 4
  assert all(figure.path.stat().st_size > 5000 for figure in tiny.figures)
  numbers = json.loads(json.dumps(result.plain(tiny.numbers)))
  assert numbers['basins']['relativistic']['2']['cut_off'] == 0


def test_words_follow_the_numbers(tiny):
  table = {
    name: {2: landscape.minima.basins('relativistic', 2)}
    for name in landscape.losses.LOSSES
  }
  walked = {'relativistic': (0.0, 0.0, 1), 'nonsaturating': (0.0, 0.0, 1)}
  words = landscape_words.verdict(table, walked)
  assert words.startswith('The claim fails') and 'minimax' in words


def test_nan_in_the_middle_is_seen(monkeypatch):
  # Along a path, among paths, among patterns: `max` would drop it.
  assert np.isnan(landscape.descent_path.largest_rise(np.array([1, np.nan, 1])))
  walk, calls = landscape.walk, []

  def broken(pattern, names):
    calls.append(pattern)
    if len(calls) != 3:
      return walk(pattern, names)
    return {names[0]: (np.arange(3), np.array([0.0, np.nan, -np.log(2)]))}

  monkeypatch.setattr(landscape, 'walk', broken)
  worst, miss, number = landscape.rises('relativistic', (2,))
  assert np.isnan(worst) and number == len(calls) == 10
  monkeypatch.setattr(landscape, 'walk', lambda *_: {'relativistic': ends})
  for values in ([0.0, np.nan], [np.nan, 0.0]):
    ends = np.arange(2), np.array(values)
    assert np.isnan(landscape.rises('relativistic', (2,))[0])
  rows = landscape_table.paths(
    {'relativistic': (worst, miss, 10), 'nonsaturating': (worst, miss, 10)}
  )
  assert [row.holds for row in rows] == [False, True, False]


def test_nan_among_patterns_is_seen(tiny, monkeypatch):
  del tiny
  phi = landscape_table.landscape.phi

  def broken(name, pattern, **options):
    value, bound = phi(name, pattern, **options)
    return (np.nan, bound) if pattern == (0, 0) else (value, bound)

  monkeypatch.setattr(landscape_table.landscape, 'phi', broken)
  failed = [row for row in landscape_table.formulas((2,)) if not row.holds]
  assert len(failed) == 6 and all(np.isnan(row.ours) for row in failed)


def test_kinds_without_a_place_of_their_own():
  at = landscape.minima.basins('relativistic', 2)
  for kind in ('global', 'saddle'):
    only = at._replace(on_data={kind: 2})
    table = {name: {2: at} for name in landscape.losses.LOSSES}
    walked = {'relativistic': (0.0, 0.0, 1), 'nonsaturating': (0.0, 0.0, 1)}
    flat = landscape.Surface(np.zeros(1), np.zeros((1, 1)), [], np.zeros(1))
    surfaces = {'relativistic': flat, 'nonsaturating': flat}
    words = landscape_words.seen(table | {'hinge': {2: only}}, surfaces, walked)
    assert f'Of other kinds ({kind}): hinge (1).' in words


@pytest.mark.slow
def test_the_quick_run(tmp_path):
  found = landscape.run(result.Settings(tmp_path, quick=True))
  assert not [row for row in found.rows if row.exact and not row.holds]
