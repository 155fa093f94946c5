"""Penalties on a critic and on parameters, and the points they are taken at.

`critic` is any function `[B, ...] -> [B]` that treats rows independently: batch
norm or minibatch features would mix the examples' gradients. The points are
constants (`stop_gradient`), so a penalty depends on the critic alone and a
zero-sum game stays zero-sum. Weights are the caller's.

Randomness is per example. `key` is one scalar typed key, from which row i takes
`fold_in(key, i)`, or an array `[B]` of the rows' own keys. A device that holds
part of a batch passes the keys of its rows' global indices, and so draws what a
single device would have drawn.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax import numpy as jnp

Critic = Callable[[jax.Array], jax.Array]


def example_keys(key: jax.Array, batch_size: int) -> jax.Array:
  """One key per example.

  Args:
    key: a typed key (`jax.random.key`), or `[batch_size]` of them.
    batch_size: the number of rows here.

  Returns:
    `fold_in(key, i)` for row i, or `key` itself if it already has one per row.

  Raises:
    ValueError: `key` is a raw integer key or has another shape.
  """
  if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
    raise ValueError(
      f'key is an array of {key.dtype}; pass a typed key, jax.random.key(seed).'
    )
  if key.shape == (batch_size,):
    return key
  if key.shape:
    raise ValueError(
      f'key has shape {key.shape}; a batch of {batch_size} needs one key, '
      f'shape (), or one per example, ({batch_size},).'
    )
  return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch_size))


def _square_norms(critic: Critic, x: jax.Array) -> jax.Array:
  """The squared norm of d critic/dx at each row of x, `[B]`."""

  def total(x):
    values = critic(x)
    if values.shape != x.shape[:1]:
      raise ValueError(
        f'critic gave shape {values.shape} for inputs {x.shape}; a penalty '
        f'needs one value per example, {x.shape[:1]}.'
      )
    return jnp.sum(values)

  gradients = jax.grad(total)(jax.lax.stop_gradient(x))
  return jnp.sum(jnp.square(gradients), axis=tuple(range(1, x.ndim)))


def r1(critic: Critic, real: jax.Array) -> jax.Array:
  """Squared norm of the critic's gradient at real examples.

  Args:
    critic: `[B, ...] -> [B]`, logits.
    real: `[B, ...]`.

  Returns:
    `[B]`, without the paper's gamma/2: a weight of 10 is its gamma = 20.

  Raises:
    ValueError: the critic does not give `[B]`.

  References:
    Mescheder et al., Which Training Methods for GANs do actually Converge?,
    2018, eq. 9.
  """
  return _square_norms(critic, real)


def r2(critic: Critic, fake: jax.Array) -> jax.Array:
  """Squared norm of the critic's gradient at generated examples.

  As `r1`, but eq. 10 of the same paper; `fake` is a constant here.
  """
  return _square_norms(critic, fake)


def gradient_penalty(
  critic: Critic,
  x: jax.Array,
  *,
  target: float = 1.0,
  one_sided: bool = False,
) -> jax.Array:
  """(|d critic/dx| - target)^2 at any points.

  Args:
    critic: `[B, ...] -> [B]`.
    x: `[B, ...]`, for example from `interpolate` or `dragan_points`.
    target: the norm that costs nothing.
    one_sided: whether norms below the target are free as well.

  Returns:
    `[B]`. Where the gradient is zero the norm has a kink; its derivatives of
    all orders are taken to be zero there.

  Raises:
    ValueError: the critic does not give `[B]`, or target < 0.

  References:
    Gulrajani et al., Improved Training of Wasserstein GANs, 2017, eq. 3;
    Petzka et al., On the regularization of Wasserstein GANs, 2018, eq. 8
    (one-sided).
  """
  if target < 0:
    raise ValueError(f'gradient_penalty needs target >= 0, got {target}.')
  square = _square_norms(critic, x)
  if target == 0:
    return square  # smooth at zero, which the way through the root is not
  # Two wheres: sqrt has infinite slope at 0, and inf * 0 is nan one derivative
  # on.
  safe = jnp.where(square > 0, square, 1.0)
  excess = jnp.where(square > 0, jnp.sqrt(safe), 0.0) - target
  return jnp.square(jnp.maximum(excess, 0.0) if one_sided else excess)


def _uniform(keys: jax.Array, shape: tuple[int, ...], dtype) -> jax.Array:
  return jax.vmap(lambda key: jax.random.uniform(key, shape, dtype))(keys)


def interpolate(key: jax.Array, real: jax.Array, fake: jax.Array) -> jax.Array:
  """A uniform point on each segment from a real to a generated example.

  Args:
    key: one key, or `[B]` keys; see the module's docstring.
    real: `[B, ...]`.
    fake: the same shape.

  Returns:
    `[B, ...]`, with one mixing weight for all of an example.

  Raises:
    ValueError: the shapes differ.

  References:
    Gulrajani et al., Improved Training of Wasserstein GANs, 2017, algorithm 1.
  """
  if real.shape != fake.shape:
    raise ValueError(
      f'real has shape {real.shape} and fake {fake.shape}; interpolate needs '
      'equal shapes.'
    )
  keys = example_keys(key, real.shape[0])
  weight = _uniform(keys, (1,) * (real.ndim - 1), real.dtype)
  return real + weight * (fake - real)


def _batch_std(x: jax.Array, axis_name: str | None) -> jax.Array:
  def mean(values):
    local = jnp.mean(values)
    return local if axis_name is None else jax.lax.pmean(local, axis_name)

  return jnp.sqrt(mean(jnp.square(x - mean(x))))


def dragan_points(
  key: jax.Array,
  real: jax.Array,
  scale: float,
  *,
  axis_name: str | None = None,
) -> jax.Array:
  """Points near real examples, where DRAGAN takes its gradient penalty.

  As the authors' code draws them: a uniform point on the segment from x to
  x + scale * std * U, where U is uniform in [0, 1) for every element and std is
  one number, that of all elements of the batch.

  Args:
    key: one key, or `[B]` keys; see the module's docstring.
    real: `[B, ...]`.
    scale: the authors use 0.5.
    axis_name: a mapped axis; the std is then that of the global batch.

  Returns:
    `[B, ...]`.

  References:
    Kodali et al., On Convergence and Stability of GANs, 2017, section 2.4.
  """
  keys = jax.vmap(jax.random.split)(example_keys(key, real.shape[0]))
  weight = _uniform(keys[:, 0], (1,) * (real.ndim - 1), real.dtype)
  noise = _uniform(keys[:, 1], real.shape[1:], real.dtype)
  return real + weight * scale * _batch_std(real, axis_name) * noise


def instance_noise(key: jax.Array, x: jax.Array, std: float) -> jax.Array:
  """x plus Gaussian noise, for real and generated examples alike.

  Args:
    key: one key, or `[B]` keys; see the module's docstring. Real and generated
      examples need different keys.
    x: `[B, ...]`; not made constant, the generator learns through the noise.
    std: of the noise.

  Returns:
    `[B, ...]`.

  References:
    Sonderby et al., Amortised MAP Inference for Image Super-resolution, 2017;
    Mescheder et al., 2018, section 3.3.
  """
  draw = lambda key: jax.random.normal(key, x.shape[1:], x.dtype)
  return x + std * jax.vmap(draw)(example_keys(key, x.shape[0]))


def clip_weights(params: Any, c: float) -> Any:
  """Every parameter clipped to [-c, c] (Arjovsky et al., 2017, algorithm 1).

  Raises:
    ValueError: c <= 0.
  """
  if c <= 0:
    raise ValueError(f'clip_weights needs c > 0, got {c}.')
  return jax.tree.map(lambda leaf: jnp.clip(leaf, -c, c), params)


def unit_columns(kernel: jax.Array) -> jax.Array:
  """Every output's weights scaled to length 1, `[..., out]`; zeros stay zeros.

  The five-Gaussian experiment of Sun et al., Towards a Better Global Loss
  Landscape of GANs, 2020, does it to the critic's last layer (their code).
  """
  axes = tuple(range(kernel.ndim - 1))
  square = jnp.sum(jnp.square(kernel), axis=axes, keepdims=True)
  return kernel / jnp.sqrt(jnp.where(square > 0, square, 1.0))


def l2(params: Any) -> jax.Array:
  """The sum of squares of all parameters, biases too; a scalar."""
  return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))


def _gram_excess(kernel: jax.Array, off_diagonal: bool) -> jax.Array:
  w = kernel.reshape(math.prod(kernel.shape[:-1]), kernel.shape[-1])
  if off_diagonal:
    gram = w.T @ w
    return jnp.sum(jnp.square(gram * (1 - jnp.eye(len(gram), dtype=w.dtype))))
  gram = w @ w.T if w.shape[0] < w.shape[1] else w.T @ w
  return jnp.sum(jnp.square(gram - jnp.eye(len(gram), dtype=w.dtype)))


def orthogonal(params: Any, *, off_diagonal: bool = False) -> jax.Array:
  """How far kernels are from orthogonal: sum of ||W^T W - I||_F^2; a scalar.

  W is a leaf of rank two or more as `[rest, out]`; biases and scales are left
  out. Where rest < out, W^T W cannot be I, and ||W W^T - I||_F^2 is taken: the
  same gradient from a smaller matrix, and the value less the constant
  out - rest, so that orthogonal rows cost nothing.

  Args:
    params: a pytree of parameters, output features last.
    off_diagonal: leaves the diagonal out, so that filters may have any norm. It
      is then always W^T W, the filters' products with one another: the two
      forms differ by more than a constant.

  References:
    Brock et al., Neural Photo Editing, 2017, eq. 2; Brock et al., Large Scale
    GAN Training (BigGAN), 2019, eqs. 2 and 3.
  """
  kernels = [leaf for leaf in jax.tree.leaves(params) if jnp.ndim(leaf) >= 2]
  return sum(_gram_excess(kernel, off_diagonal) for kernel in kernels)
