"""Feature nets that need no file: averaged pixels, and a fit to digits."""

import numpy as np

from gan_jax.metrics import digits, pixels
from gan_jax.metrics.feature_net import FeatureNet, Output


def load(*, weights: str = '', resize: str = '', kind: str) -> FeatureNet:
  """Averaged pixels (`kind='pixels'`) or the digits net (`kind='digits'`).

  Raises:
    ValueError: weights or a way to resize are given; there is nothing to set.
  """
  for setting, value in (('weights', weights), ('resize', resize)):
    if value:
      raise ValueError(
        f'{setting}={value!r} must be left out for features={kind!r}, which '
        'has none to choose.'
      )
  return {'pixels': _pixels, 'digits': _digits}[kind]()


def _pixels():
  def apply(_, images):
    # Grey counts as a colour, so that the features are always as many.
    colour = np.repeat(images, 3 // images.shape[-1], axis=-1)
    return Output(_single(pixels.features(_to_float(colour))))

  size = 3 * pixels.SIZE**2
  return FeatureNet(
    pixels.NAME, size, 0, apply, (), on_host=True, batch_size=_BATCH_SIZE
  )


def _digits():
  net = digits.classifier()

  def apply(_, images):
    features = net.features(_to_float(images))
    logits = features @ net.weights[-1] + net.biases[-1]
    return Output(_single(features), _single(logits))

  size, classes = net.weights[-1].shape
  return FeatureNet(
    digits.NAME, size, classes, apply, (), on_host=True, batch_size=_BATCH_SIZE
  )


_BATCH_SIZE = 500


def _to_float(images):
  return np.asarray(images, np.float32) / 127.5 - 1


def _single(array):
  return np.asarray(array, np.float32)
