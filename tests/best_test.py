"""The best checkpoint stays, whatever becomes of the others."""

import json
import shutil

import jax.numpy as jnp
import pytest
from checkpoints_test import STATE, flip_a_bit, largest_file, save
from evaluations_test import entry

from gan_jax import best, checkpoints


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  folder = tmp_path_factory.mktemp('saved')
  for step in (10, 20, 30):
    save(folder / 'checkpoints', step, step)
  return folder


@pytest.fixture
def folder(saved, tmp_path):
  """A workdir with checkpoints of steps 10, 20 and 30."""
  return shutil.copytree(saved, tmp_path / 'run')


def judged(folder, step, value, **protocol):
  """Holds and offers a checkpoint; returns whether it won and what was said."""
  said = []
  best.hold(folder, step, 'trial')
  won = best.offer(
    folder, entry(step, value, **protocol), 'frechet', 'trial', say=said.append
  )
  return won, said


def kept(folder):
  """Steps in best/, that of best.json, and the value of the state there."""
  record = best.read(folder)
  restored = best.restore(folder, STATE)
  assert jnp.array_equal(restored.state['w'], STATE['w'] + restored.step)
  return checkpoints.steps(folder / 'best'), record['step'], restored.step


def test_the_best_so_far_is_kept(folder):
  assert judged(folder, 10, 5.0) == (True, [])
  assert judged(folder, 20, 7.0) == (False, [])
  assert kept(folder) == ([10], 10, 10)
  assert judged(folder, 30, 4.0) == (True, [])
  assert kept(folder) == ([30], 30, 30)
  names = sorted(p.name for p in (folder / 'best').iterdir())
  assert names == ['00000030', 'best.json']
  record = json.loads((folder / 'best' / 'best.json').read_text())
  assert record['metric'] == 'frechet' and record['value'] == 4.0
  assert record['protocol'] == {'features': 'pixels'}


def test_it_outlives_the_checkpoints_it_came_from(folder):
  judged(folder, 10, 5.0)
  for step in (10, 20, 30):
    checkpoints.remove(folder / 'checkpoints' / f'{step:08d}')
  assert kept(folder) == ([10], 10, 10)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), 5.0])
def test_what_is_no_better_does_not_win(folder, value):
  assert judged(folder, 10, value)[0] == (value == 5.0)
  judged(folder, 10, 5.0)
  assert judged(folder, 20, value) == (False, [])
  assert kept(folder) == ([10], 10, 10)


def test_a_higher_score_is_a_better_one(folder):
  for step, value in ((10, 5.0), (20, 7.0), (30, 6.0)):
    scored = entry(step)
    scored['inception_score'] = scored.pop('frechet') | {'value': value}
    best.hold(folder, step, 'trial')
    best.offer(folder, scored, 'inception_score', 'trial')
  assert kept(folder) == ([20], 20, 20)


def test_numbers_by_another_protocol_do_not_compete(folder):
  judged(folder, 10, 5.0)
  won, said = judged(folder, 20, 9.0, features='inception')
  assert won and len(said) == 1
  assert 'step 10' in said[0] and 'begun anew' in said[0]
  assert kept(folder) == ([20], 20, 20)


def test_the_one_before_stays_until_the_new_one_is_whole(folder, monkeypatch):
  judged(folder, 10, 5.0)
  flip_a_bit(largest_file(folder / 'checkpoints' / '00000020'))
  with pytest.raises(checkpoints.Damaged, match='00000020 is damaged'):
    judged(folder, 20, 4.0)

  def killed(path, text):
    raise KeyboardInterrupt

  monkeypatch.setattr(best.workdirs, 'replace', killed)
  with pytest.raises(KeyboardInterrupt):
    judged(folder, 30, 4.0)
  assert best.restore(folder, STATE).step == 10
  monkeypatch.undo()
  assert judged(folder, 30, 4.0)[0]
  assert kept(folder) == ([30], 30, 30)


def test_a_step_measured_again_replaces_itself(folder):
  judged(folder, 10, 5.0)
  assert judged(folder, 10, 4.0)[0]
  assert kept(folder) == ([10], 10, 10)


def test_without_hard_links_it_is_a_copy(folder, monkeypatch):
  def refuse(source, target):
    raise OSError(95, 'Operation not supported')

  monkeypatch.setattr(checkpoints.os, 'link', refuse)
  judged(folder, 10, 5.0)
  assert kept(folder) == ([10], 10, 10)


def test_a_damaged_best_is_named(folder):
  judged(folder, 10, 5.0)
  flip_a_bit(largest_file(folder / 'best' / '00000010'))
  with pytest.raises(checkpoints.Damaged, match=r'best/00000010 is damaged'):
    best.restore(folder, STATE)


def test_without_a_best_checkpoint(folder):
  with pytest.raises(checkpoints.CheckpointError, match='config.best_by'):
    best.restore(folder, STATE)
  judged(folder, 10, 5.0)
  (folder / 'best' / 'best.json').write_text('{"step"')
  said = []
  with pytest.raises(checkpoints.CheckpointError, match='no best checkpoint'):
    best.restore(folder, STATE, say=said.append)
  assert 'best.json is damaged' in said[0]


def test_one_that_is_removed_meanwhile_is_gone(folder):
  checkpoints.remove(folder / 'checkpoints' / '00000020')
  with pytest.raises(checkpoints.Gone):
    best.hold(folder, 20, 'trial')
  assert not (folder / 'best' / 'trial' / '00000020').exists()


def test_a_run_that_goes_back_sets_a_later_best_aside(folder):
  judged(folder, 20, 5.0)
  best.cut(folder, 20)
  assert kept(folder) == ([20], 20, 20)
  said = []
  best.cut(folder, 10, say=said.append)
  assert 'step 20, is later than 10: moved to best.before' in said[0]
  assert not (folder / 'best').exists()
  assert checkpoints.steps(folder / 'best.before') == [20]
  best.propose(folder, entry(10, 6.0), 'frechet', 'trial')
  best.propose(folder, entry(15, 1.0), 'frechet', 'trial')  # no longer there
  assert kept(folder) == ([10], 10, 10)
