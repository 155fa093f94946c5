"""Spectral normalization with a vector that only its owner may advance.

The collection `spectral` holds one unit vector u per normalized layer, at the
path of the layer's parameters. A forward pass reads it and never writes it:
sigma = ||W u|| is then a smooth function of the weight alone, with exact
derivatives of every order, and evaluating a network twice gives the same value
twice. `power_iteration` turns u towards W's first right singular vector; the
training loop calls it between turns.

References:
  Miyato et al., Spectral Normalization for Generative Adversarial Networks,
  2018, algorithm 1.
"""

from typing import Any

import jax
import jax.numpy as jnp

INITIAL_STEPS = 15
_KERNEL = (jax.tree_util.DictKey('kernel'),)


def normalize(kernel: jax.Array, u: jax.Array) -> jax.Array:
  """The kernel divided by its spectral norm as seen by u.

  Args:
    kernel: weight of any rank with the output channels last, `[..., out]`.
    u: unit vector, `[out]`; a constant in every derivative.

  Returns:
    kernel / sigma(kernel, u), shaped and typed like the kernel.
  """
  return kernel / sigma(kernel, u).astype(kernel.dtype)


def sigma(kernel: jax.Array, u: jax.Array) -> jax.Array:
  """||W u||, a scalar, W being the kernel as a matrix `[rest, out]`.

  It is the largest singular value once u has converged, never more than it, and
  1 where W u is zero, so that a kernel of zeros stays zeros.
  """
  square = jnp.sum(jnp.square(_product(_matrix(kernel), _constant(u))))
  return jnp.sqrt(jnp.where(square > 0, square, 1.0))


def initial_u(key: jax.Array, kernel: jax.Array) -> jax.Array:
  """A random direction after 15 power iterations on a fresh kernel, `[out]`."""
  dtype = _matrix(kernel).dtype
  u = _unit(jax.random.normal(key, kernel.shape[-1:], dtype))
  return _iterate(kernel, u, INITIAL_STEPS)


def power_iteration(params: Any, spectral: Any, steps: int = 1) -> Any:
  """Advances every u of a model: u <- unit(W^T unit(W u)), `steps` times.

  Args:
    params: the model's parameters.
    spectral: its collection `spectral`; may be empty or None.
    steps: number of iterations, static.

  Returns:
    The collection with new vectors, constants to any derivative. A vector whose
    product with W is zero stays as it is.

  Raises:
    ValueError: a layer of `spectral` has no kernel in `params`.
  """
  leaves = jax.tree_util.tree_leaves_with_path(params)
  kernels = {path[:-1]: x for path, x in leaves if path[-1:] == _KERNEL}

  def advance(path, u):
    if path[:-1] not in kernels:
      layer = jax.tree_util.keystr(path[:-1])
      raise ValueError(f'spectral has layer {layer}, params no kernel there.')
    return _iterate(kernels[path[:-1]], u, steps)

  return jax.tree_util.tree_map_with_path(advance, spectral)


def _iterate(kernel: jax.Array, u: jax.Array, steps: int) -> jax.Array:
  matrix = _constant(_matrix(kernel))

  def body(_, u):
    v = _unit(_product(matrix, u))
    following = _unit(_product(matrix.T, v))
    return jnp.where(jnp.any(following != 0), following, u).astype(u.dtype)

  return jax.lax.fori_loop(0, steps, body, _constant(u))


def _matrix(kernel: jax.Array) -> jax.Array:
  # Half precision would lose sigma's digits in the sum of squares.
  dtype = jnp.promote_types(kernel.dtype, jnp.float32)
  return kernel.reshape(-1, kernel.shape[-1]).astype(dtype)


def _product(matrix: jax.Array, vector: jax.Array) -> jax.Array:
  # Tiny products: full precision costs nothing, whatever the session's default.
  return jnp.dot(matrix, vector, precision=jax.lax.Precision.HIGHEST)


def _unit(vector: jax.Array) -> jax.Array:
  square = jnp.sum(jnp.square(vector))
  return vector / jnp.sqrt(jnp.where(square > 0, square, 1.0))


_constant = jax.lax.stop_gradient
