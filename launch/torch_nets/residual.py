"""The residual pair of the study of which GAN trainings converge.

Blocks are called resnet_K_I, K counting resolutions and I the blocks at one.
Channels of the tables below are in multiples of `width`.
"""

import torch
from torch import nn
from torch.nn import functional

from launch.torch_nets import layers

# By variant: divisor of the image size that gives the smallest map, channels of
# the generator's first map, output channels of its blocks by level, and of the
# discriminator's. The variant 'resnet' is computed from its size.
LADDERS = {
  'resnet2': (
    32,
    16,
    [[16, 16], [16, 16], [8, 8], [4, 4], [2, 2], [1, 1]],
    [[1, 2], [2, 4], [4, 8], [8, 16], [16, 16], [16, 16]],
  ),
  'resnet3': (
    64,
    32,
    [[16], [16], [8], [4], [2], [1], []],
    [[], [2], [4], [8], [16], [16], [32]],
  ),
  'resnet4': (
    64,
    16,
    [[16], [16], [8], [4], [2], [1], [1]],
    [[1], [2], [4], [8], [16], [16], [16]],
  ),
}


class Block(nn.Module):
  """x, or a 1x1 convolution of it, plus a tenth of two 3x3 convolutions."""

  def __init__(self, inputs, outputs):
    super().__init__()
    hidden = min(inputs, outputs)
    self.conv_0 = nn.Conv2d(inputs, hidden, 3, padding=1)
    self.conv_1 = nn.Conv2d(hidden, outputs, 3, padding=1)
    self.conv_s = None
    if inputs != outputs:
      self.conv_s = nn.Conv2d(inputs, outputs, 1, bias=False)

  def forward(self, x):
    dx = self.conv_1(_activation(self.conv_0(_activation(x))))
    return (x if self.conv_s is None else self.conv_s(x)) + 0.1 * dx


class Generator(nn.Module):
  """Latents `[B, z_size]` and labels `[B]` to images `[B, channels, H, W]`."""

  def __init__(
    self,
    variant='resnet',
    width=64,
    max_width=512,
    image_size=256,
    channels=3,
    z_size=256,
    labels=1,
    embed_size=256,
  ):
    super().__init__()
    ladder = _ladder(variant, width, max_width, image_size)
    self.side, first, blocks, _ = ladder
    self.normalize = variant in ('resnet', 'resnet2')
    self.embedding = nn.Embedding(labels, embed_size)
    self.fc = nn.Linear(z_size + embed_size, first * self.side**2)
    self.names = _add_blocks(self, first, blocks)
    self.conv_img = _image_conv(variant, width, channels)

  def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    embedding = self.embedding(labels)
    if self.normalize:
      embedding = embedding / embedding.norm(dim=1, keepdim=True)
    x = self.fc(torch.cat([z, embedding], 1))
    x = x.unflatten(1, (-1, self.side, self.side))
    for level, names in enumerate(self.names):
      if level > 0:
        x = functional.interpolate(x, scale_factor=2, mode='nearest')
      for name in names:
        x = self.get_submodule(name)(x)
    return torch.tanh(self.conv_img(_activation(x)))


class Discriminator(nn.Module):
  """Images `[B, channels, H, W]` and labels `[B]` to logits `[B]`."""

  def __init__(
    self,
    variant='resnet',
    width=64,
    max_width=512,
    image_size=256,
    channels=3,
    labels=1,
  ):
    super().__init__()
    ladder = _ladder(variant, width, max_width, image_size)
    side, _, _, blocks = ladder
    self.conv_img = _image_conv(variant, channels, width)
    self.names = _add_blocks(self, width, blocks)
    self.fc = nn.Linear(blocks[-1][-1] * side**2, labels)

  def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    x = self.conv_img(x)
    for level, names in enumerate(self.names):
      if level > 0:
        # Divides by nine at the border too.
        x = functional.avg_pool2d(x, 3, stride=2, padding=1)
      for name in names:
        x = self.get_submodule(name)(x)
    logits = self.fc(_activation(x.flatten(1)))
    return layers.logits(logits.gather(1, labels[:, None]))


def _ladder(variant, width, max_width, image_size):
  """Smallest size, first channels, blocks of either player, in channels."""
  if variant != 'resnet':
    divisor, first, *players = LADDERS[variant]
    g, d = ([[width * n for n in level] for level in p] for p in players)
    return image_size // divisor, width * first, g, d
  levels = 0
  while 4 * 2**levels < image_size:
    levels += 1
  wide = [min(width * 2**k, max_width) for k in range(levels + 1)]
  # The block at the full size keeps the generator's last width.
  g = [[n] for n in [*wide[:-1][::-1], width]]
  return 4, wide[-1], g, [[n] for n in wide]


def _add_blocks(module, inputs, blocks):
  """Adds a block for each output count; names by level."""
  names = []
  for level, outputs_of in enumerate(blocks):
    names.append([])
    for i, outputs in enumerate(outputs_of):
      names[-1].append(f'resnet_{level}_{i}')
      module.add_module(names[-1][-1], Block(inputs, outputs))
      inputs = outputs
  return names


def _image_conv(variant, inputs, outputs):
  kernel = 7 if variant in ('resnet3', 'resnet4') else 3
  return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


def _activation(x):
  return functional.leaky_relu(x, 0.2)
