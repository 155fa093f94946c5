"""Reads files of weights: PyTorch's two layouts, and NumPy's .npz.

PyTorch need not be there, and nothing in a file is executed. What is read is a
dictionary of tensors, the `state_dict()` of a network. The layouts, as
`torch.save` writes them:

  zip     since 1.6: NAME/data.pkl describes the tensors, NAME/data/KEY is the
          memory of each storage. CRC-32 guards it all.
  stream  before, and with _use_new_zipfile_serialization=False: five pickles
          (a magic number, the protocol, the system, the tensors, the keys of
          the storages), then for each key its length and its memory. Nothing
          guards that, so compare the digest of the whole file.
"""

import io
import math
import os
import pathlib
import zipfile
from typing import Any, NamedTuple

import numpy as np

from gan_jax.metrics import plain_pickle

MAGIC = 0x1950A86A20F9469CFC6C
STREAM_PROTOCOL = 1001
BFLOAT16 = 'bfloat16'  # NumPy has none; it is the upper half of a float32
DTYPES = {
  'FloatStorage': 'f4',
  'HalfStorage': 'f2',
  'BFloat16Storage': BFLOAT16,
  'DoubleStorage': 'f8',
  'LongStorage': 'i8',
  'IntStorage': 'i4',
  'ShortStorage': 'i2',
  'CharStorage': 'i1',
  'ByteStorage': 'u1',
  'BoolStorage': '?',
}
# What is often there instead of weights, by its first bytes.
OTHERS = (
  (b'version https://git-lfs', 'a git-lfs pointer; fetch the file itself'),
  (b'<', 'a page of HTML or XML, so the download went wrong'),
  (b'{', 'JSON text, so the download went wrong'),
  (b'\x93NUMPY', 'a single array (.npy); weights need names'),
  (b'\x89HDF', 'HDF5'),
  (b'\x1f\x8b', 'compressed by gzip; unpack it'),
  (b'\x80', 'a pickle that torch.save did not write'),
)


class Storage(NamedTuple):
  """A stretch of memory that tensors look at."""

  key: str
  dtype: str
  count: int


class Tensor(NamedTuple):
  """A view of a storage; offset and strides count elements."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Names and arrays of a file that `torch.save` or `np.savez` wrote.

  Args:
    path: a `state_dict()` saved by PyTorch in either layout, or an .npz. The
      content decides, not the name.

  Returns:
    New arrays in the file's own types; bfloat16 becomes float32.

  Raises:
    ValueError: the file is missing, damaged, of another kind, or holds more
      than a dictionary of tensors. The text names the file and what it is.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise ValueError(f'{path} is no file.')
  data = path.read_bytes()
  try:
    if data.startswith(b'PK'):
      return _read_zip(data)
    if MAGIC.to_bytes(10, 'little') in data[:32]:
      return _read_stream(data)
    raise ValueError(f'it is {_looks_like(data)}')
  except ValueError as error:
    raise ValueError(f'{path} cannot be read as weights: {error}.') from error


def _looks_like(data: bytes) -> str:
  start = data[:512].lstrip()
  if not start:
    return 'empty'
  for beginning, what in OTHERS:
    if start.startswith(beginning):
      return what
  return f'none of the known layouts, its first bytes are {data[:8]!r}'


def _read_zip(data: bytes) -> dict[str, np.ndarray]:
  records = _records(data)
  pickles = [name for name in records if name.endswith('/data.pkl')]
  root = pickles[0].removesuffix('data.pkl') if pickles else ''
  if any(n.startswith(f'{root}code/') or n.endswith('.py') for n in records):
    raise ValueError(
      'it is a TorchScript archive, a program; load it in PyTorch and save its '
      'state_dict()'
    )
  if not pickles and records and all(n.endswith('.npy') for n in records):
    return {n.removesuffix('.npy'): _npy(n, r) for n, r in records.items()}
  if len(pickles) != 1:
    some = ', '.join(list(records)[:3])
    raise ValueError(f'it is a zip archive without weights ({some or "empty"})')
  if records.get(f'{root}byteorder', b'little') != b'little':
    raise ValueError('it was written by a big-endian machine')
  found = _described(io.BytesIO(records[pickles[0]]))
  memories = {}
  for storage in {tensor.storage for tensor in found.values()}:
    memories[storage] = _zip_memory(records, root, storage)
  return {name: _array(t, memories[t.storage]) for name, t in found.items()}


def _records(data: bytes) -> dict[str, bytes]:
  """All records of an archive, each of which has its CRC checked."""
  try:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
      return {name: archive.read(name) for name in archive.namelist()}
  # Damage shows as any of a dozen types, OverflowError among them.
  except Exception as error:
    reason = f'{type(error).__name__}: {error}'
    raise ValueError(
      f'its zip archive is damaged or cut off, {reason}'
    ) from error


def _npy(name: str, record: bytes) -> np.ndarray:
  try:
    array = np.lib.format.read_array(io.BytesIO(record), allow_pickle=False)
  except ValueError as error:
    raise ValueError(f'its entry {name} is no plain array ({error})') from error
  return np.array(array, order='C')


def _zip_memory(records, root, storage: Storage) -> np.ndarray:
  record = records.get(f'{root}data/{storage.key}')
  if record is None:
    raise ValueError(f'its record data/{storage.key} is missing')
  size = storage.count * _item_size(storage.dtype)
  if len(record) != size:
    raise ValueError(
      f'its record data/{storage.key} has {len(record)} bytes, not {size}'
    )
  return _numbers(record, storage.dtype)


def _read_stream(data: bytes) -> dict[str, np.ndarray]:
  file = io.BytesIO(data)
  _check_head(file)
  found = _described(file)
  storages = {t.storage.key: t.storage for t in found.values()}
  memories = {}
  for key in _keys(file, storages):
    memories[storages[key]] = _stream_memory(file, storages[key])
  if file.read(1):
    raise ValueError('it goes on behind the last of its storages')
  return {name: _array(t, memories[t.storage]) for name, t in found.items()}


def _check_head(file: io.BytesIO) -> None:
  """The three pickles before that of the tensors."""
  try:
    magic, protocol, system = (plain_pickle.load(file, {}) for _ in range(3))
  except ValueError as error:
    raise ValueError(f'its head is damaged ({error})') from error
  if (magic, protocol) != (MAGIC, STREAM_PROTOCOL):
    raise ValueError(f'it is a stream of an unknown protocol, {protocol!r}')
  if not isinstance(system, dict) or system.get('little_endian') is not True:
    raise ValueError('it was written by a big-endian machine')


def _keys(file: io.BytesIO, storages: dict[str, Storage]) -> list[str]:
  """The order of the storages; each must be there once and be used."""
  keys = _unpickled(file)
  if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
    raise ValueError('its list of storages is not that of its tensors')
  return keys


def _stream_memory(file: io.BytesIO, storage: Storage) -> np.ndarray:
  size = storage.count * _item_size(storage.dtype)
  head, record = file.read(8), file.read(size)
  if len(head) < 8 or len(record) < size:
    raise ValueError('it is cut off')
  count = int.from_bytes(head, 'little')
  if count != storage.count:
    raise ValueError(
      f'its storage {storage.key} has {count} values, not {storage.count}'
    )
  return _numbers(record, storage.dtype)


def _described(file: io.BytesIO) -> dict[str, Tensor]:
  """The dictionary of tensors that a pickle describes."""
  value = _unpickled(file)
  if isinstance(value, Tensor):
    raise ValueError('it is a single tensor; weights need names')
  if not isinstance(value, dict):
    raise ValueError(f'it is of type {type(value).__name__}, not a dictionary')
  strange = {k: v for k, v in value.items() if not isinstance(v, Tensor)}
  if strange:
    entries = ', '.join(f'{k!r} ({_kind(v)})' for k, v in strange.items())
    raise ValueError(
      f'beside tensors it holds {entries}; save the dictionary of tensors alone'
    )
  if not all(isinstance(name, str) for name in value):
    raise ValueError('its tensors are not called by names')
  storages = {tensor.storage for tensor in value.values()}
  if len({storage.key for storage in storages}) < len(storages):
    raise ValueError('it describes one storage in two ways')
  return value


def _kind(value: Any) -> str:
  if isinstance(value, dict):
    return f'a dictionary of {len(value)} entries'
  return type(value).__name__


def _unpickled(file: io.BytesIO) -> Any:
  try:
    return plain_pickle.load(file, _table(), _storage)
  except ValueError as error:
    raise ValueError(f'in its description of tensors: {error}') from error


def _table() -> dict[tuple[str, str], Any]:
  """The names from modules that a dictionary of tensors consists of."""
  table = {
    ('collections', 'OrderedDict'): dict,
    ('torch._utils', '_rebuild_tensor'): _tensor,
    ('torch._utils', '_rebuild_tensor_v2'): _tensor,
    ('torch._utils', '_rebuild_parameter'): lambda tensor, *_: tensor,
  }
  for module in ('torch', 'torch.cuda'):
    table |= {(module, name): dtype for name, dtype in DTYPES.items()}
  return table


def _storage(identifier: tuple) -> Storage:
  """('storage', type, key, device, count), and None behind in a stream."""
  what, dtype, key, _, count, *view = identifier
  right = what == 'storage' and dtype in DTYPES.values() and _is_size(count)
  if not right or not isinstance(key, str) or any(view):
    raise ValueError(f'a reference of an unknown kind, {identifier!r}')
  return Storage(key, dtype, count)


def _tensor(storage, offset, shape, strides, *_) -> Tensor:
  """Checked here, so that a later view cannot leave its storage."""
  numbers = (offset, *shape, *strides)
  if not isinstance(storage, Storage) or not all(map(_is_size, numbers)):
    raise ValueError('a tensor that is described by no numbers')
  if len(shape) != len(strides) or len(shape) > 32:
    raise ValueError(f'a tensor of shape {shape} and strides {strides}')
  last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
  count = math.prod(shape)
  if count and (last >= storage.count or count > storage.count):
    raise ValueError(f'a tensor of shape {shape} larger than its storage')
  return Tensor(storage, offset, tuple(shape), tuple(strides))


def _is_size(value: Any) -> bool:
  return type(value) is int and value >= 0


def _item_size(dtype: str) -> int:
  return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize


def _numbers(record: bytes, dtype: str) -> np.ndarray:
  if dtype == BFLOAT16:
    upper = np.frombuffer(record, '<u2').astype('<u4')
    return (upper << 16).view('<f4')
  return np.frombuffer(record, np.dtype(dtype).newbyteorder('<'))


def _array(tensor: Tensor, memory: np.ndarray) -> np.ndarray:
  """The values of a tensor in an array of its own."""
  if not math.prod(tensor.shape):
    return np.empty(tensor.shape, memory.dtype)
  strides = [step * memory.itemsize for step in tensor.strides]
  view = np.lib.stride_tricks.as_strided(
    memory[tensor.offset :], tensor.shape, strides
  )
  return np.array(view, order='C')
