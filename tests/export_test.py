"""Weights of a run leave it as PyTorch's names, and come back."""

import numpy as np
import pytest
from commands import SMALL, main

import gan_jax
from gan_jax import models

FLAGS = (*SMALL, '--config.num_steps=10')


@pytest.mark.slow
def test_export_holds_the_weights_of_the_run(tmp_path):
  done = main(*FLAGS, f'--workdir={tmp_path}')
  assert done.returncode == 0, done.stderr
  done = main(*FLAGS, f'--workdir={tmp_path}', '--mode=export')
  assert done.returncode == 0, done.stderr
  folder = tmp_path / 'export'
  names = ['generator', 'discriminator', 'generator-averaged']
  paths = [folder / f'{name}-00000010.npz' for name in names]
  assert done.stdout.split() == [str(path) for path in paths]
  module = models.generator('cnn', width=4, image_size=8, channels=1, z_size=64)
  z = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
  for path, averaged in ((paths[0], False), (paths[2], True)):
    with np.load(path) as weights:
      assert weights['deconv1.weight'].shape == (32, 16, 4, 4)  # in, out, k, k
      variables = models.from_torch(module, dict(weights))
    sampler = gan_jax.load(tmp_path, averaged=averaged)
    actual = module.apply(variables, z)
    np.testing.assert_allclose(actual, sampler.decode(z), atol=1e-6)
  with np.load(paths[1]) as weights:
    assert {'conv1.weight_orig', 'conv1.weight_u', 'conv1.weight_v'} < {
      *weights
    }
