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


def common_count(entry: dict[str, Any]) -> int | None:
  """The count at which a number and its floor would compare.

  None where they do as they are, or there is no floor of a count. Distances of
  finite sets are biased, by more the fewer images there are.
  """
  protocol = entry['protocol']
  names = ('count', 'count_reference', 'count_floor')
  counts = [protocol.get(name) for name in names]
  whole = all(isinstance(count, int) for count in counts)
  if entry.get('real_against_real') is None or not whole:
    return None
  return min(counts) if len(set(counts)) > 1 else None
