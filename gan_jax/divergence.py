"""A run that is no longer finite stops, and says where it broke."""

import jax
import jax.numpy as jnp
import numpy as np

PLAYER = {
  'loss_g': 'the generator',
  'loss_d': 'the discriminator',
  'real_logit': 'the discriminator',
  'fake_logit': 'the discriminator',
}


class Diverged(Exception):
  """A loss or a parameter is no longer finite; says the step and the player.

  Attributes:
    step: at which it was found out.
  """

  def __init__(self, words: str, step: int = 0):
    super().__init__(words)
    self.step = step


def check_losses(values, done, turns):
  """Returns the values if every loss is finite.

  Raises:
    Diverged: names the first step, and in it the first player, that is not.
  """
  first_mover = 'the discriminator' if turns[0] == 'd' else 'the generator'
  # Within a step one player's NaN is the other's in the turns that follow.
  names = sorted(PLAYER, key=lambda name: PLAYER[name] != first_mover)
  bad = {n: np.flatnonzero(~np.isfinite(values.get(n, ()))) for n in names}
  bad = {n: int(steps[0]) for n, steps in bad.items() if steps.size}
  if not bad:
    return values
  name = min(bad, key=bad.get)
  at = done - len(values[name]) + bad[name] + 1
  raise Diverged(
    f'{name} of {PLAYER[name]} is {values[name][bad[name]]} at step {at}', at
  )


def check_players(players, done):
  """Raises Diverged where a parameter is not finite.

  A checkpoint of NaN would push a good one out.
  """
  for player, params in players._asdict().items():
    if not _all_finite(params):
      name = {'g': 'the generator', 'd': 'the discriminator'}[player]
      raise Diverged(
        f'a parameter of {name} is not finite at step {done}', done
      )


@jax.jit
def _all_finite(tree):
  return jax.tree.reduce(
    jnp.logical_and, jax.tree.map(lambda x: jnp.isfinite(x).all(), tree)
  )
