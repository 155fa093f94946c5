"""CIFAR-10 by a modern baseline: R3GAN, Huang et al. 2024.

python -m gan_jax.main --config=configs/cifar10_modern.py \
    --config.data_dir=DIR --workdir=runs/cifar10-modern
python -m gan_jax.main --config=configs/cifar10_modern.py:small \
    --config.data_dir=DIR --workdir=runs/cifar10-modern-small

DIR comes from `python -m gan_jax.data prepare cifar10 --data_dir=DIR`.

The claim: the relativistic loss of pairs (rs) has no bad basins, a penalty on
both sides (R1 and R2) makes it converge, and then a plain modern network needs
no other trick. Published: FID 1.96 with class labels, 50,000 samples against
the whole training set. Ours was not trained at full size: 163 TFLOP a step
(20.8 M + 21.3 M parameters, batch 512) make 18 hours of 40,000 steps where 100
TFLOP/s are reached.

From the authors' code, for CIFAR-10: 768 channels and two blocks at each of 4,
8, 16 and 32 px, groups of 16, expansion 2, 64 latents, an embedding of the
class in both players; bfloat16 above 4x4; Adam with b1 = 0; batch 512, the
critic first; mirrored images, and the augmentation of StyleGAN2-ADA, changes of
colour half as often as the others. By half a cosine over 20 M images move

  learning rate                   2e-4 to 5e-5
  gamma (r1 and r2 are half it)   0.05 to 0.005
  b2                              0.9 to 0.99
  half-life of the average        0 to 5 M images
  p of the augmentation           0 to 0.55

Deliberate differences: theirs go on at the last values until stopped (how long
was not found out); 40,000 steps are 20.5 M images. Images leave the generator
in float32, theirs in bfloat16. `unconditional` is a row of the authors' code
too, without a published number.

small, for a CPU: 16 px, 32 channels, one block a resolution, batch 32, float32,
penalties in every fourth step, no augmentation; the rest moves as above, and an
average of 0.999 in the end. 2,000 steps, five minutes of one core of x86; no
number of it is comparable with a published one.
"""

import ml_collections

from gan_jax import defaults

_LOSSES = {'js': 'nonsaturating', 'rs': 'relativistic'}
_GAMMA = 0.005  # in the end
_IMAGES = 20_000_000  # over which all moves
_PENALTIES = {
  'none': {},
  'r1': dict(r1=_GAMMA / 2),
  'r1r2': dict(r1=_GAMMA / 2, r2=_GAMMA / 2),
}
_LABELS = {'conditional': 10, 'unconditional': 1}


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Argument: words joined by commas, one of each kind, in any order.

  A loss (js, rs); penalties (none, r1, r1r2); conditional, unconditional; small
  (what a CPU can train); quick (20 steps of 8 images, to see that everything
  runs; with small, unless there is a GPU). Left out: rs, r1r2, conditional.
  """
  kinds = dict(
    loss=_LOSSES,
    penalties=_PENALTIES,
    labels=_LABELS,
    small=['small'],
    quick=['quick'],
  )
  chosen = dict(
    loss='rs', penalties='r1r2', labels='conditional', small='', quick=''
  )
  return _config(**chosen | defaults.choose(arg, kinds))


def _config(loss, penalties, labels, small, quick):
  config = defaults.get_config()
  config.num_steps, config.batch_size = 40_000, 512
  config.data.name, config.data.image_size = 'cifar10', 32
  config.flip = True
  config.ada = dict(policy='blit,geometry,color:0.5,cutout', p=0.55)
  config.loss = _LOSSES[loss]
  config.penalties.update(_PENALTIES[penalties])
  size = dict(width=768, blocks=2, group_size=16, expansion=2, image_size=32)
  more = dict(channels=3, labels=_LABELS[labels], dtype='bfloat16')
  config.generator = dict(name='modern', z_size=64, **size, **more)
  config.discriminator = dict(name='modern', **size, **more)
  config.game = defaults.game('alternating', first='d')
  adam = dict(learning_rate=5e-5, b1=0.0, b2=0.99)
  config.optimizer_g = defaults.optimizer(**adam)
  config.optimizer_d = defaults.optimizer(**adam)
  config.averaging = 0.5 ** (512 / 5e6)
  config.anneal.update(
    steps=_IMAGES // 512,
    learning_rate=4.0,
    forgetting=10.0,
    half_life=0.0,
    ada=0.0,
  )
  if _PENALTIES[penalties]:
    config.anneal.penalties = 10.0
  config.log_every = 100
  config.sample_every = 1000
  config.checkpoint_every = 2000
  config.num_samples = 50_000
  if small:
    _make_small(config)
  if quick:
    config.num_steps, config.batch_size = 20, 8
    config.log_every = config.sample_every = config.checkpoint_every = 10
  return config


def _make_small(config):
  config.num_steps, config.batch_size = 2000, 32
  config.data.image_size = 16
  config.ada = dict(policy='', p=0.0)
  config.anneal.ada = 1.0
  config.anneal.steps = 1953  # the same share of the run
  config.lazy = 4
  for player in (config.generator, config.discriminator):
    player.update(width=32, blocks=1, image_size=16, dtype='float32')
  config.averaging = 0.999
  config.log_every = 100
  config.sample_every = config.checkpoint_every = 500
  config.num_samples = 10_000
