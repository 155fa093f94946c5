"""Whether networks and method fit what is paid beside the loss.

All speak of a config's fields, like `build`, which calls them.
"""

from typing import Any

import jax
import ml_collections

from gan_jax import batch_game, methods


def check_setup(
  config: ml_collections.ConfigDict, setup: batch_game.Setup
) -> None:
  """Raises ValueError where weights, networks and method contradict."""
  _check_class_terms(setup)
  _check_matching(config, setup)
  _check_historical(config)
  _check_game(config, setup)


def _check_class_terms(setup):
  weights = setup.auxiliary._asdict()
  paid = [f'auxiliary.{name}={w}' for name, w in weights.items() if w]
  has = getattr(setup.discriminator, 'conditioning', '')
  if paid and has != 'auxiliary':
    raise ValueError(
      f'config.{paid[0]} needs class logits: a discriminator with '
      f"conditioning='auxiliary' (cnn, resnet), not {has!r}."
    )
  if has == 'auxiliary' and not paid:
    raise ValueError(
      "config.discriminator.conditioning='auxiliary' without a weight in "
      'config.auxiliary trains no class logits; AC-GAN has real, fake and '
      'generator at 1.'
    )
  if has == 'projection' and not batch_game.takes_labels(setup.generator):
    raise ValueError(
      "config.discriminator.conditioning='projection' judges generated "
      'examples by their class, but config.generator takes no labels (set '
      'config.generator.labels).'
    )
  asked = setup.auxiliary.fake or setup.auxiliary.generator
  if asked and not batch_game.takes_labels(setup.generator):
    raise ValueError(
      f'config.{paid[-1]} asks for the class of generated examples, but '
      'config.generator takes no labels (set config.generator.labels).'
    )


def _check_matching(config, setup):
  matching = setup.matching
  if matching.alone and not matching.weight:
    raise ValueError(
      'config.feature_matching.alone=True with weight=0 leaves the generator '
      'nothing to minimize.'
    )
  if matching.weight and 'features' not in _side_outputs(setup.discriminator):
    raise ValueError(
      f'config.feature_matching.weight={matching.weight} needs features, which '
      f'config.discriminator.name={config.discriminator.name!r} does not give; '
      'cnn, dc and resnet do.'
    )
  if matching.weight and setup.accumulate > 1:
    raise ValueError(
      f'config.accumulate={setup.accumulate} takes a batch in parts, but '
      f'config.feature_matching.weight={matching.weight} needs the mean of '
      'all its rows; take accumulate=1.'
    )


def _check_historical(config):
  """The term is a part of the optimizers, which not all methods have."""
  described = methods.game_defaults(**config.game.to_dict())
  while 'method' in described:
    described = described['method']
  if methods.METHODS[described['name']].optimizers:
    return
  for player in 'gd':
    weight = config[f'optimizer_{player}'].historical
    if weight:
      raise ValueError(
        f'config.optimizer_{player}.historical={weight} would not be paid: '
        f'config.game.name={described["name"]!r} has step sizes of its own. '
        "Take a method with optimizers, such as 'alternating', or 0."
      )


def _side_outputs(module: Any) -> set[str]:
  """Names of what a network gives beside its output."""

  def call():
    inputs = module.example_inputs()
    variables = module.init(jax.random.key(0), *inputs)
    _, side = module.apply(variables, *inputs, mutable=('intermediates',))
    return dict(side.get('intermediates', {}))

  return set(jax.eval_shape(call))


def _check_game(config, setup):
  """Methods of zero-sum games refuse terms that both players minimize."""
  if batch_game.is_zero_sum(setup) or not setup.loss.zero_sum:
    return
  terms = {f'auxiliary.{n}': w for n, w in setup.auxiliary._asdict().items()}
  del terms['auxiliary.real']  # of the critic alone, like a penalty
  terms['feature_matching.weight'] = setup.matching.weight
  paid = [f'config.{name}={weight}' for name, weight in terms.items() if weight]
  described, field = config.game.to_dict(), 'config.game'
  while described:
    relative = methods.METHODS[described['name']].general_sum
    if relative:
      raise ValueError(
        f'{field}.name={described["name"]!r} plays zero-sum games, but with '
        f'{paid[0]} the players do not pay opposite amounts: take '
        f'{relative!r}, which plays any game, or leave the term out.'
      )
    described, field = described.get('method'), f'{field}.method'


def check_penalties(setup: batch_game.Setup) -> None:
  """Raises ValueError for a penalty of each example where rows mix."""
  if setup.penalties and batch_game.mixes_rows(setup.discriminator):
    raise ValueError(
      f'config.penalties.{setup.penalties[0].name} needs a critic that treats '
      'rows independently, but config.discriminator.minibatch='
      f'{setup.discriminator.minibatch!r} looks at the whole batch.'
    )
