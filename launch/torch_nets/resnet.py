"""The residual pair of the relativistic-GAN landscape paper, 32 and 48 px.

`width` is the generator's base channel count, 256, 128 or 64 at 32 px and 64,
32 or 16 at 48 px, for both players: the 32 px discriminator has half of it.
"""

import torch
from torch import nn
from torch.nn import functional

from launch.torch_nets import layers


class UpBlock(nn.Module):
  """Batch norm and ReLU before each convolution; twice the image size."""

  def __init__(self, inputs, outputs, bottleneck):
    super().__init__()
    hidden = outputs // 2 if bottleneck else outputs
    self.b1 = nn.BatchNorm2d(inputs)
    self.c1 = nn.Conv2d(inputs, hidden, 3, padding=1)
    self.b2 = nn.BatchNorm2d(hidden)
    self.c2 = nn.Conv2d(hidden, outputs, 3, padding=1)
    self.c_sc = nn.Conv2d(inputs, outputs, 1)

  def forward(self, x):
    h = self.c1(_upsample(functional.relu(self.b1(x))))
    h = self.c2(functional.relu(self.b2(h)))
    return h + self.c_sc(_upsample(x))


class Generator(nn.Module):
  """Latents `[B, z_size]` to images `[B, channels, H, W]`."""

  def __init__(
    self, width=256, image_size=32, channels=3, z_size=128, bottleneck=False
  ):
    super().__init__()
    self.side = image_size // 8
    multiples = (8, 4, 2, 1) if image_size == 48 else (1, 1, 1, 1)
    wide = [width * n for n in multiples]
    self.l1 = nn.Linear(z_size, wide[0] * self.side**2)
    self.block2 = UpBlock(wide[0], wide[1], bottleneck)
    self.block3 = UpBlock(wide[1], wide[2], bottleneck)
    self.block4 = UpBlock(wide[2], wide[3], bottleneck)
    self.b5 = nn.BatchNorm2d(width)
    self.conv5 = nn.Conv2d(width, channels, 1)

  def forward(self, z: torch.Tensor) -> torch.Tensor:
    x = self.l1(z).unflatten(1, (-1, self.side, self.side))
    x = self.block4(self.block3(self.block2(x)))
    return torch.tanh(self.conv5(functional.relu(self.b5(x))))


class DownBlock(nn.Module):
  """Two convolutions and a learned shortcut, half the image size.

  The first block of a discriminator works on the image itself, so it has no
  activation in front, and averages before its shortcut's convolution.
  """

  def __init__(self, inputs, outputs, bottleneck, spectral_norm, first=False):
    super().__init__()
    hidden = outputs if first else inputs
    hidden = hidden // 2 if bottleneck else hidden
    self.first = first
    layer = lambda *size, **more: layers.spectral(
      layers.orthogonal(nn.Conv2d(*size, **more)), spectral_norm
    )
    self.c1 = layer(inputs, hidden, 3, padding=1)
    self.c2 = layer(hidden, outputs, 3, padding=1)
    self.c_sc = layer(inputs, outputs, 1)

  def forward(self, x):
    h = self.c1(x if self.first else _activation(x))
    h = functional.avg_pool2d(self.c2(_activation(h)), 2)
    if self.first:
      return h + self.c_sc(functional.avg_pool2d(x, 2))
    return h + functional.avg_pool2d(self.c_sc(x), 2)


class Discriminator(nn.Module):
  """Images `[B, channels, H, W]` to logits `[B]`."""

  def __init__(
    self,
    width=256,
    image_size=32,
    channels=3,
    bottleneck=False,
    spectral_norm=True,
  ):
    super().__init__()
    if image_size == 48:
      wide = [channels] + [width * n for n in (1, 2, 4, 8, 16)]
    else:
      wide = [channels] + [width // 2] * 4
    self.depth = len(wide) - 1
    for i in range(1, len(wide)):
      block = DownBlock(
        wide[i - 1], wide[i], bottleneck, spectral_norm, first=i == 1
      )
      self.add_module(f'block{i}', block)
    proj = layers.orthogonal(nn.Linear(wide[-1], 1, bias=False))
    self.proj = layers.spectral(proj, spectral_norm)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    for i in range(1, self.depth + 1):
      x = self.get_submodule(f'block{i}')(x)
    return layers.logits(self.proj(_activation(x).sum((2, 3))))


def _activation(x):
  return functional.leaky_relu(x, 0.1)


def _upsample(x):
  return functional.interpolate(
    x, scale_factor=2, mode='bilinear', align_corners=False
  )
