"""The 256 px convolutional pair of the relativistic-GAN landscape paper."""

import torch
from torch import nn
from torch.nn import functional

from launch.torch_nets import layers


class Generator(nn.Module):
  """Latents `[B, z_size]` to images `[B, channels, H, W]`; no biases.

  The latent is an image of one pixel, which becomes 4x4 and then doubles.
  """

  def __init__(self, width=32, image_size=256, channels=3, z_size=128):
    super().__init__()
    wide = [z_size, *_widths(width, image_size)[::-1], channels]
    self.depth = len(wide) - 1
    for i in range(1, self.depth + 1):
      stride, padding = (1, 0) if i == 1 else (2, 1)
      deconv = nn.ConvTranspose2d(
        wide[i - 1], wide[i], 4, stride, padding, bias=False
      )
      self.add_module(f'deconv{i}', deconv)
      if i < self.depth:
        self.add_module(f'deconv{i}_bn', nn.BatchNorm2d(wide[i]))

  def forward(self, z: torch.Tensor) -> torch.Tensor:
    x = z[:, :, None, None]
    for i in range(1, self.depth):
      x = self.get_submodule(f'deconv{i}')(x)
      x = functional.relu(self.get_submodule(f'deconv{i}_bn')(x))
    return torch.tanh(self.get_submodule(f'deconv{self.depth}')(x))


class Discriminator(nn.Module):
  """Images `[B, channels, H, W]` to logits `[B]`; no biases."""

  def __init__(self, width=32, image_size=256, channels=3, spectral_norm=True):
    super().__init__()
    wide = [channels, *_widths(width, image_size)]
    self.depth = len(wide) - 1
    for i in range(1, self.depth + 1):
      conv = nn.Conv2d(wide[i - 1], wide[i], 4, 2, 1, bias=False)
      conv = layers.spectral(layers.orthogonal(conv), spectral_norm)
      self.add_module(f'conv{i}', conv)
    proj = layers.orthogonal(nn.Linear(16 * wide[-1], 1, bias=False))
    self.proj = layers.spectral(proj, spectral_norm)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    for i in range(1, self.depth + 1):
      x = functional.leaky_relu(self.get_submodule(f'conv{i}')(x), 0.1)
    return layers.logits(self.proj(x.flatten(1)))


def _widths(width: int, image_size: int) -> list[int]:
  """Channels at half, a quarter, ... of the image size, down to 4x4."""
  widths = []
  while image_size > 4:
    image_size //= 2
    widths.append(width * 2 ** len(widths))
  return widths
