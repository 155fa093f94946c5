"""Patterns, and which of them are bad minima, by enumeration and by hand."""

import math

import numpy as np
import pytest

from gan_jax import losses
from gan_jax.theory import configurations, landscape_terms, minima

pytestmark = pytest.mark.float64

NAMES = sorted(losses.LOSSES)
KIND = {name: landscape_terms.get(name).kind for name in NAMES}
INFINITE = ('wasserstein', 'f_kl', 'f_pearson')


def test_patterns_of_two_pairs():
  on_data = {(0, 0), (0, 1), (1, 0), (1, 1)}
  off_data = {(0, 2), (1, 2), (2, 0), (2, 1), (2, 2), (2, 3)}
  assert set(configurations.patterns(2)) == on_data | off_data
  # sum_k C(n, k) n^(n - k) Bell(k), k points being off the data.
  assert len(configurations.patterns(3)) == 27 + 27 + 3 * 3 * 2 + 5
  assert len(configurations.patterns(4)) == 256 + 256 + 6 * 16 * 2 + 80 + 15


def test_merge_and_example_are_inverse():
  for pattern in configurations.patterns(3):
    real, fake = configurations.example(pattern)
    assert configurations.merge(real, fake).pattern == pattern
  assert configurations.check((7, 0, 5)) == (3, 0, 4)


def test_what_is_nearby():
  every = configurations.patterns(2)
  near = configurations.refines(every)
  around = lambda p: {every[i] for i in np.flatnonzero(near[:, every.index(p)])}
  assert around((0, 0)) == {(0, 2), (2, 0), (2, 2), (2, 3)}
  assert around((0, 1)) == {(0, 2), (2, 1), (2, 3)}
  assert around((0, 2)) == {(2, 3)}
  assert around((2, 2)) == {(2, 3)} and around((2, 3)) == set()


def test_single_moves():
  every = configurations.patterns(2)
  moves = configurations.single_moves(every)
  np.testing.assert_array_equal(moves, moves.T)
  to = {every[i] for i in np.flatnonzero(moves[every.index((0, 0))])}
  assert to == {(0, 1), (1, 0), (0, 2), (2, 0)}


def test_cycles_and_heights():
  assert configurations.cycles((1, 2, 0, 0)) == ((0, 1, 2),)
  assert configurations.cycles((0, 1, 1, 9)) == ((0,), (1,))
  assert configurations.cycles((1, 2, 3)) == ()
  np.testing.assert_array_equal(configurations.heights((1, 2, 3)), [3, 2, 1, 0])
  np.testing.assert_array_equal(configurations.heights((0, 0, 1)), [0, 1, 2])


@pytest.mark.parametrize('size', [2, 3, 4])
def test_cycles_return_to_their_start(size):
  for pattern in configurations.patterns(size):
    found = {i for cycle in configurations.cycles(pattern) for i in cycle}
    for i in range(size):
      place, seen = pattern[i], 0
      while place < size and place != i and seen < size:
        place, seen = pattern[place], seen + 1
      assert (place == i) == (i in found), pattern


@pytest.mark.parametrize(
  ('size', 'number'), [(2, 2), (3, 21), (4, 232)], ids=str
)
def test_separable_losses_have_bad_minima(size, number):
  assert minima.num_collapsed(size) == number
  names = ('nonsaturating',) if size == 4 else _with_bad_minima('separable')
  for name in names:
    found = minima.basins(name, size)
    assert found.on_data['strict'] == number, name
    assert found.off_data['strict'] == 0  # off the data motion is free
    assert found.matches and found.gap < 1e-8 and found.saddles == 0
    assert found.cut_off >= number and found.deepest > 0


def _with_bad_minima(kind):
  flat = ('hinge', *INFINITE)
  return [n for n in NAMES if KIND[n] == kind and n not in flat]


@pytest.mark.parametrize('size', [2, 3, 4])
def test_paired_losses_have_none(size):
  names = [n for n in NAMES if KIND[n] == 'paired']
  for name in names if size < 4 else ('relativistic',):
    found = minima.basins(name, size)
    assert found.on_data['strict'] == found.on_data['trapped'] == 0
    assert found.on_data['open'] == minima.num_collapsed(size)
    assert found.cut_off == found.deepest == found.saddles == 0
    assert found.matches and found.gap < 1e-8


@pytest.mark.parametrize('size', [2, 3])
def test_relativistic_averages_have_as_many_as_separable_losses(size):
  for name in (n for n in NAMES if KIND[n] == 'average'):
    found = minima.basins(name, size)
    assert found.on_data['strict'] == minima.num_collapsed(size), name
    assert found.matches and found.gap < 1e-8 and found.saddles == 0


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_four_pairs(name):
  found = minima.basins(name, 4)
  kinds = {kind for kind, number in found.on_data.items() if number}
  expected = 'strict'
  if name in INFINITE:
    expected = 'infinite'
  elif name == 'hinge' or KIND[name] == 'paired':
    expected = 'open'
  assert kinds == {expected}
  assert found.matches and found.gap < 1e-8 and found.saddles == 0


def test_the_separable_hinge_lets_its_surplus_go():
  found = minima.survey('hinge', 2)
  at = found.patterns.index((0, 0))
  # -2/n for each real point that is covered, whoever covers it.
  np.testing.assert_allclose(found.values[at], -1)
  assert found.kinds[at] == 'open' and found.lowest_rise[at] == 0
  assert minima.basins('hinge', 3).cut_off == 0


@pytest.mark.parametrize('name', INFINITE)
def test_needles(name):
  found = minima.basins(name, 3)
  assert found.on_data['infinite'] == 21 and found.off_data['infinite'] == 50
  assert found.lowest == 0 and found.matches


def test_the_way_out_of_two_collapsed_points():
  # From one to two matched fakes at one real: -.9548 up to -.6931.
  climb = 1.5 * math.log(3) - 2 * math.log(2)
  np.testing.assert_allclose(minima.basins('minimax', 2).deepest, climb)
  found = minima.survey('minimax', 2)
  at = found.patterns.index((0, 0))
  np.testing.assert_allclose(found.single[at], climb)
  np.testing.assert_allclose(found.lowest_rise[at], climb)
  assert np.isinf(minima.basins('f_reverse_kl', 2).deepest)
  np.testing.assert_allclose(found.reached[at], found.values[at])


@pytest.mark.parametrize('name', NAMES)
def test_single_points_decide(name):
  found = minima.survey(name, 3)
  on_data = np.array([configurations.on_data(p) for p in found.patterns])
  finite = on_data & np.isfinite(found.values)
  np.testing.assert_allclose(found.single[finite], found.lowest_rise[finite])
  assert np.all(
    found.lowest_rise >= -1e-12
  )  # parting never helps the generator


def test_what_is_kept_cannot_be_written():
  found = minima.survey('minimax', 2)
  for array in found[1:]:
    with pytest.raises(ValueError, match='read-only'):
      array[0] = array[1]


def test_sizes_out_of_reach():
  with pytest.raises(ValueError, match='size=5 is not 2, 3 or 4'):
    minima.basins('hinge', 5)
