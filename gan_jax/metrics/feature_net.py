"""What turns images into features, and what has to be said of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Output(NamedTuple):
  """What a feature net makes of a batch.

  Attributes:
    features: `[N, F]`, float32.
    logits: `[N, K]`, float32; None of a net that tells no classes apart.
  """

  features: jax.Array
  logits: jax.Array | None = None


class FeatureNet(NamedTuple):
  """A feature net with its weights.

  Attributes:
    name: which network and which of its layers; stands with every number.
    size: number of features, F.
    num_classes: number of logits, K; 0 without.
    apply: function `(params, images) -> Output`. Images are uint8
      `[N, H, W, C]`, what a PNG would hold, of any size that suits the net;
      those of 1 channel are grey. ValueError for images that do not suit.
    params: pytree of arrays, the first argument of `apply`.
    resize: how images are brought to the net's size, a name of
      `resize.METHODS`; '' where there is only one way.
    digest: SHA-256 of the weights; '' where they follow from the name.
    on_host: `apply` is numpy, not to be traced.
    batch_size: how many images at once it is fast at.
  """

  name: str
  size: int
  num_classes: int
  apply: Callable[[Any, Any], Output]
  params: Any
  resize: str = ''
  digest: str = ''
  on_host: bool = False
  batch_size: int = 64

  def protocol(self) -> dict[str, Any]:
    """What two numbers must share to be compared, as far as the net goes."""
    described = {'features': self.name, 'feature_size': self.size}
    if self.resize:
      described['resize'] = self.resize
    if self.digest:
      described['weights'] = self.digest[:16]
    return described
