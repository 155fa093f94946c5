"""Claims over seeds: intervals of textbooks, and what counts as decided."""

import numpy as np
import pytest
from scipy import stats

from launch.published import collect, judge
from launch.published import study as studies


def run(seed, value, state='finished', seconds=10.0, metric='frechet'):
  """A run of 100 steps with its number at the end, and twice that half way."""
  entries = [{'step': 50, metric: {'value': 2 * value}}]
  if state == 'finished':
    entries.append({'step': 100, metric: {'value': value}})
  clock = (np.array([0.0, 100.0]), np.array([0.0, seconds]))
  step = 100 if state == 'finished' else 60
  return collect.Run(seed, state, step, 100, '', tuple(entries), clock)


def group(*values, **options):
  return [run(seed, value, **options) for seed, value in enumerate(values)]


def verdicts(claim, runs, metrics=('frechet',)):
  return judge.judge([claim], runs, metrics)


def test_welch_is_that_of_scipy():
  a, b = [27.5, 21.0, 19.0, 23.6, 17.0], [27.1, 22.0, 20.8, 23.4]
  found = judge.contrast((1, -1), (a, b))
  expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
  np.testing.assert_allclose(found[1:], expected)
  assert found.difference == pytest.approx(np.mean(a) - np.mean(b))


def test_numbers_of_several_protocols_do_not_compare():
  def of(features, *values):
    runs = group(*values)
    for r in runs:
      for entry in r.entries:
        entry['frechet']['protocol'] = {'features': features, 'seed': r.seed}
    return runs

  runs = {'a': of('lenet', 1, 2), 'b': of('inception', 60, 61)}
  (found,) = verdicts(CLAIM, runs)
  assert found.verdict == judge.UNDECIDED and found.interval is None
  assert found.note == 'measured by several protocols, which do not compare'
  (same,) = verdicts(CLAIM, runs | {'b': of('lenet', 60, 61)})
  assert same.verdict == judge.HOLDS
  diverged = CLAIM._replace(metric=judge.DIVERGED, holds_if='lower')
  (counted,) = verdicts(diverged, runs)
  assert counted.interval is not None


def test_a_gap_of_gaps_by_hand():
  # Means 2, 4, 6 and 8, each of variance 2 from two values: the contrast is
  # (2 - 4) - (6 - 8) = 0, its variance 4 * 2 / 2 = 4, of 4 degrees of freedom.
  groups = [(m - 1, m + 1) for m in (2, 4, 6, 8)]
  found = judge.contrast((1, -1, -1, 1), groups)
  reach = 2 * 2.7764451
  np.testing.assert_allclose(found, [0, -reach, reach], atol=1e-6)


@pytest.mark.parametrize(
  ('a', 'b', 'low', 'high'),
  # Newcombe 1998, table II, method 10.
  [((56, 70), (48, 80), 0.0524, 0.3339), ((10, 10), (0, 20), 0.6791, 1.0)],
)
def test_shares_are_those_of_newcombe(a, b, low, high):
  samples = [[True] * k + [False] * (n - k) for k, n in (a, b)]
  found = judge.shares(*samples)
  assert found.difference == pytest.approx(a[0] / a[1] - b[0] / b[1])
  np.testing.assert_allclose(found[1:], [low, high], atol=6e-5)


CLAIM = studies.Claim('a beats b', 'a', 'b')


def test_a_claim_holds_is_contradicted_or_is_not_decided():
  low, high, wide = group(10, 11), group(20, 21), group(5, 40)
  (holds,) = verdicts(CLAIM, {'a': low, 'b': high})
  assert (holds.verdict, holds.interval.difference) == ('holds', -10)
  assert holds.seeds == (2, 2)
  (against,) = verdicts(CLAIM, {'a': high, 'b': low})
  assert against.verdict == 'contradicted'
  (open_,) = verdicts(CLAIM, {'a': low, 'b': wide})
  assert open_.verdict == 'not decided'
  (one,) = verdicts(CLAIM, {'a': group(10), 'b': high})
  assert (one.verdict, one.interval) == ('not decided', None)
  assert 'fewer than 2 seeds' in one.note


def test_rows_that_were_not_run_make_no_claim():
  assert not verdicts(CLAIM, {'a': group(1, 2)})
  begun = [r._replace(state='begun') for r in group(3, 4)]
  assert not verdicts(CLAIM, {'a': group(1, 2), 'b': begun})


def test_more_modes_are_better_and_less_divergence():
  a = group(900, 901, metric='stacked_modes')
  b = group(500, 501, metric='stacked_modes')
  (found,) = verdicts(CLAIM, {'a': a, 'b': b}, ['stacked_modes'])
  assert found.verdict == 'holds'
  own = CLAIM._replace(metric='frechet', holds_if='higher')
  (found,) = verdicts(own, {'a': group(1, 2), 'b': group(8, 9)})
  assert found.verdict == 'contradicted'


def test_a_diverged_seed_is_left_out_of_the_last_and_said():
  lost = run(2, 1.0, state='diverged')
  runs = {'a': [*group(10, 11), lost], 'b': group(20, 21, 22)}
  (found,) = verdicts(CLAIM, runs)
  assert found.seeds == (2, 3)
  assert 'a: 1 of 3 seeds have no number' in found.note
  # Its number half way, 2, is there.
  (found,) = verdicts(CLAIM._replace(at='best'), runs)
  assert found.seeds == (3, 3)
  assert found.interval.difference == pytest.approx((10 + 11 + 2) / 3 - 21)


def test_shares_that_diverged_are_judged():
  lost = [run(s, 1.0, state='diverged') for s in range(3)]
  claim = CLAIM._replace(metric='diverged')
  (found,) = verdicts(claim, {'a': group(1, 2, 3), 'b': lost})
  assert (found.verdict, found.interval.difference) == ('holds', -1)
  (found,) = verdicts(claim, {'a': group(1, 2, 3), 'b': group(1, 2, 3)})
  assert found.verdict == 'not decided'


def test_a_bigger_gap():
  claim = CLAIM._replace(than=('c', 'd'))
  runs = dict(a=group(10, 11), b=group(40, 41), c=group(5, 6), d=group(8, 9))
  (found,) = verdicts(claim, runs)  # a gap of 30 against one of 3
  assert (found.verdict, found.interval.difference) == ('holds', -27)


def test_equal_time_takes_the_last_number_within_it():
  # The slow ones take 40 s for 100 steps and the fast ones 10 s: at 10 s the
  # slow ones have no number yet, at 20 s they are at step 50.
  slow, fast = group(3, 4, seconds=40.0), group(10, 11, seconds=20.0)
  assert judge.common_seconds(slow, fast) == 20
  assert [collect.within(r, 20, 'frechet') for r in slow] == [6, 8]
  assert collect.within(slow[0], 19, 'frechet') is None
  claim = CLAIM._replace(at='equal_time')
  (found,) = verdicts(claim, {'a': slow, 'b': fast})
  assert found.interval.difference == pytest.approx(7 - 10.5)
  # One that diverged at step 60 of 100, at 12 s, has no number at 20 s.
  lost = run(2, 1.0, state='diverged', seconds=20.0)
  (found,) = verdicts(claim, {'a': slow, 'b': [*fast, lost]})
  assert found.seeds == (2, 2)
  assert 'b: 1 of 3 seeds have no number' in found.note


def test_seeds_without_any_spread_decide_nothing():
  (found,) = verdicts(CLAIM, {'a': group(9, 9), 'b': group(10, 10)})
  assert found.interval.difference == -1
  assert found.verdict == 'not decided'
  assert 'no spread' in found.note
