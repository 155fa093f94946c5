"""Losses of a batch as means over its parts, in the memory of one part.

The parts are taken one after another in a loop that keeps nothing of a part but
its input: what a derivative needs is computed again when it is its turn. The
result is a plain function of the players, so every method of playing and every
order of derivative sees the loss of the whole batch.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from gan_jax import games

Batch = dict[str, jax.Array]


def check(
  count: int, batch_size: int, coupled: Mapping[str, str] | None = None
) -> None:
  """Raises ValueError where a batch cannot be taken in equal parts.

  Args:
    count: parts.
    batch_size: rows of the batch.
    coupled: setting -> what of it looks at several rows at once.
  """
  if batch_size % count:
    raise ValueError(
      f'accumulate={count} does not divide batch_size={batch_size}: the parts '
      'of a batch must be equal.'
    )
  for setting, what in (coupled or {}).items():
    if count > 1:
      raise ValueError(
        f'accumulate={count} takes a batch in parts, but {setting} couples its '
        f'rows by {what}; take accumulate=1.'
      )


def split(batch: Batch, count: int) -> Batch:
  """Parts of a batch, `[B, ...]` to `[count, B / count, ...]`.

  Part i holds rows i, i + count, ..., so that a batch that is divided among
  devices is so in each of its parts. `row` are the rows' numbers in the whole
  batch; `part`, `[count]`, the parts' own.

  Raises:
    ValueError: `count` does not divide the rows that are here.
  """
  size = batch['image'].shape[0]
  if size % count:
    raise ValueError(
      f'accumulate={count} does not divide the {size} rows of a batch that a '
      'device has: batch_size must be a multiple of accumulate times the '
      'devices.'
    )
  batch = {'row': jnp.arange(size)} | batch
  apart = lambda x: x.reshape(size // count, count, *x.shape[1:])
  parts = jax.tree.map(lambda x: jnp.swapaxes(apart(x), 0, 1), batch)
  return parts | {'part': jnp.arange(count)}


def in_parts(
  make_game: Callable[[Batch], games.Game], batch: Batch, count: int
) -> games.Game:
  """The game of a whole batch, played in equal parts.

  Args:
    make_game: of a batch, or a part of one; its losses are means over rows,
      `(scalar, aux)`, and treat rows independently.
    batch: leaves `[B, ...]`, see `batch_game.make_game`.
    count: how many parts; 1 is `make_game(batch)` itself.

  Returns:
    A game whose losses and aux are the means over the parts. Its derivatives
    take the memory of one part and the time of one more forward pass.

  Raises:
    ValueError: the parts would not be equal.
  """
  if count == 1:
    return make_game(batch)
  parts = split(batch, count)
  like = make_game(jax.tree.map(lambda x: x[0], parts))
  # Of a zero-sum game the generator's loss is minus the critic's.
  loss_d = _mean(make_game, 'loss_d', parts, count)
  if like.zero_sum:
    return games.zero_sum(loss_d, has_aux=True, axis_name=like.axis_name)
  loss_g = _mean(make_game, 'loss_g', parts, count)
  return like._replace(loss_g=loss_g, loss_d=loss_d)


def _mean(make_game, name, parts, count):
  """One player's loss as a mean over the parts, with its aux."""

  def of_part(g, d, part):
    return getattr(make_game(part), name)(g, d)

  # A loop's body is not merged with another: there is nothing to prevent.
  kept_by_none = jax.checkpoint(of_part, prevent_cse=False)

  def loss(g, d):
    def body(total, part):
      return jax.tree.map(jnp.add, total, kept_by_none(g, d, part)), None

    first = jax.tree.map(lambda x: x[0], parts)
    shapes = jax.eval_shape(of_part, g, d, first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    total, _ = jax.lax.scan(body, zeros, parts)
    return jax.tree.map(lambda x: x / count, total)

  return loss
