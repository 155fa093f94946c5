"""A distance within each class, averaged: what one over all classes can hide.

A generator that ignores its labels passes the distance between all samples and
all real examples, and fails this one.

References:
  Miyato & Koyama, cGANs with Projection Discriminator, 2018.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

LISTED = 5
SMALLEST = 2  # real examples: below that there is no covariance


def intra_class(
  distance_of_class: Callable[[int], dict[str, Any]],
  counts: Sequence[int],
  *,
  num_classes: int,
  listed: int = LISTED,
) -> dict[str, Any]:
  """The mean over classes of a distance within the class.

  Args:
    distance_of_class: class c -> the entry of one distance, of samples made
      for c to the real examples of c: `value`, `real_against_real` if there is
      one, and `protocol`.
    counts: real examples of each class, `[num_classes]`.
    num_classes: classes that the generator can be asked for; 0 if it takes no
      labels.
    listed: how many of the worst and the best classes to list.

  Returns:
    `value` and, if all classes have it, `real_against_real`: means; `std` over
    the classes; `worst` and `best`: lists of `class`, `value` and `count`, its
    real examples, the most telling first; `protocol`, that of the classes, with
    `[smallest, largest]` in place of whole numbers that differ.

  Raises:
    ValueError: the generator takes no labels, or others than the data have; a
      class has fewer than 2 real examples, a distance that is not finite, or
      another protocol.
  """
  counts = [int(count) for count in counts]
  _check(counts, num_classes)
  entries = [distance_of_class(c) for c in range(num_classes)]
  values = [float(entry['value']) for entry in entries]
  bad = [c for c, value in enumerate(values) if not np.isfinite(value)]
  if bad:
    raise ValueError(f'The distance of {_classes(bad)} is not finite.')
  order = sorted(range(num_classes), key=lambda c: values[c])
  described = lambda chosen: [
    {'class': c, 'value': values[c], 'count': counts[c]} for c in chosen
  ]
  result = {
    'value': float(np.mean(values)),
    'std': float(np.std(values)),
    'worst': described(order[::-1][:listed]),
    'best': described(order[:listed]),
    'protocol': {
      **_shared([entry.get('protocol', {}) for entry in entries]),
      'classes': num_classes,
      'real_of_a_class': [min(counts), max(counts)],
    },
  }
  if all(entry.get('real_against_real') is not None for entry in entries):
    floors = [entry['real_against_real'] for entry in entries]
    result['real_against_real'] = float(np.mean(floors))
  return result


def _check(counts, num_classes):
  if not num_classes:
    raise ValueError(
      'A distance within classes needs a generator that takes labels; this one '
      'takes none.'
    )
  if len(counts) != num_classes:
    raise ValueError(
      f'The generator takes {num_classes} classes, but the data have '
      f'{len(counts)}.'
    )
  few = [c for c, count in enumerate(counts) if count < SMALLEST]
  if few:
    raise ValueError(
      f'A distance within classes needs at least {SMALLEST} real examples of '
      f'each; {_classes(few)} {"has" if len(few) == 1 else "have"} fewer.'
    )


def _classes(numbers):
  shown = ', '.join(map(str, numbers[:LISTED]))
  more = ', ...' if len(numbers) > LISTED else ''
  return f'class {shown}' if len(numbers) == 1 else f'classes {shown}{more}'


def _shared(protocols):
  """What the protocols say; of whole numbers that differ, their range."""
  return {
    key: _agreed(key, [p.get(key) for p in protocols]) for key in protocols[0]
  }


def _agreed(key, values):
  if all(value == values[0] for value in values):
    return values[0]
  if all(isinstance(value, int) for value in values):
    return [min(values), max(values)]
  raise ValueError(
    f'The classes were measured by different protocols: {key} is '
    f'{values[0]!r} for class 0, but not for all.'
  )
