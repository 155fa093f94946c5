"""Every field of a config, with its default and what it means.

A file in `configs/` starts from `get_config()` and changes what its experiment
needs; on the command line any field is overridden by `--config.field=value`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import ml_collections

# Arguments of plain steps, and of the solver in competitive gradient descent.
_STEPS = dict(lr_g=1e-2, lr_d=1e-2)
_SYMMETRIC = dict(tolerance=1e-5, iterations=50)
# With fresh batches, more steps beat better solutions: docs/results/acgd.md.
_ADAPTIVE = dict(lr_g=1e-4, lr_d=1e-4, decay=0.99, tolerance=0.1, iterations=50)

# Methods of playing and their arguments; see gan_jax/methods.py. Those without
# step sizes of their own take config.optimizer_g and config.optimizer_d.
GAMES = {
  'simultaneous': {},
  'alternating': dict(d_steps=1, g_steps=1, first='d'),
  'optimistic': {},
  'extragradient': dict(past=False),
  'negative_momentum': dict(**_STEPS, momentum=(-0.5, -0.5), alternate=True),
  'consensus': dict(weight=10.0),
  'jare': dict(weight=10.0),
  'symplectic': dict(weight=1.0, align=True),
  'look_ahead': _STEPS,
  'lola': _STEPS,
  'stable_opponent_shaping': dict(**_STEPS, a=0.5, b=0.1),
  # method: what the slow weights are around, a row of this table.
  'lookahead_minmax': dict(steps=5, alpha=0.5, method=dict(name='alternating')),
  'unrolled': dict(steps=5),
  'cgd': dict(**_STEPS, **_SYMMETRIC, solve='smaller', warm_start=False),
  'acgd': dict(**_ADAPTIVE, eps=1e-5, solve='smaller', warm_start=False),
  'linearized_cgd': _STEPS,
  'icr': dict(**_STEPS, alpha=1.0, **_SYMMETRIC),
  'one_sided': dict(**_STEPS, player='d', **_SYMMETRIC),
  'general_sum_cgd': dict(**_STEPS, **_SYMMETRIC, warm_start=False),
  'general_sum_acgd': dict(**_ADAPTIVE, eps=1e-6, warm_start=False),
}


# Groups whose fields are always the same.
FIXED = (
  *('data', 'ada', 'anneal', 'penalties', 'auxiliary', 'feature_matching'),
  *('optimizer_g', 'optimizer_d', 'evaluation'),
)


def get_config() -> ml_collections.ConfigDict:
  """The fields that every config has."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_steps = 100_000  # a step is all turns of config.game
  config.batch_size = 64  # of each turn, over all devices
  # Equal parts in which a turn's batch is taken, one after another, in the
  # memory of one; the numbers stay those of the whole batch.
  config.accumulate = 1
  # Steps in one call to the device; 0 picks: 1 for convolutions on CPU, else up
  # to 100. A signal, like anything else, comes between calls.
  config.steps_per_call = 0

  # Several devices: 'jit', 'pmap' or 'shard_map', the same numbers by each.
  config.parallel = 'jit'

  # Data: see `python -m gan_jax.data list`. data_dir is for prepared sets.
  # image_size 0: as stored; resize: 'square' or 'torchvision', see data.load.
  # shares: what stays of which classes, '5:0.2,7:1'; '' is all of all.
  config.data = dict(
    name='digits', split='train', image_size=0, resize='square', shares=''
  )
  config.data_dir = ''
  # Threads that decode images too many for memory; 0: two a core, up to 16.
  config.read_threads = 0
  config.dequantize = False  # adds U(0, 1/128) to real images
  config.flip = False  # mirrors half of the real images
  # What the critic sees of both kinds: words of color, translation, cutout
  # joined by commas (DiffAugment, Zhao et al. 2020).
  config.diff_augment = ''
  # Or the pipeline of StyleGAN2-ADA, without its adaptation: words of blit,
  # geometry, color, cutout joined by commas, 'color:0.5' for half of p; and p,
  # the probability of each single change.
  config.ada = dict(policy='', p=0.0)

  # Players: name and options of models.generator and models.discriminator.
  config.generator = dict(name='cnn')
  config.discriminator = dict(name='cnn')
  # .npz files to start from, with PyTorch's names (--mode=export writes them).
  config.generator_from = ''
  config.discriminator_from = ''
  config.loss = 'nonsaturating'  # see gan_jax/losses.py
  config.saturating = False  # the generator maximizes the critic's loss
  config.game = game('alternating')  # a row of GAMES and its arguments
  # Not read by methods with step sizes of their own (lr_g, lr_d).
  config.optimizer_g = optimizer()
  config.optimizer_d = optimizer()
  config.averaging = 0.0  # decay of the averaged generator; 0: none
  # What moves by half a cosine over `steps` steps and then stays: at first it
  # is so many times what its field says. The learning rates; 1 - b2 of Adam;
  # the weights of gradient penalties; the half-life of the averaged generator
  # (in place of its short memory at first); ada.p.
  config.anneal = dict(
    steps=0,
    learning_rate=1.0,
    forgetting=1.0,
    penalties=1.0,
    half_life=1.0,
    ada=1.0,
  )

  # Weights of what the critic adds to its loss. r1 and r2 multiply the squared
  # gradient norm, so they are gamma / 2 of Mescheder et al. 2018. The others:
  # WGAN-GP, DRAGAN, sum of squared parameters, orthogonality of kernels.
  config.penalties = dict(
    r1=0.0, r2=0.0, wgan_gp=0.0, dragan=0.0, l2=0.0, orthogonal=0.0
  )
  # Weights of the cross-entropy of class logits, which a discriminator with
  # conditioning='auxiliary' has (AC-GAN): what the critic pays on real and on
  # generated examples, and the generator on its own.
  config.auxiliary = dict(real=0.0, fake=0.0, generator=0.0)
  # Squared distance of the critic's mean features, which the generator pays;
  # alone: in place of its loss (Salimans et al. 2016).
  config.feature_matching = dict(weight=0.0, alone=False)
  config.lazy = 1  # gradient penalties in every lazy-th step, lazy times as big
  config.unit_norm = ''  # critic's layer with columns of length 1 after turns
  config.clip_weights = 0.0  # bound of the critic's parameters; 0: none
  config.instance_noise = 0.0  # standard deviation on what the critic sees

  # Intervals in steps; 0 never.
  config.log_every = 100
  config.sample_every = 1000
  config.checkpoint_every = 1000
  config.keep_checkpoints = 3
  config.evaluate_every = 0  # saves a checkpoint too

  # Numbers, in training, by --mode=evaluate and by --mode=watch.
  config.num_samples = 10_000
  config.best_by = ''  # metric by which the best checkpoint is kept; '' none
  # features: a row of metrics.nets.NETS; '' for what suits the data and needs
  # no weights. weights: '' looks in the user's cache; resize: '' is the net's
  # own. metrics: words of metrics.compare.METRICS joined by commas. reference:
  # real images to compare with, 0 all. few: allows fewer images than features.
  config.evaluation = dict(
    features='',
    weights='',
    resize='',
    metrics='frechet',
    reference=0,
    splits=10,
    keep=10_000,
    few=False,
    cache='~/.cache/gan_jax/statistics',
  )
  config.compilation_cache = '~/.cache/gan_jax/xla'  # '' for none
  config.profile_start = 0  # a profiler trace of steps start to stop
  config.profile_stop = 0
  return config


def complete(config: dict) -> dict:
  """A recorded config with the fields that an older version did not have.

  They have their defaults, with which a run is what it was.
  """
  full = get_config().to_dict()
  groups = {g: full[g] | config[g] for g in FIXED if g in config}
  return full | config | groups


def game(name: str, **changes: Any) -> dict[str, Any]:
  """Fields of `config.game`: a method by name, with all its arguments.

  Args:
    name: a row of `GAMES`.
    **changes: arguments that are not to have their defaults.

  Raises:
    ValueError: no such method, or it has no such argument.
  """
  return _game('game', dict(name=name, **changes))


def _game(field, described):
  if not isinstance(described, dict) or 'name' not in described:
    raise ValueError(
      f'{field}={described!r} is no method; it must be a dict of its name and '
      'arguments.'
    )
  changes = dict(described)
  name = changes.pop('name')
  if name not in GAMES:
    raise ValueError(f'{field}={name!r} is not one of {sorted(GAMES)}.')
  known = GAMES[name]
  unknown = sorted(changes.keys() - known.keys())
  if unknown:
    raise ValueError(
      f'{field} {name!r} has no argument {unknown}; it has {sorted(known)}. A '
      "method comes with its own arguments: by its word in a config's argument "
      f'(--config=configs/toy.py:{name}), or in a file by config.game = '
      f'train.game_defaults({name!r}).'
    )
  full = known | changes
  if 'method' in full:
    full['method'] = _game(f'{field}.method', full['method'])
  return dict(name=name, **full)


def choose(arg: str, kinds: Mapping[str, Iterable[str]]) -> dict[str, str]:
  """Sorts the words of a config's argument, joined by commas, by kind.

  Args:
    arg: the argument.
    kinds: the words of each kind.

  Returns:
    kind -> word, for the kinds that were given one.

  Raises:
    ValueError: a word is of no kind, or a second one of its kind.
  """
  chosen = {}
  for word in filter(None, arg.split(',')):
    kind = next((k for k, words in kinds.items() if word in words), None)
    if kind is None:
      allowed = [word for words in kinds.values() for word in sorted(words)]
      raise ValueError(f'config argument {word!r} is not one of {allowed}.')
    if kind in chosen:
      raise ValueError(
        f'config argument has {chosen[kind]!r} and {word!r}; give one of '
        f'{sorted(kinds[kind])}.'
      )
    chosen[kind] = word
  return chosen


def optimizer(
  name: str = 'adam', learning_rate: float = 2e-4, **changes: float | str
) -> dict:
  """Fields of config.optimizer_g and config.optimizer_d.

  Args:
    name: 'adam', 'rmsprop' or 'sgd'.
    learning_rate: before the schedule.
    **changes: any other field below.
  """
  fields = dict(
    name=name,
    learning_rate=learning_rate,
    b1=0.5,  # adam
    b2=0.999,  # adam
    eps=1e-8,  # adam and rmsprop, outside the root
    decay=0.99,  # rmsprop
    momentum=0.0,  # sgd and rmsprop
    schedule='constant',  # 'linear' and 'cosine' fall to 0 at num_steps
    warmup=0,  # steps of linear growth from 0
    decay_start=0,  # step at which the fall begins
    clip_norm=0.0,  # global norm of the gradients; 0: none
    weight_decay=0.0,  # decoupled, as in AdamW
    historical=0.0,  # weight of |theta - mean of past theta|^2 in the loss
  )
  unknown = sorted(changes.keys() - fields.keys())
  if unknown:
    raise ValueError(f'optimizer has no {unknown}; it has {sorted(fields)}.')
  return fields | changes
