"""The fully connected pair of the published experiments on points."""

import math

import torch
from torch import nn
from torch.nn import functional

from launch.torch_nets import layers

ACTIVATIONS = {
  'relu': lambda x, slope: functional.relu(x),
  'tanh': lambda x, slope: torch.tanh(x),
  'leaky_relu': functional.leaky_relu,
  'sigmoid': lambda x, slope: torch.sigmoid(x),
}


OUTPUTS = {
  'linear': lambda x: x,
  'tanh': torch.tanh,
  'strip': lambda x: _strip(torch.tanh(x[:, 0]), x[:, 1]),
}


def _strip(s, t):
  """Points (x, y) with log(x y) = s and log(x / y) = t."""
  return torch.stack([((s + t) / 2).exp(), ((s - t) / 2).exp()], 1)


class Mlp(nn.Module):
  """Layers dense1, dense2, ... and out, with an activation in between."""

  def __init__(
    self,
    sizes,
    activation,
    slope,
    use_bias,
    spectral_norm=False,
    final_bias=True,
  ):
    super().__init__()
    self.depth = len(sizes) - 2
    for i in range(1, self.depth + 1):
      dense = nn.Linear(sizes[i - 1], sizes[i], bias=use_bias)
      self.add_module(f'dense{i}', layers.spectral(dense, spectral_norm))
    out = nn.Linear(sizes[-2], sizes[-1], bias=use_bias and final_bias)
    self.out = layers.spectral(out, spectral_norm)
    self.activation = lambda x: ACTIVATIONS[activation](x, slope)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    for i in range(1, self.depth + 1):
      x = self.activation(self.get_submodule(f'dense{i}')(x))
    return self.out(x)


class Generator(Mlp):
  """Latents `[B, z_size]` to data, `[B, F]` or `[B, C, H, W]`.

  `data_shape` is `(F,)` or, as in `gan_jax.models`, `(H, W, C)`.
  """

  def __init__(
    self,
    features=(128, 128),
    data_shape=(2,),
    z_size=2,
    activation='relu',
    slope=0.2,
    output='linear',
    use_bias=True,
    constant_input=False,
  ):
    sizes = (z_size, *features, math.prod(data_shape))
    super().__init__(sizes, activation, slope, use_bias)
    self.shape = (*data_shape[2:], *data_shape[:2])
    self.output = OUTPUTS[output]
    self.constant_input = constant_input

  def forward(self, z: torch.Tensor) -> torch.Tensor:
    z = torch.ones_like(z) if self.constant_input else z
    return self.output(super().forward(z).unflatten(1, self.shape))


class Discriminator(Mlp):
  """Data, `[B, F]` or `[B, C, H, W]`, to logits `[B]`."""

  def __init__(
    self,
    features=(128, 128),
    data_shape=(2,),
    activation='leaky_relu',
    slope=0.2,
    use_bias=True,
    final_bias=True,
    spectral_norm=False,
    input_scale=(1.0,),
  ):
    sizes = (math.prod(data_shape), *features, 1)
    super().__init__(
      sizes, activation, slope, use_bias, spectral_norm, final_bias
    )
    # No buffer: it is no part of the state dictionary.
    self.input_scale = input_scale

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = x.flatten(1)
    return layers.logits(super().forward(x * x.new_tensor(self.input_scale)))
