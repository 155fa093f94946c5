"""Memory and communication of one training step, for each method.

python -m launch.cost --config=configs/digits.py [--devices=8]
    [--method=acgd,alternating] [--iterations=20] [--bandwidth_gb_s=100]

Every device holds all of the state and averages vectors of parameters with the
others: a gradient is one such vector, a product with a mixed second derivative
another. Reads no data and trains nothing.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from absl import flags
from ml_collections import config_flags

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
  'iterations', 20, 'CG iterations of a step.', flag_values=_FLAGS
)
_BANDWIDTH = flags.DEFINE_float(
  'bandwidth_gb_s',
  100.0,
  'Of one device in one direction, 10^9 bytes/s.',
  flag_values=_FLAGS,
)


class Vectors(NamedTuple):
  """How often a vector like each player's parameters is averaged in a step."""

  g: int
  d: int


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


def _cgd(d_steps, g_steps, iterations, smaller):
  # Gradients and both right-hand sides; in an iteration of CG a product to the
  # other player and one back; the answer of the player that is not solved for.
  del d_steps, g_steps
  answer = Vectors(int(smaller == 'd'), int(smaller == 'g'))
  return Vectors(2 + iterations + answer.g, 2 + iterations + answer.d)


# name -> (d_steps, g_steps, iterations, the smaller player) -> Vectors. The CGD
# family as in its PyTorch packages: 2 products an iteration, 2 for right-hand
# sides, 1 for the answer (ICR solves both systems and needs no answer).
METHODS: dict[str, Callable[[int, int, int, str], Vectors]] = {
  'simultaneous': lambda d, g, i, smaller: Vectors(1, 1),
  'alternating': lambda d, g, i, smaller: Vectors(g, d),
  'extragradient': lambda d, g, i, smaller: Vectors(2, 2),
  'linearized_cgd': lambda d, g, i, smaller: Vectors(2, 2),
  'icr': lambda d, g, i, smaller: Vectors(2 + 2 * i, 2 + 2 * i),
  'cgd': _cgd,
  'acgd': _cgd,
}


def vectors(
  method: str,
  *,
  d_steps: int = 1,
  g_steps: int = 1,
  iterations: int = 20,
  smaller: str = 'd',
) -> Vectors:
  """Vectors of parameters that a step of a method averages over the devices.

  Args:
    method: a row of `METHODS`.
    d_steps: turns of the discriminator, for alternating play.
    g_steps: turns of the generator, for alternating play.
    iterations: of CG.
    smaller: 'g' or 'd', the player whose system CG solves.

  Raises:
    ValueError: there is no such method.
  """
  if method not in METHODS:
    raise ValueError(f'method={method!r} is not one of {sorted(METHODS)}.')
  return METHODS[method](d_steps, g_steps, iterations, smaller)


def step_bytes(counts: Vectors, parameter_bytes: Vectors) -> int:
  """Bytes that a step averages over the devices."""
  return counts.g * parameter_bytes.g + counts.d * parameter_bytes.d


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


def sizes(setup: Any) -> Sizes:
  """Sizes of a run's state, from shapes alone.

  Args:
    setup: of the run, see `build.build_setup`.
  """
  import jax

  from gan_jax import step

  state = jax.eval_shape(lambda: step.init(setup, jax.random.key(0)))
  g, d = tree_size(state.players.g), tree_size(state.players.d)
  return Sizes(
    Vectors(g[0], d[0]),
    Vectors(g[1], d[1]),
    tree_size(state.opt_state)[1],
    tree_size(state.averaged)[1],
    tree_size(state.model_state)[1],
  )


def main(argv: list[str] | None = None) -> int:
  """Prints both tables; returns the exit code."""
  argv = list(sys.argv if argv is None else argv)
  if set(argv) & {'--help', '-h', '-help'}:
    print(__doc__)
    print(_FLAGS.get_help())
    return 0
  try:
    rows, batch, size, turns = _read(argv)
  except (
    *(flags.Error, AttributeError, ImportError, KeyError, OSError),
    *(SyntaxError, TypeError, ValueError),
  ) as error:
    print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
    return 2
  print(_memory_table(size, batch))
  print()
  print(_traffic_table(rows, size, turns))
  return 0


def _read(argv):
  rest = _FLAGS(argv)
  if len(rest) > 1:
    raise flags.Error(f'unexpected argument {rest[1]!r}; flags begin with --.')
  if _CONFIG.value is None:
    raise flags.Error('--config is needed: the file of the experiment.')
  for flag in (_DEVICES, _BANDWIDTH, _ITERATIONS):
    if flag.value < (0 if flag is _ITERATIONS else 1e-9):
      raise flags.Error(f'--{flag.name}={flag.value} is too small.')
  rows = _METHOD.value or list(METHODS)
  for name in rows:
    vectors(name)  # raises
  config, devices = _CONFIG.value, _DEVICES.value
  if config.batch_size % devices:
    raise ValueError(
      f'config.batch_size={config.batch_size} is not divisible by '
      f'--devices={devices}.'
    )
  from gan_jax import build

  setup = build.build_setup(config)
  return rows, config.batch_size // devices, sizes(setup), setup.method.turns


def _memory_table(size, batch):
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
    'Not in the sum: activations, workspace, resident data, and the vectors of '
    'a linear solver.'
  )


def _traffic_table(names, size, turns):
  smaller = 'd' if size.parameters.d <= size.parameters.g else 'g'
  d_steps, g_steps = (sum(who in t for t in turns) for who in 'dg')
  rows = [['method', 'vectors g', 'vectors d', 'MB a step', 'ring, ms']]
  for name in names:
    counts = vectors(
      name,
      d_steps=d_steps,
      g_steps=g_steps,
      iterations=_ITERATIONS.value,
      smaller=smaller,
    )
    volume = step_bytes(counts, size.parameter_bytes)
    seconds = ring_seconds(volume, _DEVICES.value, _BANDWIDTH.value)
    rows.append(
      [name, str(counts.g), str(counts.d), _mb(volume), f'{seconds * 1e3:.3f}']
    )
  return (
    f'Averaged over the devices in a step ({_ITERATIONS.value} CG iterations, '
    f'{_BANDWIDTH.value:g} GB/s)\n'
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
