"""What the search says: protocol, findings and verdict, from its numbers."""

import itertools

import numpy as np

from launch.lab import bad_start_kinds as starting
from launch.lab import bad_start_play as playing
from launch.lab import bad_start_search as searching
from launch.lab import result


def verdict(outcome: searching.Outcome) -> str:
  """Found or not, computed, with what would weaken it."""
  count, name = len(outcome.size.seeds), outcome.task.name
  control = searching.successes(outcome, 'tuned', outcome.size.names[0])
  if min(control.values()) < searching.MOST * count:
    return f'{name}: not decided: the ordinary start fails, {_of(control)}.'
  tuned, slow = (
    searching.bad_starts(outcome, rule) for rule in searching.RULES
  )
  tried = len(outcome.size.names) - 1
  first = (
    f'{name}, {count} seeds: with tuned rates '
    + (f'found ({", ".join(tuned)})' if tuned else 'not found')
    + f', of {tried} start{"s" * (tried > 1)} tried; '
  )
  if not slow:
    near = searching.widest(outcome, 'slow')
    counts = searching.successes(outcome, 'slow', near)
    return (
      f'{first}with a slow generator and a fast critic not found either; '
      f'nearest is "{near}", where {_of(counts)} succeed.'
    )
  held = searching.successes(outcome, 'slow', outcome.size.names[0])
  alone = min(held.values()) >= searching.MOST * count
  return (
    first
    + f'with a slow generator and a fast critic found ({", ".join(slow)}). '
    + f'There the ordinary start gives {_of(held)}'
    + ('.' if alone else ', so the start is not the only cause.')
  )


def _of(counts):
  return ' and '.join(f'{loss.upper()} {n}' for loss, n in counts.items())


def protocol(outcome: searching.Outcome) -> str:
  """What was played, with sizes, seeds and the criterion."""
  return ' '.join(
    (_players(outcome), _starts(outcome), _rates(outcome), _criterion(outcome))
  )


def _players(outcome):
  task, size = outcome.task, outcome.size
  side, width = task.images.shape[1], task.generator.features[0]
  return (
    f'{task.name}, {side} x {side}: dense players with two layers of {width}, '
    f'batches of {task.batch_size}, Adam with betas 0.5 and 0.999, one turn '
    f'each, the generator first, {size.num_steps} steps. JS is nonsaturating.'
  )


def _starts(outcome):
  size = outcome.size
  made = '; '.join(f'{x}: {starting.KINDS[x].words}' for x in size.names)
  return (
    f'Starts: {made}. A play that makes a start is by JS where not said '
    f'otherwise, {size.first_steps} steps at rates '
    f'{starting.PRETRAINING_RATES}. Each of {len(size.seeds)} seeds has starts '
    'of its own, the same for both losses, as are the batches.'
  )


def _rates(outcome):
  size = outcome.size
  grid = ', '.join(f'{x:g}' for x in size.rates)
  plural = 's' * (len(size.tuning_seeds) > 1)
  return (
    f'Rates: all pairs of {grid}; for each start and loss the pair of least '
    f'median distance on {len(size.tuning_seeds)} other seed{plural}. And, for '
    f'both losses, a slow generator ({searching.SLOW[0]:g}) with a fast critic '
    f'({searching.SLOW[1]:g}); that pair was found on other seeds too.'
  )


def _criterion(outcome):
  task = outcome.task
  return (
    f'Distance: Frechet in 64 features of a classifier ({task.accuracy:.1%} '
    f'held out), {task.count} samples; real against real {task.floor:.2f}. '
    f'Success, fixed in advance: {searching.MIN_CLASSES} or more of ten '
    'classes with 1 % of the samples each, and a distance up to '
    f'{searching.DISTANCE_RATIO:g} times the median of the ordinary start, '
    f'which makes {outcome.limit:.1f}. Bad: JS succeeds in at most '
    f'{searching.FEW:.0%} of the seeds and RS in at least {searching.MOST:.0%}.'
  )


def seen(outcome: searching.Outcome) -> str:
  """What came out: where RS leads most, the control, and the grid."""
  control = outcome.size.names[0]
  sentences = []
  for rule, meaning in searching.RULES.items():
    names = (searching.widest(outcome, rule), control)
    parts = [
      f'"{name}" '
      + ', '.join(_score(outcome, rule, name, loss) for loss in playing.LOSSES)
      for name in names
    ]
    sentences.append(f'{meaning.capitalize()}: {"; ".join(parts)}.')
  good = {loss: _good_cells(outcome, loss) for loss in playing.LOSSES}
  tried = len(searching.pairs(outcome.size)) * (len(outcome.size.names) - 1)
  return (
    f'{outcome.task.name}. ' + ' '.join(sentences) + f' Of {tried} pairs of '
    'rates and start, ordinary ones left out, so many end within the distance '
    f'(median of the tuning seeds): {_of(good)}.'
  )


def _good_cells(outcome, loss):
  cells = [outcome.tuned.cells[name, loss] for name in outcome.size.names[1:]]
  return int(np.sum(np.asarray(cells) <= outcome.limit))


def rows(outcome: searching.Outcome) -> list[result.Row]:
  """A row for each start under each rule for the rates."""
  size = outcome.size
  settings = (
    f'{len(size.seeds)} seeds, {size.num_steps} steps; the paper has one '
    'start, on MNIST, unknown to us'
  )
  return [
    result.finding(
      f'{outcome.task.name}, {searching.RULES[rule]}, start "{name}"',
      'both succeed' if name == size.names[0] else 'JS fails, RS succeeds',
      ', '.join(_score(outcome, rule, name, loss) for loss in playing.LOSSES),
      _holds(outcome, rule, name),
      settings,
    )
    for rule, name in itertools.product(searching.RULES, size.names)
  ]


def _holds(outcome, rule, name):
  counts = searching.successes(outcome, rule, name)
  num_seeds = len(outcome.size.seeds)
  if name == outcome.size.names[0]:
    return min(counts.values()) >= searching.MOST * num_seeds
  return searching.is_bad(counts, num_seeds)


def _score(outcome, rule, name, loss):
  runs = outcome.seen[rule, name, loss]
  good = searching.succeeds(runs, outcome.limit).sum()
  classes = np.median(runs.classes[:, -1])
  distance = np.median(runs.distance[:, -1])
  return (
    f'{loss.upper()} {good}/{len(runs.classes)} ({classes:g} classes, '
    f'distance {distance:.0f})'
  )


def numbers(outcome: searching.Outcome) -> dict:
  """What the figures are made of, and the search."""
  case = lambda key: ' / '.join(key)
  return result.plain(
    dict(
      size=outcome.size._asdict(),
      accuracy=outcome.task.accuracy,
      floor=outcome.task.floor,
      limit=outcome.limit,
      tuned={case(key): pair for key, pair in outcome.tuned.rates.items()},
      pairs=searching.pairs(outcome.size),
      medians={case(key): x for key, x in outcome.tuned.cells.items()},
      runs={
        case(key): dict(
          classes=runs.classes,
          distance=runs.distance.round(2),
          loss_d=runs.loss_d.astype(float).round(4),
          loss_g=runs.loss_g.astype(float).round(4),
        )
        for key, runs in outcome.seen.items()
      },
    )
  )
