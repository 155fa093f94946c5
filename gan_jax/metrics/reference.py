"""What was collected of a data set, as bytes, and kept in the user's cache.

The features of a reference set take minutes to hours and are always the same.
A file has 8 F^2 bytes for each of up to three groups of images, at F features,
and where single features are held 4 F for each of up to `keep` in two groups:
100 MB at 2,048 features, 264 MB with 10,000 held of each. Files may be deleted
at any time; what is wanted again is computed anew.
"""

import hashlib
import io
import json
import os
import pathlib
import secrets
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn

import gan_jax
from gan_jax.metrics import collect, frechet, scores
from gan_jax.metrics.feature_net import FeatureNet

SUFFIX = '.statistics'
# To be raised when a net, or what is kept, changes: old files are not read.
VERSION = 2
_MAGIC = b'gan_jax statistics'
_complained: set[str] = set()


def key_of(
  net: FeatureNet, plan: collect.Plan, *, fingerprint: str
) -> dict[str, Any]:
  """All that `collect` makes its numbers of, for `cached`.

  Args:
    net: the feature net.
    plan: how it is collected.
    fingerprint: of the images, in their order.
  """
  group = ''
  if plan.group is not None:
    group = hashlib.sha256(np.asarray(plan.group, np.int8)).hexdigest()
  return {
    'data': fingerprint,
    'features': net.name,
    'weights': net.digest,
    'resize': net.resize,
    # What has no file of weights may be fitted, and comes out by the version.
    'versions': [] if net.digest else [np.__version__, sklearn.__version__],
    **plan._asdict(),
    'group': group,
  }


def cached(
  compute: Callable[[], collect.Collected],
  *,
  key: dict[str, Any],
  folder: str,
  say: Callable[[str], None] = lambda text: None,
) -> collect.Collected:
  """What is kept under a key, or else computed, and then kept.

  A file that is damaged is computed anew; a folder that cannot be written
  costs the keeping only. Both are said, the latter once for a folder.

  Args:
    compute: makes it.
    key: all that it depends on, JSON-able; see `key_of`.
    folder: where files are kept; '' keeps none.
    say: for a line to the user.
  """
  if not folder:
    return compute()
  words = _words(key)
  name = hashlib.sha256(words).hexdigest() + SUFFIX
  path = pathlib.Path(folder).expanduser() / name
  try:
    return _open(path, words)
  except (FileNotFoundError, NotADirectoryError):
    pass
  except (ValueError, OSError) as error:
    say(f'{str(path)!r} is computed anew: {error}')
  collected = compute()
  try:
    _write(path, words + b'\n' + dump(collected))
  except OSError as error:
    if folder not in _complained:
      _complained.add(folder)
      say(f'statistics are not kept, cache={folder!r}: {error}')
  return collected


def dump(collected: collect.Collected) -> bytes:
  """As bytes that `load` takes, with a digest of their own."""
  arrays = {'groups': len(collected.groups)}
  if collected.shape is not None:
    arrays['shape'] = collected.shape
  for number, group in enumerate(collected.groups):
    parts = {'kept': group.kept, 'index': group.index}
    if group.moments is not None:
      parts |= group.moments._asdict()
    arrays |= {f'{number}_{name}': part for name, part in parts.items()}
  if collected.scores is not None:
    sums = collected.scores._asdict()
    arrays |= {f'scores_{name}': part for name, part in sums.items()}
  file = io.BytesIO()
  np.savez(file, **arrays)
  payload = file.getvalue()
  return hashlib.sha256(payload).digest() + payload


def load(dumped: bytes) -> collect.Collected:
  """What `dump` was given.

  Raises:
    ValueError: the bytes are damaged.
  """
  digest, payload = dumped[:32], memoryview(dumped)[32:]
  if hashlib.sha256(payload).digest() != digest:
    raise ValueError('it is damaged, its digest does not match.')
  with np.load(io.BytesIO(payload), allow_pickle=False) as file:
    arrays = dict(file)
  groups = tuple(_group(arrays, i) for i in range(int(arrays['groups'])))
  shape = arrays.get('shape')
  shape = None if shape is None else tuple(map(int, shape))
  return collect.Collected(shape, groups, _scores(arrays))


def _group(arrays, number):
  part = lambda name: arrays[f'{number}_{name}']
  moments = None
  if f'{number}_count' in arrays:
    moments = frechet.Moments(int(part('count')), part('mean'), part('scatter'))
  return collect.Group(moments, part('kept'), part('index'))


def _scores(arrays):
  if 'scores_p' not in arrays:
    return None
  fields = scores.Sums._fields
  return scores.Sums(*(arrays[f'scores_{name}'] for name in fields))


def _words(key: dict[str, Any]) -> bytes:
  """The first line of a file: what it holds, and by which program."""
  key = key | {'gan_jax': gan_jax.__version__, 'version': VERSION}
  words = json.dumps(key, sort_keys=True, allow_nan=False)
  return _MAGIC + b' ' + words.encode()


def _open(path, words):
  stored = path.read_bytes()
  found, _, dumped = stored.partition(b'\n')
  if found != words:
    raise ValueError('it is damaged, its first line is not as it should be.')
  return load(dumped)


def _write(path, content):
  """All of the file or nothing, whoever else writes it at the same time."""
  path.parent.mkdir(parents=True, exist_ok=True)
  # Not by `tempfile`, whose files nobody else may read: a cache may be shared.
  part = path.with_name(f'.{path.stem}.{os.getpid()}-{secrets.token_hex(4)}')
  with open(part, 'xb') as file:
    try:
      file.write(content)
      file.flush()
      os.replace(part, path)
    except BaseException:
      part.unlink(missing_ok=True)
      raise
