"""Rows of the landscape of the empirical loss."""

import numpy as np

from gan_jax import losses
from gan_jax.theory import (
  configurations,
  landscape,
  landscape_closed,
  landscape_terms,
  minima,
)
from launch.lab import result

_LOG_2 = np.log(2.0)
# Losses h(r) + h(-f), up to a shift of the logits and a constant, with h
# concave, sup h = 0 > h(0): those the theorem is about. The other f-GAN rows
# and Wasserstein's are separable, but of another form.
THEOREM = (
  *('minimax', 'nonsaturating', 'least_squares', 'hinge'),
  *('f_hellinger', 'f_jensen_shannon'),
)
_STATES = {
  (0, 1): 'match',
  (1, 0): 'match, pairs crossed',
  (0, 2): 'mode dropping: y1 = x1, y2 off the data',
  (0, 0): 'collapse: y1 = y2 = x1',
  (2, 3): 'no match',
}
_COLLAPSE_JS = _LOG_2 - 1.5 * np.log(3.0)
_PAPER = {
  'nonsaturating': (-2 * _LOG_2, -2 * _LOG_2, -_LOG_2, _COLLAPSE_JS, 0.0),
  'relativistic': (-_LOG_2, -_LOG_2, -_LOG_2 / 2, -_LOG_2 / 2, 0.0),
}
_SHORT = {'nonsaturating': 'JS', 'relativistic': 'RS'}


def two_points() -> list[result.Row]:
  """phi of two points in every state."""
  rows = []
  for name, values in _PAPER.items():
    for (pattern, state), paper in zip(_STATES.items(), values, strict=True):
      ours = landscape.inner(name, *configurations.example(pattern)).value
      title = f'phi_{_SHORT[name]}, {state}'
      half = round(ours / 2, 9) + 0.0  # no minus zeros
      norms = f'with 1/n; {half:.6g} with 1/(2n)'
      rows.append(result.exact(title, paper, ours, 1e-9, norms))
  collapse = landscape.inner('nonsaturating', *configurations.example((0, 0)))
  odds = 1 / (1 + np.exp(-collapse.critic))
  rows.append(result.exact('JS collapse: D(x1)', 1 / 3, odds[0], 1e-9))
  for name, slide in (('nonsaturating', 0.48), ('relativistic', 0.35)):
    value = landscape.inner(name, *configurations.example((0, 0))).value
    # The toy halves JS, and not RS.
    plateau = -value * (0.5 if name == 'nonsaturating' else 1.0)
    rows.append(
      result.finding(
        f'{_SHORT[name]} discriminator loss at the collapse, as plotted',
        slide,
        plateau,
        abs(plateau - slide) < 0.005,
        'paper: the plateau on the slides, rounded; JS halved',
      )
    )
  return rows


def _orbits(size: int) -> list[configurations.Pattern]:
  every = configurations.patterns(size)
  return sorted({configurations.canonical(pattern) for pattern in every})


def formulas(sizes: tuple[int, ...]) -> list[result.Row]:
  """Closed forms against the convex solve, over all patterns."""
  names = of_kind('separable', 'paired')
  cases = [(name, p) for n in sizes for p in _orbits(n) for name in names]
  solved = {case: landscape.phi(*case, convex_solve=True) for case in cases}
  gaps = [abs(b - a) for a, b in solved.values() if not np.isinf(a)]
  at = f'all patterns of n = {", ".join(map(str, sizes))}'
  rows = [
    result.exact(
      'largest gap of a dual bound', 0.0, result.worst(gaps), 1e-8, at
    ),
    _apart(
      'JS by counts against the convex solve',
      {
        case: landscape_closed.jensen_shannon(configurations.counts(case[1]))
        for case in cases
        if case[0] == 'nonsaturating'
      },
      solved,
      at,
    ),
  ]
  for name in ('relativistic', 'relativistic_hinge'):
    at_zero = _LOG_2 if name == 'relativistic' else 1.0
    formula = {
      case: landscape_closed.relativistic(case[1], at_zero)
      for case in cases
      if case[0] == name
    }
    title = f'{name} by cycles against the convex solve'
    rows.append(_apart(title, formula, solved, at))
  name = 'relativistic_average_hinge'
  patterns = [p for n in sizes for p in _orbits(n)]
  formula = {
    (name, p): landscape_closed.relativistic_average_hinge(p) for p in patterns
  }
  solved |= {case: landscape.phi(*case) for case in formula}
  title = f'{name} by its most crowded real against the convex solve'
  rows.append(_apart(title, formula, solved, f'{at}; our closed form'))
  closed = {case: landscape.phi(*case)[0] for case in cases}
  title = f'all {len(names)} losses with closed forms against the convex solve'
  return [*rows, _apart(title, closed, solved, at), _many_points()]


def _many_points() -> result.Row:
  """The formula of the cycles beyond the sizes that are enumerated."""
  random = np.random.default_rng(0)
  name, sizes = 'relativistic', (6, 6, 7, 7, 8, 8)
  # More places than real ones, so that some points are off the data.
  patterns = [tuple(random.integers(0, n + 2, n)) for n in sizes]
  cases = [(name, configurations.check(pattern)) for pattern in patterns]
  formula = {case: landscape_closed.relativistic(case[1]) for case in cases}
  solved = {case: landscape.phi(*case, convex_solve=True) for case in cases}
  on_cycles = [round(-len(p) * formula[name, p] / _LOG_2) for _, p in cases]
  at = (
    f'{len(sizes)} random patterns, n = 6, 7, 8; points on cycles: '
    f'{", ".join(map(str, on_cycles))}'
  )
  return _apart(f'{name} by cycles, more points', formula, solved, at)


def of_kind(*kinds: str) -> list[str]:
  return [n for n in losses.LOSSES if landscape_terms.get(n).kind in kinds]


def _apart(title, formula, solved, at) -> result.Row:
  apart = [
    0.0 if value == solved[case][0] else abs(value - solved[case][0])
    for case, value in formula.items()
  ]
  title = f'{title}: largest difference'
  return result.exact(title, 0.0, result.worst(apart), 1e-8, at)


def _strict(by_size) -> str:
  """Strict minima by number of pairs, and 'infinite' where phi is."""
  cells = [
    'infinite'
    if at.on_data['infinite']
    else str(at.on_data['strict'] + at.on_data['trapped'])
    for at in by_size.values()
  ]
  return cells[0] if len(set(cells)) == 1 else ', '.join(cells)


def counts(table: dict) -> list[result.Row]:
  """The table of bad basins, and what must hold in it."""
  rows = []
  for size, at in table['nonsaturating'].items():
    bad = at.on_data['strict']
    paper = minima.num_collapsed(size)
    title = f'JS: bad strict local minima, n = {size}: n^n - n!'
    rows.append(result.exact(title, paper, bad, 0.0))
    stuck = sum(table[name][size].cut_off for name in of_kind('paired'))
    title = f'paired losses: patterns without a path to the match, n = {size}'
    rows.append(result.exact(title, 0, stuck, 0.0))
  every = [at for by_size in table.values() for at in by_size.values()]
  saddles = sum(at.saddles for at in every)
  title = 'configurations with a lower one nearby, all losses'
  rows.append(result.exact(title, 0, saddles, 0.0, 'points part: phi rises'))
  title = 'largest gap of a dual bound in the table'
  gap = result.worst([at.gap for at in every])
  rows.append(result.exact(title, 0.0, gap, 1e-8))
  for name, by_size in table.items():
    rows.append(_basin_row(name, by_size))
  return rows


def _basin_row(name, by_size) -> result.Row:
  ours = _strict(by_size)
  kind = landscape_terms.get(name).kind
  paper = None
  if name in THEOREM:
    paper = ', '.join(str(minima.num_collapsed(n)) for n in by_size)
  elif kind == 'paired':
    paper = '0'
  return result.finding(
    f'{name}: bad local minima, n = 2, 3, 4',
    paper,
    ours,
    None if paper is None else ours == paper,
    _ways_out(by_size),
  )


def _ways_out(by_size) -> str:
  if any(at.on_data['infinite'] for at in by_size.values()):
    return 'phi is infinite at every collapse: no depth, no path to judge'
  climbs = [
    'infinite' if np.isinf(at.deepest) else f'{at.deepest:.4g}'
    for at in by_size.values()
  ]
  missed = [str(at.cut_off) for at in by_size.values()]
  return (
    f'climb out of the deepest: {", ".join(climbs)}; paths that never rise '
    f'miss the global minimum from {", ".join(missed)} patterns'
  )


# phi at a match, the lowest: the best logit is the same everywhere.
_AT_MATCH = {
  **dict.fromkeys(('minimax', 'nonsaturating'), -2 * _LOG_2),
  **dict(least_squares=-1 / 4, hinge=-2.0),
  **dict.fromkeys(('relativistic', 'relativistic_average'), -_LOG_2),
  **dict.fromkeys(('relativistic_hinge', 'relativistic_average_hinge'), -1.0),
  'relativistic_least_squares': -1.0,
  'relativistic_average_least_squares': -1.0,
}


def single_moves(sizes: tuple[int, ...]) -> list[result.Row]:
  """What one point alone can do, and what lies lowest."""
  rows, apart, lowest = [], [], []
  for size in sizes:
    found = minima.survey('minimax', size)
    rising = (found.kinds == 'strict') & (found.single > minima.TIE)
    title = f'minimax: strict minima left by no single point, n = {size}'
    paper, at = minima.num_collapsed(size), 'every single-point move rises'
    rows.append(result.exact(title, paper, np.sum(rising), 0.0, at))
  for name in losses.LOSSES:
    for size in sizes:
      found = minima.survey(name, size)
      apart.append(_single_apart(found))
      lowest.append(np.min(found.values) - _AT_MATCH.get(name, 0.0))
  matches = [
    minima.basins(name, n).matches for name in losses.LOSSES for n in sizes
  ]
  at = f'{len(losses.LOSSES)} losses, n = {", ".join(map(str, sizes))}'
  title = 'least rise by one point against that by any, largest difference'
  rows.append(result.exact(title, 0.0, result.worst(apart), 1e-8, at))
  title = 'cases whose global minima are the n! matches alone'
  rows.append(result.exact(title, len(matches), sum(matches), 0.0, at))
  title = 'lowest phi against -h(0) or its like, largest difference'
  at = f'{at}; -2 log 2 for JS, -log 2 for RS, 0 for divergences'
  rows.append(result.exact(title, 0.0, result.worst(np.abs(lowest)), 1e-8, at))
  return rows


def _single_apart(found: minima.Survey) -> float:
  on_data = np.array([configurations.on_data(p) for p in found.patterns])
  pairs = zip(found.single[on_data], found.lowest_rise[on_data], strict=True)
  return result.worst([0.0 if a == b else abs(a - b) for a, b in pairs])


def paths(walked: dict) -> list[result.Row]:
  """The constructive path."""
  worst, miss, number = walked['relativistic']
  at = f'{number} starts, exact phi at every corner and between'
  js_worst = walked['nonsaturating'][0]
  return [
    result.exact('RS: largest rise along the path', 0.0, worst, 1e-9, at),
    result.exact('RS: phi at its end above the lowest', 0.0, miss, 1e-9, at),
    result.finding('JS: largest rise', 'rises', js_worst, js_worst > 0.1, at),
  ]


def num_bad(surface) -> int:
  """Local minima of a smoothed landscape that are not the lowest."""
  return int(np.sum(surface.levels > np.min(surface.levels) + 0.02))


def surface_rows(surfaces: dict, width: float) -> list[result.Row]:
  """Local minima of the smoothed landscapes."""
  rows = []
  for name, paper in (('nonsaturating', 2), ('relativistic', 0)):
    bad = num_bad(surfaces[name])
    title = f'{_SHORT[name]}, smoothed: bad local minima of two points'
    at = f'blur {width}, deeper than .02'
    rows.append(result.finding(title, paper, bad, bad == paper, at))
  return rows
