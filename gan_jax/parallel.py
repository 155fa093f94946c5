"""One step function on any number of devices and processes.

The only room that says Mesh, pmap or shard_map. Every device holds all of the
state and a part of each batch, rows in order:

  jit        the compiler divides one program that reads as if for one device
  pmap       each device runs the step on its rows, means by `axis_name`
  shard_map  the same, inside `jit`

All three give the same numbers, because whatever is drawn for a row depends on
the row's number in the whole batch, and all means are over the whole batch. Of
several processes the first leads: it alone reads and writes the workdir.
"""

import collections
import functools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

AXIS = 'data'
NAMES = ('jit', 'pmap', 'shard_map')

# On CPU, XLA lets 32 programs queue for a device. The thread that launches the
# next one then waits, and with fewer cores than it takes, the devices of a
# collective wait for that thread: after 40 s XLA ends the process.
_CALLS_AHEAD = 16

_ROWS = 2  # axis of the batch in `fed`, [steps, turns, B, ...]
_P = jax.sharding.PartitionSpec


class LeaderFailed(Exception):
  """The first process stopped; its words, for the others."""


class Devices(NamedTuple):
  """How a step is put on all devices of all processes.

  Attributes:
    compile: function `(state, resident, fed) -> (state, metrics)`, for one
      device, to the same for all; state and metrics are the same everywhere,
      the state given is used up (donated).
    replicate: a pytree, the same in every process, to one on all devices.
    spread: host pytree of this process's rows, leaves `[steps, turns, b, ...]`,
      to what the compiled function takes as `fed`.
  """

  compile: Callable[[Callable], Callable]
  replicate: Callable[[Any], Any]
  spread: Callable[[Any], Any]


def axis_name(name: str) -> str | None:
  """The mapped axis that a step sees under a wrapper; None under `jit`.

  Raises:
    ValueError: there is no such wrapper.
  """
  if name not in NAMES:
    raise ValueError(f'parallel={name!r} is not one of {sorted(NAMES)}.')
  return None if name == 'jit' else AXIS


def check_batch(batch_size: int) -> None:
  """Raises ValueError unless all devices can get equally many rows."""
  count = jax.device_count()
  if batch_size % count:
    below, above = batch_size // count * count, -(-batch_size // count) * count
    right = f'{below} or {above}' if below else f'{above}'
    raise ValueError(
      f'batch_size={batch_size} is not a multiple of the {count} devices; '
      f'{right} is, or let the run see fewer devices.'
    )


def make(name: str) -> Devices:
  """All devices of all processes, under one of `NAMES`.

  Raises:
    ValueError: there is no such wrapper.
  """
  axis_name(name)
  # In the order of the processes: each feeds a block of a batch's rows.
  devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
  auto = (jax.sharding.AxisType.Auto,)
  mesh = jax.sharding.Mesh(np.array(devices), (AXIS,), axis_types=auto)
  whole = jax.sharding.NamedSharding(mesh, _P())
  rows = jax.sharding.NamedSharding(mesh, _P(None, None, AXIS))
  compilers = {
    'jit': lambda function: jax.jit(
      function,
      in_shardings=(whole, whole, rows),
      out_shardings=whole,
      donate_argnums=0,
      compiler_options=_compiler_options(),
    ),
    'pmap': lambda function: _pmap(function, devices),
    'shard_map': lambda function: jax.jit(
      _shard_map(function, mesh),
      donate_argnums=0,
      compiler_options=_compiler_options(),
    ),
  }
  return Devices(
    compilers[name],
    lambda tree: jax.tree.map(lambda x: _replicate(x, whole), tree),
    _by_device if name == 'pmap' else lambda fed: _global(fed, rows),
  )


def bounded() -> Callable[[Any], Any]:
  """A function through which a loop passes what compiled calls return.

  It gives it back, after waiting for the metrics of the call 16 calls before:
  the host runs ahead of the devices far enough that they never idle, not so far
  that what it fed piles up there.
  """
  under_way = collections.deque()

  def ended(returned):
    _, metrics = returned
    under_way.append(metrics)
    if len(under_way) > _CALLS_AHEAD:
      jax.block_until_ready(under_way.popleft())
    return returned

  return ended


@functools.cache
def _compiler_options():
  """What makes programs faster on CPU, where XLA still knows the name."""
  if jax.default_backend() != 'cpu':
    return None
  # XLA's older kernels for convolutions are up to a quarter faster.
  options = {'xla_cpu_experimental_ynn_fusion_type': ''}
  try:
    jax.jit(lambda x: x, compiler_options=options).lower(0.0).compile()
  except (RuntimeError, ValueError):
    return None
  return options


def _shard_map(function, mesh):
  specs = (_P(), _P(), _P(None, None, AXIS))
  # With check_vma, gradients of what all devices share arrive summed already.
  return jax.shard_map(
    function, mesh=mesh, in_specs=specs, out_specs=_P(), check_vma=False
  )


def _pmap(function, devices):
  return jax.pmap(
    function,
    axis_name=AXIS,
    in_axes=(None, None, _ROWS),
    out_axes=None,
    devices=devices,
    donate_argnums=0,
  )


def _by_device(fed):
  count = jax.local_device_count()
  divide = lambda x: x.reshape(*x.shape[:_ROWS], count, -1, *x.shape[3:])
  return jax.tree.map(divide, fed)


def _global(fed, sharding):
  if jax.process_count() == 1:
    return fed  # the compiled call divides it itself
  make_array = jax.make_array_from_process_local_data
  return jax.tree.map(lambda x: make_array(sharding, x), fed)


def _replicate(x, sharding):
  if jax.process_count() == 1:
    return jax.device_put(x, sharding)
  if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    data = _replicate(jax.random.key_data(x), sharding)
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
  x = np.asarray(x)
  return jax.make_array_from_process_local_data(sharding, x, x.shape)


class Rows(NamedTuple):
  """A function of rows, on all devices of this process.

  Attributes:
    call: host array `[B, ...]` to what the function makes of it; B is a
      multiple of `devices`.
    devices: how many there are.
  """

  call: Callable[[np.ndarray], Any]
  devices: int


def by_rows(function: Callable[[Any, Any], Any], params: Any) -> Rows:
  """Compiles `function(params, rows)`, whose rows do not know of each other.

  Params are put on each of this process's devices once; rows are divided.
  """
  devices = jax.local_devices()
  auto = (jax.sharding.AxisType.Auto,)
  mesh = jax.sharding.Mesh(np.array(devices), (AXIS,), axis_types=auto)
  whole = jax.sharding.NamedSharding(mesh, _P())
  divided = jax.sharding.NamedSharding(mesh, _P(AXIS))
  compiled = jax.jit(
    function,
    in_shardings=(whole, divided),
    out_shardings=divided,
    compiler_options=_compiler_options(),
  )
  params = jax.device_put(params, whole)
  # Put first: of several processes, jit would divide host arrays among all.
  put = lambda rows: jax.device_put(rows, divided)
  return Rows(lambda rows: compiled(params, put(rows)), len(devices))


def in_turn(told: bytes) -> Iterator[bytes]:
  """Every process's bytes, in all processes, one process after another."""
  if jax.process_count() == 1:
    yield told
    return
  for process in range(jax.process_count()):
    speaks = process == jax.process_index()
    size = _told_by(speaks, len(told).to_bytes(8, 'big'), 8)
    yield _told_by(speaks, told, int.from_bytes(size, 'big'))


def rows(batch_size: int) -> np.ndarray:
  """Numbers of this process's rows in a batch of all processes, `[b]` int32.

  Raises:
    ValueError: the processes do not divide the batch.
  """
  count, index = jax.process_count(), jax.process_index()
  if batch_size % count:
    raise ValueError(
      f'batch_size={batch_size} is not a multiple of the {count} processes.'
    )
  local = batch_size // count
  return np.arange(index * local, (index + 1) * local, dtype=np.int32)


def local(tree: Any) -> Any:
  """What one device of this process holds of a replicated pytree, copied.

  A copy, so that the next call may use the tree up.
  """
  return _copy(jax.tree.map(lambda x: x.addressable_data(0), tree))


_copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))


def join(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
) -> None:
  """Makes this process one of several; before anything touches a device.

  Args:
    coordinator: `HOST:PORT` of the first process; like the next two None where
      JAX finds out by itself (SLURM, Cloud TPU, Open MPI, Kubernetes).
    num_processes: how many there are.
    process_id: which of them this is, from 0.

  Raises:
    ValueError: they cannot be found out, or not reached.
  """
  if coordinator is not None and not re.fullmatch(r'.+:\d+', coordinator):
    raise ValueError(f'--coordinator={coordinator!r} is not HOST:PORT.')
  # What is given by hand is all there is to know.
  detection = None if coordinator is None else 'deactivate'
  try:
    jax.distributed.initialize(
      coordinator,
      num_processes,
      process_id,
      cluster_detection_method=detection,
    )
  except (ValueError, RuntimeError) as error:
    raise ValueError(
      f'the processes of this run cannot be joined: {error} Give --coordinator,'
      ' --num_processes and --process_id, or start them by a cluster that JAX '
      'knows.'
    ) from error


def is_leader() -> bool:
  """Whether this process reads and writes the workdir."""
  return jax.process_index() == 0


def agree(signum: int) -> int:
  """The largest of all processes' numbers; each waits for the others."""
  if jax.process_count() == 1:
    return signum
  return int(multihost_utils.process_allgather(np.int32(signum)).max())


def wait() -> None:
  """Returns when all processes have come here."""
  agree(0)


def on_leader(function: Callable[[], Any]) -> Any:
  """Calls a function in the first process; all get what it returns.

  Args:
    function: without arguments; returns something JSON-able.

  Raises:
    LeaderFailed: in the other processes, where the function raised; its words.
  """
  if jax.process_count() == 1:
    return function()
  error, answer = None, None
  if is_leader():
    try:
      answer = {'value': function()}
    except BaseException as caught:  # Ctrl-C too: the others wait
      error, answer = caught, {'error': str(caught)}
  answer = json.loads(tell(json.dumps(answer).encode()))
  if error is not None:
    raise error
  if 'error' in answer:
    raise LeaderFailed(answer['error'])
  return answer['value']


def from_leader(tree: Any, like: Any) -> Any:
  """The first process's pytree in every process, bit by bit.

  Args:
    tree: in the first process; elsewhere it is not looked at.
    like: shapes and dtypes of its leaves, the same everywhere.

  Returns:
    numpy arrays and keys, structured like `like`.
  """
  expected, structure = jax.tree.flatten(like)
  leaves = jax.tree.leaves(tree) if is_leader() else [None] * len(expected)
  made = []
  for leaf, wanted in zip(leaves, expected, strict=True):
    shape = jax.eval_shape(_raw_abstract, wanted)
    size = int(np.prod(shape.shape)) * np.dtype(shape.dtype).itemsize
    told = _tell_bytes(b'' if leaf is None else _raw(leaf).tobytes(), size)
    raw = np.frombuffer(told, shape.dtype).reshape(shape.shape)
    made.append(_cooked(raw, wanted))
  return jax.tree.unflatten(structure, made)


def _is_key(x):
  return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _raw(x):
  return np.asarray(jax.random.key_data(x) if _is_key(x) else x)


def _raw_abstract(x):
  return jax.random.key_data(x) if _is_key(x) else x


def _cooked(raw, like):
  return jax.random.wrap_key_data(raw) if _is_key(like) else raw


def tell(told: bytes) -> bytes:
  """The first process's bytes in every process; the others' are not heard."""
  size = _tell_bytes(len(told).to_bytes(8, 'big'), 8)
  return _tell_bytes(told, int.from_bytes(size, 'big'))


def _tell_bytes(told: bytes, size: int) -> bytes:
  """The same where all know the size."""
  return _told_by(is_leader(), told, size)


def _told_by(speaks: bool, told: bytes, size: int) -> bytes:
  """The bytes of the one process that speaks, in every process."""
  buffer = np.zeros(size, np.uint8)
  if speaks:
    buffer[:] = np.frombuffer(told, np.uint8)
  heard = multihost_utils.broadcast_one_to_all(buffer, is_source=speaks)
  return np.asarray(heard).tobytes()
