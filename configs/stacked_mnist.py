"""Stacked MNIST: does a generator reach all 1,000 modes?

python -m gan_jax.main --config=configs/stacked_mnist.py:rs,r1r2 \
    --config.data_dir=DIR --workdir=runs/stacked-mnist-rs
python -m gan_jax.main --config=configs/stacked_mnist.py:js,none \
    --config.data_dir=DIR --workdir=runs/stacked-mnist-js

DIR comes from `python -m gan_jax.data prepare mnist --data_dir=DIR`. Modes are
told by a LeNet, whose file --config.evaluation.weights names.

Three digits as red, green and blue (Metz et al. 2017, Unrolled GAN, section
3.3.1) with the counts of PacGAN (Lin et al. 2018): 128,000 images, 26,000
samples, a mode counts from one sample. R3GAN (Huang et al. 2024) compares rs
and js with R1 and with R1 and R2 there and reports that only both penalties are
stable. Its networks, rates and steps are not in its code and could not be
confirmed. So these are our own: the CNN pair at 32 px and half the usual width,
without spectral norm, weights gamma = 1, every penalty in every step.

25,000 steps; not run at this length, so no number is expected.
configs/stacked_digits.py is what a CPU can do.
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
  everything runs). Left out: rs, r1r2.
  """
  kinds = dict(loss=_LOSSES, penalties=_PENALTIES, quick=['quick'])
  chosen = dict(loss='rs', penalties='r1r2', quick='')
  return _config(**chosen | defaults.choose(arg, kinds))


def _config(loss, penalties, quick):
  config = defaults.get_config()
  config.num_steps = 20 if quick else 25_000
  config.data.name, config.data.image_size = 'stacked_mnist', 32
  config.loss = _LOSSES[loss]
  size = dict(width=32, image_size=32, channels=3)
  config.generator = dict(name='cnn', z_size=128, **size)
  config.discriminator = dict(name='cnn', spectral_norm=False, **size)
  config.optimizer_g = defaults.optimizer(learning_rate=2e-4)
  config.optimizer_d = defaults.optimizer(learning_rate=2e-4)
  config.averaging = 0.999
  config.penalties.update(_PENALTIES[penalties])
  config.log_every = 10 if quick else 100
  config.sample_every = config.checkpoint_every = 10 if quick else 1000
  config.num_samples = 26_000
  config.evaluation.features = 'mnist-lenet'
  return config
