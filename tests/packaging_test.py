"""What pip installs: the core alone by default, and nothing undeclared."""

import ast
import json
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
import venv

import pytest

import gan_jax

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']

# Rooms of gan_jax that work without any extra.
ALONE = {
  *('losses', 'regularizers', 'solvers', 'games', 'cgd', 'diagnostics'),
  *('theory', '__init__'),
}
# Imported name -> distribution, where they differ by more than - and _.
DISTRIBUTIONS = {
  'PIL': 'pillow',
  'ot': 'pot',
  'absl': 'absl-py',
  'orbax': 'orbax-checkpoint',
  'sklearn': 'scikit-learn',
  'tensorflow': 'tensorflow-cpu',
}
# Of launch/: what the networks are compared with.
PYTORCH = ('torch_', 'benchmark')
# jax cannot do without these; they are not declared again. That the core keeps
# to numpy is imports_test's business.
COMES_WITH_JAX = {'numpy', 'scipy'}
# In an extra, but jax or optax bring them too.
CORE_BRINGS = {'absl-py', 'scipy'}


def normal(requirement):
  """'Orbax_checkpoint[x]>=1' -> 'orbax-checkpoint'."""
  name = re.match(r'[A-Za-z0-9._-]+', requirement)[0]
  return re.sub(r'[-_.]+', '-', name).lower()


def declared(*extras):
  """Distributions of the core and of extras, extras of ours followed."""
  found, left = set(), list(PROJECT['dependencies'])
  left += [r for e in extras for r in PROJECT['optional-dependencies'][e]]
  for requirement in left:
    ours = re.match(r'gan-jax\[(\w+)\]', requirement)
    found |= declared(ours[1]) if ours else {normal(requirement)}
  return found


def imported(source):
  """Distributions that a file imports, wherever in it."""
  names = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Import):
      names |= {alias.name.partition('.')[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and not node.level:
      names.add(node.module.partition('.')[0])
  own = {'gan_jax', 'configs', 'launch', 'tests'}
  own |= {path.stem for path in (ROOT / 'tests').glob('*.py')}
  names -= set(sys.stdlib_module_names) | own
  return {normal(DISTRIBUTIONS.get(name, name)) for name in names}


def allowed(path):
  """What a file may import, by where it is."""
  folder, *_, name = path.parts
  if folder == 'launch' and path.parts[1].startswith(PYTORCH):
    return declared('bench')
  if path.parts[:2] == ('launch', 'feature_sides.py'):
    return declared('fidelity')
  if path.parts[:2] == ('launch', 'lab'):
    return declared('theory')
  if name == 'make_torch_fixtures.py':
    return declared('dev', 'bench')
  if folder == 'tests' and name.startswith('torch_'):
    return declared('dev', 'fidelity')
  if folder == 'tests':
    return declared('dev')
  if folder == 'gan_jax' and path.parts[1].removesuffix('.py') in ALONE:
    return declared()
  if name == 'tfds_prepare.py':
    return declared('train', 'prepare')
  return declared('train')


def undeclared(path, source):
  return imported(source) - allowed(path) - COMES_WITH_JAX


def test_every_import_is_declared_where_it_is_needed():
  folders = ('gan_jax', 'configs', 'launch', 'tests')
  paths = [p for f in folders for p in sorted((ROOT / f).rglob('*.py'))]
  assert len(paths) > 40
  found = {
    str(p.relative_to(ROOT)): undeclared(p.relative_to(ROOT), p.read_text())
    for p in paths
  }
  assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize(
  ('path', 'line', 'missing'),
  [
    ('gan_jax/games.py', 'from flax import linen', {'flax'}),
    ('gan_jax/games.py', 'import jax.numpy, chex, optax, numpy', set()),
    ('gan_jax/__init__.py', 'def f():\n  import orbax', {'orbax-checkpoint'}),
    ('gan_jax/theory/dirac.py', 'import matplotlib', {'matplotlib'}),
    ('gan_jax/train.py', 'import flax, PIL.Image, tensorboardX', set()),
    ('gan_jax/data/stream.py', 'import tensorflow', {'tensorflow-cpu'}),
    ('gan_jax/data/tfds_prepare.py', 'import tensorflow', set()),
    ('gan_jax/models/cnn.py', 'import torch', {'torch'}),
    ('launch/benchmark.py', 'import pytest', {'pytest'}),
    ('launch/feature_sides.py', 'import torch_fidelity, pytorch_fid', set()),
    ('tests/x_test.py', 'import equinox, flax, diffrax', {'diffrax'}),
    ('tests/x_test.py', 'import torch_fidelity', {'torch-fidelity'}),
    ('tests/torch_x_test.py', 'import torch_fidelity', set()),
  ],
)
def test_an_undeclared_import_is_seen(path, line, missing):
  assert undeclared(pathlib.PurePath(path), line) == missing


def test_one_version():
  assert PROJECT['version'] == gan_jax.__version__


def test_one_source_of_requirements():
  lines = (ROOT / 'requirements.txt').read_text().split('\n')
  kept = [x for x in lines if x.strip() and not x.startswith('#')]
  assert kept == ['-e .[train,dev]']


def test_the_core_needs_three_packages():
  assert declared() == {'jax', 'optax', 'chex'}


def run(*command, cwd):
  """Runs outside the checkout, so that only what is installed is found."""
  return subprocess.run(
    list(map(str, command)), cwd=cwd, capture_output=True, text=True
  )


def copy_sources(to):
  """The files that git has, or would take; build artefacts stay there."""
  listed = run(
    *('git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'),
    cwd=ROOT,
  )
  if listed.returncode:
    pytest.skip(f'not a git checkout: {listed.stderr.strip()}')
  for name in filter(None, listed.stdout.split('\0')):
    if (ROOT / name).is_file():  # not one deleted since
      (to / name).parent.mkdir(parents=True, exist_ok=True)
      shutil.copy(ROOT / name, to / name)


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
  """(python of a fresh environment with gan_jax in it, an empty folder)."""
  folder = tmp_path_factory.mktemp('install')
  for name in ('source', 'empty'):
    (folder / name).mkdir()
  copy_sources(folder / 'source')
  venv.create(folder / 'venv', with_pip=True)
  python = folder / 'venv' / 'bin' / 'python'
  install = (python, '-m', 'pip', '--disable-pip-version-check', 'install')
  # Apart from the install itself, so that only a missing index is skipped.
  probe = ('--dry-run', '--no-deps', '--ignore-installed', '--retries', '1')
  reached = run(*install, *probe, 'chex', cwd=folder)
  if reached.returncode:
    pytest.skip(f'pip finds no package index: {reached.stderr.strip()[-200:]}')
  done = run(*install, './source', cwd=folder)
  assert done.returncode == 0, done.stdout + done.stderr
  return python, folder / 'empty'


def answer(installed, code):
  """What a program prints as JSON in the fresh environment."""
  python, folder = installed
  done = run(python, '-I', '-c', textwrap.dedent(code), cwd=folder)
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_only_the_core_and_its_needs_are_installed(installed):
  found = answer(
    installed,
    """
    import json
    from importlib import metadata
    print(json.dumps([d.name for d in metadata.distributions()]))
    """,
  )
  found = {normal(name) for name in found}
  assert {'gan-jax', 'jax', 'jaxlib', 'optax', 'chex'} <= found
  extras = declared('train', 'prepare', 'bench', 'fidelity', 'dev') - declared()
  assert not found & (extras - CORE_BRINGS)


@pytest.mark.slow
def test_the_core_works_from_the_installed_package(installed):
  found = answer(
    installed,
    """
    import json, sys
    import jax.numpy as jnp
    import gan_jax
    from gan_jax import games, losses, regularizers
    loss = losses.get('minimax').discriminator(jnp.zeros(1), jnp.zeros(1))
    penalty = regularizers.r1(lambda x: 3 * x[:, 0], jnp.ones((1, 2)))
    game = games.zero_sum(lambda g, d: 5 * g * d)
    at = games.gradients(game, games.Players(jnp.array(1.0), jnp.array(2.0)))
    numbers = loss[0], penalty[0], at.grad_g, at.grad_d
    print(json.dumps([gan_jax.__version__, sys.prefix in gan_jax.__file__,
                      *map(float, numbers)]))
    """,
  )
  assert found[:2] == [gan_jax.__version__, True]
  # 2 log 2; 3^2; minus and plus the other player times 5.
  assert found[2:] == pytest.approx([1.3862944, 9.0, -10.0, 5.0], rel=1e-6)


@pytest.mark.slow
def test_training_without_the_extra_names_what_is_missing(installed):
  found = answer(
    installed,
    """
    import json
    try:
      import gan_jax.train
    except ImportError as error:
      print(json.dumps([error.name, str(error)]))
    """,
  )
  assert found[0] == 'flax' and 'flax' in found[1]


@pytest.mark.slow
def test_all_files_of_the_package_are_installed_and_no_others(installed):
  found = answer(
    installed,
    """
    import json
    from importlib import metadata
    print(json.dumps([str(p) for p in metadata.files('gan-jax')]))
    """,
  )
  found = [pathlib.PurePath(name) for name in found]
  own = {str(p) for p in found if p.suffix != '.pyc' and '.' not in p.parts[0]}
  tree = [p for p in (ROOT / 'gan_jax').rglob('*') if p.suffix == '.py']
  tree.append(ROOT / 'gan_jax' / 'py.typed')
  assert own == {str(p.relative_to(ROOT)) for p in tree}
  assert 'LICENSE' in {p.name for p in found}
