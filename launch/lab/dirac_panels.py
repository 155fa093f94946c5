"""The panels of the Dirac-GAN figure, played with the core."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

from gan_jax import games, regularizers
from gan_jax.theory import dirac, dirac_games, dirac_linear
from launch.lab import population

STEP_SIZE = 0.2
NUM_STEPS = 500
STD = 0.7
NUM_SAMPLES = 1000
# How often the critic moves after each move of the generator; 0: both at once.
SWEEPS = {'simultaneous': 0, 'alternating 1': 1, 'alternating 5': 5}


class Panel(NamedTuple):
  """One way of playing the Dirac-GAN.

  Attributes:
    label: for figures.
    field: by hand, what the core's play has to agree with.
    game: made of the core's losses and penalties.
    method: `(h, d_steps) -> GameTransformation`.
    linear: the field near 0; None where it has no derivative.
    clip: of the critic's weight; None: it is free.
  """

  label: str
  field: dirac.Field
  game: games.Game
  method: Callable = dirac_games.descent
  linear: dirac_linear.Linear | None = None
  clip: float | None = None


class Paths(NamedTuple):
  """Where the players were, `[steps + 1]` each, or `[S, steps + 1]`."""

  theta: np.ndarray
  psi: np.ndarray

  def radius(self) -> np.ndarray:
    return np.hypot(self.theta, self.psi)


def make() -> dict[str, Panel]:
  """The nine panels, with consensus in its exact form as a tenth.

  In float64 only inside `jax.enable_x64`.
  """
  game, linear = dirac_games.point_game, dirac_linear.Linear
  published = dirac.consensus(1.0, cross=0.5)
  noisy = dirac.noisy(STD)
  return {
    'gan': Panel('GAN', dirac.gan, game('minimax'), linear=linear()),
    'nsgan': Panel(
      'NSGAN', dirac.nonsaturating, game('nonsaturating'), linear=linear()
    ),
    'wgan': Panel(
      'WGAN, clipped at 1',
      dirac.wasserstein,
      game('wasserstein'),
      linear=linear(coupling=1.0),
      clip=1.0,
    ),
    'wgan_gp': Panel(
      'WGAN-GP, $\\gamma$ = .7',
      dirac.centred(dirac.wasserstein, 0.7),
      game('wasserstein', dirac_games.wgan_gp(0.7)),
    ),
    'noise': Panel(
      'instance noise, $\\sigma$ = .7',
      noisy,
      dirac_games.noisy_game(STD),
      linear=dirac_linear.noisy(STD),
    ),
    'r1': _penalized(0.3, dirac_games.r1(0.3), 'R1, $\\gamma$ = .3'),
    # On one point with a linear critic R2 is R1.
    'r1_critical': _penalized(
      1.0, dirac_games.r2(1.0), 'R2, $\\gamma$ = 1 (critical)'
    ),
    'consensus_notebook': Panel(
      'consensus, as published',
      published,
      game('minimax'),
      lambda h, d_steps: dirac_games.along(published, h, d_steps),
      dirac_linear.consensus(1.0),
    ),
    'consensus': Panel(
      'consensus, exact',
      dirac.consensus(1.0),
      game('minimax'),
      lambda h, d_steps: dirac_games.consensus(h, 1.0, d_steps),
      dirac_linear.consensus(1.0),
    ),
    'nsgan_r1': Panel(
      'NSGAN + R1, $\\gamma$ = .3',
      dirac.penalized(dirac.nonsaturating, 0.3),
      game('nonsaturating', dirac_games.r1(0.3)),
      linear=dirac_linear.penalized(0.3),
    ),
  }


def _penalized(gamma: float, penalty, label: str) -> Panel:
  return Panel(
    label,
    dirac.penalized(dirac.gan, gamma),
    dirac_games.point_game('minimax', penalty),
    linear=dirac_linear.penalized(gamma),
  )


def start() -> games.Players:
  """(1, 1), where the published trajectories begin."""
  return games.Players(jnp.ones(()), jnp.ones(()))


def method_of(panel: Panel, d_steps: int) -> games.GameTransformation:
  """How the panel is played, with the projection if it has one."""
  method = panel.method(STEP_SIZE, d_steps)
  if panel.clip is None:
    return method
  clip = lambda d: regularizers.clip_weights(d, panel.clip)
  return population.projected(
    method, lambda players: players._replace(d=clip(players.d))
  )


def play(
  panels: dict[str, Panel], num_steps: int = NUM_STEPS
) -> dict[tuple[str, str], Paths]:
  """All panels and sweeps from `start`: (panel, sweep) -> Paths."""
  runs = {
    (name, sweep): (panel, method_of(panel, d_steps))
    for name, panel in panels.items()
    for sweep, d_steps in SWEEPS.items()
  }

  def step(key, carry):
    panel, method = runs[key]
    turns = [panel.game] * len(method.turns)
    return games.play(method, turns, carry[1], carry[0])[:2]

  first = {
    key: (start(), method.init(start())) for key, (_, method) in runs.items()
  }
  return _record(
    lambda carry: {key: step(key, carry[key]) for key in runs},
    lambda carry: {key: pair[0] for key, pair in carry.items()},
    first,
    num_steps,
  )


def by_hand(
  panels: dict[str, Panel], num_steps: int = NUM_STEPS
) -> dict[tuple[str, str], Paths]:
  """As `play`, along the fields written down in `theory.dirac`."""
  steps = {
    (name, sweep): dirac.euler(
      panel.field,
      STEP_SIZE,
      d_steps=d_steps,
      clip=np.inf if panel.clip is None else panel.clip,
    )
    for name, panel in panels.items()
    for sweep, d_steps in SWEEPS.items()
  }
  return _record(
    lambda carry: {key: step(carry[key]) for key, step in steps.items()},
    lambda carry: carry,
    {key: start() for key in steps},
    num_steps,
  )


def _record(step: Callable, observe: Callable, first, num_steps: int) -> dict:
  def body(carry, _):
    carry = step(carry)
    return carry, observe(carry)

  @jax.jit
  def run(carry):
    return jax.lax.scan(body, carry, length=num_steps)[1]

  seen, begin = run(first), observe(first)
  join = lambda a, b: np.concatenate([np.asarray(a)[None], np.asarray(b)])
  return {
    key: Paths(
      *(join(a, b) for a, b in zip(begin[key], seen[key], strict=True))
    )
    for key in seen
  }


def play_noisy(seeds: int, d_steps: int, num_steps: int = NUM_STEPS) -> Paths:
  """Instance noise as published: drawn anew in every turn, `[S, steps + 1]`."""
  history = population.train(
    dirac_games.descent(STEP_SIZE, d_steps),
    lambda key: dirac_games.sampled_game(key, STD, NUM_SAMPLES),
    lambda key: start(),
    lambda players: players,
    jnp.arange(seeds),
    num_steps=num_steps,
    record_every=1,
  )
  return Paths(*map(np.asarray, history.seen))
