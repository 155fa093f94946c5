"""A share of some classes, and the study that starts from it."""

import json
import pathlib

import numpy as np
import pytest

from configs import digits, mnist_bad_start
from gan_jax import build, data
from launch import mnist_bad_start as launcher
from launch.published import plan

# Ten 5s, four 7s and three 0s, mixed; the pixels number the examples.
LABELS = np.array([5, 7, 5, 0, 5, 5, 7, 5, 0, 5, 5, 7, 5, 5, 0, 5, 7], np.int32)
SET = data.Dataset(
  'some',
  np.arange(17, dtype=np.uint8).reshape(17, 1, 1, 1),
  LABELS,
  10,
)


def test_a_share_of_a_class_stays_and_others_go():
  taken = data.take_shares(SET, '5:0.2,7:1')
  numbers = taken.examples.ravel()
  assert sorted(taken.labels) == [5, 5, 7, 7, 7, 7]
  np.testing.assert_array_equal(LABELS[numbers], taken.labels)
  np.testing.assert_array_equal(numbers, np.unique(numbers))
  again = data.take_shares(SET, ' 7 , 5:.2')
  np.testing.assert_array_equal(again.examples, taken.examples)
  assert (taken.name, taken.num_classes) == ('some', 10)


def test_what_stays_of_a_class_is_drawn():
  chosen = data.take_shares(SET, '5:0.5').examples.ravel()
  assert len(chosen) == 5
  assert chosen.tolist() != np.flatnonzero(LABELS == 5)[:5].tolist()


def test_no_shares_are_all_examples():
  assert data.take_shares(SET, '') is SET


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('5=0.2', "'5=0.2' is not"),
    ('five:1', "'five:1' is not"),
    ('5:', "'5:' is not"),
    ('5:0', r'share of class 5 is not in \(0, 1\]'),
    ('5:1.5', r'share of class 5 is not in \(0, 1\]'),
    ('5:nan', r'share of class 5 is not in \(0, 1\]'),
    ('5:.2,5:.3', 'names class 5 twice'),
    ('9:1', r"'some' has no examples of class 9, only of \[0, 5, 7\]"),
    ('-1', 'no examples of class -1'),
    ('7:0.1', 'leaves none of the 4 examples of class 7'),
  ],
)
def test_shares_that_cannot_be_are_told(text, words):
  with pytest.raises(ValueError, match=words):
    data.take_shares(SET, text)


def test_shares_need_labels():
  with pytest.raises(ValueError, match="labels of 'some' at hand; it has none"):
    data.take_shares(SET._replace(labels=None, num_classes=0), '5')
  with pytest.raises(ValueError, match='they are read from disk'):
    data.take_shares(SET._replace(labels=None), '5')


def test_a_run_plays_on_the_share_that_its_config_names():
  config = digits.get_config('quick')
  config.data.shares, config.data.image_size = mnist_bad_start.SHARES, 8
  labels = build._load(config).labels
  # scikit-learn has 182 fives and 179 sevens.
  assert np.bincount(labels).tolist() == [0, 0, 0, 0, 0, 36, 0, 179]
  config.data.shares, config.data.image_size = '10', 16
  with pytest.raises(ValueError, match=r"^config.data: shares='10': 'digits'"):
    build.build(config)


@pytest.fixture
def played(monkeypatch):
  """What main would run, in order; no program is started."""
  calls, codes = [], []

  def run(line, *, check):
    assert not check
    calls.append(('start', line))
    return type('Ended', (), {'returncode': codes.pop(0) if codes else 0})

  def table(study, argv):
    calls.append(('check' if '--dry_run' in argv else 'table', study, argv))
    if '--rows=nonsense' in argv:
      raise SystemExit(2)
    return 0

  monkeypatch.setattr(launcher.subprocess, 'run', run)
  monkeypatch.setattr(launcher.command, 'main', table)
  return calls, codes


def test_the_start_is_made_and_exported_before_the_table(played, tmp_path):
  calls, _ = played
  flags = ['--data=digits', f'--out={tmp_path / "out"}', '--seeds=2']
  assert launcher.main([*flags, '--start_seed=4', '--start_steps=30']) == 0
  assert [kind for kind, *_ in calls] == ['check', 'start', 'start', 'table']
  (_, train), (_, export) = calls[1:3]
  assert export == [*train, '--mode=export']
  assert f'--workdir={tmp_path / "out-start"}' in train
  assert {'--config.seed=4', '--config.num_steps=30'} <= set(train)
  _, study, argv = calls[3]
  assert argv == flags
  weights = tmp_path / 'out-start' / 'export' / 'generator-00000030.npz'
  froms = {row.name: row.changes.get('generator_from') for row in study.rows}
  assert froms['bad,js'] == froms['bad,rs'] == froms['bad_g,js'] == str(weights)
  assert froms['fresh,js'] is froms['fresh,rs'] is None


def test_a_mistake_is_told_before_the_start_is_made(played, tmp_path):
  calls, _ = played
  with pytest.raises(SystemExit):
    launcher.main([f'--out={tmp_path / "out"}', '--rows=nonsense'])
  assert [kind for kind, *_ in calls] == ['check']


@pytest.mark.parametrize(
  ('flag', 'words'),
  [
    ('--start_steps=-1', '--start_steps=-1 must be at least 1.'),
    ('--start_loss=gan', "invalid choice: 'gan'"),
  ],
)
def test_flags_of_the_start_are_checked(played, tmp_path, capsys, flag, words):
  with pytest.raises(SystemExit) as ended:
    launcher.main([f'--out={tmp_path / "out"}', flag])
  assert ended.value.code == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert words in line
  assert not played[0]


def made(path, step, num_steps=50):
  """Leaves of a start its record and a checkpoint."""
  checkpoint = path / 'checkpoints' / f'{step:08d}'
  checkpoint.mkdir(parents=True)
  (checkpoint / 'SHA256SUMS').touch()
  (path / 'config.json').write_text(json.dumps({'num_steps': num_steps}))
  return path


@pytest.mark.parametrize(
  ('flags', 'words'),
  [
    (['--start_steps=30'], ['--start_steps=30 is less', 'another --out']),
    (['--quick'], ['--start_steps=20 (not given', 'another --out']),
    (['--start_steps=30', '--start'], ['=30 is less', 'another --start']),
  ],
)
def test_a_start_of_more_steps_is_told(played, tmp_path, capsys, flags, words):
  calls, path = played[0], made(tmp_path / 'out-start', 50)
  flags = [f'--start={path}' if flag == '--start' else flag for flag in flags]
  with pytest.raises(SystemExit) as ended:
    launcher.main([f'--out={tmp_path / "out"}', '--data=digits', *flags])
  assert ended.value.code == 2
  (line,) = capsys.readouterr().err.splitlines()
  told = [*words, f'the 50 steps that the start in {path}', '--start_steps=50']
  assert all(word in line for word in told), line
  assert [kind for kind, *_ in calls] == ['check']


@pytest.mark.parametrize(('asked', 'at'), [(50, 50), (60, 50), (30, 20)])
def test_a_start_that_goes_on_is_not_refused(played, tmp_path, asked, at):
  made(tmp_path / 'out-start', at)
  flags = [f'--out={tmp_path / "out"}', '--data=digits']
  assert launcher.main([*flags, f'--start_steps={asked}']) == 0


def test_a_start_that_was_exported_before_it_went_on_is_there(played, tmp_path):
  path = made(tmp_path / 'out-start', 50) / 'export'
  path.mkdir()
  for player in ('generator', 'discriminator'):
    (path / f'{player}-00000030.npz').touch()
  flags = [f'--out={tmp_path / "out"}', '--data=digits']
  assert launcher.main([*flags, '--start_steps=30']) == 0


@pytest.mark.parametrize(('code', 'expected'), [(2, 2), (-15, 143)])
def test_without_a_start_there_is_no_table(played, tmp_path, code, expected):
  calls, codes = played
  codes.append(code)
  assert launcher.main([f'--out={tmp_path / "out"}', '--data=digits']) == (
    expected
  )
  assert [kind for kind, *_ in calls] == ['check', 'start']


def test_a_dry_run_prints_the_start_too(played, tmp_path, capsys):
  calls, _ = played
  launcher.main([f'--out={tmp_path / "out"}', '--data=digits', '--dry_run'])
  lines = capsys.readouterr().out.splitlines()
  assert [line.endswith('--mode=export') for line in lines] == [False, True]
  assert all('mnist_bad_start.py:start,js' in line for line in lines)
  assert 'start' not in [kind for kind, *_ in calls]


@pytest.mark.parametrize('data_set', ['mnist', 'digits'])
def test_every_row_has_a_config(tmp_path, data_set):
  files = {f'{p}_from': tmp_path / p for p in ('generator', 'discriminator')}
  study = launcher.make_study(files)
  names = tuple(row.name for row in study.rows)
  asked = plan.Asked(tmp_path, names, data=data_set, data_dir='x')
  jobs = {job.row.name: job.config for job in plan.make(study, asked).jobs}
  assert jobs['bad,js'].loss == 'nonsaturating'
  assert jobs['bad,rs'].loss == 'relativistic'
  assert jobs['bad_g,rs'].generator_from == str(tmp_path / 'generator')
  assert jobs['bad_g,rs'].discriminator_from == ''
  assert all(config.data.shares == '' for config in jobs.values())
  start = mnist_bad_start.get_config('start')
  assert start.data.shares == '5:0.2,7:1'


@pytest.mark.slow
def test_the_whole_study_on_digits(tmp_path):
  out = tmp_path / 'out'
  flags = [f'--out={out}', '--data=digits', '--quick', '--seeds=2']
  assert launcher.main([*flags, '--rows=bad,rs']) == 0
  start = tmp_path / 'out-start' / 'export' / 'generator-00000020.npz'
  run = out / 'runs' / 'bad-rs' / 'seed-0' / 'config.json'
  config = json.loads(run.read_text())
  assert pathlib.Path(config['generator_from']) == start
  assert (out / 'mnist_bad_start.md').is_file()
  # A shorter or another start in the same folder is refused.
  with pytest.raises(SystemExit) as ended:
    launcher.main([*flags, '--rows=bad,rs', '--start_steps=10'])
  assert ended.value.code == 2
  assert launcher.main([*flags, '--rows=bad,rs', '--start_seed=1']) == 2
