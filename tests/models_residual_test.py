"""The residual pair: published sizes, maps by name, and values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import models
from gan_jax.models import resampling, residual

CELEBA_HQ = dict(width=16, image_size=1024)
LSUN = dict(max_width=1024)


def _generator(**options):
  return models.generator('residual', **options)


def _discriminator(**options):
  return models.discriminator('residual', **options)


def _shapes(module):
  return jax.eval_shape(
    module.init, jax.random.key(0), *module.example_inputs()
  )['params']


def _count(module):
  return sum(leaf.size for leaf in jax.tree.leaves(_shapes(module)))


def _random(module, seed=0):
  rng = np.random.default_rng(seed)
  draw = lambda leaf: rng.uniform(-0.5, 0.5, leaf.shape).astype(np.float32)
  return {'params': jax.tree.map(draw, _shapes(module))}


def _taps(module, **values):
  """Parameters whose blocks only pass channel 0 on, as does the image's layer.

  Dense kernels are ones, all else is zero but for leaves named in `values`.
  """

  def one(path, leaf):
    layer, kind = path[-2].key, path[-1].key
    if f'{layer}_{kind}' in values:
      return jnp.broadcast_to(values[f'{layer}_{kind}'], leaf.shape)
    if kind == 'kernel' and leaf.ndim == 2:
      return jnp.ones_like(leaf)
    if layer in ('conv_s', 'conv_img') and kind == 'kernel':
      centre = leaf.shape[0] // 2
      return jnp.zeros_like(leaf).at[centre, centre, 0, 0].set(1.0)
    return jnp.zeros_like(leaf)

  params = jax.tree_util.tree_map_with_path(one, _shapes(module))
  return {'params': params}


def _apply(module, variables, *inputs, **options):
  return jax.jit(lambda *i: module.apply(variables, *i, **options))(*inputs)


def test_parameter_counts_of_celeba_hq():
  # Counted in PyTorch on the authors' code, as are the next.
  assert _count(_generator(embed_size=1, **CELEBA_HQ)) == 18_810_036
  assert _count(_discriminator(**CELEBA_HQ)) == 16_705_201


@pytest.mark.parametrize(
  'both, embed_size, generator, discriminator',
  [
    (LSUN, 1, 52.15, 47.94),
    (dict(variant='resnet2', image_size=128, labels=1000), 256, 100.5, 108.3),
    (dict(variant='resnet3'), 1, 67.8, 59.4),
    (dict(variant='resnet4'), 1, 52.16, 47.95),
  ],
)
def test_parameter_counts(both, embed_size, generator, discriminator):
  digits = lambda number: len(str(number).split('.')[1])
  g = _count(_generator(embed_size=embed_size, **both)) / 1e6
  d = _count(_discriminator(**both)) / 1e6
  assert round(g, digits(generator)) == generator
  assert round(d, digits(discriminator)) == discriminator


def _maps(module):
  """Side and channels of the map behind each block, by the block's name."""

  def run(key):
    variables = module.init(key, *module.example_inputs())
    return module.apply(
      variables,
      *module.example_inputs(),
      capture_intermediates=lambda layer, _: isinstance(layer, residual.Block),
      mutable=('intermediates',),
    )[1]['intermediates']

  shapes = jax.eval_shape(run, jax.random.key(0))
  return {k: v['__call__'][0].shape[2:] for k, v in shapes.items()}


def test_maps_of_the_celeba_hq_networks():
  g = _generator(embed_size=1, **CELEBA_HQ)
  channels = (512, 512, 512, 256, 128, 64, 32, 16, 16)
  assert _maps(g) == {
    f'resnet_{k}_0': (4 * 2**k, c) for k, c in enumerate(channels)
  }
  assert _shapes(g)['fc']['kernel'].shape == (257, 512 * 4 * 4)
  d = _discriminator(**CELEBA_HQ)
  channels = (16, 32, 64, 128, 256, 512, 512, 512, 512)
  assert _maps(d) == {
    f'resnet_{k}_0': (1024 // 2**k, c) for k, c in enumerate(channels)
  }
  assert _shapes(d)['fc']['kernel'].shape == (8192, 1)


def test_maps_of_the_lsun_generator():
  channels = (1024, 1024, 512, 256, 128, 64, 64)
  assert _maps(_generator(**LSUN)) == {
    f'resnet_{k}_0': (4 * 2**k, c) for k, c in enumerate(channels)
  }


@pytest.mark.parametrize(
  'variant, smallest, generator, discriminator',
  [
    (
      'resnet2',
      4,
      '16-16,16-16 16-16,16-16 16-8,8-8 8-4,4-4 4-2,2-2 2-1,1-1',
      '1-1,1-2 2-2,2-4 4-4,4-8 8-8,8-16 16-16,16-16 16-16,16-16',
    ),
    (
      'resnet3',
      2,
      '32-16 16-16 16-8 8-4 4-2 2-1 -',
      '- 1-2 2-4 4-8 8-16 16-16 16-32',
    ),
    (
      'resnet4',
      2,
      '16-16 16-16 16-8 8-4 4-2 2-1 1-1',
      '1-1 1-2 2-4 4-8 8-16 16-16 16-16',
    ),
  ],
)
def test_maps_of_the_other_variants(
  variant, smallest, generator, discriminator
):
  # Inputs and outputs of the blocks of a level, in multiples of width.
  options = dict(variant=variant, width=1, image_size=128)
  for module, table, sides in (
    (_generator(**options), generator, 2.0 ** np.arange(7)),
    (_discriminator(**options), discriminator, 0.5 ** np.arange(7)),
  ):
    first = smallest if sides[1] > 1 else 128
    params, expected, inputs = _shapes(module), {}, {}
    for k, level in enumerate(table.split()):
      for i, block in enumerate(level.split(',') if level != '-' else ()):
        before, after = map(int, block.split('-'))
        expected[f'resnet_{k}_{i}'] = (first * sides[k], after)
        inputs[f'resnet_{k}_{i}'] = before
    assert _maps(module) == expected
    for name, channels in inputs.items():
      assert params[name]['conv_0']['kernel'].shape[2] == channels
    kernel = 3 if variant == 'resnet2' else 7
    assert params['conv_img']['kernel'].shape[0] == kernel


def test_names_are_prefixes_of_the_published_keys():
  params = _shapes(_generator(width=1, image_size=8))
  assert set(params) == {
    'embedding',
    'fc',
    'resnet_0_0',
    'resnet_1_0',
    'conv_img',
  }
  assert params['embedding']['embedding'].shape == (1, 256)
  shapes = jax.tree.map(jnp.shape, params['resnet_0_0'])
  # From two channels to one, one of them hidden; the shortcut has no bias.
  assert shapes == {
    'conv_0': {'kernel': (3, 3, 2, 1), 'bias': (1,)},
    'conv_1': {'kernel': (3, 3, 1, 1), 'bias': (1,)},
    'conv_s': {'kernel': (1, 1, 2, 1)},
  }
  assert set(params['resnet_1_0']) == {'conv_0', 'conv_1'}
  params = _shapes(_discriminator(width=1, image_size=8, labels=5))
  assert set(params) == {'conv_img', 'resnet_0_0', 'resnet_1_0', 'fc'}
  assert params['resnet_1_0']['conv_0']['kernel'].shape == (3, 3, 1, 1)
  assert params['fc']['kernel'].shape == (32, 5)


def test_block_by_hand():
  # -2 -> -0.4 -> 3 (-0.4) + 1 = -0.2 -> -0.04 -> 5 (-0.04) + 2 = 1.8, of which
  # a tenth is added to -2, or to -20 behind a shortcut of weight ten.
  tap = lambda value: jnp.zeros((3, 3, 1, 1)).at[1, 1].set(value)
  params = {
    'conv_0': {'kernel': tap(3.0), 'bias': jnp.ones(1)},
    'conv_1': {'kernel': tap(5.0), 'bias': jnp.full(1, 2.0)},
  }
  x = jnp.full((1, 1, 1, 1), -2.0)
  out = residual.Block(1).apply({'params': params}, x)
  np.testing.assert_allclose(out, [[[[-1.82]]]], rtol=1e-6)
  params['conv_1'] = {
    'kernel': jnp.tile(tap(5.0), (1, 1, 1, 2)),
    'bias': jnp.full(2, 2.0),
  }
  params['conv_s'] = {'kernel': jnp.full((1, 1, 1, 2), 10.0)}
  out = residual.Block(2).apply({'params': params}, x)
  np.testing.assert_allclose(out, [[[[-19.82, -19.82]]]], rtol=1e-6)


def test_pooling_divides_by_nine_everywhere():
  ones = resampling.mean_pool_3x3(jnp.ones((1, 4, 6, 1)))[0, :, :, 0]
  np.testing.assert_allclose(9 * ones, [[4, 6, 6], [6, 9, 9]], rtol=1e-6)
  # Row 1 lies in both windows, row 2 in the second only; likewise columns.
  x = jnp.zeros((2, 4, 4, 2)).at[0, 1, 2, 0].set(9.0).at[1, 2, 3, 1].set(18.0)
  expected = np.zeros((2, 2, 2, 2))
  expected[0, :, 1, 0], expected[1, 1, 1, 1] = 1, 2
  np.testing.assert_allclose(resampling.mean_pool_3x3(x), expected, rtol=1e-6)


def test_generator_repeats_pixels_of_the_first_map():
  module = _generator(width=1, image_size=8, channels=1, z_size=1, embed_size=1)
  # Two channels each of 4x4 pixels: the first of them is passed on.
  ramp = np.arange(32.0).reshape(4, 4, 2) / 32
  variables = _taps(module, fc_kernel=0.0, fc_bias=ramp.reshape(-1))
  images = _apply(module, variables, jnp.zeros((1, 1)))
  expected = np.kron(ramp[:, :, 0], np.ones((2, 2)))
  np.testing.assert_allclose(images[0, :, :, 0], np.tanh(expected), rtol=1e-6)


@pytest.mark.parametrize('variant', ['resnet', 'resnet2', 'resnet3', 'resnet4'])
def test_generator_by_hand(variant):
  # The first layer sees z + 10 e_0 + 100 e_1, the last one its thousandth; all
  # convolutions in between are taps. (3, 4) has length 5 and (5, 12) has 13.
  unit = variant in ('resnet', 'resnet2')
  module = _generator(
    variant=variant,
    width=1,
    image_size=4 if variant == 'resnet' else 64,
    channels=1,
    z_size=1,
    labels=2,
    embed_size=2,
  )
  variables = _taps(
    module,
    fc_kernel=jnp.array([[1.0], [10.0], [100.0]]) / 1000,
    embedding_embedding=jnp.array([[3.0, 4.0], [5.0, 12.0]]),
  )
  z = jnp.array([[4.0], [-1000.0]])
  images = _apply(module, variables, z, jnp.array([0, 1]))
  assert images.shape[1:] == (module.image_size, module.image_size, 1)
  first = 4 + 86 if unit else 4 + 430
  # The second is negative, or not without normalization: it meets a slope.
  second = 0.2 * (-1000 + 50 / 13 + 1200 / 13) if unit else -1000 + 1250
  expected = np.tanh(np.array([first, second]) / 1000)
  np.testing.assert_allclose(images[0], expected[0], rtol=1e-5)
  np.testing.assert_allclose(images[1], expected[1], rtol=1e-5)
  if unit:
    ready = _apply(module, variables, z, jnp.array([[6.0, 8.0], [10.0, 24.0]]))
    np.testing.assert_allclose(ready, images, rtol=1e-5)


def test_discriminator_by_hand():
  # 16 pixels of -1, each times the slope of the activation behind flattening,
  small = _discriminator(width=1, image_size=4, channels=1)
  logits = _apply(small, _taps(small), -jnp.ones((1, 4, 4, 1)))
  np.testing.assert_allclose(logits, [-3.2], rtol=1e-6)
  # or one pooling, whose rows and columns weigh 2/3, 1, 1, 1.
  large = _discriminator(width=1, image_size=8, channels=1)
  logits = _apply(large, _taps(large), jnp.ones((1, 8, 8, 1)))
  np.testing.assert_allclose(logits, [(2 / 3 + 3) ** 2], rtol=1e-6)


def test_discriminator_takes_the_logit_of_the_label():
  module = _discriminator(width=1, image_size=4, channels=1, labels=3)
  bias = jnp.array([10.0, 20.0, 30.0])
  variables = _taps(module, fc_kernel=0.0, fc_bias=bias)
  x, labels = jnp.zeros((4, 4, 4, 1)), jnp.array([2, 0, 1, 2])
  logits = _apply(module, variables, x, labels)
  np.testing.assert_array_equal(logits, [30.0, 10.0, 20.0, 30.0])
  logits = module.apply(variables, x, [2, 0, 1, 2])
  np.testing.assert_array_equal(logits, [30.0, 10.0, 20.0, 30.0])


@pytest.mark.parametrize('label', [3, 7, -1, -3, -4])
def test_a_class_that_there_is_not_is_no_other_s(label):
  both = dict(width=1, image_size=4, labels=3)
  g, d = _generator(z_size=2, embed_size=2, **both), _discriminator(**both)
  labels = np.array([2, label], np.int8)
  images = _apply(g, _random(g), jnp.ones((2, 2)), labels)
  logits = _apply(d, _random(d), jnp.ones((2, 4, 4, 3)), labels)
  for values in (images, logits):
    assert not jnp.any(jnp.isnan(values[0])) and jnp.all(jnp.isnan(values[1]))


def test_one_class_needs_no_labels_and_rows_are_independent():
  options = dict(width=1, channels=1, image_size=8)
  g = _generator(z_size=3, embed_size=2, **options)
  d = _discriminator(**options)
  z = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)), jnp.float32)
  # With one class all labels are that class.
  variables, some = _random(g), jnp.array([0, 7, 3])
  train = dict(train=True, mutable=('batch_stats',))
  x, stats = _apply(g, variables, z, **train)
  assert stats == {} and x.dtype == jnp.float32
  assert x.shape == (3, 8, 8, 1)
  np.testing.assert_array_equal(x, _apply(g, variables, z, some))
  variables = _random(d)
  logits, _ = _apply(d, variables, x, **train)
  assert logits.shape == (3,) and len(np.unique(logits)) == 3
  np.testing.assert_array_equal(logits, _apply(d, variables, x, some))
  actual = _apply(d, variables, x[::-1])[::-1]
  np.testing.assert_allclose(actual, logits, rtol=1e-5, atol=1e-6)


def test_starts_as_in_pytorch():
  module = _generator(width=8, image_size=8, labels=40, embed_size=50, z_size=6)

  def pick(key):
    params = module.init(key, *module.example_inputs())['params']
    conv = params['resnet_0_0']['conv_0']
    return params['embedding']['embedding'], conv['kernel'], conv['bias']

  embedding, kernel, bias = jax.jit(pick)(jax.random.key(0))
  assert abs(jnp.std(embedding) - 1) < 0.05 and jnp.max(embedding) > 2.5
  bound = 1 / np.sqrt(9 * 16)
  assert 0.95 * bound < jnp.max(jnp.abs(kernel)) <= bound
  np.testing.assert_allclose(jnp.std(kernel), bound / np.sqrt(3), rtol=0.05)
  assert 0 < jnp.max(jnp.abs(bias)) <= bound


def test_mistakes_with_labels_are_named():
  g = _generator(width=1, image_size=4, z_size=2, labels=10, embed_size=3)
  d = _discriminator(width=1, image_size=4, labels=10)
  z, x = jnp.zeros((2, 2)), jnp.zeros((2, 4, 4, 3))
  for module, inputs in ((g, z), (d, x)):
    variables = _taps(module)
    with pytest.raises(ValueError, match='labels=None, but .* 10 classes'):
      module.apply(variables, inputs)
    with pytest.raises(ValueError, match=r'labels have shape \(3,\), not \(2,'):
      module.apply(variables, inputs, jnp.zeros(3, jnp.int32))
    with pytest.raises(ValueError, match='^labels are not an array of numbers'):
      module.apply(variables, inputs, ['cat', 'dog'])
  with pytest.raises(ValueError, match=r'shape \(2, 4\), not \(2, 3\)'):
    g.apply(_taps(g), z, jnp.zeros((2, 4)))
  # Only generators with unit embeddings take one from the caller.
  with pytest.raises(ValueError, match='labels of type float32 are not int'):
    d.apply(_taps(d), x, jnp.zeros(2))
  g = _generator(variant='resnet4', width=1, image_size=64, z_size=2)
  with pytest.raises(ValueError, match="float32 .*variant='resnet4'"):
    g.apply(_taps(g), z, jnp.zeros((2, 256)))


def test_numpy_s_integers_are_sizes():
  plain = dict(width=1, image_size=16, channels=3)
  sizes = {name: np.int8(value) for name, value in plain.items()}
  for make in (_generator, _discriminator):
    module = make(**sizes)
    assert module == make(**plain) and type(module.image_size) is int
  direct = residual.Discriminator(**sizes)
  assert _shapes(direct) == _shapes(_discriminator(**plain))


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(variant='resnet5'), r"^variant='resnet5' is not one of \['resnet',"),
    (dict(image_size=96), '^image_size=96 is not 4 times a power of 2, as var'),
    (dict(image_size=2), '^image_size=2 is not 4 times a power of 2'),
    (
      dict(variant='resnet2', image_size=48),
      "^image_size=48 is not a multiple of 32, as variant='resnet2' needs",
    ),
    (
      dict(variant='resnet3', image_size=96),
      '^image_size=96 is not a multiple of 64',
    ),
    (
      dict(variant='resnet4', image_size=32),
      '^image_size=32 is not a multiple of 64',
    ),
    (dict(labels=0), '^labels=0 is not a positive integer'),
    (dict(width=0), '^width=0 is not a positive integer'),
    (dict(max_width=2.0), r'^max_width=2\.0 is not a positive integer'),
    (dict(width=64, max_width=32), '^max_width=32 is less than width=64'),
    (
      dict(variant='resnet4', max_width=1024),
      "^max_width=1024 has no effect with variant='resnet4'",
    ),
  ],
)
def test_mistakes_in_options_are_named(options, message):
  for make in (_generator, _discriminator):
    with pytest.raises(ValueError, match=message):
      make(**options)


def test_mistakes_of_the_generator():
  with pytest.raises(ValueError, match='^embed_size=0 is not a positive'):
    _generator(embed_size=0)
  with pytest.raises(ValueError, match='^z_size=0 is not a positive'):
    _generator(z_size=0)


SMALL = dict(width=2, max_width=8, image_size=16)


def _with_r1(module):
  """Logits plus R1 of a critic: what is differentiated twice."""

  def loss(params, x):
    critic = lambda x: module.apply({'params': params}, x)
    slope = jax.grad(lambda x: jnp.sum(critic(x)))(x)
    return jnp.sum(critic(x)) + jnp.sum(jnp.square(slope))

  return loss


def _kept(module, x):
  """Bytes that wait between the forward and the backward pass of R1."""
  params = _shapes(module)
  vjp = lambda p, x: jax.vjp(lambda p: _with_r1(module)(p, x), p)[1]
  leaves = jax.tree.leaves(jax.eval_shape(vjp, params, x))
  return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


@pytest.mark.slow
def test_rematerialised_networks_are_the_same():
  x = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype(np.float32)
  found = []
  for remat in (False, True):
    d = _discriminator(remat=remat, **SMALL)
    gradient = jax.jit(jax.grad(_with_r1(d)))
    found.append(gradient(_random(d)['params'], x))
  # Names too; R1's gradient is of second order.
  assert jax.tree.structure(found[0]) == jax.tree.structure(found[1])
  for plain, again in zip(*map(jax.tree.leaves, found), strict=True):
    np.testing.assert_allclose(again, plain, rtol=2e-4, atol=1e-5)
  for make in (_generator, _discriminator):
    plain, again = make(**SMALL), make(remat=True, **SMALL)
    assert _shapes(plain) == _shapes(again)


def test_each_option_leaves_less_between_the_passes():
  # Of a block its input stays; of a bfloat16 number two bytes of four.
  x = jnp.zeros((4, 64, 64, 3))
  options = dict(width=8, max_width=8, image_size=64)
  plain = _kept(_discriminator(**options), x)
  assert _kept(_discriminator(remat=True, **options), x) < 0.5 * plain
  assert _kept(_discriminator(dtype='bfloat16', **options), x) < 0.7 * plain


def test_a_bfloat16_body_has_float32_ends():
  g = _generator(z_size=4, dtype='bfloat16', **SMALL)
  d = _discriminator(dtype='bfloat16', **SMALL)
  for module in (g, d):
    types = {leaf.dtype for leaf in jax.tree.leaves(_shapes(module))}
    assert types == {jnp.dtype('float32')}

  def seen(module, *inputs):
    apply = lambda v: module.apply(v, *inputs, capture_intermediates=True)
    out, state = jax.eval_shape(apply, {'params': _shapes(module)})
    made = jax.tree.leaves(state['intermediates']['resnet_1_0'])
    return out.dtype, {leaf.dtype for leaf in made}

  x, z = jnp.zeros((2, 16, 16, 3)), jnp.zeros((2, 4))
  body = {jnp.dtype('bfloat16')}
  assert seen(g, z) == (jnp.float32, body)
  assert seen(d, x) == (jnp.float32, body)
  slope = jax.eval_shape(
    jax.grad(lambda x, p: jnp.sum(d.apply({'params': p}, x))), x, _shapes(d)
  )
  assert slope.dtype == jnp.float32


@pytest.mark.slow
def test_r1_of_a_bfloat16_body_is_near_that_of_float32():
  # Numbers of 8 bits through 9 convolutions: 3 % of the penalty's gradient.
  x = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype(np.float32)
  found = []
  for dtype in ('float32', 'bfloat16'):
    d = _discriminator(dtype=dtype, **SMALL)
    gradient = jax.jit(jax.grad(_with_r1(d)))
    found.append(jax.tree.leaves(gradient(_random(d)['params'], x)))
  exact, short = (np.concatenate([x.ravel() for x in one]) for one in found)
  assert short.dtype == np.float32 and np.isfinite(short).all()
  error = np.linalg.norm(short - exact) / np.linalg.norm(exact)
  assert 1e-5 < error < 0.03


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(dtype='float16'), r"^dtype='float16' is not one of \['bfloat16', '"),
    (dict(remat=1), '^remat=1 is not True or False'),
  ],
)
def test_mistakes_in_what_saves_memory_are_named(options, message):
  for make in (_generator, _discriminator):
    with pytest.raises(ValueError, match=message):
      make(**options)
