"""Faces by a residual pair with R1: Mescheder, Geiger and Nowozin 2018.

python -m gan_jax.main --config=configs/celebahq.py:1024,r1 \
    --config.data_dir=DIR --workdir=runs/celebahq-1024

DIR holds the prepared celeb_a_hq/1024, whose files have to be got by hand: see
docs/celebahq.md, which also has the memory of each option and the speed of the
loader. A folder of images does as well: --config.data.name=folder:PATH. Below
1024 px the data are celeb_a_hq/256 and so on; any other set of images fits, for
example --config.data.name=celeb_a_hq/1024, which is then resized, bicubic.

Protocol of the authors' code for 1024 px: batch 24, the critic's step first,
fresh images and latents in each, RMSprop with rate 1e-4 and decay 0.99 for
both, 256 latents, the sum form of the logistic loss with a generator that does
not saturate, generator averaged by 0.999; width 16, at most 512 channels. R1
has weight 10 as in that code (reg_param), which is gamma = 20 of the paper's
gamma / 2.

At 64, 128 and 256 px the pair is that of the authors' LSUN training: width 64,
at most 1024 channels, batch 64. There `none`, `r2` (weight 10) and `wgan_gp`
stand beside `r1`. `wgan_gp` is the Wasserstein loss with weight 10 on (norm -
1)^2 and, unlike Gulrajani et al. 2017, one critic step a generator step as in
the other rows; --config.game.d_steps=5 takes five.

Memory: bf16 (bfloat16 between image and last layer), remat (blocks computed
again for derivatives) and --config.accumulate=K (the batch in K parts) leave
the experiment what it is. `lazy` pays R1 every 16th step, 16-fold.

Published: pictures; no distance was reported. The authors' code has no last
step: 300,000 here. Hours: not measured yet; docs/celebahq.md has the command
that measures a step on the machine at hand.

Deliberate differences: half of the images are mirrored (the code mirrors LSUN
and ImageNet, not CelebA-HQ); the average has a shorter memory at first.
"""

import ml_collections

from gan_jax import defaults

# Width, bound on the channels, batch, steps.
_SIZES = {
  '64': (64, 1024, 64, 100_000),
  '128': (64, 1024, 64, 100_000),
  '256': (64, 1024, 64, 200_000),
  '1024': (16, 512, 24, 300_000),
}
_PENALTIES = ('none', 'r1', 'r2', 'wgan_gp')


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Argument: words joined by commas, one of each kind, in any order.

  64, 128, 256, 1024; none, r1, r2, wgan_gp; bf16; remat; lazy; quick (2 steps
  of 2 images). Left out: 1024, r1.
  """
  kinds = dict(
    size=_SIZES,
    penalty=_PENALTIES,
    bf16=['bf16'],
    remat=['remat'],
    lazy=['lazy'],
    quick=['quick'],
  )
  chosen = dict(size='1024', penalty='r1', bf16='', remat='', lazy='', quick='')
  return _config(**chosen | defaults.choose(arg, kinds))


def _config(size, penalty, bf16, remat, lazy, quick):
  width, max_width, batch_size, num_steps = _SIZES[size]
  config = defaults.get_config()
  config.num_steps = 2 if quick else num_steps
  config.batch_size = 2 if quick else batch_size
  config.data.name, config.data.image_size = f'celeb_a_hq/{size}', int(size)
  config.flip = True
  options = dict(
    name='residual',
    width=width,
    max_width=max_width,
    image_size=int(size),
    dtype='bfloat16' if bf16 else 'float32',
    remat=bool(remat),
  )
  config.generator = dict(z_size=256, embed_size=1, **options)
  config.discriminator = options
  config.optimizer_g = defaults.optimizer('rmsprop', 1e-4)
  config.optimizer_d = defaults.optimizer('rmsprop', 1e-4)
  config.averaging = 0.999
  if penalty != 'none':
    config.penalties[penalty] = 10.0
  config.loss = 'wasserstein' if penalty == 'wgan_gp' else 'nonsaturating'
  config.lazy = 16 if lazy else 1
  config.log_every = 1 if quick else 100
  config.sample_every = 1 if quick else 1000
  config.checkpoint_every = 1 if quick else 5000
  return config
