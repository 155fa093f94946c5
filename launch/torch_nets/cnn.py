"""The convolutional pair of the relativistic-GAN landscape paper."""

import torch
from torch import nn
from torch.nn import functional

from launch.torch_nets import layers


class Generator(nn.Module):
  """Latents `[B, z_size]` to images `[B, channels, H, W]`; 64, 32, 16 wide."""

  def __init__(self, width=64, image_size=32, channels=3, z_size=128):
    super().__init__()
    self.side = image_size // 8
    self.l1 = nn.Linear(z_size, 8 * width * self.side**2)
    self.deconv1 = nn.ConvTranspose2d(8 * width, 4 * width, 4, 2, 1)
    self.deconv1_bn = nn.BatchNorm2d(4 * width)
    self.deconv2 = nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1)
    self.deconv2_bn = nn.BatchNorm2d(2 * width)
    self.deconv3 = nn.ConvTranspose2d(2 * width, width, 4, 2, 1)
    self.deconv3_bn = nn.BatchNorm2d(width)
    self.conv4 = nn.Conv2d(width, channels, 3, 1, 1)
    # The transposed convolutions keep PyTorch's own initialization.
    nn.init.xavier_uniform_(self.l1.weight)
    nn.init.xavier_uniform_(self.conv4.weight)

  def forward(self, z: torch.Tensor) -> torch.Tensor:
    x = self.l1(z).unflatten(1, (-1, self.side, self.side))
    x = functional.relu(self.deconv1_bn(self.deconv1(x)))
    x = functional.relu(self.deconv2_bn(self.deconv2(x)))
    x = functional.relu(self.deconv3_bn(self.deconv3(x)))
    return torch.tanh(self.conv4(x))


class Discriminator(nn.Module):
  """Images `[B, channels, H, W]` to logits `[B]`."""

  def __init__(self, width=64, image_size=32, channels=3, spectral_norm=True):
    super().__init__()
    wide = [channels] + [width * n for n in (1, 1, 2, 2, 4, 4, 8)]
    for i in range(1, 8):
      # 3x3 layers may widen, 4x4 layers halve the image.
      size = (3, 1, 1) if i % 2 else (4, 2, 1)
      conv = layers.orthogonal(nn.Conv2d(wide[i - 1], wide[i], *size))
      self.add_module(f'conv{i}', layers.spectral(conv, spectral_norm))
    proj = nn.Linear(8 * width * (image_size // 8) ** 2, 1, bias=False)
    self.proj = layers.spectral(layers.orthogonal(proj), spectral_norm)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    for i in range(1, 8):
      x = functional.leaky_relu(self.get_submodule(f'conv{i}')(x), 0.1)
    return layers.logits(self.proj(x.flatten(1)))
