"""A small classifier of scikit-learn's handwritten digits: a feature net.

It is fitted on first use, in a second or two, so it needs no file and no
download. scikit-learn fits it on the host in float64: the features are then the
same whatever accelerator the images were made on.
"""

import functools
from typing import NamedTuple

import numpy as np
import threadpoolctl
from sklearn import datasets, model_selection, neural_network

from gan_jax.metrics import pixels

NAME = 'digits-mlp-64'
NUM_CLASSES = 10
# The eleventh class. Without it noise is spread over all ten digits, and a
# generator that learnt nothing would cover them.
NO_DIGIT = 10
SIZE = 8
HELD_OUT = 0.2
SEED = 0


class Classifier(NamedTuple):
  """Two hidden layers of rectified units, fitted.

  Attributes:
    weights: one matrix a layer: `[64, 128]`, `[128, 64]`, `[64, 11]`.
    biases: one vector a layer.
    accuracy: on the held-out fifth of the digits, "no digit" being an error.
  """

  weights: tuple[np.ndarray, ...]
  biases: tuple[np.ndarray, ...]
  accuracy: float

  def features(self, images: np.ndarray) -> np.ndarray:
    """Activations before the last layer, `[N, 64]`.

    Args:
      images: `[N, S, S, 1]` in [-1, 1], S any size from 8; averaged to 8 x 8.

    Raises:
      ValueError: if the images have another shape.
    """
    x = _prepared(images)
    for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
      x = np.maximum(x @ weight + bias, 0)
    return x

  def logits(self, images: np.ndarray) -> np.ndarray:
    """`[N, 11]`: the ten digits, then "no digit"."""
    return self.features(images) @ self.weights[-1] + self.biases[-1]

  def labels(self, images: np.ndarray) -> np.ndarray:
    """The likeliest class, int `[N]`, `NO_DIGIT` for what is none."""
    return np.argmax(self.logits(images), axis=1)


def split() -> tuple[np.ndarray, np.ndarray]:
  """Indices into the digits: the 80 % fitted on, the 20 % held out."""
  labels = datasets.load_digits().target
  fit, held_out = model_selection.train_test_split(
    np.arange(len(labels)),
    test_size=HELD_OUT,
    stratify=labels,
    random_state=SEED,
  )
  return fit, held_out


@functools.cache
def classifier(*, epochs: int = 30) -> Classifier:
  """Fits the classifier once a process; the same numbers every time."""
  digits = datasets.load_digits()
  images = digits.images[..., None] / 8 - 1  # stored as 0 to 16
  fit, held_out = split()
  x, y = _augmented(images[fit], digits.target[fit])
  model = neural_network.MLPClassifier(
    (128, 64), alpha=1e-3, batch_size=128, random_state=SEED
  )
  # One thread: these products are tiny, and several BLAS threads on a busy
  # machine wait for each other (39 s instead of 2 were seen).
  with threadpoolctl.threadpool_limits(1):
    for _ in range(epochs):
      model.partial_fit(x, y, classes=np.arange(NUM_CLASSES + 1))
  fitted = Classifier(tuple(model.coefs_), tuple(model.intercepts_), 0.0)
  correct = fitted.labels(images[held_out]) == digits.target[held_out]
  return fitted._replace(accuracy=float(np.mean(correct)))


def _prepared(images):
  images = np.asarray(images)
  if images.ndim != 4 or images.shape[1] != images.shape[2]:
    raise ValueError(
      f'Digits must be square images [N, S, S, 1], got shape {images.shape}.'
    )
  if images.shape[-1] != 1:
    raise ValueError(f'Digits have 1 channel, got {images.shape[-1]}.')
  small = pixels.area_average(images, SIZE).reshape(len(images), -1)
  return np.clip(small, -1, 1)


def _augmented(images, labels):
  """Moved, blurred and noisy copies, and images of nothing: `[M, 64]`, `[M]`.

  Generated digits are never as clean as scanned ones.
  """
  rng = np.random.default_rng(SEED)
  steps = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
  copies = [_moved(images, *step) for step in steps] + [_blurred(images)]
  x = np.concatenate(copies)
  x = x + rng.uniform(0, 0.3, (len(x), 1, 1, 1)) * rng.standard_normal(x.shape)
  nothing = _no_digits(images, rng)
  y = np.concatenate(
    [np.tile(labels, len(copies)), np.full(len(nothing), NO_DIGIT)]
  )
  x = np.clip(np.concatenate([x, nothing]), -1, 1)
  return x.reshape(len(x), -1), y


def _no_digits(images, rng):
  """Noise, plain tones, soft blobs, and digits whose pixels changed places."""
  count = len(images) // 2
  shape = (count, SIZE, SIZE, 1)
  noise = rng.uniform(-1, 1, shape)
  tones = rng.uniform(-1, 1, (count, 1, 1, 1)) + rng.uniform(
    0, 0.3, (count, 1, 1, 1)
  ) * rng.standard_normal(shape)
  coarse = rng.uniform(-1, 1, (count, SIZE // 2, SIZE // 2, 1))
  blobs = _blurred(coarse.repeat(2, axis=1).repeat(2, axis=2))
  shuffled = rng.permuted(images.reshape(len(images), -1), axis=1)
  return np.concatenate([noise, tones, blobs, shuffled[:count].reshape(shape)])


def _moved(images, down, right):
  padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-1)
  return padded[:, 1 - down : SIZE + 1 - down, 1 - right : SIZE + 1 - right]


def _blurred(images):
  """The binomial filter (1, 2, 1) / 4 along both sides."""
  for axis in (1, 2):
    padding = [(1, 1) if i == axis else (0, 0) for i in range(4)]
    x = np.moveaxis(np.pad(images, padding, mode='edge'), axis, 0)
    images = np.moveaxis((x[:-2] + 2 * x[1:-1] + x[2:]) / 4, 0, axis)
  return images
