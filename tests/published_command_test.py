"""Whole studies: with a stand-in for training that leaves a run's files."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from launch.published import collect, command, figures, plan, study, table
from launch.published import play as players
from tests import commands

DRAW = figures.draw
FAKE = pathlib.Path(__file__).with_name('published_fake_main.py')
ROWS = ('slow', 'a', 'b', 'bad', 'lost', 'late')
STUDY = study.Study(
  name='test',
  title='A test',
  intro=('Of a test.',),
  rows=tuple(
    study.Row(
      name,
      'configs/digits.py:quick',
      paper=dict(frechet='9.5') if name == 'a' else {},
      group='all',
    )
    for name in ROWS
  ),
  data='digits',
  claims=(
    study.Claim('a beats b', 'a', 'b'),
    study.Claim('a beats b in time', 'a', 'b', at='equal_time'),
  ),
  evaluate_every=10,
  num_samples=100,
  metrics=(),
  features='',
  equal_time=(('a', 'b'),),
)


@pytest.fixture
def play(tmp_path, monkeypatch, capsys):
  """Runs the launcher in a folder: -> (code, output, calls of the trainer)."""
  monkeypatch.setattr(plan, 'TRAINER', (sys.executable, str(FAKE)))
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  monkeypatch.setattr(command, '_check_first', lambda plan: None)
  monkeypatch.setattr(figures, 'draw', lambda *arguments: [])  # take seconds
  out = tmp_path / 'out'

  def run(*flags):
    calls = out / 'calls.txt'
    before = calls.read_text() if calls.exists() else ''
    words = (f'--out={out}', '--data_dir=D', *flags)
    try:
      code = command.main(STUDY, list(words))
    except SystemExit as ended:
      code = ended.code
    now = calls.read_text() if calls.exists() else ''
    seen = capsys.readouterr()
    return code, seen.out + seen.err, now[len(before) :].splitlines()

  run.out = out
  return run


def read(out):
  found = json.loads((out / 'test.json').read_text())
  return {row['name']: row for row in found['rows']}, found


def test_a_table_from_training_to_verdict(play, monkeypatch):
  monkeypatch.setattr(figures, 'draw', DRAW)
  code, said, calls = play('--rows=a;b', '--seeds=2')
  assert code == 0, said
  assert calls == ['train a 0,1', 'train b 0,1']
  rows, found = read(play.out)
  # 10 and 11; best are the 9 and 10 before them.
  assert rows['a']['last']['frechet'] == pytest.approx(
    dict(mean=10.5, std=0.5**0.5, n=2)
  )
  assert rows['a']['best']['frechet']['mean'] == 9.5
  # 20 steps at 10 a second, shared by two.
  assert rows['a']['device_seconds']['mean'] == pytest.approx(1.0)
  assert rows['a']['floor']['frechet'] == 0.5
  assert rows['a']['checkpoint_bytes'] == 1000
  first, second = found['claims']
  assert (first['verdict'], first['interval']['difference']) == ('holds', -10)
  assert second['interval']['difference'] == -10
  assert found['equal_time'][0]['seconds'] == pytest.approx(1.0)
  text = (play.out / 'test.md').read_text()
  assert '| a | 9.5 | 10.50 ± 0.71 (2) | 9.50 ± 0.71 (2) | 0 of 2 |' in text
  assert '| real against real | - | 0.5 |' in text
  page = (play.out / 'index.html').read_text()
  assert page.count('<img') == 2  # over steps and over seconds

  # Nothing is run twice; rows and seeds may be added, and all stay.
  monkeypatch.setattr(figures, 'draw', lambda *arguments: [])
  code, said, calls = play('--rows=a;b', '--seeds=2')
  assert (code, calls) == (0, [])
  code, said, calls = play('--rows=a', '--seeds=0,1,4')
  assert (code, calls) == (0, ['train a 4'])
  rows, _ = read(play.out)
  assert [s['seed'] for s in rows['a']['seeds']] == [0, 1, 4]
  assert rows['b']['last']['frechet']['n'] == 2

  code, said, calls = play('--rows=a', '--num_samples=50')
  assert (code, calls) == (2, [])
  assert 'num_samples 100 -> 50' in said


def test_rows_that_fail_diverge_or_lack_numbers(play):
  code, _, calls = play(
    '--rows=bad;lost', '--rows=late', '--seeds=2', '--at_once=2'
  )
  assert code == 1
  assert calls.count('evaluate late seed-0') == 1
  assert calls.count('evaluate late seed-1') == 1
  # Also where another seed diverged, which the training ends with code 2 for.
  assert [c for c in calls if 'evaluate lost' in c] == ['evaluate lost seed-0']
  rows, _ = read(play.out)
  assert rows['bad']['failed'].startswith('no luck')
  assert rows['late']['last']['frechet']['mean'] == 7.0
  lost = rows['lost']
  assert lost['failed'] is None
  assert lost['last']['frechet']['n'] == 1
  assert [s['state'] for s in lost['seeds']] == ['finished', 'diverged']
  assert table.diverged(lost) == '1 of 2: seed 1 at 12'
  text = (play.out / 'test.md').read_text()
  assert '**Failed: bad.** no luck' in text
  assert '**Diverged: lost, seed 1.** at step 12: loss_d is nan' in text
  # Only what failed is tried again.
  code, _, calls = play('--rows=bad;lost;late', '--seeds=2')
  assert (code, calls) == (1, ['train bad 0,1'])


def test_a_signal_is_passed_on_and_the_same_command_goes_on(play):
  log = play.out / 'runs' / 'slow' / 'log.txt'

  def interrupt():
    while not (log.exists() and 'ready' in log.read_text()):
      time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGTERM)

  thread = threading.Thread(target=interrupt)
  thread.start()
  code, said, calls = play('--rows=slow;b', '--seeds=1', '--at_once=1')
  thread.join()
  assert code == 128 + signal.SIGTERM
  assert 'SIGTERM: saved; the same command goes on.' in said
  assert calls == ['train slow 0']  # b was not begun
  rows, _ = read(play.out)
  assert rows['slow']['seeds'][0]['step'] == 10
  code, said, calls = play('--rows=slow;b', '--seeds=1', '--at_once=1')
  assert (code, calls) == (0, ['train slow 0', 'train b 0'])
  # Two launches of one device each, the second from step 10.
  assert players.shares_of(log.parent, 0) == [(0, 1), (10, 1)]


def test_numbers_of_two_protocols_stand_in_two_tables(play):
  play('--rows=a;b', '--seeds=1')
  path = play.out / 'runs' / 'b' / 'seed-0' / 'evaluation.json'
  text = path.read_text().replace('"features": "none"', '"features": "other"')
  path.write_text(text)
  play('--rows=a;b', '--seeds=1')
  _, found = read(play.out)
  tables = [t for _, t in table.tables(found)]
  names = [[line[0] for line in t.rows] for t in tables]
  assert names == [['a', 'real against real'], ['b', 'real against real']]


def write_lines(path, *lines):
  path.write_text(''.join(json.dumps(x) + '\n' for x in lines) + '{"step": 5')
  return path


def test_the_clock_fills_in_what_compiled(tmp_path):
  path = write_lines(
    tmp_path / 'metrics.jsonl',
    dict(step=10, steps_per_second=None),
    dict(step=30, steps_per_second=5.0),
    dict(step=40, steps_per_second=2.0, seeds_together=2),
  )
  steps, seconds = collect.clock(path, [(0, 3)])
  assert steps.tolist() == [0, 10, 30, 40]
  # Speeds 5 alone and 2 for each of two: 0.2 and 0.25 s a step; median 0.225.
  assert seconds == pytest.approx([0, 6.75, 18.75, 26.25])


def test_the_clock_leaves_out_what_ran_beside_an_evaluation(tmp_path):
  rate = lambda step, value: dict(step=step, steps_per_second=value)
  judged = {'step': 20, 'evaluation/frechet': 3.0}
  speeds = [rate(10, 5.0), rate(20, 5.0), rate(30, 1.0), rate(40, 0.5)]
  path = write_lines(
    tmp_path / 'a', *speeds[:3], judged, *speeds[3:], rate(50, 4.0)
  )
  # It began after step 20 and ended between 30 and 40. The others take 0.2, 0.2
  # and 0.25 s a step.
  _, seconds = collect.clock(path)
  assert seconds == pytest.approx([0, 2, 4, 6, 8, 10.5])
  # Another seed of the program was evaluated too, until after step 40.
  other = write_lines(tmp_path / 'b', *speeds, judged, rate(50, 4.0))
  _, seconds = collect.clock(path, beside=[other])
  assert seconds == pytest.approx([0, 2, 4, 6, 8, 10])
  # Nothing else is known: the speeds are taken as they are.
  path = write_lines(
    tmp_path / 'c', rate(30, 1.0), rate(40, 0.5), judged | dict(step=0)
  )
  assert collect.clock(path)[1] == pytest.approx([0, 30, 50])


def test_numbers_of_another_protocol_are_left_out(play):
  play('--rows=a', '--seeds=1')
  path = play.out / 'runs' / 'a' / 'seed-0' / 'evaluation.json'
  known = json.loads(path.read_text())
  other = json.loads(json.dumps(known[-1]))
  other['frechet'] |= dict(value=0.1, protocol=dict(features='other'))
  lacking = {k: v for k, v in known[-1].items() if k != 'frechet'}
  path.write_text(json.dumps([*known, other, lacking | dict(kid={})]))
  code, _, calls = play('--rows=a', '--seeds=1')
  assert (code, calls) == (0, [])
  rows, _ = read(play.out)
  assert rows['a']['last']['frechet']['mean'] == 10
  assert rows['a']['best']['frechet']['mean'] == 9


def test_modes_and_how_evenly(tmp_path):
  part = dict(value=900, covered=900, kl_to_uniform=0.4, kl_to_uniform_real=0.1)
  part['protocol'] = dict(classifier='digits')
  entry = dict(step=1, dataset='d', stacked_modes=part)
  names = ['stacked_modes', 'stacked_modes.kl_to_uniform']
  assert collect.metrics_of(entry) == names
  assert [collect.number(entry, m) for m in names] == [900, 0.4]
  assert collect.floor(entry, names[1]) == 0.1
  assert collect.better(names[0], 900, 800)
  assert collect.better(names[1], 0.1, 0.4)


@pytest.mark.parametrize(
  ('values', 'words'),
  [
    ([], '-'),
    ([3.14159], '3.142 (1)'),
    ([10, 12], '11.0 ± 1.4 (2)'),  # the root of 2
    ([7, 7, None], '7 ± 0 (2)'),
    ([0.1000, 0.1002], '0.1001 ± 0.0001 (2)'),
    ([1000, 3000], '2,000 ± 1,414 (2)'),
  ],
)
def test_cells(values, words):
  assert table.cell(table.summary(values)) == words


@pytest.mark.slow
def test_a_real_study_of_two_rows_and_two_seeds(tmp_path):
  words = [
    *(sys.executable, '-m', 'launch.cifar10_landscape', f'--out={tmp_path}'),
    *('--data=digits', '--rows=cnn,rs,quarter;cnn,js,quarter', '--seeds=2'),
    '--quick',
  ]

  def run():
    return subprocess.run(
      words,
      cwd=commands.ROOT,
      env=commands.environment(),
      capture_output=True,
      text=True,
      timeout=600,
    )

  done = run()
  assert done.returncode == 0, done.stdout + done.stderr
  text = (tmp_path / 'cifar10_landscape.json').read_text()
  for row in json.loads(text)['rows']:
    assert row['last']['frechet']['n'] == 2
    assert [s['state'] for s in row['seeds']] == ['finished'] * 2
  logs = [p.read_text() for p in sorted(tmp_path.glob('runs/*/log.txt'))]
  assert len(logs) == 2
  assert (tmp_path / 'cifar10_landscape_samples.png').exists()
  done = run()
  assert done.returncode == 0, done.stdout + done.stderr
  assert [
    p.read_text() for p in sorted(tmp_path.glob('runs/*/log.txt'))
  ] == logs
