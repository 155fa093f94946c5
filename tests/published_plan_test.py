"""Rows and seeds -> runs and commands; what is refused, and in which words."""

import json
import pathlib

import pytest

from launch import (
  celebahq,
  cifar10_icr,
  cifar10_landscape,
  cifar10_modern,
  lsun,
  mnist_bad_start,
  mode_coverage,
)
from launch.published import collect, command, devices, folder, plan, study

OUT = pathlib.Path('out')
ROW = study.Row('a,b', 'configs/digits.py', changes={'penalties.r1': 0.25})
STUDY = study.Study(
  name='test',
  title='A test',
  intro=('Of a test.',),
  rows=(ROW, study.Row('c', 'configs/digits.py:saturating')),
  data='digits',
  stand_ins=(
    study.StandIn(
      'stacked_digits',
      'of three.',
      lambda row: None if row.name == 'c' else {'data.image_size': 16},
      metric='stacked_modes',
    ),
  ),
  evaluate_every=500,
  num_samples=300,
  metrics=(),
  features='',
)


def asked(**changes):
  return plan.Asked(**dict(out=OUT, data_dir='D') | changes)


def made(**changes):
  return plan.make(STUDY, asked(**changes))


def test_a_job_has_its_folder_config_and_command():
  job = made().jobs[0]
  assert job.folder == OUT / 'runs' / 'a-b'
  assert job.seed_folder(3) == OUT / 'runs' / 'a-b' / 'seed-3'
  assert job.config.penalties.r1 == 0.25
  words = plan.train_command(job, [0, 2], 'vmap')
  assert words[1:3] == ['-m', 'gan_jax.main']
  assert words[3:7] == [
    '--config=configs/digits.py',
    '--workdir=out/runs/a-b',
    '--seeds=0,2',
    '--together=vmap',
  ]
  assert set(words[7:]) == {
    '--config.penalties.r1=0.25',
    '--config.evaluate_every=500',
    '--config.best_by=frechet',
    '--config.num_samples=300',
    '--config.data_dir=D',
  }
  words = plan.evaluate_command(job, 2)
  assert '--workdir=out/runs/a-b/seed-2' in words
  assert {'--mode=evaluate', '--config.seed=2'} <= set(words)


def test_a_stand_in_changes_data_and_metric_and_leaves_rows_out():
  found = made(data='stacked_digits')
  assert (found.metric, found.left_out) == ('stacked_modes', ('c',))
  (job,) = found.jobs
  assert job.config.data.name == 'stacked_digits'
  assert job.config.best_by == 'stacked_modes'
  assert '--config.data_dir=D' not in plan.train_command(job, [0])


def test_a_shorter_run_keeps_the_shape_of_its_schedule():
  wanted = asked(data='digits', rows=('cnn,rs',), num_steps=1000)
  (job,) = plan.make(cifar10_landscape.STUDY, wanted).jobs
  # 50,000 of 100,000 steps.
  assert job.config.optimizer_g.decay_start == 500
  assert job.config.optimizer_d.decay_start == 500
  full = plan.make(cifar10_landscape.STUDY, asked(rows=('cnn,rs',))).jobs[0]
  assert full.config.optimizer_g.decay_start == 50_000
  assert full.config.evaluation.reference == full.config.num_samples == 10_000


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    (dict(rows=('x',)), r"--rows='x' is not a row of test, which has a,b; c"),
    (
      dict(data='x'),
      r"--data='x' is not one of \['digits', 'stacked_digits'\]",
    ),
    (
      dict(data='stacked_digits', rows=('c',)),
      'none of the rows c has a count',
    ),
    (dict(data_dir=''), "--data_dir is needed for 'digits'.*--data=stacked"),
  ],
)
def test_what_is_refused(changes, words):
  with pytest.raises(ValueError, match=words):
    made(**changes)


def test_a_field_that_is_not_there():
  row = ROW._replace(changes={'generator.wid': 3})
  with pytest.raises(ValueError, match=r"row 'a,b'.*no field 'generator.wid'"):
    plan.make(STUDY._replace(rows=(row,)), asked())


@pytest.mark.parametrize(
  ('text', 'seeds'),
  [('3', (0, 1, 2)), ('1', (0,)), ('0,4', (0, 4)), ('7,', (7,))],
)
def test_seeds(text, seeds):
  assert command.seeds_of(text) == seeds


@pytest.mark.parametrize(
  'text', ['0', 'x', '1,1', '', '-1', '1.5', '9999999999', '0,4294967296']
)
def test_no_seeds(text):
  with pytest.raises(ValueError, match='--seeds='):
    command.seeds_of(text)


def test_another_table_is_refused_by_name(tmp_path):
  mine = made(out=tmp_path)
  folder.check(mine)  # an empty folder
  folder.record(mine)
  folder.check(mine)
  folder.check(made(out=tmp_path, rows=('c',), seeds=(5,)))
  with pytest.raises(ValueError, match='num_samples 300 -> 400'):
    folder.check(made(out=tmp_path, num_samples=400))
  with pytest.raises(ValueError, match="data 'digits' -> 'stacked_digits'"):
    folder.check(made(out=tmp_path, data='stacked_digits'))
  other = plan.make(STUDY._replace(name='other'), asked(out=tmp_path))
  with pytest.raises(ValueError, match="holds the table 'test', not 'other'"):
    folder.check(other)


def test_a_folder_of_something_else(tmp_path):
  (tmp_path / 'photo.png').touch()
  with pytest.raises(ValueError, match=r"no study.json, but holds 'photo.png'"):
    folder.check(made(out=tmp_path))


def test_how_far_a_run_has_come(tmp_path):
  job = made(out=tmp_path, num_steps=20).jobs[0]
  state = lambda: folder.seed_of(job, 0)
  assert state() == folder.Seed(0, 'none')
  path = job.seed_folder(0)
  (path / 'checkpoints' / '00000010').mkdir(parents=True)
  (path / 'config.json').write_text('{}')
  assert state() == folder.Seed(0, 'begun', 0)  # a checkpoint half written
  (path / 'checkpoints' / '00000010' / 'SHA256SUMS').touch()
  assert state() == folder.Seed(0, 'begun', 10)
  assert folder.undone(job, (0, 1)) == [0, 1]
  (path / 'diverged.json').write_text(json.dumps(dict(step=13, reason='nan')))
  assert state() == folder.Seed(0, 'diverged', 13, 'nan')
  assert folder.undone(job, (0, 1)) == [1]
  (path / 'diverged.json').unlink()
  (path / 'checkpoints' / '00000010').rename(path / 'checkpoints' / '00000020')
  assert state() == folder.Seed(0, 'finished', 20)


def test_programs_see_devices_of_their_own():
  gpus = devices.visible({'CUDA_VISIBLE_DEVICES': '2,5'})
  assert gpus == devices.Devices('gpu', ('2', '5'))
  seen = [devices.environment(gpus, slot, 2) for slot in (0, 1)]
  assert [s['CUDA_VISIBLE_DEVICES'] for s in seen] == ['2', '5']
  assert devices.environment(gpus, 0, 1) == {}  # one program has both
  assert devices.share(gpus, 1) == 2
  assert devices.share(gpus, 2) == 1
  shared = devices.environment(gpus, 3, 4)
  assert shared['CUDA_VISIBLE_DEVICES'] == '5'
  assert float(shared['XLA_PYTHON_CLIENT_MEM_FRACTION']) == 0.45
  assert devices.share(gpus, 4) == 0.5
  cpu = devices.visible({'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': '0'})
  assert cpu == devices.Devices('cpu', ('',))
  chips = devices.Devices('tpu', ('0', '1'))
  with pytest.raises(ValueError, match='more than the 2 TPU chips'):
    devices.check_at_once(chips, 3)


def test_the_published_rows_are_all_there():
  rows = {row.name: row for row in cifar10_landscape.STUDY.rows}
  published = [row for row in rows.values() if row.paper]
  assert (len(published), len(rows)) == (13, 21)
  assert rows['cnn,js,nosn'].paper['frechet'] == '49.13'
  assert (
    rows['resnet,rs_hinge,quarter'].paper['inception_score'] == '7.11 ± 0.06'
  )
  assert len(cifar10_icr.STUDY.rows) == 20


STUDIES = [
  cifar10_landscape.STUDY,
  cifar10_icr.STUDY,
  cifar10_modern.STUDY,
  mode_coverage.STUDY,
  celebahq.STUDY,
  lsun.STUDY,
  mnist_bad_start.make_study(),
]


def test_all_studies_are_checked_here():
  launchers = (plan.ROOT / 'launch').glob('*.py')
  found = [p.stem for p in launchers if 'command.main(' in p.read_text()]
  assert sorted(found) == sorted(one.name for one in STUDIES)


@pytest.mark.parametrize('one', STUDIES, ids=lambda s: s.name)
def test_claims_and_pairs_are_of_rows(one):
  names = {row.name for row in one.rows}
  folders = {plan.folder_name(name) for name in names} | {'released'}
  assert len(folders) == len(one.rows) + 1
  assert set(one.expensive) <= names
  for claim in one.claims:
    assert {claim.better, claim.worse, *(claim.than or ())} <= names, claim
    assert claim.better != claim.worse and claim.holds_if in ('lower', 'higher')
    assert claim.at in ('last', 'best', 'equal_time')
    if claim.metric in collect.FIELDS:
      lower = collect.better(claim.metric, 1.0, 2.0)
      assert (claim.holds_if == 'lower') == lower, claim
    else:
      assert claim.metric in (None, 'diverged')
  assert {name for pair in one.equal_time for name in pair} <= names


@pytest.mark.parametrize('one', STUDIES, ids=lambda s: s.name)
def test_what_a_person_asks_for_has_the_last_word(one):
  wanted = asked(quick=True, num_samples=77, num_steps=6, features='pixels')
  for job in plan.make(one, wanted).jobs:
    assert (job.config.num_samples, job.config.num_steps) == (77, 6)
    assert job.config.evaluation.features == 'pixels'
    assert job.config.data_dir == 'D'


def test_a_mistake_in_any_row_shows_before_any_training():
  rows = (ROW, ROW._replace(name='wide', changes={'data.image_size': 8}))
  wrong = STUDY._replace(rows=rows)
  message = r"row 'wide': config.generator makes .* but config.data gives"
  with pytest.raises(ValueError, match=message):
    command._check_first(plan.make(wrong, asked()))
  rows = (ROW, ROW._replace(name='wide', changes={'generator.image_size': 32}))
  with pytest.raises(ValueError, match=message):
    command._check_first(plan.make(STUDY._replace(rows=rows), asked()))
  faces = plan.make(celebahq.STUDY, asked(data_dir=str(plan.ROOT / 'docs')))
  message = r"row '64,none': .*'celeb_a_hq/64' is not prepared.*got by hand"
  with pytest.raises(ValueError, match=message):
    command._check_first(faces)
