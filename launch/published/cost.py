"""What a run will cost, before it: no data are read and nothing is compiled."""

import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax

from gan_jax import build, methods
from gan_jax import step as steps
from launch import cost as costs

# One H100 (docs/results/speed.md): 442 and 266 steps/s of the quarter and the
# full CNN, 1.0e10 and 1.5e11 operations a step, are a time for the operations
# and one for every pass through both networks, whose small programs it waits
# for. The dc pair, 616 steps/s, comes out a third too slow.
TFLOPS = 100.0
SECONDS_A_PASS = 1e-3
# Of a solver, by its tolerance: docs/results/acgd.md.
_ITERATIONS = ((0.1, 2), (1e-2, 3), (0.0, 6))


class Cost(NamedTuple):
  """Of one run.

  Attributes:
    flops: operations of a step, by XLA's count.
    passes: a step's passes through both networks and back, one after another.
    parameters: of both players.
    checkpoint_bytes: of one checkpoint.
    kept: how many checkpoints a run keeps at the most, with the best.
    iterations: of a method's solver that were counted, or 0.
  """

  flops: float
  passes: int
  parameters: int
  checkpoint_bytes: int
  kept: int
  iterations: int = 0


def seconds(cost: Cost, num_steps: int, tflops: float) -> float:
  """Device-seconds of a run that has the device to itself.

  Args:
    cost: of the run.
    num_steps: of the run.
    tflops: what the device sustains in large products, 10^12 operations/s.
  """
  a_step = cost.flops / (tflops * 1e12) + cost.passes * SECONDS_A_PASS
  return num_steps * a_step


def of(config: ml_collections.ConfigDict) -> Cost:
  """The cost of a run.

  Raises:
    ValueError: some field of the config is wrong.
  """
  iterations = solver_iterations(config)
  setup = build.build_setup(config)
  state = costs.shapes(setup)
  if iterations:
    # XLA counts a loop once; written out, two counts give that of any.
    one, two = (
      _flops(config, _written_out(config, setup, count), state)
      for count in (1, 2)
    )
    flops = one + (iterations - 1) * (two - one)
  else:
    flops = _flops(config, setup, state)
  size = costs.sizes(state)
  volume = sum(size.parameter_bytes) + size.optimizer_bytes
  volume += size.averaged_bytes + size.model_bytes
  passes = len(setup.method.turns) + (1 + iterations if iterations else 0)
  kept = config.keep_checkpoints + bool(config.best_by)
  return Cost(flops, passes, sum(size.parameters), volume, kept, iterations)


def solver_iterations(config: ml_collections.ConfigDict) -> int:
  """Of the method's linear solver, as many as were seen; 0 where it has none.

  The tolerance decides, and at the most what the config allows.
  """
  if 'iterations' not in config.game:
    return 0
  tolerance = config.game.get('tolerance', 0.0)
  usual = next(n for least, n in _ITERATIONS if tolerance >= least)
  return min(usual, config.game.iterations)


def _written_out(config, setup, iterations):
  described = config.game.to_dict() | dict(iterations=iterations, unroll=True)
  none = optax.identity()  # such methods have step sizes of their own
  return setup._replace(method=methods.make(described, none, none))


def _flops(config, setup, state):
  """Of a step, lazy penalties averaged over steps."""
  paying = _count(config, setup, state, True)
  if not setup.penalties or setup.lazy == 1:
    return paying
  free = _count(config, setup, state, False)
  return free + (paying - free) / setup.lazy


def _count(config, setup, state, penalize):
  batches = _batches(config, setup)

  def step(state, batches):
    return steps.train_step(state, batches, setup=setup, penalize=penalize)[0]

  with warnings.catch_warnings():  # of loops that are slow on a CPU
    warnings.simplefilter('ignore')
    lowered = jax.jit(step).lower(state, batches)
  return float((lowered.cost_analysis() or {}).get('flops', 0.0))


def _batches(config, setup):
  """What a step is fed, in shapes alone."""
  example = setup.discriminator.example_inputs()[0].shape[1:]
  kind = jnp.uint8 if len(example) == 3 else jnp.float32
  lead = (len(setup.method.turns), config.batch_size)
  return {
    'image': jax.ShapeDtypeStruct((*lead, *example), kind),
    'label': jax.ShapeDtypeStruct(lead, jnp.int32),
    'row': jax.ShapeDtypeStruct(lead, jnp.int32),
  }
