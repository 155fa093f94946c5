"""Files of weights, where they are found, and what is refused.

The files are put together here byte by byte, as PyTorch's `save` lays them out,
so PyTorch need not be there; `torch_file_test.py` has it write them.
"""

import hashlib
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from gan_jax.metrics import torch_file, weights

MAGIC = 0x1950A86A20F9469CFC6C
# Two storages: key, PyTorch's name for the type, memory.
STORAGES = {
  '0': ('FloatStorage', np.arange(24, dtype='<f4')),
  '1': ('LongStorage', np.array([-7], '<i8')),
}
# Name -> key of the storage, offset, shape, strides; and what that is.
VIEWS = {
  'whole': ('0', 0, (4, 6), (6, 1)),
  'transposed': ('0', 0, (6, 4), (1, 6)),
  'part': ('0', 7, (2, 3), (6, 2)),
  'one number': ('1', 0, (), ()),
  'empty': ('0', 24, (0, 3), (3, 1)),
}
GRID = np.arange(24, dtype=np.float32).reshape(4, 6)
EXPECTED = {
  'whole': GRID,
  'transposed': GRID.T,
  'part': GRID[1:3, 1::2],
  'one number': np.array(-7),
  'empty': np.empty((0, 3), np.float32),
}


# Pickles, instruction by instruction.
def text(value):
  return b'X' + struct.pack('<I', len(value)) + value.encode()


def number(value):
  return b'J' + struct.pack('<i', value)


def several(*parts):
  return b'(' + b''.join(parts) + b't'


def name_of(module, name):
  return f'c{module}\n{name}\n'.encode()


def ordered(*pairs):
  """An OrderedDict, of keys and values in turn."""
  items = b'(' + b''.join(pairs) + b'u' if pairs else b''
  return name_of('collections', 'OrderedDict') + b')R' + items


def whole(value):
  return b'\x80\x02' + value + b'.'


def tensor(key, offset, shape, strides, *, storages=STORAGES, stream=False):
  kind, memory = storages[key]
  storage = several(
    text('storage'),
    name_of('torch', kind),
    text(key),
    text('cpu'),
    number(memory.size),
    *([b'N'] if stream else []),
  )
  arguments = several(
    storage + b'Q',
    number(offset),
    several(*map(number, shape)),
    several(*map(number, strides)),
    b'\x89',
    ordered(),
  )
  return name_of('torch._utils', '_rebuild_tensor_v2') + arguments + b'R'


def described(views, **settings):
  pairs = []
  for name, view in views.items():
    pairs += [text(name), tensor(*view, **settings)]
  # PyTorch sets an attribute of its dictionary, the versions of the layers.
  return ordered(*pairs) + b'}' + text('_metadata') + ordered() + b'sb'


def as_zip(value, storages=STORAGES, byteorder=b'little', **more):
  records = {'data.pkl': whole(value), 'byteorder': byteorder, 'version': b'3'}
  for key, (_, memory) in storages.items():
    records[f'data/{key}'] = memory.tobytes()
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w') as archive:
    for name, record in (records | more).items():
      archive.writestr(f'archive/{name}', record)
  return file.getvalue()


def as_stream(value, storages=STORAGES, little=b'\x88', protocol=1001):
  used = {k: v for k, v in storages.items() if k.encode() in value}
  magic = b'\x8a\x0a' + MAGIC.to_bytes(10, 'little')
  parts = [whole(magic), whole(b'M' + struct.pack('<H', protocol))]
  parts += [whole(b'}' + text('little_endian') + little + b's'), whole(value)]
  parts += [whole(b'](' + b''.join(map(text, used)) + b'e')]
  for _, memory in used.values():
    parts += [struct.pack('<q', memory.size), memory.tobytes()]
  return b''.join(parts)


def as_npz(**arrays):
  file = io.BytesIO()
  np.savez(file, **arrays)
  return file.getvalue()


def read(folder, data):
  path = folder / 'weights.pth'
  path.write_bytes(data)
  return torch_file.read(path)


def assert_same(actual, expected):
  assert list(actual) == list(expected)
  for name, array in expected.items():
    assert actual[name].dtype == array.dtype, name
    np.testing.assert_array_equal(actual[name], array, err_msg=name)
    assert actual[name].shape == array.shape, name
    assert actual[name].flags.c_contiguous and actual[name].flags.writeable


@pytest.mark.parametrize('layout', [as_zip, as_stream])
def test_both_layouts(tmp_path, layout):
  value = described(VIEWS, stream=layout is as_stream)
  assert_same(read(tmp_path, layout(value)), EXPECTED)


def test_npz(tmp_path):
  assert_same(read(tmp_path, as_npz(**EXPECTED)), EXPECTED)


@pytest.mark.parametrize(
  ('kind', 'memory', 'expected'),
  [
    ('HalfStorage', [0x3C00, 0xC000], np.float16([1, -2])),
    ('BFloat16Storage', [0x3F80, 0xC049], np.float32([1, -3.140625])),
    ('BoolStorage', np.uint8([1, 0]), np.array([True, False])),
    ('CharStorage', np.uint8([255, 1]), np.int8([-1, 1])),
    ('ByteStorage', np.uint8([255, 1]), np.uint8([255, 1])),
    ('DoubleStorage', np.float64([0.1, 2]), np.float64([0.1, 2])),
  ],
)
def test_types(tmp_path, kind, memory, expected):
  if isinstance(memory, list):
    memory = np.array(memory, '<u2')
  storages = {'0': (kind, memory)}
  value = described({'x': ('0', 0, (2,), (1,))}, storages=storages)
  assert_same(read(tmp_path, as_zip(value, storages)), {'x': expected})


def with_view(*view):
  return as_zip(described({'x': view}))


ONE = {'x': ('0', 0, (24,), (1,))}
MODEL = name_of('torch.nn.modules.container', 'Sequential') + b')\x81'
STREAM = as_stream(described(ONE, stream=True))
REFUSED = {
  'empty': (b'', 'empty'),
  'blank': (b' \n', 'empty'),
  'page': (b'\n<!DOCTYPE html><html>', 'HTML'),
  'pointer': (b'version https://git-lfs.github.com/spec/v1', 'git-lfs pointer'),
  'json': (b'{"message": "Not Found"}', 'JSON'),
  'gzip': (b'\x1f\x8b\x08', 'gzip'),
  'noise': (b'abcdefghij', r"first bytes are b'abcdefgh'"),
  'pickle': (pickle.dumps({'x': 1}), 'a pickle that torch.save did not write'),
  'script': (as_zip(b'}', **{'code/a.py': b'1'}), 'TorchScript'),
  'other zip': (as_npz(), r'zip archive without weights \(empty\)'),
  'whole model': (as_zip(MODEL), r'Sequential, .*state_dict\(\)'),
  'wrapped': (
    as_zip(b'}(' + text('model') + described(ONE) + text('n') + b'K\x03u'),
    r"'model' \(a dictionary of 1 entries\), 'n' \(int\); save the dict",
  ),
  'list': (as_zip(b']'), 'type list, not a dictionary'),
  'single': (as_zip(tensor(*ONE['x'])), 'a single tensor'),
  'nameless': (as_zip(b'}K\x03' + tensor(*ONE['x']) + b's'), 'not called by'),
  'big-endian zip': (as_zip(described(ONE), byteorder=b'big'), 'big-endian'),
  'big-endian stream': (
    as_stream(described(ONE, stream=True), little=b'\x89'),
    'big-endian',
  ),
  'other protocol': (as_stream(b'}', protocol=1002), 'protocol, 1002'),
  'too large': (with_view('0', 0, (5, 6), (6, 1)), 'larger than its storage'),
  'behind the end': (with_view('0', 1, (24,), (1,)), 'larger than its storage'),
  'expanded': (with_view('0', 0, (9, 24), (0, 1)), 'larger than its storage'),
  'negative': (with_view('0', -1, (2,), (1,)), 'described by no numbers'),
  'ranks': (with_view('0', 0, (2,), (1, 1)), 'shape .2,. and strides .1, 1'),
  'no record': (
    as_zip(described(ONE), storages={'1': STORAGES['1']}),
    'data/0 is missing',
  ),
  'short record': (
    as_zip(described(ONE), storages={'0': ('', np.zeros(23, '<f4'))}),
    'data/0 has 92 bytes, not 96',
  ),
  'long record': (
    as_zip(described(ONE), storages={'0': ('', np.zeros(25, '<f4'))}),
    'data/0 has 100 bytes, not 96',
  ),
  'view of a storage': (
    as_stream(described(ONE, stream=True).replace(b'Nt', text('v') + b't')),
    'reference of an unknown kind',
  ),
  'cut zip': (as_zip(described(ONE))[:-9], 'damaged or cut off'),
  'cut stream': (STREAM[:-1], 'cut off'),
  'cut pickle': (STREAM[:100], 'in its description'),
  'cut head': (STREAM[:16], 'head is damaged'),
  'more': (STREAM + b'!', 'goes on behind'),
  'other count': (
    STREAM.replace(struct.pack('<q', 24), struct.pack('<q', 23)),
    'has 23 values, not 24',
  ),
  'surplus key': (
    STREAM.replace(whole(b'](' + text('0') + b'e'), whole(b']')),
    'list of storages',
  ),
  'two ways': (
    as_zip(
      ordered(
        text('a'),
        tensor(*ONE['x']),
        text('b'),
        tensor(*ONE['x'], storages={'0': ('IntStorage', np.zeros(24, '<i4'))}),
      )
    ),
    'one storage in two ways',
  ),
}


@pytest.mark.parametrize(('data', 'words'), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path, data, words):
  with pytest.raises(
    ValueError, match=rf'weights\.pth cannot be read.*{words}'
  ):
    read(tmp_path, data)


def test_no_file(tmp_path):
  for path in (tmp_path, tmp_path / 'none.pth'):
    with pytest.raises(ValueError, match=rf'{path} is no file'):
      torch_file.read(path)


class Touch:
  """Creates a file when unpickled by Python."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.system, (f'touch {self.path}',)


@pytest.mark.parametrize('layout', ['zip', 'stream', 'npz'])
def test_code_in_a_file_does_not_run(tmp_path, layout):
  mark = tmp_path / 'ran'
  attack = pickle.dumps(Touch(mark), protocol=2)
  pickle.loads(attack)
  assert mark.exists()  # so the attack works where it is let
  mark.unlink()
  data = {
    'zip': lambda: as_zip(attack[2:-1]),
    'stream': lambda: as_stream(attack[2:-1]),
    'npz': lambda: as_npz(x=np.array([Touch(mark)], object)),
  }[layout]()
  with pytest.raises(ValueError, match=r'(posix|nt)\.system|no plain array'):
    read(tmp_path, data)
  assert not mark.exists()


@pytest.mark.parametrize('layout', ['zip', 'stream', 'npz'])
def test_a_flipped_bit_gives_an_error_or_the_weights(tmp_path, layout):
  """In a stream nothing guards the numbers: there, no other error is asked."""
  data = {
    'zip': lambda: as_zip(described(VIEWS)),
    'stream': lambda: as_stream(described(VIEWS, stream=True)),
    'npz': lambda: as_npz(**EXPECTED),
  }[layout]()
  refused = 0
  for place in range(0, len(data), 11):
    damaged = bytearray(data)
    damaged[place] ^= 1 << place % 8
    try:
      actual = read(tmp_path, bytes(damaged))
    except ValueError:
      refused += 1
      continue
    if layout != 'stream':
      # A shorter table of contents is not seen here; `checked` misses names.
      assert_same(actual, {name: EXPECTED[name] for name in actual})
  assert refused > 20


def found(path='', sha256='', names=('a.npz', 'b.pth'), **settings):
  return weights.find(
    names, path, sha256, network='Net', origin='from its makers', **settings
  )


@pytest.fixture
def caches(tmp_path, monkeypatch):
  """Our cache and PyTorch's, both empty; a user's own must not be seen."""
  monkeypatch.setenv('GAN_JAX_CACHE', str(tmp_path / 'ours'))
  monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  folders = (
    tmp_path / 'ours' / 'weights',
    tmp_path / 'torch' / 'hub' / 'checkpoints',
  )
  for folder in folders:
    folder.mkdir(parents=True)
  return folders


CONTENT = b'weights'
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize('sha256', [DIGEST, DIGEST[:8].upper(), ('0', DIGEST)])
def test_a_given_file_wins_and_is_known_by_its_digest(caches, sha256):
  ours, _ = caches
  (ours / 'a.npz').write_bytes(b'another')
  path = ours / 'mine'
  path.write_bytes(CONTENT)
  assert found(path, sha256) == (path, DIGEST, True)
  assert found(str(path), '0' + DIGEST[1:]) == (path, DIGEST, False)
  assert found(path) == (path, DIGEST, False)


def test_given_folders_and_missing_files(caches):
  with pytest.raises(ValueError, match=r"weights='.*ours/weights' is a folder"):
    found(caches[0])
  with pytest.raises(ValueError, match=r"'/no/file' does not exist; .* of Net"):
    found('/no/file')


def test_the_caches_are_searched_in_order(caches):
  ours, hub = caches
  for path in (hub / 'a.npz', ours / 'b.pth', ours / 'a.npz'):
    path.write_bytes(CONTENT)
    if path.parent == hub:
      with pytest.raises(ValueError, match='not here'):
        found(sha256=DIGEST)
    assert found(sha256=DIGEST, torch_hub=True) == (path, DIGEST, True)


def test_without_settings_the_caches_are_in_the_home_folder(
  caches, tmp_path, monkeypatch
):
  monkeypatch.delenv('GAN_JAX_CACHE')
  monkeypatch.setenv('TORCH_HOME', '')
  assert weights.cache_folder() == tmp_path / '.cache/gan_jax/weights'
  assert weights.torch_hub_folders() == [
    tmp_path / '.cache/torch/hub/checkpoints'
  ]


def test_a_cached_file_of_another_digest_is_refused(caches):
  (caches[0] / 'b.pth').write_bytes(b'another')
  other = hashlib.sha256(b'another').hexdigest()
  with pytest.raises(
    ValueError,
    match=rf'b\.pth is not the published file .* of Net, SHA-256 1234\.\.\.: '
    rf'it has {other}',
  ):
    found(sha256='1234')
  assert not found().known


def test_no_weights_says_which_and_where(caches):
  with pytest.raises(ValueError) as error:
    found(sha256='1234', torch_hub=True)
  words = str(error.value)
  assert 'the file a.npz or b.pth, SHA-256 1234...; from its makers.' in words
  places = [str(folder / name) for folder in caches for name in ('a.npz', 'b.')]
  assert all(place in words for place in places)


EXPECTED_SHAPES = {
  'a.weight': (2, 3),
  'a.bias': (2,),
  'n.running_mean': (2,),
  'n.running_var': (2,),
}


def state(**changes):
  given = {
    k: np.ones(shape, np.float16) for k, shape in EXPECTED_SHAPES.items()
  }
  return given | {k.replace('__', '.'): v for k, v in changes.items()}


def checked(given, **settings):
  return weights.checked(
    given, EXPECTED_SHAPES, file='FILE', network='Net', **settings
  )


def test_checked_gives_what_is_needed_in_float32():
  given = state(n__count=np.array(3))
  actual = checked(dict(reversed(given.items())), optional=['n.count', 'fc'])
  expected = {k: np.ones(v, np.float32) for k, v in EXPECTED_SHAPES.items()}
  assert_same(actual, expected)


def test_checked_names_everything_that_is_amiss():
  given = state(
    a__weight=np.ones((3, 2)),
    n__running_mean=np.float64([1e300, 0]),
    n__running_var=np.float32([1, -2]),
    extra=np.ones(4),
  )
  del given['a.bias']
  with pytest.raises(ValueError) as error:
    checked(given)
  assert str(error.value).splitlines() == [
    'FILE does not fit Net:',
    '  misshapen: a.weight (3, 2), not (2, 3)',
    '  missing: a.bias (2,)',
    '  not finite: n.running_mean, 1 of 2 values',
    '  negative variance: n.running_var, down to -2',
    '  surplus: extra (4,)',
  ]


def test_checked_names_five_of_each_kind_and_counts_them():
  shapes = {f'layer{i}': (2,) for i in range(20)}
  given = {name: np.ones(shape) for name, shape in shapes.items()}
  for i in range(6):
    del given[f'layer{i}']
  given |= {f'layer{i}': np.ones(3) for i in range(7, 12)}
  with pytest.raises(ValueError) as error:
    weights.checked(given, shapes, file='FILE', network='Net')
  assert str(error.value).splitlines() == [
    'FILE does not fit Net:',
    *(f'  missing: layer{i} (2,)' for i in range(5)),
    *(f'  misshapen: layer{i} (3,), not (2,)' for i in range(7, 12)),
    '  missing: 6 in all',
  ]


@pytest.mark.parametrize(
  ('array', 'words'),
  [
    (np.float32([np.nan, 1]), 'not finite: a.bias, 1 of 2'),
    (np.array(['x', 'y']), 'not numbers: a.bias of type <U1'),
    (np.array([True, False]), 'not numbers: a.bias of type bool'),
  ],
)
def test_checked_refuses_what_is_no_number(array, words):
  with pytest.raises(ValueError, match=words):
    checked(state(a__bias=array))


def test_checked_says_when_a_file_is_of_another_network():
  with pytest.raises(
    ValueError,
    match=r'^FILE is of another network than Net: 0 of its 4 entries .*'
    r'\(a\.weight, .* the file has 1 \(conv, \.\.\.\)\.$',
  ):
    checked({'conv': np.ones(3)})
  with pytest.raises(
    ValueError, match=r'of another network .* has 0 \(nothing'
  ):
    checked({})
  prefixed = {f'module.{name}': array for name, array in state().items()}
  with pytest.raises(ValueError, match=r"names begin with 'module\.'"):
    checked(prefixed)
