"""Digits and MNIST: real images, a small dense pair, and a judge."""

import itertools
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax
from jax import numpy as jnp

from gan_jax import data
from gan_jax.metrics import digits, frechet
from gan_jax.models import mlp

NUM_CLASSES = 10
Judge = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


class Task(NamedTuple):
  """What is played on.

  Attributes:
    name: of the data.
    images: `[N, S, S, 1]` in [-1, 1].
    labels: 0 to 9, `[N]`.
    generator: a Linen module.
    critic: a Linen module.
    batch_size: of real images, and of generated ones.
    judge: images -> features `[B, F]` and logits `[B, 11]`, "no digit" last.
    reference: moments of the features of `count` real images.
    floor: their distance to `count` others, or as many as there are.
    count: how many samples are judged.
    accuracy: of the judge, on images it was not fitted on.
  """

  name: str
  images: jax.Array
  labels: np.ndarray
  generator: nn.Module
  critic: nn.Module
  batch_size: int
  judge: Judge
  reference: frechet.Moments
  floor: float
  count: int
  accuracy: float


def has_mnist(data_dir: str | None) -> bool:
  """Whether a folder of prepared data sets holds MNIST."""
  return bool(data_dir) and (pathlib.Path(data_dir) / 'mnist').is_dir()


def load_digits() -> Task:
  """scikit-learn's digits, 8 x 8, and the classifier of the metrics."""
  dataset = data.load('digits', image_size=8)
  fitted = digits.classifier()
  layers = [
    (jnp.asarray(w, jnp.float32), jnp.asarray(b, jnp.float32))
    for w, b in zip(fitted.weights, fitted.biases, strict=True)
  ]
  return _task(dataset, _dense_judge(layers), fitted.accuracy, 64, 898)


def load_mnist(data_dir: str) -> Task:
  """MNIST, 28 x 28, and a classifier fitted here on the training images."""
  dataset = data.load('mnist', data_dir=data_dir)
  held_out = data.load('mnist', data_dir=data_dir, split='test')
  layers = fit_classifier(dataset.examples, dataset.labels)
  judge = _dense_judge(layers)
  correct = [
    np.argmax(judge(data.to_float(images))[1], axis=1) == labels
    for images, labels in zip(
      np.array_split(held_out.examples, 10),
      np.array_split(held_out.labels, 10),
      strict=True,
    )
  ]
  accuracy = float(np.mean(np.concatenate(correct)))
  return _task(dataset, judge, accuracy, 128, 2000)


def _task(dataset, judge, accuracy, width, count):
  images = jnp.asarray(data.to_float(dataset.examples))
  shape = images.shape[1:]
  order = np.random.default_rng(0).permutation(len(images))
  halves = [order[:count], order[count : 2 * count]]
  reference, other = (
    frechet.moments(judge(images[half])[0]) for half in halves
  )
  floor = frechet.frechet_distance(
    other.mean, other.covariance, reference.mean, reference.covariance
  )
  common = dict(features=(width, width), data_shape=shape)
  return Task(
    dataset.name,
    images,
    np.asarray(dataset.labels),
    mlp.Generator(z_size=16, output='tanh', **common),
    mlp.Discriminator(**common),
    32,
    judge,
    reference,
    floor,
    count,
    accuracy,
  )


def held_latents(task: Task) -> jax.Array:
  """The latents that every generator is judged by, `[count, Z]`."""
  return jax.random.normal(
    jax.random.key(2020), (task.count, task.generator.z_size)
  )


def _dense_judge(layers) -> Judge:
  def judge(images):
    x = jnp.clip(images.reshape(len(images), -1), -1, 1)
    for weight, bias in layers[:-1]:
      x = jax.nn.relu(x @ weight + bias[None])
    weight, bias = layers[-1]
    return x, x @ weight + bias[None]

  return judge


def fit_classifier(
  images: np.ndarray,
  labels: np.ndarray,
  *,
  features: tuple[int, ...] = (128, 64),
  num_steps: int = 3000,
  batch_size: int = 256,
  seed: int = 0,
) -> list[tuple[jax.Array, jax.Array]]:
  """Fits a dense classifier of the ten digits and of "no digit".

  A quarter of each batch is no digit: noise, plain tones, and digits whose
  pixels changed places; else noise would be spread over all ten.

  Args:
    images: uint8 `[N, S, S, 1]`.
    labels: `[N]`, 0 to 9.
    features: widths of the hidden layers; the last are the features.
    num_steps: of Adam, its rate falling to zero.
    batch_size: of a step; a multiple of 12.
    seed: of the weights and the batches.

  Returns:
    Weights and biases, a pair a layer.
  """
  flat = jnp.asarray(images).reshape(len(images), -1)
  sizes = (flat.shape[1], *features, NUM_CLASSES + 1)
  key, start = jax.random.split(jax.random.key(seed))
  params = [
    (
      jax.random.normal(jax.random.fold_in(start, i), (a, b)) * (2 / a) ** 0.5,
      jnp.zeros(b),
    )
    for i, (a, b) in enumerate(itertools.pairwise(sizes))
  ]
  optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, num_steps))

  def loss(params, x, y):
    logits = _dense_judge(params)(x)[1]
    each = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return jnp.mean(each)

  def step(i, carry, flat, labels):
    x, y = _judged_batch(jax.random.fold_in(key, i), flat, labels, batch_size)
    grads = jax.grad(loss)(carry[0], x, y)
    updates, state = optimizer.update(grads, carry[1], carry[0])
    return optax.apply_updates(carry[0], updates), state

  @jax.jit
  def fit(params, flat, labels):
    body = lambda i, carry: step(i, carry, flat, labels)
    carry = params, optimizer.init(params)
    return jax.lax.fori_loop(0, num_steps, body, carry)[0]

  return fit(params, flat, jnp.asarray(labels))


def _judged_batch(key, flat, labels, batch_size):
  """Noisy digits, and images of nothing: `[B, P]` and `[B]`."""
  keys = jax.random.split(key, 6)
  third = batch_size // 12
  chosen = jax.random.randint(keys[0], (batch_size - 2 * third,), 0, len(flat))
  x = jnp.take(flat, chosen, axis=0).astype(jnp.float32) / 127.5 - 1
  level = jax.random.uniform(keys[1], (len(x), 1), maxval=0.3)
  x = x + level * jax.random.normal(keys[2], x.shape)
  mixed = jax.random.permutation(keys[3], x[:third], axis=1, independent=True)
  noise = jax.random.uniform(keys[4], mixed.shape, minval=-1.0)
  tones = jax.random.uniform(keys[5], (third, 1), minval=-1.0)
  tones = jnp.broadcast_to(tones, mixed.shape) + 0.2 * noise
  # The scrambled ones stay among the digits unscrambled too.
  x = jnp.concatenate([x[third:], mixed, noise, tones])
  y = jnp.concatenate(
    [labels[chosen][third:], jnp.full(3 * third, NUM_CLASSES, labels.dtype)]
  )
  return x, y
