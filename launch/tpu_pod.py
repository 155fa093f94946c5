"""Trains on a Cloud TPU pod: creates or reuses it, copies, installs, runs.

python -m launch.tpu_pod --name=NAME --zone=us-central1-a \
    --accelerator_type=v5litepod-16 [--spot --restart --mount=/mnt/runs] -- \
    --config=configs/digits.py --workdir=/mnt/runs/digits

Everything goes through the gcloud program, as the account and project that it
is set to. --dry_run prints every command of a run from nothing and runs none.
Ctrl-C stops the run on all workers, which save first; the TPU stays, and costs
money, until --delete or gcloud deletes it. A request that waits in the queue is
waited for by the next start too.

A relative workdir is below the home folder of the first worker, on the TPU's
own disk, which goes with it. To go on after a preemption (--restart) the
workdir must be on storage that outlives it, such as a Filestore share or a
bucket; --setup is the shell command that mounts it, --mount the folder.

Exit codes: those of gan_jax.main; 2 for a mistake; 1 where gcloud failed.
"""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from launch import arguments, gcloud

_ROOT = pathlib.Path(__file__).parents[1]
_OWN_FLAGS = ('distributed', 'coordinator', 'num_processes', 'process_id')
_NAME = re.compile(r'[a-z]([-a-z0-9]{0,61}[a-z0-9])?')
_ZONE = re.compile(r'[a-z]+-[a-z]+[0-9]+-(ai[0-9]+)?[a-z]')
_TYPE = re.compile(r'(v[0-9]+[a-z]*)-[0-9]+')
# Software of the VM for JAX, by the accelerator's generation.
_RUNTIMES = {
  'v2': 'tpu-ubuntu2204-base',
  'v3': 'tpu-ubuntu2204-base',
  'v4': 'tpu-ubuntu2204-base',
  'v5litepod': 'v2-alpha-tpuv5-lite',
  'v5p': 'v2-alpha-tpuv5',
  'v6e': 'v2-alpha-tpuv6e',
}
_LOST = ('ABSENT', 'PREEMPTED', 'TERMINATED')
_COMING = ('CREATING', 'STARTING', 'RESTARTING', 'REIMAGING', 'REPAIRING')
# Requests that will not give a TPU any more; all others are worth waiting for.
_QUEUE_ENDS = ('FAILED', 'SUSPENDING', 'SUSPENDED')
# How often a state is asked again that may be late: a preemption shows first in
# the connection, a new TPU first in the queue.
_SETTLING_POLLS = 4
# What a run gets to end by itself when its TPU has gone: it may have ended for
# another reason, and its code says for which.
_LAST_SECONDS = 2.0


class Failed(Exception):
  """Something that a person has to look at; one line."""


class Stopped(Exception):
  """A person's signal; the argument is its number."""


def main(argv: list[str] | None = None) -> int:
  """Runs one command on a pod; returns its exit code."""
  flags, rest = parse(sys.argv[1:] if argv is None else argv)
  pod = gcloud.Pod(
    name=flags.name,
    zone=flags.zone,
    project=flags.project,
    accelerator_type=flags.accelerator_type,
    runtime_version=flags.runtime_version,
    spot=flags.spot,
    queued=flags.queued or flags.spot,
  )
  if flags.dry_run:
    print(*map(gcloud.line, dry_run(pod, flags, rest)), sep='\n')
    return 0
  if shutil.which('gcloud') is None:
    print(
      'error: there is no gcloud on PATH; install the Google Cloud CLI, or see '
      'the commands with --dry_run.',
      file=sys.stderr,
    )
    return 2
  try:
    return _run_and_delete(pod, flags, rest)
  except (Failed, gcloud.Failed, ValueError) as error:
    print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
    return 2 if isinstance(error, ValueError) else 1


def parse(argv: list[str]):
  """The launcher's flags and those of gan_jax.main.

  Raises:
    SystemExit: 2, after one line on stderr, for flags that make no sense.
  """
  parser = arguments.Parser(__doc__)
  add = parser.add_argument
  add('--name', required=True, help='Of the TPU; an existing one is used.')
  add('--zone', required=True)
  add('--project', help="Left out: gcloud's own.")
  add('--accelerator_type', required=True, help='For example v5litepod-16.')
  add('--runtime_version', help='Left out: by accelerator type.')
  add('--spot', action='store_true', help='Cheap and preemptible; queued.')
  add('--queued', action='store_true', help='Wait in line for the TPU.')
  add('--setup', help='Shell command for each worker before the run.')
  add('--mount', help='Folder of storage that outlives the TPU.')
  add('--restart', action='store_true', help='Go on after a preemption.')
  add('--max_restarts', type=int, default=100)
  add('--force_workdir', action='store_true', help='Any workdir will do.')
  add('--allow_dirty', action='store_true', help='Copy uncommitted changes.')
  add('--delete', action='store_true', help='Delete the TPU in the end.')
  add('--poll_seconds', type=float, default=30.0)
  add('--dry_run', action='store_true')
  flags, rest = parser.parse(argv)
  arguments.refuse(parser, rest, _OWN_FLAGS)
  try:
    _check(flags, arguments.value_of('workdir', rest))
  except ValueError as error:
    parser.error(str(error))
  return flags, rest


def _check(flags, workdir):
  for flag, rule, example in (
    ('name', _NAME, 'lower-case letters, digits and inner hyphens, up to 63'),
    ('zone', _ZONE, 'a zone such as us-central1-a'),
    ('accelerator_type', _TYPE, 'a type such as v5litepod-16'),
  ):
    value = getattr(flags, flag)
    if not rule.fullmatch(value):
      raise ValueError(f'--{flag}={value!r} is not {example}.')
  if flags.runtime_version is None:
    generation = _TYPE.fullmatch(flags.accelerator_type)[1]
    if generation not in _RUNTIMES:
      raise ValueError(
        f'--accelerator_type={flags.accelerator_type}: no --runtime_version is '
        f'known for {generation!r}, only for {sorted(_RUNTIMES)}; give one.'
      )
    flags.runtime_version = _RUNTIMES[generation]
  if flags.poll_seconds < 0 or flags.max_restarts < 0:
    raise ValueError('--poll_seconds and --max_restarts must not be negative.')
  if workdir in (None, ''):
    raise ValueError('--workdir is needed after --.')
  if gcloud.is_replaced(workdir):
    raise ValueError(
      f'--workdir={workdir} is in the folder of the code, which every start '
      'replaces; take another, such as runs/digits (below the home folder).'
    )
  if flags.mount is not None and not flags.mount.startswith('/'):
    raise ValueError(f'--mount={flags.mount!r} must begin with /.')
  if (
    flags.restart and not flags.force_workdir and not _outlives(flags, workdir)
  ):
    raise ValueError(
      f'--restart with --workdir={workdir}: the disk of a TPU goes with it, so '
      'the run would start again from nothing. Mount storage that outlives it '
      '(--setup) and put the workdir below --mount, or say --force_workdir.'
    )


def _outlives(flags, workdir):
  if flags.mount is None:
    return False
  mount, path = (os.path.normpath(p) for p in (flags.mount, workdir))
  return mount != '/' and path.startswith(mount + '/')


def dry_run(pod: gcloud.Pod, flags, rest: list[str]) -> list[list[str]]:
  """Every command of a run that creates its TPU and is not disturbed.

  With --restart, those after a preemption follow.
  """
  archive = 'gan_jax.tar.gz'
  copied = gcloud.pack(archive, flags.allow_dirty, dry=True)
  look = [pod.describe(), pod.describe_queue()]
  delete = [pod.describe_queue(), pod.delete(pod.queued)]
  start = [
    *pod.create(),
    *pod.install(archive),
    *pod.prepare(flags.setup, flags.mount),
    pod.run(rest),
  ]
  commands = [*copied, *look, *start]
  if flags.restart:
    commands += [*look, *delete, *start]
  return [*commands, *delete] if flags.delete else commands


def _run_and_delete(pod, flags, rest):
  signals = []
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: signals.append(number))
  with tempfile.TemporaryDirectory() as folder:
    archive = os.path.join(folder, 'gan_jax.tar.gz')
    try:
      for command in gcloud.pack(archive, flags.allow_dirty, cwd=_ROOT):
        gcloud.call(command, cwd=_ROOT)
      return _attempts(pod, flags, rest, archive, signals)
    except Stopped as stopped:
      print(f'Stopped. {_left(pod, flags)}', file=sys.stderr)
      return 128 + stopped.args[0]
    finally:
      if flags.delete and pod.touched:
        _delete(pod)


def _delete(pod):
  for command in gcloud.deletion(pod):
    _say(f'deleting {pod.name}')
    gcloud.call(command)


def _left(pod, flags):
  if flags.delete or not pod.touched:
    return ''
  return ' '.join(
    f'The TPU may go on: {gcloud.line(x)}' for x in gcloud.deletion(pod)
  )


def _attempts(pod, flags, rest, archive, signals):
  restarts = 0
  while True:
    _obtain(pod, flags, signals)
    lost, code = _lost_or_code(pod, flags, rest, archive, signals)
    if not lost:
      return code
    if not flags.restart:
      raise Failed(
        f'{pod.name} was preempted. The same command with --restart goes on '
        'by itself; --mount and --setup say where the workdir outlives it.'
      )
    restarts += 1
    if restarts > flags.max_restarts:
      raise Failed(f'{pod.name} was preempted {restarts} times; giving up.')
    _say(f'{pod.name} was preempted; starting again ({restarts})')


def _obtain(pod, flags, signals):
  """Until the TPU is ready: as it is, or asked for, or asked for again."""
  asked, patient, shown, unexplained = False, False, None, 0
  while (state := gcloud.state(pod, patient=patient)) != 'READY':
    request = gcloud.queue_state(pod, patient=patient)
    patient = True
    if not asked and _must_ask(pod, state, request):
      asked = pod.touched = True
      _ask(pod, state, request)
      continue
    _check_coming(pod, state, request)
    # There will be a TPU, but neither it nor a queue says so.
    silent = state in _LOST and request in ('ABSENT', 'ACTIVE')
    unexplained = unexplained + 1 if silent else 0
    if unexplained > _SETTLING_POLLS:
      raise Failed(
        f'{pod.name} is {state}, and the request for it {request}; delete what '
        f'there is: {gcloud.line(pod.delete(request != "ABSENT"))}'
      )
    pod.touched = True
    if request not in ('ABSENT', 'UNKNOWN', shown):
      shown = request
      _say(f'the request for {pod.name} is {request}; waiting')
    _wait(flags.poll_seconds, signals)
  if not asked:
    _check_type(pod)
    _say(f'{pod.name} is there')
  pod.touched = True
  if signals:
    raise Stopped(signals[0])


def _must_ask(pod, state, request):
  """Whether there is no TPU, and none will come from what was asked before."""
  if state == 'ABSENT':
    return request in ('ABSENT', *_QUEUE_ENDS)
  return state in _LOST


def _ask(pod, state, request):
  if (state, request) != ('ABSENT', 'ABSENT'):
    _delete(pod)
  _say(f'creating {pod.name} ({pod.accelerator_type})')
  for command in pod.create():
    gcloud.call(command)


def _check_coming(pod, state, request):
  """Raises where waiting would be for nothing."""
  found = request if request in _QUEUE_ENDS else state
  if state in _COMING or found in ('ABSENT', 'UNKNOWN'):
    return
  if found in (*_LOST, *_QUEUE_ENDS):
    raise Failed(f'{pod.name} was asked for, and is {found} now.')
  raise Failed(f'{pod.name} is {state}; start it or delete it.')


def _check_type(pod):
  """Raises unless the TPU that is there is the one that is wanted."""
  found = gcloud.type_of(pod)
  if found and found != pod.accelerator_type:
    pod.touched = False  # not ours to delete
    raise ValueError(
      f'{pod.name} is there as {found}, not as --accelerator_type='
      f'{pod.accelerator_type}; say {found}, or take another --name.'
    )


def _lost_or_code(pod, flags, rest, archive, signals):
  """(whether the TPU has gone, exit code of the run otherwise)."""
  for command in [
    *pod.install(archive),
    *pod.prepare(flags.setup, flags.mount),
  ]:
    code = _watched(pod, command, flags.poll_seconds, signals)
    if code and _gone(pod, flags, signals):
      return True, code
    if signals:
      raise Stopped(signals[0])
    if code:
      raise _failed(pod, command, code)
  _say('running; Ctrl-C stops it on all workers, after saving')
  code = _watched(pod, pod.run(rest), flags.poll_seconds, signals, running=True)
  if signals:
    raise Stopped(signals[0])
  if code in (0, 2):  # done, or a mistake that would be made again
    return False, code
  if _gone(pod, flags, signals):
    return True, code
  if code == gcloud.BUSY:
    raise _failed(pod, pod.run(rest), code)
  return False, code


def _failed(pod, command, code):
  if code == gcloud.BUSY:
    stop = gcloud.line(pod.stop())
    return Failed(f'an earlier run still goes on there; stop it: {stop}')
  return Failed(f'exit code {code} from {gcloud.line(command)}')


def _gone(pod, flags, signals):
  for _ in range(_SETTLING_POLLS):
    if gcloud.state(pod, patient=True) in _LOST:
      return True
    if signals:
      return False
    _wait(flags.poll_seconds, signals)
  return False


def _watched(pod, command, poll_seconds, signals, running=False):
  """Runs until it ends or the TPU has gone; a dead connection may not end."""
  # A group of its own: Ctrl-C must reach the workers, not the connection.
  process = subprocess.Popen(command, start_new_session=True)
  passed = 0
  try:
    asked = time.monotonic()
    while (code := process.poll()) is None:
      if len(signals) > passed:
        passed = len(signals)
        if passed > 1 or not running:
          raise Stopped(signals[0])
        _say('stopping the run on all workers')
        gcloud.call(pod.stop())
      if time.monotonic() - asked > poll_seconds:
        asked = time.monotonic()
        if gcloud.state(pod, patient=True) in _LOST:
          return _last_code(process)
      time.sleep(min(0.2, poll_seconds))
    return code if code >= 0 else 128 - code
  finally:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, signal.SIGTERM)
    process.wait()


def _last_code(process):
  """Of a run whose TPU has gone: its own code where it just ends, else 255."""
  try:
    code = process.wait(_LAST_SECONDS)
  except subprocess.TimeoutExpired:
    return 255
  return code if code >= 0 else 128 - code


def _wait(seconds, signals):
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    if signals:
      raise Stopped(signals[0])
    time.sleep(min(0.2, seconds))


def _say(text):
  print(f'launch.tpu_pod: {text}', file=sys.stderr, flush=True)


if __name__ == '__main__':
  sys.exit(main())
