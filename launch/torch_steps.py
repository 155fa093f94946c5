"""Training steps in PyTorch, for the benchmark to compare with.

A step does what ours does for the same config: turns in the same order, fresh
images and latents in each, one power iteration of every critic's layer a critic
turn, gradient penalties in every lazy-th step, the same optimizers, the
averaged generator, bfloat16 in the body of networks whose option `dtype` says
so. Where PyTorch's usual code does more, it is spared: no gradients of the
critic's weights in a generator's turn, one critic call on both halves where no
penalty tells them apart, a penalty's forward pass shared with the loss, fused
optimizers. What only saves memory (`remat`) it does without.
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

from launch import torch_nets

_softplus, _relu = nn.functional.softplus, nn.functional.relu
# (generator's, discriminator's) of real and fake logits, as in losses.py.
_LOSSES = {
  'relativistic': (
    lambda r, f: _softplus(r - f),
    lambda r, f: _softplus(f - r),
  ),
  'relativistic_hinge': (
    lambda r, f: _relu(1 + r - f),
    lambda r, f: _relu(1 + f - r),
  ),
  'nonsaturating': (
    lambda r, f: _softplus(-f),
    lambda r, f: _softplus(-r) + _softplus(f),
  ),
  'hinge': (lambda r, f: -f, lambda r, f: _relu(1 - r) + _relu(1 + f)),
  'wasserstein': (lambda r, f: -f, lambda r, f: f - r),
}
_PENALTIES = ('r1', 'r2', 'wgan_gp')
# Bytes of all images that are kept on the device to draw from.
_IMAGES_BYTES = 2**28


class Trainer:
  """Two networks of a config and what trains them.

  Attributes:
    config: the fields that ours reads too.
    device: of everything; 'meta' computes nothing, to count what would be.
    memory_format: of images and weights.
    compiled: whether `torch.compile` sees both networks.

  Raises:
    ValueError: the config has what is not written here.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    device: str,
    memory_format: Any = torch.channels_last,
    compiled: bool = False,
  ):
    _check(config)
    self.config, self.device = config, device
    self.memory_format = memory_format
    self.generator, self.averaged = self._player('generator')
    self.discriminator, _ = self._player('discriminator')
    self.optimizer_g = _optimizer(self.generator, config.optimizer_g, device)
    self.optimizer_d = _optimizer(
      self.discriminator, config.optimizer_d, device
    )
    self.z_size = _z_size(self.generator)
    self.labels = _labels(config, device)
    self.steps = 0
    self._penalized = self._penalized_loss
    if compiled:
      self.generator.compile()
      self.discriminator.compile()
      # A compiled network alone has no second derivatives; one graph with the
      # gradient inside does.
      self._penalized = torch.compile(self._penalized_loss)
    self.images = itertools.cycle(_images(config, device, memory_format))

  def _player(self, field):
    options = self.config[field].to_dict()
    table = dict(
      generator=torch_nets.GENERATORS,
      discriminator=torch_nets.DISCRIMINATORS,
    )[field]
    for option in ('dtype', 'remat'):
      options.pop(option, None)
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
    self.steps += 1

  def _turn_of_g(self):
    loss, _ = _LOSSES[self.config.loss]
    # In evaluation mode the critic's u stays where it is.
    self.discriminator.eval().requires_grad_(False)
    real_logits = torch.zeros((), device=self.device)
    if self.config.loss.startswith('relativistic'):
      with torch.no_grad():
        real_logits = self._criticize(self._real())
    fake_logits = self._criticize(self._generate())
    self.optimizer_g.zero_grad(set_to_none=True)
    loss(real_logits, fake_logits).mean().backward()
    self.optimizer_g.step()
    self._average()

  def _turn_of_d(self):
    self.discriminator.train().requires_grad_(True)
    with torch.no_grad():
      fake = self._generate()
    due = self.steps % self.config.lazy == 0
    paying = due and any(self.config.penalties[name] for name in _PENALTIES)
    loss = (self._penalized if paying else self._plain_loss)(self._real(), fake)
    self.optimizer_d.zero_grad(set_to_none=True)
    loss.backward()
    self.optimizer_d.step()

  def _plain_loss(self, real, fake):
    _, loss = _LOSSES[self.config.loss]
    logits = self._criticize(torch.cat([real, fake]))
    return loss(*logits.chunk(2)).mean()

  def _penalized_loss(self, real, fake):
    _, loss = _LOSSES[self.config.loss]
    weights = self.config.penalties
    penalty = 0.0
    if weights.r1 and weights.r2:
      logits, squares = self._with_squares(torch.cat([real, fake]))
      logits, squares = logits.chunk(2), squares.chunk(2)
      penalty += weights.r1 * squares[0].mean() + weights.r2 * squares[1].mean()
    elif weights.r1 or weights.r2:
      at_real, squares = self._with_squares(real if weights.r1 else fake)
      logits = at_real, self._criticize(fake if weights.r1 else real)
      logits = logits if weights.r1 else logits[::-1]
      penalty += (weights.r1 or weights.r2) * squares.mean()
    else:
      logits = self._criticize(torch.cat([real, fake])).chunk(2)
    if weights.wgan_gp:
      share = torch.rand(len(real), 1, 1, 1, device=self.device)
      _, squares = self._with_squares(fake + share * (real - fake))
      penalty += weights.wgan_gp * (squares.sqrt() - 1).square().mean()
    return loss(*logits).mean() + self.config.lazy * penalty

  def _with_squares(self, x):
    """Logits at x, and squared norms of their gradients there, both `[B]`."""

    def total(x):
      logits = self._criticize(x)
      return logits.sum(), logits

    gradients, logits = torch.func.grad(total, has_aux=True)(x)
    return logits, gradients.square().sum((1, 2, 3))

  def _criticize(self, x):
    return self._apply('discriminator', self.discriminator, x).float()

  def _generate(self):
    shape = (self.config.batch_size, self.z_size)
    z = torch.randn(shape, device=self.device)
    return self._apply('generator', self.generator, z).float()

  def _apply(self, field, module, x):
    options = self.config[field]
    labels = ()
    if options.name == 'residual':
      labels = (self.labels.repeat(len(x) // len(self.labels)),)
    narrow = options.get('dtype', 'float32') == 'bfloat16'
    if not narrow or self.device == 'meta':  # as many products, only narrower
      return module(x, *labels)
    with torch.autocast(self.device, torch.bfloat16):
      return module(x, *labels)

  def _real(self):
    images = next(self.images)
    if self.config.flip:
      chosen = torch.rand(len(images), 1, 1, 1, device=self.device) < 0.5
      images = torch.where(chosen, images.flip(3), images)
    images = images.float().div_(127.5).sub_(1)
    if self.config.dequantize:
      images.add_(torch.rand_like(images), alpha=1 / 128)
    return images

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


def _check(config):
  """Raises ValueError for what these steps do not do."""
  penalized = [name for name, weight in config.penalties.items() if weight]
  spectral = config.discriminator.get('spectral_norm', False)
  lacking = {
    f'loss={config.loss!r}': config.loss not in _LOSSES,
    f'penalties {penalized}': not set(penalized) <= set(_PENALTIES),
    'a penalty with spectral norm': penalized and spectral,
    'auxiliary': any(config.auxiliary.values()),
    'feature_matching': config.feature_matching.weight,
    'saturating': config.saturating,
    'diff_augment': config.diff_augment,
    'ada': config.ada.policy,
    'anneal': config.anneal.steps,
    'instance_noise': config.instance_noise,
    'clip_weights': config.clip_weights,
    'unit_norm': config.unit_norm,
    f'game {config.game.name!r}': config.game.name != 'alternating',
  }
  for what, asked in lacking.items():
    if asked:
      raise ValueError(f'the PyTorch side of the benchmark has no {what}.')


def _z_size(generator):
  """What the first layer takes, without the embedding of a class."""
  first = next(m for m in generator.modules() if isinstance(m, nn.Linear))
  embedding = getattr(generator, 'embedding', None)
  taken = embedding.embedding_dim if embedding is not None else 0
  return first.in_features - taken


def _labels(config, device):
  """A class for each row of a batch, for networks that take them."""
  classes = config.discriminator.get('labels', 1)
  return torch.arange(config.batch_size, device=device) % classes


def image_shape(config: ml_collections.ConfigDict) -> tuple[int, int, int]:
  """Height, width and channels of the images that a config's networks make."""
  size = config.generator.get('image_size', 32)
  return size, size, config.generator.get('channels', 3)


def _images(config, device, memory_format):
  """Some batches of noise, `[B, C, H, W]`; as ours, they lie on the device."""
  height, width, channels = image_shape(config)
  shape = (config.batch_size, channels, height, width)
  count = max(2, min(16, _IMAGES_BYTES // int(np.prod(shape))))
  if device == 'meta':
    return [torch.empty(shape, dtype=torch.uint8, device=device)]
  images = np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)
  images = torch.tensor(images, device=device)
  return [image.contiguous(memory_format=memory_format) for image in images]


def _optimizer(module, fields, device):
  for name in ('clip_norm', 'weight_decay', 'historical'):
    if fields[name]:
      raise ValueError(f'the PyTorch side of the benchmark has no {name}.')
  if fields.name == 'rmsprop':
    return torch.optim.RMSprop(
      module.parameters(),
      fields.learning_rate,
      fields.decay,
      fields.eps,
      momentum=fields.momentum,
      foreach=True,
    )
  if fields.name != 'adam':
    raise ValueError(
      f'the PyTorch side of the benchmark has no optimizer {fields.name!r}.'
    )
  return torch.optim.Adam(
    module.parameters(),
    fields.learning_rate,
    (fields.b1, fields.b2),
    fields.eps,
    fused=device != 'meta',
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
