"""Layers with which a critic sees how much the rows of a batch differ.

They average over the batch, so its rows are no longer independent: no penalty
of single examples, and real and generated rows never in one call.

References:
  [1] Salimans et al., Improved Techniques for Training GANs, 2016, section 3.2.
  [2] Karras et al., Progressive Growing of GANs, 2018, section 3.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.models import layers, options

MINIBATCH = ('deviation', 'discrimination')  # [2] and [1]


class Discrimination(nn.Module):
  """How close the rows of a batch are, `[B, F]` to `[B, kernels]` [1].

  With M_i = x_i T, `[kernels, dims]`, the output is
  o_ik = sum_j exp(-|M_ik - M_jk|_1) over all rows j, i itself too (it adds 1).
  Rows of all devices count. It holds `[B, B_all, kernels, dims]` at once.

  Attributes:
    kernels: outputs a row.
    dims: length of what is compared.
    spectral_norm: of T.
    axis_name: mapped axis of the devices that share a batch, if any.
  """

  kernels: int = 100
  dims: int = 5
  spectral_norm: bool = False
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    m = layers.Dense(
      self.kernels * self.dims,
      use_bias=False,
      spectral_norm=self.spectral_norm,
      name='tensor',
    )(x).reshape(-1, self.kernels, self.dims)
    rows = m
    if self.axis_name is not None:
      rows = jax.lax.all_gather(m, self.axis_name, tiled=True)
    distance = jnp.sum(jnp.abs(m[:, None] - rows[None]), axis=-1)
    return jnp.sum(jnp.exp(-distance), axis=1)


def deviation(x: jax.Array, axis_name: str | None = None) -> jax.Array:
  """Puts a map of the batch's mean standard deviation behind the others [2].

  The deviation of each channel at each pixel over the whole batch, then the
  mean of all: one number, the same at every pixel of every row. (The authors'
  code takes groups of four rows; their text does not.)

  Args:
    x: activations, `[B, H, W, C]`.
    axis_name: mapped axis of the devices that share a batch, if any.

  Returns:
    `[B, H, W, C + 1]`.
  """

  def mean(values):
    local = jnp.mean(values, axis=0, keepdims=True)
    return local if axis_name is None else jax.lax.pmean(local, axis_name)

  variance = mean(jnp.square(x - mean(x)))
  # The root has a slope without bound at 0, which one row alone gives.
  number = jnp.mean(jnp.sqrt(variance + 1e-8))
  plane = jnp.broadcast_to(number, (*x.shape[:-1], 1))
  return jnp.concatenate([x, plane], axis=-1)


def with_deviation(critic: Any, x: jax.Array, *, train: bool) -> jax.Array:
  """`deviation` where the critic asks for it, else x."""
  if critic.minibatch != 'deviation':
    return x
  return deviation(x, _axis(critic, train))


def logit(
  critic: Any, phi: jax.Array, dense: functools.partial, *, train: bool
) -> jax.Array | float:
  """What minibatch discrimination adds to the logits, `[B]`; 0 without it.

  Called within the critic's compact method.

  Args:
    critic: with `minibatch`, `axis_name` and `spectral_norm`.
    phi: what the last layer sees, `[B, F]`.
    dense: `layers.Dense` with the settings of the last layer.
    train: whether devices share the batch.
  """
  if critic.minibatch != 'discrimination':
    return 0.0
  closeness = Discrimination(
    spectral_norm=critic.spectral_norm,
    axis_name=_axis(critic, train),
    name='minibatch',
  )(phi)
  return dense(1, use_bias=False, name='beside')(closeness)[:, 0]


def _axis(critic, train):
  """As batch norm has it: the devices' axis is there in training alone."""
  return critic.axis_name if train else None


def check(module: Any) -> None:
  """Raises ValueError unless the option `minibatch` is right."""
  options.check_choice('minibatch', module.minibatch, ('', *MINIBATCH))
