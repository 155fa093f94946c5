"""Images from a file of numpy's."""

import pathlib
import zipfile
import zlib

import numpy as np

from gan_jax.data import dataset as dataset_lib

SUFFIXES = ('.npy', '.npz')
_KEYS = ('images', 'arr_0')


def load(name: str) -> dataset_lib.Dataset:
  """The images of an .npy or .npz file, uint8 `[N, H, W, C]`, C 1 or 3.

  Of an .npz file it is the array called by `PATH.npz:KEY`, or else the only
  one, or 'images' or 'arr_0'. An .npy file is mapped, not read.

  Raises:
    ValueError: no such file, it is damaged or holds something else; says how
      to convert what comes near.
  """
  path, key = _split(name)
  if not path.is_file():
    raise ValueError(f'{name!r}: there is no file {str(path)!r}.')
  try:
    array = _read(name, path, key)
  except (
    # All that numpy has been seen to raise on damaged files.
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    SyntaxError,
  ) as error:
    raise ValueError(_damaged(path, error)) from error
  _check(name, array)
  return dataset_lib.Dataset(name, array)


def is_file_name(name: str) -> bool:
  """Whether a name is meant for `load`."""
  return _split(name)[0].suffix.lower() in SUFFIXES


def _split(name: str) -> tuple[pathlib.Path, str]:
  """Path and key; '' for no key."""
  whole = pathlib.Path(name).expanduser()
  before, colon, key = name.rpartition(':')
  path = pathlib.Path(before).expanduser()
  if colon and path.suffix.lower() == '.npz' and not whole.is_file():
    return path, key
  return whole, ''


def _read(name, path, key) -> np.ndarray:
  if path.suffix.lower() == '.npy':
    try:
      return np.lib.format.open_memmap(path, mode='r')
    except ValueError as error:
      raise ValueError(_damaged(path, error)) from error
  with path.open('rb') as file, _open(path, file) as arrays:
    chosen = _choose(name, arrays.files, key)
    try:
      array = arrays[chosen]
    except ValueError as error:
      raise ValueError(_damaged(path, f'{chosen!r}, {error}')) from error
    if not isinstance(array, np.ndarray):  # but bytes
      raise ValueError(_damaged(path, f'{chosen!r} is no array'))
    return array


def _open(path, file):
  try:
    # Never pickles: they can run anything.
    opened = np.load(file, allow_pickle=False)
  except ValueError as error:
    raise ValueError(_damaged(path, 'it is no .npz file')) from error
  if isinstance(opened, np.ndarray):
    raise ValueError(_damaged(path, 'it is an .npy file by another name'))
  return opened


def _damaged(path, reason) -> str:
  return f'{str(path)!r} cannot be read: {reason}.'.replace('..', '.')


def _choose(name, found, key) -> str:
  if key:
    if key not in found:
      raise ValueError(f'{name!r} has no array {key!r}; it has {found}.')
    return key
  if len(found) == 1:
    return found[0]
  for usual in _KEYS:
    if usual in found:
      return usual
  raise ValueError(
    f'{name!r} holds the arrays {found}; say which, as {name}:KEY.'
  )


def _check(name, array) -> None:
  if array.dtype == np.uint8 and array.ndim == 4 and array.shape[-1] in (1, 3):
    if min(array.shape) < 1:
      raise ValueError(f'{name!r} has no images: its shape is {array.shape}.')
    return
  raise ValueError(
    f'{name!r} is {array.dtype} of shape {array.shape}; it must be uint8 '
    f'[N, H, W, C] with 1 or 3 channels, 0 to 255.{_hint(array)}'
  )


def _hint(array) -> str:
  """How to convert what comes near; '' for anything else."""
  if array.dtype != np.uint8:
    return _hint_of_type(array)
  if array.ndim == 3:
    return ' Grey images need their channel: x[..., None].'
  if array.ndim == 4 and array.shape[1] in (1, 3):
    return (
      ' It looks like [N, C, H, W]: x.transpose(0, 2, 3, 1) puts the channels '
      'last.'
    )
  if array.ndim == 4 and array.shape[-1] == 4:
    return ' If the fourth channel is opaque, x[..., :3] leaves it out.'
  return ''


def _hint_of_type(array) -> str:
  if array.size == 0 or array.dtype.kind not in 'fiub':
    return ''
  low, high = float(array.min()), float(array.max())
  if not np.isfinite([low, high]).all():
    return ' It holds NaN or infinity.'
  values = f' Its values go from {low:.4g} to {high:.4g}'
  convert = '.round().clip(0, 255).astype(np.uint8)'
  if array.dtype.kind == 'f' and -1 <= low < 0 and high <= 1:
    return f'{values}: if the range is [-1, 1], ((x + 1) * 127.5){convert}.'
  if array.dtype.kind == 'f' and low >= 0 and high <= 1:
    return f'{values}: if the range is [0, 1], (x * 255){convert}.'
  if low >= 0 and high <= 255:
    return f'{values}: if these are grey levels, x{convert}.'
  return f'{values}: bring them to 0 .. 255, then x{convert}.'
