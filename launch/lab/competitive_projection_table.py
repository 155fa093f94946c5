"""Rows and words on the projection toy."""

import numpy as np

from launch.lab import competitive_evidence as evidence
from launch.lab import competitive_projection_play as toy
from launch.lab import result

LONGER = 1.25  # less than this factor counts as the same
OVERSHOOT = 30.0  # of theta1, read off the published figure
INSIDE = 1.3  # of theta2; at theta1 = 2 the edge of S is at e / 2 = 1.36
CORNER = np.sqrt(np.e)  # of the edge of S, on the ray to the data


def shortest() -> int:
  """A stay of fewer steps is no plateau."""
  return toy.NUM_STEPS // 20


def signs(stays: dict[str, toy.Stay]) -> dict[str, np.ndarray]:
  """What each seed shows at each of the generator's step sizes, `[L, S]`.

  Returns:
    `plateau`: SimGD stays for `shortest` steps or more; `snaps`: it does, and
    leaves; `longer`, `shorter`: CGD's stay by the factor `LONGER` or more.
  """
  sim, other = stays['simultaneous'], stays['cgd']
  plateau = sim.steps >= shortest()
  return dict(
    plateau=plateau,
    snaps=plateau & sim.left,
    longer=other.steps > LONGER * sim.steps,
    shorter=sim.steps > LONGER * other.steps,
  )


def shares(stays: dict[str, toy.Stay]) -> dict[str, np.ndarray]:
  """The shares of the seeds, `[L]` each; see `signs`."""
  return {name: np.mean(each, axis=1) for name, each in signs(stays).items()}


def _at(lr: float, stays: dict[str, toy.Stay]) -> str:
  num_seeds = stays['simultaneous'].steps.shape[1]
  return f'generator {lr:g}, critic {toy.LR_D:g}, {num_seeds} seeds'


def findings(
  stays: dict[str, toy.Stay],
  smoothed: dict[str, toy.Stay],
  lrs_g: tuple[float, ...],
) -> list[result.Row]:
  """What share of the seeds shows the claim, at every step size."""
  rows, share, each = [], shares(stays), signs(stays)
  for i, lr in enumerate(lrs_g):
    rows.append(
      result.finding(
        'seeds in which SimGD has a plateau and leaves it',
        'yes (one run shown)',
        f'{share["snaps"][i]:.0%} (plateau at all: {share["plateau"][i]:.0%})',
        evidence.most(each['snaps'][i]),
        _at(lr, stays),
      )
    )
    for label, some in (('', stays), (', short bursts forgiven', smoothed)):
      label = f'seeds in which CGD stays longer{label}'
      rows.append(_longer(label, some, i, _at(lr, stays)))
  return rows


def _longer(label, stays, i, at):
  share = {name: part[i] for name, part in shares(stays).items()}
  sim, other = (np.median(stays[name].steps[i]) for name in toy.METHODS)
  return result.finding(
    label,
    'yes (one run shown)',
    f'{share["longer"]:.0%} longer, {share["shorter"]:.0%} shorter; medians '
    f'SimGD {sim:,.0f}, CGD {other:,.0f} steps',
    evidence.most(signs(stays)['longer'][i]),
    at,
  )


def shape(
  seen: dict[str, np.ndarray],
  stays: dict[str, toy.Stay],
  lrs_g: tuple[float, ...],
) -> list[result.Row]:
  """How SimGD's paths look, beside what the published figure shows."""
  rows = []
  for i, lr in enumerate(lrs_g):
    at = f'{_at(lr, stays)}, SimGD'
    top = np.nanmax(seen['simultaneous'][i, ..., 0], axis=-1)
    rows.append(
      result.finding(
        'greatest theta1 on the way, median',
        f'above {OVERSHOOT:g} (read off)',
        f'{np.median(top):.3g}',
        evidence.most(top > OVERSHOOT),
        at,
      )
    )
    rows.append(_on_plateau(seen['simultaneous'][i], stays, i, at))
  return rows


def _on_plateau(path, stays, i, at):
  stay = stays['simultaneous']
  seeds = np.flatnonzero(signs(stays)['plateau'][i])
  middle = (stay.begin[i] + stay.steps[i] // 2) // toy.RECORD_EVERY
  found = path[seeds, middle[seeds], 1]
  inside = found < INSIDE
  ours = (
    f'{np.median(found):.2f}; below {INSIDE:g} in {np.mean(inside):.0%} of '
    f'{len(found)}'
    if len(found)
    else 'no seed has a plateau'
  )
  return result.finding(
    'theta2 in the middle of the plateau, median of the seeds that have one',
    'about 0.5 (read off), not on the edge of S at 1.36',
    ours,
    evidence.most(inside),
    at,
  )


def words(
  seen: dict[str, np.ndarray],
  stays: dict[str, toy.Stay],
  smoothed: dict[str, toy.Stay],
  lrs_g: tuple[float, ...],
) -> str:
  """What was seen, in words."""
  share, forgiving = shares(stays), shares(smoothed)
  parts = [
    f'{lr:g}: SimGD has a plateau and leaves it in {share["snaps"][i]:.0%}, '
    f'CGD stays longer in {share["longer"][i]:.0%} and shorter in '
    f'{share["shorter"][i]:.0%} (short bursts forgiven: '
    f'{forgiving["longer"][i]:.0%} and {forgiving["shorter"][i]:.0%})'
    for i, lr in enumerate(lrs_g)
  ]
  ends = seen['simultaneous'][:, :, -1]
  corner = np.mean(np.abs(ends - CORNER).max(-1) < 0.1, axis=1)
  at_corner = ', '.join(
    f'{found:.0%} at {lr:g}' for found, lr in zip(corner, lrs_g, strict=True)
  )
  return (
    f"Of {ends.shape[1]} seeds, by the generator's step size: "
    f'{"; ".join(parts)} (less than a factor of {LONGER} counts as neither). '
    f'At the end SimGD is within 0.1 of ({CORNER:.2f}, {CORNER:.2f}), where '
    f'the edge of S meets the ray to the data, in {at_corner}: without biases '
    'a critic of leaky ReLU is linear along rays.'
  )


def verdict(stays: dict[str, toy.Stay], lrs_g: tuple[float, ...]) -> str:
  """At which step sizes the claim holds for most seeds, in a sentence."""
  each = signs(stays)
  told = {True: [], False: [], None: []}
  for i, lr in enumerate(lrs_g):
    told[evidence.most(each['longer'][i])].append(f'{lr:g}')
  parts = [
    f'{start} {", ".join(told[answer])}'
    for answer, start in (
      (True, 'CGD prolongs the plateau in most seeds at step sizes'),
      (False, 'CGD does not prolong the plateau in most seeds at step sizes'),
      (None, 'the seeds do not decide whether CGD prolongs the plateau at'),
    )
    if told[answer]
  ]
  if told[True] and told[False]:
    parts.append('whether the claim holds depends on numbers not published')
  text = '; '.join(parts)
  return f'{text[0].upper()}{text[1:]}.'
