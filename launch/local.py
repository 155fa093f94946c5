"""Starts gan_jax.main in several processes on this machine and watches them.

python -m launch.local --processes=2 [--devices_per_process=N] -- \
    --config=configs/digits.py --workdir=runs/digits

Worker 0 is the leader, whose lines are shown as they are; the others' begin
with [1], [2] and so on. When a worker dies the others are stopped, and one line
says which and how. SIGINT, SIGTERM and SIGHUP are passed to all workers, which
save and stop; a second signal ends them at once.

Exit codes: those of gan_jax.main; 128 + signal for a worker killed by one.
"""

import contextlib
import ctypes
import itertools
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import NamedTuple

from launch import arguments

_OWN_FLAGS = ('distributed', 'coordinator', 'num_processes', 'process_id')
_POLL_SECONDS = 0.05
_SETTLE_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1
# A number, or a UUID that may be cut short.
_GPU_NAME = re.compile(r'[0-9]+|(GPU|MIG)-\S+')
# How the lines of a stack begin that C++ prints when it aborts.
_FRAMES = ('@ ', '***')
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Worker(NamedTuple):
  """One process and what it has said.

  Attributes:
    index: its `--process_id`.
    process: the running process, leader of its own session.
    errors: lines `error: ...`, held back so that n workers say it once.
    last: the last line on stderr, as a list of one.
    partial: bytes after the last newline, by file descriptor.
  """

  index: int
  process: subprocess.Popen
  errors: list[str]
  last: list[str]
  partial: dict[int, bytes]


def main(argv: list[str] | None = None) -> int:
  """Runs one command in several processes; returns its exit code."""
  job, environments, grace = parse(sys.argv[1:] if argv is None else argv)
  signals = []
  for number in _SIGNALS:
    signal.signal(number, lambda number, frame: signals.append(number))
  workers = []
  try:
    for index, environment in enumerate(environments):
      command = [*job, f'--process_id={index}']
      workers.append(_start(index, command, environment))
    return _supervise(workers, signals, grace)
  finally:
    for worker in workers:  # whatever happened: nobody is left behind
      _signal(worker, signal.SIGKILL)
      worker.process.wait()


def parse(argv: list[str]) -> tuple[list[str], list[dict[str, str]], float]:
  """What to run, one environment for each worker, and the grace time.

  Raises:
    SystemExit: 2, after one line on stderr, for flags that make no sense.
  """
  parser = arguments.Parser(__doc__)
  parser.add_argument('--processes', type=int, required=True)
  parser.add_argument(
    '--devices_per_process',
    type=int,
    help='Simulated devices on CPU, GPUs where there are some; left out: one '
    'CPU device, or an equal share of the visible GPUs.',
  )
  parser.add_argument(
    '--port', type=int, default=0, help='Of the coordinator; 0: a free one.'
  )
  parser.add_argument(
    '--grace',
    type=float,
    default=20.0,
    help='Seconds that the others have to stop when a worker died.',
  )
  parser.add_argument('--module', default='gan_jax.main')
  flags, rest = parser.parse(argv)
  arguments.refuse(parser, rest, _OWN_FLAGS)
  for name in ('processes', 'devices_per_process'):
    value = getattr(flags, name)
    if value is not None and value < 1:
      parser.error(f'--{name}={value} must be at least 1.')
  if flags.grace < 0:
    parser.error(f'--grace={flags.grace} must not be negative.')
  try:
    port = free_port(flags.port)
    environments = share_devices(
      flags.processes, flags.devices_per_process, dict(os.environ)
    )
  except ValueError as error:
    parser.error(str(error))
  job = [sys.executable, '-m', flags.module, *rest]
  job += [
    f'--coordinator=127.0.0.1:{port}',
    f'--num_processes={len(environments)}',
  ]
  return job, environments, flags.grace


def free_port(port: int = 0) -> int:
  """A port that nobody listens on.

  Args:
    port: the one wanted, or 0 for any.

  Raises:
    ValueError: it is no port, or taken.
  """
  if not 0 <= port < 65536:
    raise ValueError(f'--port={port} is not between 0 (any) and 65535.')
  with socket.socket() as probe:
    # As the coordinator does it: a port in TIME_WAIT is free.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
      probe.bind(('', port))
    except OSError as error:
      raise ValueError(f'--port={port}: {error.strerror}.') from error
    return probe.getsockname()[1]


def share_devices(
  processes: int, each: int | None, environment: dict[str, str]
) -> list[dict[str, str]]:
  """One environment a worker: its GPUs, or its simulated CPU devices.

  Args:
    processes: how many workers.
    each: devices of a worker; None for one on CPU, or an equal share.
    environment: that they start from.

  Raises:
    ValueError: there are too few GPUs, or they cannot be shared equally.
  """
  gpus = visible_gpus(environment)
  common = environment | {'PYTHONUNBUFFERED': '1'}
  if any(name.lower().endswith('_proxy') for name in environment):
    # Through a proxy the workers would not find each other.
    past = [environment.get('no_proxy'), '127.0.0.1']
    common['no_proxy'] = ','.join(filter(None, past))
  if not gpus:
    simulated = {} if each is None else {'JAX_NUM_CPU_DEVICES': str(each)}
    return [common | simulated for _ in range(processes)]
  if each is None and len(gpus) % processes:
    raise ValueError(
      f'--processes={processes} does not divide the {len(gpus)} visible GPUs; '
      'set --devices_per_process.'
    )
  each = each or len(gpus) // processes
  if processes * each > len(gpus):
    raise ValueError(
      f'--processes={processes} with --devices_per_process={each} need '
      f'{processes * each} GPUs; {len(gpus)} are visible.'
    )
  return [
    common | {'CUDA_VISIBLE_DEVICES': ','.join(gpus[i * each : (i + 1) * each])}
    for i in range(processes)
  ]


def visible_gpus(environment: dict[str, str]) -> list[str]:
  """Names of the GPUs that JAX would use, as CUDA_VISIBLE_DEVICES has them.

  As CUDA does, it leaves out the first name that is none, such as -1, and all
  after it.
  """
  if environment.get('JAX_PLATFORMS', '').startswith('cpu'):
    return []
  listed = environment.get('CUDA_VISIBLE_DEVICES')
  if listed is not None:
    names = (name.strip() for name in listed.split(','))
    return list(itertools.takewhile(_GPU_NAME.fullmatch, names))
  program = shutil.which('nvidia-smi', path=environment.get('PATH'))
  if program is None:
    return []
  done = subprocess.run([program, '-L'], capture_output=True, text=True)
  lines = [x for x in done.stdout.splitlines() if x.startswith('GPU ')]
  return [str(i) for i in range(len(lines))] if done.returncode == 0 else []


def _start(index: int, command: list[str], environment: dict) -> Worker:
  parent = os.getpid()
  # Looked up here: between fork and exec there is no importing.
  prctl = ctypes.CDLL(None).prctl if sys.platform == 'linux' else None

  def die_with_parent():
    if prctl is not None:
      prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
      if os.getppid() != parent:  # it was faster
        os._exit(1)

  process = subprocess.Popen(
    command,
    env=environment,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    # Its own group: Ctrl-C reaches the workers through us, once.
    start_new_session=True,
    preexec_fn=die_with_parent,
  )
  return Worker(index, process, [], [''], {})


def _supervise(workers, signals, grace) -> int:
  """Until all have ended; returns the exit code."""
  selector = selectors.DefaultSelector()
  for worker in workers:
    for stream in (worker.process.stdout, worker.process.stderr):
      selector.register(stream, selectors.EVENT_READ, worker)
  passed, dead, stages = 0, [], None
  while any(worker.process.poll() is None for worker in workers):
    _read(selector, _POLL_SECONDS)
    if len(signals) > passed:  # a second one is meant seriously
      _send(workers, signal.SIGKILL if passed else signals[0])
      passed = len(signals)
    if stages is None or len(stages) == 2:
      dead += [w for w in workers if w not in dead and _died(w, signals)]
    if dead and stages is None:
      # Its peers abort at once, and may be seen first: wait for both.
      begin = time.monotonic() + _SETTLE_SECONDS
      stages = [(begin, signal.SIGTERM), (begin + grace, signal.SIGKILL)]
    if stages and time.monotonic() > stages[0][0]:
      _send(workers, stages.pop(0)[1])
  _read(selector, 0)
  selector.close()
  if stages is None:
    dead = [worker for worker in workers if _died(worker, signals)]
  return _report(workers, dead, signals)


def _send(workers, number):
  for worker in workers:
    if worker.process.poll() is None:
      _signal(worker, number)


def _signal(worker, number):
  """To the worker; SIGKILL to all it has started as well."""
  with contextlib.suppress(ProcessLookupError, PermissionError):
    if number == signal.SIGKILL:
      os.killpg(worker.process.pid, number)
    else:
      worker.process.send_signal(number)


def _died(worker, signals):
  """Whether it ended otherwise than done or stopped as it was told to."""
  code = worker.process.poll()
  asked = {0, *(-s for s in signals), *(128 + s for s in signals)}
  if len(signals) > 1:
    asked.add(-signal.SIGKILL)
  return code is not None and code not in asked


def _read(selector, timeout):
  """Shows what the workers have written since; all of it where timeout is 0."""
  while selector.get_map():
    ready = selector.select(timeout)
    for key, _ in ready:
      data, worker = os.read(key.fd, 1 << 16), key.data
      *lines, rest = (worker.partial.get(key.fd, b'') + data).split(b'\n')
      worker.partial[key.fd] = rest
      if not data:
        selector.unregister(key.fileobj)
        lines = [rest] if rest else []
      for line in lines:
        _show(worker, line.decode(errors='replace'), key.fileobj)
    if timeout or not ready:
      return
  time.sleep(timeout)


def _show(worker, line, stream):
  if stream is worker.process.stdout:
    print(_prefix(worker) + line, flush=True)
    return
  if line.strip() and not line.lstrip().startswith(_FRAMES):
    worker.last[0] = line.strip()
  if line.startswith('error: '):
    worker.errors.append(line)
  else:
    print(_prefix(worker) + line, file=sys.stderr, flush=True)


def _prefix(worker):
  return f'[{worker.index}] ' if worker.index else ''


def _report(workers, dead, signals) -> int:
  cause = min(dead, key=_blame, default=None)
  if cause is not None and cause.process.returncode == 2:
    wrong = [w for w in workers if w.process.returncode == 2]
    lines = dict.fromkeys(line for w in wrong for line in w.errors)
    if lines:
      print(*lines, sep='\n', file=sys.stderr)
      return 2
  for worker in workers:
    for line in worker.errors:
      print(_prefix(worker) + line, file=sys.stderr)
  if cause is not None:
    return _obituary(cause, len(workers))
  if signals and any(worker.process.returncode for worker in workers):
    print(
      f'All workers were stopped by {signal.Signals(signals[0]).name}. '
      'The same command goes on from the last checkpoint.',
      file=sys.stderr,
    )
    return 128 + signals[0]
  return 0


def _blame(worker):
  """Small for the likely cause, else the first in the order of death.

  JAX aborts the peers of a process that has gone.
  """
  code = worker.process.returncode
  return code != 2, code == -signal.SIGABRT


def _obituary(worker, total) -> int:
  code = worker.process.returncode
  how = f'ended with exit code {code}'
  if code < 0:
    how = f'was killed by {signal.Signals(-code).name}'
  said = (
    f' Its last line on stderr: {worker.last[0]!r}.' if worker.last[0] else ''
  )
  print(
    f'error: worker {worker.index} of {total} (pid {worker.process.pid}) {how}.'
    f'{said} The others were stopped. The same command goes on from the last '
    'checkpoint.',
    file=sys.stderr,
  )
  return code if code > 0 else 128 - code


if __name__ == '__main__':
  sys.exit(main())
