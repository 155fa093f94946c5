"""Pictures of the projection toy."""

import numpy as np

from launch.lab import competitive_projection_play as toy
from launch.lab import drawing, result

NAMES = dict(simultaneous='SimGD', cgd='CGD')


def typical(stays: dict) -> int:
  """The seed of median stay under SimGD, at the largest step size."""
  steps = stays['simultaneous'].steps[-1]
  return int(np.argsort(steps, kind='stable')[len(steps) // 2])


def draw_paths(
  seen: dict[str, np.ndarray],
  stays: dict,
  lrs_g: tuple[float, ...],
  lr_d: float,
  steps: np.ndarray,
  settings: result.Settings,
) -> result.Figure:
  """theta under both methods at the smallest and the largest step size.

  Args:
    seen: paths of each method, `[L, S, R, 2]`.
    stays: each method's Stay.
    lrs_g: the generator's step sizes, L.
    lr_d: the critic's.
    steps: at which the paths were recorded, `[R]`.
    settings: where to.
  """
  page, panels = drawing.page(2, 3, (4.6, 3.4))
  seed = typical(stays)
  for line, i in zip(panels, (0, -1), strict=True):
    for axes, (name, path) in zip(line, seen.items(), strict=False):
      title = f'{NAMES[name]}, generator {lrs_g[i]:g}'
      _draw_over_steps(axes, steps, path[i, seed], title)
      length, begin, _ = (part[i, seed] for part in stays[name])
      axes.axvspan(begin, begin + length, color='#8a8f98', alpha=0.2, lw=0)
    line[0].set_ylabel(r'$\theta_1$, $\theta_2$')
    _draw_plane(line[2], {name: path[i, seed] for name, path in seen.items()})
  return drawing.save(
    page,
    settings.out,
    'competitive_projection',
    f'One start (that of median stay under SimGD at {lrs_g[-1]:g}) with the '
    f"generator's step size {lrs_g[0]:g} (above) and {lrs_g[-1]:g} (below); "
    f"the critic's is {lr_d:g}, and it sees theta1 a hundred times larger. "
    'Grey: the longest stay near theta1 = 2, '
    f'{_lengths(stays, 0, seed)} above, {_lengths(stays, -1, seed)} below.',
  )


def _lengths(stays, i, seed):
  return ', '.join(
    f'{NAMES[name]} {stays[name].steps[i, seed]:,}' for name in NAMES
  )


def _draw_over_steps(axes, steps, path, title):
  for i, colour in enumerate(drawing.CYCLE[:2]):
    label = rf'$\theta_{i + 1}$'
    axes.plot(steps, path[:, i], color=colour, lw=1.2, label=label)
  axes.axhline(toy.TARGET[0], color='k', lw=0.8, ls='--', label='data')
  axes.set(title=title, xlabel='steps', ylim=(0, 5))
  axes.legend(fontsize=8, loc='upper right')


def _draw_plane(axes, runs):
  x = np.linspace(0.05, 5, 400)
  axes.fill_between(x, 1 / np.e / x, np.e / x, color='#8a8f98', alpha=0.2, lw=0)
  axes.text(2.9, 0.2, 'S', fontsize=13, color='#555555')
  for name, path in runs.items():
    colour = drawing.COLOURS[name]
    axes.plot(*path.T, lw=0.8, color=colour, label=NAMES[name], alpha=0.7)
    axes.plot(*path[-1], 's', ms=6, color=colour)
  axes.plot(*runs['cgd'][0], 'ko', ms=5, ls='', label='start')
  axes.plot(*toy.TARGET, 'k*', ms=11, ls='', label='data (2, 2)')
  axes.axvline(toy.TARGET[0], color='k', lw=0.8, ls='--')
  axes.set(
    xlim=(0, 5),
    ylim=(0, 2.5),
    xlabel=r'$\theta_1$',
    ylabel=r'$\theta_2$',
    title='in the plane (squares: the end)',
  )
  axes.legend(fontsize=8, loc='upper right')


def draw_stays(
  stays: dict,
  lrs_g: tuple[float, ...],
  lr_d: float,
  settings: result.Settings,
) -> result.Figure:
  """How long each seed stayed, for each step size."""
  page, panels = drawing.page(1, 1, (6.4, 3.8))
  axes = panels[0, 0]
  for i, name in enumerate(NAMES):
    steps, colour = stays[name].steps, drawing.COLOURS[name]
    place = np.arange(len(lrs_g)) + 0.24 * i - 0.12
    jitter = np.linspace(-0.07, 0.07, steps.shape[1])
    axes.plot(
      place[:, None] + jitter[None], steps, '.', ms=4, color=colour, alpha=0.6
    )
    axes.plot(place, np.median(steps, 1), '_', ms=24, mew=2.5, color=colour)
    label = f'{NAMES[name]} (bar: median)'
    axes.plot([], [], 's', ls='', color=colour, label=label)
  axes.set(
    xticks=range(len(lrs_g)),
    xticklabels=[f'{lr:g}' for lr in lrs_g],
    xlabel=f"the generator's step size (the critic's: {lr_d:g})",
    ylabel=r'longest stay near $\theta_1 = 2$ (steps)',
  )
  axes.set_ylim(bottom=0)
  axes.legend(fontsize=8)
  return drawing.save(
    page,
    settings.out,
    'competitive_projection_stays',
    'How long the plateau lasts, a dot for each seed. CGD over SimGD in the '
    f'median: {_ratios(stays, lrs_g)}.',
  )


def _ratios(stays, lrs_g):
  sim, other = (np.median(stays[name].steps, axis=1) for name in NAMES)
  return ', '.join(
    f'{b:,.0f} / {a:,.0f} steps at {lr:g}'
    for a, b, lr in zip(sim, other, lrs_g, strict=True)
  )
