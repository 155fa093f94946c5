"""What is left of the attempts at a row: reasons, and devices by launch."""

import json
import sys

import pytest

from launch.published import collect, devices, play

CPU = devices.Devices('cpu', ('',))
GPUS = devices.Devices('gpu', ('0', '1', '2', '3'))


def attempt(log, *programs, at_once=1, machine=CPU, steps=dict):
  """Plays one row whose commands are lines of Python."""
  words = [[sys.executable, '-I', '-S', '-c', program] for program in programs]
  left = iter(words)
  task = play.Task('a', log, lambda: next(left, None), steps)
  assert play.play([task], machine, at_once, lambda line: None) == 0


def test_the_reason_is_of_the_last_attempt(tmp_path, monkeypatch):
  monkeypatch.setattr(play, '_POLL', 0.01)
  log = tmp_path / 'row' / 'log.txt'
  assert play.reason(log) == 'it was not started'
  attempt(log, 'raise ValueError("no luck")')
  assert play.reason(log) == 'ValueError: no luck'
  # It was killed, without an error and in the middle of a line.
  attempt(log, 'print("step 3", end="")')
  assert play.reason(log) == 'step 3'
  attempt(log, 'pass')
  assert play.reason(log) == 'it ended without a word'
  # Training and measuring are one attempt.
  attempt(log, 'raise KeyError("x")', 'print("seed-0: measured")')
  assert play.reason(log) == "KeyError: 'x'"
  marks = [line[:3] for line in log.read_text().splitlines()].count('===')
  assert marks == 4


def test_the_log_of_an_older_version_is_one_attempt(tmp_path):
  log = tmp_path / 'log.txt'
  log.write_text('error: no luck\n[####] 3\n')
  assert play.reason(log) == 'no luck'


def test_each_launch_counts_with_its_own_devices(tmp_path, monkeypatch):
  monkeypatch.setattr(play, '_POLL', 0.01)
  log, where = tmp_path / 'log.txt', {0: 0, 1: 0}
  attempt(log, 'pass', machine=GPUS, steps=lambda: where)
  # Interrupted at step 20; then eight rows side by side on four GPUs, and seed
  # 1 was left out.
  attempt(log, 'pass', machine=GPUS, at_once=8, steps=lambda: {0: 20})
  attempt(log, 'pass', machine=GPUS, at_once=4, steps=lambda: {2: 0})
  of = lambda seed: play.shares_of(tmp_path, seed)
  assert of(0) == [(0, 4.0), (20, 0.5)]
  assert of(1) == [(0, 4.0)]
  assert of(2) == [(0, 1.0)]
  assert of(3) == []
  rate = lambda step, speed: dict(step=step, steps_per_second=speed)
  lines = [rate(10, 10.0), rate(20, 10.0), rate(30, 1.0)]
  path = tmp_path / 'metrics.jsonl'
  path.write_text('\n'.join(map(json.dumps, lines)))
  # 4 / 10 s a step up to step 20, 0.5 / 1 s from there.
  assert collect.clock(path, of(0))[1] == pytest.approx([0, 4, 8, 13])


def test_a_launch_that_got_nowhere_does_not_count(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_text(json.dumps(dict(step=10, steps_per_second=10.0)))
  shares = [(0, 4.0), (0, 1.0), (10, 0.5)]
  assert collect.clock(path, shares)[1].tolist() == [0, 1]


def test_notes_of_an_older_version_and_torn_ones(tmp_path):
  path = tmp_path / play.LAUNCHES
  notes = [dict(share=4.0), dict(share=2.0), dict(share=1.0, steps={'0': 30})]
  path.write_text('\n'.join(map(json.dumps, notes)) + '\n{"share"')
  assert play.shares_of(tmp_path, 0) == [(0, 4.0), (0, 2.0), (30, 1.0)]
  assert play.shares_of(tmp_path / 'none', 0) == []
