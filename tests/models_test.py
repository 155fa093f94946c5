"""Networks: published sizes and numbers, values by hand, and state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import models


def _shapes(module):
  return jax.eval_shape(
    module.init, jax.random.key(0), *module.example_inputs()
  )


def _filled(module, seed=0):
  """Variables of a module filled by numpy: compiles nothing, unlike `init`."""
  rng = np.random.default_rng(seed)

  def one(path, leaf):
    values = rng.uniform(-0.5, 0.5, leaf.shape)
    if path[-1].key == 'u':
      values /= np.linalg.norm(values)
    if path[-1].key == 'var':
      values += 1.0
    return jnp.asarray(values, leaf.dtype)

  return jax.tree_util.tree_map_with_path(one, _shapes(module))


def _count(module):
  params = _shapes(module)['params']
  return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
  'name, options, generator, discriminator',
  [
    # Counted in PyTorch on the authors' code.
    ('cnn', dict(width=64), 3_812_355, 2_935_872),
    ('cnn', dict(width=32), 1_218_051, 736_800),
    ('cnn', dict(width=16), 436_995, 185_616),
    # 48 px critics have 8 width (6^2 - 4^2) weights more than those of 32 px.
    ('cnn', dict(width=64, image_size=48), 5_133_315, 2_935_872 + 10_240),
    ('cnn', dict(width=32, image_size=48), 1_878_531, 736_800 + 5_120),
    ('cnn', dict(width=16, image_size=48), 767_235, 185_616 + 2_560),
    ('dc', {}, 1_195_587, 662_977),
    # (2 + 1) 128 + (128 + 1) 128 + (128 + 1) 2, and ... 1.
    ('mlp', {}, 17_154, 17_025),
  ],
)
def test_parameter_counts(name, options, generator, discriminator):
  assert _count(models.generator(name, **options)) == generator
  if discriminator is not None:
    assert _count(models.discriminator(name, **options)) == discriminator


def test_parameter_counts_of_the_two_cluster_pair():
  g = models.generator(
    'mlp', features=(5, 5), data_shape=(1,), z_size=1, activation='tanh'
  )
  d = models.discriminator(
    'mlp', features=(10, 10), data_shape=(1,), activation='sigmoid'
  )
  assert _count(g) == 10 + 30 + 6
  assert _count(d) == 20 + 110 + 11
  assert _count(d.clone(final_bias=False)) == 20 + 110 + 10


@pytest.mark.parametrize(
  'both, only_g, only_d, generator, discriminator',
  [
    # Projection toy: 4-4-2-2 and 2-4-4-1, products only.
    (
      dict(use_bias=False),
      dict(features=(4, 2), z_size=4, constant_input=True, output='strip'),
      dict(features=(4, 4), input_scale=(100, 1)),
      16 + 8 + 4,
      8 + 16 + 4,
    ),
    # Two modes: six matrices of which four are 128 x 128.
    (
      dict(features=(128,) * 5, use_bias=False, initializer='orthogonal'),
      dict(gain=0.8, z_size=512),
      dict(gain=0.8),
      512 * 128 + 4 * 128**2 + 128 * 2,
      2 * 128 + 4 * 128**2 + 128,
    ),
    # Unrolled GAN: 256-128-128-2 and 2-128-128-1 with biases.
    (
      dict(activation='tanh', initializer='orthogonal', gain=1.4),
      dict(z_size=256),
      {},
      257 * 128 + 129 * 128 + 129 * 2,
      3 * 128 + 129 * 128 + 129,
    ),
    # Consensus optimization: four hidden layers of 16.
    (
      dict(features=(16,) * 4, initializer='glorot', bias_initializer='zeros'),
      dict(z_size=16),
      {},
      4 * 17 * 16 + 17 * 2,
      3 * 16 + 3 * 17 * 16 + 17,
    ),
    # WGAN-GP: three hidden layers of 512.
    (
      dict(features=(512,) * 3, activation='relu'),
      {},
      {},
      3 * 512 + 2 * 513 * 512 + 513 * 2,
      3 * 512 + 2 * 513 * 512 + 513,
    ),
  ],
  ids=['projection', 'two_modes', 'unrolled', 'consensus', 'wgan_gp'],
)
def test_parameter_counts_of_toys(
  both, only_g, only_d, generator, discriminator
):
  assert _count(models.generator('mlp', **both, **only_g)) == generator
  assert _count(models.discriminator('mlp', **both, **only_d)) == discriminator


TINY = [
  ('mlp', dict(data_shape=(3,)), dict(features=(4,)), (3,)),
  ('mlp', dict(data_shape=(8, 8, 1)), dict(output='tanh'), (8, 8, 1)),
  ('cnn', dict(width=2, image_size=8, channels=1), {}, (8, 8, 1)),
  ('cnn', dict(width=1, image_size=24), dict(z_size=5), (24, 24, 3)),
  ('dc', dict(width=1, image_size=16), {}, (16, 16, 3)),
]


@pytest.mark.parametrize('name, both, only_g, shape', TINY)
def test_shapes_and_ranges(name, both, only_g, shape):
  g = models.generator(name, **both, **only_g)
  d = models.discriminator(name, **both)
  z = 9 * np.random.default_rng(0).normal(size=(4, g.z_size))
  x = jax.jit(g.apply)(_filled(g), z.astype(np.float32))
  assert x.shape == (4, *shape) and x.dtype == jnp.float32
  if len(shape) == 3:
    assert jnp.max(jnp.abs(x)) <= 1.0
  variables = _filled(d)
  assert set(variables) <= {'params', 'spectral'}
  labels = jnp.zeros(4, jnp.int32)
  apply = jax.jit(lambda x: d.apply(variables, x, labels, train=True))
  logits = apply(x)
  assert logits.shape == (4,) and logits.dtype == jnp.float32
  # Each row has a logit of its own.
  np.testing.assert_allclose(apply(x[::-1]), logits[::-1], rtol=1e-5, atol=1e-6)
  assert len(np.unique(logits)) == 4


def test_initialize_is_what_init_gives():
  module = models.discriminator('mlp', features=(3,), spectral_norm=True)
  expected = module.init(jax.random.key(5), *module.example_inputs())
  actual = models.initialize(module, jax.random.key(5))
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
  jax.tree.map(close, actual, expected)


def _taps(variables, value, biases=None):
  """Layers that pass channel 0 on, times a value, and add a bias of their own.

  Strided kernels take every second pixel, transposed ones repeat each.
  """

  def one(path, leaf):
    layer, kind = path[-2].key, path[-1].key
    if kind == 'kernel' and leaf.ndim == 2:
      return jnp.ones_like(leaf)
    if kind == 'kernel':
      centre = slice(1, 3) if 'deconv' in layer else 1
      return jnp.zeros_like(leaf).at[centre, centre, 0, 0].set(value)
    if kind == 'var':
      return jnp.full_like(leaf, 1 - 1e-5)  # so that batch norm divides by 1
    return jnp.full_like(
      leaf, 1.0 if kind == 'scale' else (biases or {}).get(layer, 0.0)
    )

  return jax.tree_util.tree_map_with_path(one, variables)


@pytest.mark.parametrize(
  'name, options, expected',
  [
    # Each layer changes the sign, each second one then meets the slope:
    # 1, -0.1, 0.1, -0.01, ... after seven layers of slope 0.1 four times,
    ('cnn', dict(spectral_norm=False), -1e-4),
    # and after three of slope 0.01 twice.
    ('dc', {}, -1e-4),
  ],
)
def test_slopes_and_strides_of_the_critics(name, options, expected):
  # The last dense layer adds up the 2x2 pixels that three halvings leave.
  module = models.discriminator(
    name, width=1, image_size=16, channels=1, **options
  )
  variables = _taps(_shapes(module), -1.0)
  actual = jax.jit(module.apply)(variables, jnp.ones((1, 16, 16, 1)))
  np.testing.assert_allclose(actual, [4 * expected], rtol=1e-5)


@pytest.mark.parametrize(
  'name, rows',
  [
    # relu(relu(relu(a) + b) + c), each relu cutting in one of the rows,
    (
      'dc',
      [
        (dict(dense=-1.0, deconv1=0.5), 0.5),
        (dict(dense=0.5, deconv1=-1.0, deconv2=0.5), 0.5),
        (dict(dense=0.2, deconv2=-1.0), 0.0),
      ],
    ),
    # and relu(relu(relu(a + b) + c) + d), without one at the beginning.
    (
      'cnn',
      [
        (dict(l1=-1.0, deconv1=2.0), 1.0),
        (dict(deconv1=-1.0, deconv2=0.5), 0.5),
        (dict(deconv1=0.5, deconv2=-1.0, deconv3=0.5), 0.5),
        (dict(deconv2=0.3, deconv3=-1.0), 0.0),
      ],
    ),
  ],
)
def test_activations_of_the_image_generators(name, rows):
  module = models.generator(name, width=1, image_size=16, channels=1, z_size=1)
  apply = jax.jit(lambda variables: module.apply(variables, jnp.zeros((1, 1))))
  for biases, value in rows:
    actual = apply(_taps(_shapes(module), 1.0, biases))
    expected = np.full((1, 16, 16, 1), np.tanh(value))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize(
  'activation, expected',
  [
    ('relu', 0.0),
    ('leaky_relu', -0.6),
    ('tanh', np.tanh(-2)),
    ('sigmoid', 1 / (1 + np.exp(2))),
  ],
)
def test_mlp_by_hand(activation, expected):
  # One hidden unit sees 1 - 3 = -2; the output is it plus one.
  both = dict(features=(1,), activation=activation)
  if activation == 'leaky_relu':
    both['slope'] = 0.3
  d = models.discriminator('mlp', **both)
  g = models.generator('mlp', data_shape=(1,), output='tanh', **both)
  params = {
    'dense1': {'kernel': jnp.ones((2, 1)), 'bias': jnp.zeros(1)},
    'out': {'kernel': jnp.ones((1, 1)), 'bias': jnp.ones(1)},
  }
  x = jnp.array([[1.0, -3.0]])
  actual = d.apply({'params': params}, x)
  np.testing.assert_allclose(actual, [1 + expected], rtol=1e-6)
  actual = g.apply({'params': params}, x)
  np.testing.assert_allclose(actual, [[np.tanh(1 + expected)]], rtol=1e-6)


def test_constant_input_and_strip_by_hand():
  # Ones come in, whatever the latents are.
  g = models.generator(
    'mlp',
    features=(),
    constant_input=True,
    use_bias=False,
    output='strip',
  )
  t = np.log(4.0)
  kernel = jnp.array([[0.0, 3 * t], [0.0, -t]])
  variables = {'params': {'out': {'kernel': kernel}}}
  # s = 0 and t = 2 log 4, so (4, 1/4): the middle of the strip.
  actual = g.apply(variables, jnp.array([[7.0, 8.0], [0.0, 0.0]]))
  np.testing.assert_allclose(actual, [[4.0, 0.25]] * 2, rtol=1e-6)
  far = jnp.array([[50.0, 0.0], [50.0, 0.0]])
  actual = g.apply({'params': {'out': {'kernel': far}}}, jnp.zeros((1, 2)))
  np.testing.assert_allclose(actual, [[np.exp(0.5)] * 2], rtol=1e-6)


def test_input_scale_by_hand():
  d = models.discriminator(
    'mlp', features=(), use_bias=False, input_scale=[100, 1]
  )
  variables = {'params': {'out': {'kernel': jnp.array([[0.5], [3.0]])}}}
  assert jax.tree.structure(_shapes(d)) == jax.tree.structure(variables)
  actual = d.apply(variables, jnp.array([[2.0, -1.0]]))
  np.testing.assert_allclose(actual, [100 * 1 - 3])


def test_zero_biases_are_added():
  options = dict(features=(1,), bias_initializer='zeros', spectral_norm=True)
  d = models.discriminator('mlp', **options)
  variables = {
    'params': {
      'dense1': {'kernel': jnp.array([[4.0], [0.0]]), 'bias': jnp.ones(1)},
      'out': {'kernel': jnp.full((1, 1), -2.0), 'bias': jnp.full(1, 5.0)},
    },
    'spectral': {'dense1': {'u': jnp.ones(1)}, 'out': {'u': jnp.ones(1)}},
  }
  assert jax.tree.structure(_shapes(d)) == jax.tree.structure(variables)
  # Normalized weights are 1 and -1: -(3 + 1) + 5.
  actual = d.apply(variables, jnp.array([[3.0, 9.0]]))
  np.testing.assert_allclose(actual, [1.0], rtol=1e-6)


@pytest.mark.parametrize('make', [models.generator, models.discriminator])
def test_controlled_start_of_the_two_cluster_pair(make):
  module = make(
    'mlp',
    features=(40,),
    data_shape=(1,),
    initializer='uniform',
    gain=0.4,
    bias_initializer='zeros',
  )
  params = models.initialize(module, jax.random.key(0))['params']
  for layer in params.values():
    assert jnp.max(jnp.abs(layer['kernel'])) <= 0.4
    np.testing.assert_array_equal(layer['bias'], 0.0)
  kernel = params['dense1']['kernel']
  assert jnp.min(kernel) < -0.3 and jnp.max(kernel) > 0.3


@pytest.mark.parametrize(
  'make, options, message',
  [
    (
      models.generator,
      dict(output='strip', data_shape=(3,)),
      r"^output='strip' makes pairs: data_shape=\(3,\) is not \(2,\)\.$",
    ),
    (
      models.generator,
      dict(constant_input=1),
      r'^constant_input=1 is not True or False',
    ),
    (
      models.discriminator,
      dict(input_scale=(1, 2, 3)),
      r'^input_scale=\(1, 2, 3\) needs 2 entries, one for each',
    ),
    (
      models.discriminator,
      dict(input_scale=('a', 1)),
      r"^input_scale='a' is not a finite number",
    ),
    (
      models.discriminator,
      dict(input_scale=100),
      r'^input_scale=100 is not a tuple of numbers',
    ),
    (models.discriminator, dict(use_bias='no'), r"^use_bias='no' is not True"),
    (
      models.generator,
      dict(bias_initializer='ones'),
      r"^bias_initializer='ones' is not one of \['torch', 'zeros'\]",
    ),
  ],
)
def test_mistakes_in_toys_are_named(make, options, message):
  with pytest.raises(ValueError, match=message):
    make('mlp', **options)


def test_batch_statistics_move_in_training_only():
  g = models.generator('dc', width=1, image_size=8, z_size=2)
  variables = _filled(g)
  z = jnp.array([[1.0, 0.0], [3.0, 0.0]])

  def statistics(train):
    apply = lambda z: g.apply(variables, z, train=train, mutable='batch_stats')
    return jax.jit(apply)(z)[1]['batch_stats']

  before = variables['batch_stats']
  jax.tree.map(np.testing.assert_array_equal, statistics(False), before)
  # The first norm sees rows b + w and b + 3 w: mean b + 2 w, variance w^2.
  w = variables['params']['dense']['kernel'][0]
  b = variables['params']['dense']['bias']
  old, new = before['dense_bn'], statistics(True)['dense_bn']
  expected = 0.9 * old['mean'] + 0.1 * (b + 2 * w)
  np.testing.assert_allclose(new['mean'], expected, rtol=1e-5, atol=1e-6)
  expected = 0.9 * old['var'] + 0.1 * w**2
  np.testing.assert_allclose(new['var'], expected, rtol=1e-5, atol=1e-6)


def test_evaluation_uses_running_statistics():
  g = models.generator('cnn', width=1, image_size=8, z_size=3)
  variables, apply = _filled(g), jax.jit(g.apply)
  z = jnp.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]])
  images = apply(variables, z)
  # A row does not depend on the others, the image does on the statistics.
  np.testing.assert_allclose(
    apply(variables, z[::-1])[::-1], images, rtol=1e-5, atol=1e-6
  )
  other = jax.tree.map(lambda x: 4 * x + 1, variables['batch_stats'])
  moved = apply({**variables, 'batch_stats': other}, z)
  assert jnp.max(jnp.abs(moved - images)) > 1e-3


@pytest.mark.float64
@pytest.mark.parametrize('name', ['cnn', 'dc'])
def test_axis_name_makes_batch_statistics_global(name):
  # Four devices with two examples each must equal one with eight.
  g = models.generator(name, width=1, image_size=8, z_size=3)
  variables = _filled(g)
  z = jnp.asarray(np.random.default_rng(1).normal(size=(8, 3)))
  apply = lambda g: (
    lambda z: g.apply(variables, z, train=True, mutable='batch_stats')
  )
  expected, stats = jax.jit(apply(g))(z)
  four = jax.vmap(apply(g.clone(axis_name='data')), axis_name='data')
  actual, each = jax.jit(four)(z.reshape(4, 2, 3))
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
  close(actual.reshape(expected.shape), expected)
  jax.tree.map(lambda a, b: close(a[2], b), each, stats)


@pytest.mark.parametrize('name', ['cnn', 'mlp'])
def test_apply_leaves_spectral_alone(name):
  options = dict(mlp={}, cnn=dict(width=1, image_size=8))[name]
  d = models.discriminator(name, spectral_norm=True, **options)
  variables = _filled(d)
  assert set(variables['spectral']) == set(variables['params'])
  x = d.example_inputs()[0] + 0.5
  apply = lambda v: d.apply(v, x, train=True, mutable=('spectral',))
  _, after = jax.jit(apply)(variables)
  jax.tree.map(
    np.testing.assert_array_equal, after['spectral'], variables['spectral']
  )
