"""A config's names become functions; every config error is raised here.

No other module reads a config, so that all below it can be used without one.
"""

import dataclasses
import functools
import math
import zipfile
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from gan_jax import (
  accumulation,
  anneal,
  augment,
  batch_game,
  build_terms,
  data,
  evaluate,
  fields,
  games,
  losses,
  methods,
  models,
  parallel,
  side_checks,
  side_terms,
)
from gan_jax.metrics import nets, resize

# In a room of their own; kept here because configs are built here.
METHODS = methods.METHODS
game_defaults = methods.game_defaults
PENALTIES = build_terms.PENALTIES
PARAMETER_PENALTIES = build_terms.PARAMETER_PENALTIES

_MAX_STEPS_PER_CALL = 100


class Run(NamedTuple):
  """What `train.train` needs; a user may fill it without any config.

  Attributes:
    setup: modules, loss, method and penalties.
    feed: the batches.
    num_steps: steps in all.
    dataset: for pictures and evaluation, or None.
    seed: of parameters, latents and order.
    steps_per_call: the intervals and num_steps are multiples of it.
    log_every: steps between lines of `metrics.jsonl`; this and the next two
      are 0 for never.
    sample_every: steps between pictures.
    checkpoint_every: steps between checkpoints; the last step always has one.
    keep_checkpoints: how many stay.
    evaluate_every: steps between evaluations in training, 0 for never; each
      has a checkpoint.
    num_samples: of an evaluation.
    best_by: the metric by which the best checkpoint is kept; '' for none.
    evaluation: what is measured, and how.
    profile: first and last step of a profiler trace; (0, 0) for none.
    parallel: how a step is put on several devices, see `parallel.NAMES`. For
      all but 'jit', the setup and its parts need `axis_name`.
    initial: variables of each player's module to start from; None: drawn.
    config: JSON-able record; a workdir is resumed only by the same one.
  """

  setup: batch_game.Setup
  feed: data.Feed
  num_steps: int
  dataset: data.Dataset | None = None
  seed: int = 0
  steps_per_call: int = 1
  log_every: int = 100
  sample_every: int = 0
  checkpoint_every: int = 1000
  keep_checkpoints: int = 3
  evaluate_every: int = 0
  num_samples: int = 10_000
  best_by: str = ''
  evaluation: evaluate.Settings = evaluate.Settings()
  profile: tuple[int, int] = (0, 0)
  parallel: str = 'jit'
  initial: games.Players = games.Players(None, None)
  config: dict[str, Any] = {}


def build(
  config: ml_collections.ConfigDict, dataset: data.Dataset | None = None
) -> Run:
  """Turns a config into a run; nothing is written and nothing trained.

  Args:
    config: all its fields.
    dataset: what `config.data` describes, where it is loaded already.

  Raises:
    ValueError: some field is wrong; the message names it.
  """
  fields.check_fields(config)
  fields.check_numbers(config)
  setup = build_setup(config)
  if dataset is None:
    dataset = fields.prefixed('data: ', _load, config)
  example = dataset_shape(dataset)
  _check_shapes(setup, example, config.unit_norm)
  _check_labels(setup, dataset)
  _check_images(setup, example)
  steps_per_call = config.steps_per_call or _automatic_steps(config, setup)
  record = config.to_dict() | {'steps_per_call': steps_per_call}
  run = Run(
    setup=setup,
    feed=fields.prefixed(
      '',
      data.feed,
      dataset,
      config.batch_size,
      config.seed,
      threads=config.read_threads,
    ),
    num_steps=config.num_steps,
    dataset=dataset,
    seed=config.seed,
    steps_per_call=steps_per_call,
    log_every=config.log_every,
    sample_every=config.sample_every,
    checkpoint_every=config.checkpoint_every,
    keep_checkpoints=config.keep_checkpoints,
    evaluate_every=config.evaluate_every,
    num_samples=config.num_samples,
    best_by=config.best_by,
    evaluation=fields.prefixed('evaluation.', _evaluation, config.evaluation),
    profile=(config.profile_start, config.profile_stop),
    parallel=config.parallel,
    initial=games.Players(
      _weights('generator_from', config, setup.generator),
      _weights('discriminator_from', config, setup.discriminator),
    ),
    config=record,
  )
  fields.prefixed('', check_intervals, run)
  return run


def _evaluation(group):
  settings = evaluate.settings_of(group)
  names = {'features': nets.NETS, 'resize': resize.METHODS}
  for field, known in names.items():
    name = getattr(settings, field)
    if name and name not in known:
      raise ValueError(f'{field}={name!r} is not one of {sorted(known)}.')
  return settings


def build_setup(config: ml_collections.ConfigDict) -> batch_game.Setup:
  """The part of a run that a step needs; reads no data.

  Raises:
    ValueError: some field is wrong; the message names it.
  """
  axis_name = fields.prefixed('', parallel.axis_name, config.parallel)
  moving = fields.prefixed('anneal.', anneal.factors, config.anneal.to_dict())
  find = losses.saturating if config.saturating else losses.get
  loss = fields.prefixed('', find, config.loss, axis_name=axis_name)
  method = methods.build(config)
  methods.check_loss(config.game.to_dict(), config.loss, loss)
  setup = batch_game.Setup(
    generator=_module(config, 'generator', axis_name),
    discriminator=_module(config, 'discriminator', axis_name),
    loss=loss,
    method=method,
    penalties=build_terms.penalties(config, moving.get('penalties'), axis_name),
    parameter_penalty=build_terms.parameter_penalty(config.penalties),
    lazy=config.lazy,
    averaging=build_terms.averaging(config, moving.get('half_life')),
    instance_noise=config.instance_noise,
    dequantize=config.dequantize,
    flip=config.flip,
    diff_augment=fields.prefixed('', augment.check_policy, config.diff_augment),
    pipeline=build_terms.pipeline(config, moving.get('ada')),
    accumulate=config.accumulate,
    auxiliary=side_terms.Auxiliary(**config.auxiliary),
    matching=side_terms.Matching(**config.feature_matching),
    project=build_terms.projection(config.clip_weights, config.unit_norm),
    axis_name=axis_name,
  )
  fields.prefixed('', _check_accumulation, config, setup)
  side_checks.check_setup(config, setup)
  side_checks.check_penalties(setup)
  return setup


def _weights(field, config, module):
  """A module's variables from a file of PyTorch's names, or None."""
  path = config[field]
  if not path:
    return None
  try:
    with np.load(path) as file:
      weights = dict(file)
  except (OSError, ValueError, zipfile.BadZipFile) as error:
    raise ValueError(
      f'config.{field}={path!r} cannot be read as .npz: {error}'
    ) from error
  return fields.prefixed(
    f'{field}={path!r}: ', models.from_torch, module, weights
  )


def dataset_shape(dataset: data.Dataset) -> tuple[int, ...]:
  """Shape of one example."""
  if hasattr(dataset.examples, 'shape'):
    return tuple(dataset.examples.shape[1:])
  return tuple(dataset.examples[0]['image'].shape)


def _load(config):
  dataset = data.load(
    config.data.name,
    split=config.data.split,
    data_dir=config.data_dir,
    image_size=config.data.image_size or None,
    resize=config.data.resize,
  )
  return data.take_shares(dataset, config.data.shares)


_PLAYERS = {
  'generator': models.generator,
  'discriminator': models.discriminator,
}


def _module(config, field, axis_name):
  options = config[field].to_dict()
  name = options.pop('name')
  # Lists arrive as such from JSON and the command line; modules hash theirs.
  options = {
    k: tuple(v) if isinstance(v, list) else v for k, v in options.items()
  }
  module = fields.prefixed(f'{field}: ', _PLAYERS[field], name, **options)
  # What averages over a batch or counts its rows has to know of the devices.
  return module.clone(axis_name=axis_name) if _has_axis(module) else module


def _has_axis(module):
  return any(f.name == 'axis_name' for f in dataclasses.fields(module))


def _check_shapes(setup, example, unit_norm=''):
  """Both modules must fit the data, and penalties the critic."""
  variables_g, variables_d = _abstract_variables(setup)
  inputs = setup.generator.example_inputs()
  made = jax.eval_shape(setup.generator.apply, variables_g, *inputs).shape[1:]
  expected = setup.discriminator.example_inputs()[0].shape[1:]
  if made != example:
    raise ValueError(
      f'config.generator makes examples of shape {made}, but config.data '
      f'gives {example}.'
    )
  if expected != example:
    raise ValueError(
      f'config.discriminator takes examples of shape {expected}, but '
      f'config.data gives {example}.'
    )
  layers = [n for n, x in variables_d['params'].items() if 'kernel' in x]
  if unit_norm and unit_norm not in layers:
    raise ValueError(
      f'config.unit_norm={unit_norm!r} is no layer of the critic, which has '
      f'{layers}.'
    )
  if setup.penalties and 'batch_stats' in variables_d:
    names = [penalty.name for penalty in setup.penalties]
    raise ValueError(
      f'config.penalties.{names[0]} needs a critic that treats rows '
      'independently, but config.discriminator has batch norm.'
    )


def _check_accumulation(config, setup):
  """What looks at several rows at once cannot take a batch in parts."""
  if setup.accumulate == 1:
    return
  coupled = {}
  if 'relativistic_average' in config.loss:
    coupled[f'loss={config.loss!r}'] = 'means over the batch'
  if config.penalties.dragan:
    coupled['penalties.dragan'] = 'the standard deviation of the batch'
  players = ('generator', 'discriminator')
  for field, variables in zip(players, _abstract_variables(setup), strict=True):
    if 'batch_stats' in variables:
      coupled[field] = 'batch norm'
    if getattr(getattr(setup, field), 'minibatch', None):
      coupled[f'{field}.minibatch'] = 'features of the batch'
  accumulation.check(setup.accumulate, config.batch_size, coupled)


def _check_labels(setup, dataset):
  """Networks that tell classes apart need a data set that has as many."""
  for field in ('generator', 'discriminator'):
    module = getattr(setup, field)
    if not batch_game.takes_labels(module):
      continue
    if module.labels != dataset.num_classes:
      has = f'{dataset.num_classes} classes' if dataset.num_classes else 'none'
      raise ValueError(
        f'config.{field}.labels={module.labels}, but config.data.name='
        f'{dataset.name!r} has {has}.'
      )


def _check_images(setup, example):
  asked = {
    'flip': setup.flip,
    'diff_augment': setup.diff_augment,
    'ada': setup.pipeline.strengths,
  }
  for field, value in asked.items():
    if value and len(example) != 3:
      raise ValueError(
        f'config.{field} is for images, but config.data gives examples of '
        f'shape {example}.'
      )
  if setup.pipeline.strengths and example[-1] not in (1, 3):
    raise ValueError(
      f'config.ada is for 1 or 3 channels, but config.data gives {example}.'
    )


def _abstract_variables(setup):
  return tuple(
    jax.eval_shape(
      functools.partial(module.init, train=False),
      jax.random.key(0),
      *module.example_inputs(),
    )
    for module in (setup.generator, setup.discriminator)
  )


def _automatic_steps(config, setup):
  kernels = jax.tree.leaves(_abstract_variables(setup))
  convolutions = any(kernel.ndim == 4 for kernel in kernels)
  if convolutions and jax.default_backend() == 'cpu':
    return 1  # long enough by itself, and a signal is not kept waiting
  together = math.gcd(
    config.num_steps,
    config.log_every,
    config.sample_every,
    config.checkpoint_every,
    config.evaluate_every,
  )
  fitting = range(1, min(together, _MAX_STEPS_PER_CALL) + 1)
  return max(k for k in fitting if together % k == 0)


def check_intervals(run: Run) -> None:
  """Raises ValueError if an interval does not end where a call does."""
  intervals = ('log_every', 'sample_every', 'checkpoint_every')
  for field in ('num_steps', *intervals, 'evaluate_every'):
    steps = getattr(run, field)
    if steps % run.steps_per_call:
      raise ValueError(
        f'{field}={steps} is not a multiple of '
        f'steps_per_call={run.steps_per_call}.'
      )


def check_axis(run: Run) -> None:
  """Raises ValueError unless the setup's axis is that of `run.parallel`."""
  needed = parallel.axis_name(run.parallel)
  parts = {'setup': run.setup}
  for field in ('generator', 'discriminator'):
    module = getattr(run.setup, field)
    parts |= {f'setup.{field}': module} if _has_axis(module) else {}
  for name, part in parts.items():
    if part.axis_name != needed:
      raise ValueError(
        f'{name}.axis_name={part.axis_name!r}, but parallel={run.parallel!r} '
        f'needs {needed!r}.'
      )
