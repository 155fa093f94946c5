"""A landscape with slopes: both point sets blurred, so that near counts.

Over all functions phi is constant but for coincidences. Here every point is a
Gaussian of width s, and example i pairs a real point x_i + s a with a generated
one y_i + s b, a and b independent; the critic is any function on a grid:

  phi_s(y) = max_f  -sum_uv W_uv loss_D(f_u, f_v) - (penalty/2) |f|^2,
  W = (1/n) sum_i p_i q_i',

p_i and q_i being the blurred points on the grid. As s -> 0 (grid finer than s)
and penalty -> 0 this is phi. For the logistic loss and no penalty it is
2 JS(p, q) - 2 log 2, with D = p/(p + q). The penalty makes the best critic
finite and the optimum certain: with a concavity of at least `penalty`, no
critic is better by more than |gradient|^2 / (2 penalty).

References:
  Arjovsky & Bottou, Towards Principled Methods for Training GANs, 2017, section
  3 (blurring both sets); Sun, Fang & Schwing, 2020, the picture of two points.
"""

import functools

import jax
import numpy as np
from jax import numpy as jnp

from gan_jax import losses
from gan_jax.theory import landscape_terms

_NEWTON_STEPS = 200
_LONGEST_STEP = 2.0
# Configurations at a time: an accelerator wants many, a cache few.
_BATCH = 64


def blur(points: np.ndarray, grid: np.ndarray, width: float) -> np.ndarray:
  """Each point as a Gaussian on the grid, `[..., G]`, of sum 1.

  Args:
    points: `[...]`.
    grid: rising, equally spaced, as fine as the width, `[G]`.
    width: standard deviation.

  Raises:
    ValueError: the grid is uneven or too coarse, or a point is within 3 widths
      of its ends.
  """
  points, grid = np.asarray(points), np.asarray(grid)
  if grid.ndim != 1 or len(grid) < 2 or not _even(np.diff(grid)):
    raise ValueError(
      f'grid of shape {grid.shape} is not two or more places at equal '
      'distances, in rising order.'
    )
  spacing = np.max(np.diff(grid))
  inside = (np.min(points) - grid[0], grid[-1] - np.max(points))
  if not (spacing <= width * 1.001 and min(inside) >= 2.999 * width):
    raise ValueError(
      f'width={width}: the grid of spacing {spacing:.3g} has to be as fine, '
      f'and to go 3 widths beyond the points; it goes {min(inside):.3g} beyond.'
    )
  square = ((points[..., None] - grid) / width) ** 2
  density = np.exp(-square / 2)
  return density / np.sum(density, -1, keepdims=True)


def _even(spacings: np.ndarray) -> bool:
  mean = np.mean(spacings)
  return bool(mean > 0 and np.all(np.abs(spacings / mean - 1) < 1e-6))


def surface(
  name: str,
  real: np.ndarray,
  fake: np.ndarray,
  grid: np.ndarray,
  *,
  width: float,
  penalty: float = 1e-8,
) -> tuple[np.ndarray, np.ndarray]:
  """phi_s at many configurations of points on a line.

  Args:
    name: of a separable or paired loss with two derivatives, such as
      'nonsaturating' and 'relativistic'.
    real: distinct, `[n]`.
    fake: `[C, n]`, C at least 1.
    grid: what the critic is defined on, `[G]`.
    width: of the blur, at least the grid's spacing.
    penalty: on the critic's square norm.

  Returns:
    phi_s and the bound on what a better critic could add, `[C]` each.

  Raises:
    ValueError: the loss is an average or has kinks, the points have other
      shapes or the real ones coincide, the grid is uneven, too coarse or too
      short, or some optimum is not certain to 1e-8.
  """
  terms = landscape_terms.get(name)
  kinks = len(terms.real.pieces) > 1
  if terms.kind == 'average' or kinks or penalty <= 0:
    raise ValueError(
      f'loss={name!r}, penalty={penalty}: the smoothed landscape needs a '
      'separable or paired loss without kinks, and a positive penalty.'
    )
  real, fake = np.asarray(real), np.asarray(fake)
  _check_points(real, fake)
  p, q = blur(real, grid, width), blur(fake, grid, width)
  with jax.enable_x64(True):
    solve = lambda some: _solver(name)(jnp.asarray(p), some, penalty)
    parts = [solve(part) for part in _batches(q)]
  value, gap = (
    np.concatenate(each)[: len(q)] for each in zip(*parts, strict=True)
  )
  if not np.all(gap <= 1e-8):
    raise ValueError(
      f'loss={name!r}: the smoothed optimum is certain to {np.max(gap):.1e} '
      'only, 1e-8 is needed; a larger penalty helps.'
    )
  return value, gap


def _check_points(real: np.ndarray, fake: np.ndarray) -> None:
  if real.ndim != 1 or fake.ndim != 2 or fake.shape[1:] != real.shape:
    raise ValueError(
      f'real has shape {real.shape} and fake {fake.shape}; the smoothed '
      'landscape needs n real points, [n], and as many generated ones in each '
      'configuration, [C, n].'
    )
  if not real.size or not len(fake):
    raise ValueError(
      f'real has shape {real.shape} and fake {fake.shape}; there is nothing '
      'to compute.'
    )
  if len(np.unique(real)) < len(real):
    raise ValueError(f'real={real.tolist()} has duplicates.')


def _batches(q: np.ndarray) -> list[jax.Array]:
  """All of one size, the last filled up, so that one program serves them."""
  filled = np.concatenate([q, np.repeat(q[-1:], -len(q) % _BATCH, 0)])
  return [jnp.asarray(part) for part in np.split(filled, len(filled) // _BATCH)]


@functools.cache
def _solver(name: str):
  """Newton's method, one program for all configurations."""
  pair = lambda r, f: losses.get(name).discriminator(r[None], f[None])[0]
  every = lambda f: jax.vmap(jax.vmap(f, (None, 0)), (0, None))
  first = jax.grad(pair, (0, 1))
  second = jax.hessian(pair, (0, 1))

  def slopes(f, weights, penalty):
    real, fake = every(first)(f, f)
    gradient = jnp.sum(weights * real, 1) + jnp.sum(weights * fake, 0)
    return gradient + penalty * f

  def newton(f, weights, penalty):
    (rr, rf), (_, ff) = every(second)(f, f)
    mixed = weights * rf
    diagonal = jnp.sum(weights * rr, 1) + jnp.sum(weights * ff, 0) + penalty
    hessian = jnp.diag(diagonal) + mixed + mixed.T
    move = jnp.linalg.solve(hessian, slopes(f, weights, penalty))
    # Far steps of Newton's method overshoot on softplus.
    longest = jnp.max(jnp.abs(move))
    return f - move * jnp.minimum(1.0, _LONGEST_STEP / longest)

  def solve(p, q, penalty):
    weights = jnp.mean(p[:, :, None] * q[:, None, :], 0)
    gap = lambda f: jnp.sum(slopes(f, weights, penalty) ** 2) / (2 * penalty)

    def unfinished(carry):
      f, number = carry
      return (gap(f) > 1e-12) & (number < _NEWTON_STEPS)

    body = lambda carry: (newton(carry[0], weights, penalty), carry[1] + 1)
    f, _ = jax.lax.while_loop(unfinished, body, (jnp.zeros(p.shape[1]), 0))
    loss = jnp.sum(weights * every(pair)(f, f))
    return -loss - penalty / 2 * jnp.sum(f**2), gap(f)

  return jax.jit(jax.vmap(solve, (None, 0, None)))


def local_minima(values: np.ndarray, *, margin: float) -> np.ndarray:
  """Where a surface is lower than all around, by a margin.

  Args:
    values: on a rectangular grid, `[A, B]`.
    margin: how deep a basin has to be: from its minimum every path over the
      grid's edges and diagonals to a lower point rises by more.

  Returns:
    Their indices, `[M, 2]`, the lowest first.
  """
  order = np.argsort(values, axis=None, kind='stable')
  shape = values.shape
  owner = -np.ones(values.size, int)
  minima = []
  alive: dict[int, bool] = {}
  for cell in order:
    row, column = np.unravel_index(cell, shape)
    around = {
      _root(owner, r * shape[1] + c)
      for r in range(max(row - 1, 0), min(row + 2, shape[0]))
      for c in range(max(column - 1, 0), min(column + 2, shape[1]))
      if owner[r * shape[1] + c] >= 0
    }
    if not around:
      owner[cell] = cell
      alive[int(cell)] = True
      continue
    # Basins meet here: the shallower ones end, and count if deep enough.
    deepest = min(around, key=lambda root: values.flat[root])
    for root in around - {deepest}:
      if values.flat[cell] - values.flat[root] > margin:
        minima.append(root)
      owner[root] = deepest
    owner[cell] = deepest
  lowest = _root(owner, int(order[0]))
  found = sorted({*minima, lowest}, key=lambda root: values.flat[root])
  return np.stack(np.unravel_index(np.array(found), shape), 1)


def _root(owner: np.ndarray, cell: int) -> int:
  while owner[cell] != cell:
    cell = owner[cell]
  return int(cell)
