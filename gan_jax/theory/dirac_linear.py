"""The Dirac-GAN near its equilibrium: eigenvalues and step sizes, by formula.

Near (theta, psi) = 0 every smooth field of `gan_jax.theory.dirac` is a 2 x 2
matrix, and a step along it is another one.

References:
  Mescheder, Geiger & Nowozin, Which Training Methods for GANs do actually
  Converge?, 2018, sections 2 and 3 and their proofs.
"""

import math
from typing import NamedTuple

import numpy as np

from gan_jax.theory.dirac import CURVATURE, SLOPE


class Linear(NamedTuple):
  """A field near 0: [[own_g, -coupling], [coupling, own_d]].

  Attributes:
    own_g: of theta on itself.
    own_d: of psi on itself.
    coupling: of each on the other.
  """

  own_g: float = 0.0
  own_d: float = 0.0
  coupling: float = SLOPE


def penalized(gamma: float) -> Linear:
  """Of the (non-saturating) GAN with R1, R2 or a mix of weights gamma / 2."""
  return Linear(own_d=-gamma)


def noisy(std: float) -> Linear:
  """Of instance noise: both points' noise bends the critic's loss."""
  return Linear(own_d=2 * CURVATURE * std**2)


def consensus(gamma: float) -> Linear:
  """Of consensus optimization, in either form."""
  return Linear(-gamma * SLOPE**2, -gamma * SLOPE**2)


def eigenvalues(linear: Linear) -> np.ndarray:
  """Of the continuous flow, `[2]`; stable if both real parts are negative."""
  middle = (linear.own_g + linear.own_d) / 2
  half = (linear.own_g - linear.own_d) / 2
  root = np.sqrt(complex(half**2 - linear.coupling**2))
  return np.array([middle + root, middle - root])


def step_radius(
  linear: Linear, h: float, *, d_steps: int = 0, g_steps: int = 1
) -> float:
  """The spectral radius of one step; below 1 it converges.

  Args:
    linear: the field near 0.
    h: the step size of both players.
    d_steps: 0 moves both at once; otherwise theta moves `g_steps` times, then
      psi `d_steps` times.
    g_steps: of theta.

  Raises:
    ValueError: d_steps is negative, or g_steps below 1.
  """
  if d_steps < 0 or g_steps < 1:
    raise ValueError(
      f'd_steps={d_steps} must be 0 or more, g_steps={g_steps} 1 or more.'
    )
  push = h * linear.coupling
  if not d_steps:
    on_g, on_d = 1 + h * linear.own_g, 1 + h * linear.own_d
    return _largest_root(on_g + on_d, on_g * on_d + push**2)
  on_g, on_d = (
    (1 + h * linear.own_g) ** g_steps,
    (1 + h * linear.own_d) ** d_steps,
  )
  # Pushes add up like a geometric series while the other stands still.
  of_g = push * sum((1 + h * linear.own_g) ** k for k in range(g_steps))
  of_d = push * sum((1 + h * linear.own_d) ** k for k in range(d_steps))
  return _largest_root(on_g + on_d - of_g * of_d, on_g * on_d)


def _largest_root(trace: float, determinant: float) -> float:
  """The largest modulus of a root of z^2 - trace z + determinant."""
  square = trace**2 / 4 - determinant
  if square < 0:
    return math.sqrt(determinant)
  return abs(trace) / 2 + math.sqrt(square)


def simultaneous_limit(gamma: float) -> float:
  """Below this step size simultaneous steps with R1 converge near 0.

  Raises:
    ValueError: gamma <= 0, for which none does.
  """
  _check_gamma('simultaneous_limit', gamma)
  if gamma < 2 * SLOPE:
    return gamma / SLOPE**2
  return 2 / (gamma / 2 + math.sqrt(gamma**2 / 4 - SLOPE**2))


def alternating_limit(gamma: float) -> float:
  """The same for one step of theta, then one of psi.

  From the matrix [[1, -h s], [h s, 1 - h gamma - h^2 s^2]] with s = f'(0):
  1 + trace + determinant has to be positive. h gamma < 2 follows.

  Raises:
    ValueError: gamma <= 0.
  """
  _check_gamma('alternating_limit', gamma)
  return (-gamma + math.sqrt(gamma**2 + 4 * SLOPE**2)) / SLOPE**2


def _check_gamma(name: str, gamma: float) -> None:
  if not gamma > 0:
    raise ValueError(f'{name} needs gamma > 0, got {gamma}.')


def circle_limit(g_steps: int, d_steps: int) -> float:
  """Up to here alternating GAN steps keep all eigenvalues on the unit circle.

  sqrt(g_steps d_steps) h f'(0) <= 2.

  Raises:
    ValueError: either number is below 1.
  """
  if min(g_steps, d_steps) < 1:
    raise ValueError(f'g_steps={g_steps}, d_steps={d_steps} must be 1 or more.')
  return 2 / (SLOPE * math.sqrt(g_steps * d_steps))


def noise_floor(
  linear: Linear, h: float, *, std: float, num_samples: int, d_steps: int = 0
) -> float:
  """The radius, root mean square, at which sampled instance noise keeps it.

  At 0 the critic's gradient averages f'(0) (fake - real) over the samples: its
  variance is 2 f'(0)^2 std^2 / num_samples. The generator's noise is
  proportional to psi, and left out.

  Args:
    linear: the field near 0, which has to be stable.
    h: the step size.
    std: of the noise.
    num_samples: in one evaluation.
    d_steps: as for `step_radius`.

  Raises:
    ValueError: a step does not converge, so that nothing keeps the noise in.
  """
  if not step_radius(linear, h, d_steps=d_steps) < 1:
    raise ValueError(
      f'no step of size h={h} converges on {linear}, d_steps={d_steps}: the '
      'noise adds up without end.'
    )
  both = np.eye(2) + h * np.array(
    [[linear.own_g, -linear.coupling], [linear.coupling, linear.own_d]]
  )
  of_g = np.array([both[0], [0.0, 1.0]])
  of_d = np.array([[1.0, 0.0], both[1]])
  turns = [of_g, *[of_d] * d_steps] if d_steps else [both]
  kick = np.zeros((2, 2))
  kick[1, 1] = 2 * (h * SLOPE * std) ** 2 / num_samples
  step, drawn = np.eye(2), np.zeros((2, 2))
  for turn in turns:
    step, drawn = turn @ step, turn @ drawn @ turn.T
    if turn is not of_g:  # the critic moved
      drawn = drawn + kick
  # covariance = step covariance step^T + drawn
  system = np.eye(4) - np.kron(step, step)
  covariance = np.linalg.solve(system, drawn.ravel()).reshape(2, 2)
  return math.sqrt(np.trace(covariance))
