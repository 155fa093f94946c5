"""What the benchmarks train: configs, and how many steps of each are timed."""

from typing import NamedTuple

import ml_collections

from configs import celebahq, cifar10_landscape
from gan_jax import defaults


def dc() -> ml_collections.ConfigDict:
  """The pair of the papers on competitive regularization."""
  config = defaults.get_config()
  config.generator = config.discriminator = dict(name='dc')
  return config


def lazy() -> ml_collections.ConfigDict:
  """A critic that pays R1 in every fourth step."""
  config = cifar10_landscape.get_config('cnn,rs,quarter')
  config.penalties.r1, config.lazy = 5.0, 4
  return config


def residual(
  words: str, *, batch_size: int, width: int = 0
) -> ml_collections.ConfigDict:
  """The residual pair with R1 in every step, of configs/celebahq.py.

  Args:
    words: argument of that config.
    batch_size: of real images.
    width: of both networks, where it is not to be the config's own.
  """
  config = celebahq.get_config(words)
  config.batch_size = batch_size
  if width:
    config.generator.width = config.discriminator.width = width
  return config


class TorchRow(NamedTuple):
  """A config that is timed beside PyTorch.

  Attributes:
    config: what is trained.
    required: smallest ratio to PyTorch's eager step on CPU; None: not there.
    count: steps a round on CPU; a multiple of `config.lazy`, as the next.
    count_gpu: steps a round on a GPU.
  """

  config: ml_collections.ConfigDict
  required: float | None
  count: int
  count_gpu: int = 100

  @property
  def dtype(self) -> str:
    """That most products are computed in."""
    return self.config.generator.get('dtype', 'float32')


def torch_rows() -> dict[str, TorchRow]:
  """What is timed beside PyTorch, by name."""
  landscape = cifar10_landscape.get_config
  return dict(
    torch_cnn_full=TorchRow(landscape('cnn,rs,full'), 0.6, 4),
    torch_cnn_quarter=TorchRow(landscape('cnn,rs,quarter'), 0.6, 20),
    torch_dc=TorchRow(dc(), 0.9, 20),
    torch_resnet_full=TorchRow(landscape('resnet,rs_hinge,full'), None, 0, 20),
    torch_residual_64=TorchRow(
      residual('64', batch_size=8, width=8), 0.6, 4, 20
    ),
    # A third of the published batch: both sides are in memory at once.
    torch_residual_1024=TorchRow(
      residual('1024,bf16', batch_size=8), None, 0, 16
    ),
  )
