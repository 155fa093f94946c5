"""Figures of the two-dimensional examples."""

import pathlib

import numpy as np

from launch.lab import drawing, result, two_d_train

_TITLES = dict(
  gaussian='Gaussian', line='line', circle='circle', four_lines='four lines'
)
_LIMIT = 1.3  # of the axes; beyond lies nothing of three of the four sets


def bars(
  scores: np.ndarray,
  floors: np.ndarray,
  sets: tuple[str, ...],
  methods: tuple[str, ...],
  optimizers: tuple[str, ...],
  out: pathlib.Path,
  caption: str,
) -> result.Figure:
  """A panel for each data set, a group of bars for each method.

  Args:
    scores: W1 `[M, K, O, S]`; nan where a run diverged.
    floors: of real points against real points, `[K, F]`.
    sets: names of the K data sets.
    methods: names of the M recipes.
    optimizers: names of the O optimizers.
    out: folder.
    caption: of the figure.
  """
  drawn, panels = drawing.page(len(sets), 1, size=(10, 2.5), sharex=True)
  for k, (name, axes) in enumerate(zip(sets, panels[:, 0], strict=True)):
    top = _top(scores[:, k], floors[k])
    for o, optimizer in enumerate(optimizers):
      colour = drawing.CYCLE[list(two_d_train.OPTIMIZERS).index(optimizer)]
      x = np.arange(len(methods)) + (o - (len(optimizers) - 1) / 2) * 0.26
      _group(axes, x, scores[:, k, o], colour, optimizer, top)
    _group(
      axes,
      np.array([len(methods)]),
      floors[None, k],
      drawing.COLOURS['real'],
      'real against real',
      top,
    )
    axes.axhline(
      floors[k].mean(), color=drawing.COLOURS['real'], lw=0.8, ls=':'
    )
    axes.set(ylim=(0, top), ylabel='Wasserstein-1\n(units of the plane)')
    axes.set_title(_TITLES[name], loc='left', fontsize=11)
  labels = [two_d_train.RECIPES[name].label for name in methods]
  panels[-1, 0].set_xticks(
    range(len(methods) + 1), [*labels, 'real'], rotation=20, ha='right'
  )
  handles, names = panels[0, 0].get_legend_handles_labels()
  drawn.legend(
    handles, names, loc='outside upper center', ncols=4, frameon=False
  )
  return drawing.save(drawn, out, 'two_d', caption)


def _top(scores, floors):
  """The upper end of an axis: bad runs may lie far above all others."""
  finite = scores[np.isfinite(scores)]
  if not finite.size:
    return 3 * floors.max()
  return max(1.1 * min(finite.max(), 4 * np.median(finite)), 1.5 * floors.max())


def _group(axes, x, scores, colour, label, top):
  """Bars at x `[G]` of scores `[G, S]`, and a dot for each seed."""
  lost = np.count_nonzero(~np.isfinite(scores), axis=1)
  means, stds = (
    np.array(
      [
        f(row[np.isfinite(row)]) if n < row.size else 0
        for row, n in zip(scores, lost, strict=True)
      ]
    )
    for f in (np.mean, np.std)
  )
  axes.bar(x, means, 0.24, color=colour, alpha=0.55, label=label)
  axes.errorbar(x, means, stds, fmt='none', ecolor=colour, lw=1.2, capsize=2)
  for place, row, gone, mean in zip(x, scores, lost, means, strict=True):
    spread = np.linspace(-0.07, 0.07, row.size)
    axes.plot(place + spread, row, '.', color=colour, ms=3.5)
    words = f'{gone}/{row.size} diverged' if gone else ''
    if mean > top:
      words = f'{mean:.3g} {words}'.strip()
    style = dict(rotation=90, fontsize=7, ha='center', va='top')
    axes.text(place, 0.98 * top, words, **style)


def clouds(
  samples: dict[tuple[str, str], np.ndarray],
  real: dict[str, np.ndarray],
  methods: tuple[str, ...],
  out: pathlib.Path,
  caption: str,
) -> result.Figure:
  """Samples of one seed: a row for each data set, a column for each method.

  Args:
    samples: (method, data set) -> `[N, 2]`.
    real: data set -> `[N, 2]`.
    methods: names of recipes.
    out: folder.
    caption: of the figure.
  """
  drawn, panels = drawing.page(len(real), len(methods), size=(1.2, 1.25))
  for row, (name, points) in zip(panels, real.items(), strict=True):
    limit = 3.2 if name == 'gaussian' else _LIMIT
    for axes, method in zip(row, methods, strict=True):
      fake = samples[method, name]
      axes.plot(*points.T, '.', color='#bbbbbb', ms=2, mew=0, label='real')
      axes.plot(
        *fake.T,
        '.',
        color=drawing.COLOURS['rs'],
        ms=2,
        mew=0,
        label='generated',
      )
      axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect='equal')
      axes.set(xticks=[], yticks=[])
      if not np.isfinite(fake).all():
        axes.text(0, 0, 'diverged', ha='center')
    row[0].set_ylabel(f'{_TITLES[name]}\n(±{limit:g})', fontsize=9)
  for axes, method in zip(panels[0], methods, strict=True):
    axes.set_title(two_d_train.RECIPES[method].label, fontsize=9)
  handles, labels = panels[0, 0].get_legend_handles_labels()
  drawn.legend(
    handles,
    labels,
    loc='outside lower center',
    ncols=2,
    frameon=False,
    markerscale=5,
  )
  return drawing.save(drawn, out, 'two_d_samples', caption)
