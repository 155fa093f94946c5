"""Exact Wasserstein-1: closed forms, a peer, and refusals."""

import builtins
import sys

import numpy as np
import pytest
from scipy import optimize, spatial

from launch.lab import wasserstein

ot = pytest.importorskip('ot', reason="needs 'gan-jax[theory]'")


def _draw(*shape):
  return np.random.default_rng(3).normal(size=shape)


def test_a_shift_costs_its_length():
  points = _draw(60, 2)
  moved = points + np.array([3.0, -4.0])
  np.testing.assert_allclose(
    wasserstein.distance(points, moved), 5.0, rtol=1e-12
  )


def test_a_set_is_at_zero_from_itself_in_any_order():
  points = _draw(50, 2)
  assert wasserstein.distance(points, points[::-1]) == 0


def test_close_points_keep_their_digits():
  """The expanded square a^2 - 2ab + b^2 would return about 1e-8 here."""
  points = 10 + _draw(20, 2)
  actual = wasserstein.distance(points, points + np.array([1e-11, 0]))
  np.testing.assert_allclose(actual, 1e-11, rtol=1e-3)


def test_on_a_line_sorted_points_are_paired():
  a, b = _draw(2, 200, 1)
  expected = np.mean(np.abs(np.sort(a[:, 0]) - np.sort(b[:, 0])))
  np.testing.assert_allclose(wasserstein.distance(a, b), expected, rtol=1e-12)


def test_unequal_sets_by_hand():
  """A unit at 0 and one at 3 against one at 1: half of |0-1| and |3-1|."""
  a, b = np.array([[0.0], [3.0]]), np.array([[1.0]])
  assert wasserstein.distance(a, b) == pytest.approx(1.5, abs=1e-12)
  assert wasserstein.distance(b, a) == pytest.approx(1.5, abs=1e-12)
  # Thirds against halves: 0, 1, 2 to 0, 2. A sixth of the mass moves from 1
  # to either end.
  a, b = np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [2.0]])
  assert wasserstein.distance(a, b) == pytest.approx(1 / 3, abs=1e-12)


def test_agrees_with_scipys_assignment():
  a, b = _draw(2, 150, 2)
  cost = spatial.distance.cdist(a, b)
  rows, columns = optimize.linear_sum_assignment(cost)
  np.testing.assert_allclose(
    wasserstein.distance(a, b), cost[rows, columns].mean(), rtol=1e-12
  )


def test_the_bound_is_below_every_plan_whatever_the_potential():
  a, b = _draw(2, 30, 2)
  cost = spatial.distance.cdist(a, b)
  optimum = wasserstein.distance(a, b)
  assert wasserstein.lower_bound(cost, np.zeros(30)) < optimum
  assert wasserstein.lower_bound(cost, 5 * _draw(30)) < optimum


def test_an_unfinished_solve_is_refused():
  a, b = _draw(2, 100, 2)
  with pytest.raises(ValueError, match='POT did not solve'):
    wasserstein.distance(a, b, max_iterations=3)


def test_a_plan_that_is_not_optimal_is_refused(monkeypatch):
  def any_plan(a, b, cost, **options):
    plan = np.outer(a, b)  # right marginals, but far from optimal
    return plan, {'v': np.zeros(len(b)), 'warning': None}

  monkeypatch.setattr(ot, 'emd', any_plan)
  with pytest.raises(ValueError, match='above what its dual proves'):
    wasserstein.distance(*_draw(2, 20, 2))


def test_a_plan_that_loses_mass_is_refused(monkeypatch):
  def no_plan(a, b, cost, **options):
    return np.zeros_like(cost), {'v': np.zeros(len(b)), 'warning': None}

  monkeypatch.setattr(ot, 'emd', no_plan)
  with pytest.raises(ValueError, match='misses its weights'):
    wasserstein.distance(*_draw(2, 20, 2))


@pytest.mark.parametrize(
  ('a', 'b', 'words'),
  [
    (np.zeros(3), np.zeros((3, 1)), r'a has shape \(3,\)'),
    (np.zeros((3, 2)), np.zeros((0, 2)), r'b has shape \(0, 2\)'),
    (np.zeros((3, 2)), np.zeros((3, 1)), 'as many columns'),
    (np.array([[0.0], [np.nan]]), np.zeros((2, 1)), '1 of the 2 points of a'),
    (np.zeros((1, 1)), np.array([[np.inf]]), '1 of the 1 points of b'),
  ],
)
def test_bad_sets_are_refused(a, b, words):
  with pytest.raises(ValueError, match=words):
    wasserstein.distance(a, b)


def test_says_how_to_get_the_package(monkeypatch):
  known = builtins.__import__

  def without(name, *args, **options):
    if name == 'ot':
      raise ImportError(name)
    return known(name, *args, **options)

  monkeypatch.delitem(sys.modules, 'ot')
  monkeypatch.setattr(builtins, '__import__', without)
  with pytest.raises(ImportError, match=r"pip install 'gan-jax\[theory\]'"):
    wasserstein.distance(np.zeros((1, 1)), np.ones((1, 1)))
