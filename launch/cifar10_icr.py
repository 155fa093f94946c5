"""CIFAR-10 without a regularizer: ACGD against Adam, Schaefer et al. 2020.

python -m launch.cifar10_icr --out=runs/icr --data_dir=DIR
    [--rows='wgan,acgd;wgan,adam,gp'] [--seeds=3] [--dry_run]

Without a GPU: --data=digits. See docs/published.md and configs/cifar10_icr.py.
"""

import sys

from launch.published import command
from launch.published import study as studies

_CONFIG = 'configs/cifar10_icr.py'
_LOSSES = {'wgan': 'Wasserstein loss', 'js': 'cross-entropy'}
_METHODS = ('acgd', 'adam')
_REGULARIZERS = ('none', 'l2', 'dropout', 'gp', 'sn')
# The paper's figures, read off by eye; scores through another network than IS.
_FIGURES = {
  'wgan,acgd,none': ('22-23', '5.4-5.6'),
  'wgan,adam,sn': ('24-28', '4.9-5.27'),
  'wgan,adam,gp': ('31-33', '4.85-5.0'),
}
_RECORDED = {
  'wgan,acgd,none': 'scores recorded by the authors: 2.17 at 5,000 steps, 4.49 '
  'at 50,000, 5.14 at 200,000, best 5.47 at 380,000, last 5.32',
  'wgan,adam,gp': 'scores recorded by the authors: 3.04 at 2,000 steps, 4.0 at '
  '80,000, 4.76 at 468,000; 5 critic steps a step',
}


def _row(loss, method, regularizer):
  name = f'{loss},{method},{regularizer}'
  fid, score = _FIGURES.get(name, ('', ''))
  return studies.Row(
    name,
    f'{_CONFIG}:{name}',
    paper=dict(frechet=fid, inception_score=score) if fid else {},
    group=_LOSSES[loss],
    note=_RECORDED.get(name, ''),
  )


_ROWS = tuple(
  _row(loss, method, regularizer)
  for loss in _LOSSES
  for method in _METHODS
  for regularizer in _REGULARIZERS
)


def _claims():
  """ACGD without a regularizer is stable, and better than Adam with any."""
  claims = []
  for loss, words in _LOSSES.items():
    plain = f'{loss},acgd,none'
    adam = f'{loss},adam,none'
    claims.append(
      studies.Claim(
        f'{words}: without a regularizer ACGD diverges in fewer seeds than '
        'Adam',
        plain,
        adam,
        metric='diverged',
      )
    )
    for regularizer in _REGULARIZERS:
      other = f'{loss},adam,{regularizer}'
      text = f'{words}: ACGD without a regularizer is better than Adam with '
      text += {'none': 'none either'}.get(regularizer, regularizer)
      claims += [
        studies.Claim(text, plain, other, at=at)
        for at in ('last', 'equal_time')
      ]
  return tuple(claims)


_PAIRS = tuple(
  (f'{loss},acgd,none', f'{loss},adam,{regularizer}')
  for loss in _LOSSES
  for regularizer in _REGULARIZERS
)


def _digits(row):
  """The pair at a quarter of its width and 16 x 16 pixels, few iterations."""
  sizes = dict(width=16, image_size=16, channels=1)
  players = {
    f'{player}.{field}': value
    for player in ('generator', 'discriminator')
    for field, value in sizes.items()
  }
  own = {
    'data.image_size': 16,
    'num_steps': 2000,
    'num_samples': 1797,
    'log_every': 100,
    'sample_every': 500,
    'checkpoint_every': 500,
  }
  method = row.config.partition(':')[2].split(',')[1]
  if method == 'acgd':  # a loop of many convolutions is slow on a CPU
    own |= {'game.iterations': 5, 'game.tolerance': 0.01}
  return players | own


STUDY = studies.Study(
  name='cifar10_icr',
  title='CIFAR-10 without a regularizer: competitive gradient descent (ICR)',
  intro=(
    'Schaefer, Zheng and Anandkumar, Implicit Competitive Regularization in '
    'GANs, 2020. Players that anticipate each other are said to regularize the '
    'critic, so that adaptive competitive gradient descent (ACGD) needs no '
    'penalty, even with the Wasserstein loss, and ends better than Adam with '
    'any.',
    "The paper's numbers are read off its figures, and its scores are those of "
    "torchvision's network on batch statistics: they do not compare with ours, "
    'and only their order can be checked. The combinations without a number '
    "exist in the authors' code; none of them could be confirmed. An ACGD step "
    'costs more than one of Adam, so the rows are compared at equal '
    'device-seconds too, counted on the device of each run, which must be the '
    'same.',
  ),
  rows=_ROWS,
  data='cifar10',
  claims=_claims(),
  stand_ins=(
    studies.StandIn(
      'digits',
      'handwritten digits: the pair at a quarter of its width (16 channels) '
      'and 16 x 16 pixels, losses, rates, regularizers and play as they are; '
      'ACGD solves to 0.01 in at most 5 iterations, 2,000 steps.',
      _digits,
      evaluate_every=250,
    ),
  ),
  evaluate_every=5000,
  num_samples=10_000,
  metrics=('frechet', 'inception_score'),
  seeds=3,
  get_data='python -m gan_jax.data prepare cifar10 --data_dir=DIR prepares it.',
  equal_counts=True,
  equal_time=_PAIRS,
)

if __name__ == '__main__':
  sys.exit(command.main(STUDY))
