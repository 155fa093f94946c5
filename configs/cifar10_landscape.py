"""CIFAR-10 with narrow networks: Sun, Fang and Schwing 2020 (RS-GAN).

python -m gan_jax.main --config=configs/cifar10_landscape.py:cnn,rs,quarter \
    --config.data_dir=DIR --workdir=runs/cifar10-rs-quarter

DIR comes from `python -m gan_jax.data prepare cifar10 --data_dir=DIR`.

Protocol of the authors' code, for all rows: batch 64, 100,000 iterations, the
generator's step first, a fresh real batch for every step of either player,
U(0, 1/128) added to real images, rates constant for 50,000 iterations and
linear to 0 after that, spectral norm in the critic, an averaged generator
(0.9999) as an option.

           rates g, d     Adam           steps d:g   recorded command
  cnn      5e-4, 2e-4     (0.5, 0.999)   1:1         yes, for rs
  resnet   1.5e-3, 2e-4   (0, 0.9)       5:1         yes, for rs
  wgan_gp  2e-4, 2e-4     (0, 0.9)       5:1         none

`bottleneck` is half the channels and half of those again inside each block,
16.8 % of the parameters. `wgan_gp` has a penalty of weight 10 and no spectral
norm unless `sn` asks for it; nothing of its set-up is known but its results, so
it is that of Gulrajani et al. 2017.

Published, IS and FID (10,000 samples against the 10,000 test images, batch
statistics, best checkpoint; rates were tuned for each row and not told):

  cnn,js,nosn        6.27  49.13      resnet,js_hinge             7.92  21.30
  cnn,wgan_gp        6.68  39.66      resnet,js_hinge,half        7.63  27.21
  cnn,rs,nosn        7.02  33.79      resnet,js_hinge,quarter     6.79  37.51
  cnn,js             7.42  28.07      resnet,js_hinge,bottleneck  7.16  33.24
  cnn,rs             7.32  27.16      resnet,rs_hinge             8.03  19.07
                                      resnet,rs_hinge,half        7.69  22.79
                                      resnet,rs_hinge,quarter     7.11  32.35
                                      resnet,rs_hinge,bottleneck  7.52  about 24

The narrow CNNs have no published number that could be confirmed.

Deliberate differences: the rates fall one step later, so that the last one is
1/50,000 of the first, not 0; one power iteration a critic step instead of one a
forward pass; running variances are biased; samples come from running
statistics, not from batch statistics; the generator is always averaged, batch
statistics too, with a shorter memory at first.
"""

import ml_collections

from gan_jax import defaults

_LOSSES = {
  'js': 'nonsaturating',
  'rs': 'relativistic',
  'js_hinge': 'hinge',
  'rs_hinge': 'relativistic_hinge',
  'wgan_gp': 'wasserstein',
}
_WIDTHS = {
  'cnn': {'full': 64, 'half': 32, 'quarter': 16},
  'resnet': {'full': 256, 'half': 128, 'quarter': 64, 'bottleneck': 128},
}
_NORMS = {'sn': True, 'nosn': False}
# Learning rates of g and d, Adam's betas, critic steps an iteration.
_RATES = {
  'cnn': (5e-4, 2e-4, 0.5, 0.999, 1),
  'resnet': (1.5e-3, 2e-4, 0.0, 0.9, 5),
  'wgan_gp': (2e-4, 2e-4, 0.0, 0.9, 5),
}


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Argument: words joined by commas, one of each kind, in any order.

  cnn, resnet; js, rs, wgan_gp, js_hinge, rs_hinge; full, half, quarter,
  bottleneck (resnet only); sn, nosn; quick (20 steps). Left out: cnn, rs, full,
  and sn but for wgan_gp.
  """
  chosen = dict(net='cnn', loss='rs', width='full', norm='', quick='')
  given = {}
  kinds = dict(
    net=_WIDTHS,
    loss=_LOSSES,
    width=_WIDTHS['resnet'],
    norm=_NORMS,
    quick={'quick'},
  )
  for word in filter(None, arg.split(',')):
    kind = [name for name, words in kinds.items() if word in words]
    if not kind:
      allowed = [word for words in kinds.values() for word in sorted(words)]
      raise ValueError(f'config argument {word!r} is not one of {allowed}.')
    if kind[0] in given:
      raise ValueError(
        f'config argument has {given[kind[0]]!r} and {word!r}; give one of '
        f'{sorted(kinds[kind[0]])}.'
      )
    given[kind[0]] = word
  return _config(**chosen | given)


def _config(net, loss, width, norm, quick):
  if width not in _WIDTHS[net]:
    raise ValueError(
      f'config argument {width!r} does not go with {net!r}, which has '
      f'{sorted(_WIDTHS[net])}.'
    )
  norm = norm or ('nosn' if loss == 'wgan_gp' else 'sn')
  config = defaults.get_config()
  config.num_steps = 20 if quick else 100_000
  config.data.name, config.data.image_size = 'cifar10', 32
  config.dequantize = True
  config.loss = _LOSSES[loss]
  config.penalties.wgan_gp = 10.0 if loss == 'wgan_gp' else 0.0
  sizes = dict(width=_WIDTHS[net][width], image_size=32, channels=3)
  if net == 'resnet':
    sizes['bottleneck'] = width == 'bottleneck'
  config.generator = dict(name=net, z_size=128, **sizes)
  config.discriminator = dict(name=net, spectral_norm=_NORMS[norm], **sizes)
  rates = _RATES['wgan_gp' if loss == 'wgan_gp' else net]
  _set_play(config, *rates, decay_start=0 if quick else 50_000)
  config.averaging = 0.9999
  config.log_every = 10 if quick else 100
  config.sample_every = 10 if quick else 1000
  config.checkpoint_every = 10 if quick else 5000
  return config


def _set_play(config, rate_g, rate_d, b1, b2, d_steps, decay_start):
  config.game.first, config.game.d_steps = 'g', d_steps
  adam = dict(b1=b1, b2=b2, schedule='linear', decay_start=decay_start)
  config.optimizer_g = defaults.optimizer(learning_rate=rate_g, **adam)
  config.optimizer_d = defaults.optimizer(learning_rate=rate_d, **adam)
