"""EfficientNet-Lite0 and MNIST's LeNet: the networks, and with their weights.

Without those, weights are drawn here and the networks are written once more:
the LeNet with scipy's correlation, the EfficientNet of Flax's own layers.
"""

import functools
import io
import math
import os
import pathlib
import zipfile
import zlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import signal

from gan_jax.metrics import frechet
from gan_jax.metrics.nets import efficientnet, lenet


@pytest.fixture
def data():
  """The folder with real data and weights."""
  root = os.environ.get('GAN_JAX_TEST_DATA')
  if not root:
    pytest.skip('GAN_JAX_TEST_DATA is not set: no weights and no images')
  return pathlib.Path(root)


def drawn(shapes):
  """Weights that keep the scale from layer to layer, none of them trivial."""
  state = {}
  for name, shape in shapes.items():
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    x = rng.standard_normal(shape)
    if name.endswith('running_var'):
      x = rng.uniform(0.001, 2, shape)
    elif len(shape) > 1:
      x *= math.sqrt(2 / math.prod(shape[1:]))
    state[name] = x.astype(np.float32)
  return state


def saved(folder, shapes):
  path = folder / 'drawn.npz'
  np.savez(path, **drawn(shapes))
  return str(path)


def images(*shape):
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def extract(net, images, batch_size):
  apply = jax.jit(net.apply)
  parts = [
    apply(net.params, images[i : i + batch_size])
    for i in range(0, len(images), batch_size)
  ]
  return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def lenet_by_scipy(state, x):
  """Features and logits of one image `[32, 32]` in [-1, 1], in float64."""
  x = x[None]
  for layer in ('conv1', 'conv2'):
    weight, bias = state[f'{layer}.weight'], state[f'{layer}.bias']
    y = [
      sum(map(functools.partial(signal.correlate2d, mode='valid'), x, kernels))
      for kernels in weight.astype(np.float64)
    ]
    x = np.maximum(np.stack(y) + bias[:, None, None], 0)
    corners = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    x = np.max(corners, axis=0)
  x = x.ravel()
  for layer in ('fc1', 'fc2'):
    x = np.maximum(state[f'{layer}.weight'] @ x + state[f'{layer}.bias'], 0)
  return x, state['fc3.weight'] @ x + state['fc3.bias']


def test_lenet_is_the_network_written_again(tmp_path):
  net = lenet.load(weights=saved(tmp_path, lenet.SHAPES))
  x = images(2, 32, 32, 1)
  actual = extract(net, x, 2)
  features, logits = zip(
    *(lenet_by_scipy(drawn(lenet.SHAPES), i / 127.5 - 1) for i in x[..., 0]),
    strict=True,
  )
  np.testing.assert_allclose(actual.features, features, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(actual.logits, logits, rtol=1e-4, atol=1e-4)
  assert (net.name, net.size, net.num_classes) == ('mnist-lenet-96', 96, 10)
  assert net.protocol()['resize'] == 'pytorch' and len(net.digest) == 64


@pytest.mark.parametrize('shape', [(3, 32, 32, 3), (3, 32, 32)])
def test_lenet_refuses_other_images(tmp_path, shape):
  net = lenet.load(weights=saved(tmp_path, lenet.SHAPES))
  with pytest.raises(ValueError, match=r'uint8 images \[N, H, W, 1\], grey'):
    net.apply(net.params, images(*shape))


def test_lenet_gives_the_stored_numbers(data):
  net = lenet.load(weights=str(data / 'features/mnist-lenet-fair.npz'))
  with np.load(data / 'features/mnist-lenet-fair-fixture.npz') as stored:
    actual = extract(net, stored['x32'][..., None], 64)
    np.testing.assert_allclose(actual.features, stored['features96'], atol=1e-4)
    np.testing.assert_allclose(actual.logits, stored['logits'], atol=1e-4)


@pytest.mark.slow
def test_lenet_on_the_test_set(data):
  """99.36 % and an inception score of 9.90 are what data/README.md has."""
  net = lenet.load(weights=str(data / 'features/mnist-lenet-fair.npz'))
  with np.load(data / 'mnist.npz') as mnist:
    x, y = mnist['x_test'][..., None], mnist['y_test']
  logits = extract(net, x, net.batch_size).logits
  assert np.mean(np.argmax(logits, axis=1) == y) == pytest.approx(0.9936)
  p = np.exp(np.float64(logits) - logits.max(axis=1, keepdims=True))
  p /= p.sum(axis=1, keepdims=True)
  divergence = np.sum(p * np.log(p / p.mean(axis=0, keepdims=True)), axis=1)
  assert np.exp(divergence.mean()) == pytest.approx(9.90, abs=0.005)


class PlainEfficientNet(nn.Module):
  """The network of Flax's layers; the table is that of the paper's authors."""

  @nn.compact
  def __call__(self, x):
    unit = lambda x, *a, **b: jnp.clip(self.unit(x, *a, **b), 0, 6)
    x = unit(x, '_conv_stem', '_bn0', 32, 3, 2)
    number = 0
    for repeats, k, s, expansion, size in [
      (1, 3, 1, 1, 16),
      (2, 3, 2, 6, 24),
      (2, 5, 2, 6, 40),
      (3, 3, 2, 6, 80),
      (3, 5, 1, 6, 112),
      (4, 5, 2, 6, 192),
      (1, 3, 1, 6, 320),
    ]:
      for repeat in range(repeats):
        at, y, inner = f'_blocks.{number}.', x, expansion * x.shape[-1]
        if expansion > 1:
          y = unit(y, f'{at}_expand_conv', f'{at}_bn0', inner, 1)
        stride = s if repeat == 0 else 1
        y = unit(
          y, f'{at}_depthwise_conv', f'{at}_bn1', inner, k, stride, inner
        )
        y = self.unit(y, f'{at}_project_conv', f'{at}_bn2', size, 1)
        x = x + y if repeat else y
        number += 1
    return unit(x, '_conv_head', '_bn1', 1280, 1).mean(axis=(1, 2))

  def unit(self, x, name, norm, size, kernel, stride=1, groups=1):
    square = (kernel, kernel)
    x = nn.Conv(
      size,
      square,
      stride,
      'SAME',
      feature_group_count=groups,
      use_bias=False,
      name=name,
    )(x)
    return nn.BatchNorm(True, epsilon=1e-3, name=norm)(x)


def plain_variables(state):
  variables = {'params': {}, 'batch_stats': {}}
  for key, array in state.items():
    layer, _, part = key.rpartition('.')
    collection, name = {
      'weight': ('params', 'kernel' if array.ndim == 4 else 'scale'),
      'bias': ('params', 'bias'),
      'running_mean': ('batch_stats', 'mean'),
      'running_var': ('batch_stats', 'var'),
    }[part]
    value = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    variables[collection].setdefault(layer, {})[name] = value
  return variables


@pytest.mark.slow
def test_efficientnet_is_the_network_written_again(tmp_path):
  """Odd sizes, where padding is not the same on both sides."""
  state = drawn(efficientnet.expected())
  path = saved(tmp_path, efficientnet.expected())
  x = images(2, 45, 45, 3)
  net = efficientnet.load(weights=path, image_size=45)
  actual = extract(net, x, 2).features
  plain = PlainEfficientNet()
  expected = jax.jit(plain.apply)(
    plain_variables(state), (x.astype(np.float32) - 127) / 128
  )
  assert net.name == 'efficientnet-lite0-45-1280' and actual.shape[1] == 1280
  assert np.std(expected, axis=0).mean() > 0.01  # the weights say something
  np.testing.assert_allclose(actual, expected, atol=1e-4 * np.max(expected))


def test_efficientnet_has_the_published_size():
  """4.65 million with the classifier (of 1,000 classes), the authors say."""
  learnt = [
    math.prod(shape)
    for name, shape in efficientnet.expected().items()
    if not name.endswith(('running_mean', 'running_var'))
  ]
  assert round((sum(learnt) + 1281 * 1000) / 1e6, 3) == 4.652
  assert len(efficientnet.blocks()) == 16


def test_efficientnet_sees_grey_as_a_colour():
  grey = images(1, 12, 12, 1)
  actual = efficientnet.prepare(grey, 12, 'clean')
  expected = (np.repeat(grey, 3, axis=-1) - 127.0) / 128
  np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize(
  'x', [images(2, 8, 8, 4), images(8, 8, 3), np.zeros((2, 8, 8, 3), np.float32)]
)
def test_efficientnet_refuses_other_images(x):
  with pytest.raises(ValueError, match=r'uint8 images .* 1 or 3 channels, got'):
    efficientnet.prepare(x, 96, 'clean')


@pytest.mark.parametrize('room', [lenet, efficientnet])
def test_bad_settings(tmp_path, room):
  with pytest.raises(ValueError, match=r"resize='area' is not one of"):
    room.load(weights='', resize='area')
  with pytest.raises(ValueError, match=rf'does not exist; .* {room.NETWORK}'):
    room.load(weights=str(tmp_path / 'none'))
  other = {lenet: efficientnet.expected(), efficientnet: lenet.SHAPES}[room]
  with pytest.raises(ValueError, match=f'another network than {room.NETWORK}'):
    room.load(weights=saved(tmp_path, other))


def test_efficientnet_refuses_small_sizes():
  with pytest.raises(ValueError, match=r'image_size=16 is less than 32'):
    efficientnet.load(image_size=16)


@pytest.mark.slow
def test_efficientnet_gives_the_stored_numbers(data):
  """To 1 %: the weights are in half precision, the numbers were not."""
  path = data / 'features/efficientnet-lite0-trunk-f16.npz'
  net = efficientnet.load(weights=str(path), image_size=128)
  with np.load(data / 'features/efficientnet-lite0-fixture.npz') as stored:
    x, expected = stored['cifar_u8'], stored['features1280']
    prepared = efficientnet.prepare(x, 128, 'pytorch')
    np.testing.assert_allclose(
      prepared, stored['x128_nchw'].transpose(0, 2, 3, 1), atol=1e-6
    )
  off = extract(net, x, 4).features - expected
  assert np.all(
    np.linalg.norm(off, axis=1) < 0.01 * np.linalg.norm(expected, axis=1)
  )


@pytest.mark.slow
def test_efficientnet_distance_of_real_images(data):
  """Of 2,000 CIFAR images and the 2,000 behind them; data/README.md has it."""
  net = efficientnet.load(
    weights=str(data / 'features/efficientnet-lite0-trunk-f16.npz')
  )
  with zipfile.ZipFile(data / 'cifar10-lossless-train0.zip') as archive:
    strips = [archive.read(f'strip_{i:03}.webp') for i in range(8)]
  pictures = [Image.open(io.BytesIO(strip)).convert('RGB') for strip in strips]
  x = np.concatenate([np.reshape(p, (-1, 32, 32, 3)) for p in pictures])
  features = extract(net, x, net.batch_size).features
  actual = frechet.distance(features[:2000], features[2000:4000])
  assert actual == pytest.approx(191.8, abs=0.1)
