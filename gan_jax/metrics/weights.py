"""Where the weights of a feature net are found, and whether they are its own.

No weights come with the package and none are downloaded. A number must never be
taken with weights other than those it names, so a file is known by its SHA-256:
one that lies in a cache has to be the published one, and one that the user
points at is used as it is, with its digest in the protocol of every number.
"""

import collections
import hashlib
import os
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

# Of the expected names; a file with fewer is of another network.
ENOUGH = 0.5
# Problems of one kind that an error lists.
_LISTED = 5


class Found(NamedTuple):
  """A file of weights.

  Attributes:
    path: where it is.
    digest: its SHA-256, 64 hexadecimal digits.
    known: whether that is the published one.
  """

  path: pathlib.Path
  digest: str
  known: bool


def find(
  names: Sequence[str],
  path: str | os.PathLike = '',
  sha256: str | Sequence[str] = '',
  *,
  network: str,
  origin: str,
  torch_hub: bool = False,
) -> Found:
  """The file with a network's weights: the one given, else from the caches.

  Args:
    names: what the file is called in a cache, the usual name first.
    path: the user's own file, whatever its name and its digest; '' to look in
      `cache_folder()`.
    sha256: the published digest or its first digits, or those of each file that
      will do; '' if there is none, then any file of the name is taken and none
      is `known`.
    network: what to call the network in errors.
    origin: in errors, whose file it is and where that is to be had.
    torch_hub: whether to look in PyTorch's download folder as well.

  Raises:
    ValueError: `path` is no file, there is no file in any cache, or one is
      there with another digest.
  """
  digests = (sha256,) if isinstance(sha256, str) else tuple(sha256)
  digests = tuple(filter(None, digests))
  if path:
    return _given(pathlib.Path(path).expanduser(), digests, network)
  folders = [cache_folder(), *(torch_hub_folders() if torch_hub else [])]
  places = [folder / name for folder in folders for name in names]
  for place in places:
    if place.is_file():
      return _cached(place, digests, network)
  searched = ''.join(f'\n  {place}' for place in places)
  raise ValueError(
    f'The weights of {network} are not here. They are the file '
    f'{" or ".join(names)}{_sha256(digests)}; {origin}. Pass its path as '
    f'weights=, or put it in {cache_folder()}. Searched:{searched}'
  )


def cache_folder() -> pathlib.Path:
  """`$GAN_JAX_CACHE/weights`, by default `~/.cache/gan_jax/weights`."""
  cache = os.environ.get('GAN_JAX_CACHE') or '~/.cache/gan_jax'
  return pathlib.Path(cache).expanduser() / 'weights'


def torch_hub_folders() -> list[pathlib.Path]:
  """Where PyTorch, and with it the reference codes, puts what it downloads."""
  caches = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  homes = [os.environ.get('TORCH_HOME'), f'{caches}/torch', '~/.cache/torch']
  folders = [
    pathlib.Path(home).expanduser() / 'hub' / 'checkpoints'
    for home in homes
    if home
  ]
  return list(dict.fromkeys(folders))


def digest(path: str | os.PathLike) -> str:
  """SHA-256 of a file, 64 hexadecimal digits."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def checked(
  state: Mapping[str, np.ndarray],
  expected: Mapping[str, tuple[int, ...]],
  *,
  file: str | os.PathLike,
  network: str,
  optional: Collection[str] = (),
) -> dict[str, np.ndarray]:
  """The entries that a network needs, in float32, and nothing amiss.

  Args:
    state: names and arrays, as `torch_file.read` gives them.
    expected: every name that the network has, with its shape.
    file: where they come from, for the error.
    network: whose they should be, for the error.
    optional: names that may be there besides; they are left out.

  Returns:
    An array for each name in `expected`, in that order.

  Raises:
    ValueError: the file is of another network; or entries are missing, surplus,
      misshapen, not numbers, not finite in float32, or a `running_var` is
      negative. Of each kind five are named, and all counted.
  """
  present = sum(name in state for name in expected)
  if present < ENOUGH * len(expected):
    raise ValueError(_of_another_network(state, expected, file, network))
  problems = []
  for name, shape in expected.items():
    if name not in state:
      problems.append(f'missing: {name} {shape}')
    elif problem := _problem(name, state[name], shape):
      problems.append(problem)
  surplus = [k for k in state if k not in expected and k not in optional]
  problems += [f'surplus: {name} {state[name].shape}' for name in surplus]
  if problems:
    title = f'{file} does not fit {network}:'
    raise ValueError('\n  '.join([title, *_shortened(problems)]))
  return {name: state[name].astype(np.float32) for name in expected}


def _given(path: pathlib.Path, digests: Sequence[str], network: str) -> Found:
  if not path.is_file():
    what = 'is a folder' if path.is_dir() else 'does not exist'
    raise ValueError(
      f'weights={str(path)!r} {what}; it must be the file with the weights of '
      f'{network}.'
    )
  actual = digest(path)
  return Found(path, actual, _is_known(actual, digests))


def _cached(path: pathlib.Path, digests: Sequence[str], network: str) -> Found:
  actual = digest(path)
  known = _is_known(actual, digests)
  if digests and not known:
    raise ValueError(
      f'{path} is not the published file with the weights of {network}'
      f'{_sha256(digests)}: it has {actual}. It is damaged, unfinished or '
      'another; get it again, or pass it as weights= if it is meant.'
    )
  return Found(path, actual, known)


def _is_known(actual: str, digests: Sequence[str]) -> bool:
  return any(actual.startswith(digest.lower()) for digest in digests)


def _sha256(digests: Sequence[str]) -> str:
  """', SHA-256 A or B...', where dots say that there is more to it."""
  whole = 64
  texts = [text + '...' * (len(text) < whole) for text in digests]
  return f', SHA-256 {" or ".join(texts)}' if texts else ''


def _problem(name: str, array: np.ndarray, shape: tuple[int, ...]) -> str:
  """What is wrong with one entry, or ''."""
  if array.dtype.kind not in 'fiu':
    return f'not numbers: {name} of type {array.dtype}'
  if array.shape != shape:
    return f'misshapen: {name} {array.shape}, not {shape}'
  with np.errstate(over='ignore'):
    array = array.astype(np.float32)
  strange = array.size - np.count_nonzero(np.isfinite(array))
  if strange:
    return f'not finite: {name}, {strange} of {array.size} values'
  if name.endswith('running_var') and np.any(array < 0):
    return f'negative variance: {name}, down to {array.min():.3g}'
  return ''


def _shortened(problems: Sequence[str]) -> list[str]:
  """The first of each kind, the word before the colon, and how many there are.

  They stay in their order; the counts come last.
  """
  seen = collections.Counter()
  lines = []
  for problem in problems:
    kind = problem.partition(':')[0]
    seen[kind] += 1
    if seen[kind] <= _LISTED:
      lines.append(problem)
  more = {kind: count for kind, count in seen.items() if count > _LISTED}
  return lines + [f'{kind}: {count} in all' for kind, count in more.items()]


def _of_another_network(state, expected, file, network) -> str:
  some = ', '.join(list(state)[:3]) or 'nothing'
  wanted = ', '.join(list(expected)[:3])
  present = sum(name in state for name in expected)
  return (
    f'{file} is of another network than {network}: {present} of its '
    f'{len(expected)} entries are there ({wanted}, ...); the file has '
    f'{len(state)} ({some}, ...).{_hint(state, expected)}'
  )


def _hint(state, expected) -> str:
  """Advice where all names are there, but with something in front."""
  last = max(expected, key=len)
  for prefix in {k.removesuffix(last) for k in state if k.endswith(last)}:
    if prefix and all(prefix + name in state for name in expected):
      return f' The names begin with {prefix!r}: save them without it.'
  return ''
