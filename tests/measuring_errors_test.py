"""Settings of an evaluation that could not succeed, found before training."""

import numpy as np
import pytest
from measuring_test import METRIC, own_run, quietly

from configs import digits, toy
from gan_jax import build, data, evaluate, train


@pytest.mark.parametrize(
  'changes, words',
  [
    (dict(best_by='frechet'), r"best_by='frechet' .* \['sliced_wasserstein'\]"),
    (dict(dataset=None), 'needs run.dataset'),
    (dict(evaluate_every=0, best_by=METRIC), 'needs evaluate_every'),
    (
      dict(evaluation=evaluate.Settings(features='pixels')),
      "features='pixels' is for images; 'gaussian' has points",
    ),
    (
      dict(evaluation=evaluate.Settings(resize='clean')),
      'evaluation.resize needs evaluation.features',
    ),
    (
      dict(evaluate_every=5, steps_per_call=10),
      'evaluate_every=5 is not a mul',
    ),
  ],
)
def test_mistakes_are_found_before_the_first_step(tmp_path, changes, words):
  with pytest.raises(ValueError, match=words):
    train.train(own_run(**changes), tmp_path / 'run', say=quietly)
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  'field, value, words',
  [
    ('features', 'vgg', r"config.evaluation.features='vgg' .*'pixels'"),
    ('resize', 'cubic', r"config.evaluation.resize='cubic' .*'clean'"),
    ('metrics', 'fid', r"config.evaluation.metrics='fid' .*'frechet'"),
    ('splits', 0, 'config.evaluation.splits=0'),
    ('few', 1, 'config.evaluation.few=1 is of type int, not bool'),
  ],
)
def test_fields_of_the_evaluation(field, value, words):
  config = toy.get_config('ring8,quick')
  with config.unlocked(), config.ignore_type():
    config.evaluation[field] = value
  with pytest.raises(ValueError, match=words):
    train.build(config)


@pytest.mark.parametrize(
  'evaluation, words',
  [
    (dict(features='pixels', weights='x'), 'weights'),
    (dict(features='pixels', metrics='inception_score'), 'has no logits'),
    (dict(features='pixels', metrics='intra_class_frechet'), 'takes labels'),
    (dict(features='pixels', reference=2000), 'at most 898'),
    (dict(features='pixels', metrics='kernel', splits=3), "best_by='frechet'"),
  ],
)
def test_settings_that_do_not_suit_the_run(evaluation, words):
  config = digits.get_config('quick')
  config.evaluate_every, config.best_by = 10, 'frechet'
  config.evaluation.update(evaluation)
  with pytest.raises(ValueError, match=words):
    train.check_evaluation(train.build(config))


def test_stacked_digits_have_no_metrics_but_their_modes():
  config = digits.get_config('quick')
  config.evaluate_every, config.best_by = 10, 'stacked_modes'
  config.evaluation.update(features='digits', metrics='kernel')
  stacks = data.Dataset('stacked_digits', np.zeros((9, 16, 16, 3), np.uint8))
  run = train.build(config)._replace(dataset=stacks)
  with pytest.raises(
    ValueError, match="^evaluation.metrics='kernel' must be l"
  ):
    train.check_evaluation(run)
  plain = run.evaluation._replace(comparison=evaluate.Settings().comparison)
  train.check_evaluation(run._replace(evaluation=plain))


def test_a_config_becomes_a_run():
  config = toy.get_config('ring8,quick')
  config.evaluate_every, config.best_by, config.num_samples = 15, METRIC, 77
  run = train.build(config)
  assert run.steps_per_call == 5
  assert (run.evaluate_every, run.best_by, run.num_samples) == (15, METRIC, 77)
  train.check_evaluation(run)
  assert build.Run(None, None, 1).evaluation == evaluate.Settings()
