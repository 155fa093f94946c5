"""Runs the rows of a study as programs of their own, some side by side.

Each row's output goes to its log.txt; what matters of it is said here too. A
signal is passed on: the programs save their runs, and the same command goes on.
"""

import contextlib
import json
import os
import pathlib
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import NamedTuple

from gan_jax import signals
from launch.published import collect, folder
from launch.published import devices as machines
from launch.published import plan as plans

Say = Callable[[str], None]

LOG = 'log.txt'
LAUNCHES = 'launches.jsonl'
# Begins the line of a log before what a new attempt at the row says.
_ATTEMPT = '=== attempt of '
# Seconds between looks, and between progress lines of a row.
_POLL, _PACE = 0.2, 20.0
# Lines of a log that are said at once; those of progress now and then.
_SAID = (
  *('error', 'evaluation at step', 'resuming', 'diverged', 'finished', 'done'),
  *('no numbers', 'not evaluated'),
)
_PROGRESS = '['
# What trains many seeds begins its lines with whose they are.
_SEED = re.compile(r'^seed-\d+: ')
# Of a mistake, and the last line of a traceback.
_ERROR = re.compile(r'error: |[\w.]+(Error|Exception|Failed|Interrupt)\b')


class Task(NamedTuple):
  """What is run one after another for a row, in one slot.

  Attributes:
    name: for the terminal.
    log: file of its output.
    commands: `() -> command or None`, asked until it says None.
    steps: `() -> {seed: step}` of the runs that the next command may train, and
      where they stand.
  """

  name: str
  log: pathlib.Path
  commands: Callable[[], Sequence[str] | None]
  steps: Callable[[], dict[int, int]] = dict


def task(job: plans.Job, seeds: tuple[int, ...], together: str) -> Task:
  """Trains what is left to train of a row, then measures what is left."""
  left = iter(_commands(job, seeds, together))
  steps = lambda: {
    seed: folder.seed_of(job, seed).step for seed in folder.undone(job, seeds)
  }
  return Task(job.row.name, job.folder / LOG, lambda: next(left, None), steps)


def _commands(job, seeds, together):
  todo = folder.undone(job, seeds)
  if todo:
    yield plans.train_command(job, todo, together)
  for seed in seeds:  # of those that the training has brought to their end
    if folder.seed_of(job, seed).state != 'finished':
      continue
    if not collect.is_measured(job, seed):
      yield plans.evaluate_command(job, seed)


class _Children:
  """Programs under way, so that a signal reaches them all."""

  def __init__(self):
    self._lock, self._live, self.stopped = threading.Lock(), set(), 0

  def run(self, command, environ, log):
    """The exit code; None once a signal came."""
    with self._lock:
      if self.stopped:
        return None
      with open(log, 'ab') as out:
        # In a session of its own, so that Ctrl-C comes by us alone, and once.
        child = subprocess.Popen(
          command, stdout=out, stderr=out, env=environ, start_new_session=True
        )
      self._live.add(child)
    code = child.wait()
    with self._lock:
      self._live.discard(child)
    return code

  def stop(self, signum):
    with self._lock:
      self.stopped = signum
      for child in self._live:
        with contextlib.suppress(ProcessLookupError):
          child.send_signal(signum)


def play(
  tasks: Sequence[Task],
  devices: machines.Devices,
  at_once: int,
  say: Say = print,
) -> int:
  """Runs all tasks, so many at once; one that fails does not stop the others.

  Args:
    tasks: in order.
    devices: that they share.
    at_once: how many run side by side.
    say: takes each line for the terminal.

  Returns:
    The signal that ended it before its time, or 0.
  """
  children, slots = _Children(), queue.SimpleQueue()
  for slot in range(at_once):
    slots.put(slot)

  def work(task):
    slot = slots.get()
    try:
      _run(task, children, devices, slot, at_once, say)
    finally:
      slots.put(slot)

  tails = [_Tail(task) for task in tasks]
  with (
    signals.collected() as received,
    futures.ThreadPoolExecutor(max_workers=at_once) as pool,
  ):
    running = [pool.submit(work, task) for task in tasks]
    passed = 0
    while not all(future.done() for future in running):
      time.sleep(_POLL)
      if len(received) > passed:
        passed = len(received)
        say(f'{signal.Signals(received[-1]).name}: waiting for runs to save.')
        children.stop(received[-1])
      for tail in tails:
        tail.say(say)
    for tail in tails:
      tail.say(say, last=True)
    for future in running:
      future.result()
  return children.stopped


def _run(task, children, devices, slot, at_once, say):
  environ = os.environ | machines.environment(devices, slot, at_once)
  root = str(plans.ROOT)
  path = environ.get('PYTHONPATH')
  environ['PYTHONPATH'] = os.pathsep.join(filter(None, [root, path]))
  for number, command in enumerate(iter(task.commands, None)):
    if children.stopped:
      return
    task.log.parent.mkdir(parents=True, exist_ok=True)
    if number == 0:
      _mark(task.log)
    _note(task, devices, at_once)
    say(f'{task.name}: begins, see {task.log}')
    start = time.monotonic()
    code = children.run(command, environ, task.log)
    if code is None:
      return
    took = time.monotonic() - start
    ended = f'ended with code {code}' if code else 'done'
    # Also after a training that failed: seeds that ended may lack numbers, and
    # one that diverged ends with an error too.
    say(f'{task.name}: {ended} after {took:.0f} s')


def _mark(log):
  torn = log.exists() and not log.read_bytes().endswith(b'\n')
  with open(log, 'a') as file:
    file.write('\n' * torn + f'{_ATTEMPT}{_now()}\n')


def _now():
  return time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())


def _note(task, devices, at_once):
  """By what the seconds of the runs are to be multiplied from here on."""
  note = {
    'device': devices.kind,
    'share': machines.share(devices, at_once),
    'steps': task.steps(),
    'time': _now(),
  }
  with open(task.log.parent / LAUNCHES, 'a') as file:
    file.write(json.dumps(note) + '\n')


def shares_of(row_folder: pathlib.Path, seed: int) -> list[tuple[int, float]]:
  """(step, devices) of every launch that trained a seed of a row, in order.

  The run had so many devices from that step on. What an older version noted has
  no step, so there the last launch counts for all of it.
  """
  try:
    lines = (row_folder / LAUNCHES).read_text().splitlines()
  except OSError:
    return []
  found = []
  for line in lines:
    with contextlib.suppress(ValueError, KeyError):  # torn, or not of this seed
      note = json.loads(line)
      steps = note.get('steps', {str(seed): 0})
      found.append((int(steps[str(seed)]), float(note['share'])))
  return found


class _Tail:
  """Says what matters of a log while it grows."""

  def __init__(self, task):
    self._task, self._spoke = task, 0.0
    self._at = task.log.stat().st_size if task.log.exists() else 0

  def say(self, say, last=False):
    if not self._task.log.exists():
      return
    with open(self._task.log, 'rb') as file:
      file.seek(self._at)
      text = file.read()
    whole = len(text) if last else text.rfind(b'\n') + 1
    self._at += whole
    for line in text[:whole].decode(errors='replace').splitlines():
      if self._matters(line):
        say(f'{self._task.name}: {line.strip()}')

  def _matters(self, line):
    line = _SEED.sub('', line)
    if not line.startswith(_PROGRESS):
      return line.startswith(_SAID)
    due = time.monotonic() - self._spoke > _PACE
    if due:
      self._spoke = time.monotonic()
    return due


def reason(log: pathlib.Path) -> str:
  """Why the last attempt failed: its last error, or else its last line."""
  if not log.exists():
    return 'it was not started'
  lines = log.read_text(errors='replace').splitlines()
  marks = [i for i, line in enumerate(lines) if line.startswith(_ATTEMPT)]
  lines = lines[marks[-1] + 1 :] if marks else lines
  errors = [line for line in lines if _ERROR.match(line)]
  lines = [line.strip() for line in lines if line.strip()]
  found = errors or lines or ['it ended without a word']
  return found[-1].removeprefix('error: ')
