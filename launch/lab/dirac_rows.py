"""Rows of the Dirac-GAN: trajectories, and the table of convergence."""

import decimal

import numpy as np

from gan_jax.theory import dirac_linear, local_convergence
from launch.lab import dirac_panels, result

PUBLISHED_FORM = 'the 500 steps of the published notebook, step size .2'
# An independent replay of the notebook, to the digits given: the radius after
# 500 steps in three sweeps, and (theta, psi) after 10 simultaneous steps.
RADII = {
  'gan': ('3.097', '1.421', '1.845'),
  'nsgan': ('.640', '.284', '.139'),
  'wgan': ('1.002', '1.024', '.917'),
  'wgan_gp': ('1.80', '1.22', '.716'),
  'r1': ('2.64e-6', '2.30e-7', '9e-34'),
  'r1_critical': ('9.5e-22', '7.5e-17', '5.1e-12'),
  'consensus_notebook': ('2.1e-10', '1.3e-11', '4.6e-33'),
  'consensus': ('2.6e-10', '1.7e-11', '10.97'),
  'nsgan_r1': ('2.2e-6', '1.5e-7', '4e-34'),
}
TEN_STEPS = {
  'gan': ('.25705', '1.41768'),
  'nsgan': ('-.35826', '1.20280'),
  'wgan': ('-.92032', '.60800'),
  'wgan_gp': ('-1.34008', '.53880'),
  'r1': ('.36493', '.89154'),
  'r1_critical': ('.55932', '.36104'),
  'consensus_notebook': ('.29282', '1.27968'),
  'consensus': ('.48808', '1.42379'),
  'nsgan_r1': ('-.12176', '.73694'),
}
NOISE_RADII = (0.009, 0.013)

Row = result.Row


def printed(quantity: str, text: str, ours: float, settings: str = '') -> Row:
  """An exact row whose margin is half a unit of the last printed digit."""
  number = decimal.Decimal(text)
  margin = 0.5 * 10.0 ** number.as_tuple().exponent
  return result.exact(quantity, float(number), ours, 1.001 * margin, settings)


def plain_label(panel: dirac_panels.Panel) -> str:
  """Without TeX."""
  label = panel.label.replace('$\\gamma$', 'gamma')
  return label.replace('$\\sigma$', 'sigma')


def of_paths(panels: dict, paths: dict, by_hand: dict) -> tuple[Row, ...]:
  """Radii, points after ten steps, and play against the written-down fields."""
  rows = []
  for name, texts in RADII.items():
    for sweep, text in zip(dirac_panels.SWEEPS, texts, strict=True):
      ours = paths[name, sweep].radius()[-1]
      title = f'{plain_label(panels[name])}, {sweep}: radius after 500 steps'
      rows.append(printed(title, text, ours, PUBLISHED_FORM))
  for name, texts in TEN_STEPS.items():
    path = paths[name, 'simultaneous']
    for symbol, text, values in zip(('theta', 'psi'), texts, path, strict=True):
      title = (
        f'{plain_label(panels[name])}: {symbol} after 10 simultaneous steps'
      )
      rows.append(printed(title, text, values[10], PUBLISHED_FORM))
  for name, sweep, low, high in (
    ('wgan_gp', 'simultaneous', '1.62', '1.97'),
    ('gan', 'alternating 1', '1.344', '1.422'),
  ):
    tail = paths[name, sweep].radius()[-200:]
    title = (
      f'{plain_label(panels[name])}, {sweep}: radius of the last 200 steps'
    )
    rows.append(printed(f'{title}, least', low, tail.min()))
    rows.append(printed(f'{title}, largest', high, tail.max()))
  # Consensus as published is no pair of gradients: it is played by hand.
  keys = [key for key in paths if key[0] != 'consensus_notebook']
  apart = [np.max(np.abs(np.subtract(paths[k], by_hand[k]))) for k in keys]
  rows.append(
    result.exact(
      'largest difference between play with the core and the fields by hand',
      0.0,
      result.worst(apart),
      1e-11,
      f'{len(keys)} trajectories of 500 steps',
    )
  )
  return tuple(rows)


def of_noise(noisy: dict[str, dirac_panels.Paths]) -> tuple[Row, ...]:
  """The radius at which sampled instance noise keeps the players."""
  rows = []
  for sweep, path in noisy.items():
    tail = path.radius()[:, -250:]
    low, middle, high = np.quantile(tail, (0.1, 0.5, 0.9))
    seeds = f'{len(tail)} seeds, the last 250 of 500 steps'
    rows.append(
      result.finding(
        f'instance noise by 1000 samples, {sweep}: radius at the end',
        'about .009 to .013 (single unseeded runs)',
        f'median {middle:.4f}, 80 % within {low:.4f} to {high:.4f}',
        low < NOISE_RADII[1] and high > NOISE_RADII[0],
        seeds,
      )
    )
    d_steps = dirac_panels.SWEEPS[sweep]
    floor = dirac_linear.noise_floor(
      dirac_linear.noisy(dirac_panels.STD),
      dirac_panels.STEP_SIZE,
      std=dirac_panels.STD,
      num_samples=dirac_panels.NUM_SAMPLES,
      d_steps=d_steps,
    )
    ours = float(np.sqrt(np.mean(np.square(tail))))
    margin = 0.1 if len(tail) >= 32 else 0.4
    rows.append(
      result.finding(
        f'the same, root mean square against the linear theory, {sweep}',
        floor,
        ours,
        abs(ours / floor - 1) <= margin,
        f'{seeds}; margin {margin:.0%}',
      )
    )
  return tuple(rows)


def verdicts() -> dict[str, dict]:
  """The nine rows of the table, and DRAGAN with a one-sided penalty."""
  cases = {
    'absolutely continuous': local_convergence.gaussian_case(),
    'general': local_convergence.point_case(),
  }
  methods = {
    name: (method, f'{continuous} / {general}')
    for name, (method, continuous, general) in local_convergence.TABLE.items()
  }
  one_sided = local_convergence.Method(
    penalty=local_convergence.dragan(1.0, one_sided=True)
  )
  methods['DRAGAN, one-sided penalty'] = (one_sided, None)
  found = {
    title: local_convergence.decide(
      {name: method for name, (method, _) in methods.items()}, case
    )
    for title, case in cases.items()
  }
  return {
    name: dict(paper=paper, **{title: found[title][name] for title in found})
    for name, (_, paper) in methods.items()
  }


def of_table(found: dict[str, dict]) -> tuple[Row, ...]:
  """The table of local convergence, computed."""
  rows = []
  for name, row in found.items():
    both = row['absolutely continuous'], row['general']
    ours = ' / '.join('yes' if each.converges else 'no' for each in both)
    rows.append(
      result.finding(
        f'{name}: converges locally, absolutely continuous / general',
        row['paper'],
        ours,
        None if row['paper'] is None else ours == row['paper'],
        ' / '.join(map(_evidence, both)),
      )
    )
  return tuple(rows)


def _evidence(verdict: local_convergence.Verdict) -> str:
  if verdict.eigenvalues is None:
    return (
      f'field jumps by {verdict.jump:.2f}, descents end '
      f'{verdict.drifts[0]:.0f} to {verdict.drifts[1]:.0f} times as far away'
    )
  return f'largest real part {np.max(verdict.eigenvalues.real) + 0.0:.4f}'
