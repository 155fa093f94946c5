"""Feature nets by name.

A net's file is read when it is asked for, and its weights with it.
"""

import functools
import importlib
from collections.abc import Callable
from typing import NamedTuple

from gan_jax.metrics.feature_net import FeatureNet


class _Row(NamedTuple):
  """A net.

  Attributes:
    file: the room that loads it.
    options: of its `load`.
    what: for a person who chooses one.
  """

  file: str
  options: dict
  what: str


NETS = {
  'pixels': _Row(
    'plain', dict(kind='pixels'), 'averages of 8 x 8 cells; no weights'
  ),
  'digits': _Row(
    'plain',
    dict(kind='digits'),
    'fitted to small digits on first use; no weights',
  ),
  **{
    f'inception{suffix}': _Row(
      'inception', dict(layer=layer), f'Inception-v3 of FID, layer of {layer}'
    )
    for suffix, layer in (('', 2048), ('-768', 768), ('-192', 192), ('-64', 64))
  },
  'efficientnet-lite0': _Row('efficientnet', {}, 'ImageNet, 1,280 features'),
  'mnist-lenet': _Row('lenet', {}, 'handwritten digits of MNIST'),
}


def load(name: str, *, weights: str = '', resize: str = '') -> FeatureNet:
  """A feature net with its weights.

  Args:
    name: a row of `NETS`.
    weights: file of its weights; '' looks in the user's cache. Nets without
      weights of their own refuse one.
    resize: how images are brought to its size, a name of `resize.METHODS`; ''
      is the net's own way.

  Raises:
    ValueError: no such net, no such way, or no usable weights.
  """
  if name not in NETS:
    raise ValueError(f'features={name!r} is not one of {sorted(NETS)}.')
  return _load(name, weights, resize)


@functools.lru_cache(maxsize=2)
def _load(name, weights, resize):
  row = NETS[name]
  room = importlib.import_module(f'{__name__}.{row.file}')
  loader: Callable[..., FeatureNet] = room.load
  return loader(weights=weights, resize=resize, **row.options)
