"""Class-conditional parts and terms, from numbers a person can derive."""

import functools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from configs import cifar10_conditional, toy
from gan_jax import (
  batch_game,
  build,
  defaults,
  games,
  generate,
  losses,
  models,
  optimizers,
  side_terms,
  train,
)
from gan_jax.models import conditional, layers

K = 3


class Critic(nn.Module):
  """psi = (3, 4) x, with what is asked of it beside that."""

  labels: int = K
  conditioning: str = 'auxiliary'
  minibatch: str = ''
  spectral_norm: bool = False
  axis_name: str | None = None

  def example_inputs(self):
    return jnp.zeros((1, 2)), jnp.zeros(1, jnp.int32)

  @nn.compact
  def __call__(self, x, labels=None, *, train=False):
    dense = functools.partial(layers.Dense, spectral_norm=self.spectral_norm)
    return conditional.logits(self, x, labels, dense, train=train)


class Generator(nn.Module):
  """The latent times g."""

  z_size: int = 2
  labels: int = K

  @nn.compact
  def __call__(self, z, labels=None, *, train=False):
    return z * self.param('g', nn.initializers.ones, ())


def critic_params():
  classes = {'kernel': jnp.zeros((2, K)), 'bias': jnp.zeros(K)}
  return {'proj': {'kernel': jnp.array([[3.0], [4.0]])}, 'classes': classes}


def test_batch_norm_picks_the_scale_and_shift_of_the_class():
  module = conditional.BatchNorm(classes=2)
  evaluate = jax.jit(functools.partial(module.apply, train=False))
  variables = {
    'params': {
      'scale': jnp.array([[1.0, 1.0], [2.0, 3.0]]),
      'bias': jnp.array([[0.0, 0.0], [10.0, 20.0]]),
    },
    # The root of var + 1e-5 is then 1.
    'batch_stats': {'norm': {'mean': jnp.ones(2), 'var': jnp.full(2, 0.99999)}},
  }
  x = jnp.array([[2.0, 2.0], [2.0, 2.0], [2.0, 2.0]])
  labels = conditional.checked_labels([0, 1, -1], classes=2, batch_size=3)
  y = evaluate(variables, x, labels)
  np.testing.assert_allclose(y[:2], [[1.0, 1.0], [12.0, 23.0]], rtol=1e-6)
  assert np.isnan(y[2]).all()  # no such class
  # In training the moments are those of all rows, not of those of a class.
  x = jnp.array([[5.0, 0.0], [5.0, 0.0], [9.0, 2.0], [9.0, 2.0]])
  apply = functools.partial(module.apply, train=True, mutable=('batch_stats',))
  y, new = jax.jit(apply)(variables, x, jnp.array([0, 1, 1, 0]))
  expected = [[-1, -1], [8, 17], [12, 23], [1, 1]]
  np.testing.assert_allclose(y, expected, rtol=1e-4)
  # A tenth of the way from 1 to 7 and from 1 to 1.
  np.testing.assert_allclose(
    new['batch_stats']['norm']['mean'], [1.6, 1.0], rtol=1e-6
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  'name, size',
  [('cnn', dict(width=2, image_size=8)), ('resnet', dict(width=4))],
)
def test_only_scales_and_shifts_are_there_once_a_class(name, size):
  def shapes(module):
    made = jax.eval_shape(
      module.init, jax.random.key(0), *module.example_inputs()
    )
    leaves = jax.tree.leaves_with_path(made['params'])
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}

  plain = shapes(models.generator(name, **size))
  classes = shapes(models.generator(name, **size, labels=K))
  assert plain.keys() == classes.keys()
  norms = [path for path in plain if plain[path] != classes[path]]
  assert len(norms) == dict(cnn=2 * 3, resnet=2 * 6)[name]
  for path in norms:
    assert path.endswith(("['scale']", "['bias']"))
    assert classes[path] == (K, *plain[path])
  critic = functools.partial(models.discriminator, name, **size)
  plain = shapes(critic())
  for how, layer in (('projection', 'embed'), ('auxiliary', 'classes')):
    more = shapes(critic(labels=K, conditioning=how))
    assert {k: v for k, v in more.items() if k in plain} == plain
    new = {path: shape for path, shape in more.items() if path not in plain}
    assert all(f"['{layer}']" in path for path in new) and new
    # The embedding is as long as what the last layer sees.
    features = plain["['proj']['kernel']"][0]
    assert more[f"['{layer}']['kernel']"] == (features, K)


def test_projection_adds_the_inner_product_with_the_embedding():
  params = {
    'proj': {'kernel': jnp.array([[1.0], [1.0]])},
    # Class 0 is (10, 0), class 1 is (100, 1000).
    'embed': {'kernel': jnp.array([[10.0, 100.0], [0.0, 1000.0]])},
  }
  critic = Critic(labels=2, conditioning='projection')
  phi = jnp.array([[1.0, 2.0], [3.0, 4.0], [1.0, 1.0]])
  logits = critic.apply({'params': params}, phi, jnp.array([1, 0, 2]))
  np.testing.assert_allclose(logits[:2], [3 + 100 + 2000, 7 + 30], rtol=1e-6)
  assert np.isnan(logits[2])


@pytest.mark.slow
def test_the_embedding_is_spectrally_normalized_with_all_else():
  critic = Critic(conditioning='projection', spectral_norm=True)
  variables = critic.init(jax.random.key(0), *critic.example_inputs())
  assert set(variables['spectral']) == {'proj', 'embed'}
  scaled = jax.tree.map(lambda x: 5 * x, variables['params'])
  inputs = jnp.array([[0.3, -0.7]]), jnp.array([1])
  at = lambda p: critic.apply({**variables, 'params': p}, *inputs)
  np.testing.assert_allclose(at(scaled), at(variables['params']), rtol=1e-5)


@pytest.mark.slow
def test_class_logits_come_beside_the_logits():
  params = critic_params()
  params['classes']['kernel'] = jnp.array([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]])
  phi = jnp.array([[1.0, 2.0]])
  logits, side = Critic().apply(
    {'params': params}, phi, mutable='intermediates'
  )
  np.testing.assert_allclose(logits, [11.0])
  verdict = side_terms.verdict(logits, side['intermediates'])
  np.testing.assert_allclose(verdict.class_logits, [[1.0, 2.0, 5.0]])
  np.testing.assert_allclose(verdict.features, phi)


@pytest.mark.parametrize(
  'labels, words',
  [
    (None, 'labels=None, but the network has 3 classes'),
    ([[0], [1]], r'labels have shape \(2, 1\), not \(2,\)'),
    ([0.0, 1.0], 'labels of type float32 are not integers'),
  ],
)
def test_wrong_labels_are_refused(labels, words):
  with pytest.raises(ValueError, match=words):
    conditional.checked_labels(labels, classes=3, batch_size=2)
  assert conditional.checked_labels(labels, classes=1, batch_size=2) is None


@pytest.mark.parametrize(
  'options, words',
  [
    (dict(labels=3), "labels=3 with conditioning=''.*needs a conditioning"),
    (dict(conditioning='projection'), 'labels=1 with .*without'),
    (dict(labels=3, conditioning='acgan'), "'acgan' is not one of .*auxiliary"),
    (dict(labels=0), 'labels=0 is not a positive integer'),
    (dict(minibatch='std'), "minibatch='std' is not one of .*'deviation'"),
  ],
)
@pytest.mark.parametrize('name', ['cnn', 'resnet'])
def test_wrong_options_are_refused(name, options, words):
  with pytest.raises(ValueError, match=words):
    models.discriminator(name, **options)


def test_cross_entropy_of_classes_and_distance_of_features():
  entropy = jax.jit(losses.class_cross_entropy)
  # All three equally likely, and probabilities 3/4 and 1/4.
  np.testing.assert_allclose(
    entropy(np.full((2, 3), 7.0), np.array([0, 2])), np.log([3, 3]), 1e-6
  )
  odds = np.log([[3.0, 1.0, 1e-30], [3.0, 1.0, 1e-30]])
  np.testing.assert_allclose(
    entropy(odds, np.array([0, 1])), np.log([4 / 3, 4]), 1e-6
  )
  match = jax.jit(losses.feature_matching)
  features = np.array([[1.0, 2.0], [3.0, 4.0]])
  np.testing.assert_allclose(match(features, features[::-1]), 0)
  shift = np.array([[3.0, 4.0]])  # a 3-4-5 triangle
  np.testing.assert_allclose(match(features, features + shift), 25, 1e-6)


def test_terms_refuse_other_shapes():
  logits, labels = jnp.zeros((2, 3)), jnp.zeros(2, int)
  for wrong in (
    (logits, labels[:1]),
    (logits[0], labels),
    (logits, 1.0 * labels),
  ):
    with pytest.raises(ValueError, match=r'it needs \[B, K\] and integers'):
      losses.class_cross_entropy(*wrong)
  with pytest.raises(ValueError, match=r'both must be \[B, F\]'):
    losses.feature_matching(logits, logits[:1])


def make_game(loss, **terms):
  setup = batch_game.Setup(Generator(), Critic(), loss, None, **terms)
  state = {'batch_stats': {}, 'spectral': {}}
  batch = {'image': jnp.ones((4, 2)), 'label': jnp.array([0, 1, 2, 0])}
  key = jax.random.key(0)
  return batch_game.make_game(setup, games.Players(state, state), batch, key)


PLAYERS = games.Players({'g': jnp.float32(2)}, critic_params())


def both_losses(game):
  return jax.jit(lambda: (game.loss_g(*PLAYERS), game.loss_d(*PLAYERS)))()


@pytest.mark.parametrize('name', ['wasserstein', 'nonsaturating'])
def test_each_player_pays_its_own_share_of_the_class_loss(name):
  # Whatever the adversarial part: saturating, it drops out of the sum.
  weights = side_terms.Auxiliary(1.0, 2.0, 4.0)
  r1 = batch_game.Penalty('r1', 0.1, build.PENALTIES['r1'])
  game = make_game(losses.saturating(name), auxiliary=weights, penalties=(r1,))
  assert not game.zero_sum
  (loss_g, _), (loss_d, aux) = both_losses(game)
  # All class logits are 0, and the slope of the logit is 5, that of class
  # logits being no part of the penalty.
  np.testing.assert_allclose(aux['metrics']['r1'], 25, rtol=1e-6)
  np.testing.assert_allclose(
    loss_g + loss_d, 7 * np.log(3) + 0.1 * 25, rtol=1e-4
  )
  metrics = aux['metrics']
  np.testing.assert_allclose(metrics['class_loss_real'], np.log(3), rtol=1e-6)
  np.testing.assert_allclose(metrics['class_loss_fake'], np.log(3), rtol=1e-6)
  np.testing.assert_allclose(metrics['class_accuracy'], 0.5)  # always class 0


def test_what_the_critic_alone_pays_keeps_a_game_zero_sum():
  real, wasserstein = side_terms.Auxiliary(real=1.0), losses.get('wasserstein')
  game = make_game(wasserstein, auxiliary=real)
  assert game.zero_sum
  (loss_g, _), (loss_d, aux) = both_losses(game)
  np.testing.assert_allclose(loss_g, -loss_d)
  np.testing.assert_allclose(
    loss_d + aux['metrics']['loss_g'], np.log(3), rtol=1e-5
  )
  for terms in (
    dict(auxiliary=side_terms.Auxiliary(fake=1.0)),
    dict(auxiliary=side_terms.Auxiliary(generator=1.0)),
    dict(matching=side_terms.Matching(1.0)),
  ):
    assert not make_game(wasserstein, **terms).zero_sum


def test_feature_matching_takes_the_place_of_the_loss_or_stands_beside_it():
  loss = losses.get('nonsaturating')
  value = lambda **terms: both_losses(make_game(loss, **terms))[0][0]
  matching = side_terms.Matching(0.5, alone=True)
  alone = value(matching=matching)
  plain, beside = value(), value(matching=matching._replace(alone=False))
  np.testing.assert_allclose(beside, plain + alone, rtol=1e-5)
  # The critic's features are its inputs: ones, and the latents times g.
  key = jax.random.fold_in(jax.random.key(0), 0)
  keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(4))
  z = batch_game.latents(keys, 4, 2)
  gap = 1 - 2 * np.mean(z, axis=0)
  np.testing.assert_allclose(alone, 0.5 * np.sum(gap**2), rtol=1e-5)


def test_historical_averaging_by_hand():
  # Slope 1, rate 1, 2 w = 1. At 0 there is no past. At -1 the mean is 0 and
  # the pull -1 cancels the slope. Then the mean is -1/2, and so is the pull.
  described = defaults.optimizer('sgd', learning_rate=1.0, historical=0.5)
  described = ml_collections.ConfigDict(described)
  optimizer = optimizers.build(described, 3, 1)
  x = jnp.float32(0)
  state, seen = optimizer.init(x), []
  for _ in range(3):
    update, state = jax.jit(optimizer.update)(jnp.float32(1), state, x)
    x += update
    seen.append(float(x))
  assert seen == [-1.0, -1.0, -1.5]
  np.testing.assert_allclose(state[0].mean, -2 / 3, rtol=1e-6)
  with pytest.raises(ValueError, match='historical_averaging needs params'):
    optimizer.update(jnp.float32(1), state)
  described.historical = -1.0
  with pytest.raises(ValueError, match=r'historical=-1.0 is not in \[0, inf\)'):
    optimizers.build(described, 3, 1)


def changed(arg, **fields):
  """A config with other fields; '__' is a dot."""
  config = cifar10_conditional.get_config(arg)
  for field, value in fields.items():
    group = config
    *path, last = field.split('__')
    for name in path:
      group = group[name]
    group[last] = value
  return config


@pytest.mark.parametrize(
  'arg, fields, words',
  [
    (
      'plain',
      dict(auxiliary__real=1.0),
      "config.auxiliary.real=1.0 needs class logits.*'auxiliary'",
    ),
    (
      'acgan',
      dict(auxiliary=dict(real=0.0, fake=0.0, generator=0.0)),
      'without a weight in config.auxiliary',
    ),
    (
      'acgan',
      dict(generator=dict(name='cnn')),
      'config.auxiliary.generator=1.0 asks for the class .* takes no labels',
    ),
    (
      'projection,digits',
      dict(generator__labels=1),
      "conditioning='projection' .* takes no labels",
    ),
    (
      'acgan',
      dict(loss='wasserstein', game=defaults.game('acgd')),
      "config.game.name='acgd' plays .*config.auxiliary.fake=1.0.*"
      "'general_sum_acgd'",
    ),
    (
      'features',
      dict(
        loss='wasserstein',
        game=defaults.game('lookahead_minmax', method=dict(name='cgd')),
      ),
      "config.game.method.name='cgd' plays .*config.feature_matching.weight=1",
    ),
    (
      'features',
      dict(feature_matching__weight=0.0),
      'config.feature_matching.alone=True with weight=0',
    ),
    (
      'features',
      dict(discriminator=dict(name='mlp')),
      "name='mlp' does not give; cnn, dc and resnet do",
    ),
    (
      'features',
      dict(
        accumulate=2,
        generator=dict(name='dc', batch_norm=False),
        discriminator=dict(name='dc'),
      ),
      'config.accumulate=2 .*config.feature_matching.weight=1.0 needs the mean',
    ),
    (
      'historical',
      dict(game=defaults.game('general_sum_cgd')),
      "config.optimizer_g.historical=0.01 .*name='general_sum_cgd' has step",
    ),
    (
      'minibatch',
      dict(penalties__r1=1.0),
      "config.penalties.r1 .*minibatch='discrimination' looks at",
    ),
  ],
)
def test_what_does_not_fit_is_refused(arg, fields, words):
  with pytest.raises(ValueError, match=words):
    build.build_setup(changed(arg, **fields))


@pytest.mark.slow
def test_a_weight_out_of_range_is_refused():
  for field in ('auxiliary.fake', 'feature_matching.weight'):
    config = changed('plain,digits', **{field.replace('.', '__'): -1.0})
    with pytest.raises(ValueError, match=f'config.{field}=-1.0 is not in'):
      build.build(config)


def test_the_right_neighbours_are_not_refused():
  # A zero-sum method with what the critic alone pays, R1 with a classifier.
  critic_alone = dict(real=1.0, fake=0.0, generator=0.0)
  setup = build.build_setup(
    changed(
      'acgan',
      loss='wasserstein',
      game=defaults.game('acgd'),
      auxiliary=critic_alone,
      penalties__r1=1.0,
    )
  )
  assert batch_game.is_zero_sum(setup)
  setup = build.build_setup(
    changed('acgan', loss='wasserstein', game=defaults.game('general_sum_acgd'))
  )
  assert setup.loss.zero_sum and not batch_game.is_zero_sum(setup)
  # The method within has optimizers.
  game = defaults.game('lookahead_minmax', method=dict(name='extragradient'))
  build.build_setup(changed('historical', game=game))


@pytest.mark.slow
def test_labels_must_be_as_many_as_the_data_have():
  config = changed('projection,digits,quick', generator__labels=7)
  with pytest.raises(ValueError, match='config.generator.labels=7.*10 classes'):
    build.build(config)


def test_every_row_is_what_it_says():
  rows = cifar10_conditional._ROWS
  setups = {
    row: build.build_setup(cifar10_conditional.get_config(row)) for row in rows
  }
  for row, setup in setups.items():
    assert row in cifar10_conditional.get_config.__doc__
    assert batch_game.takes_labels(setup.generator) == (
      row in ('acgan', 'projection', 'residual')
    )
  how = {
    r: getattr(s.discriminator, 'conditioning', '') for r, s in setups.items()
  }
  assert (how.pop('acgan'), how.pop('projection')) == (
    'auxiliary',
    'projection',
  )
  assert not any(how.values())
  mixing = {
    r for r, s in setups.items() if batch_game.mixes_rows(s.discriminator)
  }
  assert mixing == {'minibatch', 'deviation'}
  assert setups['features'].matching == side_terms.Matching(1.0, True)
  assert [p.name for p in setups['residual'].penalties] == ['r1']
  historical = cifar10_conditional.get_config('historical')
  assert (
    historical.optimizer_g.historical == historical.optimizer_d.historical > 0
  )


def test_rows_that_do_not_go_with_a_network_are_refused():
  for arg in ('residual,cnn', 'digits,resnet'):
    with pytest.raises(ValueError, match='does not go with'):
      cifar10_conditional.get_config(arg)


def test_pictures_have_a_column_for_each_class():
  setup = build.build_setup(cifar10_conditional.get_config('projection,digits'))
  assert generate._how_many(setup) == 60  # six rows of ten
  setup = build.build_setup(cifar10_conditional.get_config('plain,digits'))
  assert generate._how_many(setup) == 64


@pytest.mark.slow
def test_class_losses_fall_on_digits(tmp_path):
  config = cifar10_conditional.get_config('acgan,digits,quick')
  config.batch_size, config.num_steps = 16, 60
  config.checkpoint_every = config.sample_every = 0
  train.train(build.build(config), tmp_path, say=lambda line: None)
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  numbers = json.loads(lines[-1])
  assert numbers['step'] == 60
  assert numbers['class_loss_real'] < 1.7  # log 10 is 2.3
  assert numbers['class_accuracy'] > 0.4


@pytest.mark.slow
def test_historical_averaging_resumes_exactly(tmp_path):
  config = toy.get_config('quick')
  for player in 'gd':
    config[f'optimizer_{player}'].historical = 0.1
  config.sample_every, config.steps_per_call = 0, 2
  config.log_every = config.checkpoint_every = 2

  def trained(steps, name):
    config.num_steps = steps
    return train.train(build.build(config), tmp_path / name, say=lambda _: None)

  whole = trained(4, 'whole')
  trained(2, 'parts')
  parts = trained(4, 'parts')
  same = functools.partial(jax.tree.map, np.testing.assert_array_equal)
  same(parts.opt_state, whole.opt_state)
  same(parts.players, whole.players)
