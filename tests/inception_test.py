"""FID's Inception-v3: its parts by hand, and what the net says of itself.

That the whole is right is proven in torch_inception_test.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.metrics.nets import inception, inception_blocks
from gan_jax.metrics.nets import inception_graph as graph
from gan_jax.metrics.nets.inception_graph import Branch, Unit
from launch import feature_sides

EXACT = jax.lax.Precision.HIGHEST


@pytest.fixture(scope='module')
def state():
  return feature_sides.random_state()


@pytest.fixture(scope='module')
def file(state, tmp_path_factory):
  path = tmp_path_factory.mktemp('inception') / 'weights.npz'
  np.savez(path, **state)
  return str(path)


def test_the_published_sizes():
  # Channels that go into each block: table 1 of the paper, and the code's.
  expected = {
    'Mixed_5b.branch1x1': 192,
    'Mixed_5c.branch1x1': 256,
    'Mixed_5d.branch1x1': 288,
    'Mixed_6a.branch3x3': 288,
    'Mixed_6b.branch1x1': 768,
    'Mixed_6e.branch1x1': 768,
    'Mixed_7a.branch3x3_1': 768,
    'Mixed_7b.branch1x1': 1280,
    'Mixed_7c.branch1x1': 2048,
  }
  kernels = dict(graph.places())
  assert len(kernels) == 94
  assert {name: kernels[name][2] for name in expected} == expected
  assert kernels['Mixed_6c.branch7x7dbl_4'] == (7, 1, 160, 160)
  assert kernels['Mixed_7c.branch3x3dbl_3b'] == (3, 1, 384, 384)
  # torchvision's 23,834,568 without the auxiliary classifier, 8 classes more;
  # a running mean and variance for each bias and scale.
  shapes = inception.expected()
  statistics = [np.prod(s) for k, s in shapes.items() if '.running_' in k]
  total = sum(np.prod(shape) for shape in shapes.values()) - sum(statistics)
  assert total == 23_834_568 + 8 * 2049


def test_each_layer_needs_the_units_before_it():
  counts = [len(list(graph.places(layer))) for layer in (64, 192, 768, 2048)]
  assert counts == [3, 5, 3 * 7 + 4 + 4 * 10 + 5, 94]


def test_averages_count_no_padding():
  x = jnp.arange(1.0, 10).reshape(1, 3, 3, 1)
  # The corner is (1 + 2 + 4 + 5) / 4, the edge (1 + ... + 6) / 6.
  expected = [[3, 3.5, 4], [4.5, 5, 5.5], [6, 6.5, 7]]
  np.testing.assert_allclose(
    inception_blocks.average(x)[0, :, :, 0], expected, rtol=1e-6
  )


def test_the_largest_of_negative_numbers_is_negative():
  x = -jnp.arange(1.0, 10).reshape(1, 3, 3, 1)
  expected = [[-1, -1, -2], [-1, -1, -2], [-4, -4, -5]]
  np.testing.assert_array_equal(
    inception_blocks.maximum(x)[0, :, :, 0], expected
  )


@pytest.mark.parametrize('height', [5, 6])
def test_halving_takes_whole_windows_only(height):
  x = jnp.arange(5.0 * height).reshape(1, height, 5, 1)
  # Row 2, 4 and column 2, 4 are the last of each window.
  expected = [[12, 14], [22, 24]]
  np.testing.assert_array_equal(
    inception_blocks.maximum_by_2(x)[0, :, :, 0], expected
  )


def test_folding_equals_batch_norm():
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
  weight, scale, shift, mean = draw(4, 3, 1, 1), draw(4), draw(4), draw(4)
  variance = np.float32([1e-4, 0.3, 2.0, 5.0])  # where 1e-3 matters, too
  x = draw(2, 5, 5, 3)
  y = x.astype(np.float64) @ weight[:, :, 0, 0].T.astype(np.float64)
  expected = (y - mean) / np.sqrt(variance + np.float64(0.001)) * scale + shift
  folded = inception.fold(weight, scale, shift, mean, variance)
  unit = Unit('any', (1, 1), 4)
  actual = inception_blocks.convolve(folded, jnp.asarray(x), unit, EXACT)
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_a_kernel_keeps_its_orientation():
  # One weight, of output 1, input 0, one row below.
  weight = np.zeros((2, 1, 3, 3), np.float32)
  weight[1, 0, 2, 1] = 1
  one, zero = np.ones(2, np.float32), np.zeros(2, np.float32)
  folded = inception.fold(weight, one, zero, zero, one - np.float32(1e-3))
  x = jnp.arange(9.0).reshape(1, 3, 3, 1)
  y = inception_blocks.convolve(folded, x, Unit('any', (3, 3), 2), EXACT)
  expected = [[3, 4, 5], [6, 7, 8], [0, 0, 0]]
  np.testing.assert_allclose(y[0, :, :, 1], expected, atol=1e-5)
  assert not np.any(y[..., 0])


def test_a_block_is_its_branches_side_by_side():
  """The merged opening convolution gives what its parts would."""
  one, pooled = Unit('one', (1, 1), 2), Unit('pooled', (1, 1), 3)
  largest = Unit('largest', (1, 1), 2)
  first, second = Unit('two_1', (1, 1), 4), Unit('two_2', (1, 3), 2)
  left, right = Unit('left', (1, 1), 1), Unit('right', (3, 1), 2)
  block = graph.Block(
    'b.',
    (
      Branch((one,)),
      Branch((first, second), ends=(left, right)),
      Branch((pooled,), 'average'),
      Branch((largest,), 'max'),
    ),
  )
  inputs = dict(one=5, two_1=5, two_2=4, left=2, right=2, pooled=5, largest=5)
  rng = np.random.default_rng(0)
  units = {
    'b.' + unit.name: {
      'kernel': rng.standard_normal(
        (*unit.window, inputs[unit.name], unit.size)
      ),
      'bias': rng.standard_normal(unit.size),
    }
    for unit in (one, first, second, left, right, pooled, largest)
  }
  units = jax.tree.map(lambda x: x.astype(np.float32), units)
  x = jnp.asarray(rng.standard_normal((2, 4, 4, 5)), jnp.float32)
  apply = lambda unit, x: jax.nn.relu(
    inception_blocks.convolve(units['b.' + unit.name], x, unit, EXACT)
  )
  two = apply(second, apply(first, x))
  expected = [
    apply(one, x),
    apply(left, two),
    apply(right, two),
    apply(pooled, inception_blocks.average(x)),
    apply(largest, inception_blocks.maximum(x)),
  ]
  params = inception_blocks.merge(units, [block])
  assert sorted(params) == ['b.largest', 'b.left'] + [
    'b.' + name for name in ('opening', 'right', 'two_2')
  ]
  actual = inception_blocks.run(params, x, block, EXACT)
  np.testing.assert_allclose(
    actual, np.concatenate(expected, axis=-1), rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize(
  ('resize', 'white'),
  [('tensorflow', 127 / 128), ('clean', 127 / 128), ('pytorch', 1.0)],
)
def test_scale_of_the_input(resize, white):
  images = np.zeros((2, 20, 30, 1), np.uint8)
  images[1] = 255
  x = inception.prepare(images, resize)
  assert x.shape == (2, 299, 299, 3) and x.dtype == np.float32
  np.testing.assert_allclose(x[0], -1, atol=1e-6)
  np.testing.assert_allclose(x[1], white, atol=1e-6)


def test_features_of_the_first_layer(file):
  net = inception.load(weights=file, layer=64)
  assert (net.name, net.size) == ('inception-v3-fid-64', 64)
  assert (net.num_classes, net.resize) == (0, 'tensorflow')
  assert len(net.digest) == 64 and not net.on_host
  assert sum(x.size for x in jax.tree.leaves(net.params)) == sum(
    np.prod(kernel) + kernel[-1] for _, kernel in graph.places(64)
  )
  rng = np.random.default_rng(0)
  grey = rng.integers(0, 256, (3, 9, 14, 1), np.uint8)
  grey[2] //= 4
  colour = np.repeat(grey, 3, axis=-1)
  apply = jax.jit(net.apply)
  features, logits = apply(net.params, colour)
  assert features.shape == (3, 64) and features.dtype == np.float32
  assert logits is None
  assert (
    np.all(np.isfinite(features)) and np.std(features[1:], axis=0).max() > 0.1
  )
  np.testing.assert_array_equal(features, apply(net.params, colour)[0])
  # The first is the same whoever its neighbours are.
  turned = apply(net.params, colour[::-1])[0][::-1]
  np.testing.assert_allclose(turned, features, rtol=1e-5)
  np.testing.assert_allclose(
    apply(net.params, grey)[0], features, rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize('exact', [True, False])
def test_all_products_are_exact_unless_asked(file, exact):
  net = inception.load(weights=file, exact=exact)
  images = jax.ShapeDtypeStruct((2, 50, 40, 3), np.uint8)
  features, logits = jax.eval_shape(net.apply, net.params, images)
  assert (features.shape, logits.shape) == ((2, 2048), (2, 1008))
  assert (net.size, net.num_classes) == (2048, 1008)
  assert net.name == 'inception-v3-fid-2048' + '-inexact' * (not exact)
  jaxpr = jax.make_jaxpr(net.apply)(net.params, images)
  products = [
    equation
    for equation in jaxpr.eqns
    if equation.primitive.name in ('conv_general_dilated', 'dot_general')
  ]
  # Of 94 convolutions one each is left of the 4 that open three blocks A, four
  # C and the first E, of 3 in the last E, and of 2 in D.
  assert len(products) - 1 == 94 - 3 * (3 + 4 + 1) - 2 - 1
  wanted = EXACT if exact else jax.lax.Precision.DEFAULT
  assert all(
    set(equation.params['precision']) == {wanted} for equation in products
  )


@pytest.mark.parametrize(
  ('images', 'got'),
  [
    (np.zeros((2, 8, 8, 3), np.float32), r'float32 of shape \(2, 8, 8, 3\)'),
    (np.zeros((8, 8, 3), np.uint8), r'uint8 of shape \(8, 8, 3\)'),
    (np.zeros((2, 8, 8, 4), np.uint8), r'uint8 of shape \(2, 8, 8, 4\)'),
  ],
)
def test_images_that_do_not_suit(images, got):
  with pytest.raises(ValueError, match=got):
    inception.prepare(images, 'tensorflow')
