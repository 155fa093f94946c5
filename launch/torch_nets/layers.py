"""What several networks share: orthogonal starts and spectral normalization."""

import torch
from torch import nn


def orthogonal(layer: nn.Module) -> nn.Module:
  """The same layer, its weight drawn orthogonal with gain 1."""
  nn.init.orthogonal_(layer.weight)
  return layer


def spectral(layer: nn.Module, wanted: bool = True) -> nn.Module:
  """The same layer, its weight divided by its spectral norm if so wished.

  Keys become weight_orig, weight_u and weight_v; each forward call in training
  mode makes one power iteration.
  """
  return nn.utils.spectral_norm(layer) if wanted else layer


def logits(outputs: torch.Tensor) -> torch.Tensor:
  """`[B, 1]` to `[B]`."""
  return outputs[:, 0]
