"""Methods of playing by name, with the arguments that a config gives them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import ml_collections
import optax

from gan_jax import anneal, cgd, defaults, fields, games, losses, optimizers


class Method(NamedTuple):
  """A row of `METHODS`; its arguments are in `defaults.GAMES`.

  Attributes:
    factory: `(**arguments) -> games.GameTransformation`.
    optimizers: whether it takes `o_g` and `o_d` first.
    general_sum: '' for a method that plays any game. For one that needs a
      zero-sum game, its relative that does not.
  """

  factory: Callable[..., games.GameTransformation]
  optimizers: bool = False
  general_sum: str = ''


METHODS = {
  'simultaneous': Method(games.simultaneous, optimizers=True),
  'alternating': Method(games.alternating, optimizers=True),
  'optimistic': Method(games.optimistic, optimizers=True),
  'extragradient': Method(games.extragradient, optimizers=True),
  'negative_momentum': Method(games.negative_momentum),
  'consensus': Method(games.consensus, optimizers=True),
  'jare': Method(games.jare, optimizers=True),
  'symplectic': Method(games.symplectic, optimizers=True),
  'look_ahead': Method(games.look_ahead),
  'lola': Method(games.lola),
  'stable_opponent_shaping': Method(games.stable_opponent_shaping),
  'lookahead_minmax': Method(games.lookahead_minmax),
  'unrolled': Method(games.unrolled, optimizers=True),
  'cgd': Method(cgd.cgd, general_sum='general_sum_cgd'),
  'acgd': Method(cgd.acgd, general_sum='general_sum_acgd'),
  'linearized_cgd': Method(cgd.linearized_cgd),
  'icr': Method(cgd.icr, general_sum='general_sum_cgd'),
  'one_sided': Method(cgd.one_sided, general_sum='general_sum_cgd'),
  'general_sum_cgd': Method(cgd.general_sum_cgd),
  'general_sum_acgd': Method(cgd.general_sum_acgd),
}


def game_defaults(name: str, **changes: Any) -> dict[str, Any]:
  """Fields of `config.game` for a method, with their defaults.

  Args:
    name: a row of `METHODS`.
    **changes: arguments that are not to have their defaults.

  Raises:
    ValueError: no such method, or it has no such argument, or a value is of
      another type than the default.
  """
  described = defaults.game(name, **changes)
  fields.check_game('game', described)
  return described


def make(
  described: dict[str, Any],
  o_g: optax.GradientTransformation,
  o_d: optax.GradientTransformation,
  *,
  field: str = 'game',
) -> games.GameTransformation:
  """A method from its description; one around another makes that first.

  Args:
    described: complete, see `game_defaults`.
    o_g: the generator's optimizer, for methods that take one.
    o_d: the discriminator's.
    field: of the config that describes it, for messages.

  Raises:
    ValueError: an argument is out of range; the message begins with its field.
  """
  arguments = dict(described)
  row = METHODS[arguments.pop('name')]
  if 'method' in arguments:
    arguments['method'] = make(
      arguments['method'], o_g, o_d, field=f'{field}.method'
    )
  given = (o_g, o_d) if row.optimizers else ()
  return fields.prefixed(f'{field}: ', row.factory, *given, **arguments)


def build(config: ml_collections.ConfigDict) -> games.GameTransformation:
  """The method of a config, with the optimizers of its players.

  Raises:
    ValueError: some field of `config.game`, or of an optimizer, is wrong.
  """
  described = fields.prefixed('', game_defaults, **config.game.to_dict())
  # The schedules count the player's own updates, which the method tells.
  plain = make(described, optax.identity(), optax.identity())
  each = _updates_a_turn(described)
  moving = fields.prefixed('anneal.', anneal.factors, config.anneal.to_dict())
  _check_moving(moving, described)
  o_g, o_d = (
    fields.prefixed(
      f'optimizer_{player}.',
      optimizers.build,
      config[f'optimizer_{player}'],
      config.num_steps,
      each * sum(player in movers for movers in plain.turns),
      moving,
    )
    for player in 'gd'
  )
  return make(described, o_g, o_d)


def _check_moving(moving, described):
  """Methods with step sizes of their own have nothing that could move."""
  name = _innermost(described)['name']
  for field in ('learning_rate', 'forgetting'):
    if field in moving and not METHODS[name].optimizers:
      raise ValueError(
        f'config.anneal.{field} moves the optimizers, and config.game '
        f'{name!r} has none but its own step sizes; leave it at 1.'
      )


def _innermost(described):
  while 'method' in described:
    described = described['method']
  return described


def _updates_a_turn(described):
  described = _innermost(described)
  # With `past`, an optimizer sees every gradient twice.
  return 2 if described.get('past') else 1


def check_loss(
  described: dict[str, Any],
  name: str,
  loss: losses.GanLoss,
  *,
  field: str = 'config.game',
) -> None:
  """Raises ValueError where a method needs a zero-sum loss and has another.

  Args:
    described: the method.
    name: of the loss.
    loss: what the players minimize.
    field: of the config that describes the method.
  """
  if 'method' in described:
    check_loss(described['method'], name, loss, field=f'{field}.method')
  method = described['name']
  relative = METHODS[method].general_sum
  if relative and not loss.zero_sum:
    raise ValueError(
      f'{field}.name={method!r} plays zero-sum games, but config.loss={name!r} '
      f'is none: take {relative!r}, which plays any, or config.saturating=True '
      "(then the generator maximizes the critic's loss), or a loss that is "
      'zero-sum by itself, such as '
      f'{sorted(n for n, row in losses.LOSSES.items() if row.zero_sum)}.'
    )
