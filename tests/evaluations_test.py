"""The list of what was measured: never torn, never lost, never mixed."""

import json
from concurrent import futures

import pytest

from gan_jax import evaluations, workdir


def entry(step, value=1.0, *, weights='raw', draws=1, **protocol):
  return {
    'step': step,
    'weights': weights,
    'dataset': 'ring8',
    'split': 'train',
    'settings': {'draws': draws},
    'num_samples': 100,
    'frechet': {
      'value': value,
      'real_against_real': 0.25,
      'protocol': {'features': 'pixels', **protocol},
    },
  }


def refuse(line):
  raise AssertionError(line)


def values(folder):
  found = evaluations.read(folder, say=refuse)
  return [(e['step'], e['weights'], e['frechet']['value']) for e in found]


def test_entries_are_added_and_replaced_by_their_own_kind(tmp_path):
  assert evaluations.read(tmp_path) == [] and not list(tmp_path.iterdir())
  evaluations.add(tmp_path, entry(10, 1.0))
  evaluations.add(tmp_path, entry(20, 2.0))
  evaluations.add(tmp_path, entry(10, 3.0, weights='averaged'))
  evaluations.add(tmp_path, entry(10, 4.0, draws=2))
  evaluations.add(tmp_path, entry(10, 5.0))  # measured again
  assert values(tmp_path) == [
    (20, 'raw', 2.0),
    (10, 'averaged', 3.0),
    (10, 'raw', 4.0),
    (10, 'raw', 5.0),
  ]
  assert json.loads((tmp_path / 'evaluation.json').read_text())[3] == entry(
    10, 5.0
  )


def test_entries_of_a_lost_future_are_dropped(tmp_path):
  evaluations.cut(tmp_path, 5)
  assert not list(tmp_path.iterdir())
  for step in (10, 20, 30):
    evaluations.add(tmp_path, entry(step))
  evaluations.cut(tmp_path, 20, say=refuse)
  assert [step for step, _, _ in values(tmp_path)] == [10, 20]


@pytest.mark.parametrize(
  'content', [b'[{"step": 10', b'', b'{}5', b'[1]', b'[{"a": 1}]', b'\xff\xfe']
)
def test_a_damaged_list_is_kept_under_another_name(tmp_path, content):
  said = []
  for number in ('', '-2'):
    (tmp_path / 'evaluation.json').write_bytes(content)
    evaluations.add(tmp_path, entry(10), say=said.append)
    assert values(tmp_path) == [(10, 'raw', 1.0)]
    aside = tmp_path / f'evaluation.damaged{number}.json'
    assert aside.read_bytes() == content
    assert aside.name in said[-1] and 'is damaged' in said[-1]
  assert len(said) == 2


def test_two_writers_lose_nothing(tmp_path):
  def add(first):
    for step in range(first, first + 20):
      evaluations.add(tmp_path, entry(step), say=refuse)

  # The lock is of open files, so it is between threads as between processes.
  with futures.ThreadPoolExecutor() as pool:
    assert list(pool.map(add, (0, 100, 200))) == [None] * 3
  steps = sorted(step for step, _, _ in values(tmp_path))
  assert steps == [*range(20), *range(100, 120), *range(200, 220)]


def test_a_number_that_is_none_is_not_written(tmp_path):
  evaluations.add(tmp_path, entry(10))
  with pytest.raises(ValueError, match='JSON'):
    evaluations.add(tmp_path, entry(20, float('nan')))
  assert values(tmp_path) == [(10, 'raw', 1.0)]


def test_a_folder_that_is_not_there(tmp_path):
  with pytest.raises(workdir.WorkdirError, match='cannot be locked'):
    evaluations.add(tmp_path / 'none', entry(10))


def test_a_table_of_steps_by_metrics():
  several = entry(1000, 2.5)
  several['frechet']['std_over_draws'] = 0.125
  lines = evaluations.tables([entry(500, 12.0), several])
  assert lines[0] == ''
  assert lines[1] == '100 samples against ring8, split train'
  assert [line.split() for line in lines[2:6]] == [
    ['step', 'weights', 'frechet'],
    ['500', 'raw', '12'],
    ['1000', 'raw', '2.5', '+-', '0.12'],
    ['real', '0.25'],
  ]
  assert len({len(line) for line in lines[2:6]}) == 1
  assert lines[6] == '  frechet: features pixels'


def test_numbers_of_different_protocols_are_in_different_tables():
  entries = [
    entry(1, 1.0),
    entry(1, 2.0, features='inception'),
    entry(2, 3.0),
    entry(3, 4.0, draws=2),
    entry(4, 5.0) | {'num_samples': 50},
  ]
  text = '\n'.join(evaluations.tables(entries))
  tables = [part.splitlines() for part in text.split('\n\n')]
  shown = [
    [line.split()[2] for line in table if line.split()[1:2] == ['raw']]
    for table in tables
  ]
  assert shown == [['1', '3'], ['2'], ['4'], ['5']]


def test_curves_and_the_line_of_an_entry():
  modes = {'covered': 7, 'total': 8, 'high_quality': 0.5, 'protocol': {}}
  whole = entry(20, 1.5) | {'modes': modes, 'classifier': {'protocol': {}}}
  assert evaluations.scalars(whole) == {
    'evaluation/frechet': 1.5,
    'evaluation/modes_covered': 7,
    'evaluation/modes_high_quality': 0.5,
  }
  assert evaluations.line(whole) == (
    'evaluation at step 20 (raw weights, 100 samples): frechet 1.5 (real '
    'against real 0.25), modes 7/8'
  )
