"""The quadratic game k x^2 + c x y + k y^2: closed forms of three methods.

x, the first player, minimizes with step size a; y maximizes with step size b.
y has positive curvature, so (0, 0) is the worst point for it against x = 0, and
gradient ascent on y alone leaves it. Whether both together stay depends on the
method and on the ratio of the step sizes: implicit competitive regularization.

All three are linear maps of (x, y). By the conditions |det| < 1 and
|trace| < 1 + det for a real 2 x 2 matrix, with c > 2 k > 0, each is stable
exactly where

  1/b - 1/a > threshold   and   4 k (a - b) + weight a b < 4,

               threshold                 weight
  simultaneous (c^2 - 4 k^2) / (2 k)     4 k^2 - c^2
  alternating  -2 k                      4 k^2 + c^2
  competitive  -(c^2 + 4 k^2) / (2 k)    4 k^2 - c^2

For k = 1, c = 10 the thresholds are 48, -2 and -52. The first is the paper's;
the other two follow in the same way.

References:
  Schaefer, Zheng and Anandkumar, Implicit Competitive Regularization in GANs,
  ICML 2020, section 3.
"""

from typing import NamedTuple

import jax
from jax import numpy as jnp

from gan_jax import games

METHODS = ('simultaneous', 'alternating', 'competitive')


class Form(NamedTuple):
  """The game's two numbers: k (x^2 + y^2) + c x y.

  Attributes:
    coupling: c; the stability conditions need it above 2 k.
    curvature: k, positive.
  """

  coupling: float = 10.0
  curvature: float = 1.0


PAPER = Form()


def game(form: Form = PAPER) -> games.Game:
  """x is g, y is d; both scalars of shape `[]`.

  Args:
    form: of the game.

  Returns:
    A zero-sum Game: loss_g is the payoff, loss_d minus it.
  """
  c, k = form

  def loss_d(x, y):
    return -(k * (jnp.square(x) + jnp.square(y)) + c * x * y)

  return games.zero_sum(loss_d)


def step_matrix(
  method: str,
  a: jax.Array,
  b: jax.Array,
  form: Form = PAPER,
) -> jax.Array:
  """What one step does to (x, y).

  Args:
    method: of `METHODS`; 'alternating' moves x first, and y sees it.
    a: step size of x, `[...]`.
    b: step size of y, `[...]`.
    form: of the game.

  Returns:
    `[..., 2, 2]`.

  Raises:
    ValueError: another method, or a form without c > 2 k > 0.
  """
  _check(method, form)
  c, k = form
  a, b = jnp.broadcast_arrays(jnp.asarray(a, float), jnp.asarray(b, float))
  keep_x, keep_y = 1 - 2 * k * a, 1 + 2 * k * b
  if method == 'simultaneous':
    rows = (keep_x, -c * a), (c * b, keep_y)
  elif method == 'alternating':
    rows = (keep_x, -c * a), (c * b * keep_x, keep_y - c**2 * a * b)
  else:
    # Each answers the other's move: both gradients are damped by the coupling.
    damping = 1 + c**2 * a * b
    rows = (
      (1 - a * (2 * k + c**2 * b) / damping, -a * c * keep_y / damping),
      (b * c * keep_x / damping, 1 + b * (2 * k - c**2 * a) / damping),
    )
  return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def eigenvalues(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Of real `[..., 2, 2]` matrices, by their trace and determinant.

  Returns:
    Two complex `[...]`, the one of larger imaginary part, or else of larger
    real part, first.
  """
  half = jnp.trace(matrix, axis1=-2, axis2=-1) / 2
  root = jnp.sqrt((half**2 - determinant(matrix)).astype(complex))
  return half + root, half - root


def determinant(matrix: jax.Array) -> jax.Array:
  """Of `[..., 2, 2]` matrices."""
  return (
    matrix[..., 0, 0] * matrix[..., 1, 1]
    - matrix[..., 0, 1] * matrix[..., 1, 0]
  )


def radius(
  method: str,
  a: jax.Array,
  b: jax.Array,
  form: Form = PAPER,
) -> jax.Array:
  """The factor by which one step shrinks or stretches in the long run.

  Args:
    method: of `METHODS`.
    a: step size of x, `[...]`.
    b: step size of y, `[...]`.
    form: of the game.

  Returns:
    The larger modulus of the eigenvalues, `[...]`.

  Raises:
    ValueError: as `step_matrix`.
  """
  both = eigenvalues(step_matrix(method, a, b, form))
  return jnp.maximum(*map(jnp.abs, both))


def threshold(method: str, form: Form = PAPER) -> float:
  """What 1/b - 1/a has to exceed.

  Raises:
    ValueError: as `step_matrix`.
  """
  _check(method, form)
  c, k = form
  return {
    'simultaneous': (c**2 - 4 * k**2) / (2 * k),
    'alternating': -2 * k,
    'competitive': -(c**2 + 4 * k**2) / (2 * k),
  }[method]


def is_stable(
  method: str,
  a: jax.Array,
  b: jax.Array,
  form: Form = PAPER,
) -> jax.Array:
  """Whether both players together converge to (0, 0), by the inequalities.

  Args:
    method: of `METHODS`.
    a: positive step size of x, `[...]`.
    b: positive step size of y, `[...]`.
    form: of the game.

  Returns:
    Booleans, `[...]`.

  Raises:
    ValueError: as `step_matrix`.
  """
  slow = 1 / b - 1 / a > threshold(method, form)
  c, k = form
  sign = 1 if method == 'alternating' else -1
  weight = 4 * k**2 + sign * c**2
  # Else some eigenvalue is below -1: the step of x is too long.
  return slow & (4 * k * (a - b) + weight * a * b < 4)


def largest_b(method: str, a: jax.Array, form: Form = PAPER) -> jax.Array:
  """The step size of y below which the first condition holds.

  Args:
    method: of `METHODS`.
    a: positive step size of x, `[...]`.
    form: of the game.

  Returns:
    `[...]`; inf where every b will do.

  Raises:
    ValueError: as `step_matrix`.
  """
  slowest = 1 / jnp.asarray(a, float) + threshold(method, form)
  return jnp.where(slowest > 0, 1 / jnp.where(slowest > 0, slowest, 1), jnp.inf)


def frozen_factor(b: jax.Array, form: Form = PAPER) -> jax.Array:
  """What multiplies y in each step while x stays 0: it runs away."""
  return 1 + 2 * form.curvature * b


def _check(method: str, form: Form) -> None:
  if method not in METHODS:
    raise ValueError(f'method={method!r} is not one of {METHODS}.')
  if not form.coupling > 2 * form.curvature > 0:
    raise ValueError(
      f'form={form!r} needs coupling > 2 curvature > 0, a game in which y '
      'runs away alone and the coupling outweighs it.'
    )
