"""CIFAR-10 with narrow networks: Sun, Fang and Schwing 2020 (RS-GAN).

python -m gan_jax.main --config=configs/cifar10_landscape.py:cnn,rs,quarter \
    --config.data_dir=DIR --workdir=runs/cifar10-rs-quarter

DIR comes from `python -m gan_jax.data prepare cifar10 --data_dir=DIR`.

Protocol of the authors' code: Adam (0.5, 0.999), learning rates 5e-4 and 2e-4,
batch 64, 100,000 iterations, the generator's step first, a fresh real batch for
every step, rates constant for 50,000 iterations and linear to 0 after that,
U(0, 1/128) added to real images, critic with spectral norm.

Deliberate differences: the last learning rate is 0, not slightly negative; one
power iteration a critic step instead of one a forward pass; running variances
are biased; samples come from running statistics, not from batch statistics;
the averaged generator (0.9999, an option of theirs) averages batch statistics
too. Published (IS, FID at 10,000 samples against 10,000 test images): `cnn,rs`
7.32, 27.16; `cnn,js` 7.42, 28.07; the narrow CNNs have no published number that
could be confirmed.
"""

import ml_collections

from gan_jax import defaults

_NETS = {'cnn'}
_LOSSES = {
  'js': 'nonsaturating',
  'rs': 'relativistic',
  'js_hinge': 'hinge',
  'rs_hinge': 'relativistic_hinge',
}
_WIDTHS = {'full': 64, 'half': 32, 'quarter': 16}
_NORMS = {'sn': True, 'nosn': False}


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Argument: words joined by commas, one of each kind, in any order.

  cnn; js, rs, js_hinge, rs_hinge; full, half, quarter; sn, nosn; quick (20
  steps). Left out: cnn, rs, full, sn.
  """
  chosen = dict(net='cnn', loss='rs', width='full', norm='sn', quick='')
  kinds = dict(
    net=_NETS, loss=_LOSSES, width=_WIDTHS, norm=_NORMS, quick={'quick'}
  )
  for word in filter(None, arg.split(',')):
    kind = [name for name, words in kinds.items() if word in words]
    if not kind:
      allowed = [word for words in kinds.values() for word in sorted(words)]
      raise ValueError(f'config argument {word!r} is not one of {allowed}.')
    chosen[kind[0]] = word
  return _config(**chosen)


def _config(net, loss, width, norm, quick):
  config = defaults.get_config()
  config.num_steps = 20 if quick else 100_000
  config.data.name, config.data.image_size = 'cifar10', 32
  config.dequantize = True
  config.loss = _LOSSES[loss]
  sizes = dict(width=_WIDTHS[width], image_size=32, channels=3)
  config.generator = dict(name=net, z_size=128, **sizes)
  config.discriminator = dict(name=net, spectral_norm=_NORMS[norm], **sizes)
  config.game.first = 'g'
  decay = dict(schedule='linear', decay_start=0 if quick else 50_000)
  config.optimizer_g = defaults.optimizer(learning_rate=5e-4, **decay)
  config.optimizer_d = defaults.optimizer(learning_rate=2e-4, **decay)
  config.averaging = 0.9999
  config.log_every = 10 if quick else 100
  config.sample_every = 10 if quick else 1000
  config.checkpoint_every = 10 if quick else 5000
  return config
