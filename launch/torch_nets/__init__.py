"""The published networks written once more, in PyTorch.

They are peers to compare with: `tests/make_torch_fixtures.py` takes numbers
from them that our own networks must meet, `launch.benchmark` their speed. They
share no code with `gan_jax.models`, but names, options and the rule that a
layer's path there, with '.' for '/', is the prefix of its keys here.

A generator maps latents `[B, z_size]` to images `[B, C, H, W]`, a
discriminator images to logits `[B]`. Batch norm, dropout and the power
iteration of spectral norm follow `module.train()` and `module.eval()`.
"""

from launch.torch_nets import (
  cnn,
  cnn256,
  dc,
  mlp,
  mnist,
  modern,
  residual,
  resnet,
)

GENERATORS = {
  'cnn': cnn.Generator,
  'cnn256': cnn256.Generator,
  'dc': dc.Generator,
  'mlp': mlp.Generator,
  'mnist': mnist.Generator,
  'modern': modern.Generator,
  'residual': residual.Generator,
  'resnet': resnet.Generator,
}
DISCRIMINATORS = {
  'cnn': cnn.Discriminator,
  'cnn256': cnn256.Discriminator,
  'dc': dc.Discriminator,
  'mlp': mlp.Discriminator,
  'mnist': mnist.Discriminator,
  'modern': modern.Discriminator,
  'residual': residual.Discriminator,
  'resnet': resnet.Discriminator,
}
