"""The modern pair: published sizes, its parts and its start by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from configs import cifar10_modern
from gan_jax import batch_game, build, models, regularizers
from gan_jax.models import modern, modern_parts

# Networks this small take longer to compile than to run.
jit = functools.partial(
  jax.jit, compiler_options={'xla_backend_optimization_level': 0}
)
SMALL = dict(width=8, group_size=4, image_size=8, blocks=1)


def _random(*shape, seed=0):
  draws = np.random.default_rng(seed).normal(size=shape)
  return jnp.asarray(draws, jnp.float32)


def _count(module):
  shapes = jax.eval_shape(
    module.init, jax.random.key(0), *module.example_inputs()
  )
  return sum(leaf.size for leaf in jax.tree.leaves(shapes['params']))


def test_published_sizes():
  # A block: 768 x 1536 in and out, 1536 x 16 x 9 between, two biases. Eight of
  # them, a 1x1 convolution at the image and sixteen pixels of 768 channels.
  block = 2 * 768 * 1536 + 1536 * 16 * 9 + 2 * 1536
  shared = 8 * block + 3 * 768 + 16 * 768
  # Ten classes: a longer latent and a table; 768 outputs and a table.
  g = _count(models.generator('modern', labels=10))
  d = _count(models.discriminator('modern', labels=10))
  assert g == shared + 128 * 768 + 10 * 64
  assert d == shared + 768 * 768 + 10 * 768
  # What the authors' code has.
  assert (g, d) == (20_781_952, 21_280_512)


def test_several_widths():
  module = models.generator(
    'modern', width=(12, 8, 4), group_size=4, image_size=16, blocks=1
  )
  blocks = sum(2 * c * 2 * c + 2 * c * 4 * 9 + 4 * c for c in (12, 8, 4))
  ends = 64 * 12 + 16 * 12 + 4 * 3
  assert _count(module) == blocks + ends + 12 * 8 + 8 * 4


def test_grouped_convolution_and_its_gradients():
  # Two groups at a time, and one is left over.
  groups, size = 5, 12
  x = _random(2, 5, 4, groups * size)
  kernel = _random(3, 3, size, groups * 2, seed=1)

  def by_lax(x, kernel):
    return lax.conv_general_dilated(
      x,
      kernel,
      (1, 1),
      'SAME',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=groups,
    )

  ours = functools.partial(modern_parts.grouped_conv, groups=groups)
  square = lambda conv: lambda *args: jnp.sum(jnp.square(conv(*args)))
  for actual, expected in (
    (ours, by_lax),
    (jax.grad(square(ours), (0, 1)), jax.grad(square(by_lax), (0, 1))),
  ):
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-3),
      jit(actual)(x, kernel),
      jit(expected)(x, kernel),
    )


def test_upsampling_of_one_pixel():
  x = jnp.zeros((1, 4, 4, 1)).at[0, 1, 2, 0].set(16.0)
  taps = np.array([1.0, 3.0, 3.0, 1.0])
  expected = np.zeros((8, 8))
  expected[1:5, 3:7] = np.outer(taps, taps)
  upsample = jit(modern_parts.upsample)
  np.testing.assert_allclose(upsample(x)[0, ..., 0], expected)
  # At the border a part of it is lost.
  corner = upsample(jnp.full((1, 1, 1, 1), 16.0))[0, ..., 0]
  np.testing.assert_allclose(corner, np.full((2, 2), 9.0))


def test_downsampling_is_a_quarter_of_the_transpose():
  x, y = _random(1, 6, 8, 2), _random(1, 3, 4, 2, seed=1)
  actual = np.vdot(jit(modern_parts.downsample)(x), y)
  expected = np.vdot(x, jit(modern_parts.upsample)(y)) / 4
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_a_block_starts_as_nothing_and_its_branch_small():
  # Weights of gain g keep a mean square of 1 through a leaky ReLU, but for
  # depth^(-1/2) at each of the two layers before the last.
  depth, width = 16, 32
  block = modern.Block(hidden=width, groups=4, depth=depth)
  x = _random(8, 12, 12, width)
  params = jit(block.init)(jax.random.key(0), x)['params']
  apply = jit(lambda params: block.apply({'params': params}, x))
  np.testing.assert_array_equal(apply(params), x)
  params['conv3'] = {'kernel': jnp.eye(width).reshape(1, 1, width, width)}
  branch = (apply(params) - x)[:, 1:-1, 1:-1]
  np.testing.assert_allclose(np.mean(branch**2), 1 / depth, rtol=0.2)


def _start(make, **options):
  module = make('modern', **SMALL | options)
  init = jit(module.init)
  return module, init(jax.random.key(0), *module.example_inputs())


@pytest.mark.slow
def test_the_generator_starts_linear_in_latent_and_class():
  module, variables = _start(models.generator, z_size=6, labels=3, image_size=4)
  make = jit(functools.partial(module.apply, variables))
  a, b, one = _random(4, 6), _random(4, 6, seed=1), jnp.ones(4, jnp.int32)
  at_zero = make(jnp.zeros((4, 6)), one)
  images = make(a, one) + make(b, one) - at_zero
  np.testing.assert_allclose(images, make(a + b, one), atol=1e-5)
  assert np.std(images) > 0.1 and np.any(at_zero)
  # A class that there is not.
  images = make(a, jnp.array([0, 2, 3, -1]))
  assert np.all(np.isfinite(images[:2])) and np.all(np.isnan(images[2:]))
  with pytest.raises(ValueError, match='labels=None, but .* 3 classes'):
    make(a)
  with pytest.raises(ValueError, match='not integers'):
    make(a, jnp.zeros(4))


@pytest.mark.slow
def test_penalties_of_a_critic_that_starts_linear():
  module, variables = _start(models.discriminator, labels=3)
  x, labels = _random(3, 8, 8, 3), jnp.array([0, 1, 1])
  critic = lambda params, x: module.apply({'params': params}, x, labels)
  params = variables['params']

  def penalties(params, x):
    r1 = regularizers.r1(functools.partial(critic, params), x)
    r2 = regularizers.r2(functools.partial(critic, params), 3 * x + 1)
    return jnp.sum(r1 + r2), (r1, r2)

  grads, (r1, r2) = jit(jax.grad(penalties, has_aux=True))(params, x)
  # The slope is the same everywhere, and another for another class.
  np.testing.assert_allclose(r1, r2, rtol=1e-5)
  np.testing.assert_allclose(r1[1], r1[2], rtol=1e-5)
  assert abs(r1[0] / r1[1] - 1) > 1e-3 and np.all(r1 > 0)
  for leaf in jax.tree.leaves(grads):
    assert np.all(np.isfinite(leaf))
  # Only the last layers of the branches move at first.
  block = grads['block_1_0']
  assert np.any(block['conv3']['kernel']) and not np.any(
    block['conv1']['kernel']
  )


@pytest.mark.slow
def test_bfloat16_is_inside_only():
  g, of_g = _start(models.generator, dtype='bfloat16', z_size=6)
  d, of_d = _start(models.discriminator, dtype='bfloat16')
  for leaf in jax.tree.leaves([of_g, of_d]):
    assert leaf.dtype == jnp.float32
  images = jit(g.apply)(of_g, _random(2, 6))
  slope = jit(jax.grad(lambda x: jnp.sum(d.apply(of_d, x))))(images)
  same = models.generator('modern', **SMALL, z_size=6)
  exact = jit(same.apply)(of_g, _random(2, 6))
  assert images.dtype == slope.dtype == jit(d.apply)(of_d, images).dtype
  assert images.dtype == jnp.float32
  error = np.max(np.abs(images - exact)) / np.max(np.abs(exact))
  assert 0 < error < 0.02


@pytest.mark.parametrize(
  'settings, message',
  [
    (dict(image_size=24), 'image_size=24 is not 4 times a power of 2'),
    (dict(image_size=2), 'image_size=2 is not 4 times a power of 2'),
    (dict(width=(8, 8)), r'width=\(8, 8\) needs 4 entries'),
    (dict(width=12), 'group_size=16 does not divide the 24 hidden channels'),
    (dict(dtype='float16'), "dtype='float16' is not one of"),
    (dict(blocks=0), 'blocks=0 is not a positive integer'),
  ],
)
def test_wrong_options_are_named(settings, message):
  for make in (models.generator, models.discriminator):
    with pytest.raises(ValueError, match=message):
      make('modern', **settings)


@pytest.mark.parametrize('loss', ['js', 'rs'])
@pytest.mark.parametrize(
  'word, penalties', [('none', []), ('r1', ['r1']), ('r1r2', ['r1', 'r2'])]
)
def test_the_config_builds_with_its_words(loss, word, penalties):
  config = cifar10_modern.get_config(f'{loss},{word},unconditional')
  setup = batch_game.at_step(build.build_setup(config), 0)
  assert config.loss == {'js': 'nonsaturating', 'rs': 'relativistic'}[loss]
  assert [p.name for p in setup.penalties] == penalties
  for penalty in setup.penalties:  # half of gamma at first
    np.testing.assert_allclose(penalty.weight, 0.025, rtol=1e-6)
  for player in (setup.generator, setup.discriminator):
    assert (player.width, player.labels) == (768, 1)
    assert player.dtype == 'bfloat16'


def test_the_config_in_small():
  setup = build.build_setup(cifar10_modern.get_config('small'))
  for player in (setup.generator, setup.discriminator):
    assert (player.labels, player.image_size, player.width) == (10, 16, 32)
    assert player.dtype == 'float32'
  # Half of the average is from the last 5 M images.
  config = cifar10_modern.get_config()
  images = np.log(0.5) / np.log(config.averaging) * config.batch_size
  np.testing.assert_allclose(images, 5e6)
