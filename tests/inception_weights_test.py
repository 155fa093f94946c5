"""The weights of FID's Inception-v3: found, and refused where not its own."""

import jax
import numpy as np
import pytest

from gan_jax.metrics.nets import inception
from launch import feature_sides


@pytest.fixture(scope='module')
def state():
  return feature_sides.random_state()


def test_settings_that_do_not_exist():
  with pytest.raises(ValueError, match='layer=100 is not one of 64, 192, 768'):
    inception.load(layer=100)
  with pytest.raises(ValueError, match="resize='area' is not one of"):
    inception.load(resize='area')
  with pytest.raises(ValueError, match=r"weights='/none.pth' does not exist"):
    inception.load(weights='/none.pth')


def test_where_the_weights_are_looked_for(tmp_path, monkeypatch):
  monkeypatch.setenv('GAN_JAX_CACHE', str(tmp_path))
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.delenv('TORCH_HOME', raising=False)
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  with pytest.raises(ValueError) as error:
    inception.load()
  for words in (*inception.FILES, 'SHA-256 6726825d', str(tmp_path)):
    assert words in str(error.value)


def refused(state):
  with pytest.raises(ValueError) as error:
    inception.convert(state, 'some.pth', layer=64)
  assert str(error.value).startswith('some.pth ')
  return str(error.value)


def test_what_is_not_used_may_be_there(state):
  more = {
    'AuxLogits.fc.bias': np.zeros(1000, np.float32),
    'Mixed_5b.branch1x1.bn.num_batches_tracked': np.int64(7),
  }
  params = inception.convert(state | more, 'some.pth', layer=64)
  jax.tree.map(
    np.testing.assert_array_equal,
    params,
    inception.convert(state, 'some.pth', layer=64),
  )


def test_an_inception_of_other_classes(state):
  other = state | {
    'fc.weight': np.zeros((1000, 2048), np.float32),
    'fc.bias': np.zeros(1000, np.float32),
  }
  told = refused(other)
  for words in ('1000 classes', 'torchvision', '1008', inception.FILES[0]):
    assert words in told


def test_another_network():
  told = refused({'conv1.weight': np.zeros((64, 3, 7, 7), np.float32)})
  assert 'another network' in told and 'conv1.weight' in told


def test_damaged_entries_are_all_named(state):
  broken = dict(state)
  del broken['Conv2d_1a_3x3.conv.weight']
  del broken['Mixed_7c.branch_pool.bn.bias']
  broken['Mixed_6a.branch3x3.bn.weight'] = np.ones(383, np.float32)
  broken['Mixed_6e.extra.bn.weight'] = np.ones(3, np.float32)
  spoiled = state['Mixed_6b.branch7x7_2.conv.weight'].copy()
  spoiled[0, 0, 0, 0] = np.nan
  broken['Mixed_6b.branch7x7_2.conv.weight'] = spoiled
  broken['Mixed_5b.branch1x1.bn.running_var'] = -np.ones(64, np.float32)
  lines = refused(broken).splitlines()[1:]
  assert [line.strip().split(':')[0] for line in lines] == [
    'missing',
    'negative variance',
    'misshapen',
    'not finite',
    'missing',
    'surplus',
  ]
  assert 'Mixed_7c.branch_pool.bn.bias' in lines[4]
