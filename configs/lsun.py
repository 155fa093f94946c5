"""LSUN at 256 px: R1 (Mescheder et al. 2018) and RS-GAN (Sun et al. 2020).

python -m gan_jax.main --config=configs/lsun.py:tower,rs \
    --config.data_dir=DIR --workdir=runs/lsun-tower-rs

DIR comes from `python -m gan_jax.data prepare lsun/tower --data_dir=DIR`, which
needs the package tensorflow-io besides; a folder of images does as well
(--config.data.name=folder:PATH). TFDS calls the sets lsun/bedroom, lsun/tower
and lsun/church_outdoor. Images have a shorter side of 256, so both papers' ways
to a square, crop then resize and resize then crop, are the same centre.

            pair       width            batch  rates g, d          first
  r1        residual   64, <= 1024      64     1e-4, 1e-4 RMSprop  critic
  rs, js    cnn256     32               64     1e-3, 2e-4 Adam     generator

`r1` is the authors' LSUN training: weight 10 (gamma = 20 of the paper's
gamma / 2), 256 latents, images mirrored, U(0, 1/128) added, generator averaged
by 0.999. `rs` is the recorded command of the other authors for tower: Adam with
(0.5, 0.999), 100,000 iterations, rates linear to 0 in the second half, spectral
norm, 128 latents, no mirroring; `js` is the same with the loss that is not
relativistic, for which no command is known.

Published: pictures; distances of LSUN could not be confirmed. `r1` has no last
step in its code: 300,000 here. Hours: not measured yet. Memory of `r1`: bf16,
remat and --config.accumulate=K as in configs/celebahq.py.

Deliberate differences: as in configs/cifar10_landscape.py and celebahq.py.
"""

import ml_collections

from gan_jax import defaults

_SETS = {'bedroom': 'bedroom', 'tower': 'tower', 'church': 'church_outdoor'}
_LOSSES = {'r1': 'nonsaturating', 'rs': 'relativistic', 'js': 'nonsaturating'}


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Argument: words joined by commas, one of each kind, in any order.

  bedroom, tower, church; r1, rs, js; bf16 and remat (of r1 only); quick (2
  steps of 2 images). Left out: tower, rs.
  """
  kinds = dict(
    scene=_SETS,
    recipe=_LOSSES,
    bf16=['bf16'],
    remat=['remat'],
    quick=['quick'],
  )
  chosen = dict(scene='tower', recipe='rs', bf16='', remat='', quick='')
  return _config(**chosen | defaults.choose(arg, kinds))


def _config(scene, recipe, bf16, remat, quick):
  if recipe != 'r1' and (bf16 or remat):
    raise ValueError(
      f'config argument {bf16 or remat!r} does not go with {recipe!r}: only '
      "the residual pair of 'r1' has it."
    )
  config = defaults.get_config()
  config.data.name, config.data.image_size = f'lsun/{_SETS[scene]}', 256
  config.data.resize = 'torchvision'
  config.dequantize = True
  config.loss = _LOSSES[recipe]
  if recipe == 'r1':
    _set_residual(config, bool(bf16), bool(remat))
  else:
    _set_cnn(config, decay_start=0 if quick else 50_000)
  config.batch_size = 2 if quick else 64
  config.num_steps = 2 if quick else config.num_steps
  config.log_every = 1 if quick else 100
  config.sample_every = 1 if quick else 1000
  config.checkpoint_every = 1 if quick else 5000
  return config


def _set_residual(config, bf16, remat):
  config.num_steps = 300_000
  options = dict(
    name='residual',
    width=64,
    max_width=1024,
    image_size=256,
    dtype='bfloat16' if bf16 else 'float32',
    remat=remat,
  )
  config.generator = dict(z_size=256, embed_size=1, **options)
  config.discriminator = options
  config.optimizer_g = defaults.optimizer('rmsprop', 1e-4)
  config.optimizer_d = defaults.optimizer('rmsprop', 1e-4)
  config.penalties.r1 = 10.0
  config.flip = True
  config.averaging = 0.999


def _set_cnn(config, decay_start):
  config.num_steps = 100_000
  sizes = dict(name='cnn256', width=32, image_size=256, channels=3)
  config.generator = dict(z_size=128, **sizes)
  config.discriminator = dict(spectral_norm=True, **sizes)
  config.game.first = 'g'
  adam = dict(b1=0.5, b2=0.999, schedule='linear', decay_start=decay_start)
  config.optimizer_g = defaults.optimizer(learning_rate=1e-3, **adam)
  config.optimizer_d = defaults.optimizer(learning_rate=2e-4, **adam)
  config.averaging = 0.9999
