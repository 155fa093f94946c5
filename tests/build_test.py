"""What a config turns into: schedules and optimizers by hand, every name.

Methods of playing are in build_games_test.
"""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from configs import digits, toy
from gan_jax import (
  batch_game,
  build,
  build_terms,
  data,
  defaults,
  losses,
  models,
  optimizers,
  step,
  train,
)


def optimizer(name='sgd', num_steps=100, updates_per_step=1, **changes):
  described = defaults.optimizer(name, **({'learning_rate': 0.1} | changes))
  described = ml_collections.ConfigDict(described)
  return optimizers.build(described, num_steps, updates_per_step)


def moves(transformation, grads, params=None):
  """The updates of a scalar parameter for these gradients, one by one."""
  params = jnp.zeros(()) if params is None else params
  state, seen = transformation.init(params), []
  for grad in grads:
    update, state = transformation.update(jnp.asarray(grad), state, params)
    seen.append(float(update))
  return seen


def schedule(num_steps=100, **changes):
  described = defaults.optimizer(learning_rate=0.8, **changes)
  return optimizers.schedule(ml_collections.ConfigDict(described), num_steps)


@pytest.mark.parametrize(
  'changes, at, rates',
  [
    ({}, [0, 50, 100, 1000], [0.8] * 4),
    (dict(warmup=10), [0, 5, 10, 100], [0, 0.4, 0.8, 0.8]),
    (dict(schedule='linear'), [0, 25, 100], [0.8, 0.6, 0]),
    (
      dict(schedule='linear', decay_start=60),
      [0, 60, 70, 80, 99, 100, 101],
      [0.8, 0.8, 0.6, 0.4, 0.02, 0, 0],
    ),
    # 0.4 (1 + cos pi t) at t = 1/2 and t = 1/3.
    (dict(schedule='cosine'), [0, 50, 100], [0.8, 0.4, 0]),
    (
      dict(schedule='cosine', decay_start=40),
      [40, 60, 70, 100],
      [0.8, 0.6, 0.4, 0],
    ),
    (
      dict(schedule='linear', warmup=20, decay_start=60),
      [0, 10, 20, 60, 80, 100],
      [0, 0.4, 0.8, 0.8, 0.4, 0],
    ),
    # The fall waits for the end of the growth.
    (dict(schedule='linear', warmup=20), [10, 20, 60], [0.4, 0.8, 0.4]),
  ],
)
def test_schedules(changes, at, rates):
  rate = schedule(**changes)
  np.testing.assert_allclose([rate(t) for t in at], rates, atol=1e-6)


def test_the_schedule_counts_steps_not_updates():
  rates = moves(
    optimizer(num_steps=2, updates_per_step=5, schedule='linear'), [-1.0] * 11
  )
  np.testing.assert_allclose(rates, [0.1] * 5 + [0.05] * 5 + [0], atol=1e-7)


def test_adam_starts_with_the_sign_and_forgets_by_b1_and_b2():
  adam = optimizer('adam', b1=0.5, b2=0.75, eps=0.0)
  # Means without bias: 4 and 16; then (0.5 * 2 + 0) / 0.75 and
  # (0.75 * 4 + 0) / 0.4375.
  np.testing.assert_allclose(
    moves(adam, [4.0, 0.0]), [-0.1, -0.1 * (4 / 3) / (48 / 7) ** 0.5], rtol=1e-5
  )
  assert moves(optimizer('adam'), [-1e-3])[0] == pytest.approx(0.1, rel=1e-4)


def test_rmsprop_adds_eps_outside_the_root():
  # Mean square 0.25 * 16 = 4, so 4 / (2 + 2); inside the root it would be
  # 4 / sqrt(4 + 2).
  rmsprop = optimizer('rmsprop', decay=0.75, eps=2.0)
  np.testing.assert_allclose(moves(rmsprop, [4.0]), [-0.1], rtol=1e-6)
  # Then 0.75 * 4 + 0.25 * 4 = 4 again, and momentum adds half of the last.
  rmsprop = optimizer('rmsprop', decay=0.75, eps=2.0, momentum=0.5)
  np.testing.assert_allclose(
    moves(rmsprop, [4.0, 2.0]), [-0.1, -0.1], rtol=1e-6
  )


def test_sgd_and_its_momentum():
  np.testing.assert_allclose(moves(optimizer(), [3.0, 1.0]), [-0.3, -0.1])
  heavy = optimizer(momentum=0.5)
  np.testing.assert_allclose(moves(heavy, [3.0, 1.0]), [-0.3, -0.25], rtol=1e-6)


def test_weight_decay_is_decoupled():
  # Adam's step of 0.1, and 0.1 * 0.01 * 5 that its scale does not see.
  adam = optimizer('adam', weight_decay=0.01)
  (update,) = moves(adam, [1e-2], jnp.asarray(5.0))
  assert update == pytest.approx(-0.105, rel=1e-5)


def test_clip_norm_is_global():
  clipped = optimizer(clip_norm=1.0)
  grads = {'a': jnp.asarray(3.0), 'b': jnp.asarray([4.0])}
  updates, _ = clipped.update(grads, clipped.init(grads), grads)
  np.testing.assert_allclose(updates['a'], -0.06, rtol=1e-6)
  np.testing.assert_allclose(updates['b'], [-0.08], rtol=1e-6)


@pytest.mark.parametrize(
  'field, value',
  [
    ('learning_rate', 0.0),
    ('learning_rate', float('inf')),
    ('b1', 1.0),
    ('b2', -0.1),
    ('b2', float('nan')),
    ('decay', 1.0),
    ('momentum', 1.5),
    ('eps', -1e-8),
    ('warmup', -1),
    ('decay_start', -1),
    ('clip_norm', -1.0),
    ('weight_decay', float('nan')),
  ],
)
def test_numbers_of_optimizers(field, value):
  with pytest.raises(ValueError, match=f'^{field}={value} is not'):
    optimizer('adam', **{field: value})


def test_a_fall_needs_steps():
  for changes in (dict(decay_start=100), dict(warmup=100)):
    with pytest.raises(ValueError, match='leave no step of 100'):
      schedule(schedule='linear', **changes)
  assert schedule(decay_start=100)(50) == pytest.approx(0.8)


# Whole configs, on points.


def tiny(**fields):
  config = defaults.get_config()
  config.data.name = 'ring8'
  config.generator = dict(name='mlp', features=(4,))
  config.discriminator = dict(name='mlp', features=(4,))
  config.num_steps, config.batch_size = 1000, 8
  for name, value in fields.items():
    config[name] = value
  return config


def play_a_step(run):
  """One step of a run; returns the states before and after, and metrics."""
  call = step.make_call(run.setup, run.feed.pick, 1)
  state = step.init(run.setup, jax.random.key(run.seed))
  before = jax.tree.map(jnp.copy, state.players)
  turns = len(run.setup.method.turns)
  fed = run.feed.next(0, turns)[None]
  state, metrics = call(state, run.feed.resident, fed, 0)
  return before, state.players, metrics


def norm(tree):
  return float(optax.tree.norm(tree))


def descending(**penalties):
  """Plain descent, which unlike Adam shows the size of a gradient."""
  config = tiny(optimizer_d=defaults.optimizer('sgd', learning_rate=0.1))
  config.penalties.update(penalties)
  return play_a_step(train.build(config))


def test_penalties_look_where_they_should():
  key = jax.random.key(0)
  bowl = lambda x: jnp.sum(x**2, axis=1) / 2  # its gradient is x
  real, fake = jnp.asarray([[3.0, 4.0]]), jnp.asarray([[0.0, 2.0]])
  pay = lambda name, critic: build.PENALTIES[name](critic, real, fake, key)
  np.testing.assert_allclose(pay('r1', bowl), [25.0])
  np.testing.assert_allclose(pay('r2', bowl), [4.0])
  # Between 2 and 5 from the origin.
  assert 1 < pay('wgan_gp', bowl)[0] < 16
  plane = lambda x: 3 * x[:, 0]
  for name in ('wgan_gp', 'dragan'):
    np.testing.assert_allclose(pay(name, plane), [4.0], rtol=1e-6)


@pytest.fixture(scope='module')
def unpenalized():
  return descending()


@pytest.mark.parametrize('name', build.PENALTIES)
def test_every_penalty_is_in_the_loss(name, unpenalized):
  _, after, metrics = descending(**{name: 0.25})
  # The draws are the same with and without it.
  paid = metrics['loss_d'] - unpenalized[2]['loss_d']
  assert metrics[name] > 1e-4
  np.testing.assert_allclose(paid, 0.25 * metrics[name], rtol=1e-3, atol=1e-6)
  assert norm(optax.tree.sub(after.d, unpenalized[1].d)) > 1e-5


@pytest.mark.parametrize('name', build.PARAMETER_PENALTIES)
def test_every_penalty_on_parameters_is_in_the_loss(name, unpenalized):
  before, _, metrics = descending(**{name: 0.25})
  paid = metrics['loss_d'] - unpenalized[2]['loss_d']
  expected = 0.25 * build.PARAMETER_PENALTIES[name](before.d)
  assert expected > 1e-3
  np.testing.assert_allclose(paid, [expected], rtol=1e-3)


def test_weights_of_l2_are_those_of_the_sum_of_squares():
  d = {'a': jnp.asarray([3.0, 4.0]), 'b': jnp.asarray(1.0)}
  both = build_terms.parameter_penalty(dict(l2=0.5, orthogonal=0.0))
  assert float(both(d)) == pytest.approx(13.0)


def test_clip_weights_bounds_the_critic_alone():
  _, after, _ = play_a_step(train.build(tiny(clip_weights=0.01)))
  largest = lambda tree: max(float(abs(x).max()) for x in jax.tree.leaves(tree))
  assert largest(after.d) == pytest.approx(0.01)
  assert largest(after.g) > 0.1


def test_saturating_takes_the_critics_loss():
  r, f = jnp.asarray([0.3]), jnp.asarray([-0.2])
  plain = build.build_setup(tiny(loss='nonsaturating')).loss
  maximizing = build.build_setup(
    tiny(loss='nonsaturating', saturating=True)
  ).loss
  # -log sigmoid(f), against log sigmoid(r) + log(1 - sigmoid(f)).
  np.testing.assert_allclose(plain.generator(r, f), np.log1p(np.exp(0.2)), 1e-6)
  terms = np.log1p(np.exp(-0.3)) + np.log1p(np.exp(-0.2))
  np.testing.assert_allclose(maximizing.generator(r, f), -terms, 1e-6)
  assert maximizing.zero_sum and not plain.zero_sum


@pytest.mark.parametrize(
  'intervals, expected',
  [
    ((1000, 100, 200, 500), 100),
    ((1000, 10, 0, 0), 10),
    ((1000, 100, 30, 100), 10),
    ((1000, 100, 100, 25), 25),
    ((1000, 0, 0, 0), 100),
    ((140, 70, 0, 0), 70),
    ((202, 0, 0, 0), 2),  # not 101
    ((97, 0, 0, 0), 97),
    ((100, 7, 0, 0), 1),
  ],
)
def test_steps_per_call_divides_everything(intervals, expected):
  names = ('num_steps', 'log_every', 'sample_every', 'checkpoint_every')
  run = train.build(tiny(**dict(zip(names, intervals, strict=True))))
  assert run.steps_per_call == expected
  assert run.config['steps_per_call'] == expected


def test_convolutions_on_cpu_get_one_step_a_call():
  config = defaults.get_config()
  sizes = dict(name='cnn', width=2, image_size=16, channels=1)
  config.generator, config.discriminator = dict(**sizes), dict(**sizes)
  assert train.build(config).steps_per_call == 1
  config.steps_per_call = 50
  assert train.build(config).steps_per_call == 50


@pytest.mark.parametrize(
  'field, value, words',
  [
    ('log_every', 30, 'config.log_every=30 is not a multiple of'),
    ('sample_every', 5, 'config.sample_every=5 is not a multiple of'),
    ('checkpoint_every', 15, 'config.checkpoint_every=15 is not a multiple of'),
    ('num_steps', 1010, 'config.num_steps=1010 is not a multiple of'),
    ('batch_size', 0, 'config.batch_size=0 is less than 1'),
    ('lazy', 0, 'config.lazy=0 is less than 1'),
    ('keep_checkpoints', 0, 'config.keep_checkpoints=0 is less than 1'),
    ('num_samples', 1, 'config.num_samples=1 is less than 2'),
    ('seed', -1, r'config.seed=-1 is not in \[0, inf\)'),
    ('seed', 2**32, r'config.seed=4294967296 is not below 2\*\*32'),
    ('instance_noise', float('inf'), r'config.instance_noise=inf is not in'),
    ('clip_weights', float('nan'), r'config.clip_weights=nan is not in'),
    ('averaging', 1.0, r'config.averaging=1.0 is not in \[0, 1\)'),
    ('profile_start', 5, 'config.profile_stop=0 is before'),
    ('penalties', dict(r1=-1.0), r'config.penalties lacks \[.*\'l2\''),
    ('penalties', dict(gp=1.0), r"config.penalties has no \['gp'\]"),
    (
      'optimizer_g',
      dict(name='sgd'),
      r"lacks .*'momentum'.*defaults.optimizer",
    ),
    ('game', dict(d_steps=1), 'config.game.name is missing'),
    (
      'game',
      dict(name='alternating', d_steps=2.0),
      'config.game.d_steps=2.0 is of type float, not int',
    ),
    (
      'game',
      dict(name='alternating', critic_steps=2),
      r"config.game 'alternating' has no argument \['critic_steps'\]; it has "
      r"\['d_steps', 'first', 'g_steps'\]",
    ),
    (
      'generator',
      dict(name='mlp', data_shape=(3,)),
      r'config.generator makes examples of shape \(3,\).*gives \(2,\)',
    ),
    (
      'discriminator',
      dict(name='mlp', data_shape=(3,)),
      r'config.discriminator takes examples of shape \(3,\).*gives \(2,\)',
    ),
  ],
)
def test_mistakes_name_the_field(field, value, words):
  config = tiny(steps_per_call=20)
  with config.ignore_type():
    config[field] = value
  with pytest.raises(ValueError, match=words):
    train.build(config)


def test_negative_penalty():
  config = tiny()
  config.penalties.r1 = -1.0
  with pytest.raises(ValueError, match=r'config.penalties.r1=-1.0 is not in'):
    train.build(config)


@pytest.mark.parametrize('name', ['lsos', 'parallell'])
def test_a_field_too_many(name):
  with pytest.raises(ValueError, match=rf"config has no \['{name}'\]"):
    train.build(tiny(**{name: 1}))


def test_game_defaults():
  assert train.game_defaults('alternating', d_steps=5) == dict(
    name='alternating', d_steps=5, g_steps=1, first='d'
  )
  with pytest.raises(ValueError, match=r"game='bogus' is not one of"):
    train.game_defaults('bogus')


class NormalizedCritic(nn.Module):
  def example_inputs(self):
    return (jnp.zeros((2, 2)),)

  @nn.compact
  def __call__(self, x, labels=None, *, train=False):
    return nn.BatchNorm(use_running_average=not train)(x)[:, 0]


def test_penalties_refuse_batch_norm_in_the_critic():
  setup = build.build_setup(tiny())
  penalty = batch_game.Penalty('r1', 1.0, build.PENALTIES['r1'])
  normalized = setup._replace(discriminator=NormalizedCritic())
  build._check_shapes(normalized, (2,))
  with pytest.raises(ValueError, match='penalties.r1 needs a critic .*rows'):
    build._check_shapes(normalized._replace(penalties=(penalty,)), (2,))


def test_a_run_of_ones_own_is_checked_too(tmp_path):
  run = train.build(tiny(steps_per_call=20))._replace(log_every=30)
  with pytest.raises(ValueError, match='^log_every=30 is not a multiple of'):
    train.train(run, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_schedules_know_how_often_their_player_moves():
  config = tiny(num_steps=2, log_every=0, sample_every=0, checkpoint_every=0)
  config.game.d_steps = 5
  config.loss = 'wasserstein'
  falling = defaults.optimizer('sgd', learning_rate=1.0, schedule='linear')
  config.optimizer_d = config.optimizer_g = falling
  method = build.build_setup(config).method
  players = batch_game.games.Players(jnp.zeros(()), jnp.zeros(()))
  game = batch_game.games.Game(lambda g, d: g, lambda g, d: d)
  state, seen = method.init(players), []
  for turn in [*range(6), *range(6)]:
    updates, state, _ = method.update(game, state, players, turn=turn)
    seen.append((float(updates.d), float(updates.g)))
  # The rate halves with the step, for both players alike.
  first = [(-1.0, 0.0)] * 5 + [(0.0, -1.0)]
  second = [(-0.5, 0.0)] * 5 + [(0.0, -0.5)]
  np.testing.assert_allclose(seen, first + second, atol=1e-6)


def test_build_keeps_what_the_config_says():
  config = tiny(seed=7, lazy=4, averaging=0.5, instance_noise=0.25)
  config.profile_start, config.profile_stop = 20, 40
  run = train.build(config)
  assert (run.seed, run.profile, run.num_steps) == (7, (20, 40), 1000)
  assert (run.setup.lazy, run.setup.averaging) == (4, 0.5)
  assert run.setup.instance_noise == 0.25
  assert run.setup.loss is losses.get('nonsaturating')
  assert isinstance(run.dataset, data.Dataset)
  assert run.setup.project is None and run.setup.parameter_penalty is None


def residual(**options):
  small = dict(width=2, max_width=4, image_size=8, channels=1)
  return ml_collections.ConfigDict(dict(name='residual', **small, **options))


def labelled(**options):
  config = digits.get_config('quick')
  config.data.image_size = 8
  config.generator = residual(z_size=4, embed_size=2, **options)
  config.discriminator = residual(**options)
  return config


@pytest.mark.slow
def test_labels_reach_both_players():
  run = build.build(labelled(labels=10))
  assert run.setup.generator.labels == run.setup.discriminator.labels == 10
  state = step.init(run.setup, jax.random.key(0))
  fed = run.feed.next(0, 2)
  batches = jax.vmap(functools.partial(run.feed.pick, run.feed.resident))(fed)
  assert batches['label'].shape == (2, 64)

  @jax.jit
  def logits(batches):
    _, metrics = step.train_step(state, batches, setup=run.setup)
    return metrics['real_logit'], metrics['fake_logit']

  # Other labels, other logits of the same images and latents.
  shifted = {**batches, 'label': (batches['label'] + 1) % 10}
  for a, b in zip(logits(batches), logits(shifted), strict=True):
    assert abs(a - b) > 1e-6


def test_labels_need_a_set_that_has_as_many():
  with pytest.raises(
    ValueError, match=r"config.generator.labels=7, but .*'digits' has 10 clas"
  ):
    build.build(labelled(labels=7))
  config = labelled(labels=3)
  config.data.name, config.data.image_size = 'ring8', 0
  with pytest.raises(ValueError, match='config.generator makes examples'):
    build.build(config)


def test_images_are_needed_to_flip_them():
  config = toy.get_config('ring8,quick')
  config.flip = True
  with pytest.raises(
    ValueError, match=r'config.flip is for images, .* shape \(2,\)'
  ):
    build.build(config)
  config.flip, config.diff_augment = False, 'color'
  with pytest.raises(ValueError, match='config.diff_augment is for images'):
    build.build(config)


def test_the_critics_last_layer_keeps_its_length():
  config = toy.get_config('five_gaussians,quick')
  config.unit_norm = 'out'
  run = build.build(config)
  state = step.init(run.setup, jax.random.key(0))
  batches = {'image': jnp.ones((2, 8, 2))}
  state, _ = jax.jit(functools.partial(step.train_step, setup=run.setup))(
    state, batches
  )
  length = jnp.linalg.norm(state.players.d['out']['kernel'])
  np.testing.assert_allclose(length, 1.0, rtol=1e-6)
  config.unit_norm = 'proj'
  with pytest.raises(
    ValueError, match=r"config.unit_norm='proj' is no layer .*'dense1'.*'out'"
  ):
    build.build(config)


@pytest.mark.parametrize(
  'labels, words',
  [
    ([0, 1], r'shape \(2,\).*shape \(3,\), one for each latent'),
    ([0.0, 1.0, 2.0], 'type float'),
    ([0, 1, 10], 'between 0 and 10; the generator takes 0 to 9'),
    ([-1, 1, 2], 'between -1 and 2'),
  ],
)
def test_labels_of_samples_are_checked(labels, words):
  setup = build.build_setup(labelled(labels=10))
  with pytest.raises(ValueError, match=words):
    step.make_sampler(setup)({}, jnp.zeros((3, 4)), labels)


@pytest.mark.slow
def test_a_run_starts_from_weights_of_pytorch(tmp_path):
  config = digits.get_config('quick')
  module = build.build_setup(config).generator
  variables = models.initialize(module, jax.random.key(5))
  weights = models.to_torch(module, variables)
  path = tmp_path / 'weights.npz'
  np.savez(path, **weights)
  config.generator_from = str(path)
  run = build.build(config)
  state = step.init(run.setup, jax.random.key(0), run.initial)
  for actual in (state.players.g, state.averaged['params']):
    chex.assert_trees_all_equal(actual, variables['params'])
  drawn = step.init(run.setup, jax.random.key(0)).players
  chex.assert_trees_all_equal(state.players.d, drawn.d)
  weights.pop('conv4.bias')
  np.savez(path, **weights)
  with pytest.raises(
    ValueError, match=r'config.generator_from=.*weights.npz(.|\n)*conv4\.bias'
  ):
    build.build(config)
  path.write_text('no archive')
  with pytest.raises(
    ValueError, match='config.generator_from=.*cannot be read'
  ):
    build.build(config)
  config.generator_from = str(tmp_path / 'none.npz')
  with pytest.raises(ValueError, match='config.generator_from=.*No such file'):
    build.build(config)
