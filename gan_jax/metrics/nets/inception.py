"""FID's Inception-v3: the features that published FID, KID and IS are made of.

The weights are not ours to ship: they are the file that pytorch-fid and
torch-fidelity download, read from a path or from the user's cache.
"""

import functools
import pathlib
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
from gan_jax.metrics.nets import inception_blocks
from gan_jax.metrics.nets import inception_graph as graph

NETWORK = "FID's Inception-v3"
FILES = (
  'pt_inception-2015-12-05-6726825d.pth',
  'weights-inception-2015-12-05-6726825d.pth',
)
# Of pt_inception-2015-12-05-6726825d.pth, under whichever name.
SHA256 = '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2'
ORIGIN = 'pytorch-fid and torch-fidelity download it, under two names'
IMAGE_SIZE = 299
EPSILON = 1e-3  # of batch norm
RESIZE = 'tensorflow'

_STATISTICS = ('weight', 'bias', 'running_mean', 'running_var')
_TORCHVISION_CLASSES = 1000


def load(
  *, weights: str = '', resize: str = '', layer: int = 2048, exact: bool = True
) -> FeatureNet:
  """The network up to a layer, with its weights.

  Args:
    weights: file of a state dictionary with PyTorch's names; '' looks for the
      published one in the user's caches.
    resize: how images are brought to 299 x 299 pixels, a name of
      `resize.METHODS`; '' is 'tensorflow', what the original FID does.
    layer: 64 and 192 (the first and second max pool), 768 (what the auxiliary
      classifier would take) or 2048 (the last average pool). Each is averaged
      over pixels.
    exact: float32 products on all devices. Without it a GPU takes TF32 and a
      TPU bfloat16, which is faster and moves the features; the name says so.

  Returns:
    A net whose logits, of layer 2048 only, are those of the inception score:
    1008, without the last layer's bias, which the reference codes leave out.

  Raises:
    ValueError: no such layer or way to resize, or no usable weights.
  """
  if layer not in graph.LAYERS:
    known = ', '.join(map(str, graph.LAYERS))
    raise ValueError(f'layer={layer!r} is not one of {known}.')
  resize = resize or RESIZE
  resizing.check_method(resize)
  found = files.find(
    FILES, weights, SHA256, network=NETWORK, origin=ORIGIN, torch_hub=True
  )
  params = convert(torch_file.read(found.path), found.path, layer=layer)
  apply = functools.partial(
    _apply,
    resize=resize,
    layer=layer,
    precision=lax.Precision.HIGHEST if exact else lax.Precision.DEFAULT,
  )
  return FeatureNet(
    f'inception-v3-fid-{layer}' + '-inexact' * (not exact),
    layer,
    graph.CLASSES if 'fc' in params else 0,
    apply,
    params,
    resize,
    found.digest,
    batch_size=16 if jax.default_backend() == 'cpu' else 128,
  )


def expected() -> dict[str, tuple[int, ...]]:
  """PyTorch's names and shapes of all that the network has."""
  shapes = {}
  for name, (height, width, inputs, outputs) in graph.places():
    shapes[f'{name}.conv.weight'] = (outputs, inputs, height, width)
    shapes |= {f'{name}.bn.{key}': (outputs,) for key in _STATISTICS}
  shapes['fc.weight'] = (graph.CLASSES, max(graph.LAYERS))
  shapes['fc.bias'] = (graph.CLASSES,)
  return shapes


def convert(
  state: Mapping[str, np.ndarray], file: str | pathlib.Path, *, layer: int
) -> dict[str, Any]:
  """What `FeatureNet.apply` takes, from a state dictionary.

  Args:
    state: PyTorch's names and arrays. The auxiliary classifier and the counters
      of batch norm may be there and are not used.
    file: where they come from, for errors.
    layer: the last that is needed.

  Raises:
    ValueError: the weights are of another network or not usable; it names all
      entries that are amiss.
  """
  _check_classes(state, file)
  unused = [name for name in state if _is_unused(name)]
  state = files.checked(
    state, expected(), file=file, network=NETWORK, optional=unused
  )
  units = {
    place.name: fold(
      state[f'{place.name}.conv.weight'],
      *(state[f'{place.name}.bn.{key}'] for key in _STATISTICS),
    )
    for place in graph.places(layer)
  }
  params = inception_blocks.merge(units, graph.blocks(layer))
  if layer == max(graph.LAYERS):
    params['fc'] = np.ascontiguousarray(state['fc.weight'].T)
  return jax.tree.map(jnp.asarray, params)


def fold(
  weight: np.ndarray,
  scale: np.ndarray,
  shift: np.ndarray,
  mean: np.ndarray,
  variance: np.ndarray,
) -> dict[str, np.ndarray]:
  """A convolution that does what one and its batch norm in evaluation do.

  Args:
    weight: `[out, in, kh, kw]`.
    scale: of batch norm, as are the next three, `[out]`.
    shift: what is added.
    mean: running mean.
    variance: running variance.

  Returns:
    `kernel` [kh, kw, in, out] and `bias` [out], float32, computed in float64.
  """
  weight, scale, shift, mean, variance = (
    x.astype(np.float64) for x in (weight, scale, shift, mean, variance)
  )
  scale = scale / np.sqrt(variance + EPSILON)
  kernel = weight.transpose(2, 3, 1, 0) * scale
  bias = shift - mean * scale
  return {'kernel': kernel.astype(np.float32), 'bias': bias.astype(np.float32)}


def prepare(images: jax.Array, resize: str) -> jax.Array:
  """Images as the network takes them.

  Args:
    images: uint8 `[N, H, W, C]`, C 1 or 3.
    resize: a name of `resize.METHODS`.

  Returns:
    float32 `[N, 299, 299, 3]`: (x - 128) / 128, which never reaches 1, as in
    the original graph; with 'pytorch' 2 x / 255 - 1, as pytorch-fid has it.

  Raises:
    ValueError: images are of another type or shape.
  """
  shape = images.shape
  if images.dtype != np.uint8 or len(shape) != 4 or shape[-1] not in (1, 3):
    raise ValueError(
      f'{NETWORK} takes uint8 images [N, H, W, C] with 1 or 3 channels, got '
      f'{images.dtype} of shape {shape}.'
    )
  x = jnp.asarray(images, jnp.float32)
  x = resizing.resize(x, IMAGE_SIZE, resize)
  x = x * (2 / 255) - 1 if resize == 'pytorch' else (x - 128) / 128
  return jnp.broadcast_to(x, (*x.shape[:3], graph.CHANNELS))


def _apply(params, images, *, resize, layer, precision):
  x = prepare(images, resize)
  features = inception_blocks.forward(params, x, (layer,), precision)[layer]
  if 'fc' not in params:
    return Output(features)
  return Output(features, jnp.dot(features, params['fc'], precision=precision))


def _check_classes(state, file):
  weight = state.get('fc.weight')
  if weight is not None and weight.shape[:1] == (_TORCHVISION_CLASSES,):
    raise ValueError(
      f'{file} has {_TORCHVISION_CLASSES} classes: it is of an Inception-v3 '
      f'for ImageNet, as torchvision has it, not {NETWORK}, which has '
      f'{graph.CLASSES}. Numbers made with it are no FID; the file '
      f'is {FILES[0]}.'
    )


def _is_unused(name: str) -> bool:
  return name.startswith('AuxLogits.') or name.endswith('.num_batches_tracked')
