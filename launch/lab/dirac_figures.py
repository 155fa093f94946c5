"""Pictures of the Dirac-GAN."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np
from jax import numpy as jnp

from gan_jax import diagnostics, games
from gan_jax.theory import dirac_games, dirac_linear
from launch.lab import (
  dirac_panels,
  dirac_rows,
  dirac_spectra,
  drawing,
  result,
)

COLOURS = {
  'simultaneous': drawing.COLOURS['simultaneous'],
  'alternating 1': drawing.COLOURS['alternating'],
  'alternating 5': drawing.CYCLE[1],
}
LABELS = {
  'simultaneous': 'simultaneous',
  'alternating 1': 'alternating, 1 G then 1 D',
  'alternating 5': 'alternating, 1 G then 5 D',
}
NINE = (
  *('gan', 'nsgan', 'wgan', 'wgan_gp', 'noise', 'r1', 'r1_critical'),
  *('consensus_notebook', 'nsgan_r1'),
)
LIMITS = {
  'simultaneous': dirac_linear.simultaneous_limit,
  'alternating 1': dirac_linear.alternating_limit,
}
ARRIVED = 1e-3  # radius at the end
LIMIT = 2.6  # of the axes; arrows fill [-2, 2]


def arrows_of(panels: dict) -> dict[str, tuple[np.ndarray, ...]]:
  """theta, psi and what a step of size 1 adds to them, `[100]` each."""
  line = jnp.linspace(-2, 2, 10)
  theta, psi = (axis.ravel() for axis in jnp.meshgrid(line, line))

  def field(panel, players):
    method = panel.method(1.0, 0)
    return method.update(panel.game, method.init(players), players)[0]

  @jax.jit
  @jax.vmap
  def fields(players):
    return {name: field(panels[name], players) for name in NINE}

  moves = jax.device_get(fields(games.Players(theta, psi)))
  at = np.asarray(theta), np.asarray(psi)
  return {name: (*at, *move) for name, move in moves.items()}


def _background(axes, panel: dirac_panels.Panel, arrows) -> None:
  axes.quiver(*arrows, color='#9aa0a8', width=0.005)
  axes.plot(0, 0, '+', color='#222222', ms=9, mew=1.5)
  axes.set(
    xlim=(-LIMIT, LIMIT),
    ylim=(-LIMIT, LIMIT),
    aspect='equal',
    title=panel.label,
    xlabel=r'generator $\theta$',
    ylabel=r'critic $\psi$',
  )
  axes.label_outer()


def _legend(drawn, axes) -> None:
  handles, labels = axes.get_legend_handles_labels()
  drawn.legend(handles, labels, loc='outside lower center', ncols=5)


def trajectories(
  panels: dict, paths: dict, arrows: dict, out: pathlib.Path
) -> result.Figure:
  """The nine vector fields with all three sweeps."""
  drawn, axes = drawing.page(3, 3, size=(3.1, 3.1))
  for name, each in zip(NINE, axes.flat, strict=True):
    _background(each, panels[name], arrows[name])
    for sweep, colour in COLOURS.items():
      path = paths[name, sweep]
      each.plot(*path, color=colour, lw=0.8, alpha=0.8, label=LABELS[sweep])
      each.plot(path.theta[-1], path.psi[-1], 'o', color=colour, ms=5)
    each.plot(1, 1, 's', color='#222222', ms=4, ls='', label='start')
    each.plot([], [], '+', color='#222222', ms=9, ls='', label='equilibrium')
  _legend(drawn, axes[0, 0])
  return drawing.save(
    drawn,
    out,
    'dirac_fields',
    'Which penalties make the Dirac-GAN converge: vector fields and 500 steps '
    f'of size .2 from (1, 1), dots at the end. {who_arrives(panels, paths)}',
  )


def who_arrives(panels: dict, paths: dict) -> str:
  """Panels near the equilibrium at the end, and the others' radii, in words."""
  far = {
    name: [paths[name, sweep].radius()[-1] for sweep in COLOURS]
    for name in NINE
  }
  arrived = [name for name in NINE if max(far[name]) < ARRIVED]
  label = lambda name: dirac_rows.plain_label(panels[name])
  others = ', '.join(
    f'{label(name)} ({min(far[name]):.2g} to {max(far[name]):.2g})'
    for name in NINE
    if name not in arrived
  )
  text = f'{len(arrived)} of 9 end within {ARRIVED} of the equilibrium in all '
  if not others:
    return f'{text}three sweeps.'
  return f'{text}three sweeps; not so, with their radius: {others}.'


def radii(panels: dict, paths: dict, out: pathlib.Path) -> result.Figure:
  """Distance from the equilibrium over steps."""
  drawn, axes = drawing.page(1, 3, size=(4.0, 3.9), sharey=True)
  for each, sweep in zip(axes.flat, dirac_panels.SWEEPS, strict=True):
    for (name, panel), colour in zip(
      panels.items(), drawing.CYCLE, strict=True
    ):
      dashed = '--' if name in ('r1_critical', 'consensus_notebook') else '-'
      radius = paths[name, sweep].radius()
      each.semilogy(radius, dashed, color=colour, lw=1.4, label=panel.label)
    each.set(title=LABELS[sweep], xlabel='step', ylim=(1e-9, 30))
    each.label_outer()
  axes[0, 0].set_ylabel(r'distance from equilibrium, $\sqrt{\theta^2+\psi^2}$')
  _legend(drawn, axes[0, 0])
  return drawing.save(
    drawn,
    out,
    'dirac_radii',
    'Straight lines down converge linearly. With five critic steps consensus '
    'optimization from (1, 1) ends at radius '
    f'{paths["consensus", "alternating 5"].radius()[-1]:.2g} in its exact form '
    'and at '
    f'{paths["consensus_notebook", "alternating 5"].radius()[-1]:.1e} in that '
    'of the published notebook, though near 0 their linear parts are the same.',
  )


def _spectrum(game_of: Callable, method_of: Callable) -> Callable:
  """Values -> computed eigenvalues of the field at 0, `[N, 2]`."""

  @jax.jit
  @jax.vmap
  def field(value):
    step = diagnostics.step_jacobian(
      method_of(value), game_of(value), dirac_spectra.zeros()
    )
    return step - jnp.eye(2)

  return lambda values: np.linalg.eigvals(np.asarray(field(values)))


def eigenvalues(out: pathlib.Path) -> result.Figure:
  """Real and imaginary parts against the strength of regularization."""
  plain = lambda value: dirac_games.descent(1.0)
  gan = lambda value: dirac_games.point_game('minimax')
  r1 = lambda value: dirac_games.point_game('minimax', dirac_games.r1(value))
  noise = lambda value: dirac_games.noisy_game(jnp.sqrt(value), 20)
  columns = (
    (r'R1 or R2, $\gamma$', r1, plain, dirac_linear.penalized, 1.5, 1.0),
    (
      r'instance noise, $\sigma^2$',
      noise,
      plain,
      lambda value: dirac_linear.noisy(value**0.5),
      3.0,
      2.0,
    ),
    (
      r'consensus, $\gamma$',
      gan,
      lambda value: dirac_games.consensus(1.0, value),
      dirac_linear.consensus,
      1.5,
      None,
    ),
  )
  drawn, axes = drawing.page(2, 3, size=(3.6, 2.7), sharex='col', sharey='row')
  for column, (label, game, method, linear, most, critical) in enumerate(
    columns
  ):
    line, dots = np.linspace(0, most, 301), np.linspace(0, most, 16)
    formula = np.array([dirac_linear.eigenvalues(linear(x)) for x in line])
    computed = _spectrum(game, method)(jnp.asarray(dots))
    for row, part in enumerate(('real', 'imag')):
      each = axes[row, column]
      _lines(each, line, getattr(formula, part), dots, getattr(computed, part))
      if critical is not None:
        each.axvline(critical, color='#8a8f98', ls=':', label='critical')
    axes[1, column].set_xlabel(label)
  axes[0, 0].set_ylabel('real part')
  axes[1, 0].set_ylabel('imaginary part')
  _legend(drawn, axes[0, 0])
  return drawing.save(
    drawn,
    out,
    'dirac_eigenvalues',
    'Eigenvalues of the field at the equilibrium. Any regularization moves '
    'them off the imaginary axis; past the critical strength of R1, R2 and '
    'noise one of them turns back towards it.',
  )


def _lines(axes, line, formula, dots, computed) -> None:
  for k in range(2):
    name = 'formula' if not k else None
    axes.plot(line, formula[:, k], color=drawing.CYCLE[0], lw=1.5, label=name)
    name = 'computed with the core' if not k else None
    axes.plot(
      dots, computed[:, k], 'o', color=drawing.CYCLE[1], ms=4, label=name
    )


def stability(out: pathlib.Path) -> result.Figure:
  """Spectral radius over the step size, for several gammas."""
  gammas = (0.0, 0.1, 0.3, 1.0, 2.0)
  drawn, axes = drawing.page(1, 2, size=(4.8, 3.8), sharey=True)
  line, dots = np.linspace(0.01, 4.2, 800), np.linspace(0.15, 4.2, 28)
  for each, sweep in zip(
    axes.flat, ('simultaneous', 'alternating 1'), strict=True
  ):
    d_steps = dirac_panels.SWEEPS[sweep]
    radius = dirac_spectra.radius_of_step(
      lambda h, d_steps=d_steps: dirac_games.descent(h, d_steps), dirac_games.r1
    )
    for gamma, colour in zip(gammas, drawing.CYCLE, strict=False):
      linear = dirac_linear.penalized(gamma)
      formula = [
        dirac_linear.step_radius(linear, h, d_steps=d_steps) for h in line
      ]
      label = rf'$\gamma$ = {gamma:g}' if gamma else 'no penalty'
      each.plot(line, formula, color=colour, lw=1.5, label=label)
      each.plot(dots, [radius(h, gamma) for h in dots], '.', color=colour, ms=5)
      if gamma:
        limit = LIMITS[sweep](gamma)
        each.plot(limit, 1, 'o', color=colour, mfc='white', ms=7, zorder=3)
    each.plot([], [], '.', color='#222222', ls='', label='computed')
    each.plot(
      [], [], 'o', color='#222222', mfc='white', ls='', label='limit, formula'
    )
    each.axhline(1, color='#222222', lw=1)
    each.set(
      title=LABELS[sweep], xlabel='step size h', ylim=(0, 2), xlim=(0, 4.2)
    )
  axes[0, 0].set_ylabel('spectral radius of a step')
  _legend(drawn, axes[0, 0])
  return drawing.save(
    drawn,
    out,
    'dirac_stability',
    'Below 1 the Dirac-GAN with R1 converges. A small penalty allows far '
    'larger steps when the players alternate, a large one smaller ones; '
    'without one the eigenvalues of alternating play stay on the unit circle '
    "up to h = 2 / f'(0) = 4.",
  )


def film(
  panels: dict, paths: dict, arrows: dict, out: pathlib.Path, num_frames: int
) -> result.Figure:
  """The nine panels in time."""
  drawn, axes = drawing.page(3, 3, size=(2.4, 2.4))
  artists = []
  for name, each in zip(NINE, axes.flat, strict=True):
    _background(each, panels[name], arrows[name])
    each.title.set_fontsize(9)
    for sweep, colour in COLOURS.items():
      (tail,) = each.plot([], [], color=colour, lw=0.9, label=LABELS[sweep])
      (head,) = each.plot([], [], 'o', color=colour, ms=5)
      artists.append((paths[name, sweep], tail, head))
  handles = axes[0, 0].get_legend_handles_labels()
  legend = drawn.legend(
    *handles, loc='outside lower center', ncols=3, fontsize=8
  )
  for line in legend.get_lines():  # a GIF drops colours of few pixels
    line.set_linewidth(3)
  title = drawn.suptitle('step 0 of 500')
  drawn.canvas.draw()
  drawn.set_layout_engine('none')  # laying out again in each frame is slow
  # Most happens early.
  even = np.linspace(0, 1, num_frames)
  steps = (even**1.6 * dirac_panels.NUM_STEPS).astype(int)

  def draw(frame):
    now = steps[frame]
    title.set_text(f'step {now} of {dirac_panels.NUM_STEPS}')
    for path, tail, head in artists:
      past = slice(max(0, now - 40), now + 1)
      tail.set_data(path.theta[past], path.psi[past])
      head.set_data(path.theta[now : now + 1], path.psi[now : now + 1])

  return drawing.save_animation(
    drawn,
    draw,
    num_frames,
    out,
    'dirac_film',
    'The nine panels in time, slower at first, each with its last 40 steps.',
  )
