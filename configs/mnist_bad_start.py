"""MNIST from a bad initial point: Sun, Fang and Schwing 2020 (RS-GAN).

python -m launch.mnist_bad_start --out=DIR --data_dir=DIR   # the whole study
python -m gan_jax.main --config=configs/mnist_bad_start.py:start,js \
    --config.data_dir=DIR --workdir=runs/start              # only the point

The paper shows by curves of FID that from some initial point of the weights JS
fails and RS succeeds. How the point was made is not told, nor any number. The
authors' loader has an MNIST of a fifth of the 5s and all 7s, which may be what
it was made with: `start` plays on that. Its weights are exported, and `js` and
`rs` play on all digits, with config.generator_from and discriminator_from
naming the files, or without from a fresh draw.

The CNN pair of the paper at 32 x 32, the size that its loader brings MNIST to,
with spectral norm in the critic. Batch 64, the generator first, 2e-4 for both
players, Adam (0.5, 0.999): defaults of the authors' program, which records no
command for MNIST. Their rates fall from half of the run on.
"""

import ml_collections

from gan_jax import defaults

_LOSSES = {'js': 'nonsaturating', 'rs': 'relativistic'}
SHARES = '5:0.2,7:1'


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Argument: words joined by commas, one of each kind, in any order.

  A loss (js, rs); start (plays on some 5s and 7s, to be exported); quick (20
  steps, to see that everything runs). Left out: rs, on all digits.
  """
  kinds = dict(loss=_LOSSES, start=['start'], quick=['quick'])
  chosen = dict(loss='rs', start='', quick='')
  return _config(**chosen | defaults.choose(arg, kinds))


def _config(loss, start, quick):
  config = defaults.get_config()
  config.num_steps = 5_000 if start else 30_000
  config.data.name, config.data.image_size = 'mnist', 32
  config.data.resize = 'torchvision'
  config.data.shares = SHARES if start else ''
  config.dequantize = True
  config.loss = _LOSSES[loss]
  sizes = dict(name='cnn', width=64, image_size=32, channels=1)
  config.generator = dict(z_size=128, **sizes)
  config.discriminator = dict(spectral_norm=True, **sizes)
  config.game.first = 'g'
  # A point to go on from has not slowed down.
  falls = {} if start or quick else dict(schedule='linear', decay_start=15_000)
  config.optimizer_g = defaults.optimizer(learning_rate=2e-4, **falls)
  config.optimizer_d = defaults.optimizer(learning_rate=2e-4, **falls)
  config.evaluation.features = 'mnist-lenet'
  config.sample_every, config.checkpoint_every = 1000, 5000
  if quick:
    config.num_steps = 20
    config.log_every = config.sample_every = config.checkpoint_every = 10
  return config
