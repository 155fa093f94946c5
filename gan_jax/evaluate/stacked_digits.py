"""Stacked digits: which of the 1,000 modes samples reach."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gan_jax import data
from gan_jax.evaluate import samples
from gan_jax.evaluate import task as tasks
from gan_jax.metrics import classes, compare, nets, stacked

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


def check(settings: 'Settings') -> None:
  """Raises ValueError where metrics are asked for besides the modes."""
  asked = settings.comparison.metrics
  if asked != compare.Settings().metrics:
    raise ValueError(
      f'metrics={",".join(asked)!r} must be left out for stacked digits with '
      f'features={settings.features!r}, which count the modes covered '
      f'({METRIC!r}) and nothing else. For these metrics name features that '
      "are no classifier of digits, such as 'pixels'."
    )


def measure(task: tasks.Task) -> dict[str, Any]:
  """The entry `stacked_modes`, beside that of as many real images."""
  settings, count = task.settings, task.num_samples
  net = nets.load(
    settings.features or 'digits',
    weights=settings.weights,
    resize=settings.resize,
  )
  classify = stacked.classifier(net)
  shape = samples.image_shape(task.dataset)
  stream = samples.stream(task.sample, shape, count, task.seeds)
  fake = _modes((batch.images for batch in stream), classify)
  chosen = count, task.seeds[0]
  real = tasks.once(
    task,
    ('modes', net.name, net.digest, net.resize, *chosen),
    lambda: _modes(_real(task.dataset, *chosen), classify),
  )
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
    **tasks.real(task),
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
