"""What every loader returns."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class DataError(ValueError):
  """An example cannot be read; says which one, of what, and why."""


class Dataset(NamedTuple):
  """A set of training examples.

  Attributes:
    name: the name it was loaded by.
    examples: images, uint8 `[N, H, W, C]`, or points, float32 `[N, F]`. A set
      too large for memory is a source instead: `len(examples)`, and
      `examples[i]` is `dict(image=uint8 [H, W, C], label=int)`, the label only
      where there is one.
    labels: int32 `[N]`, or None for unlabelled sets and sources.
    num_classes: how many classes, 0 when unlabelled.
    centres: `[M, 2]`, the modes of a mixture of Gaussians; None otherwise.
    std: their standard deviation; 0 where `centres` is None.
    fit: how images of other shapes were made squares, a name of
      `images.RESIZE`; '' where they are as stored.
  """

  name: str
  examples: np.ndarray | Sequence[dict[str, Any]]
  labels: np.ndarray | None = None
  num_classes: int = 0
  centres: np.ndarray | None = None
  std: float = 0.0
  fit: str = ''
