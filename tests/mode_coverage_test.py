"""The studies of mode coverage and of the modern baseline, as plans."""

import pathlib

import pytest

from configs import cifar10_modern as modern_config
from configs import stacked_digits, stacked_mnist
from gan_jax import build
from launch import cifar10_modern, mode_coverage
from launch.published import plan as plans

OUT = pathlib.Path('unused')
STUDIES = [mode_coverage.STUDY, cifar10_modern.STUDY]
# How long a run is and how often it says something.
OF_STAND_IN = {
  *('num_steps', 'log_every', 'sample_every', 'checkpoint_every'),
  *('evaluate_every', 'best_by'),
}


def _plan(study, data=''):
  data_dir = '' if data else 'prepared'
  return plans.make(study, plans.Asked(OUT, data=data, data_dir=data_dir))


@pytest.mark.parametrize('study', STUDIES, ids=lambda study: study.name)
def test_every_row_builds_on_every_data_set(study):
  for data in ('', *(s.name for s in study.stand_ins)):
    plan = _plan(study, data)
    assert [job.row for job in plan.jobs] == list(study.rows)
    for job in plan.jobs:
      setup = build.build_setup(job.config)
      words = job.row.name.split(',')
      assert (job.config.loss == 'relativistic') == (words[0] == 'rs')
      assert ''.join(p.name for p in setup.penalties) == words[1].replace(
        'none', ''
      )


@pytest.mark.parametrize(
  'study, data, config, row',
  [
    (mode_coverage.STUDY, 'stacked_digits', stacked_digits, 'js,r2'),
    (cifar10_modern.STUDY, 'digits', modern_config, 'rs,r1'),
  ],
)
def test_stand_ins_are_the_small_configs(study, data, config, row):
  jobs = {job.row.name: job for job in _plan(study, data).jobs}
  word = ',small' if data == 'digits' else ''
  expected = config.get_config(row + word).to_dict()
  actual = jobs[row].config.to_dict()
  differs = {name for name in expected if actual[name] != expected[name]}
  if data == 'digits':  # grey, and a 6 is not to be mirrored
    assert differs - OF_STAND_IN == {
      *('data', 'flip', 'generator', 'discriminator', 'num_samples')
    }
    for player in ('generator', 'discriminator'):
      assert actual[player] == expected[player] | dict(channels=1)
  else:
    assert differs <= OF_STAND_IN


def test_rows_of_mode_coverage_are_all_combinations():
  names = {row.name for row in mode_coverage.STUDY.rows}
  assert names == {
    f'{loss},{penalties}'
    for loss in ('rs', 'js')
    for penalties in ('none', 'r1', 'r2', 'r1r2')
  }


def test_stacked_mnist_is_counted_as_published():
  config = stacked_mnist.get_config('js,r2')
  assert config.num_samples == 26_000
  assert config.evaluation.features == 'mnist-lenet'
  assert (config.penalties.r1, config.penalties.r2) == (0.0, 0.5)
  assert config.loss == 'nonsaturating'
