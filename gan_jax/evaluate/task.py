"""What is measured of one generator, as the kinds of measuring take it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gan_jax import data
from gan_jax.evaluate import samples

if TYPE_CHECKING:
  from gan_jax.evaluate.measure import Settings


class Task(NamedTuple):
  """What is measured of one generator; fields as `evaluate` takes them.

  Attributes:
    sample: (seed, n) -> images.
    sample_class: (seed, n, label) -> images of a class; None without labels.
    dataset: the real images.
    split: of the data set.
    num_samples: in all.
    seeds: the seed and the number of this draw.
    settings: which net and metrics.
    alone: whether no other process takes part.
    known: of the real examples, from earlier tasks; added to.
    label: of the class that the images are of; None for all.
  """

  sample: samples.Sample
  sample_class: Callable[[int, int, int], np.ndarray] | None
  dataset: data.Dataset
  split: str
  num_samples: int
  seeds: list[int]
  settings: 'Settings'
  alone: bool
  known: dict[Any, Any]
  label: int | None = None


def real(task: Task) -> dict[str, str]:
  """What a protocol says of the real examples, and of how they were made."""
  fit = {'fit': task.dataset.fit} if task.dataset.fit else {}
  return {'real': f'{task.dataset.name}, split {task.split}', **fit}


def once(task: Task, name: Any, find: Callable[[], Any]) -> Any:
  """What is known of the real examples under a name, or else is found now."""
  if name not in task.known:
    task.known[name] = find()
  return task.known[name]
