"""Spectral norm: numpy's singular values, closed forms, and differences."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import flatten_util

from gan_jax import models
from gan_jax.models import layers, spectral

pytestmark = pytest.mark.float64


def _kernel(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def _unit(*entries):
  return jnp.asarray(entries) / np.linalg.norm(entries)


def test_sigma_of_a_diagonal_matrix():
  # W u = (2, 1) / sqrt 2.
  actual = spectral.sigma(jnp.diag(jnp.array([2.0, 1.0])), _unit(1.0, 1.0))
  np.testing.assert_allclose(actual, np.sqrt(2.5), rtol=1e-12)


def test_one_power_iteration_of_a_diagonal_matrix():
  # W^T W = diag(4, 1) takes (1, 1) to (4, 1).
  params = {'layer': {'kernel': jnp.diag(jnp.array([2.0, 1.0]))}}
  old = {'layer': {'u': _unit(1.0, 1.0)}}
  new = models.power_iteration(params, old)
  np.testing.assert_allclose(new['layer']['u'], _unit(4.0, 1.0), rtol=1e-12)
  new = models.power_iteration(params, old, steps=3)
  np.testing.assert_allclose(new['layer']['u'], _unit(64.0, 1.0), rtol=1e-12)


@pytest.mark.parametrize('shape', [(7, 5), (5, 7), (3, 3, 4, 5), (3, 3, 2, 40)])
def test_sigma_converges_to_the_largest_singular_value(shape):
  kernel = _kernel(*shape)
  matrix = np.asarray(kernel).reshape(-1, shape[-1])
  exact = np.linalg.svd(matrix, compute_uv=False)[0]
  u = _unit(*np.ones(shape[-1]))
  collection = models.power_iteration({'kernel': kernel}, {'u': u}, steps=2000)
  u = collection['u']
  np.testing.assert_allclose(spectral.sigma(kernel, u), exact, rtol=1e-9)
  np.testing.assert_allclose(jnp.linalg.norm(u), 1.0, rtol=1e-12)
  normal = np.asarray(spectral.normalize(kernel, u)).reshape(matrix.shape)
  largest = np.linalg.svd(normal, compute_uv=False)[0]
  np.testing.assert_allclose(largest, 1.0, rtol=1e-9)


def test_initial_u_has_seen_fifteen_iterations():
  # After k of them the ratio of the entries has grown by 1.5^(2 k).
  key, u = jax.random.key(3), jnp.zeros(2)
  kernel = jnp.diag(jnp.array([1.5, 1.0]))
  start = jax.random.normal(key, (2,), kernel.dtype)
  u = spectral.initial_u(key, kernel)
  growth = (u[0] / u[1]) / (start[0] / start[1])
  np.testing.assert_allclose(growth, 1.5**30, rtol=1e-9)


def test_second_derivatives_keep_the_weight_inside_sigma():
  # With one output W / sigma is a / |a|. At a = (1, 0) its first component,
  # cos of the angle, curves by -1 across; with W in sigma held constant in one
  # factor (u^T W v, v constant) it would not curve at all.
  first = lambda a: spectral.normalize(a[:, None], jnp.ones(1))[0, 0]
  hessian = jax.jit(jax.hessian(first))(jnp.array([1.0, 0.0]))
  np.testing.assert_allclose(hessian, [[0.0, 0.0], [0.0, -1.0]], atol=1e-12)


def test_scaling_the_weight_changes_nothing():
  # Euler: a function of degree 0 has no slope along its argument.
  kernel, u = _kernel(4, 3), _unit(1.0, 2.0, 3.0)
  value, slope = jax.jvp(
    lambda w: spectral.normalize(w, u), (kernel,), (kernel,)
  )
  np.testing.assert_allclose(slope, np.zeros((4, 3)), atol=1e-14)
  np.testing.assert_allclose(spectral.normalize(5 * kernel, u), value)


def test_u_is_constant_in_derivatives():
  kernel, u = _kernel(4, 3), _unit(1.0, 2.0, 3.0)
  slope = jax.grad(lambda u: jnp.sum(spectral.normalize(kernel, u)))(u)
  np.testing.assert_array_equal(slope, np.zeros(3))
  advanced = lambda w: models.power_iteration({'kernel': w}, {'u': u})['u']
  np.testing.assert_array_equal(jax.jacobian(advanced)(kernel), 0.0)


def _smooth_critic():
  """A function of a normalized network's parameters, and parameters."""
  module = models.discriminator(
    'mlp', features=(5, 4), activation='tanh', spectral_norm=True
  )
  x = _kernel(3, 2, seed=1)
  shapes = jax.eval_shape(module.init, jax.random.key(0), x)
  # Directions far from the singular vectors show every term.
  spectral = jax.tree.map(
    lambda u: _unit(*np.ones(u.shape)), shapes['spectral']
  )
  params = jax.tree.map(lambda p: _kernel(*p.shape), shapes['params'])
  flat, unravel = flatten_util.ravel_pytree(params)

  def value(flat):
    variables = {'params': unravel(flat), 'spectral': spectral}
    return jnp.sum(jnp.sin(module.apply(variables, x)))

  return jax.jit(value), flat


def test_derivatives_meet_differences():
  value, params = _smooth_critic()
  v = _kernel(*params.shape, seed=2)
  step, gradient = 1e-5, jax.jit(jax.grad(value))
  difference = lambda f: (
    (f(params + step * v) - f(params - step * v)) / (2 * step)
  )
  _, slope = jax.jvp(value, (params,), (v,))
  np.testing.assert_allclose(slope, difference(value), rtol=1e-7)
  product = jax.jit(lambda v: jax.jvp(gradient, (params,), (v,))[1])(v)
  np.testing.assert_allclose(
    product, difference(gradient), rtol=1e-6, atol=1e-8
  )
  assert np.linalg.norm(product) > 0.1


def test_a_kernel_of_zeros_stays_zeros():
  kernel, u = jnp.zeros((3, 2)), _unit(1.0, 1.0)
  value, pull = jax.vjp(lambda w: spectral.normalize(w, u), kernel)
  np.testing.assert_array_equal(value, 0.0)
  # sigma counts as the constant 1 there.
  np.testing.assert_array_equal(pull(jnp.ones((3, 2)))[0], 1.0)
  np.testing.assert_array_equal(
    models.power_iteration({'kernel': kernel}, {'u': u}, 2)['u'], u
  )


class Nested(nn.Module):
  """Normalized and plain layers, at several depths."""

  @nn.compact
  def __call__(self, x):
    pair = [
      layers.Conv(3, 2, 2, 0, spectral_norm=True),
      layers.ConvTranspose(2, spectral_norm=True),
    ]
    x = nn.Sequential(pair)(x)
    return layers.Dense(2)(layers.Dense(3, spectral_norm=True)(x))


def test_power_iteration_walks_any_tree():
  init = jax.jit(Nested().init)
  variables = init(jax.random.key(0), jnp.ones((1, 4, 4, 1), jnp.float32))
  params, old = variables['params'], variables['spectral']
  shapes = sorted(u.shape for u in jax.tree.leaves(old))
  assert shapes == [(2,), (3,), (3,)]  # the plain layer has none
  new = jax.jit(models.power_iteration)(params, old)
  assert jax.tree.structure(new) == jax.tree.structure(old)
  for u, w in zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True):
    assert u.dtype == w.dtype == jnp.float32
    np.testing.assert_allclose(jnp.linalg.norm(u), 1.0, rtol=1e-6)
  again = models.power_iteration({'a': params, 'b': [params]}, {'b': [old]})
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    again,
    {'b': [new]},
  )


@pytest.mark.parametrize('empty', [{}, None])
def test_power_iteration_of_nothing(empty):
  assert models.power_iteration({'kernel': jnp.ones((2, 2))}, empty) == empty
  assert models.power_iteration(None, empty) == empty


def test_power_iteration_names_a_layer_without_kernel():
  with pytest.raises(
    ValueError, match=r"layer \['a'\]\['b'\], params no kernel"
  ):
    models.power_iteration(
      {'a': {'kernel': jnp.eye(2)}}, {'a': {'b': {'u': jnp.ones(2)}}}
    )


def test_half_precision_weights_keep_a_single_precision_u():
  kernel, u = _kernel(40, 3).astype(jnp.bfloat16), _unit(1.0, 2.0, 3.0)
  u = models.power_iteration({'k': {'kernel': kernel}}, {'k': {'u': u}})['k']
  u = u['u'].astype(jnp.float32)
  assert spectral.sigma(kernel, u).dtype == jnp.float32
  assert spectral.normalize(kernel, u).dtype == jnp.bfloat16
