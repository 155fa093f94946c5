"""Words and numbers of the landscape of the empirical loss."""

from gan_jax.theory import minima
from launch.lab import landscape_table


def _groups(table: dict) -> dict[str, list[str]]:
  """Losses by what their collapsed configurations are."""
  groups: dict[str, list[str]] = {kind: [] for kind in (*minima.KINDS, 'mixed')}
  for name, by_size in table.items():
    kinds = {
      kind
      for at in by_size.values()
      for kind, number in at.on_data.items()
      if number
    }
    kind = kinds.pop() if len(kinds) == 1 else 'mixed'
    groups.setdefault(kind, []).append(name)
  return groups


def _names(names: list[str]) -> str:
  return f'{", ".join(names)} ({len(names)})' if names else 'none'


def seen(table: dict, surfaces: dict, walked: dict) -> str:
  """What came out."""
  groups = _groups(table)
  averages = [name for name in groups['strict'] if 'average' in name]
  against = [
    name for name in landscape_table.THEOREM if name not in groups['strict']
  ]
  found = [
    'All n^n - n! collapsed configurations are bad strict local minima for: '
    f'{_names(groups["strict"])}.',
    f'They are flat, with a way down, for: {_names(groups["open"])}.',
    f'phi is infinite there for: {_names(groups["infinite"])}.',
  ]
  for kind in groups:
    if groups[kind] and kind not in ('strict', 'open', 'infinite'):
      found.append(f'Of other kinds ({kind}): {_names(groups[kind])}.')
  found.append(
    f'{len(averages)} of the 3 relativistic averages have bad strict minima, '
    'although the paired losses of the same family have '
    + ('none.' if not _paired_bad(table) else 'some too.')
  )
  if against:
    found.append(f'Against the count for separable losses: {_names(against)}.')
  if 'hinge' in against:
    found.append(
      "The hinge's phi only depends on how many reals are met, so a second "
      'point may leave a shared one for free: sup h = 0, h(0) < 0 and '
      'concavity do not suffice; sup_t h(t) + m h(-t) has to fall strictly '
      'with m.'
    )
  found.append(
    f'Along the path the RS value rises by {walked["relativistic"][0]:.1g} at '
    f'most, JS by up to {walked["nonsaturating"][0]:.3f}. The smoothed '
    f'surfaces have {len(surfaces["nonsaturating"].levels)} (JS) and '
    f'{len(surfaces["relativistic"].levels)} (RS) local minima, '
    f'{landscape_table.num_bad(surfaces["nonsaturating"])} and '
    f'{landscape_table.num_bad(surfaces["relativistic"])} of them bad.'
  )
  return ' '.join(found)


def _paired_bad(table: dict) -> bool:
  return any(
    at.cut_off
    for name in landscape_table.of_kind('paired')
    for at in table[name].values()
  )


def verdict(table: dict, walked: dict) -> str:
  """One sentence."""
  groups = _groups(table)
  js = 'nonsaturating' in groups['strict']
  rs = not _paired_bad(table) and walked['relativistic'][0] < 1e-9
  against = [
    name for name in landscape_table.THEOREM if name not in groups['strict']
  ]
  averages = [name for name in groups['strict'] if 'average' in name]
  words = [f'The claim {"holds" if js and rs else "fails"} for JS and RS']
  if against:
    words.append(f', not for every separable loss ({", ".join(against)})')
  words.append(f'; {len(averages)} of the 3 relativistic averages have ')
  words.append('as many bad minima as JS')
  if rs and averages:
    words.append(', so being relativistic is not enough: pairs are needed')
  return ''.join(words) + '.'


def numbers(table, surfaces, walks, walked) -> dict:
  """For the JSON file."""
  return {
    'kinds': minima.KINDS,
    'basins': {
      name: {size: at._asdict() for size, at in by_size.items()}
      for name, by_size in table.items()
    },
    'surfaces': {name: at._asdict() for name, at in surfaces.items()},
    'walks': {
      name: {'time': time, 'phi': phi} for name, (time, phi) in walks.items()
    },
    'largest_rises': {name: at[0] for name, at in walked.items()},
  }
