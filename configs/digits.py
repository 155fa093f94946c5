"""Relativistic GAN on scikit-learn's handwritten digits at 16 x 16.

python -m gan_jax.main --config=configs/digits.py --workdir=runs/digits

The quickstart. Loss of Jolicoeur-Martineau 2018 with R1 (Mescheder et al.
2018), the narrow CNN pair of Sun et al. 2020 without spectral norm, averaged
generator.
"""

import ml_collections

from gan_jax import defaults


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Argument: '' or 'quick' (20 steps, to see that everything runs)."""
  if arg not in ('', 'quick'):
    raise ValueError(f"config argument {arg!r} is not one of '', 'quick'.")
  config = defaults.get_config()
  config.num_steps = 20 if arg == 'quick' else 2500
  config.data.name, config.data.image_size = 'digits', 16
  config.loss = 'relativistic'
  config.generator = dict(
    name='cnn', width=16, image_size=16, channels=1, z_size=64
  )
  config.discriminator = dict(
    name='cnn', width=16, image_size=16, channels=1, spectral_norm=False
  )
  config.optimizer_g = defaults.optimizer(learning_rate=5e-4)
  config.optimizer_d = defaults.optimizer(learning_rate=5e-4)
  config.averaging = 0.99
  config.penalties.r1 = 0.5
  config.lazy = 4  # R1 doubles the cost of a step that pays it
  config.log_every = 100
  config.sample_every = 500
  config.checkpoint_every = 500
  config.num_samples = 1797
  if arg == 'quick':
    config.log_every = config.sample_every = config.checkpoint_every = 10
  return config
