"""Networks by name: Linen modules without any loss or optimizer inside.

A module is a frozen description. `initialize(module, key)`, or
`module.init(key, *module.example_inputs())`, makes its variables:

  params       what the player moves
  batch_stats  running statistics of batch norm
  spectral     vectors of spectral norm, read-only in `apply`

Generators map latents `[B, z_size]` to data, images `[B, H, W, C]` in [-1, 1];
discriminators map data to logits `[B]`. All are called as
`module.apply(variables, x, labels=None, train=False)`, with
`mutable=('batch_stats',)` where `train` is true.
"""

from typing import Any

import flax.linen as nn
import jax

from gan_jax.models import (
  cnn,
  cnn256,
  dc,
  mlp,
  mnist,
  modern,
  options,
  residual,
  resnet,
)
from gan_jax.models.from_torch import from_torch, to_torch
from gan_jax.models.spectral import power_iteration

__all__ = [
  'DISCRIMINATORS',
  'GENERATORS',
  'discriminator',
  'from_torch',
  'generator',
  'initialize',
  'power_iteration',
  'to_torch',
]

GENERATORS = {
  'cnn': cnn.Generator,
  'cnn256': cnn256.Generator,
  'dc': dc.Generator,
  'mlp': mlp.Generator,
  'mnist': mnist.Generator,
  'modern': modern.Generator,
  'residual': residual.Generator,
  'resnet': resnet.Generator,
}
DISCRIMINATORS = {
  'cnn': cnn.Discriminator,
  'cnn256': cnn256.Discriminator,
  'dc': dc.Discriminator,
  'mlp': mlp.Discriminator,
  'mnist': mnist.Discriminator,
  'modern': modern.Discriminator,
  'residual': residual.Discriminator,
  'resnet': resnet.Discriminator,
}


def generator(name: str, **settings: Any) -> nn.Module:
  """The generator of that name, with `z_size` and `example_inputs()`.

  Raises:
    ValueError: unknown name or option (all are listed), or a wrong value.
  """
  return options.build(GENERATORS, name, settings)


def discriminator(name: str, **settings: Any) -> nn.Module:
  """The discriminator of that name, with `example_inputs()`.

  Raises:
    ValueError: unknown name or option (all are listed), or a wrong value.
  """
  return options.build(DISCRIMINATORS, name, settings)


def initialize(module: nn.Module, key: jax.Array) -> dict[str, Any]:
  """Fresh variables of a module, compiled as one program."""
  return jax.jit(module.init)(key, *module.example_inputs())
