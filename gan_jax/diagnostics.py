"""What a game looks like around its players: Jacobians and their spectra.

Dense: for games small enough to write their matrices down.

References:
  Mescheder, Nowozin & Geiger, The Numerics of GANs, 2017, section 3;
  Mescheder, Geiger & Nowozin, Which Training Methods for GANs do actually
  Converge?, 2018, section 2;
  Balduzzi et al., The Mechanics of n-Player Differentiable Games, 2018.
"""

from typing import Any, NamedTuple

import jax
import jax.flatten_util
from jax import numpy as jnp

from gan_jax import games


class Blocks(NamedTuple):
  """The Jacobian of the field (-grad_g loss_g, -grad_d loss_d), by blocks.

  Attributes:
    gg: -d^2 loss_g / dg dg, `[G, G]`.
    gd: -d^2 loss_g / dg dd, `[G, D]`.
    dg: -d^2 loss_d / dd dg, `[D, G]`.
    dd: -d^2 loss_d / dd dd, `[D, D]`.
  """

  gg: jax.Array
  gd: jax.Array
  dg: jax.Array
  dd: jax.Array

  def dense(self) -> jax.Array:
    """All of it, `[G + D, G + D]`, the generator first."""
    return jnp.block([[self.gg, self.gd], [self.dg, self.dd]])


def field(game: games.Game, players: games.Players) -> games.Players:
  """Where simultaneous gradient flow goes: minus each player's own gradient."""
  at = games.gradients(game, players)
  return jax.tree.map(jnp.negative, games.Players(at.grad_g, at.grad_d))


def jacobian(game: games.Game, players: games.Players) -> Blocks:
  """The Jacobian of the field of simultaneous gradient flow.

  The flow is stable at an equilibrium if all eigenvalues have negative real
  parts; a step h v of descent is if all |1 + h eigenvalue| < 1.

  Args:
    game: of two players; its losses are scalars.
    players: where; parameters of any pytrees.

  Returns:
    Four blocks, with parameters in the order of `jax.tree.leaves`.
  """
  g, unravel_g = jax.flatten_util.ravel_pytree(players.g)
  d, unravel_d = jax.flatten_util.ravel_pytree(players.d)

  def flat(g, d):
    v = field(game, games.Players(unravel_g(g), unravel_d(d)))
    return tuple(jax.flatten_util.ravel_pytree(part)[0] for part in v)

  (gg, gd), (dg, dd) = jax.jacfwd(flat, (0, 1))(g, d)
  return Blocks(gg, gd, dg, dd)


def step_jacobian(
  method: games.GameTransformation,
  game: games.Game,
  players: games.Players,
  state: Any = None,
  *,
  difference: float | None = None,
) -> jax.Array:
  """The Jacobian of one whole step of a method, all turns of it.

  A method that solves a linear system by iterations (CGD) stops before the
  first where the gradients are zero, and so has no derivative at a fixed point:
  there it needs `difference`.

  Args:
    method: how to play; whatever it remembers in floating point counts as part
      of what a step maps.
    game: the same in every turn.
    players: where.
    state: of the method; None starts it there.
    difference: takes central differences of this size in place of derivatives.
      Exact but for rounding where the step is linear or quadratic.

  Returns:
    `[N, N]` for the N parameters, and what the method remembers after them. A
    fixed point attracts if its spectral radius is below 1.
  """
  whole = (players, method.init(players) if state is None else state)
  leaves, structure = jax.tree.flatten(whole)
  leaves = [jnp.asarray(leaf) for leaf in leaves]
  moving = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]
  flat, unravel = jax.flatten_util.ravel_pytree(
    [leaf for leaf, moves in zip(leaves, moving, strict=True) if moves]
  )

  def step(flat):
    moved = iter(unravel(flat))
    pairs = zip(leaves, moving, strict=True)
    merged = [next(moved) if moves else leaf for leaf, moves in pairs]
    players, state = jax.tree.unflatten(structure, merged)
    turns = [game] * len(method.turns)
    after = jax.tree.leaves(games.play(method, turns, state, players)[:2])
    pairs = zip(after, moving, strict=True)
    kept = [leaf for leaf, moves in pairs if moves]
    return jax.flatten_util.ravel_pytree(kept)[0]

  if difference is None:
    return jax.jacfwd(step)(flat)
  shifts = difference * jnp.eye(flat.size, dtype=flat.dtype)
  slope = lambda v: (step(flat + v) - step(flat - v)) / (2 * difference)
  return jax.vmap(slope, out_axes=1)(shifts)


def spectral_radius(matrix: jax.Array) -> jax.Array:
  """The largest modulus of an eigenvalue of `[N, N]`, computed on a CPU.

  Raises:
    ValueError: the matrix is not square.
  """
  if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
    raise ValueError(f'a matrix of shape {matrix.shape} is not square.')
  if jax.default_backend() != 'cpu':  # not every version has it elsewhere
    matrix = jax.device_put(matrix, jax.local_devices(backend='cpu')[0])
  return jnp.max(jnp.abs(jnp.linalg.eigvals(matrix)))
