"""Our networks give PyTorch's numbers for PyTorch's weights, and back.

The stored answers are those of `launch/torch_nets` in PyTorch, an independent
writing of the published networks; see make_torch_fixtures.py.
"""

import functools
import json
import os
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import make_torch_fixtures as fixtures
import numpy as np
import pytest

from gan_jax import models

load = functools.cache(fixtures.load)
# Networks this small take longer to compile than to run.
jit = functools.partial(
  jax.jit, compiler_options={'xla_backend_optimization_level': 0}
)
# Blocks and sizes of their own are tested by others; each compiles for seconds.
SLOW = {'resnet_g_48_bottleneck', 'resnet_d_48_bottleneck'}
every_case = pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW))
    for name in fixtures.CASES
  ],
)


def _module(name):
  case = fixtures.CASES[name]
  build = dict(g=models.generator, d=models.discriminator)[case.player]
  return build(case.model, **case.settings)


def _stored(name):
  """(state dictionary, stored answers) of a case."""
  every = load(fixtures.CASES[name].model)
  here = {
    key.removeprefix(f'{name}/'): value
    for key, value in every.items()
    if key.startswith(f'{name}/')
  }
  shapes = json.loads(str(here.pop('shapes')))
  return fixtures.weights(shapes), here


def _channels_last(x):
  return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def _channels_first(x):
  return np.asarray(x.transpose(0, 3, 1, 2) if x.ndim == 4 else x)


def _assert_close(actual, expected):
  scale = np.max(np.abs(expected))
  np.testing.assert_allclose(actual, expected, atol=1e-4 * scale, rtol=0)


def _answers(module, variables, args):
  """Output in evaluation; output and new statistics in training, if any."""

  def apply(variables):
    found = [module.apply(variables, *args)]
    if 'batch_stats' in variables:
      found += module.apply(
        variables, *args, train=True, mutable=('batch_stats',)
      )
    return found

  return jit(apply)(variables)


@every_case
def test_same_numbers_as_pytorch(name):
  module = _module(name)
  state, stored = _stored(name)
  variables = models.from_torch(module, state)
  args = [jnp.asarray(_channels_last(x)) for x in fixtures.inputs(name)]
  output, *training = _answers(module, variables, args)
  actual = fixtures.sample(_channels_first(output))
  _assert_close(actual, stored['eval'])
  assert np.std(stored['eval']) > 1e-2 * np.max(np.abs(stored['eval']))
  assert bool(training) == ('train' in stored)
  if training:
    output, moved = training
    actual = fixtures.sample(_channels_first(output))
    _assert_close(actual, stored['train'])
    after = models.to_torch(module, {**variables, **moved})
    _assert_statistics(state, after, stored)


def _assert_statistics(before, after, stored):
  names = sorted(k for k in before if k.endswith(fixtures.STATISTICS))
  ends = np.cumsum([before[name].size for name in names])
  theirs = np.split(stored['stats'], ends[:-1])
  for name, expected, n in zip(names, theirs, stored['counts'], strict=True):
    if name.endswith('running_var'):
      # PyTorch averages the unbiased variance, n / (n - 1) times the batch's.
      expected = before[name] * 0.9 + (expected - before[name] * 0.9) * (
        (n - 1) / n
      )
    _assert_close(after[name], expected)


@pytest.mark.parametrize('name', fixtures.CASES)
def test_to_torch_is_the_inverse(name):
  module = _module(name)
  state, _ = _stored(name)
  variables = models.from_torch(module, state)
  back = models.to_torch(module, variables)
  counters = {key for key in state if key.endswith('num_batches_tracked')}
  assert set(back) == set(state) - counters
  for key, value in back.items():
    assert value.dtype == np.float32 and value.flags.writeable, key
    # v is not stored on our side: it follows from u.
    tolerance = 1e-5 if key.endswith('weight_v') else 0
    np.testing.assert_allclose(value, state[key], rtol=0, atol=tolerance)
  again = models.from_torch(module, back)
  jax.tree.map(np.testing.assert_array_equal, again, variables)


@pytest.mark.parametrize('name', ['cnn_d', 'dc_g', 'residual_g_resnet'])
def test_from_torch_gives_what_init_gives(name):
  module = _module(name)
  expected = jax.eval_shape(
    module.init, jax.random.key(0), *module.example_inputs()
  )
  actual = models.from_torch(module, _stored(name)[0])
  described = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
  assert described(actual) == described(expected)


def _zeros(module):
  """A state dictionary of zeros."""
  shapes = jax.eval_shape(
    module.init, jax.random.key(0), *module.example_inputs()
  )
  zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  return models.to_torch(module, zeros)


def test_orders_by_hand():
  module = models.generator('cnn', width=1, image_size=16, z_size=1)
  state = _zeros(module)
  # Feature (c, h, w) of 8 channels and 2x2 pixels is number 4 c + 2 h + w in
  # PyTorch, and 8 (2 h + w) + c here.
  state['l1.bias'] = np.arange(32.0)
  state['l1.weight'] = np.arange(32.0)[:, None]
  # Row of the kernel first here; transposed convolutions are turned round.
  state['conv4.weight'] = np.zeros((3, 1, 3, 3))
  state['conv4.weight'][2, 0, 0, 1] = 1
  state['deconv1.weight'] = np.zeros((8, 4, 4, 4))
  state['deconv1.weight'][7, 3, 0, 1] = 1
  params = models.from_torch(module, state)['params']
  expected = [
    4 * c + 2 * h + w for h in (0, 1) for w in (0, 1) for c in range(8)
  ]
  np.testing.assert_array_equal(params['l1']['bias'], expected)
  np.testing.assert_array_equal(params['l1']['kernel'], [expected])
  place = lambda layer: np.argwhere(params[layer]['kernel']).tolist()
  assert place('conv4') == [[0, 1, 0, 2]]
  assert place('deconv1') == [[3, 2, 7, 3]]


def test_v_of_a_diagonal_matrix():
  # W = diag(3, 4) and u = (0.6, 0.8): W^T u = (1.8, 3.2), of length
  # sqrt(13.48), which is u^T W v.
  module = models.discriminator(
    'mlp', features=(2,), data_shape=(2,), spectral_norm=True
  )
  state = _zeros(module)
  state['out.weight_u'] = np.ones(1)
  state['dense1.weight_orig'] = np.diag([3.0, 4.0])
  state['dense1.weight_u'] = np.array([0.6, 0.8])
  state['dense1.weight_v'] = np.ones(2)  # not used
  back = models.to_torch(module, models.from_torch(module, state))
  expected = np.array([1.8, 3.2]) / np.sqrt(13.48)
  np.testing.assert_allclose(back['dense1.weight_v'], expected, rtol=1e-6)


def _errors(state, module=None):
  if module is None:
    module = models.discriminator('mlp', features=(2,), data_shape=(3,))
  with pytest.raises(ValueError) as caught:
    models.from_torch(module, state)
  return str(caught.value).splitlines()


def _mlp_state():
  return {
    'dense1.weight': np.zeros((2, 3)),
    'dense1.bias': np.zeros(2),
    'out.weight': np.zeros((1, 2)),
    'out.bias': np.zeros(1),
  }


def test_everything_that_is_wrong_is_named_at_once():
  state = _mlp_state()
  del state['out.bias']
  state['dense1.weight'] = np.zeros((3, 2))
  state['dense1.bias'] = ['one', 'two']
  state['out.weight_u'] = np.zeros(1)
  state['dense1.num_batches_tracked'] = np.zeros(())
  assert _errors(state) == [
    'state_dict does not fit mlp.Discriminator(features=(2,), '
    'data_shape=(3,)):',
    '  not numbers: dense1.bias',
    '  misshapen: dense1.weight (3, 2), not (2, 3)',
    '  missing: out.bias (1,)',
    '  surplus: out.weight_u (1,)',
    '  surplus: dense1.num_batches_tracked ()',
  ]


@pytest.mark.parametrize(
  'key, value, problem',
  [
    ('out.bias', np.zeros(2), 'misshapen: out.bias (2,), not (1,)'),
    ('step', np.zeros(()), 'surplus: step ()'),
    (7, np.zeros(()), 'not a name: 7'),
  ],
)
def test_one_mistake_alone(key, value, problem):
  _, *lines = _errors({**_mlp_state(), key: value})
  assert lines == [f'  {problem}']


class _Tensor:
  """One that requires a gradient, is of bfloat16 or on a GPU."""

  def __init__(self, error):
    self.error = error

  def __array__(self, dtype=None, copy=None):
    raise self.error


def test_tensors_that_are_no_arrays_are_named():
  state = _mlp_state()
  state['out.weight'] = _Tensor(RuntimeError('requires grad'))
  state['out.bias'] = _Tensor(TypeError('bfloat16'))
  state['step'] = [[1], [2, 3]]
  _, *lines = _errors(state)
  advice = 'of a tensor x pass x.detach().cpu().float().numpy()'
  assert lines[:2] == [
    f'  not an array: out.weight (requires grad); {advice}',
    f'  not an array: out.bias (bfloat16); {advice}',
  ]
  assert len(lines) == 3 and lines[2].startswith('  not an array: step (')


def test_what_no_network_can_have_is_named():
  module = models.discriminator(
    'dc', width=1, image_size=8, batch_norm=True, spectral_norm=True
  )
  state = _zeros(module)
  for key in [key for key in state if key.endswith('weight_u')]:
    state[key] = np.full(state[key].shape, state[key].size ** -0.5)
  models.from_torch(module, state)
  state['conv1.bias'] = np.array([np.nan])
  state['conv2.bias'] = np.array([1e300, 0.0])
  state['conv1_bn.running_var'] = np.array([-0.5])
  state['conv2.weight_u'] = np.array([3.0, 4.0])
  state['dense.weight_u'] = np.ones(2)
  _, *lines = _errors(state, module)
  assert sorted(lines) == [
    '  misshapen: dense.weight_u (2,), not (1,)',
    '  negative variance: conv1_bn.running_var, down to -0.5',
    '  not a unit vector: conv2.weight_u, of length 5',
    '  not finite in float32: conv1.bias, 1 of 1 values',
    '  not finite in float32: conv2.bias, 1 of 2 values',
  ]


@pytest.mark.parametrize('given', [None, [('out.bias', 0.0)]])
def test_no_mapping_is_named(given):
  module = models.discriminator('mlp')
  kind = type(given).__name__
  with pytest.raises(ValueError, match=f'^state_dict is of type {kind}, not a'):
    models.from_torch(module, given)
  with pytest.raises(ValueError, match=f'^variables is of type {kind}, not a'):
    models.to_torch(module, given)


def test_a_common_prefix_is_named():
  state = {f'module.{key}': value for key, value in _mlp_state().items()}
  *_, last = _errors(state)
  assert last == "The names begin with 'module.': pass them without it."


def test_no_prefix_is_named_where_names_are_missing():
  state = {f'module.{key}': value for key, value in _mlp_state().items()}
  del state['module.out.bias']
  assert _errors(state)[-1] == '  surplus: module.out.weight (1, 2)'


def test_a_layer_that_pytorch_has_no_name_for_is_refused():
  class Scale(nn.Module):
    def example_inputs(self):
      return (jnp.zeros((1, 2)),)

    @nn.compact
    def __call__(self, x):
      return x * self.param('factor', nn.initializers.ones, (1, 2))

  with pytest.raises(TypeError, match="'factor' of Scale"):
    models.from_torch(Scale(), {})


def test_a_whole_checkpoint_is_not_a_state_dictionary():
  lines = _errors({'generator': _mlp_state(), 'step': 3})
  assert '  surplus: generator ()' in lines
  assert '  missing: out.weight (1, 2)' in lines


def test_shapes_in_the_message_are_those_of_pytorch():
  module = models.generator('cnn', width=1, image_size=8, z_size=5)
  with pytest.raises(ValueError) as caught:
    models.from_torch(module, {})
  lines = str(caught.value).splitlines()
  assert '  missing: l1.weight (8, 5)' in lines
  assert '  missing: deconv1.weight (8, 4, 4, 4)' in lines
  assert '  missing: conv4.weight (3, 1, 3, 3)' in lines
  assert '  missing: deconv1_bn.running_var (4,)' in lines


def test_to_torch_names_what_is_wrong_with_variables():
  module = models.discriminator('mlp', features=(2,), data_shape=(3,))
  variables = models.from_torch(module, _mlp_state())
  del variables['params']['out']['bias']
  with pytest.raises(ValueError, match=r'missing: params/out/bias \(1,\)'):
    models.to_torch(module, variables)


@pytest.mark.parametrize(
  'file, name, settings',
  [
    ('RSGAN-CNN-quater-cifar', 'cnn', dict(width=16)),
    ('RSGAN-ResNet-quater-cifar', 'resnet', dict(width=64)),
    (
      'RSGAN-ResNet-bottleneck-cifar',
      'resnet',
      dict(width=128, bottleneck=True),
    ),
  ],
)
def test_released_generators_make_the_same_images(file, name, settings):
  root = os.environ.get('GAN_JAX_TEST_DATA')
  if not root:
    pytest.skip('GAN_JAX_TEST_DATA is not set: no released weights to compare')
  folder = pathlib.Path(root) / 'rsgan'
  module = models.generator(name, **settings)
  with np.load(folder / f'{file}.npz') as state:
    variables = models.from_torch(module, state)
  with np.load(folder / 'parity-small-cifar.npz') as stored:
    z, images = stored['z'], stored[f'{file}/eval']
  actual = jit(module.apply)(variables, z)
  np.testing.assert_allclose(actual, _channels_last(images), atol=1e-4)
