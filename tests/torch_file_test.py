"""Weights as PyTorch itself writes them, in all of its ways."""

import collections

import numpy as np
import pytest

from gan_jax.metrics import torch_file

torch = pytest.importorskip('torch', reason='has PyTorch write files')

LAYOUTS = pytest.mark.parametrize(
  'zipped', [True, False], ids=['zip', 'stream']
)


def save(value, path, zipped, protocol=2):
  torch.save(
    value,
    path,
    _use_new_zipfile_serialization=zipped,
    pickle_protocol=protocol,
  )
  return path


def tensors():
  base = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
  return collections.OrderedDict(
    whole=base,
    transposed=base.t(),
    part=base[1:3, ::2],
    offset=base.flatten()[7:],
    number=torch.tensor(3.5),
    empty=torch.zeros(0, 3),
    channels_last=torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    half=base.half(),
    bfloat16=base.bfloat16(),
    double=base.double(),
    **{
      str(kind): torch.arange(-2, 3).to(kind)
      for kind in (torch.int64, torch.int32, torch.int16, torch.int8)
    },
    bytes=torch.arange(250, 255, dtype=torch.uint8),
    flags=torch.tensor([True, False]),
    parameter=torch.nn.Parameter(base * 2),
  )


@LAYOUTS
@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_all_kinds_of_tensors(tmp_path, zipped, protocol):
  given = tensors()
  actual = torch_file.read(save(given, tmp_path / 'x.pth', zipped, protocol))
  assert list(actual) == list(given)
  for name, value in given.items():
    value = value.float() if value.dtype == torch.bfloat16 else value
    expected = value.detach().numpy()
    assert actual[name].dtype == expected.dtype, name
    assert actual[name].shape == expected.shape, name
    np.testing.assert_array_equal(actual[name], expected, err_msg=name)


@LAYOUTS
def test_state_of_a_network(tmp_path, zipped):
  net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
  state = net.state_dict()
  actual = torch_file.read(save(state, tmp_path / 'x.pth', zipped))
  assert list(actual) == list(state) and actual['1.running_var'].sum() == 8
  for name, value in state.items():
    np.testing.assert_array_equal(actual[name], value.numpy(), err_msg=name)


@LAYOUTS
@pytest.mark.parametrize(
  ('make', 'words'),
  [
    (lambda: torch.nn.Sequential(), r'container\.Sequential, .*state_dict'),
    (lambda: {'model': tensors(), 'n': 3}, r"'model' \(a dictionary of 17 "),
    (lambda: torch.ones(3), 'a single tensor'),
    (lambda: {0: torch.ones(3)}, 'not called by names'),
    (lambda: {'x': torch.ones(3).expand(4, 3)}, 'larger than its storage'),
    (lambda: {'x': torch.ones(3) + 1j}, 'torch.ComplexFloatStorage'),
    (lambda: {'x': torch.eye(3).to_sparse()}, '_rebuild_sparse_tensor'),
    (lambda: {'x': np.float64(3)}, 'multiarray.scalar'),
  ],
)
def test_refused(tmp_path, zipped, make, words):
  path = save(make(), tmp_path / 'x.pth', zipped)
  with pytest.raises(ValueError, match=rf'x\.pth cannot be read .*{words}'):
    torch_file.read(path)


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_torchscript_is_refused(tmp_path):
  net = torch.jit.trace(torch.nn.Linear(2, 1), torch.ones(1, 2))
  net.save(tmp_path / 'x.pt')
  with pytest.raises(ValueError, match=r'TorchScript archive.*state_dict\(\)'):
    torch_file.read(tmp_path / 'x.pt')
