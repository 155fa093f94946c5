"""Every file in configs/ builds, with every word that it documents."""

import importlib
import itertools
import pathlib

import ml_collections
import numpy as np
import pytest

from configs import cifar10_landscape, digits, toy
from gan_jax import build, defaults, optimizers, train
from gan_jax.data import toy as toy_sets

FOLDER = pathlib.Path(defaults.__file__).parents[1] / 'configs'
FILES = sorted(path.stem for path in FOLDER.glob('*.py'))

# What the docstring of get_config promises, one word of each kind.
NETS = ['cnn']
CRITERIA = ['js', 'rs', 'js_hinge', 'rs_hinge']
WIDTHS = ['full', 'half', 'quarter']
NORMS = ['sn', 'nosn']


def leaves(tree, prefix=''):
  if not isinstance(tree, dict):
    return {prefix: tree}
  parts = [leaves(v, f'{prefix}.{k}') for k, v in tree.items()]
  return {k: v for part in parts for k, v in part.items()}


@pytest.mark.parametrize('name', FILES)
def test_every_file_refuses_unknown_words_and_says_how_to_run(name):
  module = importlib.import_module(f'configs.{name}')
  config = module.get_config()
  assert isinstance(config, ml_collections.ConfigDict)
  command = f'python -m gan_jax.main --config=configs/{name}.py'
  assert command in module.__doc__
  with pytest.raises(ValueError, match="config argument 'bogus' is not one of"):
    module.get_config('bogus')


@pytest.mark.parametrize('name', FILES)
def test_every_file_has_every_field_and_a_quick_form(name):
  module = importlib.import_module(f'configs.{name}')
  for arg in ('', 'quick'):
    config = module.get_config(arg)
    assert config.keys() == defaults.get_config().keys()
    build._check_fields(config)
    build._check_numbers(config)
    build.build_setup(config)
  assert config.num_steps <= 100
  assert config.checkpoint_every == config.log_every == config.num_steps // 2


def test_what_the_docstring_promises_is_all_there_is():
  tables = (
    cifar10_landscape._NETS,
    cifar10_landscape._LOSSES,
    cifar10_landscape._WIDTHS,
    cifar10_landscape._NORMS,
  )
  for words, table in zip((NETS, CRITERIA, WIDTHS, NORMS), tables, strict=True):
    assert sorted(table) == sorted(words)
    for word in words:
      assert word in cifar10_landscape.get_config.__doc__


def test_digits_builds():
  run = train.build(digits.get_config('quick'))
  assert run.num_steps == 20 and run.dataset.name == 'digits'
  run = train.build(digits.get_config())
  assert run.num_steps == 2500
  assert [penalty.name for penalty in run.setup.penalties] == ['r1']


@pytest.mark.parametrize(
  'words', list(itertools.product(NETS, CRITERIA, WIDTHS, NORMS))
)
def test_landscape_builds_with_every_choice_of_words(words):
  net, loss, width, norm = words
  config = cifar10_landscape.get_config(','.join(words))
  setup = build.build_setup(config)
  build._check_shapes(setup, (32, 32, 3))
  channels = {'full': 64, 'half': 32, 'quarter': 16}[width]
  assert setup.generator.width == setup.discriminator.width == channels
  assert setup.discriminator.spectral_norm == (norm == 'sn')
  assert setup.loss.zero_sum is False or loss == 'js'
  assert config.generator.name == net
  # Any order, and it says the same.
  shuffled = cifar10_landscape.get_config(','.join(reversed(words)))
  assert leaves(shuffled.to_dict()) == leaves(config.to_dict())


def test_landscape_without_words_is_the_papers_own():
  named = cifar10_landscape.get_config('cnn,rs,full,sn').to_dict()
  assert cifar10_landscape.get_config('').to_dict() == named


@pytest.mark.parametrize('arg', ['cnn,bogus', 'cnn,,bogus', 'RS', 'rs ,full'])
def test_landscape_lists_its_words(arg):
  with pytest.raises(ValueError, match="is not one of .*'rs'.*'quarter'"):
    cifar10_landscape.get_config(arg)


def test_landscape_follows_the_published_protocol():
  config = cifar10_landscape.get_config('cnn,rs')
  assert (config.num_steps, config.batch_size) == (100_000, 64)
  assert config.loss == 'relativistic' and config.dequantize
  assert (config.game.first, config.game.d_steps, config.game.g_steps) == (
    'g',
    1,
    1,
  )
  assert (config.generator.z_size, config.averaging) == (128, 0.9999)
  for described, rate in (
    (config.optimizer_g, 5e-4),
    (config.optimizer_d, 2e-4),
  ):
    assert (described.name, described.b1, described.b2) == ('adam', 0.5, 0.999)
    schedule = optimizers.schedule(described, config.num_steps)
    # Constant for half of the run, then a straight line to 0.
    at = [0, 49_999, 50_000, 75_000, 99_999, 100_000]
    expected = [rate, rate, rate, rate / 2, rate / 50_000, 0]
    rates = [float(schedule(step)) for step in at]
    np.testing.assert_allclose(rates, expected, rtol=2e-3, atol=1e-12)


@pytest.mark.parametrize('name', toy_sets.SETS)
def test_toy_builds_with_every_set(name):
  run = train.build(toy.get_config(f'quick,{name}'))
  assert run.dataset.name == name and run.num_steps == 100
  assert run.steps_per_call == 50


@pytest.mark.parametrize(
  'word, loss',
  [('js', 'nonsaturating'), ('rs', 'relativistic'), ('wgan', 'wasserstein')],
)
def test_toy_takes_a_loss(word, loss):
  config = toy.get_config(f'{word},grid25')
  assert (config.loss, config.data.name) == (loss, 'grid25')
  build.build_setup(config)
  assert word in toy.get_config.__doc__


def test_defaults_of_optimizers_refuse_unknown_fields():
  with pytest.raises(ValueError, match=r"no \['lr'\]; it has .*learning_rate"):
    defaults.optimizer(lr=1e-3)
  assert defaults.optimizer('sgd', 0.1, momentum=0.9)['momentum'] == 0.9
