"""What every line on an entry says, whoever prints it."""

from typing import Any

_SPREADS = (('std_over_splits', 'splits'), ('std_over_subsets', 'subsets'))


def spread(entry: dict[str, Any]) -> str:
  """The deviation of a number over its own parts; '' of one that has none."""
  return ''.join(
    f' +- {entry[key]:.2g} over {parts}'
    for key, parts in _SPREADS
    if key in entry
  )


def counts(protocol: dict[str, Any]) -> tuple[str, str]:
  """How many were compared with how many: the samples, and in the floor.

  Of what has no floor of its own, as an inception score, the first is how many
  real images were looked at, and the second ''.
  """
  reference = protocol['count_reference']
  if 'count_floor' not in protocol:
    return _number(reference), ''
  side, others = protocol['count_floor'], protocol['count_floor_reference']
  whole = all(isinstance(count, int) for count in (reference, side, others))
  of_one = whole and side + others == reference
  rest = f'the other {others}' if of_one else f'{_number(others)} others'
  of_samples = f'{_number(protocol["count"])} against {_number(reference)}'
  return of_samples, f'{_number(side)} against {rest}'


def _number(count: int | list[int]) -> str:
  """A count, or the smallest and the largest over classes."""
  return f'{count[0]} to {count[1]}' if isinstance(count, list) else f'{count}'


def common_count(entry: dict[str, Any]) -> int | None:
  """The count at which a number and its floor would compare.

  None where they do as they are, or there is no floor of a count. Distances of
  finite sets are biased, by more the fewer images there are, so in the floor as
  many real images must stand for the samples.
  """
  protocol = entry['protocol']
  names = ('count', 'count_reference', 'count_floor')
  found = [protocol.get(name) for name in names]
  whole = all(isinstance(count, int) for count in found)
  if entry.get('real_against_real') is None or not whole:
    return None
  return min(found) if protocol['count_floor'] != protocol['count'] else None
