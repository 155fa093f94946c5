"""How many operations the products of a training step in PyTorch take."""

import ml_collections
from torch.utils import _python_dispatch, flop_counter

from launch import torch_steps


class Counter(_python_dispatch.TorchDispatchMode):
  """Adds up what PyTorch's own formulas say of every product.

  `FlopCounterMode` does the same by module, and cannot where a gradient is
  differentiated.
  """

  def __init__(self):
    super().__init__()
    self.flops = 0

  def __torch_dispatch__(self, func, types, args=(), kwargs=None):
    out = func(*args, **(kwargs or {}))
    formula = flop_counter.flop_registry.get(func._overloadpacket)
    if formula is not None:
      self.flops += formula(*args, **(kwargs or {}), out_val=out)
    return out


def flops(config: ml_collections.ConfigDict) -> float:
  """Of the products in one step, mean over those with and without penalties.

  By PyTorch's own formulas, second derivatives too; nothing is computed.
  """
  trainer = torch_steps.Trainer(config, 'meta')
  with Counter() as counter:
    for _ in range(config.lazy):
      trainer.step()
  return counter.flops / config.lazy
