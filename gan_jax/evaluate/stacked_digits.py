"""Stacked digits: which of the 1,000 modes samples reach."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gan_jax import data
from gan_jax.evaluate import samples
from gan_jax.metrics import classes, nets, stacked

if TYPE_CHECKING:
  from gan_jax.evaluate.measure import Settings

NAMES = ('stacked_digits', 'stacked_mnist')
# Nets that tell digits apart.
CLASSIFIERS = ('digits', 'mnist-lenet')
METRIC = 'stacked_modes'


def suits(dataset: data.Dataset, settings: 'Settings') -> bool:
  """Whether modes are counted: of these sets, unless by another net."""
  own = dataset.name == NAMES[0] and not settings.features
  return dataset.name in NAMES and (own or settings.features in CLASSIFIERS)


def measure(
  sample: samples.Sample,
  dataset: data.Dataset,
  num_samples: int,
  seeds: list[int],
  settings: 'Settings',
) -> dict[str, Any]:
  """The entry `stacked_modes`, beside that of as many real images."""
  net = nets.load(
    settings.features or 'digits',
    weights=settings.weights,
    resize=settings.resize,
  )
  classify = stacked.classifier(net)
  shape = samples.image_shape(dataset)
  stream = samples.stream(sample, shape, num_samples, seeds)
  fake = _modes((batch.images for batch in stream), classify)
  real = _modes(_real(dataset, num_samples, seeds[0]), classify)
  entry = classes.beside_real(fake, real)
  entry |= {
    'value': entry['covered'],
    'real_against_real': entry['covered_real'],
  }
  entry['protocol'] |= {
    'classifier': net.name,
    **({'resize': net.resize} if net.resize else {}),
    **({'weights': net.digest[:16]} if net.digest else {}),
    'image_shape': list(shape),
    'real': dataset.name,
    'count_reference': real.count,
  }
  return {METRIC: entry}


def _modes(batches: Iterator[np.ndarray], classify):
  labels = [stacked.labels(images, classify) for images in batches]
  return classes.tally(np.concatenate(labels), stacked.NUM_MODES)


def _real(dataset, count, seed) -> Iterator[np.ndarray]:
  """As many real images, at random; some come twice if there are fewer."""
  rng = np.random.default_rng(seed)
  chosen = rng.choice(
    len(dataset.examples), count, replace=count > len(dataset.examples)
  )
  return (images for images, _ in data.scan(data.subset(dataset, chosen)))


def describe(entry: dict[str, Any]) -> list[str]:
  """The entry as lines for a terminal."""
  number = lambda key: '-' if entry[key] is None else f'{entry[key]:.4f}'
  name = entry['protocol']['classifier']
  draws = entry.get('draws', ())
  spread = f' +- {entry["std_over_draws"]:.2g}' if draws else ''
  first = [f'the first of {len(draws)} draws:'] if draws else []
  return [
    f'modes covered: {entry["value"]:g}{spread}/{entry["total"]} (as many real '
    f'images: {entry["covered_real"]}; evenly drawn: '
    f'{entry["covered_expected"]:.1f})',
    *first,
    f'KL of the histogram to uniform: {number("kl_to_uniform")} (real: '
    f'{number("kl_to_uniform_real")}; evenly drawn: '
    f'{number("kl_to_uniform_expected")})',
    f'samples with a channel that is no digit: {entry["no_class"]} (real: '
    f'{entry["no_class_real"]}); by classifier {name}',
  ]
