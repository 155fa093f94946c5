"""The programs for other people's projects run as printed, and learn.

They are cut out of README.md, or out of docs/library.md where README.md has no
such heading, so what a reader copies is what is tested.
"""

import inspect
import pathlib
import re
import runpy

import jax
import numpy as np
import pytest

from gan_jax import build, cgd, games, losses, regularizers

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ('README.md', 'docs/library.md', 'docs/evaluation.md')
# What every program learns: real examples are MEAN + STD * normal noise.
MEAN, STD = [1.0, -1.0], [0.5, 0.5]


def section(text, heading):
  """The text below a heading, up to the next one of any level, or None."""
  # A comment in a program begins like a heading.
  fence = re.compile(r'^```.*?^```', re.MULTILINE | re.DOTALL)
  hidden = fence.sub(lambda match: 'x' * len(match[0]), text)
  pattern = rf'^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)'
  found = re.search(pattern, hidden, re.MULTILINE | re.DOTALL)
  return text[found.start(1) : found.end(1)] if found else None


def find(heading):
  for page in PAGES:
    path = ROOT / page
    text = section(path.read_text(), heading) if path.exists() else None
    if text is not None:
      return text
  raise AssertionError(f'none of {PAGES} has the heading {heading!r}')


def program(heading):
  """The only Python block below the heading."""
  blocks = re.findall(
    r'^```python\n(.*?)^```$', find(heading), re.MULTILINE | re.DOTALL
  )
  assert len(blocks) == 1, (heading, len(blocks))
  return blocks[0]


def rows(column):
  """Cells of the table whose first column has this title."""
  lines = find('What there is').splitlines()
  first = next(i for i, x in enumerate(lines) if x.startswith(f'| {column} '))
  table = []
  for line in lines[first + 2 :]:
    if not line.startswith('|'):
      break
    table.append([cell.strip() for cell in line.strip('|').split('|')])
  return table


@pytest.fixture
def run(tmp_path, monkeypatch):
  """Runs the program below a heading in an empty folder; gives its names."""

  def play(heading):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'program.py'
    path.write_text(program(heading))
    # The tests forbid the broadcasts that other people's code may use.
    with jax.numpy_rank_promotion('allow'):
      return runpy.run_path(str(path))

  return play


def assert_learnt(mean, std):
  np.testing.assert_allclose(mean, MEAN, atol=0.1)
  np.testing.assert_allclose(np.abs(std), STD, atol=0.1)


def test_plain_functions(run, capsys):
  names = run('Plain functions')
  learnt = names['players'].g
  assert_learnt(learnt['mean'], learnt['std'])
  # Where the examples cannot be told apart, each pair costs log 2.
  np.testing.assert_allclose(names['loss_g'], np.log(2), atol=0.05)
  assert 'flax' not in program('Plain functions')
  assert len(capsys.readouterr().out.splitlines()) <= 2


@pytest.mark.parametrize('heading', ['Flax NNX', 'Equinox'])
def test_modules_of_other_libraries(run, capsys, heading):
  samples = run(heading)['samples']
  assert_learnt(samples.mean(0), samples.std(0))
  assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.slow
def test_a_problem_that_is_not_a_gan(run, capsys):
  names = run('ACGD on a problem that is not a GAN')
  # The solution is sin(pi x); the page promises an error below 1e-3.
  x = np.linspace(-1, 1, 1001)
  exact = np.sin(np.pi * x)
  error = np.linalg.norm(names['u'] - exact) / np.linalg.norm(exact)
  assert error < 1e-3
  assert capsys.readouterr().out.startswith('relative error')


def test_own_parts_in_our_loop(run, capsys):
  names = run('Your own parts, our training loop')
  assert_learnt(names['samples'].mean(0), names['samples'].std(0))
  printed = capsys.readouterr()
  assert len(printed.out.splitlines()) <= 6
  assert not printed.err


@pytest.mark.slow
def test_own_parts_are_taken_up_again(run):
  names = run('Your own parts, our training loop')
  # The page says: again, it is finished; with more steps, it goes on.
  said = []
  train, longer = names['train'].train, names['run']._replace(num_steps=2100)
  assert train(names['run'], 'runs/own', say=said.append).step == 2000
  assert 'finished' in said[-1]
  assert train(longer, 'runs/own', say=said.append).step == 2100
  assert any('checkpoint of step 2000' in line for line in said)


def test_table_of_losses():
  game = {True: 'zero-sum', False: 'general-sum'}
  listed = {row[0].strip('`'): row[1] for row in rows('`losses.get(name)`')}
  there = {name: game[loss.zero_sum] for name, loss in losses.LOSSES.items()}
  assert listed == there


@pytest.mark.parametrize('module', [regularizers, games, cgd])
def test_calls_in_the_tables_fit_the_functions(module):
  title = f'`{module.__name__.removeprefix("gan_jax.")}`'
  for row in rows(title):
    name, arguments = re.fullmatch(r'`(\w+)\((.*)\)`', row[0]).groups()
    # Raises TypeError where the call would.
    signature = inspect.signature(getattr(module, name))
    words = arguments.split(', ')
    positional = [word for word in words if '=' not in word]
    keywords = dict(word.split('=') for word in words if '=' in word)
    bound = signature.bind(*positional, **keywords)
    assert list(bound.arguments) == [*positional, *keywords], row[0]


def test_tables_are_complete():
  names = lambda title: {row[0].strip('`').split('(')[0] for row in rows(title)}
  public = {
    name
    for name, function in inspect.getmembers(regularizers, inspect.isfunction)
    if function.__module__ == regularizers.__name__ and name[0] != '_'
  }
  assert names('`regularizers`') == public
  assert names('`games`') | names('`cgd`') == set(build.METHODS)


def test_a_section_ends_at_the_next_heading():
  text = '# A\none\n```python\n# no heading\n```\n## B\ntwo\n'
  assert section(text, 'A') == 'one\n```python\n# no heading\n```\n'
  assert section(text, 'B') == 'two\n'
  assert section(text, 'no heading') is None


def test_metrics_of_features(run, capsys):
  found = run('Metrics')
  # Means apart by 1 in each of 16 features.
  assert float(capsys.readouterr().out.split()[0]) == pytest.approx(16, abs=1)
  assert found['a'].shape == (1000, 16)
