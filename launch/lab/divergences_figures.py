"""The figures of `divergences`."""

import itertools
import pathlib

import numpy as np

from launch.lab import drawing, result

LINES = dict(
  kl=('KL', 5), js=('Jensen-Shannon', 0), tv=('total variation', 4), w=('W1', 1)
)
GRADIENTS = dict(
  minimax=('saturating (minimax)', 0),
  least_squares=('least squares', 3),
  nonsaturating=('non-saturating', 2),
  wasserstein=('Wasserstein', 1),
)


def draw(parts: dict, out: pathlib.Path) -> tuple[result.Figure, ...]:
  """Writes all five."""
  return (
    draw_lines(parts['lines'], out),
    draw_gradients(parts['gradients'], out),
    draw_cauchy(parts['cauchy'], out),
    draw_clipping(parts['clipping'], out),
    draw_noise(parts['noise'], out),
  )


def _colour(number: int) -> str:
  return drawing.CYCLE[number]


def draw_lines(part: dict, out: pathlib.Path) -> result.Figure:
  """Divergences over theta: without and with overlap."""
  drawn, panels = drawing.page(1, 2)
  left, right = panels[0]
  theta, top = np.asarray(part['theta']), 2.0
  fine = np.linspace(theta[0], theta[-1], 400)
  curves = dict(
    kl=np.full_like(fine, top),
    js=np.full_like(fine, np.log(2)),
    tv=np.ones_like(fine),
    w=np.abs(fine),
  )
  for name, (label, number) in LINES.items():
    colour = _colour(number)
    values = np.minimum(np.asarray(part['computed'][name], float), top)
    label = f'{label}: infinite, but 0 at 0' if name == 'kl' else label
    mark = '^' if name == 'kl' else 'o'
    left.plot(fine, curves[name], color=colour, lw=1.5, label=label)
    left.plot(theta, values, mark, color=colour, ms=5 if name == 'kl' else 4)
  left.set(
    title='two parallel lines: no overlap',
    xlabel='distance theta',
    ylabel='divergence (nats; W1 in units of theta)',
    xticks=(-1, -0.5, 0, 0.5, 1),
    ylim=(-0.08, top + 0.95),
  )
  left.legend(fontsize=8, loc='upper center', ncols=2)
  normals = part['normals']
  for name, (label, number) in LINES.items():
    right.plot(
      normals['theta'],
      normals[name],
      color=_colour(number),
      label=label,
    )
  right.set(
    title=f'two normals of std {normals["std"]:g}: overlap',
    xlabel='distance theta',
    ylabel='divergence (nats; W1 in units of theta)',
    ylim=(-0.08, top + 0.2),
  )
  right.legend(fontsize=8, loc='upper right')
  return drawing.save(
    drawn,
    out,
    'divergences_lines',
    'Left: closed forms as lines, computed values as dots; of two parallel '
    'lines only Wasserstein-1 depends on the distance once it is not 0. '
    'Right: two normals at the same distances, where JS and total variation '
    f'reach {normals["js"][-1]:.3f} (of at most 0.693) and '
    f'{normals["tv"][-1]:.3f} (of at most 1) at theta = '
    f'{normals["theta"][-1]:g}; KL leaves the panel.',
  )


def draw_gradients(part: dict, out: pathlib.Path) -> result.Figure:
  """The generator's gradient under the best critic, over theta."""
  drawn, panels = drawing.page(1, 2, sharey=True)
  for axes, kind in zip(panels[0], ('mean', 'std'), strict=True):
    for name, (label, number) in GRADIENTS.items():
      if kind == 'std' and name == 'wasserstein':
        continue  # 0
      axes.semilogy(
        part['theta'],
        np.maximum(np.abs(part[kind][name]), 1e-12),
        color=_colour(number),
        lw=1.5,
        ls='--' if (kind, name) == ('std', 'nonsaturating') else '-',
        label=label,
      )
    axes.set(xlabel='distance theta (standard deviations)', ylim=(1e-9, 40))
    axes.legend(fontsize=8, loc='lower left')
  panels[0, 0].set(
    title='mean over latents', ylabel='|d loss_g / d theta| (1 / std)'
  )
  panels[0, 1].set(title='standard deviation over latents')
  last = ', '.join(
    f'{part["mean"][name][-1]:.2g} ({label})'
    for name, (label, _) in GRADIENTS.items()
  )
  one, other = (part['std'][name] for name in ('minimax', 'nonsaturating'))
  apart = result.worst(np.abs(one - other) / np.maximum(one, other))
  return drawing.save(
    drawn,
    out,
    'divergences_gradients',
    'Under the best critic of N(0, 1) against N(theta, 1), held. Means at '
    f'theta = {part["theta"][-1]:g}: {last}. Right: the spread over latents '
    '(none for Wasserstein); those of the saturating and the non-saturating '
    f'loss (dashed) differ by at most {apart:.0e} of their size.',
  )


def draw_cauchy(part: dict, out: pathlib.Path) -> result.Figure:
  """How averaging helps, or does not, under a noisy critic."""
  drawn, panels = drawing.page(1, 1, size=(5.4, 3.8))
  axes = panels[0, 0]
  labels = {
    'nonsaturating': ('non-saturating, noise in D', 2),
    'minimax': ('saturating, noise in D', 0),
    'noise in the logit': ('non-saturating, noise in the logit', 3),
  }
  batch = np.asarray(part['batch'], float)
  for name, (label, number) in labels.items():
    spread = np.asarray(part['spread'][name])
    axes.loglog(
      *(batch, spread / spread[0], 'o-'),
      color=_colour(number),
      ms=9 if name == 'minimax' else 5,  # under that of the logit's noise
      label=label,
    )
  axes.loglog(batch, batch**-0.5, 'k:', lw=1, label='1 / sqrt(batch size)')
  axes.set(
    xlabel='batch size (gradients averaged)',
    ylabel='half-width between quartiles (one draw = 1)',
    title='generated points where D = 0 but for noise',
  )
  axes.legend(fontsize=8)
  return drawing.save(
    drawn,
    out,
    'divergences_cauchy',
    f'Spread of one gradient over that of a mean of {batch[-1]:.0f}: '
    + ', '.join(
      f'{part["fall"][name]:.3g} ({label})'
      for name, (label, _) in labels.items()
    )
    + f'; sqrt({batch[-1]:.0f}) = {batch[-1] ** 0.5:.1f}. A Cauchy variable '
    'gains nothing by averaging.',
  )


def draw_clipping(part: dict, out: pathlib.Path) -> result.Figure:
  """Slopes of clipped critics in training, and their bounds."""
  drawn, panels = drawing.page(1, 1, size=(5.8, 3.8))
  axes = panels[0, 0]
  for number, (c, trained) in enumerate(part['trained'].items()):
    colour = _colour(number)
    axes.axhline(trained['bound'], color=colour, ls='--', lw=1.2)
    for i, path in enumerate(trained['path']):
      label = f'c = {c}' if i == 0 else None
      axes.semilogy(trained['steps'], path, color=colour, lw=0.9, label=label)
  axes.plot([], [], 'k--', lw=1.2, label='bound, prod c sqrt(in out)')
  axes.set(
    xlabel='critic steps',
    ylabel="largest slope |f'(x)| on the data",
    title='Wasserstein critics under weight clipping',
  )
  drawn.legend(fontsize=8, loc='outside lower center', ncols=4)
  ends = [np.median(of['path'][:, -1]) for of in part['trained'].values()]
  steps = ', '.join(f'{b / a:.0f}' for a, b in itertools.pairwise(ends))
  return drawing.save(
    drawn,
    out,
    'divergences_clipping',
    f'From one clip to the next, c = {", ".join(part["trained"])}, the bound '
    'rises by 10 to the number of layers, 1000; the median slope at the end '
    f'rises by {steps}. A line a seed; dashed: the bound.',
  )


def draw_noise(part: dict, out: pathlib.Path) -> result.Figure:
  """Left against right side of the noise bound."""
  drawn, panels = drawing.page(1, 2, sharey=True, sharex=True)
  for axes, name in zip(panels[0], ('uniform', 'normal'), strict=True):
    points = axes.scatter(
      part[name]['right'],
      part[name]['left'],
      c=np.log10(part['sizes']),
      s=7,
      cmap='viridis',
      label='one pair of mixtures',
    )
    ends = np.array([2e-2, 1.0])
    axes.plot(ends, ends, 'k--', lw=1, label='equal')
    axes.set(
      xscale='log',
      yscale='log',
      xlabel='2 sqrt(V) + 2 C sqrt(JS after noise)',
      title=f'{name} noise',
    )
    axes.legend(fontsize=8, loc='upper left')
  above = lambda side: int(np.sum(np.asarray(side['ratio']) > 1))
  panels[0, 0].set_ylabel('Wasserstein-1 of the clean mixtures')
  drawn.colorbar(
    points, ax=panels[0, :], label='log10 of the size of the noise'
  )
  return drawing.save(
    drawn,
    out,
    'divergences_noise',
    f'{above(part["uniform"])} of {len(part["sizes"])} pairs of mixtures come '
    f'above the diagonal with uniform noise, {above(part["normal"])} with '
    'normal noise, where C is the diameter before the noise.',
  )
