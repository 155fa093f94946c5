"""The figures of `continuous_games`."""

import pathlib

import numpy as np

from gan_jax.theory import continuous
from launch.lab import drawing, result

COLOURS = dict(
  simultaneous=drawing.COLOURS['simultaneous'],
  alternating=drawing.COLOURS['alternating'],
  cgd=drawing.COLOURS['cgd'],
  optimistic=drawing.CYCLE[3],
  extragradient=drawing.CYCLE[4],
  consensus=drawing.CYCLE[6],
)
LABELS = dict(cgd='CGD')
MARKS = 'os^DvP*X<>d'


def draw(
  parts: dict, out: pathlib.Path, quick: bool
) -> tuple[result.Figure, ...]:
  """Writes all six."""
  return (
    draw_orbits(parts['orbits'], out),
    animate_orbits(parts['orbits'], out, frames=12 if quick else 50),
    draw_eigenvalues(parts, out),
    draw_steps(parts['steps'], out),
    draw_ttur(parts['ttur'], out),
    draw_sweep(parts['ttur'], out),
  )


def _label(name: str) -> str:
  return LABELS.get(name, name)


def draw_orbits(part: dict, out: pathlib.Path) -> result.Figure:
  """Each method's orbit beside the flow's circle."""
  drawn, panels = drawing.page(2, 3, size=(3.2, 3.2), sharex=True, sharey=True)
  for axes, (name, points) in zip(
    panels.flat, part['paths'].items(), strict=True
  ):
    axes.plot(*part['flow'].T, color='k', lw=0.8, ls=':', label='flow')
    inside = points[:61]
    axes.plot(*inside.T, 'o-', color=COLOURS[name], ms=2.5, lw=0.8)
    axes.plot(*points[0], 'k*', ms=8)
    axes.set(
      title=f'{_label(name)}: x {part["radii"][name][0]:.4f} a step',
      xlim=(-2.6, 2.6),
      ylim=(-2.6, 2.6),
      aspect='equal',
    )
    axes.title.set_fontsize(10)
  for axes in panels[-1]:
    axes.set_xlabel('x, descends')
  for axes in panels[:, 0]:
    axes.set_ylabel('y, ascends')
  panels[0, 0].legend(fontsize=8, loc='lower left')
  return drawing.save(
    drawn,
    out,
    'continuous_orbits',
    f'V = xy from (1, 0), star: 60 steps of {part["step"]} of six methods, and '
    'the circle of the flow, dotted. Titles: the spectral radius of a step, by '
    'which the radius grows (above 1) or shrinks in the long run.',
  )


def animate_orbits(part: dict, out: pathlib.Path, frames: int) -> result.Figure:
  """The same orbits as they grow."""
  drawn, panels = drawing.page(1, 1, size=(4.8, 5.6))
  axes = panels[0, 0]
  axes.plot(*part['flow'].T, color='k', lw=0.8, ls=':', label='flow (circle)')
  lines = {
    name: axes.plot([], [], '-', color=COLOURS[name], label=_label(name))[0]
    for name in part['paths']
  }
  heads = {
    name: axes.plot([], [], 'o', color=COLOURS[name], ms=5)[0] for name in lines
  }
  axes.set(
    xlim=(-3.1, 3.1),
    ylim=(-3.1, 4.3),
    aspect='equal',
    xlabel='x, descends',
    ylabel='y, ascends',
  )
  axes.legend(fontsize=8, loc='upper right', ncols=2)
  last = 56

  def draw_frame(i):
    stop = 1 + round(i * last / (frames - 1))
    axes.set_title(f'V = xy, h = {part["step"]}: step {stop - 1}')
    for name, points in part['paths'].items():
      seen = points[max(0, stop - 16) : stop]
      lines[name].set_data(*seen.T)
      heads[name].set_data(*points[stop - 1 : stop].T)

  return drawing.save_animation(
    drawn,
    draw_frame,
    frames,
    out,
    'continuous_orbits_film',
    'Six methods on V = xy from the same start, and the circle of the flow. '
    'The last 15 steps of each are drawn.',
    frames_per_second=8,
  )


def draw_eigenvalues(parts: dict, out: pathlib.Path) -> result.Figure:
  """Eigenvalues of the losses, and how R1 and consensus move them."""
  drawn, panels = drawing.page(1, 3, size=(4.4, 4.6), sharey=True)
  first, *moved = panels[0]
  plain = {name: of['0.0'] for name, of in parts['blocks']['values'].items()}
  for number, names in enumerate(alike(plain)):
    seen = plain[names[0]]
    first.plot(
      *(seen.real, seen.imag, MARKS[number]),
      color=drawing.CYCLE[number],
      ms=5 + 1.2 * number,
      fillstyle='none',
      label=', '.join(names),
    )
  first.set(title=f'{len(plain)} losses, no penalty')
  first.legend(fontsize=7, loc='upper left')
  kinds = dict(
    penalty='R1 (or R2), gamma 0 to 2', consensus='consensus, 0 to 2'
  )
  steps = parts['steps']
  for axes, (kind, title) in zip(moved, kinds.items(), strict=True):
    for number, name in ((0, 'minimax'), (3, 'wasserstein')):
      path = steps['paths'][name][kind]
      colour = drawing.CYCLE[number]
      axes.plot(path.real.ravel(), path.imag.ravel(), '.', color=colour, ms=3)
      axes.plot(
        *(path[0].real, path[0].imag, 'o'),
        color=colour,
        fillstyle='none',
        ms=8,
        label=f'{name}, at 0',
      )
      axes.plot(*(path[-1].real, path[-1].imag, 'x'), color=colour, ms=7)
    axes.plot([], [], 'kx', label='at 2')
    axes.set(title=title)
    axes.legend(fontsize=7, loc='upper left')
  for axes in panels[0]:
    axes.axvline(0, color='k', lw=1)
    axes.set(xlabel='Re lambda (per unit of time)', xlim=(-9, 0.6))
  first.set(ylabel='Im lambda (per unit of time)', ylim=(-2.8, 6.4))
  first.set_xlim(-4.6, 0.6)
  return drawing.save(
    drawn,
    out,
    'continuous_eigenvalues',
    'Eigenvalues at the equilibrium of the Gaussian GAN. Left: all losses of '
    'losses.py but the relativistic averages; a line of the legend names those '
    'with the same ones. Middle and right: where R1 (or R2) and consensus of '
    'growing weight move those of two losses.',
  )


def alike(spectra: dict[str, np.ndarray]) -> list[list[str]]:
  """Names with the same eigenvalues, together."""
  groups: list[list[str]] = []
  for name, values in spectra.items():
    for group in groups:
      if continuous.spectral_distance(values, spectra[group[0]]) < 1e-6:
        group.append(name)
        break
    else:
      groups.append([name])
  return groups


def draw_steps(part: dict, out: pathlib.Path) -> result.Figure:
  """The region of convergence, and the largest step over gamma."""
  drawn, panels = drawing.page(1, 2, size=(4.6, 4.0))
  left, right = panels[0]
  _draw_region(left, part)
  _draw_limits(right, part)
  return drawing.save(
    drawn,
    out,
    'continuous_steps',
    'A flow needs negative real parts, a step of size h eigenvalues inside the '
    'circle of radius 1/h around -1/h. Right: the largest step that contracts, '
    'over the weight of consensus or R1'
    + ''.join(
      f"; {name}'s is largest at {_best(part, name, 'consensus'):.2g} of "
      f'consensus and {_best(part, name, "penalty"):.2g} of R1'
      for name in part['limits']
    )
    + '.',
  )


def _best(part: dict, name: str, kind: str) -> float:
  return part['gammas'][int(np.argmax(part['limits'][name][kind]))]


def _draw_region(left, part: dict) -> None:
  turn = np.exp(1j * np.linspace(0, 2 * np.pi, 200))
  for number, h in enumerate((0.5, 0.8, 1.4)):
    circle = (turn - 1) / h
    left.plot(
      *(circle.real, circle.imag),
      color=drawing.CYCLE[number],
      lw=1.2,
      label=f'|1 + h lambda| = 1, h = {h}',
    )
  plain = part['paths']['minimax']['consensus']
  half = int(np.argmin(abs(part['gammas'] - 0.5)))
  left.plot(plain[0].real, plain[0].imag, 'ko', ms=5, label='minimax, plain')
  left.plot(
    *(plain[half].real, plain[half].imag, 'k^'),
    ms=6,
    fillstyle='none',
    label='with consensus 0.5',
  )
  left.axvline(0, color='k', lw=0.8)
  left.set(
    title='flow: left of 0; steps: inside the circle',
    xlabel='Re lambda (per unit of time)',
    ylabel='Im lambda (per unit of time)',
    aspect='equal',
    xlim=(-4.2, 1.2),
    ylim=(-2.2, 3.4),
  )
  left.title.set_fontsize(10)
  left.legend(fontsize=7, loc='upper left', ncols=2)


def _draw_limits(right, part: dict) -> None:
  for number, name in ((0, 'minimax'), (3, 'wasserstein')):
    for kind, style in (('consensus', '-'), ('penalty', '--')):
      label = 'R1' if kind == 'penalty' else kind
      right.plot(
        *(part['gammas'], part['limits'][name][kind], style),
        color=drawing.CYCLE[number],
        label=f'{name}, {label}',
      )
  right.set(
    title='largest step that contracts',
    xlabel='gamma (weight of consensus or R1)',
    ylabel='h = min 2 |Re| / |lambda|^2 (units of time)',
  )
  right.legend(fontsize=8)


def draw_ttur(part: dict, out: pathlib.Path) -> result.Figure:
  """Distance from the saddle over steps, and one run in the plane."""
  drawn, panels = drawing.page(2, 4, size=(3.1, 2.7))
  for column, (name, panel) in enumerate(part['panels'].items()):
    colour = drawing.CYCLE[column]
    top, bottom = panels[:, column]
    low, middle, high = panel['distance']
    top.fill_between(
      part['steps'], low, high, color=colour, alpha=0.25, label='5 to 95 %'
    )
    top.semilogy(part['steps'], middle, color=colour, label='median')
    top.set(title=f'({name})', xlabel='step', ylim=(2e-4, 3))
    bottom.plot(panel['x'], panel['y'], '.', color=colour, ms=3, label='seed 0')
    bottom.plot(0, 0, 'k+', ms=9, label='saddle')
    bottom.set(xlabel='x', xlim=(-2.1, 2.1), ylim=(-0.5, 0.3))
    top.legend(fontsize=7, loc='lower left')
  panels[1, 0].legend(fontsize=7, loc='upper left')
  panels[0, 0].set_ylabel('distance to the saddle')
  panels[1, 0].set_ylabel('y')
  return drawing.save(
    drawn,
    out,
    'continuous_ttur',
    f"TTUR's toy, rates of (x, y), lr = 0.01, {part['seeds']} seeds. Root mean "
    'square distances at the end: '
    + ', '.join(
      f'{panel["rms"]:.2g} for ({name})'
      for name, panel in part['panels'].items()
    )
    + '. Every 50th step is drawn, so that a flip of x with each step does not '
    'show.',
  )


def draw_sweep(part: dict, out: pathlib.Path) -> result.Figure:
  """The share of seeds that blow up over a common rate."""
  drawn, panels = drawing.page(1, 1, size=(5.2, 3.4))
  axes = panels[0, 0]
  axes.plot(
    *(part['sweep'], 100 * part['share'], 'o-'),
    color=drawing.CYCLE[1],
    label=f'{part["seeds"]} seeds, 5000 steps',
  )
  axes.axvline(0.01, color='k', ls='--', lw=1, label='2 / 200, the limit of x')
  axes.set(
    xlabel='learning rate of both players',
    ylabel='seeds beyond a distance of 100 (%)',
    title="TTUR's toy with one rate for both",
    ylim=(-5, 105),
  )
  axes.legend(fontsize=8)
  return drawing.save(
    drawn,
    out,
    'continuous_ttur_sweep',
    "The notebook's rate 0.01 is the limit 2 / 200 of linear stability in x; "
    'how many seeds go beyond 100 on either side of it.',
  )
