"""Figures of the mixtures; runs are those of `mixtures_play`."""

import pathlib

import numpy as np

from launch.lab import drawing, mixtures_play, result

COLOURS = dict(
  js=drawing.COLOURS['js'],
  rs=drawing.COLOURS['rs'],
  unrolled_0='#cdb8dc',
  unrolled_1='#a98bc3',
  unrolled_5='#7a5195',
  unrolled_10='#432c54',
)
TITLES = dict(
  five_gaussians='5 Gaussians', ring8='ring of 8', grid25='grid of 25'
)


def label(method: str) -> str:
  """A method's name in a legend."""
  return mixtures_play.METHODS[method].label


def draw_curves(out: pathlib.Path, runs: dict, totals: dict) -> result.Figure:
  """Modes covered and quality by step.

  Args:
    out: folder.
    runs: by set and method, Runs.
    totals: by set, how many modes it has.
  """
  drawn, panels = drawing.page(2, len(runs), size=(4.0, 3.1))
  for (upper, lower), name in zip(panels.T, runs, strict=True):
    for method, run in runs[name].items():
      _band(upper, run.steps, run.covered, method)
      _band(lower, run.steps, 100 * run.quality, method)
    upper.axhline(totals[name], c=drawing.COLOURS['real'], lw=1, ls=':')
    upper.set(
      title=f'{TITLES[name]}: dotted, all modes',
      ylim=(-0.04 * totals[name], 1.08 * totals[name]),
    )
    lower.set(xlabel='step', ylim=(-4, 104))
    lower.legend(fontsize=8, loc='best')
  panels[0, 0].set_ylabel('modes covered')
  panels[1, 0].set_ylabel('samples within 3 sigma (%)')
  return drawing.save(
    drawn,
    out,
    'mixtures_steps',
    'How many modes have at least 1 % of the samples within three standard '
    'deviations, and how many samples are that near to any mode. Lines: mean '
    'over seeds; bands: lowest to highest seed.',
  )


def _band(axes, steps, values, method):
  axes.plot(
    steps, np.mean(values, axis=0), c=COLOURS[method], label=label(method)
  )
  axes.fill_between(
    steps,
    np.min(values, axis=0),
    np.max(values, axis=0),
    color=COLOURS[method],
    alpha=0.12,
    lw=0,
  )


def draw_bars(
  out: pathlib.Path, finals: dict, steps: dict, totals: dict
) -> result.Figure:
  """Modes at one count of steps.

  Args:
    out: folder.
    finals: by set and method, modes covered, `[S]`.
    steps: by set, after how many steps.
    totals: by set, how many modes it has.
  """
  drawn, (panels,) = drawing.page(1, len(finals), size=(4.0, 3.3))
  for axes, (name, covered) in zip(panels, finals.items(), strict=True):
    for place, (method, values) in enumerate(covered.items()):
      axes.bar(place, np.mean(values), 0.7, color=COLOURS[method])
      # Side by side, as whole numbers coincide.
      spread = np.linspace(-0.25, 0.25, len(values))
      axes.plot(
        place + spread,
        np.sort(values),
        'o',
        ms=3.5,
        c='white',
        mec=drawing.COLOURS['real'],
        mew=0.8,
        clip_on=False,
        label='' if place else 'a seed',
      )
    axes.axhline(
      totals[name], c=drawing.COLOURS['real'], lw=1, ls=':', label='all modes'
    )
    axes.set_xticks(range(len(covered)), [label(m) for m in covered])
    axes.set(
      title=f'{TITLES[name]}, step {steps[name]:,}',
      ylim=(0, 1.08 * totals[name]),
    )
    axes.grid(axis='x', visible=False)
  panels[0].set_ylabel('modes covered (bar: mean)')
  panels[0].legend(fontsize=8, loc='lower left')
  return drawing.save(
    drawn,
    out,
    'mixtures_modes',
    'Modes covered after the same number of steps; k is how many steps of the '
    'critic the generator looks ahead.',
  )


def draw_samples(out: pathlib.Path, runs: dict, points: dict) -> result.Figure:
  """The samples of one typical seed of each method.

  Args:
    out: folder.
    runs: by set and method, Runs.
    points: by set, some real points, `[N, 2]`.
  """
  most = max(len(of_set) for of_set in runs.values())
  drawn, panels = drawing.page(len(runs), most, size=(2.3, 2.5))
  for row, (name, of_set) in zip(panels, runs.items(), strict=True):
    reach = 1.3 * np.max(np.abs(points[name]))
    for axes in row[len(of_set) :]:
      axes.set_axis_off()
    for axes, (method, run) in zip(row, of_set.items(), strict=False):
      seed = typical(run)
      axes.plot(*points[name].T, '.', ms=1.5, c='#b9bcc2', label='real')
      axes.plot(
        *run.samples[seed].T, '.', ms=1.5, c=COLOURS[method], label='generated'
      )
      axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect='equal')
      axes.set_title(
        f'{label(method)}, step {run.steps[-1]:,}\n'
        f'modes: {run.covered[seed, -1]}, near: {run.quality[seed, -1]:.0%}',
        fontsize=9,
      )
      axes.tick_params(labelsize=7)
    row[0].set_ylabel(f'{TITLES[name]}\nsecond coordinate', fontsize=9)
  panels[0, 0].legend(fontsize=6, markerscale=4, loc='center')
  for axes in panels[-1]:
    axes.set_xlabel('first coordinate', fontsize=9)
  return drawing.save(
    drawn,
    out,
    'mixtures_samples',
    'At the end of training, samples of the seed in the middle of the order '
    'by modes covered, then by share near a mode. Few modes covered may be '
    'collapse, or modes whose samples are too wide to count.',
  )


def typical(run: mixtures_play.Run) -> int:
  """The middle seed by modes covered at the end, then by quality."""
  order = np.lexsort((run.quality[:, -1], run.covered[:, -1]))
  return int(order[(len(order) - 1) // 2])
