"""The training loop with a user's own parts, on games done by hand.

A generator z + theta learns the mean 2 of real numbers N(2, 1); the critic is
psi x. What the two parameters do is a damped oscillator (Mescheder et al. 2018,
section 3) with its rest at theta = 2, psi = 0.
"""

import json

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

import gan_jax
from configs import toy
from gan_jax import (
  checkpoints,
  data,
  defaults,
  games,
  generate,
  losses,
  regularizers,
  step,
  train,
  workdir,
)

MEAN = 2.0


class Shift(nn.Module):
  """z + theta; in evaluation times `trained`, to make it misbehave there."""

  z_size: int = 1
  trained: float = 1.0

  def example_inputs(self):
    return (jnp.zeros((1, 1)),)

  @nn.compact
  def __call__(self, z, labels=None, *, train=False):
    theta = self.param('theta', nn.initializers.zeros, (1,))
    return (z + theta[None]) * (1.0 if train else self.trained)


class Slope(nn.Module):
  """psi x."""

  def example_inputs(self):
    return (jnp.zeros((1, 1)),)

  @nn.compact
  def __call__(self, x, labels=None, *, train=False):
    psi = self.param('psi', nn.initializers.zeros, (1,))
    return jnp.sum(x * psi[None], axis=1)


# Wasserstein's, but said to be a general game.
LOSS = losses.GanLoss(lambda r, f: -f, lambda r, f: f - r, False)
R1 = train.Penalty(
  'r1', 0.5, lambda critic, real, fake, key: regularizers.r1(critic, real)
)


def descent(rate):
  """Both players go down their own slopes at once; counts its updates."""

  def init(players):
    return jnp.zeros((), jnp.int32)

  def update(game, state, players, *, turn=0):
    at = games.gradients(game, players)
    down = lambda grads: jax.tree.map(lambda x: -rate * x, grads)
    updates = games.Players(down(at.grad_g), down(at.grad_d))
    cost = games.telemetry(1.0)
    info = games.Info(at.loss_g, at.loss_d, at.aux_g, at.aux_d, cost)
    return updates, state + 1, info

  return games.GameTransformation(init, update)


def batch(number):
  rng = np.random.default_rng(number)
  return {'image': rng.normal(MEAN, 1, (256, 1)).astype(np.float32)}


def own_run(function=batch, num_steps=300, generator=None, **changes):
  setup = train.Setup(
    generator or Shift(), Slope(), LOSS, descent(0.1), penalties=(R1,)
  )
  known = dict(log_every=50, checkpoint_every=100, setup=setup)
  feed = data.feed_from_function(function)
  return train.Run(feed=feed, num_steps=num_steps, **known | changes)


def quietly(line):
  del line


def lines(folder):
  text = (folder / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """(folder, last state, what was said) of a run to its end."""
  folder, said = tmp_path_factory.mktemp('whole'), []
  state = train.train(own_run(), folder, say=said.append)
  return folder, state, said


def test_own_parts_learn_the_mean_of_a_gaussian(whole):
  folder, state, _ = whole
  # The oscillator has decayed by exp(-15); what stays is the noise of means of
  # 256 numbers, 1 / 16 each, that the last few steps leave.
  assert abs(float(state.players.g['theta'][0]) - MEAN) < 0.15
  assert abs(float(state.players.d['psi'][0])) < 0.15
  assert state.step == state.opt_state == 300
  assert [line['step'] for line in lines(folder)] == [*range(50, 301, 50)]
  saved = checkpoints.steps(folder / 'checkpoints')
  assert saved == [300, 200, 100]


def test_a_metric_is_the_mean_over_its_interval(tmp_path):
  train.train(own_run(num_steps=4, log_every=1), tmp_path / 'a', say=quietly)
  train.train(own_run(num_steps=4, log_every=4), tmp_path / 'b', say=quietly)
  each, (together,) = lines(tmp_path / 'a'), lines(tmp_path / 'b')
  for name in ('loss_g', 'loss_d', 'real_logit', 'r1'):
    mean = np.mean([line[name] for line in each])
    np.testing.assert_allclose(together[name], mean, rtol=1e-5, atol=1e-7)
  # psi starts at 0 and moves by a tenth of the difference of the means.
  assert each[0]['loss_d'] == 0 and each[1]['r1'] == pytest.approx(
    0.04, rel=0.3
  )


def test_a_run_goes_on_bit_by_bit(whole, tmp_path):
  said = []
  train.train(own_run(num_steps=130), tmp_path, say=quietly)
  with open(tmp_path / 'metrics.jsonl', 'a') as file:
    file.write('{"step": 150}\n{"st')  # of a part that was lost
  state = train.train(own_run(), tmp_path, say=said.append)
  assert said[0] == 'resuming from the checkpoint of step 130.'
  chex.assert_trees_all_equal(state.players, whole[1].players)
  strip = lambda line: {**line, 'steps_per_second': 0}
  assert [*map(strip, lines(tmp_path))] == [*map(strip, lines(whole[0]))]


def test_a_finished_run_plays_no_step(whole):
  folder, state, _ = whole
  said = []
  before = (folder / 'metrics.jsonl').read_bytes()
  again = train.train(own_run(never), folder, say=said.append)
  assert said[-1].endswith('is finished: 300 of 300 steps.')
  chex.assert_trees_all_equal(again.players, state.players)
  assert (folder / 'metrics.jsonl').read_bytes() == before


def never(number):
  raise AssertionError(f'batch {number} was asked for')


def test_samples_of_a_checkpoint_are_those_of_the_last_state(whole):
  folder, state, _ = whole
  sampler = generate.load_setup(own_run().setup, folder)
  assert (sampler.step, sampler.z_size) == (300, 1)
  z = np.asarray([[0.0], [1.5]], np.float32)
  expected = z + np.asarray(state.players.g['theta'])
  np.testing.assert_array_equal(sampler.decode(z), expected)
  assert abs(sampler.sample(jax.random.key(0), 1000).mean() - MEAN) < 0.25
  with pytest.raises(workdir.WorkdirError, match='by hand.*load_setup'):
    generate.load(folder)


def test_load_without_a_run(tmp_path):
  with pytest.raises(workdir.WorkdirError, match='no config.json'):
    generate.load(tmp_path)
  (tmp_path / 'config.json').write_text('{')
  with pytest.raises(workdir.WorkdirError, match='not valid JSON'):
    generate.load(tmp_path)


def test_other_calls_must_start_where_a_call_ended(tmp_path):
  train.train(own_run(num_steps=6), tmp_path, say=quietly)
  run = own_run(num_steps=20, steps_per_call=4)
  run = run._replace(log_every=20, checkpoint_every=20)
  words = 'steps_per_call=4 does not divide .* 6; 2 does'
  with pytest.raises(workdir.WorkdirError, match=words):
    train.train(run, tmp_path, say=quietly)
  state = train.train(run._replace(steps_per_call=2), tmp_path, say=quietly)
  assert state.step == 20


# What goes wrong.


def relativistic(first):
  loss = losses.get('relativistic')  # both players see both batches
  sgd = optax.sgd(0.1)
  method = games.alternating(sgd, sgd, first=first)
  return train.Setup(Shift(), Slope(), loss, method)


@pytest.mark.parametrize(
  'first, bad, words',
  [
    # A step is two batches, so 14 and 15 belong to step 8.
    ('d', 14, 'loss_d of the discriminator is nan at step 8'),
    ('d', 15, 'loss_g of the generator is nan at step 8'),
    ('g', 14, 'loss_g of the generator is nan at step 8'),
    # The generator sees it in step 9 only.
    ('g', 15, 'loss_d of the discriminator is nan at step 8'),
  ],
)
def test_divergence_names_the_first_step_and_player(
  tmp_path, first, bad, words
):
  def function(number):
    values = batch(number)['image']
    return {'image': values * np.nan if number == bad else values}

  run = own_run(function, setup=relativistic(first), num_steps=20, log_every=20)
  with pytest.raises(train.Diverged, match=words) as caught:
    train.train(run._replace(checkpoint_every=5), tmp_path, say=quietly)
  assert 'the checkpoint of step 5 is kept' in str(caught.value)
  assert checkpoints.steps(tmp_path / 'checkpoints') == [5]
  with pytest.raises(train.Diverged, match=f'{words}.*nothing was kept'):
    # Pictures must not get in the way of the words.
    train.train(run._replace(sample_every=1), tmp_path / 'new', say=quietly)


def test_another_try_sets_the_note_of_a_divergence_aside(tmp_path, monkeypatch):
  workdir.write_divergence(tmp_path, 3, 'too bold')
  ends, said = [train.Diverged('nan at step 5', 5), None], []
  progress = train.Progress(None, 0, [])
  monkeypatch.setattr(train, 'start', lambda *arguments: progress)

  def play(run, path, *arguments):
    # A table that looks in between sees a run that has begun.
    assert workdir.divergence(path) is None
    end = ends.pop(0)
    if end:
      raise end

  monkeypatch.setattr(train, '_play', play)
  with pytest.raises(train.Diverged, match='nan at step 5; stopped'):
    train.train(own_run(), tmp_path, say=said.append)
  # Diverged once more, so it is noted anew.
  note = {'step': 5, 'reason': 'nan at step 5'}
  assert workdir.divergence(tmp_path) == note
  train.train(own_run(), tmp_path, say=said.append)
  assert workdir.divergence(tmp_path) is None
  before = tmp_path / 'diverged.before.json'
  assert json.loads(before.read_text()) == note
  words = 'it had diverged, see diverged.before.json; trained again.'
  assert said == [words, words]
  # One that is at its end is not trained, so what it says of that end stays.
  workdir.write_divergence(tmp_path, 300, 'a sample is not finite')
  progress = progress._replace(done=300)
  monkeypatch.setattr(train.scribe, 'catch_up', lambda *arguments: None)
  train.train(own_run(), tmp_path, say=quietly)
  assert workdir.divergence(tmp_path)['step'] == 300


def test_parameters_that_are_not_finite_are_not_saved(tmp_path):
  # The loss of the only step is finite; what it does to the players is not.
  setup = own_run().setup._replace(method=descent(np.inf))
  run = own_run(setup=setup, num_steps=1)
  with pytest.raises(train.Diverged, match='parameter of .* at step 1;'):
    train.train(run, tmp_path, say=quietly)
  assert not (tmp_path / 'checkpoints').exists()


def test_samples_that_are_not_finite(tmp_path):
  run = own_run(generator=Shift(trained=np.inf), num_steps=4, sample_every=2)
  with pytest.raises(train.Diverged, match='a sample .* not finite at step 0;'):
    train.train(run, tmp_path, say=quietly)


def test_an_error_while_saving_is_not_lost(tmp_path, monkeypatch):
  def full(*arguments, **options):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(checkpoints, 'save', full)
  with pytest.raises(OSError, match='No space left'):
    train.train(own_run(num_steps=4), tmp_path, say=quietly)


# Points in the plane.


def points(**fields):
  config = toy.get_config('ring8,quick')
  config.generator.features = config.discriminator.features = (16, 16)
  config.optimizer_g = config.optimizer_d = defaults.optimizer(
    'sgd', learning_rate=0.05
  )
  for name, value in fields.items():
    config[name] = value
  return config


def test_points_from_config_to_pictures_and_back(tmp_path):
  run = train.build(points())
  said = []
  state = train.train(run, tmp_path, say=said.append)
  names = [f'{number:08d}.png' for number in (0, 50, 100)]
  assert sorted(p.name for p in (tmp_path / 'samples').iterdir()) == names
  for name in names:
    with Image.open(tmp_path / 'samples' / name) as picture:
      assert min(picture.size) > 300
  assert [line['step'] for line in lines(tmp_path)] == [50, 100]
  assert '100/100' in said[-1] and 'loss_d' in said[-1]
  sampler = generate.load(tmp_path)
  z = np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32)
  for averaged in (True, False):
    variables = step.generator_variables(state, averaged=averaged)
    expected = run.setup.generator.apply(variables, z)
    sampler = gan_jax.load(tmp_path, averaged=averaged)
    np.testing.assert_allclose(sampler.decode(z), expected, rtol=1e-6)
  (path,) = generate.sample(run, tmp_path)
  assert path.name == '00000100.png'


@pytest.mark.slow
def test_one_and_five_steps_a_call_agree(tmp_path):
  states = []
  for steps_per_call in (1, 5):
    config = points(num_steps=20, steps_per_call=steps_per_call)
    config.penalties.r1 = 0.0  # its second derivatives take long to compile
    run = train.build(config)
    folder = tmp_path / str(steps_per_call)
    states.append(train.train(run, folder, say=quietly))
  one, five = states
  assert one.step == five.step == 20
  chex.assert_trees_all_close(one.players, five.players, rtol=1e-4, atol=1e-5)
  chex.assert_trees_all_close(one.averaged, five.averaged, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  'start, profile',
  [
    (0, (2, 4)),
    # Goes on after its first step, and ends before its last.
    (3, (2, 100)),
  ],
)
def test_a_profile_is_written_when_asked_for(tmp_path, start, profile):
  if start:
    train.train(own_run(num_steps=start), tmp_path, say=quietly)
    assert not (tmp_path / 'profile').exists()
  run = own_run(num_steps=6, profile=profile)
  train.train(run, tmp_path, say=quietly)
  (trace,) = (tmp_path / 'profile').rglob('*.xplane.pb')
  assert trace.stat().st_size > 1000
