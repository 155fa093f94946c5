"""The experiment on divergences: its parts, and a whole quick run."""

import json

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from gan_jax.theory import divergences as theory
from launch.lab import (
  divergences,
  divergences_bounds,
  divergences_gradients,
  result,
)

pytestmark = pytest.mark.float64


def test_transport_rows_hold():
  part = divergences.transport_examples()
  assert all(row.holds and row.exact for row in part['rows'])
  assert [row.ours for row in part['rows']] == pytest.approx([435] + [5] * 5)


def test_two_infinities_do_not_differ():
  of = divergences._difference
  assert of(np.array([np.inf, 1.0]), np.array([np.inf, 1.5])) == 0.5
  assert of(np.array([np.inf]), np.array([3.0])) == np.inf


def test_half_width_of_known_means():
  # Means of pairs: 0, 1, 2, 3, 4; quartiles 1 and 3.
  pairs = jnp.arange(5.0)[:, None] + jnp.asarray([[-1.0, 1.0]])
  assert divergences_gradients._half_width(pairs) == pytest.approx(1)


def test_a_wrong_identity_shows(monkeypatch):
  name = 'nonsaturating'
  p, scores = jnp.asarray([0.2, 0.5, 0.3]), jnp.asarray([0.4, -0.3, 0.1])
  errors = lambda: [
    float(jnp.max(jnp.abs(error)))
    for error in jax.jit(divergences_gradients._identity_errors(name))(
      p, scores
    )
  ]
  assert max(errors()) < 1e-12
  table = theory.OPTIMA
  off = table[name]._replace(
    logits=lambda u: 0.5 + table['minimax'].logits(0.9 * u)
  )
  monkeypatch.setitem(table, name, off)
  assert max(errors()) > 1e-3


def test_hinge_is_certified_from_both_sides(monkeypatch):
  p, scores = jnp.asarray([0.2, 0.5, 0.3]), jnp.asarray([0.4, -0.3, 0.1])
  table = theory.OPTIMA
  right = table['hinge'].logits
  sides = ((1.0, 'right'), (0.5, 'inside'), (2.0, 'outside'))
  for scale, side in sides:
    off = table['hinge']._replace(logits=lambda u, c=scale: c * right(u))
    monkeypatch.setitem(table, 'hinge', off)
    errors = jax.jit(divergences_gradients._identity_errors('hinge'))
    value, slope, pull = errors(p, scores)
    assert (jnp.max(slope) > 1e-2) == (side != 'right'), side
    off = max(jnp.max(jnp.abs(value)), jnp.max(jnp.abs(pull)))
    assert (off < 1e-12) == (side == 'right'), side


def _trained(**changed):
  part = dict(of_bound=[0.5], of_norms=[0.9], over_norms=[1.0])
  return {'0.1': part | dict(over_slope=[1.5]) | changed}


def test_an_excess_and_nan_fail_their_rows():
  assert divergences_bounds.excess([0.5, 2.0], 1.0) == 1
  assert divergences_bounds.excess([0.5, 1.0], 1.0) == 0
  assert np.isnan(divergences_bounds.excess([0.5, np.nan], 1.0))
  rows = lambda **changed: [
    row.holds for row in divergences_bounds._excess_rows(_trained(**changed), 1)
  ]
  assert rows() == [True] * 4
  assert rows(of_bound=[np.nan]) == [False, True, True, True]
  assert rows(of_norms=[1.1]) == [True, False, True, True]
  assert rows(over_norms=[0.1, np.nan]) == [True, True, False, True]
  assert rows(over_slope=[2.1]) == [True, True, True, False]


def test_the_verdict_depends_on_both_kinds_of_noise():
  row = result.exact('identity', 0, 0, 1e-9)
  fall = {'nonsaturating': 1.0, 'minimax': 31.0, 'noise in the logit': 31.0}
  of = lambda rows, **changed: divergences._verdict(rows, fall | changed, 1000)
  assert 'is a property of noise in D' in of((row,))
  as_bad = of((row,), **{'noise in the logit': 1.0})
  assert 'do not differ as expected' in as_bad
  lost = result.exact('identity', 0, np.nan, 1e-9)
  assert 'Not every identity holds: identity' in of((lost,))
  against = result.finding('claim', 1, 2, False)
  assert 'against the papers: claim' in of((row, against))


@pytest.mark.slow
def test_the_clip_holds_and_the_slope_follows_its_power():
  part = divergences_bounds.clipping(True)
  assert all(row.holds is not False for row in part['rows'])
  slopes = [
    np.median(trained['path'][:, -1]) for trained in part['trained'].values()
  ]
  # Three layers: a factor of ten in the clip is about a thousand in slope.
  ratios = np.diff(np.log10(slopes))
  assert ((ratios > 2.5) & (ratios < 3.5)).all()
  for trained in part['trained'].values():
    assert max(trained['over_slope']) <= divergences_bounds.SHIFT + 1e-9


@pytest.mark.slow
def test_a_quick_run(tmp_path):
  with jax.enable_x64(False):  # it asks for double precision itself
    found = divergences.run(result.Settings(tmp_path, quick=True))
  exact = [row for row in found.rows if row.exact]
  assert len(exact) > 30
  assert all(row.holds for row in exact)
  assert all(row.holds is not False for row in found.rows)
  assert 'Every identity holds' in found.verdict
  json.dumps(found.numbers, allow_nan=False)
  assert len(found.figures) == 5
  assert all(figure.path.stat().st_size > 10_000 for figure in found.figures)
  gradients = found.numbers['gradients']['mean']
  assert gradients['minimax'][-1] < 1e-7
  assert gradients['nonsaturating'][-1] == pytest.approx(12, rel=1e-6)
  # Cauchy: the mean of a thousand spreads like one; else 1 / sqrt(1000).
  spread = found.numbers['cauchy']['spread']
  fall = {name: values[0] / values[-1] for name, values in spread.items()}
  assert fall['nonsaturating'] == pytest.approx(1, abs=0.15)
  assert fall['minimax'] == pytest.approx(1000**0.5, rel=0.15)
  assert fall['noise in the logit'] == pytest.approx(1000**0.5, rel=0.15)
