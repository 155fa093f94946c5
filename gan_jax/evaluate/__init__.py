"""A sampler and a data set -> numbers, each with the protocol it was taken by.

Every distance stands beside its floor, real examples against other real ones
(at the same count), and is called by its features.
"""

from gan_jax.evaluate.lines import describe
from gan_jax.evaluate.measure import (
  Settings,
  evaluate,
  metrics_of,
  settings_of,
)

__all__ = ['Settings', 'describe', 'evaluate', 'metrics_of', 'settings_of']
