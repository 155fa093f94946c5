"""The MNIST pair of the implicit-competitive-regularization paper."""

import torch
from torch import nn
from torch.nn import functional

from launch.torch_nets import layers


class Generator(nn.Module):
  """Latents `[B, z_size]` to images `[B, channels, H, W]`.

  Batch norm comes after ReLU.
  """

  def __init__(
    self, width=32, image_size=28, channels=1, z_size=96, init_std=0.01
  ):
    super().__init__()
    self.side = image_size // 4
    features = 4 * width * self.side**2
    self.dense1 = nn.Linear(z_size, 32 * width)
    self.dense1_bn = nn.BatchNorm1d(32 * width)
    self.dense2 = nn.Linear(32 * width, features)
    self.dense2_bn = nn.BatchNorm1d(features)
    self.deconv1 = nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1)
    self.deconv1_bn = nn.BatchNorm2d(2 * width)
    self.deconv2 = nn.ConvTranspose2d(2 * width, channels, 4, 2, 1)
    for layer in (self.deconv1, self.deconv2):
      nn.init.normal_(layer.weight, std=init_std)

  def forward(self, z: torch.Tensor) -> torch.Tensor:
    x = self.dense1_bn(functional.relu(self.dense1(z)))
    x = self.dense2_bn(functional.relu(self.dense2(x)))
    x = x.unflatten(1, (-1, self.side, self.side))
    x = self.deconv1_bn(functional.relu(self.deconv1(x)))
    return torch.tanh(self.deconv2(x))


class Discriminator(nn.Module):
  """Images `[B, channels, H, W]` to logits `[B]`."""

  def __init__(
    self, width=32, image_size=28, channels=1, init_std=0.01, final_bias=True
  ):
    super().__init__()
    self.conv1 = nn.Conv2d(channels, width, 5)
    self.conv2 = nn.Conv2d(width, 2 * width, 5)
    side = ((image_size - 4) // 2 - 4) // 2
    self.dense1 = nn.Linear(2 * width * side**2, 32 * width)
    self.dense2 = nn.Linear(32 * width, 1, bias=final_bias)
    for layer in (self.conv1, self.conv2):
      nn.init.normal_(layer.weight, std=init_std)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    for conv in (self.conv1, self.conv2):
      x = functional.max_pool2d(functional.leaky_relu(conv(x), 0.01), 2)
    x = functional.leaky_relu(self.dense1(x.flatten(1)), 0.01)
    return layers.logits(self.dense2(x))
