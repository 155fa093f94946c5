"""Several processes on one machine: no worker of these tests needs JAX."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from launch import local

ROOT = pathlib.Path(__file__).parents[1]

# What every worker starts with: `index`, and a way to keep going. It leaves its
# pid, so that a test can look for survivors.
HEAD = """
import os, signal, subprocess, sys, time
flags = dict(f[2:].split('=', 1) for f in sys.argv[1:] if '=' in f)
index = int(flags['process_id'])
open(f"{flags['folder']}/{index}.pid", 'w').write(str(os.getpid()))
def say(text):
  print(text, flush=True)
def others_are_there():
  while len([f for f in os.listdir(flags['folder']) if f[0] in '012'
             and os.path.getsize(os.path.join(flags['folder'], f))]) < int(
                 flags['num_processes']):
    time.sleep(0.01)
"""


def command(folder, body, *own, processes=2):
  """A supervisor of workers that run `body`."""
  (folder / 'work.py').write_text(HEAD + textwrap.dedent(body))
  words = [sys.executable, '-m', 'launch.local', f'--processes={processes}']
  return [*words, '--module=work', *own, '--', f'--folder={folder}']


def environment(folder, **changes):
  path = os.pathsep.join([str(folder), str(ROOT)])
  return os.environ | {'PYTHONPATH': path, 'JAX_PLATFORMS': 'cpu'} | changes


def run(folder, body, *own, processes=2, **changes):
  return subprocess.run(
    command(folder, body, *own, processes=processes),
    env=environment(folder, **changes),
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=60,
  )


@contextlib.contextmanager
def started(folder, body, *own, wait_for='ready', processes=2):
  """A supervisor whose workers have all said `ready`."""
  supervisor = subprocess.Popen(
    command(folder, body, *own, processes=processes),
    env=environment(folder),
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    for _ in range(processes):
      assert wait_for in supervisor.stdout.readline()
    yield supervisor
  finally:
    supervisor.kill()
    supervisor.communicate()


def alive(pid):
  """Whether a process runs; a zombie that nobody has waited for does not."""
  try:
    status = pathlib.Path(f'/proc/{pid}/stat').read_text()
  except (FileNotFoundError, ProcessLookupError):
    return False
  return status.rpartition(')')[2].split()[0] != 'Z'


def survivors(folder):
  return [p.name for p in folder.glob('*.pid') if alive(p.read_text())]


def wait_for_no_survivors(folder):
  for _ in range(500):
    if not survivors(folder):
      return
    time.sleep(0.01)
  raise AssertionError(survivors(folder))


def test_workers_get_their_numbers_and_one_port(tmp_path):
  done = run(tmp_path, "say(' '.join(sys.argv[2:]))", processes=3)
  assert done.returncode == 0, done.stderr
  lines = sorted(done.stdout.splitlines())
  port = lines[0].partition('127.0.0.1:')[2].split()[0]
  rest = f'--coordinator=127.0.0.1:{port} --num_processes=3'
  assert lines == [
    f'{rest} --process_id=0',
    f'[1] {rest} --process_id=1',
    f'[2] {rest} --process_id=2',
  ]
  assert 0 < int(port) < 65536
  assert not done.stderr


def test_simulated_devices_and_chosen_port(tmp_path):
  port = local.free_port()
  done = run(
    tmp_path,
    "say(os.environ['JAX_NUM_CPU_DEVICES'] + ' ' + flags['coordinator'])",
    *('--devices_per_process=3', f'--port={port}'),
  )
  assert sorted(done.stdout.splitlines()) == [
    f'3 127.0.0.1:{port}',
    f'[1] 3 127.0.0.1:{port}',
  ]


def test_a_last_line_without_newline_and_broken_bytes_are_shown(tmp_path):
  body = "os.write(1, b'half \\xff') if index else os.write(2, b'no newline')"
  done = run(tmp_path, body)
  assert done.stdout == '[1] half \ufffd\n'
  assert done.stderr == 'no newline\n'


def test_a_crash_ends_the_others_and_says_which(tmp_path):
  body = """
  others_are_there()
  if index == 1:
    print('RuntimeError: out of cheese', file=sys.stderr)
    print('*** Check failure stack trace: ***', file=sys.stderr)
    print('    @     0x7fec28158ba3  PyObject_Call', file=sys.stderr)
    sys.exit(7)
  time.sleep(60)
  """
  done = run(tmp_path, body, processes=3)
  assert done.returncode == 7
  pid = (tmp_path / '1.pid').read_text()
  errors = [x for x in done.stderr.splitlines() if x.startswith('error: ')]
  assert errors == [
    f'error: worker 1 of 3 (pid {pid}) ended with exit code 7. Its last line '
    "on stderr: 'RuntimeError: out of cheese'. The others were stopped. The "
    'same command goes on from the last checkpoint.'
  ]
  assert '[1] RuntimeError: out of cheese' in done.stderr
  assert not survivors(tmp_path)


def test_a_killed_leader_is_blamed_and_not_those_who_abort(tmp_path):
  # JAX aborts the peers of a dead leader from C++, sometimes before the system
  # shows that the leader has gone.
  body = """
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  others_are_there()
  if index:
    os.abort()
  time.sleep(0.4)
  os.kill(os.getpid(), signal.SIGKILL)
  """
  done = run(tmp_path, body)
  assert done.returncode == 128 + signal.SIGKILL
  assert 'error: worker 0 of 2 ' in done.stderr
  assert 'was killed by SIGKILL.' in done.stderr
  assert 'last line' not in done.stderr  # it said nothing


def test_of_two_crashes_the_earlier_is_blamed(tmp_path):
  body = """
  others_are_there()
  time.sleep(0.5 * (1 - index))
  sys.exit(3 + index)
  """
  done = run(tmp_path, body)
  assert done.returncode == 4
  assert 'error: worker 1 of 2 ' in done.stderr


def test_who_ignores_sigterm_is_killed_with_its_children(tmp_path):
  body = """
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  if index == 0:
    child = subprocess.Popen([sys.executable, '-c',
      'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)'])
    open(flags['folder'] + '/child.pid', 'w').write(str(child.pid))
    open(flags['folder'] + '/ready', 'w').close()
    time.sleep(60)
  while not os.path.exists(flags['folder'] + '/ready'):
    time.sleep(0.01)
  sys.exit(1)
  """
  done = run(tmp_path, body, '--grace=0.2')
  assert done.returncode == 1
  assert len(list(tmp_path.glob('*.pid'))) == 3
  wait_for_no_survivors(tmp_path)


def test_children_of_a_finished_worker_do_not_stay(tmp_path):
  body = """
  code = 'import time; time.sleep(60)'
  child = subprocess.Popen([sys.executable, '-c', code])
  open(flags['folder'] + f'/child{index}.pid', 'w').write(str(child.pid))
  """
  done = run(tmp_path, body)
  assert done.returncode == 0, done.stderr
  assert len(list(tmp_path.glob('child*.pid'))) == 2
  wait_for_no_survivors(tmp_path)


def test_a_mistake_is_told_once(tmp_path):
  body = """
  others_are_there()
  print('WARNING: noise', file=sys.stderr)
  print('error: config.batch_size=3 must be even.', file=sys.stderr)
  sys.exit(2)
  """
  done = run(tmp_path, body, processes=3)
  assert done.returncode == 2
  errors = [x for x in done.stderr.splitlines() if 'error' in x]
  assert errors == ['error: config.batch_size=3 must be even.']


def test_only_the_leader_explains_a_mistake(tmp_path):
  body = """
  others_are_there()
  if index == 0:
    time.sleep(0.3)
    print('error: no such folder.', file=sys.stderr)
  sys.exit(2)
  """
  done = run(tmp_path, body)
  assert done.returncode == 2
  assert done.stderr == 'error: no such folder.\n'


@pytest.mark.parametrize(
  'number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
)
def test_signals_reach_all_and_all_may_save(tmp_path, number):
  body = """
  def stop(number, frame):
    time.sleep(0.3)  # saves
    say('saved')
    sys.exit(128 + number)
  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, stop)
  say('ready')
  time.sleep(60)
  """
  with started(tmp_path, body, '--grace=0') as supervisor:
    supervisor.send_signal(number)
    out, err = supervisor.communicate(timeout=30)
  assert sorted(out.split()) == ['[1]', 'saved', 'saved']
  assert supervisor.returncode == 128 + number
  assert err == (
    f'All workers were stopped by {signal.Signals(number).name}. The same '
    'command goes on from the last checkpoint.\n'
  )
  assert not survivors(tmp_path)


def test_a_second_signal_ends_at_once(tmp_path):
  body = """
  signal.signal(signal.SIGTERM, lambda number, frame: say('no'))
  say('ready')
  while True:
    time.sleep(60)
  """
  with started(tmp_path, body) as supervisor:
    supervisor.terminate()
    for _ in range(2):
      assert 'no' in supervisor.stdout.readline()
    supervisor.terminate()
    supervisor.communicate(timeout=30)
  assert supervisor.returncode == 128 + signal.SIGTERM
  assert not survivors(tmp_path)


def test_a_crash_while_saving_is_a_crash(tmp_path):
  body = """
  def stop(number, frame):
    sys.exit(1 if index else 128 + number)
  signal.signal(signal.SIGTERM, stop)
  say('ready')
  time.sleep(60)
  """
  with started(tmp_path, body) as supervisor:
    supervisor.terminate()
    _, err = supervisor.communicate(timeout=30)
  assert supervisor.returncode == 1
  assert 'error: worker 1 of 2 ' in err


def test_one_worker_stopped_by_hand_stops_all(tmp_path):
  body = """
  def stop(number, frame):
    sys.exit(128 + number)
  signal.signal(signal.SIGTERM, stop)
  say('ready')
  time.sleep(60)
  """
  with started(tmp_path, body) as supervisor:
    os.kill(int((tmp_path / '1.pid').read_text()), signal.SIGTERM)
    _, err = supervisor.communicate(timeout=30)
  assert supervisor.returncode == 128 + signal.SIGTERM
  assert 'worker 1 of 2' in err
  assert 'exit code 143' in err
  assert not survivors(tmp_path)


def test_workers_do_not_outlive_a_killed_supervisor(tmp_path):
  body = """
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  say('ready')
  time.sleep(60)
  """
  with started(tmp_path, body) as supervisor:
    supervisor.kill()
    supervisor.wait()
    wait_for_no_survivors(tmp_path)


@pytest.mark.parametrize(
  ('own', 'words'),
  [
    (['--processes=0', '--', 'x'], '--processes=0 must be at least 1'),
    (['--processes=two', '--', 'x'], "--processes: invalid int value: 'two'"),
    (['--', 'x'], 'required: --processes'),
    (['--processes=2'], 'come after --'),
    (['--processes=2', '--'], 'come after --'),
    (['--processes=2', '--config=x', '--', 'x'], '--config=x'),
    (
      ['--processes=2', '--devices_per_process=0', '--', 'x'],
      '--devices_per_process=0 must be at least 1',
    ),
    (['--processes=2', '--port=70000', '--', 'x'], '--port=70000 is not'),
    (['--processes=2', '--grace=-1', '--', 'x'], '--grace=-1.0 must not'),
    (
      ['--processes=2', '--', '--process_id=1'],
      '--process_id is set by the launcher',
    ),
    (
      ['--processes=2', '--', '--distributed'],
      '--distributed is set by the launcher',
    ),
  ],
)
def test_mistakes_are_one_line(capsys, own, words):
  with pytest.raises(SystemExit) as ended:
    local.main(own)
  assert ended.value.code == 2
  out, err = capsys.readouterr()
  assert not out
  assert len(err.splitlines()) == 1
  assert err.startswith('error: ')
  assert words in err


def test_a_taken_port_is_named(capsys):
  import socket

  with socket.socket() as taken:
    taken.bind(('', 0))
    taken.listen()
    port = taken.getsockname()[1]
    with pytest.raises(ValueError, match=f'--port={port}: Address already'):
      local.free_port(port)


def gpus(listed, processes, each):
  shared = local.share_devices(
    processes, each, {'CUDA_VISIBLE_DEVICES': listed}
  )
  return [one['CUDA_VISIBLE_DEVICES'] for one in shared]


def test_gpus_are_shared():
  assert gpus('0,1,2,3', 2, None) == ['0,1', '2,3']
  assert gpus('4,5,6,7', 2, 1) == ['4', '5']
  assert gpus('GPU-a, GPU-b', 2, 1) == ['GPU-a', 'GPU-b']


def test_gpus_that_cannot_be_shared_are_named():
  with pytest.raises(ValueError, match='--processes=3 does not divide the 4'):
    gpus('0,1,2,3', 3, None)
  with pytest.raises(ValueError, match='need 6 GPUs; 4 are visible'):
    gpus('0,1,2,3', 3, 2)


def test_gpus_are_counted_unless_the_cpu_was_asked_for(tmp_path):
  program = tmp_path / 'nvidia-smi'
  program.write_text('#!/bin/sh\necho "GPU 0: A (x)"\necho "GPU 1: B (y)"\n')
  program.chmod(0o755)
  path = {'PATH': str(tmp_path)}
  assert local.visible_gpus(path) == ['0', '1']
  assert local.visible_gpus(path | {'JAX_PLATFORMS': 'cpu'}) == []
  assert local.visible_gpus(path | {'CUDA_VISIBLE_DEVICES': ''}) == []
  assert local.visible_gpus(path | {'CUDA_VISIBLE_DEVICES': '1'}) == ['1']
  assert local.visible_gpus({'PATH': ''}) == []


@pytest.mark.parametrize(
  ('listed', 'gpus'),
  [
    ('-1', []),
    ('NoDevFiles', []),
    (',0', []),
    ('0,-1,1', ['0']),
    (' 2, 0 ', ['2', '0']),
    ('GPU-8d2e,MIG-8d2e/1/0,none,3', ['GPU-8d2e', 'MIG-8d2e/1/0']),
  ],
)
def test_gpus_end_at_the_first_name_that_is_none(listed, gpus):
  # As the CUDA programming guide has it for CUDA_VISIBLE_DEVICES.
  assert local.visible_gpus({'CUDA_VISIBLE_DEVICES': listed}) == gpus
  shared = local.share_devices(1, None, {'CUDA_VISIBLE_DEVICES': listed})
  seen = ','.join(gpus) if gpus else listed
  assert shared[0]['CUDA_VISIBLE_DEVICES'] == seen


def test_loopback_goes_past_a_proxy():
  shared = local.share_devices(1, None, {'PATH': '', 'no_proxy': 'a.b'})
  assert shared[0]['no_proxy'] == 'a.b,127.0.0.1'
  shared = local.share_devices(1, None, {'PATH': '', 'HTTPS_PROXY': 'c'})
  assert shared[0]['no_proxy'] == '127.0.0.1'
  # JAX warns of any such variable.
  assert 'no_proxy' not in local.share_devices(1, None, {'PATH': ''})[0]
