"""Dirac-GAN: nine ways to play the simplest game, and which converge."""

import jax
import numpy as np

from launch.lab import (
  dirac_figures,
  dirac_panels,
  dirac_rows,
  dirac_spectra,
  result,
)

CLAIM = (
  'Mescheder, Geiger and Nowozin (2018): with one real and one generated '
  'point the unregularised GAN, the WGAN and WGAN-GP do not converge, '
  'whatever the step size; instance noise, consensus optimization and '
  'gradient penalties that vanish at the equilibrium (R1, R2) do, locally and '
  'linearly. Alternating play keeps the GAN going round where simultaneous '
  'play spirals out. Their table says for nine methods whether local '
  'convergence is guaranteed, for absolutely continuous distributions and in '
  'general.'
)
PROTOCOL = (
  'Losses, penalties, noise, clipping and game optimizers are those of '
  'gan_jax; both players descend with step size .2 from (1, 1) for 500 steps, '
  'at once or the generator first and then the critic once or five times, in '
  'float64. The paper writes a critic that is high on generated points and '
  'charges it gamma / 2 psi^2; here critics are high on real points, so the '
  'critic is -psi x, and the weight of r1, r2 and gradient_penalty is gamma / '
  '2. Instance noise is an expectation by quadrature (Gauss-Hermite) where one '
  'trajectory is shown, and 1000 fresh samples a turn, {seeds} seeds, where '
  "said. Consensus as published has half of the exact derivative's second "
  "term; it is kept for comparison, and the exact form is the core's. "
  'The paper prints no radii: the reference values are an independent replay '
  "of its authors' notebook. Local convergence is decided by the eigenvalues "
  'of the field at the equilibrium; where the field jumps there, by 500 steps '
  'of size .001 from .01 away. The general case is the Dirac-GAN; the '
  'absolutely continuous one is real N(0, 1), a generator N(mean, scale^2) '
  'and a critic a x + b x^2, by quadrature. One example can refute a method; '
  "it cannot prove one. The names of the table's rows are quoted from memory, "
  'their answers are not.'
)


def run(settings: result.Settings) -> result.Result:
  """Plays, measures and draws everything about the Dirac-GAN.

  Args:
    settings: `quick` draws fewer frames and seeds.
  """
  with jax.default_device(processor()), jax.enable_x64(True):
    return _run(settings)


def processor() -> jax.Device | None:
  """A CPU, on which two numbers move fastest, or None where JAX has none."""
  try:
    return jax.local_devices(backend='cpu')[0]
  except RuntimeError:
    return None


def _run(settings: result.Settings) -> result.Result:
  seeds = 4 if settings.quick else 64
  sweeps = list(dirac_panels.SWEEPS)[: 1 if settings.quick else None]
  panels = dirac_panels.make()
  paths = dirac_panels.play(panels)
  noisy = {
    sweep: dirac_panels.play_noisy(seeds, dirac_panels.SWEEPS[sweep])
    for sweep in sweeps
  }
  table = dirac_rows.verdicts()
  rows = (
    *dirac_rows.of_table(table),
    *dirac_rows.of_paths(panels, paths, dirac_panels.by_hand(panels)),
    *dirac_rows.of_noise(noisy),
    *dirac_spectra.of_spectra(panels),
    *dirac_spectra.of_limits(),
    *dirac_spectra.of_flows(),
  )
  return result.Result(
    'Dirac-GAN',
    CLAIM,
    PROTOCOL.format(seeds=seeds),
    _seen(rows, table, paths),
    _verdict(rows, table),
    rows,
    _numbers(panels, paths, table),
    _figures(panels, paths, settings),
  )


def _figures(panels, paths, settings: result.Settings) -> tuple:
  arrows, out = dirac_figures.arrows_of(panels), settings.out
  return (
    dirac_figures.trajectories(panels, paths, arrows, out),
    dirac_figures.radii(panels, paths, out),
    dirac_figures.eigenvalues(out),
    dirac_figures.stability(out),
    dirac_figures.film(panels, paths, arrows, out, 5 if settings.quick else 64),
  )


def _answers(table: dict) -> tuple[list[str], list[str]]:
  """Methods whose computed answers are the paper's, and those that differ."""
  agree, differ = [], []
  for row in dirac_rows.of_table(table):
    name = row.quantity.partition(':')[0]
    if row.holds is not None:
      (agree if row.holds else differ).append(name)
  return agree, differ


def _seen(rows: tuple[result.Row, ...], table: dict, paths: dict) -> str:
  closed = [row for row in rows if row.exact]
  agree, differ = _answers(table)
  end = lambda name, sweep: paths[name, sweep].radius()[-1]
  return (
    f'{sum(row.holds for row in closed)} of {len(closed)} numbers agree with '
    'their closed form or reference. After 500 steps the GAN is at radius '
    f'{end("gan", "simultaneous"):.2f} when the players move at once and at '
    f'{end("gan", "alternating 1"):.2f} when they alternate; with R1 (gamma '
    f'.3) at {end("r1", "simultaneous"):.1e} and '
    f'{end("r1", "alternating 1"):.1e}. '
    'With five critic steps consensus optimization ends at '
    f'{end("consensus", "alternating 5"):.2f} in its exact form and at '
    f'{end("consensus_notebook", "alternating 5"):.1e} as published; near the '
    'equilibrium the two have the same linear part. In the table of '
    f'local convergence {len(agree)} of {len(agree) + len(differ)} rows come '
    f'out as in the paper{_difference(table, differ)}.'
  )


def _difference(table: dict, differ: list[str]) -> str:
  if not differ:
    return ''
  words = f'; not so: {", ".join(differ)}'
  if differ != ['DRAGAN']:
    return words
  one_sided = table['DRAGAN, one-sided penalty']
  both = one_sided['absolutely continuous'], one_sided['general']
  answer = ' / '.join('yes' if each.converges else 'no' for each in both)
  jump = table['DRAGAN']['absolutely continuous'].jump
  return (
    f'{words}, whose two-sided penalty of target 1 has a kink at the zero '
    f'critic (the field jumps by {jump:.2f}) also where both distributions '
    f'have densities; with the one-sided penalty the row reads {answer}'
  )


def _verdict(rows: tuple[result.Row, ...], table: dict) -> str:
  _, differ = _answers(table)
  failed = [row.quantity for row in rows if row.exact and not row.holds]
  if failed:
    return f'Not reproduced: {"; ".join(failed)}.'
  if differ:
    return (
      'Every formula and trajectory is reproduced, and the table of local '
      f'convergence but for {", ".join(differ)}.'
    )
  return 'Every formula, trajectory and row of the table is reproduced.'


def _numbers(panels: dict, paths: dict, table: dict) -> dict:
  radius = {
    name: {
      sweep: float(paths[name, sweep].radius()[-1])
      for sweep in dirac_panels.SWEEPS
    }
    for name in panels
  }
  verdicts = {
    name: {
      case: dict(
        converges=row[case].converges,
        jump=row[case].jump,
        drifts=row[case].drifts,
        eigenvalues=_parts(row[case].eigenvalues),
      )
      for case in ('absolutely continuous', 'general')
    }
    for name, row in table.items()
  }
  return result.plain(dict(radius_after_500_steps=radius, table=verdicts))


def _parts(values: np.ndarray | None) -> list | None:
  """Complex numbers as pairs."""
  return None if values is None else np.stack([values.real, values.imag], 1)
