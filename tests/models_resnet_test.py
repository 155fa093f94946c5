"""The residual pair, the 256 px pair, and what they resample images with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from gan_jax import models
from gan_jax.models import cnn256, resampling


def _shapes(module):
  """Shapes of the variables by path, as in 'params/block2/c1/kernel'."""
  inputs = module.example_inputs()
  variables = jax.eval_shape(module.init, jax.random.key(0), *inputs)
  return traverse_util.flatten_dict(dict(variables), sep='/')


def _count(module):
  leaves = _shapes(module).items()
  return sum(x.size for path, x in leaves if path.startswith('params/'))


def _filled(module, dtype=jnp.float32):
  """Variables of a module filled by numpy: compiles nothing, unlike `init`."""
  rng = np.random.default_rng(0)
  flat = {
    path: jnp.asarray(rng.uniform(-0.3, 0.7, leaf.shape) ** 2, dtype)
    if path.endswith('var')
    else jnp.asarray(rng.uniform(-0.5, 0.5, leaf.shape), dtype)
    for path, leaf in _shapes(module).items()
  }
  return traverse_util.unflatten_dict(flat, sep='/')


def _taps(module, values):
  """Variables of layers that pass channel 0 on, times a value of their own.

  Args:
    module: network of which each layer has one output channel at least.
    values: factor by path of a kernel, shift by path of a bias; without an
      entry layers pass on and shift by nothing. Dense kernels are constant.
  """

  def one(path, shape):
    value = values.get(path.removeprefix('params/'))
    leaf = jnp.zeros(shape.shape)
    if path.endswith('bias'):
      return leaf if value is None else leaf + value
    if path.endswith('var'):
      return leaf + (1 - 1e-5)  # so that batch norm divides by 1
    value = 1.0 if value is None else value
    if not path.endswith('kernel') or leaf.ndim == 2:
      return leaf if path.endswith('mean') else leaf + value
    # Of four rows the middle two: each output of a doubling layer sees one.
    centre = slice(1, 3) if 'deconv' in path else leaf.shape[0] // 2
    return leaf.at[centre, centre, 0, 0].set(value)

  flat = {path: one(path, shape) for path, shape in _shapes(module).items()}
  return traverse_util.unflatten_dict(flat, sep='/')


def test_bilinear_weights_by_hand():
  # Outputs lie at -1/4, 1/4, 3/4 and 5/4 of the way between two pixels.
  row = jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1)
  actual = resampling.upsample_bilinear(row)
  np.testing.assert_array_equal(actual[0, :, :, 0], [[0, 1, 3, 4]] * 2)
  corner = jnp.array([[16.0, 0.0], [0.0, 0.0]]).reshape(1, 2, 2, 1)
  actual = resampling.upsample_bilinear(corner)[0, :, :, 0]
  np.testing.assert_array_equal(
    actual, [[16, 12, 4, 0], [12, 9, 3, 0], [4, 3, 1, 0], [0, 0, 0, 0]]
  )
  # One pixel has no neighbours.
  actual = resampling.upsample_bilinear(jnp.full((1, 1, 1, 2), 3.0))
  np.testing.assert_array_equal(actual, np.full((1, 2, 2, 2), 3.0))


@pytest.mark.float64
def test_bilinear_is_linear_resizing():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 5, 4)))
  resize = lambda x: jax.image.resize(x, (2, 6, 10, 4), 'linear')
  weight = jnp.asarray(np.random.default_rng(1).normal(size=(2, 6, 10, 4)))
  results = []
  for function in (resampling.upsample_bilinear, resize):
    loss = lambda x, f=function: jnp.sum(f(x) * weight)
    results.append((jax.jit(function)(x), jax.jit(jax.grad(loss))(x)))
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
  jax.tree.map(close, *results)


def test_nearest_and_mean_by_hand():
  x = jnp.arange(1.0, 7.0).reshape(1, 2, 3, 1)  # rows 1 2 3 and 4 5 6
  actual = resampling.upsample_nearest(x)[0, :, :, 0]
  top, bottom = [1, 1, 2, 2, 3, 3], [4, 4, 5, 5, 6, 6]
  np.testing.assert_array_equal(actual, [top, top, bottom, bottom])
  # The third column has no partner: (1 + 2 + 4 + 5) / 4.
  np.testing.assert_array_equal(resampling.mean_pool(x), [[[[3.0]]]])
  x = jnp.arange(16.0).reshape(1, 4, 2, 2)
  actual = resampling.mean_pool(x)[0, :, 0]
  np.testing.assert_array_equal(actual, [[3, 4], [11, 12]])


@pytest.mark.parametrize(
  'function, slope',
  [
    # Every pixel is spread over four, or is a quarter of one.
    (resampling.upsample_bilinear, 4.0),
    (resampling.upsample_nearest, 4.0),
    (resampling.mean_pool, 0.25),
  ],
)
def test_resampling_spreads_evenly_and_cheaply(function, slope):
  x = jnp.zeros((1, 4, 6, 2))
  grad = jax.grad(lambda x: jnp.sum(function(x)))
  np.testing.assert_array_equal(grad(x), np.full(x.shape, slope))
  jaxpr = str(jax.make_jaxpr(grad)(x))
  for slow in ('gather', 'scatter', 'reduce_window', 'conv_general', 'while'):
    assert slow not in jaxpr


@pytest.mark.parametrize(
  'name, options, generator, discriminator',
  [
    # Counted in PyTorch on the authors' code,
    ('resnet', dict(width=256), 4_270_595, 1_086_848),
    ('resnet', dict(width=128), 1_201_411, 273_088),
    ('resnet', dict(width=64), 367_235, 68_960),
    ('resnet', dict(width=128, bottleneck=True), 758_467, 143_072),
    # the discriminators at 48 px by hand: 2474 width^2 + 124 width.
    ('resnet', dict(width=64, image_size=48), 4_876_547, 10_141_440),
    ('resnet', dict(width=32, image_size=48), 1_814_659, 2_537_344),
    ('resnet', dict(width=16, image_size=48), 751_427, 635_328),
    ('cnn256', {}, 13_276_608, 11_191_808),
  ],
)
def test_parameter_counts(name, options, generator, discriminator):
  assert _count(models.generator(name, **options)) == generator
  assert _count(models.discriminator(name, **options)) == discriminator


def test_full_bottleneck_is_57_percent_of_the_full_pair():
  both = lambda **options: sum(
    _count(make('resnet', width=256, **options))
    for make in (models.generator, models.discriminator)
  )
  assert round(100 * both(bottleneck=True) / both(), 1) == 57.3


def test_names_and_shapes_of_the_residual_pair():
  g = models.generator('resnet', width=4, image_size=48, bottleneck=True)
  d = models.discriminator('resnet', width=4, image_size=48, bottleneck=True)
  g, d = _shapes(g), _shapes(d)
  layers = lambda shapes, kind: {
    path.removeprefix(f'{kind}/').rpartition('/')[0]
    for path in shapes
    if path.startswith(kind)
  }
  parts = lambda blocks, names: {f'block{i}/{n}' for i in blocks for n in names}
  convs = ('c1', 'c2', 'c_sc')
  assert layers(g, 'params') == {'l1', 'b5', 'conv5'} | parts(
    (2, 3, 4), (*convs, 'b1', 'b2')
  )
  assert layers(g, 'batch_stats') == {'b5'} | parts((2, 3, 4), ('b1', 'b2'))
  assert layers(d, 'params') == {'proj'} | parts(range(1, 6), convs)
  assert layers(d, 'spectral') == layers(d, 'params')
  # Half the output's channels there, here half the input's but in block 1.
  assert g['params/block2/c1/kernel'].shape == (3, 3, 32, 8)
  assert g['params/block2/c2/kernel'].shape == (3, 3, 8, 16)
  assert g['params/block2/c_sc/kernel'].shape == (1, 1, 32, 16)
  assert g['params/conv5/kernel'].shape == (1, 1, 4, 3)
  assert d['params/block1/c1/kernel'].shape == (3, 3, 3, 2)
  assert d['params/block3/c1/kernel'].shape == (3, 3, 8, 4)
  assert d['params/block3/c2/kernel'].shape == (3, 3, 4, 16)
  assert d['params/proj/kernel'].shape == (64, 1)
  assert 'params/proj/bias' not in d and 'params/block3/c2/bias' in d


def test_spectral_norm_is_an_option():
  for name, options in (('resnet', {}), ('cnn256', dict(image_size=8))):
    d = models.discriminator(name, width=2, spectral_norm=False, **options)
    assert not any(path.startswith('spectral') for path in _shapes(d))


def test_residual_discriminator_by_hand():
  d = models.discriminator('resnet', width=2, channels=1, spectral_norm=False)
  values = {'block2/c_sc/kernel': -1.0}
  for i in (1, 2, 3, 4):
    values |= {f'block{i}/c1/kernel': -1.0, f'block{i}/c2/kernel': 2.0}
  # Of -1 everywhere block 1, which does not activate it, makes 2 - 1 = 1;
  # block 2: 2 leaky(-1) - 1 = -1.2; block 3: 2 leaky(0.12) - 1.2 = -0.96;
  # block 4: 2 leaky(0.096) - 0.96 = -0.768. Four positions are added up.
  actual = jax.jit(d.apply)(_taps(d, values), jnp.full((1, 32, 32, 1), -1.0))
  np.testing.assert_allclose(actual, [4 * -0.0768], rtol=1e-5)


def test_residual_discriminator_of_48_px_sees_one_position():
  # 48, 24, 12, 6, 3, 1: the last halving leaves a third of the rows out.
  d = models.discriminator(
    'resnet', width=1, image_size=48, channels=1, spectral_norm=False
  )
  values = {f'block{i}/c1/kernel': 0.0 for i in range(1, 6)}
  loss = lambda variables, x: jnp.sum(d.apply(variables, x))
  grad = jax.jit(jax.grad(loss, 1))
  actual = grad(_taps(d, values), jnp.ones((1, 48, 48, 1)))[0, :, :, 0]
  expected = np.zeros((48, 48))
  expected[:32, :32] = 1 / 32**2
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_residual_generator_by_hand():
  g = models.generator('resnet', width=1, channels=1, z_size=1)
  # Block 2 of -1: relu(0 + 0.5) - 1 = -0.5. Block 3: relu(0 - 2) + 0.75 - 0.5
  # = 0.25. Block 4: 2 relu(0.25 + 0.25) + 0.25 = 1.25.
  values = {
    'l1/bias': -1.0,
    'block2/c1/bias': 0.5,
    'block3/b2/bias': -2.0,
    'block3/c2/bias': 0.75,
    'block4/b1/bias': 0.25,
    'block4/c2/kernel': 2.0,
  }
  apply = jax.jit(g.apply)
  for shift, expected in ((-1.0, 0.25), (-1.5, 0.0)):
    actual = apply(_taps(g, values | {'b5/bias': shift}), jnp.zeros((1, 1)))
    expected = np.full((1, 32, 32, 1), np.tanh(expected))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize('path', ['shortcut', 'residual'])
def test_residual_generator_doubles_smoothly(path):
  g = models.generator('resnet', width=1, channels=1, z_size=1)
  first = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4)), jnp.float32)
  closed = 'c2' if path == 'shortcut' else 'c_sc'
  values = {f'block{i}/{closed}/kernel': 0.0 for i in (2, 3, 4)}
  variables = _taps(g, values)
  variables['params']['l1']['bias'] = first.reshape(-1)
  # The residual branch cuts before it doubles, the network once at its end.
  x = first if path == 'shortcut' else jnp.maximum(first, 0)
  for size in (8, 16, 32):
    x = jax.image.resize(x, (size, size), 'linear')
  actual = jax.jit(g.apply)(variables, jnp.zeros((1, 1)))
  expected = np.tanh(np.maximum(x, 0))
  np.testing.assert_allclose(actual[0, :, :, 0], expected, atol=1e-6)


@pytest.mark.parametrize(
  'options',
  [
    dict(width=4, bottleneck=True),
    pytest.param(dict(width=1, image_size=48), marks=pytest.mark.slow),
  ],
)
def test_residual_pair_makes_images_and_logits(options):
  g = models.generator('resnet', **options, z_size=5)
  d = models.discriminator('resnet', **options)
  variables = _filled(g)
  z = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5)), jnp.float32)
  apply = lambda z: g.apply(variables, z, train=True, mutable='batch_stats')
  images, after = jax.jit(apply)(z)
  size = options.get('image_size', 32)
  assert images.shape == (3, size, size, 3)
  assert images.dtype == jnp.float32
  assert jnp.max(jnp.abs(images)) <= 1.0 and jnp.std(images) > 1e-3
  moved = lambda a, b: bool(jnp.any(a != b))
  before = variables['batch_stats']
  assert jax.tree.all(jax.tree.map(moved, after['batch_stats'], before))
  variables = _filled(d)
  logits = jax.jit(d.apply)(variables, images)
  assert logits.shape == (3,) and len(np.unique(logits)) == 3


@pytest.mark.float64
@pytest.mark.parametrize(
  'name, options', [('resnet', {}), ('cnn256', dict(image_size=16))]
)
def test_axis_name_makes_batch_statistics_global(name, options):
  # Four devices with two examples each must equal one with eight.
  g = models.generator(name, width=1, z_size=3, **options)
  variables = _filled(g, jnp.float64)
  z = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)))
  apply = lambda g: (
    lambda z: g.apply(variables, z, train=True, mutable='batch_stats')
  )
  expected, stats = jax.jit(apply(g))(z)
  four = jax.vmap(apply(g.clone(axis_name='data')), axis_name='data')
  actual, each = jax.jit(four)(z.reshape(4, 2, 3))
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
  close(actual.reshape(expected.shape), expected)
  jax.tree.map(lambda a, b: close(a[2], b), each, stats)


def _start(module, *paths):
  """Fresh leaves; what nobody asks for is not compiled."""

  def pick(key):
    params = module.init(key, *module.example_inputs())['params']
    flat = traverse_util.flatten_dict(params, sep='/')
    return [flat[path] for path in paths]

  return jax.jit(pick)(jax.random.key(0))


@pytest.mark.parametrize(
  'name, options, bounds',
  [
    # One over the root of the fan, which for transposed ones is the output's.
    (
      'resnet',
      dict(width=8),
      {
        'block2/c1/kernel': 1 / np.sqrt(9 * 8),
        'l1/bias': 1 / np.sqrt(128),
      },
    ),
    (
      'cnn256',
      dict(width=8, image_size=16),
      {
        'deconv1/kernel': 1 / np.sqrt(16 * 16),
        'deconv2/kernel': 1 / np.sqrt(16 * 8),
      },
    ),
  ],
)
def test_generators_start_as_in_pytorch(name, options, bounds):
  leaves = _start(models.generator(name, **options), *bounds)
  for leaf, bound in zip(leaves, bounds.values(), strict=True):
    assert 0.9 * bound < jnp.max(jnp.abs(leaf)) <= bound
    np.testing.assert_allclose(jnp.std(leaf), bound / np.sqrt(3), rtol=0.15)


@pytest.mark.parametrize(
  'name, options, paths',
  [
    (
      'resnet',
      dict(width=8),
      ['block1/c1', 'block3/c_sc', 'proj'],
    ),
    ('cnn256', dict(width=4, image_size=16), ['conv2', 'proj']),
  ],
)
def test_discriminators_start_orthogonal(name, options, paths):
  module = models.discriminator(name, **options)
  for kernel in _start(module, *(f'{path}/kernel' for path in paths)):
    matrix = kernel.reshape(-1, kernel.shape[-1])
    eye = np.eye(matrix.shape[1])
    np.testing.assert_allclose(matrix.T @ matrix, eye, atol=1e-5)


def test_latent_map_has_pytorch_s_orientation():
  # A latent of 2 makes twice the weight, w[0, 0] at the top left.
  weight = np.arange(16.0, dtype=np.float32).reshape(1, 1, 4, 4)
  kernel = weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)
  module = cnn256.LatentConvTranspose(1)
  actual = module.apply({'params': {'kernel': kernel}}, jnp.array([[2.0]]))
  np.testing.assert_array_equal(actual[0, :, :, 0], 2 * weight[0, 0])


def test_cnn256_discriminator_by_hand():
  d = models.discriminator(
    'cnn256', width=1, image_size=16, channels=1, spectral_norm=False
  )
  variables = _taps(d, {'conv1/kernel': -1.0, 'conv2/kernel': -1.0})
  # 1 turns into -0.1 and 0.1, -1 into 1 and -0.1; `proj` adds up 4x4 of them.
  x = jnp.array([1.0, -1.0]).reshape(2, 1, 1, 1) * jnp.ones((1, 16, 16, 1))
  # The second channel of the last map is empty.
  actual = jax.jit(d.apply)(variables, x)
  np.testing.assert_allclose(actual, [1.6, -1.6], rtol=1e-5)


def test_cnn256_generator_by_hand():
  g = models.generator('cnn256', width=1, image_size=16, channels=1, z_size=1)
  apply = jax.jit(g.apply)
  z = jnp.array([[1.0]])
  for values, expected in [
    # relu(relu(1 + a) + b), each relu cutting in one of the rows.
    ({'deconv1_bn/bias': -3.0, 'deconv2_bn/bias': 0.5}, 0.5),
    ({'deconv1_bn/bias': -0.5, 'deconv2_bn/bias': -0.25}, 0.25),
    ({'deconv2_bn/bias': -3.0}, 0.0),
  ]:
    variables = _taps(g, values)
    variables['params']['deconv1']['kernel'] = jnp.ones((4, 4, 1, 2))
    actual = apply(variables, z)
    expected = np.full((1, 16, 16, 1), np.tanh(expected))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_cnn256_doubles_from_4_px_and_has_no_bias_in_convolutions():
  g, d = models.generator('cnn256'), models.discriminator('cnn256')
  x = jax.eval_shape(
    lambda key, z: g.init_with_output(key, z)[0],
    jax.random.key(0),
    *g.example_inputs(),
  )
  assert x.shape == (1, 256, 256, 3)
  biased = {p.split('/')[1] for p in _shapes(g) if p.endswith('bias')}
  assert biased == {f'deconv{i}_bn' for i in range(1, 7)}
  assert not any(path.endswith('bias') for path in _shapes(d))
  assert _shapes(g)['params/deconv1/kernel'].shape == (4, 4, 128, 1024)
  assert _shapes(d)['params/proj/kernel'].shape == (16 * 1024, 1)


@pytest.mark.parametrize(
  'name, options, message',
  [
    ('resnet', dict(image_size=64), r'^image_size=64 is not one of \[32, 48\]'),
    (
      'resnet',
      dict(image_size='32'),
      r"^image_size='32' is not a positive int",
    ),
    ('resnet', dict(width=0), r'^width=0 is not a positive integer'),
    ('resnet', dict(bottleneck=1), r'^bottleneck=1 is not True or False'),
    (
      'resnet',
      dict(width=3, image_size=48, bottleneck=True),
      r'^width=3 with bottleneck=True is not a multiple of 2, which the hidden '
      r'layers at image_size=48 need\.$',
    ),
    ('cnn256', dict(image_size=48), r'^image_size=48 is not a power of two'),
    ('cnn256', dict(image_size=4), r'^image_size=4 is not a power of two from'),
    ('cnn256', dict(channels=0), r'^channels=0 is not a positive integer'),
    (
      'cnn256',
      dict(bottleneck=True),
      r"^bottleneck=True is not an option of 'cnn256', which has: width=32",
    ),
    (
      'cnn',
      dict(bottleneck=True),
      r"bottleneck=True is not an option of 'cnn'",
    ),
  ],
)
def test_mistakes_are_named(name, options, message):
  for make in (models.generator, models.discriminator):
    with pytest.raises(ValueError, match=message):
      make(name, **options)


def test_residual_discriminator_needs_halves_of_halves():
  models.generator('resnet', width=6, bottleneck=True)
  with pytest.raises(ValueError, match=r'^width=6 with bott.* multiple of 4'):
    models.discriminator('resnet', width=6, bottleneck=True)
  models.generator('resnet', width=3)
  with pytest.raises(ValueError, match=r'^width=3 is not a multiple of 2'):
    models.discriminator('resnet', width=3)
  models.discriminator('resnet', width=3, image_size=48)
  for name in ('resnet', 'cnn256'):
    with pytest.raises(ValueError, match=r"^spectral_norm='no' is not True or"):
      models.discriminator(name, spectral_norm='no')
    with pytest.raises(ValueError, match=r'^z_size=0 is not a positive'):
      models.generator(name, z_size=0)
