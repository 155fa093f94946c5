"""Checkpoints that prove they are whole; the only room that imports orbax.

`DIR/00001000/` holds `state/` (orbax), `host.json` (what the loop must know
besides) and `SHA256SUMS`, written last: a folder without it was never finished,
and `sha256sum --check SHA256SUMS` verifies one by hand. Orbax alone restores
flipped bits without a word.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

_SUMS = 'SHA256SUMS'
# Two threads that save at once mistake orbax's bookkeeping for each other's.
_ONE_AT_A_TIME = threading.Lock()


class CheckpointError(Exception):
  """No checkpoint can be used; the message says which, and why."""


class Gone(CheckpointError):
  """The checkpoint asked for is not there, or no longer."""


class Damaged(CheckpointError):
  """A file of the checkpoint is missing, or not as it was written."""


class Restored(NamedTuple):
  """A checkpoint that was verified and read."""

  state: Any
  host: dict[str, Any]
  step: int


def save(
  directory: str | os.PathLike,
  step: int,
  state: Any,
  host: dict[str, Any],
  *,
  keep: int = 3,
) -> None:
  """Writes one checkpoint, then removes all but the newest `keep`.

  Args:
    directory: of all checkpoints of the run.
    step: steps done.
    state: pytree of arrays of this process alone.
    host: JSON-able; what is not an array, such as the position in a stream.
    keep: how many to leave, at least 1.

  Raises:
    CheckpointError: it cannot be written; those before it stay.
  """
  directory = pathlib.Path(directory).absolute()
  target = directory / f'{step:08d}'
  remove(target)
  target.mkdir(parents=True)
  try:
    with _checkpointer() as checkpointer:
      checkpointer.save(target / 'state', jax.tree.map(_raw, state))
    (target / 'host.json').write_text(json.dumps(host))
    for path in [*_files(target), target / 'state', target]:
      _sync(path)
    _write_durably(target / _SUMS, _sums(target))
    _sync(target)
  except (OSError, ValueError) as error:  # orbax: RESOURCE_EXHAUSTED
    shutil.rmtree(target, ignore_errors=True)
    raise CheckpointError(
      f'checkpoint {target} cannot be written: {error}'
    ) from error
  # Later folders are of an abandoned time line, or were never finished.
  whole = [s for s in steps(directory) if s <= step][:keep]
  for old in set(_folders(directory)) - set(whole):
    remove(directory / f'{old:08d}')


def remove(folder: str | os.PathLike) -> None:
  """Deletes a checkpoint; who reads it meanwhile sees that it goes."""
  folder = pathlib.Path(folder)
  if folder.exists():
    (folder / _SUMS).unlink(missing_ok=True)
    shutil.rmtree(folder)


def copy(source: str | os.PathLike, target: str | os.PathLike) -> None:
  """Makes a second folder of a checkpoint, by hard links where it can.

  A checkpoint's files are never changed, only removed, so links keep them.

  Args:
    source: folder of the checkpoint.
    target: what there is before is replaced.

  Raises:
    Gone: the source is removed, or being removed.
    Damaged: it is not whole.
    CheckpointError: the copy cannot be written.
  """
  source, target = pathlib.Path(source), pathlib.Path(target)
  remove(target)

  def link():
    for path in [*_files(source), source / _SUMS]:
      twin = target / path.relative_to(source)
      twin.parent.mkdir(parents=True, exist_ok=True)
      _link(path, twin)
    _verify(target, source)

  try:
    _while_there(source, link)
  except (OSError, CheckpointError) as error:
    remove(target)
    if isinstance(error, CheckpointError):
      raise
    raise CheckpointError(f'{target} cannot be written: {error}') from error


def _link(path, twin):
  try:
    os.link(path, twin)
  except FileNotFoundError:
    raise
  except OSError:  # a file system without them
    shutil.copyfile(path, twin)
    _sync(twin)


def steps(directory: str | os.PathLike) -> list[int]:
  """Steps of the finished checkpoints, newest first."""
  directory = pathlib.Path(directory)
  return [s for s in _folders(directory) if _sums_path(directory, s).exists()]


def digest(directory: str | os.PathLike, step: int) -> str:
  """What tells a checkpoint from another of the same step; '' of none."""
  try:
    return _digest(_sums_path(pathlib.Path(directory), step))
  except FileNotFoundError:
    return ''


def restore(directory: str | os.PathLike, step: int, like: Any) -> Restored:
  """Reads the checkpoint of one step.

  Args:
    directory: of all checkpoints of the run.
    step: of the one that is wanted.
    like: pytree with the shapes and dtypes of the state.

  Raises:
    Gone: there is none, or it is removed while it is read.
    Damaged: it is not whole.
    CheckpointError: it holds another state than `like`.
  """
  directory = pathlib.Path(directory).absolute()
  folder = directory / f'{step:08d}'
  if step not in steps(directory):
    raise Gone(
      f'{directory} has no checkpoint of step {step}; it has '
      f'{sorted(steps(directory)) or "none"}.'
    )

  def read():
    _verify(folder, folder)
    return Restored(_read(folder, like), _read_host(folder), step)

  return _while_there(folder, read)


def _verify(folder, named):
  damage = _damage(folder)
  if damage is not None:
    raise Damaged(f'checkpoint {named} is damaged ({damage}).')


def _while_there(folder, read):
  """Whatever goes wrong with a checkpoint that is being removed is that."""
  try:
    return read()
  except (OSError, ValueError, CheckpointError) as error:
    if (folder / _SUMS).exists():
      raise
    raise Gone(f'checkpoint {folder} was removed meanwhile.') from error


def restore_latest(
  directory: str | os.PathLike,
  like: Any,
  *,
  say: Callable[[str], None] = print,
) -> Restored | None:
  """Reads the newest checkpoint that is whole.

  Args:
    directory: of all checkpoints of the run; need not exist.
    like: pytree with the shapes and dtypes of the state.
    say: told of each checkpoint that is passed over, and why.

  Returns:
    The checkpoint, or None where the run has none yet.

  Raises:
    CheckpointError: there are checkpoints, and none is whole; or the state has
      another structure than `like`.
  """
  directory = pathlib.Path(directory).absolute()
  available = steps(directory)
  for step in available:
    try:
      return restore(directory, step, like)
    except (Damaged, Gone) as error:
      say(f'{str(error).rstrip(".")}; trying the one before.')
  if available:
    raise CheckpointError(
      f'no checkpoint in {directory} is whole: all of steps {available} are '
      'damaged. Restore the folder from a copy, or start in a new workdir.'
    )
  return None


@contextlib.contextmanager
def _checkpointer():
  """Orbax for this process alone: it would wait for the others."""
  this = jax.process_index()
  alone = ocp.options.MultiprocessingOptions(
    primary_host=this, active_processes={this}, barrier_sync_key_prefix='alone'
  )
  options = alone if jax.process_count() > 1 else _DEFAULT
  with (
    _ONE_AT_A_TIME,
    ocp.StandardCheckpointer(multiprocessing_options=options) as checkpointer,
  ):
    yield checkpointer


_DEFAULT = ocp.options.MultiprocessingOptions()


def _folders(directory):
  if not directory.is_dir():
    return []
  names = [p.name for p in directory.iterdir() if p.name.isdigit()]
  return sorted(map(int, names), reverse=True)


def _sums_path(directory, step):
  return directory / f'{step:08d}' / _SUMS


def _files(folder):
  found = sorted(p for p in folder.rglob('*') if p.is_file())
  return [p for p in found if p.name != _SUMS]


def _sums(folder):
  lines = [
    f'{_digest(path)}  {path.relative_to(folder)}\n' for path in _files(folder)
  ]
  return ''.join(lines)


def _digest(path):
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def _sync(path):
  """Waits until a file or a folder is on the disk itself."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _damage(folder):
  """None where every file is as it was written, else what is wrong."""
  lines = (folder / _SUMS).read_text(errors='replace').splitlines()
  for line in lines:
    digest, _, name = line.partition('  ')
    path = folder / name
    if not path.is_file():
      return f'{name or line!r} is missing'
    if _digest(path) != digest:
      return f'{name} does not match its SHA-256'
  return None if lines else f'{_SUMS} is empty'


def _write_durably(path, text):
  partial = path.with_name(path.name + '.partial')
  with open(partial, 'w') as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
  os.replace(partial, path)


def _read(folder, like):
  sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
    jax.eval_shape(lambda tree: jax.tree.map(_key_data, tree), like),
  )
  try:
    with _checkpointer() as checkpointer:
      raw = checkpointer.restore(folder / 'state', abstract)
  except (ValueError, KeyError) as error:
    raise CheckpointError(
      f'checkpoint {folder} holds another state than this run: {error}'
    ) from error
  return jax.tree.map(_cooked, raw, like)


def _is_key(x):
  return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def _key_data(x):
  return jax.random.key_data(x) if _is_key(x) else x


def _raw(x):
  # Orbax writes no array of one process among several, but does write numpy.
  return np.asarray(_key_data(x))


def _cooked(raw, like):
  # The first checkpoints of gan_jax give back keys as such.
  wrap = _is_key(like) and not _is_key(raw)
  return jax.random.wrap_key_data(raw) if wrap else raw


def _read_host(folder):
  return json.loads((folder / 'host.json').read_text())
