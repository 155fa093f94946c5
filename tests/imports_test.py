"""The arrows between the rooms go one way, and the core stands alone.

Every rule is tested on the source, so a room that no test imports is covered
too; the rules themselves are tested on lines that break them.
"""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / 'gan_jax'

CORE = {'losses', 'regularizers', 'solvers', 'games', 'cgd', 'diagnostics'}
CORE_MAY_IMPORT = {'jax', 'optax', 'chex'}

# room -> the other rooms it may import. A new room is a new row. `configs` is
# reached by its path, never imported.
ARROWS = {
  '': {'generate'},  # gan_jax/__init__.py: gan_jax.load, imported when called
  **dict.fromkeys(CORE, CORE),
  'theory': CORE,
  'ada': set(),
  'anneal': set(),
  'augment': set(),
  'models': set(),
  'data': set(),
  'metrics': {'models', 'parallel'},
  'checkpoints': set(),
  'parallel': set(),
  'logs': set(),
  'pictures': set(),
  'fields': {'defaults'},
  'workdir': {'defaults'},
  'defaults': set(),
  'optimizers': set(),
  'methods': CORE | {'anneal', 'defaults', 'fields', 'optimizers'},
  'side_terms': CORE,
  'side_checks': {'batch_game', 'methods'},
  'batch_game': CORE | {'ada', 'augment', 'data', 'side_terms'},
  'accumulation': CORE,
  'step': CORE | {'accumulation', 'models', 'batch_game'},
  'build_terms': CORE | {'ada', 'anneal', 'batch_game', 'fields'},
  'build': CORE
  | {
    'accumulation',
    'anneal',
    'augment',
    'build_terms',
    'evaluate',
    'fields',
    'metrics',
    'models',
    'data',
    'batch_game',
    'step',
    'methods',
    'parallel',
    'side_checks',
    'side_terms',
  },
  'evaluate': {'metrics', 'data', 'parallel'},
  'generate': CORE
  | {'models', 'data', 'batch_game', 'best', 'step', 'build', 'checkpoints'}
  | {'defaults', 'pictures', 'workdir', 'parallel'},
  'divergence': set(),
  'signals': set(),
  'flag_words': set(),
  'evaluations': {'metrics', 'workdir'},
  'best': {'checkpoints', 'evaluations', 'metrics', 'workdir'},
  'measuring': {'batch_game', 'build', 'evaluate', 'evaluations', 'generate'}
  | {'metrics', 'parallel', 'step'},
  'measure_run': {'best', 'build', 'checkpoints', 'evaluate', 'evaluations'}
  | {'generate', 'measuring', 'parallel', 'step'},
  'judge': {'best', 'build', 'checkpoints', 'divergence', 'evaluations'}
  | {'generate', 'logs', 'measuring', 'step'},
  'watch': {'best', 'build', 'checkpoints', 'evaluations', 'generate'}
  | {'measuring', 'signals', 'step', 'workdir'},
  'scribe': {'build', 'checkpoints', 'divergence', 'generate', 'judge', 'logs'}
  | {'parallel', 'signals', 'step'},
  'train': CORE
  | {'models', 'data', 'metrics', 'batch_game', 'step', 'build', 'checkpoints'}
  | {'best', 'divergence', 'evaluations', 'generate', 'logs', 'loop'}
  | {'measuring', 'parallel', 'pictures', 'scribe', 'signals', 'together'}
  | {'workdir'},
  'together': {'build', 'parallel', 'step'},
  'loop': {'build', 'divergence', 'logs', 'parallel', 'scribe', 'step'}
  | {'together'},
  'seeds': {'build', 'data', 'divergence', 'loop', 'parallel', 'scribe'}
  | {'signals', 'step', 'together', 'train', 'workdir'},
  'report': set(),
  'main': {'train', 'generate', 'report', 'checkpoints', 'data', 'parallel'}
  | {'fields', 'flag_words', 'measure_run', 'measuring', 'seeds', 'signals'}
  | {'watch', 'workdir'},
}
DEVICE_WORDS = {'Mesh', 'make_mesh', 'AbstractMesh', 'pmap', 'shard_map'}


def sources():
  """(path within the package, syntax tree) of every file."""
  for path in sorted(PACKAGE.rglob('*.py')):
    yield path.relative_to(PACKAGE), ast.parse(path.read_text())


def room(path):
  """The first name below gan_jax: 'models' for models/cnn.py, '' at the top."""
  first = path.parts[0].removesuffix('.py')
  return '' if first == '__init__' else first


def imported(tree, path=pathlib.Path('anything.py')):
  """The dotted names a file imports anywhere in it, relative ones resolved."""
  package = ['gan_jax', *path.parent.parts]
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      base = package[: len(package) - node.level + 1] if node.level else []
      base += node.module.split('.') if node.module else []
      yield from ('.'.join([*base, alias.name]) for alias in node.names)


def outside(tree, path=pathlib.Path('anything.py')):
  """The other packages a file imports, without the standard library."""
  tops = {name.partition('.')[0] for name in imported(tree, path)}
  return tops - set(sys.stdlib_module_names) - {'gan_jax'}


def rooms(tree, path=pathlib.Path('anything.py')):
  """The other rooms a file imports."""
  parts = (name.split('.') for name in imported(tree, path))
  inside = {p[1] for p in parts if p[0] == 'gan_jax' and len(p) > 1}
  return inside - {room(path), '__version__'}


def words(tree):
  """All names that the code uses; not its comments, docstrings and strings."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Name):
      yield node.id
    elif isinstance(node, ast.Attribute):
      yield node.attr
    elif isinstance(node, ast.alias):
      yield node.name.rpartition('.')[2]


def broken_arrows(tree, path):
  allowed = ARROWS.get(room(path))
  if allowed is None:
    return {f'{room(path)} is not a row of ARROWS'}
  if path.parts in (('metrics', '__main__.py'), ('metrics', 'sources.py')):
    allowed = allowed | {'data'}
  return rooms(tree, path) - allowed


def test_arrows_go_one_way():
  broken = {str(p): broken_arrows(tree, p) for p, tree in sources()}
  assert not {path: found for path, found in broken.items() if found}


def test_the_table_has_no_cycle_outside_the_core():
  left = {name: to - CORE for name, to in ARROWS.items() if name not in CORE}
  while left:
    leaves = {name for name, to in left.items() if not to & set(left)}
    assert leaves, f'a cycle among {sorted(left)}'
    left = {name: to for name, to in left.items() if name not in leaves}


def test_core_imports_jax_optax_and_chex_only():
  found = {str(p): outside(tree, p) for p, tree in sources() if room(p) in CORE}
  assert {'losses.py', 'regularizers.py', 'games/base.py'} <= set(found)
  assert set().union(*found.values()) <= CORE_MAY_IMPORT, found


def test_only_checkpoints_imports_orbax():
  users = {room(p) for p, tree in sources() if 'orbax' in outside(tree, p)}
  assert users <= {'checkpoints'}


def test_only_parallel_speaks_of_devices():
  users = {room(p) for p, tree in sources() if DEVICE_WORDS & set(words(tree))}
  assert users <= {'parallel'}


@pytest.mark.parametrize(
  ('path', 'line'),
  [
    ('games.py', 'from gan_jax import models'),
    ('games.py', 'def f():\n  import gan_jax.models.cnn'),
    ('models/cnn.py', 'from ..games import Players'),
    ('models/cnn.py', 'from .. import losses'),
    ('models/__init__.py', 'from gan_jax.regularizers import r1'),
    ('theory/dirac.py', 'from gan_jax import models'),
    ('metrics/fid.py', 'from gan_jax import data'),
    ('metrics/__main__.py', 'from gan_jax import train'),
    ('step.py', 'import gan_jax.checkpoints as c'),
    ('unknown_room.py', ''),
  ],
)
def test_a_broken_arrow_is_seen(path, line):
  assert broken_arrows(ast.parse(line), pathlib.Path(path))


def test_an_allowed_arrow_is_seen_as_such():
  allowed = [
    ('games.py', 'from gan_jax import losses'),
    ('models/cnn.py', 'from . import layers\nfrom gan_jax.models import mlp'),
    ('metrics/__main__.py', 'from gan_jax import data'),
    ('theory/dirac.py', 'from gan_jax import games'),
  ]
  for path, line in allowed:
    assert not broken_arrows(ast.parse(line), pathlib.Path(path)), (path, line)


def test_packages_and_words_are_seen():
  tree = ast.parse('import os, flax.linen as nn\nfrom orbax import checkpoint')
  assert outside(tree) == {'flax', 'orbax'}
  assert 'pmap' in set(words(ast.parse('f = jax.pmap(g)')))
  assert 'shard_map' in set(words(ast.parse('from jax import shard_map as s')))
  assert 'Mesh' not in set(words(ast.parse('"""A Mesh."""  # Mesh')))


# What runs in a fresh interpreter, with the other packages refused.
ALONE = """
import sys

BLOCKED = {blocked!r}

class Refuse:
  def find_spec(self, name, path=None, target=None):
    if name.partition('.')[0] in BLOCKED:
      raise ModuleNotFoundError('blocked: ' + name, name=name)

sys.meta_path.insert(0, Refuse())
from gan_jax import {core}
loaded = {{name.partition('.')[0] for name in sys.modules}}
assert not loaded & BLOCKED, loaded & BLOCKED
rooms = {{n.split('.')[1] for n in sys.modules if n.startswith('gan_jax.')}}
assert rooms <= {allowed!r}, rooms
"""
BLOCKED = {
  *('clu', 'diffrax', 'equinox', 'flax', 'grain', 'haiku', 'keras'),
  *('lineax', 'matfree', 'matplotlib', 'ml_collections', 'orbax', 'PIL'),
  *('sklearn', 'tensorboardX', 'tensorflow', 'tensorflow_datasets', 'torch'),
  *('torchvision', 'tqdm'),
}


def test_core_imports_with_everything_else_blocked():
  found = {room(path) for path, _ in sources()}
  present = sorted(CORE & found)
  assert {'losses', 'regularizers', 'games', 'cgd'} <= set(present)
  code = ALONE.format(blocked=BLOCKED, core=', '.join(present), allowed=CORE)
  result = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True
  )
  assert result.returncode == 0, result.stderr
