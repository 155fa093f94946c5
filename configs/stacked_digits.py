"""Stacked digits at 16 x 16: does a generator reach all 1,000 modes?

python -m gan_jax.main --config=configs/stacked_digits.py:rs \
    --workdir=runs/stacked-rs
python -m gan_jax.main --config=configs/stacked_digits.py:js,none \
    --workdir=runs/stacked-js

The mode count of Metz et al. 2017 (Unrolled GAN, section 3.3.1) with the counts
of PacGAN (Lin et al. 2018): 128,000 images, 26,000 samples, a mode counts from
one sample. The digits are scikit-learn's, so nothing is fetched, and no number
here is comparable with one on stacked MNIST. Networks, rates and R1 are those
of configs/digits.py; r1r2 is what R3GAN has (Huang et al. 2024).

10,000 steps take 11 minutes on one core of x86 (15 steps a second). Seen there
at 3,000 steps, one seed, averaged generator, 26,000 samples:

            modes   KL to uniform
  rs         999    0.185
  js,none    982    0.323
  real      1000    0.023   held-out digits; .019 would be even draws

After 300 steps js,none had 172. A mode counts however blurred its digits are:
look at the samples too.
"""

import ml_collections

from gan_jax import defaults

_LOSSES = {'js': 'nonsaturating', 'rs': 'relativistic'}
_PENALTIES = {
  'none': {},
  'r1': dict(r1=0.5),
  'r2': dict(r2=0.5),
  'r1r2': dict(r1=0.5, r2=0.5),
}


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Argument: words joined by commas, one of each kind, in any order.

  A loss (js, rs); penalties (none, r1, r2, r1r2); quick (20 steps, to see that
  everything runs). Left out: rs, r1.
  """
  kinds = dict(loss=_LOSSES, penalties=_PENALTIES, quick=['quick'])
  chosen = dict(loss='rs', penalties='r1', quick='')
  return _config(**chosen | defaults.choose(arg, kinds))


def _config(loss, penalties, quick):
  config = defaults.get_config()
  config.num_steps = 20 if quick else 10_000
  config.data.name, config.data.image_size = 'stacked_digits', 16
  config.loss = _LOSSES[loss]
  size = dict(width=16, image_size=16, channels=3)
  config.generator = dict(name='cnn', z_size=64, **size)
  config.discriminator = dict(name='cnn', spectral_norm=False, **size)
  config.optimizer_g = defaults.optimizer(learning_rate=5e-4)
  config.optimizer_d = defaults.optimizer(learning_rate=5e-4)
  config.averaging = 0.999
  config.penalties.update(_PENALTIES[penalties])
  config.lazy = 4  # a penalty doubles the cost of a step that pays it
  config.log_every = 10 if quick else 500
  config.sample_every = config.checkpoint_every = 10 if quick else 1000
  config.num_samples = 26_000
  return config
