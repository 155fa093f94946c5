"""Which of the 1,000 modes of stacked digits samples reach.

Each channel of an image is classified by itself, and the three digits make its
mode: 100 r + 10 g + b.

References:
  Metz et al., Unrolled Generative Adversarial Networks, 2017, section 3.3.1;
  Lin et al., PacGAN, 2018, section 4.2 (its code draws 26,000 samples).
"""

from collections.abc import Callable

import jax
import numpy as np

from gan_jax.metrics import classes
from gan_jax.metrics.feature_net import FeatureNet

NUM_DIGITS = 10
CHANNELS = 3
NUM_MODES = NUM_DIGITS**CHANNELS

Classify = Callable[[np.ndarray], np.ndarray]


def mode_counts(
  images: np.ndarray, classify: Classify, *, minimum: int = 1
) -> classes.Classes:
  """Counts the modes that images reach.

  Args:
    images: uint8 `[N, H, W, 3]`.
    classify: grey images, uint8 `[N, H, W, 1]`, to digits, int `[N]`; 10 and
      beyond stand for no digit.
    minimum: samples that a mode needs to be covered.

  Returns:
    The modes; `no_class` are the images with a channel that is no digit.

  Raises:
    ValueError: the images or what `classify` makes of them have another shape.
  """
  return classes.tally(labels(images, classify), NUM_MODES, minimum=minimum)


def labels(images: np.ndarray, classify: Classify) -> np.ndarray:
  """The mode of each image, int `[N]`; 1,000 if a channel is no digit.

  For images that come in batches: join the labels, then `classes.tally`.
  Arguments and errors are those of `mode_counts`.
  """
  if (
    images.ndim != 4 or images.shape[-1] != CHANNELS or images.dtype != np.uint8
  ):
    raise ValueError(
      f'Stacked digits must be uint8 [N, H, W, {CHANNELS}], got {images.dtype} '
      f'of shape {images.shape}.'
    )
  digits = [
    _checked(classify(images[..., c : c + 1]), len(images))
    for c in range(CHANNELS)
  ]
  found = np.stack(digits, axis=-1)
  powers = NUM_DIGITS ** np.arange(CHANNELS)[::-1]
  no_digit = np.any(found >= NUM_DIGITS, axis=-1)
  return np.where(no_digit, NUM_MODES, found @ powers)


def classifier(net: FeatureNet) -> Classify:
  """The likeliest class by a feature net with logits, for `mode_counts`.

  Returns:
    A function of uint8 images `[N, H, W, C]`, in batches of the net's size.

  Raises:
    ValueError: the net tells fewer than ten classes apart.
  """
  if net.num_classes < NUM_DIGITS:
    raise ValueError(
      f'features={net.name!r} tells {net.num_classes} classes apart; digits '
      f'need a classifier of {NUM_DIGITS} or more.'
    )
  apply = net.apply if net.on_host else jax.jit(net.apply)

  def classify(images):
    # Every batch is full, so that the net is compiled once.
    padding = -len(images) % net.batch_size
    padded = np.concatenate([images, np.repeat(images[:1], padding, axis=0)])
    found = [
      _argmax(apply(net.params, padded[first : first + net.batch_size]).logits)
      for first in range(0, len(padded), net.batch_size)
    ]
    return np.concatenate(found)[: len(images)]

  return classify


def _argmax(logits):
  logits = np.asarray(logits)
  if not np.isfinite(logits).all():
    raise ValueError('The classifier gave logits that are NaN or infinite.')
  return np.argmax(logits, axis=-1)


def _checked(digits, count):
  digits = np.asarray(digits)
  if digits.shape != (count,) or digits.dtype.kind not in 'iu':
    raise ValueError(
      f'The classifier gave {digits.dtype} of shape {digits.shape} for {count} '
      'images; it must give a whole number for each.'
    )
  if digits.size and digits.min() < 0:
    raise ValueError(f'The classifier gave the digit {digits.min()}.')
  return digits
