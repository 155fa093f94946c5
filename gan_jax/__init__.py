"""gan_jax: losses, regularizers and optimizers for two-player games in JAX."""

import os
from typing import Any

__version__ = '0.1.0'


def load(
  workdir: str | os.PathLike, *, averaged: bool = True, best: bool = False
) -> Any:
  """A finished run's sampler; see `gan_jax.generate.load` (extra `train`)."""
  # Imported here, so that the core works without the extra.
  from gan_jax import generate

  return generate.load(workdir, averaged=averaged, best=best)
