"""Two-player games, their derivatives, and optimizers that play them.

A method is a GameTransformation, a pair (init, update) like an optax
transformation, for two players at once. One call of `update` is one turn on one
batch; a step is one call for each entry of `turns`. All means over devices are
taken in `gradients` and `derivatives`, so no method knows how many there are.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import optax
from jax import numpy as jnp


class Players(NamedTuple):
  """The parameters of both players; any pytrees, never running statistics."""

  g: Any
  d: Any


class Game(NamedTuple):
  """What both players minimize, on one batch.

  Attributes:
    loss_g: `(g, d) -> scalar`, or `(scalar, aux)` when `has_aux`.
    loss_d: the same for the other player.
    has_aux: whether the losses return auxiliary values too.
    zero_sum: whether loss_g is -loss_d; `zero_sum` sets it. Only loss_d is
      then evaluated.
    axis_name: the mapped axis over which losses and derivatives are averaged;
      aux is not.
  """

  loss_g: Callable
  loss_d: Callable
  has_aux: bool = False
  zero_sum: bool = False
  axis_name: str | None = None


class Info(NamedTuple):
  """By-products of a turn, at the players that came in.

  Attributes:
    loss_g: the generator's loss; like the next three None if the turn did not
      compute it. In a zero-sum game one payoff gives both.
    loss_d: the discriminator's loss.
    aux_g: what `game.loss_g` returned beside the loss, not averaged.
    aux_d: the same for `game.loss_d`.
    telemetry: what the turn cost; see `telemetry`.
  """

  loss_g: Any
  loss_d: Any
  aux_g: Any
  aux_d: Any
  telemetry: dict


class GameTransformation(NamedTuple):
  """A method of playing.

  Attributes:
    init: `players -> state`.
    update: `(game, state, players, *, turn=0) -> (updates, state, info)`; the
      updates are added to the players. `turn` is a Python integer.
    turns: who moves in each call that makes up one step.
  """

  init: Callable
  update: Callable
  turns: tuple[str, ...] = ('gd',)


def zero_sum(
  payoff: Callable, *, has_aux: bool = False, axis_name: str | None = None
) -> Game:
  """The game in which d minimizes the payoff and g maximizes it.

  Args:
    payoff: `(g, d) -> scalar`, or `(scalar, aux)`; aux is then both players'.
    has_aux: whether `payoff` returns aux.
    axis_name: as in Game.

  Returns:
    A Game with loss_d = payoff and loss_g = -payoff.
  """

  def loss_g(g, d):
    if not has_aux:
      return -payoff(g, d)
    value, aux = payoff(g, d)
    return -value, aux

  return Game(loss_g, payoff, has_aux, True, axis_name)


class Derivatives(NamedTuple):
  """Losses, own gradients and products with mixed second derivatives.

  None stands for what was not asked for. The products are linear functions; the
  last two are the transposes of the two before them, which in a zero-sum game
  are those two exchanged and negated.

  Attributes:
    loss_g: scalar.
    loss_d: scalar.
    aux_g: as `game.loss_g` returned it.
    aux_d: as `game.loss_d` returned it.
    grad_g: d loss_g / dg, like g.
    grad_d: d loss_d / dd, like d.
    g_from_d: v like d -> (d^2 loss_g / dg dd) v, like g.
    d_from_g: v like g -> (d^2 loss_d / dd dg) v, like d.
    g_from_d_transposed: v like g -> (d^2 loss_g / dd dg) v, like d.
    d_from_g_transposed: v like d -> (d^2 loss_d / dg dd) v, like g.
  """

  loss_g: Any = None
  loss_d: Any = None
  aux_g: Any = None
  aux_d: Any = None
  grad_g: Any = None
  grad_d: Any = None
  g_from_d: Callable | None = None
  d_from_g: Callable | None = None
  g_from_d_transposed: Callable | None = None
  d_from_g_transposed: Callable | None = None


def _mean(tree: Any, axis_name: str | None) -> Any:
  return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def _negative(tree: Any) -> Any:
  return jax.tree.map(jnp.negative, tree)


def _with_aux(game: Game, name: str) -> Callable:
  """`(g, d) -> (loss, aux)` of one player; says which loss is no scalar."""
  loss, label = getattr(game, f'loss_{name}'), f'loss_{name}'

  def function(g, d):
    result = loss(g, d)
    if game.has_aux and not (isinstance(result, tuple) and len(result) == 2):
      raise ValueError(
        f'{label} gave {type(result).__name__}; with has_aux=True it has to '
        'give (loss, aux).'
      )
    value, aux = result if game.has_aux else (result, None)
    if jax.tree.structure(value) != jax.tree.structure(0.0) or jnp.shape(value):
      raise ValueError(
        f'{label} gave {jax.tree.map(jnp.shape, value)} where a loss has to be '
        'a scalar: take the mean over the batch, and set has_aux=True if it '
        'returns (loss, aux).'
      )
    return value, aux

  return function


def _own(game: Game, players: Players, name: str) -> Derivatives:
  loss = jax.value_and_grad(
    _with_aux(game, name), 'gd'.index(name), has_aux=True
  )
  (value, aux), grad = loss(*players)
  value, grad = _mean((value, grad), game.axis_name)
  return Derivatives(
    **{f'loss_{name}': value, f'aux_{name}': aux, f'grad_{name}': grad}
  )


def _from_payoff(game: Game, players: Players, who: str) -> Derivatives:
  payoff, argnums = (
    _with_aux(game, 'd'),
    tuple('gd'.index(name) for name in who),
  )
  (value, aux), grads = jax.value_and_grad(payoff, argnums, has_aux=True)(
    *players
  )
  value, grads = _mean((value, grads), game.axis_name)
  grads = dict(zip(who, grads, strict=True))
  return Derivatives(
    -value, value, aux, aux, _negative(grads.get('g')), grads.get('d')
  )


def gradients(game: Game, players: Players, who: str = 'gd') -> Derivatives:
  """The movers' gradients of their own losses, and nothing more.

  Args:
    game: the game.
    players: where to take them.
    who: 'g', 'd' or 'gd'. In a zero-sum game both come from one payoff, and so
      do both losses even if one player moves.

  Returns:
    Derivatives, averaged over `game.axis_name` but for aux; no products.

  Raises:
    ValueError: `who` is something else, or a loss is not a scalar.
  """
  if who not in ('g', 'd', 'gd'):
    raise ValueError(f"who={who!r} is not one of 'g', 'd', 'gd'.")
  if game.zero_sum:
    return _from_payoff(game, players, who)
  if who != 'gd':
    return _own(game, players, who)
  g, d = _own(game, players, 'g'), _own(game, players, 'd')
  return d._replace(loss_g=g.loss_g, aux_g=g.aux_g, grad_g=g.grad_g)


def _linearize(loss: Callable, name: str, players: Players) -> tuple:
  """(loss, aux), a player's gradient, and its product with v like the other."""
  index = 'gd'.index(name)

  def gradient(other):
    at = players._replace(**{'dg'[index]: other})
    value, grad = jax.value_and_grad(loss, index, has_aux=True)(*at)
    return grad, value

  grad, product, value = jax.linearize(
    gradient, players[1 - index], has_aux=True
  )
  return value, grad, product


def _transposed(loss: Callable, name: str, players: Players) -> Callable:
  """v like the player -> mixed derivative of its loss, like the other player.

  Mixed derivatives commute, so this is a forward derivative too: half the cost
  of transposing a linearized function, and nothing until it is called. Not kept
  between calls, as the first may come from within a loop's body.
  """
  index = 'gd'.index(name)

  def product(v):
    def gradient(own):
      at = players._replace(**{name: own})
      return jax.grad(loss, 1 - index, has_aux=True)(*at)[0]

    return jax.jvp(gradient, (players[index],), (v,))[1]

  return product


def derivatives(game: Game, players: Players) -> Derivatives:
  """Gradients and matrix-free mixed second derivatives of a game.

  Each player's gradient is linearized separately: jointly they cost 1.7 times
  as much. In a zero-sum game everything comes from the payoff, whose forward
  pass the compiler then shares.

  Args:
    game: the game.
    players: where to take them.

  Returns:
    Derivatives, everything but aux averaged over `game.axis_name`.

  Raises:
    ValueError: a loss is not a scalar.
  """
  loss_d = _with_aux(game, 'd')
  loss_g = loss_d if game.zero_sum else _with_aux(game, 'g')
  (value_g, aux_g), grad_g, g_from_d = _linearize(loss_g, 'g', players)
  (value_d, aux_d), grad_d, d_from_g = _linearize(loss_d, 'd', players)
  value_g, value_d, grad_g, grad_d = _mean(
    (value_g, value_d, grad_g, grad_d), game.axis_name
  )
  if game.zero_sum:
    # So far the payoff stood in for -payoff.
    value_g, aux_g, grad_g = -value_d, aux_d, _negative(grad_g)
    minus = lambda product: lambda v: _negative(product(v))
    products = minus(g_from_d), d_from_g, minus(d_from_g), g_from_d
  else:
    products = (
      g_from_d,
      d_from_g,
      _transposed(loss_g, 'g', players),
      _transposed(loss_d, 'd', players),
    )
  mean = lambda product: lambda v: _mean(product(v), game.axis_name)
  return Derivatives(
    value_g, value_d, aux_g, aux_d, grad_g, grad_d, *map(mean, products)
  )


def telemetry(
  gradient_equivalents: Any, *, iterations: Any = 0, residual: Any = 0.0
) -> dict:
  """What a turn cost, the same three scalars for every method.

  Args:
    gradient_equivalents: gradients the turn computed on its batch, in pairs,
      one for each player: 1.0 when both move, 0.5 when one does.
    iterations: of the linear solver.
    residual: its final residual, relative to the right-hand side.
  """
  return dict(
    iterations=jnp.asarray(iterations, jnp.int32),
    residual=jnp.asarray(residual, jnp.float32),
    gradient_equivalents=jnp.asarray(gradient_equivalents, jnp.float32),
  )


def play(
  method: GameTransformation,
  games: Sequence[Game | Callable[[Players], Game]],
  state: Any,
  players: Players,
) -> tuple[Players, Any, tuple[Info, ...]]:
  """Plays all turns of one step.

  Args:
    method: how to play.
    games: one for each turn. A function `players -> Game` is called with the
      players as the turns before have left them.
    state: of the method.
    players: at the start of the step.

  Returns:
    The players and the state after the step, and each turn's Info.

  Raises:
    ValueError: there is not one game for each turn.
  """
  # A Game is a tuple too, but not one of games.
  count = 'a bare Game' if isinstance(games, Game) else f'{len(games)} games'
  if isinstance(games, Game) or len(games) != len(method.turns):
    raise ValueError(
      f'play got {count}; the method has turns {method.turns} and needs a '
      f'sequence of {len(method.turns)}.'
    )
  infos = []
  for turn, entry in enumerate(games):
    game = entry if isinstance(entry, Game) else entry(players)
    updates, state, info = method.update(game, state, players, turn=turn)
    players = optax.apply_updates(players, updates)
    infos.append(info)
  return players, state, tuple(infos)


class FirstOrderState(NamedTuple):
  """The optax states of both players."""

  g: optax.OptState
  d: optax.OptState


def _check_match(
  optimizer: optax.GradientTransformation, state: Any, params: Any, name: str
) -> None:
  """Raises if `optimizer.init(params)` would not look like `state`."""

  def shapes(tree):
    leaves = jax.tree.leaves_with_path(tree)
    return {
      jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in leaves
    }

  want, have = shapes(jax.eval_shape(optimizer.init, params)), shapes(state)
  for path in want | have:
    if want.get(path) != have.get(path):
      raise ValueError(
        f'players.{name} does not match the state: for these players state'
        f'{path} would have shape {want.get(path)}, it has {have.get(path)}. '
        'Make the state by init from players of the same structure.'
      )


def _first_order(
  o_g: optax.GradientTransformation,
  o_d: optax.GradientTransformation,
  turns: tuple[str, ...],
) -> GameTransformation:
  """Each mover follows its own gradient by its own optimizer."""
  optimizers = dict(
    g=optax.with_extra_args_support(o_g), d=optax.with_extra_args_support(o_d)
  )

  def init(players):
    return FirstOrderState(o_g.init(players.g), o_d.init(players.d))

  def move(name, state, params, at):
    optimizer, opt_state = optimizers[name], getattr(state, name)
    _check_match(optimizer, opt_state, params, name)
    # The value is for optimizers that scale by the loss; others ignore it.
    return optimizer.update(
      getattr(at, f'grad_{name}'),
      opt_state,
      params,
      value=getattr(at, f'loss_{name}'),
    )

  def update(game, state, players, *, turn=0):
    if turn not in range(len(turns)):
      raise ValueError(f'turn={turn} is not in 0..{len(turns) - 1}: {turns}.')
    at = gradients(game, players, turns[turn])
    updates = optax.tree.zeros_like(players)
    for name in turns[turn]:
      step, new = move(name, state, getattr(players, name), at)
      updates = updates._replace(**{name: step})
      state = state._replace(**{name: new})
    cost = telemetry(len(turns[turn]) / 2)
    return updates, state, Info(at.loss_g, at.loss_d, at.aux_g, at.aux_d, cost)

  return GameTransformation(init, update, turns)


def simultaneous(
  o_g: optax.GradientTransformation, o_d: optax.GradientTransformation
) -> GameTransformation:
  """Both players move at once, each from where the other was.

  With plain steps it spirals out of a bilinear saddle: the radius grows by
  sqrt(1 + (lr * alpha)^2) a step on alpha x y.

  Args:
    o_g: the generator's optimizer; gets its params (weight decay works) and
      its loss as `value`.
    o_d: the discriminator's.

  Returns:
    A GameTransformation of one turn; a zero-sum game is differentiated once.
  """
  return _first_order(o_g, o_d, ('gd',))


def alternating(
  o_g: optax.GradientTransformation,
  o_d: optax.GradientTransformation,
  *,
  d_steps: int = 1,
  g_steps: int = 1,
  first: str = 'd',
) -> GameTransformation:
  """One player moves, then the other from what it sees then.

  Args:
    o_g: the generator's optimizer; gets its params (weight decay works) and
      its loss as `value`.
    o_d: the discriminator's.
    d_steps: turns of the discriminator in a step (5 in WGAN-GP).
    g_steps: turns of the generator.
    first: 'd' (Goodfellow et al., 2014, algorithm 1) or 'g' (RS-GAN's code).

  Returns:
    A GameTransformation of d_steps + g_steps turns, a batch each. The player
    who does not move has zero updates and keeps its optimizer's state.

  Raises:
    ValueError: d_steps or g_steps < 1, or `first` is neither 'd' nor 'g'.
  """
  for name, steps in (('d_steps', d_steps), ('g_steps', g_steps)):
    if steps < 1:
      raise ValueError(f'alternating needs {name} >= 1, got {steps}.')
  if first not in ('d', 'g'):
    raise ValueError(f"alternating needs first='d' or 'g', got {first!r}.")
  turns_d, turns_g = ('d',) * d_steps, ('g',) * g_steps
  turns = turns_d + turns_g if first == 'd' else turns_g + turns_d
  return _first_order(o_g, o_d, turns)
