"""A LeNet that was trained on MNIST: the yardstick for handwritten digits.

Two convolutions and three dense layers. It takes 32 x 32 pixels, the digits of
28 x 28 being enlarged and not padded.
"""

import functools
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax.metrics import resize as resizing
from gan_jax.metrics import torch_file
from gan_jax.metrics import weights as files
from gan_jax.metrics.feature_net import FeatureNet, Output

NETWORK = "MNIST's LeNet"
FILES = ('mnist-lenet-fair.npz',)
SHA256 = 'f32f52ab743aace2a1843665bcdb037398b1dcf30ec6939f9db95e3feaa68ed6'
ORIGIN = 'a LeNet-5 with 16 and 32 channels under an MIT licence'
IMAGE_SIZE = 32
RESIZE = 'pytorch'
FEATURES = 96
CLASSES = 10
SHAPES = {
  'conv1.weight': (16, 1, 5, 5),
  'conv1.bias': (16,),
  'conv2.weight': (32, 16, 5, 5),
  'conv2.bias': (32,),
  'fc1.weight': (128, 800),
  'fc1.bias': (128,),
  'fc2.weight': (FEATURES, 128),
  'fc2.bias': (FEATURES,),
  'fc3.weight': (CLASSES, FEATURES),
  'fc3.bias': (CLASSES,),
}


def load(*, weights: str = '', resize: str = '') -> FeatureNet:
  """The classifier with its weights; features are its last hidden layer.

  Args:
    weights: file with PyTorch's names, .npz or as `torch.save` writes it; ''
      looks for the known one in the user's cache.
    resize: how images are brought to 32 x 32, a name of `resize.METHODS`; '' is
      'pytorch', on which it was trained.

  Raises:
    ValueError: no such way to resize, or no usable weights.
  """
  resize = resize or RESIZE
  resizing.check_method(resize)
  found = files.find(FILES, weights, SHA256, network=NETWORK, origin=ORIGIN)
  params = convert(torch_file.read(found.path), found.path)
  return FeatureNet(
    f'mnist-lenet-{FEATURES}',
    FEATURES,
    CLASSES,
    functools.partial(_apply, resize=resize),
    params,
    resize,
    found.digest,
    batch_size=200,
  )


def convert(
  state: Mapping[str, np.ndarray], file: str | os.PathLike
) -> dict[str, Any]:
  """What `FeatureNet.apply` takes, layer by layer `kernel` and `bias`.

  Raises:
    ValueError: the weights are of another network or not usable.
  """
  state = files.checked(state, SHAPES, file=file, network=NETWORK)
  params = {}
  for name in SHAPES:
    layer, _, part = name.partition('.')
    # [out, in, h, w] becomes [h, w, in, out], and [out, in] [in, out].
    order = {'weight': (2, 3, 1, 0)[-state[name].ndim :], 'bias': (0,)}[part]
    key = {'weight': 'kernel', 'bias': 'bias'}[part]
    params.setdefault(layer, {})[key] = jnp.asarray(
      state[name].transpose(order)
    )
  return params


def prepare(images: jax.Array, resize: str) -> jax.Array:
  """Images as the network takes them, float32 `[N, 32, 32, 1]` in [-1, 1].

  Raises:
    ValueError: images are not uint8 `[N, H, W, 1]`.
  """
  shape = images.shape
  if images.dtype != np.uint8 or len(shape) != 4 or shape[-1] != 1:
    raise ValueError(
      f'{NETWORK} takes uint8 images [N, H, W, 1], grey ones, got '
      f'{images.dtype} of shape {shape}.'
    )
  return resizing.resize(images, IMAGE_SIZE, resize) / 127.5 - 1


def forward(params: Mapping[str, Any], x: jax.Array) -> Output:
  """Features and logits of images that are prepared."""
  for layer in ('conv1', 'conv2'):
    x = _halved(jax.nn.relu(_convolution(params[layer], x)))
  # PyTorch flattens with the channels first.
  x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
  for layer in ('fc1', 'fc2'):
    x = jax.nn.relu(_dense(params[layer], x))
  return Output(x, _dense(params['fc3'], x))


def _apply(params, images, *, resize):
  x = prepare(images, resize)
  # Elsewhere than on CPU products would not be in float32 by themselves.
  with jax.default_matmul_precision('highest'):
    return forward(params, x)


def _convolution(params, x):
  dimensions = ('NHWC', 'HWIO', 'NHWC')
  x = lax.conv_general_dilated(
    x, params['kernel'], (1, 1), 'VALID', dimension_numbers=dimensions
  )
  return x + params['bias'].reshape(1, 1, 1, -1)


def _dense(params, x):
  return x @ params['kernel'] + params['bias'].reshape(1, -1)


def _halved(x):
  """Largest of each 2 x 2 pixels."""
  n, h, w, c = x.shape
  return x.reshape(n, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))
