"""LSUN at 256 px: R1 on three scenes, RS-GAN against JS-GAN on towers.

python -m launch.lsun --out=runs/lsun --data_dir=DIR --weights=INCEPTION
    [--rows='tower,rs;tower,js'] [--seeds=3] [--dry_run]

The rows of R1 run only where --rows names them. See configs/lsun.py.
"""

import sys

from launch.published import command
from launch.published import study as studies

_CONFIG = 'configs/lsun.py'
_R1 = tuple(f'{scene},r1' for scene in ('bedroom', 'tower', 'church'))
_PAIRS = ('tower,rs', 'tower,js', 'church,rs', 'church,js')
_NOTES = {
  'tower,rs': 'The command that the authors recorded.',
  'tower,js': 'No command is known: that of rs with the other loss.',
}

STUDY = studies.Study(
  name='lsun',
  title='LSUN at 256 x 256 pixels',
  intro=(
    'Sun, Fang and Schwing, Towards a Better Global Loss Landscape of GANs, '
    '2020 (tower and church, the CNN of 256 px), and Mescheder, Geiger and '
    'Nowozin, Which Training Methods for GANs do Actually Converge?, 2018 (R1 '
    'and a residual pair). Pictures are what the papers show; distances could '
    'not be confirmed (UNCONFIRMED), so no number of them is beside ours.',
  ),
  rows=(
    *(
      studies.Row(
        name,
        f'{_CONFIG}:{name}',
        group='CNN, pairs (RS) and single samples (JS)',
        note=_NOTES.get(name, ''),
      )
      for name in _PAIRS
    ),
    *(
      studies.Row(name, f'{_CONFIG}:{name}', group='Residual pair with R1')
      for name in _R1
    ),
  ),
  data='lsun',
  claims=tuple(
    studies.Claim(
      f'Smaller distance with pairs than with single samples, {scene} (Sun et '
      'al. 2020)',
      f'{scene},rs',
      f'{scene},js',
    )
    for scene in ('tower', 'church')
  ),
  evaluate_every=10_000,
  num_samples=10_000,
  quick={
    'num_steps': 2,
    'batch_size': 2,
    'log_every': 1,
    'sample_every': 2,
    'checkpoint_every': 2,
    'evaluate_every': 2,
    'num_samples': 8,
    'evaluation.reference': 8,
    'evaluation.features': 'pixels',
    'evaluation.few': True,
  },
  get_data=(
    'TFDS calls the sets lsun/bedroom, lsun/tower and lsun/church_outdoor, and '
    'reads their LMDB files by tensorflow-io: pip install "gan_jax[prepare]" '
    'tensorflow-io; python -m gan_jax.data prepare lsun/tower --data_dir=DIR. '
    'One row on a folder of images: python -m gan_jax.main '
    '--config=configs/lsun.py:tower,rs --config.data.name=folder:PATH '
    '--workdir=DIR.'
  ),
  expensive=_R1,
)

if __name__ == '__main__':
  sys.exit(command.main(STUDY))
