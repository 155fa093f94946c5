"""Every file in configs/ builds, with every word that it documents."""

import importlib
import itertools
import json
import pathlib

import jax
import ml_collections
import numpy as np
import pytest

from configs import (
  cifar10_icr,
  cifar10_landscape,
  digits,
  stacked_digits,
  toy,
)
from gan_jax import build, data, defaults, fields, optimizers, train
from gan_jax.data import toy as toy_sets

FOLDER = pathlib.Path(defaults.__file__).parents[1] / 'configs'
FILES = sorted(path.stem for path in FOLDER.glob('*.py'))

# What the docstring of get_config promises, one word of each kind.
CRITERIA = ['js', 'rs', 'wgan_gp', 'js_hinge', 'rs_hinge']
WIDTHS = {
  'cnn': ['full', 'half', 'quarter'],
  'resnet': ['full', 'half', 'quarter', 'bottleneck'],
}
NORMS = ['sn', 'nosn']
COMBINATIONS = [
  (net, *words)
  for net, widths in WIDTHS.items()
  for words in itertools.product(CRITERIA, widths, NORMS)
]


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
    fields.check_fields(config)
    fields.check_numbers(config)
    build.build_setup(config)
  assert config.num_steps <= 100
  assert config.checkpoint_every == config.log_every == config.num_steps // 2


def test_what_the_docstring_promises_is_all_there_is():
  tables = (
    cifar10_landscape._WIDTHS,
    cifar10_landscape._LOSSES,
    cifar10_landscape._WIDTHS['cnn'],
    cifar10_landscape._WIDTHS['resnet'],
    cifar10_landscape._NORMS,
  )
  promised = (list(WIDTHS), CRITERIA, *WIDTHS.values(), NORMS)
  for words, table in zip(promised, tables, strict=True):
    assert sorted(table) == sorted(words)
    for word in words:
      assert word in cifar10_landscape.get_config.__doc__


def test_digits_builds():
  run = train.build(digits.get_config('quick'))
  assert run.num_steps == 20 and run.dataset.name == 'digits'
  run = train.build(digits.get_config())
  assert run.num_steps == 2500
  assert [penalty.name for penalty in run.setup.penalties] == ['r1']


@pytest.mark.parametrize('loss', ['js', 'rs'])
@pytest.mark.parametrize(
  ('word', 'penalties'),
  [
    ('none', []),
    ('r1', ['r1']),
    ('r2', ['r2']),
    ('r1r2', ['r1', 'r2']),
  ],
)
def test_stacked_digits_builds_with_every_choice_of_words(
  loss, word, penalties
):
  config = stacked_digits.get_config(f'{word},{loss}')
  setup = build.build_setup(config)
  assert config.loss == {'js': 'nonsaturating', 'rs': 'relativistic'}[loss]
  assert [penalty.name for penalty in setup.penalties] == penalties
  # The modes are counted as PacGAN's authors count them.
  assert config.num_samples == 26_000
  for player in (setup.generator, setup.discriminator):
    assert (player.image_size, player.channels) == (16, 3)
  for documented in (loss, word):
    assert documented in stacked_digits.get_config.__doc__


@pytest.mark.parametrize('words', COMBINATIONS, ids=','.join)
def test_landscape_builds_with_every_choice_of_words(words):
  net, loss, width, norm = words
  config = cifar10_landscape.get_config(','.join(words))
  setup = build.build_setup(config)
  channels = {
    'cnn': dict(full=64, half=32, quarter=16),
    'resnet': dict(full=256, half=128, quarter=64, bottleneck=128),
  }[net][width]
  for player in (setup.generator, setup.discriminator):
    assert (player.width, player.image_size, player.channels) == (
      channels,
      32,
      3,
    )
    assert getattr(player, 'bottleneck', False) == (width == 'bottleneck')
  assert setup.discriminator.spectral_norm == (norm == 'sn')
  assert setup.loss.zero_sum == (loss == 'wgan_gp')
  named = [(penalty.name, penalty.weight) for penalty in setup.penalties]
  assert named == ([('wgan_gp', 10.0)] if loss == 'wgan_gp' else [])
  assert config.generator.name == config.discriminator.name == net
  # Any order, and it says the same.
  shuffled = cifar10_landscape.get_config(','.join(reversed(words)))
  assert leaves(shuffled.to_dict()) == leaves(config.to_dict())


@pytest.mark.slow
@pytest.mark.parametrize('words', COMBINATIONS, ids=','.join)
def test_landscape_trains_with_every_choice_of_words(words, tmp_path):
  # The networks as published, on few examples; the loop stops at a NaN.
  config = cifar10_landscape.get_config(','.join((*words, 'quick')))
  if 'quarter' not in words:  # six turns take three times as long to compile
    config.game.d_steps = 1
  pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
  dataset = data.Dataset('noise', pixels, None, 0)
  run = train.Run(
    build.build_setup(config),
    data.feed(dataset, 4, config.seed),
    num_steps=20,
    log_every=10,
    checkpoint_every=0,
  )
  state = train.train(run, tmp_path, say=lambda line: None)
  assert int(state.step) == 20
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  assert [json.loads(line)['step'] for line in lines] == [10, 20]
  # Gradients came to nearly all parameters. Not in the last step, perhaps: with
  # so few examples a hinge is soon content.
  leaves_ = jax.tree.leaves_with_path(jax.device_get(state.opt_state))
  squares = [x for path, x in leaves_ if '.nu' in jax.tree_util.keystr(path)]
  assert len(squares) > 30
  assert np.mean([np.any(x > 0) for x in squares]) > 0.9


@pytest.mark.parametrize(
  'module, arg',
  [
    (cifar10_landscape, 'cnn,rs,resnet'),
    (cifar10_landscape, 'js,rs'),
    (cifar10_landscape, 'sn,nosn'),
    (cifar10_landscape, 'resnet,bottleneck,half'),
    (toy, 'ring8,grid25'),
    (toy, 'js,ring8,rs'),
    (toy, 'acgd,cgd'),
    (digits, 'acgd,saturating,alternating'),
    (stacked_digits, 'js,rs'),
    (stacked_digits, 'none,r1'),
    (cifar10_icr, 'wgan,js'),
    (cifar10_icr, 'acgd,adam'),
    (cifar10_icr, 'gp,sn'),
    (cifar10_icr, 'l2,acgd,l2=1e-2'),
  ],
)
def test_words_that_contradict_each_other_are_refused(module, arg):
  with pytest.raises(ValueError, match='config argument has .* give one of'):
    module.get_config(arg)


def test_landscape_refuses_a_cnn_with_bottleneck():
  with pytest.raises(
    ValueError, match="'bottleneck' does not go with 'cnn', which has .*'half'"
  ):
    cifar10_landscape.get_config('cnn,bottleneck')


def test_landscape_plays_each_row_as_its_source_says():
  for words, rates, betas, d_steps in (
    ('cnn,rs', (5e-4, 2e-4), (0.5, 0.999), 1),
    ('resnet,rs', (1.5e-3, 2e-4), (0.0, 0.9), 5),
    ('cnn,wgan_gp', (2e-4, 2e-4), (0.0, 0.9), 5),
    ('resnet,wgan_gp', (2e-4, 2e-4), (0.0, 0.9), 5),
  ):
    config = cifar10_landscape.get_config(words)
    optimizers_ = config.optimizer_g, config.optimizer_d
    assert tuple(o.learning_rate for o in optimizers_) == rates
    assert all((o.b1, o.b2) == betas for o in optimizers_)
    assert (config.game.d_steps, config.game.g_steps) == (d_steps, 1)
  assert not config.discriminator.spectral_norm
  config = cifar10_landscape.get_config('wgan_gp,sn')
  assert config.discriminator.spectral_norm


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


# Who plays a general-sum loss, which rs is, and who needs it saturating.
NEEDS_ZERO_SUM = {'cgd', 'acgd', 'icr', 'one_sided'}


def words_of(method):
  return f'{method},saturating' if method in NEEDS_ZERO_SUM else method


@pytest.mark.parametrize('method', defaults.GAMES)
@pytest.mark.parametrize('module', [toy, digits])
def test_any_method_is_chosen_by_its_word(module, method):
  config = module.get_config(f'quick,{words_of(method)}')
  assert config.game.name == method
  assert config.saturating == (method in NEEDS_ZERO_SUM)
  run = build.build(config)
  assert run.setup.loss.zero_sum == config.saturating
  # All its arguments are there, for --config.game.X=value.
  assert set(config.game) == {'name', *defaults.GAMES[method]}
  if method in NEEDS_ZERO_SUM:
    with pytest.raises(ValueError, match='config.saturating=True'):
      build.build_setup(module.get_config(method))


def play(run, workdir):
  """Trains; returns the numbers of the last line."""
  train.train(run, workdir, say=lambda line: None)
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines][-1]


@pytest.mark.slow
@pytest.mark.parametrize('method', defaults.GAMES)
@pytest.mark.parametrize('module', [toy, digits])
def test_any_method_trains(module, method, tmp_path):
  # The loop stops at a NaN.
  config = module.get_config(f'quick,{words_of(method)}')
  config.checkpoint_every = config.sample_every = 0
  numbers = play(build.build(config), tmp_path)
  assert numbers['step'] == config.num_steps
  assert numbers['gradient_equivalents'] >= 1


# What the docstring of the ICR experiment promises.
ICR = list(
  itertools.product(
    ['wgan', 'js'],
    ['acgd', 'adam'],
    ['none', 'l2', 'l2=1e-2', 'l2=1e-3', 'l2=1e-4', 'dropout', 'gp', 'sn'],
  )
)


@pytest.mark.parametrize('words', ICR, ids=','.join)
def test_icr_builds_with_every_choice_of_words(words):
  loss, method, regularizer = words
  config = cifar10_icr.get_config(','.join(words))
  setup = build.build_setup(config)
  names = {
    ('wgan', 'acgd'): 'wasserstein',
    ('wgan', 'adam'): 'wasserstein',
    ('js', 'acgd'): 'minimax',
    ('js', 'adam'): 'nonsaturating',
  }
  assert config.loss == names[loss, method] and not config.saturating
  critic = setup.discriminator
  assert critic.dropout == (0.5 if regularizer == 'dropout' else 0)
  assert critic.spectral_norm == (regularizer == 'sn')
  assert not critic.batch_norm
  weights = {'l2': 1e-3, 'l2=1e-2': 1e-2, 'l2=1e-3': 1e-3, 'l2=1e-4': 1e-4}
  expected = dict(l2=weights.get(regularizer, 0))
  expected['wgan_gp'] = 10 if regularizer == 'gp' else 0
  found = {k: v for k, v in config.penalties.items() if v}
  assert found == {k: v for k, v in expected.items() if v}
  for word in words:
    assert word in cifar10_icr.get_config.__doc__
  shuffled = cifar10_icr.get_config(','.join(reversed(words)))
  assert leaves(shuffled.to_dict()) == leaves(config.to_dict())


def test_icr_plays_each_row_as_its_source_says():
  config = cifar10_icr.get_config('')
  assert config.to_dict() == cifar10_icr.get_config('none,acgd,wgan').to_dict()
  assert (config.num_steps, config.batch_size) == (468_600, 64)
  assert config.generator.z_size == 128 and config.averaging == 0
  assert not (config.dequantize or config.flip)
  game = config.game
  assert (game.name, game.lr_g, game.lr_d) == ('acgd', 1e-4, 1e-4)
  assert (game.decay, game.eps, game.tolerance) == (0.99, 1e-5, 1e-5)
  for words, rate, turns in (
    ('adam', 2e-4, 'dg'),
    ('adam,js,dropout', 2e-4, 'dg'),
    ('adam,gp', 1e-4, 'dddddg'),
    ('adam,gp,js', 1e-4, 'dddddg'),
  ):
    config = cifar10_icr.get_config(words)
    assert build.build_setup(config).method.turns == tuple(turns)
    for described in (config.optimizer_g, config.optimizer_d):
      assert (described.name, described.learning_rate) == ('adam', rate)
      assert (described.b1, described.b2) == (0.5, 0.99)
      assert described.schedule == 'constant'


@pytest.mark.slow
@pytest.mark.parametrize(
  'words',
  [
    *('wgan,acgd,none', 'js,acgd,gp', 'js,acgd,dropout', 'wgan,acgd,sn'),
    *('js,acgd,l2', 'wgan,adam,gp', 'js,adam,none'),
  ],
)
def test_icr_trains(words, tmp_path):
  config = cifar10_icr.get_config(f'{words},quick')
  config.generator.width = config.discriminator.width = 4
  if 'adam' not in words:
    config.game.iterations = 3
  pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
  dataset = data.Dataset('noise', pixels, None, 0)
  run = train.Run(
    build.build_setup(config),
    data.feed(dataset, 8, config.seed),
    num_steps=4,
    log_every=4,
    checkpoint_every=0,
  )
  numbers = play(run, tmp_path)
  assert numbers['step'] == 4
  assert ('wgan_gp' in numbers) == ('gp' in words)
  if 'acgd' in words:
    assert numbers['gradient_equivalents'] == 1.5 + numbers['iterations']


def test_defaults_of_optimizers_refuse_unknown_fields():
  with pytest.raises(ValueError, match=r"no \['lr'\]; it has .*learning_rate"):
    defaults.optimizer(lr=1e-3)
  assert defaults.optimizer('sgd', 0.1, momentum=0.9)['momentum'] == 0.9
