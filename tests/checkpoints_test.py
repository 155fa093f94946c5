import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import checkpoints

STATE = {'w': jnp.arange(6.0).reshape(2, 3), 'key': jax.random.key(3)}


def save(directory, step, value, **options):
  state = {**STATE, 'w': STATE['w'] + value}
  checkpoints.save(directory, step, state, {'value': value}, **options)


def largest_file(folder):
  found = [p for p in (folder / 'state').rglob('*') if p.is_file()]
  return max(found, key=lambda p: p.stat().st_size)


def flip_a_bit(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


def restore(directory, said=None):
  said = [] if said is None else said
  return checkpoints.restore_latest(directory, STATE, say=said.append)


def test_round_trip(tmp_path):
  save(tmp_path, 10, 1.5)
  save(tmp_path, 20, 2.5)
  restored = restore(tmp_path)
  assert restored.step == 20 and restored.host == {'value': 2.5}
  np.testing.assert_array_equal(restored.state['w'], STATE['w'] + 2.5)
  assert restored.state['key'] == STATE['key']


def test_no_checkpoint_yet(tmp_path):
  assert restore(tmp_path / 'none') is None


def test_keeps_the_newest(tmp_path):
  for step in (5, 10, 15, 20):
    save(tmp_path, step, step, keep=2)
  assert checkpoints.steps(tmp_path) == [20, 15]


def test_leftovers_never_push_a_whole_checkpoint_out(tmp_path):
  save(tmp_path, 30, 1, keep=1)
  save(tmp_path, 40, 2, keep=2)
  (tmp_path / '00000040' / 'SHA256SUMS').unlink()
  save(tmp_path, 35, 3, keep=1)
  assert checkpoints.steps(tmp_path) == [35]
  assert restore(tmp_path).host == {'value': 3}
  assert not (tmp_path / '00000040').exists()


def test_a_full_disk_is_one_error_and_leaves_the_others(tmp_path, monkeypatch):
  save(tmp_path, 10, 1)

  def full(path, text):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(checkpoints, '_write_durably', full)
  with pytest.raises(checkpoints.CheckpointError, match='No space left'):
    save(tmp_path, 20, 2)
  assert checkpoints.steps(tmp_path) == [10]
  assert not (tmp_path / '00000020').exists()


def test_an_unfinished_checkpoint_is_not_one(tmp_path):
  save(tmp_path, 10, 1)
  save(tmp_path, 20, 2)
  (tmp_path / '00000020' / 'SHA256SUMS').unlink()
  assert checkpoints.steps(tmp_path) == [10]
  assert restore(tmp_path).step == 10
  save(tmp_path, 20, 3)  # and can be written again
  assert restore(tmp_path).host == {'value': 3}


@pytest.mark.parametrize('damage', ['flip', 'delete', 'truncate'])
def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path, damage):
  save(tmp_path, 10, 1)
  save(tmp_path, 20, 2)
  path = largest_file(tmp_path / '00000020')
  if damage == 'flip':
    flip_a_bit(path)
  elif damage == 'delete':
    path.unlink()
  else:
    path.write_bytes(path.read_bytes()[:-1])
  said = []
  assert restore(tmp_path, said).step == 10
  assert len(said) == 1 and path.name in said[0] and '00000020' in said[0]


def test_every_file_is_covered(tmp_path):
  save(tmp_path, 10, 1)
  save(tmp_path, 20, 2)
  folder = tmp_path / '00000020'
  for path in sorted(p for p in folder.rglob('*') if p.is_file()):
    if not path.stat().st_size:
      continue
    content = path.read_bytes()
    flip_a_bit(path)
    assert restore(tmp_path).step == 10, path
    path.write_bytes(content)
  assert restore(tmp_path).step == 20


def test_all_damaged_is_an_error(tmp_path):
  save(tmp_path, 10, 1)
  flip_a_bit(largest_file(tmp_path / '00000010'))
  with pytest.raises(checkpoints.CheckpointError, match='is whole.*10'):
    restore(tmp_path)


def test_another_structure_is_an_error(tmp_path):
  save(tmp_path, 10, 1)
  with pytest.raises(checkpoints.CheckpointError, match='another state'):
    checkpoints.restore_latest(tmp_path, {'other': STATE['w']})


def test_the_checkpoint_of_a_step(tmp_path):
  save(tmp_path, 10, 1)
  save(tmp_path, 20, 2)
  assert checkpoints.restore(tmp_path, 10, STATE).host == {'value': 1}
  with pytest.raises(checkpoints.Gone, match=r'step 15; it has \[10, 20\]'):
    checkpoints.restore(tmp_path, 15, STATE)
  flip_a_bit(largest_file(tmp_path / '00000010'))
  with pytest.raises(checkpoints.Damaged, match='00000010 is damaged'):
    checkpoints.restore(tmp_path, 10, STATE)


def test_one_that_is_removed_while_it_is_read_is_not_damaged(
  tmp_path, monkeypatch
):
  save(tmp_path, 10, 1)
  find = checkpoints._damage

  def remove_first(folder):
    checkpoints.remove(folder)
    return find(folder)

  monkeypatch.setattr(checkpoints, '_damage', remove_first)
  with pytest.raises(checkpoints.Gone, match='was removed meanwhile'):
    checkpoints.restore(tmp_path, 10, STATE)


def test_sums_are_those_of_sha256sum(tmp_path):
  save(tmp_path, 10, 1)
  check = ['sha256sum', '--check', '--quiet', 'SHA256SUMS']
  folder = tmp_path / '00000010'
  assert subprocess.run(check, cwd=folder).returncode == 0
  flip_a_bit(largest_file(folder))
  done = subprocess.run(check, cwd=folder, capture_output=True)
  assert done.returncode != 0
