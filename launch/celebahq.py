"""R1 on faces: CelebA-HQ at 1024 px, and other penalties at 64 to 256.

python -m launch.celebahq --out=runs/celebahq --data_dir=DIR --weights=INCEPTION
    [--rows='64,r1;64,none'] [--seeds=3] [--dry_run]

The row of 1024 px runs only where --rows names it. Without a GPU:
--data=celeb_a_64. See configs/celebahq.py and docs/celebahq.md.
"""

import sys

from launch.published import command
from launch.published import study as studies

_CONFIG = 'configs/celebahq.py'
_PENALTIES = ('none', 'wgan_gp', 'r1', 'r2')
_SIZES = ('64', '128', '256')
_LARGE = '1024,r1'

_ROWS = (
  studies.Row(
    _LARGE,
    f'{_CONFIG}:{_LARGE}',
    group='1024 px',
    note='batch 24, RMSprop, weight 10 (gamma = 20) as published; half of the '
    'images mirrored, which the published run did not do',
  ),
  *(
    studies.Row(
      f'{size},{penalty}', f'{_CONFIG}:{size},{penalty}', group=f'{size} px'
    )
    for size in _SIZES
    for penalty in _PENALTIES
  ),
)


def _claims():
  """R1 stabilises: Mescheder et al. 2018, section 5 and appendix."""
  claims = []
  for size in _SIZES:
    row = f'{size},r1'
    for other in ('none', 'wgan_gp'):
      pair = row, f'{size},{other}'
      names = f'{pair[0]} than {pair[1]}'
      claims += [
        studies.Claim(f'Fewer runs diverge with {names}', *pair, 'diverged'),
        studies.Claim(f'Smaller distance with {names}', *pair),
      ]
  return tuple(claims)


def _small_faces(row):
  """The rows of 64 px with an eighth of the width, for minutes on a CPU."""
  if not row.name.startswith('64,'):
    return None
  players = {
    f'{player}.{field}': value
    for player in ('generator', 'discriminator')
    for field, value in dict(width=8, max_width=64).items()
  }
  return players | {
    'batch_size': 16,
    'num_steps': 600,
    'optimizer_g.learning_rate': 5e-4,
    'optimizer_d.learning_rate': 5e-4,
    'averaging': 0.99,
    'log_every': 20,
    'sample_every': 200,
    'checkpoint_every': 200,
    'num_samples': 2000,
    'evaluation.reference': 2000,
    'evaluation.features': 'pixels',
  }


STUDY = studies.Study(
  name='celebahq',
  title='Which penalty stabilises: faces at 64 to 1024 pixels',
  intro=(
    'Mescheder, Geiger and Nowozin, Which Training Methods for GANs do '
    'Actually Converge?, 2018. The paper shows pictures of CelebA-HQ and '
    'reports no distance, so no number of it is beside ours. 1024 px is its '
    'published set-up; 64 to 256 px are ours, with the pair of its LSUN '
    'training and the four penalties at equal steps.',
    'R1 and R2 have weight 10 (gamma = 20). wgan_gp is the Wasserstein loss '
    'with its own penalty and one critic step a generator step. A run whose '
    'loss or parameters are no longer finite has diverged and is counted as '
    'that; one that swings or collapses is seen in its distance.',
  ),
  rows=_ROWS,
  data='celeb_a_hq',
  claims=_claims(),
  stand_ins=(
    studies.StandIn(
      'celeb_a_64',
      'aligned CelebA faces at 64 x 64 pixels, prepared as a set of that '
      'name: an eighth of the width, batch 16, 600 steps at five times the '
      'rate, distances in averages of pixels unless --features names a net.',
      _small_faces,
      needs_data_dir=True,
      evaluate_every=200,
    ),
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
    'TFDS builds celeb_a_hq/SIZE (1024, 256, 128, 64) from files that are got '
    'by hand: make dataSIZExSIZE.tar, for example data1024x1024.tar, with the '
    'tools of Progressive Growing of GANs, put it in DIR/downloads/manual/, '
    'then run: python -m gan_jax.data prepare celeb_a_hq/SIZE --data_dir=DIR. '
    'See docs/celebahq.md; one row on a folder of images: python -m '
    'gan_jax.main --config=configs/celebahq.py:SIZE,r1 '
    '--config.data.name=folder:PATH --workdir=DIR.'
  ),
  expensive=(_LARGE,),
)

if __name__ == '__main__':
  sys.exit(command.main(STUDY))
