"""CIFAR-10 by a modern baseline (R3GAN), and what of its loss is needed.

python -m launch.cifar10_modern --out=runs/modern --data_dir=DIR
    [--rows='rs,r1r2'] [--seeds=3] [--dry_run]

Without a GPU: --data=digits. See configs/cifar10_modern.py.
"""

import sys

from launch.published import command
from launch.published import study as studies

_CONFIG = 'configs/cifar10_modern.py'
_ABLATION = ('rs,r1', 'js,r1r2', 'js,r1')

_ROWS = (
  studies.Row(
    'rs,r1r2',
    f'{_CONFIG}:rs,r1r2',
    paper=dict(frechet='1.96'),
    group='R3GAN',
    note='50,000 samples, with class labels',
  ),
  *(
    studies.Row(name, f'{_CONFIG}:{name}', group='What of its loss is needed')
    for name in _ABLATION
  ),
)


def _digits(row):
  """The word small, for grey digits of ten classes."""
  size = dict(width=32, blocks=1, image_size=16, channels=1, dtype='float32')
  players = {
    f'{player}.{field}': value
    for player in ('generator', 'discriminator')
    for field, value in size.items()
  }
  return players | {
    'data.image_size': 16,
    'flip': False,
    'ada.policy': '',
    'ada.p': 0.0,
    'anneal.ada': 1.0,
    'lazy': 4,
    'batch_size': 32,
    'num_steps': 2000,
    'averaging': 0.999,
    'log_every': 100,
    'sample_every': 500,
    'checkpoint_every': 500,
    'num_samples': 1797,
  }


def _claims():
  better = [
    ('Pairs are better, with both penalties', 'rs,r1r2', 'js,r1r2'),
    ('Pairs are better, with R1 alone', 'rs,r1', 'js,r1'),
    ('R2 beside R1 helps the loss of pairs', 'rs,r1r2', 'rs,r1'),
    ('R2 beside R1 helps the loss of single samples', 'js,r1r2', 'js,r1'),
  ]
  claims = [studies.Claim(*claim) for claim in better]
  for loss in ('rs', 'js'):
    pair = f'{loss},r1r2', f'{loss},r1'
    text = f'Fewer runs diverge with {pair[0]} than with {pair[1]}'
    claims.append(studies.Claim(text, *pair, 'diverged'))
  return tuple(claims)


STUDY = studies.Study(
  name='cifar10_modern',
  title='CIFAR-10 by a modern baseline: pairs, R1 and R2, nothing normalized',
  intro=(
    'Huang, Gokaslan, Kuleshov and Tompkin, The GAN is dead; long live the '
    'GAN! A Modern GAN Baseline, 2024 (R3GAN). The claim: with the '
    'relativistic loss of pairs and penalties on real and generated samples a '
    'plain modern network needs no other trick.',
    "The first row is the paper's; the others drop R2 or the pairing, for "
    'which it has no numbers on CIFAR-10. Its schedules and augmentation are '
    'those of its code; what differs is told in configs/cifar10_modern.py.',
  ),
  rows=_ROWS,
  data='cifar10',
  claims=_claims(),
  stand_ins=(
    studies.StandIn(
      'digits',
      "scikit-learn's digits at 16 x 16 pixels with their ten classes, 32 "
      'channels, one block a resolution, 2,000 steps, penalties in every '
      'fourth.',
      _digits,
      evaluate_every=500,
    ),
  ),
  evaluate_every=5000,
  num_samples=50_000,
  metrics=('frechet', 'inception_score'),
  quick=dict(
    num_steps=20,
    batch_size=8,
    log_every=5,
    sample_every=10,
    checkpoint_every=10,
    evaluate_every=10,
  ),
  get_data='Prepare it by: python -m gan_jax.data prepare cifar10 '
  '--data_dir=DIR',
)

if __name__ == '__main__':
  sys.exit(command.main(STUDY))
