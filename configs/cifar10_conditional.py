"""CIFAR-10 by class, and critics that look at a batch: a row for each idea.

python -m gan_jax.main --config=configs/cifar10_conditional.py:projection \
    --config.data_dir=DIR --workdir=runs/cifar10-projection

DIR comes from `python -m gan_jax.data prepare cifar10 --data_dir=DIR`. `digits`
takes scikit-learn's digits instead, which need no files: minutes on a CPU.

  plain        nothing of what follows, to compare with
  acgan        Odena et al. 2017: the critic classifies too, real and generated
               images, and the generator wants its own to be recognized (class
               losses with weight 1)
  projection   Miyato and Koyama 2018: the inner product of the critic's
               features and an embedding of the class, in the logit
  minibatch    Salimans et al. 2016, section 3.2: minibatch discrimination, 100
               kernels of 5 dimensions, beside the last layer
  deviation    Karras et al. 2018: the mean standard deviation of the batch as
               a map more, before the last convolution
  features     Salimans et al. 2016, section 3.1: the generator minimizes the
               distance of the critic's mean features, and nothing else
  historical   Salimans et al. 2016, section 3.3: both players pay 0.01 times
               their squared distance from the mean of their past
  residual     Mescheder et al. 2018: labels in the residual pair, R1

In acgan and projection the generator has class-conditional batch norm. All rows
but residual share one protocol, so that each differs from plain by its idea
alone: the pair `cnn` or `resnet` at half width, spectral norm, the loss of
Goodfellow et al. (log D), Adam 2e-4 with betas (0.5, 0.999), one step each, the
critic first, batch 64, 100,000 steps, averaged generator (0.999). residual is
trained as its authors' code does it: RMSprop 1e-4, R1 with weight 10 (gamma 20
in the paper's gamma / 2), mirrored images with U(0, 1/128) added, batch 64,
averaged generator (0.999), here with width 32.

Published. None is given: the papers' networks and protocols differ from these,
and for the residual pair no CIFAR-10 configuration is published.

Deliberate differences. AC-GAN's generator took the class as an input and its
critic dropped features; projection was published with the hinge loss and five
critic steps; minibatch discrimination and historical averaging without spectral
norm. Class embeddings are spectrally normalized as published, and so are the
class logits and the tensor of minibatch discrimination here. The weight of
historical averaging is ours: the paper tells none.
"""

import ml_collections

from gan_jax import defaults

# Options of g and d, and the changes of single fields, by row.
_ROWS = {
  'plain': ({}, {}),
  'acgan': (dict(labels=10), dict(labels=10, conditioning='auxiliary')),
  'projection': (dict(labels=10), dict(labels=10, conditioning='projection')),
  'minibatch': ({}, dict(minibatch='discrimination')),
  'deviation': ({}, dict(minibatch='deviation')),
  'features': ({}, {}),
  'historical': ({}, {}),
  'residual': (dict(labels=10), dict(labels=10)),
}
_WIDTHS = {'cnn': 32, 'resnet': 128}


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Argument: words joined by commas, one of each kind, in any order.

  plain, acgan, projection, minibatch, deviation, features, historical,
  residual; cnn, resnet (not with residual); cifar10, digits; quick (20 steps).
  Left out: projection, cnn, cifar10.
  """
  kinds = dict(
    row=_ROWS, net=_WIDTHS, data=('cifar10', 'digits'), quick=['quick']
  )
  chosen = dict(row='projection', net='', data='cifar10', quick='')
  return _config(**chosen | defaults.choose(arg, kinds))


def _config(row, net, data, quick):
  _check(row, net, data)
  config = defaults.get_config()
  config.num_steps = 20 if quick else 100_000
  size = dict(image_size=32, channels=3)
  config.data.name, config.data.image_size = data, 32
  config.averaging = 0.999
  config.log_every = 10 if quick else 100
  config.sample_every = 10 if quick else 1000
  config.checkpoint_every = 10 if quick else 5000
  if row == 'residual':
    _set_residual(config, size)
  else:
    _set_players(config, row, net or 'cnn', size)
  if data == 'digits':
    _set_digits(config, quick)
  return config


def _check(row, net, data):
  if row == 'residual' and net:
    raise ValueError(
      f"config argument {net!r} does not go with 'residual', which is a pair "
      'of its own.'
    )
  if data == 'digits' and net == 'resnet':
    raise ValueError(
      "config argument 'digits' does not go with 'resnet', whose images have "
      '32 pixels; take cnn.'
    )


def _set_players(config, row, net, size):
  options_g, options_d = _ROWS[row]
  common = dict(name=net, width=_WIDTHS[net], **size)
  config.generator = dict(z_size=128, **common, **options_g)
  config.discriminator = dict(spectral_norm=True, **common, **options_d)
  if row == 'acgan':
    config.auxiliary = dict(real=1.0, fake=1.0, generator=1.0)
  if row == 'features':
    config.feature_matching = dict(weight=1.0, alone=True)
  historical = 0.01 if row == 'historical' else 0.0
  for player in 'gd':
    config[f'optimizer_{player}'] = defaults.optimizer(
      learning_rate=2e-4, b1=0.5, b2=0.999, historical=historical
    )


def _set_residual(config, size):
  options_g, options_d = _ROWS['residual']
  common = dict(name='residual', variant='resnet', width=32, **size)
  config.generator = dict(
    z_size=256, embed_size=256, max_width=512, **common, **options_g
  )
  config.discriminator = dict(max_width=512, **common, **options_d)
  config.penalties.r1 = 10.0
  config.flip = config.dequantize = True
  for player in 'gd':
    config[f'optimizer_{player}'] = defaults.optimizer(
      'rmsprop', learning_rate=1e-4, decay=0.99
    )


def _set_digits(config, quick):
  """Grey images of 16 pixels, narrow networks, 3,000 steps."""
  config.num_steps = 20 if quick else 3000
  config.data.image_size = 16
  config.flip = False
  config.averaging = 0.99
  config.num_samples = 1797
  for player in (config.generator, config.discriminator):
    player.image_size, player.channels, player.width = 16, 1, 16
  config.generator.z_size = 64
  for player in 'gd':
    config[f'optimizer_{player}'].learning_rate = 5e-4
  if not quick:
    config.sample_every = config.checkpoint_every = 500
