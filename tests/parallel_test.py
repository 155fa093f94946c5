"""Four devices, by each wrapper, give the numbers of one.

Everything whose mean or draw could go wrong is there once: the reference is the
same step on one device with the whole batch, in float64.
"""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax import (
  ada,
  batch_game,
  build,
  games,
  losses,
  methods,
  parallel,
  side_terms,
  step,
  train,
)
from gan_jax.models import conditional, dropout, layers, minibatch

pytestmark = pytest.mark.float64

BATCH, SIDE = 8, 4
FED = {
  'image': np.random.default_rng(0).normal(size=(2, 1, BATCH, SIDE, SIDE, 3)),
  'row': np.tile(np.arange(BATCH, dtype=np.int32), (2, 1, 1)),
  'label': np.random.default_rng(1).integers(0, 3, (2, 1, BATCH)),
}
BYTES = {**FED, 'image': (40 * FED['image'] + 128).astype(np.uint8)}


class Generator(nn.Module):
  z_size: int = 3
  labels: int = 1
  axis_name: str | None = None

  def example_inputs(self):
    z = jnp.zeros((1, self.z_size))
    return z, *conditional.example_labels(self.labels)

  @nn.compact
  def __call__(self, z, labels=None, *, train=False):
    # A bias before batch norm has no gradient: Adam would follow the rounding.
    x = layers.Dense(5, use_bias=False)(z)
    x = conditional.batch_norm(
      x,
      labels,
      classes=self.labels,
      train=train,
      axis_name=self.axis_name,
      name='bn',
    )
    x = layers.Dense(SIDE * SIDE * 3)(nn.tanh(x))
    return x.reshape(-1, SIDE, SIDE, 3)


class Critic(nn.Module):
  labels: int = 1
  batch_norm: bool = False
  spectral_norm: bool = False
  dropout: float = 0.0
  minibatch: str = ''
  aside: bool = False
  axis_name: str | None = None

  def example_inputs(self):
    return (jnp.zeros((1, SIDE, SIDE, 3)),)

  @nn.compact
  def __call__(self, x, labels=None, *, train=False):
    x = x.reshape(x.shape[0], -1)
    x = layers.Dense(
      6, use_bias=not self.batch_norm, spectral_norm=self.spectral_norm
    )(x)
    if self.batch_norm:
      x = layers.batch_norm(x, train=train, axis_name=self.axis_name, name='bn')
    x = nn.tanh(x)
    x = dropout.ChannelDropout(self.dropout, self.axis_name)(x, train=train)
    if self.minibatch == 'deviation':
      x = minibatch.with_deviation(self, x[:, None, None], train=train)[:, 0, 0]
    if self.minibatch == 'discrimination':
      axis = self.axis_name if train else None
      see = minibatch.Discrimination(2, 3, axis_name=axis)
      x = jnp.concatenate([x, see(x)], axis=1)
    if self.aside:
      self.sow('intermediates', 'features', x)
      self.sow('intermediates', 'class_logits', layers.Dense(3)(x))
    x = layers.Dense(self.labels, use_bias=False)(x)
    labels = jnp.zeros(len(x), int) if labels is None else labels
    return jnp.sum(x * jax.nn.one_hot(labels, self.labels), axis=1)


def penalty(name, axis):
  function = functools.partial(build.PENALTIES[name], axis_name=axis)
  return batch_game.Penalty(name, 0.3, function)


def method_of(name):
  described = train.game_defaults(name)
  if 'iterations' in described:
    described['iterations'] = 2
  return methods.make(described, optax.sgd(0.1), optax.sgd(0.1))


def setup(
  axis,
  *,
  critic=None,
  generator=None,
  loss='nonsaturating',
  penalties=(),
  method=None,
  **changes,
):
  # A large eps, or Adam makes steps of the rounding of tiny gradients.
  adam = optax.adam(1e-2, eps=1e-3)
  return step.Setup(
    Generator(axis_name=axis, **generator or {}),
    Critic(axis_name=axis, **critic or {}),
    losses.get(loss, axis_name=axis),
    games.simultaneous(adam, adam) if method is None else method_of(method),
    penalties=tuple(penalty(name, axis) for name in penalties),
    averaging=0.9,
    axis_name=axis,
    **changes,
  )


# What each adds to the step; the generator always has batch norm.
ALONE = {
  'plain': {},
  'batch norm': dict(critic=dict(batch_norm=True)),
  'spectral norm': dict(critic=dict(spectral_norm=True)),
  'dropout': dict(critic=dict(dropout=0.5)),
  'paired': dict(loss='relativistic'),
  'average': dict(loss='relativistic_average_least_squares'),
  'zero-sum': dict(loss='wasserstein'),
  'r1': dict(penalties=['r1']),
  'r2': dict(penalties=['r2'], lazy=2),
  'gradient penalty': dict(penalties=['wgan_gp']),
  'dragan': dict(penalties=['dragan']),
  'noise': dict(instance_noise=0.5),
  'augmentation': dict(diff_augment=('color', 'translation', 'cutout')),
  'pipeline': dict(
    pipeline=ada.Pipeline(ada.parse('blit,geometry,color:0.5,cutout'), 0.7),
    penalties=['r1'],
  ),
  'labels': dict(critic=dict(labels=3)),
  'conditional batch norm': dict(generator=dict(labels=3)),
  'discrimination': dict(critic=dict(minibatch='discrimination')),
  'deviation': dict(critic=dict(minibatch='deviation')),
  'class terms': dict(
    critic=dict(aside=True), auxiliary=side_terms.Auxiliary(1.0, 0.5, 2.0)
  ),
  'feature matching': dict(
    critic=dict(aside=True), matching=side_terms.Matching(3.0)
  ),
}
TOGETHER = {
  'paired, dropout, batch norm': dict(
    loss='relativistic', critic=dict(dropout=0.5, batch_norm=True)
  ),
  'average, spectral norm, penalties': dict(
    loss='relativistic_average_least_squares',
    critic=dict(spectral_norm=True, dropout=0.5, labels=3),
    penalties=['r1', 'r2', 'wgan_gp', 'dragan'],
  ),
  'zero-sum, noise, augmentation': dict(
    loss='wasserstein',
    instance_noise=0.5,
    diff_augment=('color', 'translation', 'cutout'),
    penalties=['r1'],
    lazy=2,
  ),
}
# With second derivatives; two processes play these too.
ANTICIPATING = {
  'acgd, batch norm': dict(
    loss='minimax', method='acgd', critic=dict(batch_norm=True, dropout=0.5)
  ),
  'consensus, average, spectral norm': dict(
    loss='relativistic_average_least_squares',
    method='consensus',
    critic=dict(spectral_norm=True),
  ),
}
PROCESSES = TOGETHER | ANTICIPATING
CASES = ALONE | PROCESSES
slow = lambda names: [pytest.param(n, marks=pytest.mark.slow) for n in names]


def double(tree):
  wide = lambda x: (
    x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x
  )
  return jax.tree.map(wide, tree)


def play(devices, parts, fed=FED):
  """State and metrics after two steps, a call each, as numpy."""
  state = double(step.init(parts, jax.random.key(0)))
  state = state._replace(opt_state=parts.method.init(state.players))
  pick, spread = lambda resident, one: one, lambda fed: fed
  if devices is None:
    call = step.make_call(parts, pick, 1)
  else:
    call = step.make_call(parts, pick, 1, compile_=devices.compile)
    state, spread = devices.replicate(state), devices.spread
  seen = []
  for i in range(2):
    one = jax.tree.map(lambda x, i=i: x[i : i + 1], fed)
    state, metrics = call(state, {}, spread(one), i)
    seen.append(metrics)
  state, seen = jax.device_get((state, seen))
  return state._replace(key=jax.random.key_data(state.key)), seen


def assert_same(actual, expected):
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
  jax.tree.map(close, actual[0], expected[0])
  # Metrics are float32.
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
  jax.tree.map(close, actual[1], expected[1])


@functools.cache
def one_device(case):
  return play(None, setup(None, **CASES[case]))


@pytest.mark.parametrize('wrapper', parallel.NAMES)
@pytest.mark.parametrize('case', [*slow(ALONE | ANTICIPATING), *TOGETHER])
def test_four_devices_equal_one(case, wrapper):
  assert jax.device_count() == 4
  parts = setup(parallel.axis_name(wrapper), **CASES[case])
  assert_same(play(parallel.make(wrapper), parts), one_device(case))


@pytest.mark.parametrize('wrapper', ['jit', *slow(['pmap', 'shard_map'])])
def test_bytes_are_drawn_and_mirrored_alike(wrapper):
  parts = dict(dequantize=True, flip=True)
  actual = play(
    parallel.make(wrapper), setup(parallel.axis_name(wrapper), **parts), BYTES
  )
  assert_same(actual, play(None, setup(None, **parts), BYTES))


FAST = (
  *(('alternating', wrapper) for wrapper in parallel.NAMES),
  ('acgd', 'shard_map'),
)


@pytest.mark.parametrize(
  'method, wrapper',
  [
    pytest.param(*case, marks=[] if case in FAST else pytest.mark.slow)
    for case in itertools.product(methods.METHODS, parallel.NAMES)
  ],
)
def test_every_method(method, wrapper):
  parts = lambda axis: setup(axis, loss='wasserstein', method=method)
  turns = len(method_of(method).turns)
  fed = jax.tree.map(lambda x: np.repeat(x, turns, axis=1), FED)
  actual = play(parallel.make(wrapper), parts(parallel.axis_name(wrapper)), fed)
  assert_same(actual, play(None, parts(None), fed))


def without_mean(monkeypatch, place):
  """A set-up for shard_map in which one of the means is left out."""
  parts = functools.partial(setup, parallel.AXIS)
  if place == 'derivatives':
    monkeypatch.setattr(
      games.differentiate, 'mean', lambda tree, axis_name: tree
    )
    return 'plain', parts()
  if place == 'batch norm':
    made = parts(**CASES['batch norm'])
    return 'batch norm', made._replace(
      discriminator=made.discriminator.clone(axis_name=None)
    )
  if place == 'relativistic average':
    case = CASES['average']
    return 'average', parts(**case)._replace(loss=losses.get(case['loss']))
  if place == 'dragan':
    one = batch_game.Penalty('dragan', 0.3, build.PENALTIES['dragan'])
    return 'dragan', parts()._replace(penalties=(one,))
  monkeypatch.setattr(
    step, '_turn_metrics', lambda i, m, a, f=step._turn_metrics: f(i, m, None)
  )
  return 'plain', parts()


@pytest.mark.parametrize(
  'place',
  ['derivatives', 'batch norm', 'relativistic average', 'dragan', 'metrics'],
)
def test_no_mean_can_be_left_out(monkeypatch, place):
  case, parts = without_mean(monkeypatch, place)
  expected = one_device(case)
  with pytest.raises(AssertionError, match='Not equal to tolerance'):
    assert_same(play(parallel.make('shard_map'), parts), expected)


def test_rows_have_to_be_numbered():
  # Without numbers every device would draw the same latents.
  fed = {k: v for k, v in FED.items() if k != 'row'}
  with pytest.raises(AssertionError, match='Not equal to tolerance'):
    assert_same(
      play(parallel.make('shard_map'), setup(parallel.AXIS), fed),
      one_device('plain'),
    )


@pytest.mark.slow
@pytest.mark.parametrize('wrapper', parallel.NAMES)
def test_two_steps_in_one_call(wrapper):
  # In `scan`, with the lazy penalty in a `cond`.
  case = TOGETHER['zero-sum, noise, augmentation']
  parts, devices = (
    setup(parallel.axis_name(wrapper), **case),
    parallel.make(wrapper),
  )
  state = double(step.init(parts, jax.random.key(0)))
  state = state._replace(opt_state=parts.method.init(state.players))
  pick = lambda resident, one: one
  call = step.make_call(parts, pick, 2, compile_=devices.compile)
  state, _ = call(devices.replicate(state), {}, devices.spread(FED), 0)
  expected, _ = one_device('zero-sum, noise, augmentation')
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
  jax.tree.map(close, jax.device_get(state.players), expected.players)


def test_jit_divides_the_work():
  # Latents and images come from sharded rows, so no device does all of it.
  parts = setup(None)
  state = step.init(parts, jax.random.key(0))
  devices = parallel.make('jit')
  fed = jax.tree.map(lambda x: np.repeat(x, 64, axis=2), FED)

  def one_step(state, resident, fed):
    batches = jax.tree.map(lambda x: x[0], fed)
    return step.train_step(state, batches, setup=parts)

  whole = jax.jit(one_step).lower(state, {}, fed).compile().cost_analysis()
  lowered = devices.compile(one_step).lower(devices.replicate(state), {}, fed)
  part = lowered.compile().cost_analysis()
  assert 0.2 < part['flops'] / whole['flops'] < 0.4


class Metric:
  """Of a call under way; writes down that somebody waits for it."""

  def __init__(self, number, waited):
    self._number, self._waited = number, waited

  def block_until_ready(self):
    self._waited.append(self._number)


def test_the_host_is_sixteen_calls_ahead_and_no_more():
  # More than 32 on several CPU devices can end the process, see parallel.py.
  waited, bounded = [], parallel.bounded()
  for number in range(40):
    call = ('state', {'loss': Metric(number, waited)})
    assert bounded(call) is call
    assert waited == [*range(number - 15)]


def test_an_unknown_wrapper_and_a_batch_that_does_not_divide():
  with pytest.raises(ValueError, match=r"parallel='pjit' is not one of .*jit"):
    parallel.make('pjit')
  with pytest.raises(
    ValueError, match='batch_size=6 is not a multiple of the 4 devices; 4 or 8'
  ):
    parallel.check_batch(6)
  with pytest.raises(ValueError, match='batch_size=2 .* 4 devices; 4 is'):
    parallel.check_batch(2)
  parallel.check_batch(12)


def test_a_setup_for_another_wrapper_is_refused():
  run = train.Run(setup(None), None, num_steps=1, parallel='shard_map')
  with pytest.raises(
    ValueError, match=r"setup.axis_name=None, .*'shard_map' needs 'data'"
  ):
    build.check_axis(run)
  half = setup(parallel.AXIS)
  half = half._replace(generator=half.generator.clone(axis_name=None))
  run = train.Run(half, None, num_steps=1, parallel='pmap')
  with pytest.raises(ValueError, match=r'setup.generator.axis_name=None'):
    build.check_axis(run)


def test_bytes_travel_between_processes_unchanged():
  # The parts that one process can check: raw bytes and back, keys too.
  tree = {
    'x': jnp.float32([-0.0, 1e-45, jnp.nan]),
    'n': jnp.int32(7),
    'key': jax.random.key(3),
  }
  told = []
  tell_bytes = lambda data, size: told.append((len(data), size)) or data
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(parallel, '_tell_bytes', tell_bytes)
    made = parallel.from_leader(tree, jax.eval_shape(lambda: tree))
  assert told == [(8, 8), (4, 4), (12, 12)]  # key, n, x
  assert made['x'].tobytes() == np.asarray(tree['x']).tobytes()
  assert made['n'] == 7
  np.testing.assert_array_equal(
    jax.random.key_data(made['key']), jax.random.key_data(tree['key'])
  )
