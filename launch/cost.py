"""Memory and communication of one training step, for each method.

python -m launch.cost --config=configs/digits.py [--devices=8]
    [--method=acgd,alternating] [--iterations=20] [--bandwidth_gb_s=100]

Every device holds all of the state and averages vectors of parameters with the
others: a gradient is one such vector, a product with a second derivative
another. The counts are those of launch/method_costs.py. Reads no data.
"""

import sys
from typing import Any, NamedTuple

from absl import flags
from ml_collections import config_flags

from launch import method_costs

_FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  'config', help_string='File of the experiment.', flag_values=_FLAGS
)
_DEVICES = flags.DEFINE_integer(
  'devices', 8, 'Devices in all.', flag_values=_FLAGS
)
_METHOD = flags.DEFINE_list(
  'method', None, 'Rows to show; left out: all.', flag_values=_FLAGS
)
_ITERATIONS = flags.DEFINE_integer(
  'iterations', 20, 'Of the linear solver, a step.', flag_values=_FLAGS
)
_UNROLLED = flags.DEFINE_integer(
  'unrolled_steps', 5, 'That an unrolled generator sees.', flag_values=_FLAGS
)
_BANDWIDTH = flags.DEFINE_float(
  'bandwidth_gb_s',
  100.0,
  'Of one device in one direction, 10^9 bytes/s.',
  flag_values=_FLAGS,
)


METHODS = method_costs.METHODS
Vectors = method_costs.Vectors


class Sizes(NamedTuple):
  """Numbers of parameters and bytes of a run's state.

  Attributes:
    parameters: of each player.
    parameter_bytes: of each player.
    optimizer_bytes: state of the method and its optimizers.
    averaged_bytes: the averaged generator.
    model_bytes: batch statistics and spectral vectors.
  """

  parameters: Vectors
  parameter_bytes: Vectors
  optimizer_bytes: int
  averaged_bytes: int
  model_bytes: int


def step_bytes(counts: Vectors, parameter_bytes: Vectors) -> int:
  """Bytes that a step averages over the devices."""
  return counts.g * parameter_bytes.g + counts.d * parameter_bytes.d


def memory_bytes(
  cost: method_costs.Cost, parameter_bytes: Vectors, optimizer_bytes: Vectors
) -> int:
  """Bytes of the players, a method's state and its workspace.

  Args:
    cost: of the method.
    parameter_bytes: of each player.
    optimizer_bytes: of the state of each player's own optimizer.
  """
  vectors = (
    1 + state + workspace
    for state, workspace in zip(cost.state, cost.workspace, strict=True)
  )
  counts = zip(vectors, cost.optimizers, strict=True)
  each = zip(counts, parameter_bytes, optimizer_bytes, strict=True)
  return sum(n * p + copies * o for (n, copies), p, o in each)


def ring_seconds(
  num_bytes: float, devices: int, bandwidth_gb_s: float
) -> float:
  """Time of all-reduces on a ring, which sends 2 (N - 1) / N of the bytes.

  Without latency and without overlap with the computation.

  Args:
    num_bytes: to be averaged.
    devices: N.
    bandwidth_gb_s: of one device in one direction, 10^9 bytes/s.
  """
  return 2 * (devices - 1) / devices * num_bytes / (bandwidth_gb_s * 1e9)


def tree_size(tree: Any) -> tuple[int, int]:
  """(elements, bytes) of a tree of arrays or their shapes."""
  import jax

  leaves = jax.tree.leaves(tree)
  elements = sum(leaf.size for leaf in leaves)
  return elements, sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def shapes(setup: Any) -> Any:
  """Shapes of a run's state; see `build.build_setup` and `step.init`."""
  import jax

  from gan_jax import step

  return jax.eval_shape(lambda: step.init(setup, jax.random.key(0)))


def sizes(state: Any) -> Sizes:
  """Sizes of a run's state, or of its shapes."""
  g, d = tree_size(state.players.g), tree_size(state.players.d)
  return Sizes(
    Vectors(g[0], d[0]),
    Vectors(g[1], d[1]),
    tree_size(state.opt_state)[1],
    tree_size(state.averaged)[1],
    tree_size(state.model_state)[1],
  )


def optimizer_sizes(config: Any, state: Any) -> Vectors:
  """Bytes of the state of each player's own optimizer.

  Args:
    config: of the run.
    state: of the run, or its shapes.

  Raises:
    ValueError: a field of an optimizer is wrong.
  """
  import jax

  from gan_jax import optimizers

  def size(player):
    described = config[f'optimizer_{player}']
    optimizer = optimizers.build(described, config.num_steps, 1)
    kept = jax.eval_shape(optimizer.init, getattr(state.players, player))
    return tree_size(kept)[1]

  return Vectors(size('g'), size('d'))


def main(argv: list[str] | None = None) -> int:
  """Prints both tables; returns the exit code."""
  argv = list(sys.argv if argv is None else argv)
  if set(argv) & {'--help', '-h', '-help'}:
    print(__doc__)
    print(_FLAGS.get_help())
    return 0
  mistakes = (AttributeError, ImportError, KeyError, NameError, OSError)
  mistakes += (flags.Error, SyntaxError, TypeError, ValueError)
  try:
    config, names = _parse(argv)
  except mistakes as error:
    from gan_jax import flag_words

    return _fail(flag_words.words_of(error, argv))
  try:
    print(_tables(config, names))
  except (ImportError, OSError, TypeError, ValueError) as error:
    return _fail(str(error))
  return 0


def _fail(text):
  print(f'error: {" ".join(text.split())}', file=sys.stderr)
  return 2


def _parse(argv):
  rest = _FLAGS(argv)
  if len(rest) > 1:
    raise flags.Error(f'unexpected argument {rest[1]!r}; flags begin with --.')
  if _CONFIG.value is None:
    raise flags.Error('--config is needed: the file of the experiment.')
  for flag, least in (
    (_DEVICES, 1),
    (_BANDWIDTH, 1e-9),
    (_ITERATIONS, 0),
    (_UNROLLED, 0),
  ):
    if not flag.value >= least:
      raise flags.Error(f'--{flag.name}={flag.value} is too small.')
  names = _METHOD.value or list(METHODS)
  for name in names:
    if name not in METHODS:
      raise flags.Error(f'--method={name!r} is not one of {sorted(METHODS)}.')
  config = _CONFIG.value
  if config.batch_size % _DEVICES.value:
    raise flags.Error(
      f'config.batch_size={config.batch_size} is not divisible by '
      f'--devices={_DEVICES.value}.'
    )
  return config, names


def _tables(config, names):
  from gan_jax import batch_game, build

  setup = build.build_setup(config)
  state = shapes(setup)
  size, optimizers = sizes(state), optimizer_sizes(config, state)
  # Where the config's own method does not alternate: one turn each.
  alone = lambda player: max(1, setup.method.turns.count(player))
  play = method_costs.Play(
    d_steps=alone('d'),
    g_steps=alone('g'),
    iterations=_ITERATIONS.value,
    smaller='g' if size.parameters.g <= size.parameters.d else 'd',
    warm_start=config.game.get('warm_start', False),
    zero_sum=batch_game.is_zero_sum(setup),
    unrolled_steps=_UNROLLED.value,
  )
  costs = {name: method_costs.cost(name, play) for name in names}
  parts = [
    _run_table(size, config.batch_size // _DEVICES.value),
    _memory_table(costs, size.parameter_bytes, optimizers),
    _traffic_table(costs, size.parameter_bytes),
  ]
  return '\n\n'.join(parts)


def _run_table(size, batch):
  both = lambda pair: [*pair, sum(pair)]
  megabytes = lambda pair: [_mb(x) for x in both(pair)]
  total = (
    2 * sum(size.parameter_bytes)
    + size.optimizer_bytes
    + size.averaged_bytes
    + size.model_bytes
  )
  rows = [
    ['', 'generator', 'critic', 'both'],
    ['parameters', *(f'{x:,}' for x in both(size.parameters))],
    ['parameters, MB', *megabytes(size.parameter_bytes)],
    ['gradients, MB', *megabytes(size.parameter_bytes)],
    ['optimizer state, MB', '', '', _mb(size.optimizer_bytes)],
    ['averaged generator, MB', '', '', _mb(size.averaged_bytes)],
    ['statistics and spectral vectors, MB', '', '', _mb(size.model_bytes)],
    ['sum on each device, MB', '', '', _mb(total)],
  ]
  return (
    f'On each of {_DEVICES.value} devices, {batch} examples a device and turn\n'
    f'{_aligned(rows)}\n'
    'Not in the sum: activations, resident data, and what a method holds in a '
    'step beside the gradients.'
  )


def _memory_table(costs, parameter_bytes, optimizer_bytes):
  # An optimizer's state in vectors, its counters left out.
  each = [o // p for o, p in zip(optimizer_bytes, parameter_bytes, strict=True)]
  rows = [['method', 'kept g', 'kept d', 'in a step g', 'in a step d', 'MB']]
  for label, cost in costs.items():
    kept, held = [], []
    for player, optimizer in zip('gd', each, strict=True):
      copies = getattr(cost.optimizers, player)
      kept.append(getattr(cost.state, player) + min(copies, 1) * optimizer)
      more = max(copies - 1, 0) * optimizer
      held.append(getattr(cost.workspace, player) + more)
    volume = memory_bytes(cost, parameter_bytes, optimizer_bytes)
    rows.append([label, *map(str, kept + held), _mb(volume)])
  return (
    'On each device: vectors beside the parameters, and bytes with them '
    f'({_ITERATIONS.value} iterations of a solver,\n'
    f'{_UNROLLED.value} unrolled steps)\n'
    f'{_aligned(rows)}\n'
    'In a step are the gradients too. Not counted: activations (unrolled keeps '
    'those of all its steps),\nthe averaged generator, statistics.'
  )


def _traffic_table(costs, parameter_bytes):
  rows = [['method', 'vectors g', 'vectors d', 'MB a step', 'ring, ms']]
  for label, cost in costs.items():
    volume = step_bytes(cost.averaged, parameter_bytes)
    seconds = ring_seconds(volume, _DEVICES.value, _BANDWIDTH.value)
    counts = map(str, cost.averaged)
    rows.append([label, *counts, _mb(volume), f'{seconds * 1e3:.3f}'])
  return (
    f'Averaged over the devices in a step (the same, {_BANDWIDTH.value:g} '
    'GB/s)\n'
    f'{_aligned(rows)}\n'
    'Not counted: latency, batch statistics and logged scalars.'
  )


def _mb(num_bytes):
  return f'{num_bytes / 1e6:,.3f}'


def _aligned(rows):
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = (
    [row[0].ljust(widths[0])]
    + [x.rjust(w) for x, w in zip(row[1:], widths[1:], strict=True)]
    for row in rows
  )
  return '\n'.join('  '.join(line).rstrip() for line in lines)


if __name__ == '__main__':
  sys.exit(main())
