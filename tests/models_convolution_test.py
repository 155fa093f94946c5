"""Convolutions by hand, against JAX's own, and under every transformation."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gan_jax import models
from gan_jax.models import convolution
from gan_jax.models.conv_primitives import Geometry

pytestmark = pytest.mark.float64

CONVS = [convolution.conv_by_lax, convolution.conv_by_primitives]
CONV_TRANSPOSES = [
  convolution.conv_transpose_by_lax,
  convolution.conv_transpose_by_primitives,
]
DEPTHWISE = [convolution.depthwise_by_lax, convolution.depthwise_by_products]

GEOMETRIES = {
  '1x1': Geometry((1, 1), ((0, 0), (0, 0)), (3, 4), (1, 1)),
  '1x1 s2': Geometry((2, 2), ((0, 0), (0, 0)), (5, 4), (1, 1)),
  '3x3': Geometry((1, 1), ((1, 1), (1, 1)), (5, 4), (3, 3)),
  '3x3 s2 same': Geometry((2, 2), ((0, 1), (1, 1)), (6, 5), (3, 3)),
  '4x4 s2': Geometry((2, 2), ((1, 1), (1, 1)), (6, 8), (4, 4)),
  '4x4 s2 rest': Geometry((2, 2), ((1, 1), (1, 1)), (7, 5), (4, 4)),
  '2x3 s3 skewed': Geometry((3, 3), ((1, 0), (0, 2)), (7, 8), (2, 3)),
  '7x7': Geometry((1, 1), ((3, 3), (3, 3)), (4, 5), (7, 7)),
  '3x3 wide pads': Geometry((1, 1), ((4, 0), (3, 5)), (3, 3), (3, 3)),
}


def _operands(geometry, channels=2, features=3, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(2, *geometry.image, channels))
  kernel = rng.normal(size=(*geometry.window, channels, features))
  return jnp.asarray(x), jnp.asarray(kernel)


def _transposed(geometry):
  """Operands of the transposed convolution of this geometry."""
  x, kernel = _operands(geometry)
  small = convolution.conv_by_lax(x, kernel, geometry)
  return small, kernel.swapaxes(2, 3)


def _derivatives(function, operands):
  """Value, gradients, and the gradients' derivative along a direction."""
  loss = lambda *operands: jnp.sum(jnp.sin(function(*operands)))
  tangents = jax.tree.map(jnp.cos, operands)
  gradients = lambda *operands: jax.grad(loss, (0, 1))(*operands)

  @jax.jit
  def all_of_them(operands, tangents):
    first, second = jax.jvp(gradients, operands, tangents)
    norm = lambda *o: sum(jnp.sum(g**2) for g in gradients(*o))
    return function(*operands), first, second, jax.grad(norm)(*operands)

  return all_of_them(operands, tangents)


def _assert_close(actual, expected):
  close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)
  jax.tree.map(close, actual, expected)


# Four channels to one take the other form of the kernel's gradient.
@pytest.mark.parametrize(
  'name, features',
  [(name, 3) for name in GEOMETRIES]
  + [(name, 1) for name in ('3x3', '7x7', '3x3 wide pads')],
)
def test_conv_and_two_orders_of_derivatives_equal_jax_s(name, features):
  geometry = GEOMETRIES[name]
  operands = _operands(geometry, channels=4, features=features)
  results = [
    _derivatives(functools.partial(form, geometry=geometry), operands)
    for form in CONVS
  ]
  _assert_close(*results)


@pytest.mark.parametrize('name', ['3x3', '4x4 s2'])
def test_conv_transpose_and_two_orders_of_derivatives_equal_jax_s(name):
  geometry = GEOMETRIES[name]
  operands = _transposed(geometry)
  results = [
    _derivatives(functools.partial(form, geometry=geometry), operands)
    for form in CONV_TRANSPOSES
  ]
  assert results[0][0].shape == (2, *geometry.image, 2)
  _assert_close(*results)


def test_derivatives_meet_differences():
  geometry = GEOMETRIES['2x3 s3 skewed']
  form = functools.partial(convolution.conv_by_primitives, geometry=geometry)
  function = jax.jit(lambda x, kernel: jnp.sin(form(x, kernel)))
  check_grads(function, _operands(geometry), order=2)


@pytest.mark.parametrize('form', CONVS)
def test_conv_by_hand(form):
  # Row of 1 2 3 4 with a zero in front, stride 2: 0 1 2 | 2 3 4 under 1 10 100.
  x = jnp.arange(1.0, 5.0).reshape(1, 1, 4, 1)
  kernel = jnp.array([1.0, 10.0, 100.0]).reshape(1, 3, 1, 1)
  geometry = Geometry((2, 2), ((0, 0), (1, 0)), (1, 4), (1, 3))
  actual = form(x, kernel, geometry)
  np.testing.assert_allclose(actual[0, 0, :, 0], [210.0, 432.0])


def _from_torch(weight):
  """Kernel `[k, k, in, out]` of a PyTorch weight `[in, out, k, k]`."""
  return jnp.asarray(weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1))


def _doubling(form):
  def apply(x, kernel):
    image = (2 * x.shape[1], 2 * x.shape[2])
    return form(x, kernel, Geometry((2, 2), ((1, 1), (1, 1)), image, (4, 4)))

  return apply


@pytest.mark.parametrize('form', CONV_TRANSPOSES)
def test_conv_transpose_counts_contributions(form):
  # PyTorch: y[2 i + k - 1] += x[i] w[k], k = 0..3, so that with ones an output
  # row counts the pairs (i, k) that reach it: 1, 2, 2, ..., 1.
  actual = _doubling(form)(jnp.ones((1, 3, 2, 1)), jnp.ones((4, 4, 1, 1)))
  expected = np.outer([1, 2, 2, 2, 2, 1], [1, 2, 2, 1])
  np.testing.assert_allclose(actual[0, :, :, 0], expected)


@pytest.mark.parametrize('form', CONV_TRANSPOSES)
def test_conv_transpose_has_pytorch_s_orientation(form):
  # The pixel at row 0, column 1 puts w[k, l] at row k - 1, column l + 1.
  weight = np.arange(16.0).reshape(1, 1, 4, 4)
  x = jnp.zeros((1, 2, 2, 1)).at[0, 0, 1, 0].set(1.0)
  actual = _doubling(form)(x, _from_torch(weight))[0, :, :, 0]
  expected = [[0, 4, 5, 6], [0, 8, 9, 10], [0, 12, 13, 14], [0, 0, 0, 0]]
  np.testing.assert_allclose(actual, expected)


@pytest.mark.parametrize('stride, padding, size', [(2, 1, 4), (1, 0, 4)])
def test_conv_transpose_equals_pytorch(stride, padding, size):
  torch = pytest.importorskip('torch', reason='compares with PyTorch')
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 4, 3, 5))
  weight = rng.normal(size=(4, 3, size, size))
  inputs = [torch.tensor(a, requires_grad=True) for a in (x, weight)]
  y = torch.nn.functional.conv_transpose2d(
    *inputs, stride=stride, padding=padding
  )
  cotangent = rng.normal(size=y.shape)
  y.backward(torch.tensor(cotangent))
  actual, pull = jax.vjp(
    functools.partial(
      convolution.conv_transpose, stride=stride, padding=padding
    ),
    jnp.asarray(x.transpose(0, 2, 3, 1)),
    _from_torch(weight),
  )
  grads = pull(jnp.asarray(cotangent.transpose(0, 2, 3, 1)))
  expected = [a.detach().numpy() for a in (y, *(a.grad for a in inputs))]
  _assert_close(actual, expected[0].transpose(0, 2, 3, 1))
  _assert_close(grads[0], expected[1].transpose(0, 2, 3, 1))
  _assert_close(grads[1], _from_torch(expected[2]))


@pytest.mark.parametrize(
  'size, stride',
  [
    (3, 1),
    *(
      pytest.param(*case, marks=pytest.mark.slow)
      for case in ((3, 2), (5, 1), (5, 2))
    ),
  ],
)
def test_depthwise_convs_agree_with_their_gradients(size, stride):
  image = (7, 6)
  padding = convolution.same_padding(image, size, stride)
  geometry = Geometry((stride, stride), padding, image, (size, size))
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, *image, 3)))
  kernel = jnp.asarray(rng.normal(size=(size, size, 1, 3)))
  results = []
  for form in DEPTHWISE:
    y, pull = jax.vjp(lambda x, k, f=form: f(x, k, geometry), x, kernel)
    results.append((y, pull(jnp.sin(y))))
  assert results[0][0].shape == (2, -(-7 // stride), -(-6 // stride), 3)
  _assert_close(*results)


@pytest.mark.parametrize('form', DEPTHWISE)
def test_depthwise_conv_keeps_channels_apart(form):
  # Window sums of two ones, times 2 in one channel and 30 in the other.
  x = jnp.ones((1, 2, 2, 2))
  kernel = jnp.broadcast_to(jnp.array([2.0, 30.0]), (1, 2, 1, 2))
  geometry = Geometry((1, 1), ((0, 0), (0, 0)), (2, 2), (1, 2))
  actual = form(x, kernel, geometry)
  np.testing.assert_allclose(actual, [[[[4.0, 60.0]], [[4.0, 60.0]]]])


def test_same_padding_by_hand():
  # 7 rows, stride 2, kernel 3: 4 windows end at 2 * 3 + 3 = 9, two more than 7;
  # 6 columns: 3 windows end at 7, the one column more comes last.
  padding = convolution.same_padding((7, 6), 3, 2)
  assert padding == ((1, 1), (0, 1))
  assert convolution.same_padding((4, 4), 1, 2) == ((0, 0), (0, 0))


_IN_AXES = [(0, None), (None, 4), (1, 2)]


@pytest.mark.parametrize('axes', _IN_AXES, ids=['images', 'kernels', 'both'])
def test_vmap_equals_a_loop(axes):
  geometry = GEOMETRIES['3x3 s2 same']
  form = functools.partial(convolution.conv_by_primitives, geometry=geometry)
  pairs = [_operands(geometry, seed=i) for i in range(3)]
  pairs = [
    tuple(pairs[i if axis is not None else 0][j] for j, axis in enumerate(axes))
    for i in range(3)
  ]

  def gradients(x, kernel):  # all three primitives
    y, pull = jax.vjp(form, x, kernel)
    return y, pull(jnp.sin(y))

  stacked = [
    pairs[0][j] if axis is None else jnp.stack([p[j] for p in pairs], axis)
    for j, axis in enumerate(axes)
  ]
  actual = jax.jit(jax.vmap(gradients, axes))(*stacked)
  expected = [jax.jit(gradients)(*pair) for pair in pairs]
  _assert_close(
    actual, jax.tree.map(lambda *leaves: jnp.stack(leaves), *expected)
  )


@pytest.mark.parametrize('axes', _IN_AXES, ids=['images', 'kernels', 'both'])
def test_vmapped_gradients_can_be_differentiated(axes):
  geometry = GEOMETRIES['4x4 s2']
  x, kernel = _operands(geometry)
  results = []
  for form in CONVS:
    loss = lambda x, k, form=form: jnp.sum(jnp.sin(form(x, k, geometry)))
    mapped = jax.vmap(jax.grad(loss, 1), axes)
    total = lambda x, k, mapped=mapped: jnp.sum(mapped(x, k) ** 2)
    stacked = [
      v if axis is None else jnp.stack([v, jnp.cos(v)], axis)
      for v, axis in zip((x, kernel), axes, strict=True)
    ]
    results.append(jax.jit(jax.grad(total, (0, 1)))(*stacked))
  _assert_close(*results)


def _gradients_of_a_pair(x, kernel):
  """A convolution, a transposed one and their gradients' product."""
  geometry = GEOMETRIES['4x4 s2']

  def loss(kernel):
    y = convolution.conv_by_primitives(x, kernel, geometry)
    back = convolution.conv_transpose_by_primitives(
      y, kernel.swapaxes(2, 3), geometry
    )
    return jnp.sum(jnp.sin(back))

  return jax.jvp(jax.grad(loss), (kernel,), (jnp.cos(kernel),))


def _in_scan(x, kernel):
  body = lambda total, _: (
    jax.tree.map(jnp.add, total, _gradients_of_a_pair(x, kernel)),
    None,
  )
  return jax.lax.scan(body, (0 * kernel, 0 * kernel), length=2)[0]


def _in_while(x, kernel):
  body = lambda carry: (carry[0] + 1, _gradients_of_a_pair(x, kernel))
  start = (0, (0 * kernel, 0 * kernel))
  return jax.lax.while_loop(lambda carry: carry[0] < 2, body, start)[1]


def _in_cond(x, kernel):
  return jax.lax.cond(
    jnp.sum(x) < 1e9,
    lambda: _gradients_of_a_pair(x, kernel),
    lambda: (0 * kernel, 0 * kernel),
  )


@pytest.mark.parametrize(
  'function, times', [(_in_scan, 2), (_in_while, 1), (_in_cond, 1)]
)
def test_loops_and_branches_keep_the_fast_form(function, times):
  operands = _operands(GEOMETRIES['4x4 s2'])
  compiled = jax.jit(function).lower(*operands).compile()
  # Other orders of axes have no fast kernel, and nor have turned windows.
  lines = [
    line for line in compiled.as_text().splitlines() if ' convolution(' in line
  ]
  labels = [re.search(r'dim_labels=(\S+?),? ', f'{line} ')[1] for line in lines]
  assert labels and set(labels) == {'b01f_01io->b01f'}
  assert not any('rhs_reversal' in line for line in lines)
  expected = jax.jit(_gradients_of_a_pair)(*operands)
  expected = jax.tree.map(lambda x: times * x, expected)
  _assert_close(compiled(*operands), expected)


def test_linearize_and_remat():
  geometry = GEOMETRIES['3x3']
  x, kernel = _operands(geometry)
  loss = lambda k: jnp.sum(
    jnp.sin(convolution.conv_by_primitives(x, k, geometry))
  )
  expected = jax.jvp(jax.grad(loss), (kernel,), (jnp.cos(kernel),))
  gradient, product = jax.linearize(jax.grad(jax.checkpoint(loss)), kernel)
  _assert_close((gradient, product(jnp.cos(kernel))), expected)


@pytest.mark.parametrize('way', ['jit', 'shard_map', 'pmap'])
def test_a_sharded_batch_gives_the_same_gradients(way):
  geometry = GEOMETRIES['4x4 s2']
  x, kernel = _operands(geometry)
  x = jnp.concatenate([x, jnp.sin(x)])  # 4 images, one a device

  def gradients(x, kernel):
    form = convolution.conv_by_primitives
    loss = lambda x, k: jnp.sum(jnp.sin(form(x, k, geometry)))
    return jax.grad(loss, (0, 1))(x, kernel)

  def summed(x, kernel):
    dx, dk = gradients(x, kernel)
    return dx, jax.lax.psum(dk, 'data')

  expected = jax.jit(gradients)(x, kernel)
  auto = (jax.sharding.AxisType.Auto,)
  mesh = jax.make_mesh((4,), ('data',), axis_types=auto)
  if way == 'jit':
    split = jax.device_put(x, jax.NamedSharding(mesh, jax.P('data')))
    actual = jax.jit(gradients)(split, kernel)
  elif way == 'shard_map':
    mapped = jax.shard_map(
      summed,
      mesh=mesh,
      in_specs=(jax.P('data'), jax.P()),
      out_specs=(jax.P('data'), jax.P()),
      check_vma=False,
    )
    actual = jax.jit(mapped)(x, kernel)
  else:
    mapped = jax.pmap(summed, 'data', in_axes=(0, None), out_axes=(0, None))
    dx, dk = mapped(x[:, None], kernel)
    actual = dx[:, 0], dk
  _assert_close(actual, expected)


def _random_variables(module):
  shapes = jax.eval_shape(
    module.init, jax.random.key(0), *module.example_inputs()
  )
  rng = np.random.default_rng(0)
  # Positive, as variances must be.
  return jax.tree.map(lambda leaf: rng.uniform(0.1, 0.5, leaf.shape), shapes)


def test_shard_map_with_its_checks_gives_the_same_gradients():
  # By default the gradient of what all devices share arrives summed.
  g = models.generator('dc', width=1, image_size=8, z_size=3)
  d = models.discriminator('dc', width=1, image_size=8)
  variables = _random_variables(g), _random_variables(d)
  z = jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)))

  def gradients(variables, z):
    def loss(variables):
      images = g.apply(variables[0], z)
      return jnp.sum(jnp.sin(d.apply(variables[1], images)))

    return jax.grad(loss)(variables)

  auto = (jax.sharding.AxisType.Auto,)
  mesh = jax.make_mesh((4,), ('data',), axis_types=auto)
  mapped = jax.shard_map(
    gradients, mesh=mesh, in_specs=(jax.P(), jax.P('data')), out_specs=jax.P()
  )
  # Networks this small take longer to compile than to run.
  jit = functools.partial(
    jax.jit, compiler_options={'xla_backend_optimization_level': 0}
  )
  _assert_close(jit(mapped)(variables, z), jit(gradients)(variables, z))


@pytest.mark.parametrize('axes', _IN_AXES, ids=['images', 'kernels', 'both'])
def test_vmap_over_nothing(axes):
  geometry = GEOMETRIES['4x4 s2']
  form = functools.partial(convolution.conv_by_primitives, geometry=geometry)

  def gradients(x, kernel):  # all three primitives
    y, pull = jax.vjp(form, x, kernel)
    return y, pull(jnp.sin(y))

  stacked = [
    v if axis is None else jnp.zeros((*v.shape[:axis], 0, *v.shape[axis:]))
    for v, axis in zip(_operands(geometry), axes, strict=True)
  ]
  y, (dx, dk) = jax.jit(jax.vmap(gradients, axes))(*stacked)
  assert y.shape == (0, 2, 3, 4, 3)
  assert dx.shape == (0, 2, *geometry.image, 2)
  assert dk.shape == (0, *geometry.window, 2, 3)


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float32])
def test_types_are_kept(dtype):
  geometry = GEOMETRIES['4x4 s2']
  x, kernel = (v.astype(dtype) for v in _operands(geometry))
  y, pull = jax.vjp(lambda x, k: convolution.conv(x, k, stride=2), x, kernel)
  for value in (y, *pull(y)):
    assert value.dtype == dtype
  exact = convolution.conv(
    x.astype(jnp.float64), kernel.astype(jnp.float64), stride=2
  )
  scale = 40 * float(jnp.finfo(dtype).eps)
  np.testing.assert_allclose(y.astype(jnp.float64), exact, atol=scale)


X, K = (2, 5, 5, 3), (3, 3, 3, 4)


@pytest.mark.parametrize(
  'function, x, kernel, options, message',
  [
    ('conv', X[1:], K, {}, r'\(5, 5, 3\) and \(3, 3, 3, 4\)'),
    ('conv', X, (3, 3, 2, 4), {}, 'have 3 channels, but the kernel .* takes 2'),
    ('conv', X, (7, 7, 3, 4), {}, r'nothing is left of images of \(5, 5\)'),
    ('conv', X, K, dict(stride=0), 'stride=0 is less than 1'),
    ('conv', X, K, dict(padding=-1), 'is negative'),
    ('conv_transpose', X, (4, 4, 4, 3), {}, 'takes 4'),
    ('conv_transpose', X, K, dict(padding=9), 'nothing is left'),
    ('depthwise_conv', X, (3, 3, 3, 1), {}, r'kernel \[kh, kw, 1, C\]'),
    ('depthwise_conv', X, (3, 3, 1, 4), {}, 'takes 4'),
  ],
)
def test_what_does_not_fit_is_named(function, x, kernel, options, message):
  with pytest.raises(ValueError, match=message):
    getattr(convolution, function)(jnp.zeros(x), jnp.zeros(kernel), **options)


def test_types_that_differ_are_named():
  with pytest.raises(ValueError, match='float64, the kernel is float32'):
    convolution.conv(jnp.zeros(X), jnp.zeros(K, jnp.float32))


@pytest.mark.parametrize('platform', ['cpu', 'gpu'])
def test_each_platform_has_its_own_form(platform, monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: platform)
  x, kernel = jnp.zeros(X), jnp.zeros(K)

  def operations(function, kernel):  # a fresh lambda, so no cached trace
    return str(jax.make_jaxpr(lambda *args: function(*args))(x, kernel))

  on_cpu = platform == 'cpu'
  for function in (convolution.conv, convolution.conv_transpose):
    assert ('gan_jax_conv' in operations(function, kernel)) == on_cpu
  made = operations(convolution.depthwise_conv, kernel[:, :, :1, :3])
  assert ('conv_general_dilated' in made) != on_cpu
