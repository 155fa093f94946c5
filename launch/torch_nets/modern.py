"""The modern residual pair: grouped bottleneck blocks, nothing normalized.

Blocks are called block_K_I, K counting resolutions from 4x4 up, I the blocks at
one.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from launch.torch_nets import layers

GAIN = math.sqrt(2 / 1.04)  # of a leaky ReLU with slope 0.2


class Block(nn.Module):
  """Two activations inside the branch, none outside."""

  def __init__(self, channels, expansion, group_size, depth):
    super().__init__()
    hidden = channels * expansion
    self.conv1 = nn.Conv2d(channels, hidden, 1)
    self.conv2 = nn.Conv2d(
      hidden, hidden, 3, padding=1, groups=hidden // group_size
    )
    self.conv3 = nn.Conv2d(hidden, channels, 1, bias=False)
    for conv in (self.conv1, self.conv2):
      _normal(conv, GAIN / depth**0.25)
      nn.init.zeros_(conv.bias)
    nn.init.zeros_(self.conv3.weight)

  def forward(self, x):
    y = functional.leaky_relu(self.conv1(x), 0.2)
    y = functional.leaky_relu(self.conv2(y), 0.2)
    return x + self.conv3(y)


class Basis(nn.Module):
  """4x4 maps to be weighted: the only thing here that is N(0, 1)."""

  def __init__(self, channels):
    super().__init__()
    self.weight = nn.Parameter(torch.randn(channels, 4, 4))

  def forward(self, x):
    return torch.einsum('bc,chw->bchw', x, self.weight)


class Generator(nn.Module):
  """Latents `[B, z_size]`, labels `[B]`, to images `[B, channels, H, W]`."""

  def __init__(
    self,
    width=768,
    blocks=2,
    group_size=16,
    expansion=2,
    image_size=32,
    channels=3,
    z_size=64,
    labels=1,
  ):
    super().__init__()
    widths = _widths(width, image_size)
    self.stages, self.blocks = len(widths), blocks
    self.embedding = None
    if labels > 1:
      self.embedding = nn.Embedding(labels, z_size)
      nn.init.normal_(self.embedding.weight, std=labels**-0.5)
    inputs = z_size if labels == 1 else 2 * z_size
    self.dense = _normal(nn.Linear(inputs, widths[0], bias=False))
    self.basis = Basis(widths[0])
    for k, features in enumerate(widths):
      if k and features != widths[k - 1]:
        self.add_module(f'up_{k}', _one_by_one(widths[k - 1], features))
      _add_blocks(self, k, features, expansion, group_size)
    self.image = _one_by_one(widths[-1], channels)

  def forward(self, z, labels=None):
    if self.embedding is not None:
      z = torch.cat([z, self.embedding(labels)], 1)
    x = self.basis(self.dense(z))
    for k in range(self.stages):
      if k:
        x = _filtered(_optional(self, f'up_{k}', x), up=True)
      x = _through_blocks(self, k, x)
    return self.image(x)


class Discriminator(nn.Module):
  """Images `[B, channels, H, W]`, labels `[B]`, to logits `[B]`."""

  def __init__(
    self,
    width=768,
    blocks=2,
    group_size=16,
    expansion=2,
    image_size=32,
    channels=3,
    labels=1,
  ):
    super().__init__()
    widths = _widths(width, image_size)
    self.stages, self.blocks = len(widths), blocks
    self.image = _one_by_one(channels, widths[-1])
    for k, features in enumerate(widths):
      _add_blocks(self, k, features, expansion, group_size)
      if k and features != widths[k - 1]:
        self.add_module(f'down_{k}', _one_by_one(features, widths[k - 1]))
    first = widths[0]
    self.basis = _normal(nn.Conv2d(first, first, 4, groups=first, bias=False))
    outputs = first if labels > 1 else 1
    self.dense = _normal(nn.Linear(first, outputs, bias=False))
    self.embedding = None
    if labels > 1:
      self.embedding = nn.Embedding(labels, first)
      nn.init.normal_(self.embedding.weight, std=(labels * first) ** -0.5)

  def forward(self, x, labels=None):
    x = self.image(x)
    for k in reversed(range(self.stages)):
      x = _through_blocks(self, k, x)
      if k:
        x = _optional(self, f'down_{k}', _filtered(x, up=False))
    x = self.dense(self.basis(x).flatten(1))
    if self.embedding is None:
      return layers.logits(x)
    return (x * self.embedding(labels)).sum(1)


def _widths(width, image_size):
  stages = int(math.log2(image_size)) - 1
  return [width] * stages if isinstance(width, int) else list(width)


def _normal(layer, gain=1.0):
  """The same layer, its weight drawn from N(0, gain^2 / fan-in)."""
  nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5)
  return layer


def _one_by_one(inputs, outputs):
  return _normal(nn.Conv2d(inputs, outputs, 1, bias=False))


def _add_blocks(module, k, features, expansion, group_size):
  depth = module.blocks * module.stages
  for i in range(module.blocks):
    block = Block(features, expansion, group_size, depth)
    module.add_module(f'block_{k}_{i}', block)


def _through_blocks(module, k, x):
  for i in range(module.blocks):
    x = module.get_submodule(f'block_{k}_{i}')(x)
  return x


def _optional(module, name, x):
  layer = getattr(module, name, None)
  return x if layer is None else layer(x)


def _filtered(x, up):
  """Twice or half the size by the filter 1, 3, 3, 1 in both directions."""
  taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 8
  taps = torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)
  how = dict(stride=2, padding=1, groups=x.shape[1])
  if up:
    return 4 * functional.conv_transpose2d(x, taps, **how)
  return functional.conv2d(x, taps, **how)
