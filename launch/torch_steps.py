"""Training steps in PyTorch, for the benchmark to compare with.

A step does what ours does for the same config: turns in the same order, fresh
images and latents in each, one power iteration of every critic's layer a critic
turn, Adam, the averaged generator. Where PyTorch's usual code does more, it is
spared: no gradients of the critic's weights in a generator's turn, one critic
call on both halves, fused optimizers.
"""

import copy
import functools
import itertools
import os
from collections.abc import Callable
from typing import Any

import ml_collections
import numpy as np
import torch
from torch import nn
from torch.utils import flop_counter

from launch import torch_nets

# (generator's, discriminator's) of real and fake logits, as in losses.py.
_LOSSES = {
  'relativistic': (
    lambda r, f: nn.functional.softplus(r - f),
    lambda r, f: nn.functional.softplus(f - r),
  ),
  'relativistic_hinge': (
    lambda r, f: nn.functional.relu(1 + r - f),
    lambda r, f: nn.functional.relu(1 + f - r),
  ),
  'nonsaturating': (
    lambda r, f: nn.functional.softplus(-f),
    lambda r, f: nn.functional.softplus(-r) + nn.functional.softplus(f),
  ),
}


class Trainer:
  """Two networks of a config and what trains them.

  Attributes:
    config: the fields that ours reads too.
    device: of everything.
    memory_format: of images and weights.
    compiled: whether `torch.compile` sees both networks.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    device: str,
    memory_format: Any = torch.channels_last,
    compiled: bool = False,
  ):
    self.config, self.device = config, device
    self.memory_format = memory_format
    self.generator, self.averaged = self._player('generator')
    self.discriminator, _ = self._player('discriminator')
    self.optimizer_g = _adam(self.generator, config.optimizer_g)
    self.optimizer_d = _adam(self.discriminator, config.optimizer_d)
    self.z_size = self.generator.get_submodule(_first(config)).in_features
    if compiled:
      self.generator.compile()
      self.discriminator.compile()
    shape = (16, config.batch_size, 3, 32, 32)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    # As ours, the images lie on the device, channels last in memory.
    images = torch.tensor(images, device=device)
    self.images = itertools.cycle(
      image.contiguous(memory_format=memory_format) for image in images
    )

  def _player(self, field):
    options = self.config[field].to_dict()
    table = dict(
      generator=torch_nets.GENERATORS,
      discriminator=torch_nets.DISCRIMINATORS,
    )[field]
    module = table[options.pop('name')](**options)
    module = module.to(self.device, memory_format=self.memory_format)
    return module, copy.deepcopy(module) if field == 'generator' else None

  def step(self) -> None:
    """All turns of one step."""
    game = self.config.game
    turns = dict(d=game.d_steps, g=game.g_steps)
    order = 'gd' if game.first == 'g' else 'dg'
    for player in order:
      for _ in range(turns[player]):
        self._turn_of_g() if player == 'g' else self._turn_of_d()

  def _turn_of_g(self):
    loss, _ = _LOSSES[self.config.loss]
    # In evaluation mode the critic's u stays where it is.
    self.discriminator.eval().requires_grad_(False)
    real_logits = torch.zeros((), device=self.device)
    if self.config.loss.startswith('relativistic'):
      with torch.no_grad():
        real_logits = self.discriminator(self._real())
    fake_logits = self.discriminator(self.generator(self._latents()))
    self.optimizer_g.zero_grad(set_to_none=True)
    loss(real_logits, fake_logits).mean().backward()
    self.optimizer_g.step()
    self._average()

  def _turn_of_d(self):
    _, loss = _LOSSES[self.config.loss]
    self.discriminator.train().requires_grad_(True)
    with torch.no_grad():
      fake = self.generator(self._latents())
    logits = self.discriminator(torch.cat([self._real(), fake]))
    self.optimizer_d.zero_grad(set_to_none=True)
    loss(*logits.chunk(2)).mean().backward()
    self.optimizer_d.step()

  def _real(self):
    images = next(self.images).float().div_(127.5).sub_(1)
    if self.config.dequantize:
      images.add_(torch.rand_like(images), alpha=1 / 128)
    return images

  def _latents(self):
    shape = (self.config.batch_size, self.z_size)
    return torch.randn(shape, device=self.device)

  @torch.no_grad()
  def _average(self):
    if not self.config.averaging:
      return
    state = self.generator.state_dict().values()
    pairs = zip(self.averaged.state_dict().values(), state, strict=True)
    pairs = [(a, b) for a, b in pairs if a.is_floating_point()]
    torch._foreach_lerp_(
      [a for a, _ in pairs], [b for _, b in pairs], 1 - self.config.averaging
    )


def _first(config):
  """Name of the generator's first layer, which takes the latents."""
  return 'dense' if config.generator.name == 'dc' else 'l1'


def _adam(module, fields):
  return torch.optim.Adam(
    module.parameters(),
    fields.learning_rate,
    (fields.b1, fields.b2),
    fields.eps,
    fused=True,
  )


def set_up(*, tf32: bool) -> None:
  """As many threads as ours has, and its precision on a GPU."""
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  torch.backends.cuda.matmul.allow_tf32 = tf32
  torch.backends.cudnn.allow_tf32 = tf32
  torch.backends.cudnn.benchmark = True


def runners(
  config: ml_collections.ConfigDict, device: str, compiled: bool = False
) -> list[Callable[[int], None]]:
  """A function for each memory layout worth trying, that does so many steps."""
  formats = [torch.channels_last, torch.contiguous_format]
  if device != 'cpu':
    formats = formats[:1]
  trainers = [Trainer(config, device, layout, compiled) for layout in formats]

  def run(trainer, count):
    for _ in range(count):
      trainer.step()
    if device != 'cpu':
      torch.cuda.synchronize()

  return [functools.partial(run, trainer) for trainer in trainers]


def flops(config: ml_collections.ConfigDict) -> int:
  """Of the products in one step, by PyTorch's own count."""
  trainer = Trainer(config, 'cpu')
  with flop_counter.FlopCounterMode(display=False) as counter:
    trainer.step()
  return counter.get_total_flops()
