"""Rows and words on the over-trained critic.

Published numbers are of MNIST and SGD where not said otherwise, and read off
figures.
"""

from typing import Any

import numpy as np

from launch.lab import competitive_drift as drift
from launch.lab import competitive_evidence as evidence
from launch.lab import result

APART = 1.5  # a critic alone drifts much farther from this factor on


def late(values: np.ndarray) -> np.ndarray:
  """The median over the last quarter of the records, `[S, R]` to `[S]`."""
  return np.median(values[:, -max(1, values.shape[1] // 4) :], axis=1)


def spread(values: np.ndarray) -> str:
  """Median and range, in words."""
  low, middle, high = (f'{x:.3g}' for x in np.quantile(values, (0, 0.5, 1)))
  return middle if low == high else f'{middle} ({low} to {high})'


def ratio(seen: dict[str, drift.Seen], method: str, of: str) -> np.ndarray:
  """Late drift of the critic alone, over that in play, `[S]`.

  Args:
    seen: of `experiment`.
    method: 'sgd' or 'cgd'.
    of: 'real' or 'fake'.
  """
  alone, play = (
    late(getattr(seen[f'{how} {method}'], f'drift_{of}'))
    for how in ('alone', 'play')
  )
  return alone / play


def findings(
  seen: dict[str, drift.Seen], name: str, plan: Any
) -> list[result.Row]:
  """The rows of one data set."""
  rows = []
  methods = ('sgd', 'cgd') if plan.cgd else ('sgd',)
  for method in methods:
    steps = plan.more if method == 'sgd' else plan.cgd
    at = f'{name}, {method.upper()}, {steps:,} steps, {plan.seeds} seeds'
    rows += _drifts(seen, method, at) + _losses(seen, method, at)
    at = f'{name}, {method.upper()}, {plan.strike:,} steps, {plan.seeds} seeds'
    rows += _strikes(seen, method, at, methods)
  if plan.cgd:
    at = f'{name}, {plan.cgd:,} steps, {plan.seeds} seeds'
    rows += [_by_cgd(seen, of, plan, at) for of in ('real', 'fake')]
  return rows if plan.judged else [row._replace(holds=None) for row in rows]


def _by_cgd(seen, of, plan, at):
  """The critic alone, by CGD and by SGD, after equally many steps."""
  ends = []
  for method, steps in dict(cgd=plan.cgd, sgd=plan.more).items():
    values = getattr(seen[f'alone {method}'], f'drift_{of}')
    marks = np.linspace(0, steps, values.shape[1])
    ends.append([np.interp(plan.cgd, marks, line) for line in values])
  found = np.divide(*ends)
  label = dict(real='real', fake='generated')[of]
  return result.finding(
    f'drift on {label} examples, alone, CGD / SGD',
    'less than 1 (no number published)',
    spread(found),
    evidence.below(found, 1.0),
    at,
  )


def _row(quantity, paper, ours, holds, method, at):
  """The published numbers are of SGD; beside CGD there is nothing to hold."""
  if method != 'sgd':
    return result.finding(quantity, None, ours, None, at)
  return result.finding(quantity, f'{paper} (read off; MNIST)', ours, holds, at)


def _drifts(seen, method, at):
  rows = []
  for of, label in dict(real='real', fake='generated').items():
    found = ratio(seen, method, of)
    distances = [
      spread(late(getattr(seen[f'{how} {method}'], f'drift_{of}')))
      for how in ('alone', 'play')
    ]
    ours = f'{spread(found)} = {distances[0]} / {distances[1]}'
    quantity = f'drift on {label} examples, alone / in play'
    holds = evidence.above(found, APART)
    rows.append(_row(quantity, '3 = 150 / 50', ours, holds, method, at))
  return rows


def _losses(seen, method, at):
  alone, play = (seen[f'{how} {method}'] for how in ('alone', 'play'))
  before = alone.loss_d[:, 0]
  left = lambda x: late(x.loss_d) / before
  grad = late(alone.grad_g) / alone.grad_g[:, 0]
  told = []
  for name, x, paper, holds in (
    ('alone', alone, '.9 -> .1', evidence.below(left(alone), 0.5)),
    ('in play', play, '.9 -> .8', evidence.above(left(play), 0.5)),
  ):
    ours = f'{np.median(before):.3g} -> {spread(late(x.loss_d))}'
    told.append(_row(f"critic's loss, {name}", paper, ours, holds, method, at))
  quantity = "norm of the generator's gradient grows by, critic alone"
  paper = '600 = 6000 / 10 within 4,700 steps'
  holds = evidence.above(grad, 2.0)
  return [*told, _row(quantity, paper, spread(grad), holds, method, at)]


def _strikes(seen, method, at, sources):
  """Loss of a frozen critic at the end of the generator's training."""
  end = lambda x: late(seen[f'strike {method} from {x}'].loss_d)
  first = lambda x: np.median(seen[f'strike {method} from {x}'].loss_d[:, 0])
  words = lambda x: f'{first(x):.2g} -> {spread(end(x))}'
  name = "critic's loss as the generator strikes back, critic "
  paper = '1.3 -> 4 at 100k steps (read off; MNIST)'
  rows = [
    result.finding(name + 'as it was', paper, words('checkpoint'), None, at)
  ]
  worse = end('sgd') / end('checkpoint')
  rows.append(
    result.finding(
      name + 'over-trained by SGD',
      '0 -> 12.5 at 10k, 15.7 at 47k steps (read off; MNIST)',
      words('sgd'),
      evidence.above(worse, 1.0),
      at,
    )
  )
  if f'strike {method} from matched' in seen:
    quantity = name + 'over-trained by SGD for as long as by CGD'
    rows.append(result.finding(quantity, None, words('matched'), None, at))
  if 'cgd' in sources:
    rows.append(
      result.finding(
        name + 'over-trained by CGD',
        '1.35 -> 1.7 (read off; MNIST)',
        words('cgd'),
        less_open(seen, method),
        at,
      )
    )
  return rows


def describe(seen: dict[str, drift.Seen], name: str, plan: Any) -> str:
  """What one data set showed, in words."""
  ratios = [np.median(ratio(seen, 'sgd', of)) for of in ('real', 'fake')]
  end = lambda key: np.median(late(seen[key].loss_d))
  text = (
    f'{name}: by SGD the critic alone drifts {ratios[0]:.2g} times as far as '
    f'in play on real and {ratios[1]:.2g} times on generated examples; its '
    f'loss ends at {end("alone sgd"):.2g} alone and {end("play sgd"):.2g} in '
    f'play. Struck back by SGD, it ends at {end("strike sgd from sgd"):.3g} if '
    f'over-trained and {end("strike sgd from checkpoint"):.3g} if not'
  )
  if not plan.cgd:
    return text + '. CGD was left out.'
  ratios = [np.median(ratio(seen, 'cgd', of)) for of in ('real', 'fake')]
  text += (
    f', and at {end("strike sgd from cgd"):.3g} if CGD over-trained it'
    f'{_matched(seen, end)}. By CGD the ratios are {ratios[0]:.2g} and '
    f'{ratios[1]:.2g}; in play its loss ends at {end("play cgd"):.2g}'
  )
  if not plan.control:
    return text + '.'
  last = end('play saturating')
  return f'{text}, that of SimGD on the same zero-sum game at {last:.2g}.'


def _matched(seen, end):
  key = 'strike sgd from matched'
  return f' ({end(key):.3g} if SGD did for as long)' if key in seen else ''


def less_open(seen: dict[str, drift.Seen], method: str) -> bool | None:
  """Whether a critic over-trained by CGD is fooled half as much, or less.

  Compared with one over-trained by SGD for as many steps.

  Args:
    seen: of `experiment`.
    method: by which the generator strikes back.
  """
  rival = 'matched' if f'strike {method} from matched' in seen else 'sgd'
  by_cgd, by_sgd = (
    late(seen[f'strike {method} from {x}'].loss_d) for x in ('cgd', rival)
  )
  return evidence.below(by_cgd / by_sgd, 0.5)


def verdict(seen: dict[str, drift.Seen], name: str, plan: Any) -> str:
  """What one data set says of the claims, in a sentence."""
  answers = [
    evidence.above(ratio(seen, 'sgd', of), APART) for of in ('real', 'fake')
  ]
  text = f'On {name} (SGD) ' + (
    'the critic drifts much farther alone than in play'
    if all(answers)
    else 'the critic does NOT drift much farther alone than in play'
    if False in answers
    else 'the seeds do not decide whether the critic drifts much farther alone'
  )
  if not plan.cgd:
    return text + '.'
  return (
    f'{text}; over-training it by CGD '
    + {
      True: 'leaves it much less open to attack',
      False: 'does NOT leave it much less open to attack',
      None: 'may or may not leave it less open to attack (undecided)',
    }[less_open(seen, 'sgd')]
    + '.'
  )
