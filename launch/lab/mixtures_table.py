"""What the runs of `mixtures` say: modes, differences and their errors."""

from typing import NamedTuple

import numpy as np

from launch.lab import mixtures_figures, mixtures_play, result

# A mean is told from 0 beyond so many standard errors.
NUM_ERRORS = 2.0


def _method_rows(name, runs, total) -> list[result.Row]:
  rows = []
  for method, run in runs.items():
    last = run.covered[:, -1]
    rows.append(
      result.finding(
        f'{mixtures_figures.TITLES[name]}, {label(method)}: modes of {total}',
        None,
        float(np.mean(last)),
        None,
        f'mean of {len(last)} seeds, from {last.min()} to {last.max()}; '
        f'{run.steps[-1]:,} steps; {np.mean(run.quality[:, -1]):.0%} of the '
        'samples within 3 sigma of a mode; '
        f'{np.mean(run.reached[:, -1]):.1f} modes nearest to 1 % of them',
      )
    )
  return rows


def label(method: str) -> str:
  """A method's name in a row."""
  text = mixtures_figures.label(method)
  return f'unrolled {text}' if method.startswith('unrolled') else text


class Difference(NamedTuple):
  """Modes at the end that one method covers more than another.

  Attributes:
    mean: over seeds.
    error: standard error of the mean of the paired differences; nan for one
      seed.
    quality: the lower of the two methods' mean share of samples near any mode.
    judged: whether the mean is beyond NUM_ERRORS errors, or the error is 0.
  """

  mean: float
  error: float
  quality: float
  judged: bool


def difference(run: mixtures_play.Run, other: mixtures_play.Run) -> Difference:
  """run minus other, seed by seed."""
  apart = run.covered[:, -1] - other.covered[:, -1]
  error = (
    np.std(apart, ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else np.nan
  )
  quality = min(np.mean(one.quality[:, -1]) for one in (run, other))
  mean = np.mean(apart)
  judged = bool(error == 0 or abs(mean) > NUM_ERRORS * error)
  return Difference(float(mean), float(error), float(quality), judged)


def _note(found: Difference, run: mixtures_play.Run) -> str:
  why = f'; not judged, as not beyond {NUM_ERRORS:g} errors'
  return (
    f'at step {run.steps[-1]:,}; paired standard error {found.error:.2g} over '
    f'{len(run.covered)} seeds; at least {found.quality:.0%} of the samples '
    f'near a mode{why * (not found.judged)}'
  )


def claim_rows(name, runs, total) -> list[result.Row]:
  """Rows that judge a claim on one set; see `mixtures.report`."""
  title, rows = mixtures_figures.TITLES[name], []
  if 'rs' in runs and 'js' in runs:
    found = difference(runs['rs'], runs['js'])
    rows.append(
      result.finding(
        f'{title}: RS minus JS, mean modes',
        'at least 0',
        found.mean,
        found.mean >= 0 if found.judged else None,
        f'{_note(found, runs["rs"])}; modes nearest to 1 % of the samples: '
        f'RS {np.mean(runs["rs"].reached[:, -1]):.1f}, '
        f'JS {np.mean(runs["js"].reached[:, -1]):.1f}',
      )
    )
  ahead = [method for method in runs if method.startswith('unrolled')]
  if ahead:
    rows += _gains(title, {m: runs[m] for m in ahead}, total)
    rows.append(_collapse_row(title, runs[ahead[0]], total))
  return rows


def _gains(title, runs, total) -> list[result.Row]:
  """Every k against the least."""
  (first, base), *others = runs.items()
  rows = []
  for method, run in others:
    found = difference(run, base)
    both = min(np.min(one.covered[:, -1]) for one in (run, base)) == total
    rows.append(
      result.finding(
        f'{title}: gain of {label(method)} over {label(first)}, mean modes',
        'above 0',
        found.mean,
        found.mean > 0 if found.judged and not both else None,
        'not judged, as both cover all' if both else _note(found, run),
      )
    )
  return rows


def _collapse_row(title, run, total) -> result.Row:
  collapsed = np.mean(run.reached[:, -1] <= total / 2)
  return result.finding(
    f'{title}: share of collapsed seeds without unrolling',
    'mode collapse',
    float(collapsed),
    collapsed >= 0.9,
    'at most half of the modes are nearest to 1 % of the samples; '
    'holds from 0.9; users of the published notebook report that its '
    'collapse at k = 0 does not always come',
  )


def table(runs, totals) -> tuple[result.Row, ...]:
  """Rows of all sets."""
  rows = []
  for name, of_set in runs.items():
    rows += _method_rows(name, of_set, totals[name])
    rows += claim_rows(name, of_set, totals[name])
  return tuple(rows)


def seen(runs, totals) -> str:
  """What came out, in words."""
  sentences = []
  for name, of_set in runs.items():
    parts = [
      f'{label(method)} {np.mean(run.covered[:, -1]):.1f} '
      f'({np.mean(run.reached[:, -1]):.1f} reached, '
      f'{np.mean(run.quality[:, -1]):.0%} near)'
      for method, run in of_set.items()
    ]
    sentences.append(
      f'{mixtures_figures.TITLES[name].capitalize()}, mean modes of '
      f'{totals[name]} at the end: {", ".join(parts)}.'
    )
  return ' '.join(sentences)


def verdict(rows) -> str:
  """Counts the claims that hold, of those that could be judged."""
  sentences = []
  for words, text in (
    ('RS minus JS', 'RS covers at least as many modes as JS'),
    ('gain of', 'looking further ahead covers more modes'),
    ('collapsed seeds', 'play without unrolling collapses'),
  ):
    held = [row.holds for row in rows if words in row.quantity]
    judged = [holds for holds in held if holds is not None]
    unclear = len(held) - len(judged)
    if judged:
      sentence = f'{text} in {sum(judged)} of {len(judged)} comparisons judged'
      more = f' ({unclear} could not be judged)' if unclear else ''
      sentences.append(sentence + more)
    elif held:
      sentences.append(
        f'whether {text} could not be judged (comparisons: {unclear})'
      )
  joined = '; '.join(sentences)
  return f'{joined[0].upper()}{joined[1:]}.' if joined else 'Nothing to judge.'
