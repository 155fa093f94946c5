"""A GAN on points: any of the 2-D sets, MLPs of the RS-GAN toy experiments.

python -m gan_jax.main --config=configs/toy.py:ring8 --workdir=runs/ring8
python -m gan_jax.main --config=configs/toy.py:five_gaussians,js \
    --workdir=runs/five

Networks of Sun et al. 2020 (2-128-128-2 ReLU against 2-128-128-1 leaky ReLU
without a last bias). Theirs: Adam 1e-4 (0, 0.9), batch 128, 20,000 steps; here
the rate is 1e-3 and R1 damps the rotation, so that 10,000 steps suffice. Theirs
also give the critic's last row unit length in RS runs: --config.unit_norm=out.
"""

import ml_collections

from gan_jax import defaults
from gan_jax.data import toy

_LOSSES = {
  'js': 'nonsaturating',
  'rs': 'relativistic',
  'wgan': 'wasserstein',
}


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Argument: a set, a loss (js, rs, wgan) and quick, joined by commas.

  Left out: ring8, rs. `quick` is 100 steps.
  """
  words = [word for word in arg.split(',') if word]
  allowed = [*sorted(toy.SETS), *_LOSSES, 'quick']
  for word in words:
    if word not in allowed:
      raise ValueError(f'config argument {word!r} is not one of {allowed}.')
  for kind in (toy.SETS, _LOSSES):
    given = [word for word in words if word in kind]
    if len(given) > 1:
      raise ValueError(f'config argument has {given}; give one of them.')
  name = next((word for word in words if word in toy.SETS), 'ring8')
  loss = next((word for word in words if word in _LOSSES), 'rs')
  return _config(name, _LOSSES[loss], 'quick' in words)


def _config(name, loss, quick):
  config = defaults.get_config()
  config.data.name = name
  size = 1 if name == 'two_clusters' else 2
  config.batch_size = 100 if name == 'two_clusters' else 128
  net = dict(name='mlp', features=(128, 128), data_shape=(size,))
  config.generator = dict(z_size=2, activation='relu', **net)
  config.discriminator = dict(
    activation='leaky_relu', slope=0.2, final_bias=False, **net
  )
  config.loss = loss
  adam = dict(learning_rate=1e-3, b1=0.0, b2=0.9)
  config.optimizer_g = defaults.optimizer(**adam)
  config.optimizer_d = defaults.optimizer(**adam)
  config.penalties.r1 = 0.1
  config.averaging = 0.999
  config.num_steps = 100 if quick else 10_000
  config.log_every = 50 if quick else 500
  config.sample_every = config.checkpoint_every = 50 if quick else 2500
  return config
