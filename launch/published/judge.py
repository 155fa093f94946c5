"""Claims about rows, judged over seeds by Welch's intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from launch.published import collect
from launch.published import study as studies

LEVEL = 0.95
HOLDS, CONTRADICTED, UNDECIDED = 'holds', 'contradicted', 'not decided'
DIVERGED = 'diverged'

Runs = Mapping[str, Sequence[collect.Run]]


class Interval(NamedTuple):
  """A difference, and where it lies with 95 % confidence."""

  difference: float
  low: float
  high: float


class Verdict(NamedTuple):
  """What came of a claim.

  Attributes:
    text: the claim.
    metric: by which it was judged.
    at: see `study.Claim`.
    interval: of better - worse, or of the difference of two such gaps with the
      sign that a bigger gap has; None where there is none.
    seeds: how many each row had, in the order of the claim.
    verdict: 'holds', 'contradicted' or 'not decided'.
    note: why it was not decided, or which seeds are left out.
  """

  text: str
  metric: str
  at: str
  interval: Interval | None
  seeds: tuple[int, ...]
  verdict: str
  note: str = ''


def contrast(
  weights: Sequence[float], groups: Sequence[Sequence[float]]
) -> Interval:
  """Interval of a weighted sum of means, of groups with own variances.

  Args:
    weights: of each group's mean; (1, -1) for a difference.
    groups: values of each, two at the least.

  References:
    Welch, The generalization of Student's problem, 1947; degrees of freedom of
    Satterthwaite, 1946.
  """
  weights, values = np.asarray(weights), [np.asarray(g, float) for g in groups]
  counts = np.array([len(group) for group in values])
  estimate = float(weights @ [group.mean() for group in values])
  parts = weights**2 * [group.var(ddof=1) for group in values] / counts
  variance = float(parts.sum())
  if variance == 0:  # all seeds gave one number
    return Interval(estimate, estimate, estimate)
  freedom = variance**2 / float((parts**2 / (counts - 1)).sum())
  reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(variance)
  return Interval(estimate, estimate - reach, estimate + reach)


def shares(a: Sequence[bool], b: Sequence[bool]) -> Interval:
  """Interval of the difference of two shares, a - b.

  Wilson's intervals of each, joined: a deviation of few yeses and noes, which
  is 0 where they are all alike, would promise too much.

  References:
    Newcombe, Interval estimation for the difference between independent
    proportions, 1998, method 10.
  """
  p, low_p, high_p = _wilson(a)
  q, low_q, high_q = _wilson(b)
  difference = p - q
  return Interval(
    difference,
    difference - math.hypot(p - low_p, high_q - q),
    difference + math.hypot(high_p - p, q - low_q),
  )


def _wilson(yes):
  count, share = len(yes), sum(yes) / len(yes)
  z = float(stats.norm.ppf((1 + LEVEL) / 2))
  centre = share + z**2 / (2 * count)
  reach = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
  scale = 1 + z**2 / count
  return share, (centre - reach) / scale, (centre + reach) / scale


def judge(
  claims: Sequence[studies.Claim], runs: Runs, metrics: Sequence[str]
) -> list[Verdict]:
  """All claims whose rows were run.

  Args:
    claims: of the study.
    runs: row -> its seeds.
    metrics: what a claim without a metric is judged by, each by itself.
  """
  found = []
  for claim in claims:
    rows = _rows(claim)
    if not all(any(_counts(r) for r in runs.get(name, ())) for name in rows):
      continue
    for metric in [claim.metric] if claim.metric else metrics:
      found.append(_judge(claim, runs, metric))
  return found


def _rows(claim):
  return (claim.better, claim.worse, *(claim.than or ()))


def _counts(run):
  return run.state in ('finished', 'diverged')


def _judge(claim, runs, metric):
  rows = _rows(claim)
  chosen = [[r for r in runs[name] if _counts(r)] for name in rows]
  values = _values(claim, chosen, metric)
  seeds = tuple(len(group) for group in values)
  notes = [
    f'{name}: {len(group) - len(got)} of {len(group)} seeds have no number'
    for name, group, got in zip(rows, chosen, values, strict=True)
    if len(got) < len(group)
  ]
  head = (claim.text, metric, claim.at)
  if metric != DIVERGED and several_protocols(chosen, metric):
    notes.append('measured by several protocols, which do not compare')
    return Verdict(*head, None, seeds, UNDECIDED, '; '.join(notes))
  if min(seeds) < 2:
    notes.append('fewer than 2 seeds a row')
    return Verdict(*head, None, seeds, UNDECIDED, '; '.join(notes))
  if metric == DIVERGED and not claim.than:
    interval = shares(*values)
  else:
    interval = contrast((1, -1, -1, 1)[: len(values)], values)
  verdict = _verdict(interval, _lower(claim, metric))
  if interval.low == interval.high:  # as with 1,000 modes in every seed
    notes.append('no spread over seeds, so nothing to judge by')
    verdict = UNDECIDED
  return Verdict(*head, interval, seeds, verdict, '; '.join(notes))


def _values(claim, chosen, metric):
  if metric == DIVERGED:
    return [[r.state == 'diverged' for r in group] for group in chosen]
  pick = collect.best if claim.at == 'best' else collect.last
  if claim.at == 'equal_time':
    seconds = common_seconds(*chosen)
    pick = lambda run, metric: collect.within(run, seconds, metric)
  values = [[pick(run, metric) for run in group] for group in chosen]
  return [[v for v in group if v is not None] for group in values]


def several_protocols(
  groups: Sequence[Sequence[collect.Run]], metric: str
) -> bool:
  """Whether the numbers of some rows were measured in different ways."""
  entries = [r.entries[-1] for group in groups for r in group if r.entries]
  measured = [e for e in entries if collect.number(e, metric) is not None]
  return len({collect.protocol_of(e, metric) for e in measured}) > 1


def common_seconds(*groups: Sequence[collect.Run]) -> float:
  """The largest device-seconds that all finished seeds reached, or NaN.

  One that diverged before has no number there, see `collect.within`.
  """
  ended = [r for group in groups for r in group if r.state == 'finished']
  return min(map(collect.device_seconds, ended), default=math.nan)


def _lower(claim, metric):
  if claim.metric:
    return claim.holds_if == 'lower'
  return collect.better(metric, 0.0, 1.0)


def _verdict(interval, lower):
  if interval.high < 0:
    return HOLDS if lower else CONTRADICTED
  if interval.low > 0:
    return CONTRADICTED if lower else HOLDS
  return UNDECIDED
