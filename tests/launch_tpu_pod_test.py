"""The commands for a TPU pod word by word, and the flow against a fake gcloud.

No test reaches the real gcloud: PATH holds a folder of this test alone, or the
command is only printed.
"""

import contextlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from launch import gcloud, tpu_pod

ROOT = pathlib.Path(__file__).parents[1]
HERE = ['--zone=us-central1-a', '--quiet']
OWN = ['--name=pod', '--zone=us-central1-a', '--accelerator_type=v5litepod-16']
JOB = ['--', '--config=configs/digits.py', '--workdir=/mnt/runs/digits']
TPU = ['gcloud', 'compute', 'tpus', 'tpu-vm']
QUEUE = ['gcloud', 'compute', 'tpus', 'queued-resources']

DESCRIBE = [*TPU, 'describe', 'pod', '--format=value(state)', *HERE]
DESCRIBE_TYPE = [*TPU, 'describe', 'pod', '--format=value(acceleratorType)']
DESCRIBE_QUEUE = [
  *(*QUEUE, 'describe', 'pod', '--format=value(state.state)', *HERE)
]
LOOK = [DESCRIBE, DESCRIBE_QUEUE]
CREATE = [
  *(*TPU, 'create', 'pod', '--accelerator-type=v5litepod-16'),
  *('--version=v2-alpha-tpuv5-lite', *HERE),
]
CREATE_SPOT = [
  *(*QUEUE, 'create', 'pod', '--node-id=pod'),
  *('--accelerator-type=v5litepod-16', '--runtime-version=v2-alpha-tpuv5-lite'),
  *('--spot', *HERE),
]
DELETE = [*TPU, 'delete', 'pod', *HERE]
DELETE_SPOT = [*QUEUE, 'delete', 'pod', '--force', *HERE]
COPY = [
  *(*TPU, 'scp', 'gan_jax.tar.gz', 'pod:gan_jax.tar.gz'),
  *('--worker=all', *HERE),
]


def ssh(command):
  return [*TPU, 'ssh', 'pod', '--worker=all', f'--command={command}', *HERE]


INSTALL = ssh(
  'set -e; flock --nonblock gan_jax.lock true || exit 75; '
  'rm -rf gan_jax_code; mkdir gan_jax_code; '
  'tar -xzf gan_jax.tar.gz -C gan_jax_code; '
  'python3 -m pip install --quiet --user uv; '
  'test -d gan_jax_env || '
  'python3 -m uv venv --quiet --python=3.12 gan_jax_env; '
  'python3 -m uv pip install --quiet --python=gan_jax_env/bin/python '
  "--editable 'gan_jax_code[train,tpu]'"
)
RUN = ssh(
  'exec 9> gan_jax.lock; flock --nonblock 9 || exit 75; echo $$ > gan_jax.pid; '
  'exec gan_jax_env/bin/python -P -m gan_jax.main '
  '--config=gan_jax_code/configs/digits.py --workdir=/mnt/runs/digits '
  '--distributed'
)
GIT = [
  ['git', 'status', '--porcelain', '--untracked-files=no'],
  ['git', 'archive', '--format=tar.gz', '--output=gan_jax.tar.gz', 'HEAD'],
]


def printed(capsys, *words):
  """The commands of a dry run, each as its words."""
  assert tpu_pod.main(['--dry_run', *words]) == 0
  return [shlex.split(line) for line in capsys.readouterr().out.splitlines()]


def test_dry_run_of_a_new_tpu(capsys):
  expected = [*GIT, *LOOK, CREATE, COPY, INSTALL, RUN]
  assert printed(capsys, *OWN, *JOB) == expected
  deleting = printed(capsys, *OWN, '--delete', *JOB)
  assert deleting == [*expected, DESCRIBE_QUEUE, DELETE]


def test_dry_run_of_a_spot_tpu_that_is_preempted(capsys):
  setup, mounted = ssh('sudo mount -a'), ssh('mountpoint /mnt/runs')
  work = [CREATE_SPOT, COPY, INSTALL, setup, mounted, RUN]
  delete = [DESCRIBE_QUEUE, DELETE_SPOT]
  options = ['--spot', '--restart', '--delete', '--setup=sudo mount -a']
  assert printed(capsys, *OWN, *options, '--mount=/mnt/runs', *JOB) == [
    *(*GIT, *LOOK, *work, *LOOK, *delete, *work, *delete)
  ]


def test_project_version_and_queue(capsys):
  options = ['--project=mine', '--runtime_version=new', '--queued']
  create = printed(capsys, *OWN, *options, *JOB)[4]
  assert create == [
    *(*QUEUE, 'create', 'pod', '--node-id=pod'),
    *('--accelerator-type=v5litepod-16', '--runtime-version=new'),
    *('--zone=us-central1-a', '--project=mine', '--quiet'),
  ]


def test_uncommitted_changes_are_packed_if_asked(capsys):
  stash, pick, *_ = printed(capsys, *OWN, '--allow_dirty', *JOB)
  assert stash[-2:] == ['stash', 'create']
  assert pick[:2] == ['git', 'archive']


@pytest.mark.parametrize(
  ('kind', 'version'),
  [
    ('v2-8', 'tpu-ubuntu2204-base'),
    ('v3-32', 'tpu-ubuntu2204-base'),
    ('v4-16', 'tpu-ubuntu2204-base'),
    ('v5litepod-16', 'v2-alpha-tpuv5-lite'),
    ('v5p-8', 'v2-alpha-tpuv5'),
    ('v6e-64', 'v2-alpha-tpuv6e'),
  ],
)
def test_software_fits_the_accelerator(capsys, kind, version):
  own = [*OWN[:2], f'--accelerator_type={kind}']
  assert f'--version={version}' in printed(capsys, *own, *JOB)[4]


@pytest.mark.parametrize(
  'word', ["it's", 'a b', '$HOME', '`id`', 'a;b', '"q"', 'x\\y', '*', '(1, 2)']
)
def test_difficult_arguments_arrive_as_they_were(capsys, tmp_path, word):
  flag = f'--config.note={word}'
  run = printed(capsys, *OWN, *JOB, flag)[-1]
  remote = run[7].removeprefix('--command=')
  # What the shell of a worker makes of it.
  python = tmp_path / 'gan_jax_env' / 'bin' / 'python'
  python.parent.mkdir(parents=True)
  python.write_text(
    f'#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n'
  )
  python.chmod(0o755)
  done = subprocess.run(
    remote, shell=True, cwd=tmp_path, capture_output=True, text=True
  )
  assert json.loads(done.stdout) == [
    *('-P', '-m', 'gan_jax.main', '--config=gan_jax_code/configs/digits.py'),
    *(JOB[2], flag, '--distributed'),
  ]


@pytest.mark.parametrize(
  ('given', 'placed'),
  [
    (['--config=configs/a.py:x,y'], ['--config=gan_jax_code/configs/a.py:x,y']),
    (['--config', 'configs/a.py'], ['--config', 'gan_jax_code/configs/a.py']),
    (['--config=/mnt/a.py'], ['--config=/mnt/a.py']),
    (['--config.data_dir=data'], ['--config.data_dir=data']),
    (['--config='], ['--config=']),
  ],
)
def test_the_config_is_the_one_of_the_code(capsys, given, placed):
  run = printed(capsys, *OWN, '--', *given, '--workdir=runs/x')[-1]
  words = shlex.split(run[7].removeprefix('--command='))
  expected = [*placed, '--workdir=runs/x', '--distributed']
  assert words[-len(expected) :] == expected


# What the environment's Python does for a run: reads the config, and goes on
# from the checkpoint that is there.
TRAIN = """
import pathlib, sys
flags = dict(x.removeprefix('--').split('=') for x in sys.argv[4:-1])
assert pathlib.Path(flags['config']).read_text() == 'the config'
checkpoint = pathlib.Path(flags['workdir']) / 'checkpoint'
checkpoint.parent.mkdir(parents=True, exist_ok=True)
steps = int(checkpoint.read_text()) if checkpoint.exists() else 0
checkpoint.write_text(str(steps + 1))
"""
# And the system's Python: pip and uv install nothing.
UV = """#!/bin/sh
case "$*" in *' venv '*)
  mkdir -p gan_jax_env/bin
  cp train gan_jax_env/bin/python
esac
"""


def test_a_second_start_finds_the_checkpoint_of_the_first(capsys, tmp_path):
  """The printed lines, in the real shell, in a home folder of their own."""
  for name, text in (
    ('programs/python3', UV),
    ('home/train', f'#!{sys.executable}{TRAIN}'),
    ('code/configs/digits.py', 'the config'),
  ):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
  home = tmp_path / 'home'
  shutil.make_archive(home / 'gan_jax', 'gztar', tmp_path / 'code')
  job = ['--', '--config=configs/digits.py', '--workdir=runs/digits']
  for steps in ('1', '2'):
    *_, install, run = printed(capsys, *OWN, *job)
    for words in (install, run):
      done = subprocess.run(
        words[7].removeprefix('--command='),
        shell=True,
        cwd=home,
        env={'PATH': f'{tmp_path}/programs:{os.environ["PATH"]}'},
        capture_output=True,
        text=True,
      )
      assert done.returncode == 0, done.stderr
    assert (home / 'runs/digits/checkpoint').read_text() == steps


def test_the_remote_commands_lock_and_stop(tmp_path):
  """The real shell commands of a worker, on this machine."""
  pod = gcloud.Pod('pod', 'us-central1-a', None, 'v4-8', 'x')
  shell = lambda command: command[7].removeprefix('--command=')
  (tmp_path / 'gan_jax_code').mkdir()
  python = tmp_path / 'gan_jax_env' / 'bin' / 'python'
  python.parent.mkdir(parents=True)
  python.write_text('#!/bin/sh\necho ready\nexec sleep 60\n')
  python.chmod(0o755)
  here = dict(shell=True, cwd=tmp_path, timeout=30)
  # Nothing runs: stopping is no mistake.
  assert subprocess.run(shell(pod.stop()), **here).returncode == 0
  first = subprocess.Popen(
    shell(pod.run([])), shell=True, cwd=tmp_path, stdout=subprocess.PIPE
  )
  try:
    assert first.stdout.readline() == b'ready\n'
    again = subprocess.run(shell(pod.run([])), **here)
    assert again.returncode == gcloud.BUSY
    install = shell(pod.install('x')[1])
    assert subprocess.run(install, **here).returncode == gcloud.BUSY
    assert (tmp_path / 'gan_jax_code').exists()
    assert subprocess.run(shell(pod.stop()), **here).returncode == 0
    assert first.wait(timeout=30) == -signal.SIGTERM
  finally:
    first.kill()
    first.communicate()


@pytest.mark.parametrize(
  ('own', 'words'),
  [
    (['--name=Pod'], "--name='Pod' is not lower-case"),
    (['--name=1pod'], "--name='1pod' is not"),
    (['--name=pod-'], "--name='pod-' is not"),
    (['--name=' + 'a' * 64], 'up to 63'),
    (['--name=a;b'], "--name='a;b' is not"),
    (['--zone=us-central1'], "--zone='us-central1' is not a zone"),
    (['--zone=here'], "--zone='here' is not a zone"),
    (['--accelerator_type=tpu'], "--accelerator_type='tpu' is not a type"),
    (['--accelerator_type=v9x-8'], "no --runtime_version is known for 'v9x'"),
    (['--max_restarts=-1'], 'must not be negative'),
    (['--mount=runs'], "--mount='runs' must begin with /"),
    (['--restart'], 'the disk of a TPU goes with it'),
    (['--restart', '--mount=/mnt/run'], 'the disk of a TPU goes with it'),
    (['--restart', '--mount=/'], 'the disk of a TPU goes with it'),
    (['--nonsense'], '--nonsense'),
  ],
)
def test_mistakes_are_one_line(capsys, own, words):
  with pytest.raises(SystemExit) as ended:
    tpu_pod.main([*OWN, *own, *JOB])
  assert ended.value.code == 2
  out, err = capsys.readouterr()
  assert not out
  assert len(err.splitlines()) == 1
  assert err.startswith('error: ')
  assert words in err


@pytest.mark.parametrize(
  ('rest', 'words'),
  [
    ([], 'come after --'),
    (['--', '--config=x'], '--workdir is needed after --'),
    (['--', '--workdir=gan_jax_code/runs'], 'which every start replaces'),
    (['--', '--workdir=/home/me/gan_jax_code/x'], 'which every start replaces'),
    (['--', '--workdir=./a/../gan_jax_code'], 'which every start replaces'),
    (['--', '--workdir=x', '--distributed'], 'set by the launcher'),
    (['--', '--workdir', 'x', '--num_processes', '2'], 'set by the launcher'),
  ],
)
def test_mistakes_after_the_dashes_are_one_line(capsys, rest, words):
  with pytest.raises(SystemExit) as ended:
    tpu_pod.main([*OWN, *rest])
  assert ended.value.code == 2
  err = capsys.readouterr().err
  assert len(err.splitlines()) == 1
  assert words in err


def test_names_at_the_edge_are_fine(capsys):
  for name in ('a', 'a' * 63, 'a-1'):
    commands = printed(capsys, f'--name={name}', *OWN[1:], *JOB)
    assert any(name in command for command in commands)
  for zone in ('europe-west4-a', 'us-south1-ai1b', 'northamerica-northeast1-c'):
    commands = printed(capsys, OWN[0], f'--zone={zone}', OWN[2], *JOB)
    assert any(f'--zone={zone}' in command for command in commands)


def test_a_workdir_that_outlives_the_tpu_may_restart(capsys):
  printed(capsys, *OWN, '--restart', '--mount=/mnt/runs/', *JOB)
  printed(capsys, *OWN, '--restart', '--force_workdir', *JOB)


# A gcloud that notes what it was asked and answers from a list: for each kind
# of command [exit code, stdout, stderr, seconds]; the last answer stays. It
# knows of no request unless told. A run whose stdout says PREEMPT loses its
# TPU, until that is deleted.
FAKE = """
import json, os, pathlib, sys, time
home = pathlib.Path(__file__).parent
words = sys.argv[1:]
kind = ' '.join(words[2:4])
if kind == 'tpu-vm ssh':
  command = words[6].removeprefix('--command=')
  kinds = {'uv pip': 'install', 'mountpoint': 'mounted', 'gan_jax.main': 'run',
           'kill -TERM': 'stop'}
  kind = next((k for part, k in kinds.items() if part in command), 'setup')
if '--format=value(acceleratorType)' in words:
  kind = 'type describe'
with open(home / 'log', 'a') as log:
  log.write(json.dumps([kind, words]) + '\\n')
none = [1, '', 'NOT_FOUND', 0] if kind == 'queued-resources describe' else None
answers = json.loads((home / 'answers').read_text())
answers = answers.get(kind, [none or [0, '', '', 0]])
count = home / ('count ' + kind)
number = int(count.read_text()) if count.exists() else 0
count.write_text(str(number + 1))
code, out, err, seconds = answers[min(number, len(answers) - 1)]
preempted = home / 'preempted'
if kind == 'run' and out == 'PREEMPT':
  preempted.touch()
if 'delete' in kind:
  preempted.unlink(missing_ok=True)
if kind == 'tpu-vm describe' and preempted.exists():
  out = 'PREEMPTED'
if kind == 'stop':
  (home / 'stopped').touch()
end = time.monotonic() + seconds
if kind == 'run':
  print('running', flush=True)
while time.monotonic() < end:
  if kind == 'run' and (home / 'stopped').exists():
    sys.exit(143)
  time.sleep(0.01)
print(out, end='')
print(err, end='', file=sys.stderr)
sys.exit(code)
"""
NOT_FOUND = [1, '', 'ERROR: (gcloud.x) NOT_FOUND: Resource was not found', 0]
READY = [0, 'READY\n', '', 0]
COMING = [0, 'CREATING\n', '', 0]
WAITING = [0, 'WAITING_FOR_RESOURCES\n', '', 0]
ACTIVE = [0, 'ACTIVE\n', '', 0]
PREEMPTED = [255, 'PREEMPT', '', 0]


@pytest.fixture
def fake(tmp_path):
  """A folder for PATH with the fake gcloud and the real git, nothing else."""
  program = tmp_path / 'gcloud'
  program.write_text(f'#!{sys.executable}\n{FAKE}')
  program.chmod(0o755)
  (tmp_path / 'git').symlink_to(shutil.which('git'))
  return tmp_path


def command(*own):
  # Uncommitted changes are nobody's business in a test of the flow.
  speed = ['--poll_seconds=0.05', '--allow_dirty']
  return [sys.executable, '-m', 'launch.tpu_pod', *OWN, *speed, *own, *JOB]


def play(fake, answers, *own):
  """Runs the launcher; returns it and the kinds of commands, without polls."""
  (fake / 'answers').write_text(json.dumps(answers))
  done = subprocess.run(
    command(*own),
    cwd=ROOT,
    env=os.environ | {'PATH': str(fake)},
    capture_output=True,
    text=True,
    timeout=60,
  )
  return done, kinds(fake)


def kinds(fake):
  return [kind for kind, _ in noted(fake) if 'describe' not in kind]


def noted(fake):
  lines = (fake / 'log').read_text().splitlines()
  return [json.loads(line) for line in lines]


WORK = ['tpu-vm scp', 'install', 'run']


def test_flow_of_a_new_tpu(fake):
  answers = {'tpu-vm describe': [NOT_FOUND, READY]}
  done, asked = play(fake, answers)
  assert done.returncode == 0, done.stderr
  assert asked == ['tpu-vm create', *WORK]
  assert 'running' in done.stdout  # the log of the run is shown


def test_the_flow_gives_the_commands_of_the_dry_run(fake, capsys):
  options = ['--spot', '--delete', '--setup=sudo mount -a', '--mount=/mnt/runs']
  answers = {
    'tpu-vm describe': [NOT_FOUND, READY],
    'queued-resources describe': [NOT_FOUND, ACTIVE],
  }
  done, _ = play(fake, answers, *options)
  assert done.returncode == 0, done.stderr
  asked = [words for _, words in noted(fake) if 'describe' not in words]
  expected = [
    words[1:]
    for words in printed(capsys, *OWN, *options, *JOB)
    if words[0] == 'gcloud' and 'describe' not in words
  ]
  # The archive lies in a folder of its own; all else is word by word the same.
  asked[1][4] = expected[1][4]
  assert asked == expected


def test_flow_of_a_tpu_that_is_there(fake):
  done, asked = play(fake, {'tpu-vm describe': [READY]})
  assert done.returncode == 0, done.stderr
  assert asked == WORK


def test_flow_waits_in_the_queue(fake):
  answers = {
    'tpu-vm describe': [NOT_FOUND, NOT_FOUND, COMING, READY],
    'queued-resources describe': [NOT_FOUND, WAITING, ACTIVE],
  }
  done, asked = play(fake, answers, '--spot', '--delete')
  assert done.returncode == 0, done.stderr
  assert asked == [
    *('queued-resources create', *WORK, 'queued-resources delete')
  ]


def test_a_request_that_failed_is_told(fake):
  answers = {
    'tpu-vm describe': [NOT_FOUND],
    'queued-resources describe': [NOT_FOUND, [0, 'FAILED', '', 0]],
  }
  done, asked = play(fake, answers, '--spot')
  assert done.returncode == 1
  assert 'error: pod was asked for, and is FAILED now.' in done.stderr
  assert asked == ['queued-resources create']


# As the reference of the API has them: all but those that have ended.
COMING_REQUESTS = ['CREATING', 'ACCEPTED', 'PROVISIONING', 'ACTIVE']
COMING_REQUESTS += ['WAITING_FOR_RESOURCES']


@pytest.mark.parametrize('request_state', COMING_REQUESTS)
@pytest.mark.parametrize('own', [[], ['--spot']], ids=['plain', 'spot'])
def test_a_request_that_waits_keeps_its_place(fake, own, request_state):
  answers = {
    'tpu-vm describe': [NOT_FOUND, NOT_FOUND, READY],
    'queued-resources describe': [[0, request_state, '', 0]],
  }
  done, asked = play(fake, answers, *own)
  assert done.returncode == 0, done.stderr
  assert asked == WORK
  assert done.stderr.count(f'is {request_state}; waiting') == 1


@pytest.mark.parametrize('ended', ['FAILED', 'SUSPENDING', 'SUSPENDED'])
def test_a_request_that_ended_is_asked_for_anew(fake, ended):
  answers = {
    'tpu-vm describe': [NOT_FOUND, READY],
    'queued-resources describe': [[0, ended, '', 0]],
  }
  done, asked = play(fake, answers, '--queued')
  assert done.returncode == 0, done.stderr
  create = ['queued-resources delete', 'queued-resources create']
  assert asked == [*create, *WORK]


def test_a_request_that_is_being_deleted_is_asked_for_when_it_has_gone(fake):
  answers = {
    'tpu-vm describe': [NOT_FOUND, NOT_FOUND, READY],
    'queued-resources describe': [[0, 'DELETING', '', 0], NOT_FOUND],
  }
  done, asked = play(fake, answers, '--queued')
  assert done.returncode == 0, done.stderr
  assert asked == ['queued-resources create', *WORK]


def test_a_request_that_gives_no_tpu_of_that_name_is_told(fake):
  answers = {
    'tpu-vm describe': [NOT_FOUND],
    'queued-resources describe': [ACTIVE],
  }
  done, asked = play(fake, answers, '--queued')
  assert done.returncode == 1
  assert 'error: pod is ABSENT, and the request for it ACTIVE; ' in done.stderr
  assert asked == []


@pytest.mark.parametrize('own', [[], ['--spot'], ['--queued']])
@pytest.mark.parametrize(
  ('request_answer', 'deleted'),
  [(NOT_FOUND, 'tpu-vm delete'), (ACTIVE, 'queued-resources delete')],
)
def test_what_is_there_is_deleted(fake, own, request_answer, deleted):
  answers = {
    'tpu-vm describe': [READY],
    'queued-resources describe': [request_answer],
  }
  done, asked = play(fake, answers, *own, '--delete')
  assert done.returncode == 0, done.stderr
  assert asked == [*WORK, deleted]


@pytest.mark.parametrize(
  ('own', 'deleted'),
  [([], 'tpu-vm delete'), (['--spot'], 'queued-resources delete')],
)
def test_a_queue_that_does_not_answer_leaves_nothing_behind(fake, own, deleted):
  answers = {
    'tpu-vm describe': [READY],
    'queued-resources describe': [[1, '', 'UNAVAILABLE', 0]],
  }
  _, asked = play(fake, answers, *own, '--delete')
  assert asked[-1] == deleted


def test_a_tpu_that_could_not_be_made_is_not_deleted(fake):
  answers = {
    'tpu-vm describe': [NOT_FOUND],
    'tpu-vm create': [[1, '', 'quota', 0]],
  }
  done, asked = play(fake, answers, '--delete')
  assert done.returncode == 1
  assert 'error: exit code 1 from gcloud compute tpus tpu-vm cr' in done.stderr
  assert asked == ['tpu-vm create']


@pytest.mark.parametrize('first', [READY, COMING], ids=['ready', 'coming'])
def test_a_tpu_of_another_type_is_refused(fake, first):
  answers = {
    'tpu-vm describe': [first, READY],
    'type describe': [[0, 'v4-8\n', '', 0]],
  }
  done, asked = play(fake, answers, '--delete')
  assert done.returncode == 2
  error = 'error: pod is there as v4-8, not as --accelerator_type=v5litepod-16'
  assert [x for x in done.stderr.splitlines() if error in x]
  assert asked == []  # not even deleted: it is somebody else's
  described = next(
    words for kind, words in noted(fake) if kind == 'type describe'
  )
  assert described == [*DESCRIBE_TYPE[1:], *HERE]


@pytest.mark.parametrize('said', ['v5litepod-16\n', 'a/b/v5litepod-16\n', ''])
def test_a_tpu_of_the_same_type_is_used(fake, said):
  answers = {'tpu-vm describe': [READY], 'type describe': [[0, said, '', 0]]}
  done, asked = play(fake, answers)
  assert done.returncode == 0, done.stderr
  assert asked == WORK


RESTART = ['--restart', '--mount=/mnt/runs']
WORK_MOUNTED = ['tpu-vm scp', 'install', 'mounted', 'run']


def test_flow_after_a_preemption(fake):
  answers = {'tpu-vm describe': [READY], 'run': [PREEMPTED, [0, '', '', 0]]}
  done, asked = play(fake, answers, *RESTART)
  assert done.returncode == 0, done.stderr
  assert asked == [
    *(*WORK_MOUNTED, 'tpu-vm delete', 'tpu-vm create', *WORK_MOUNTED)
  ]
  assert 'pod was preempted; starting again (1)' in done.stderr


def test_a_preemption_is_seen_while_the_connection_hangs(fake):
  hangs = [255, 'PREEMPT', '', 60]
  answers = {'tpu-vm describe': [READY], 'run': [hangs, [0, '', '', 0]]}
  done, asked = play(fake, answers, *RESTART)
  assert done.returncode == 0, done.stderr
  assert asked.count('run') == 2
  assert asked.count('tpu-vm delete') == 1


def test_a_preemption_without_restart_is_told(fake):
  done, asked = play(fake, {'tpu-vm describe': [READY], 'run': [PREEMPTED]})
  assert done.returncode == 1
  error = 'error: pod was preempted. The same command with --restart'
  assert error in done.stderr
  assert asked == WORK


def test_restarts_are_counted(fake):
  answers = {'tpu-vm describe': [READY], 'run': [PREEMPTED]}
  done, asked = play(fake, answers, *RESTART, '--max_restarts=1')
  assert done.returncode == 1
  assert 'error: pod was preempted 2 times; giving up.' in done.stderr
  assert asked.count('run') == 2


@pytest.mark.parametrize('code', [2, 134])
def test_other_ends_of_the_run_do_not_restart(fake, code):
  answers = {'tpu-vm describe': [READY], 'run': [[code, '', 'error: no\n', 0]]}
  done, asked = play(fake, answers, *RESTART, '--delete')
  assert done.returncode == code
  assert asked == [*WORK_MOUNTED, 'tpu-vm delete']


def test_a_mistake_is_not_repeated_even_if_the_tpu_has_gone(fake):
  run = [2, 'PREEMPT', '', 0]
  done, asked = play(fake, {'tpu-vm describe': [READY], 'run': [run]}, *RESTART)
  assert done.returncode == 2
  assert asked == WORK_MOUNTED


def test_storage_that_is_not_there_ends_it(fake):
  answers = {'tpu-vm describe': [READY], 'mounted': [[32, '', '', 0]]}
  done, asked = play(fake, answers, *RESTART)
  assert done.returncode == 1
  assert 'mountpoint /mnt/runs' in done.stderr
  assert 'run' not in asked


def test_an_earlier_run_is_not_disturbed(fake):
  answers = {'tpu-vm describe': [READY], 'install': [[75, '', '', 0]]}
  done, asked = play(fake, answers)
  assert done.returncode == 1
  assert 'error: an earlier run still goes on there; stop it: ' in done.stderr
  assert 'run' not in asked


def test_what_gcloud_says_is_told(fake):
  said = 'noise\nERROR: (gcloud) PERMISSION_DENIED: no such account\n'
  answers = {'tpu-vm describe': [[1, '', said, 0]]}
  done, asked = play(fake, answers, '--delete')
  assert done.returncode == 1
  errors = [x for x in done.stderr.splitlines() if x.startswith('error: ')]
  assert len(errors) == 1
  assert 'PERMISSION_DENIED: no such account' in errors[0]
  assert asked == []  # nothing was there to delete


def test_a_stopped_tpu_is_named(fake):
  done, _ = play(fake, {'tpu-vm describe': [[0, 'STOPPED', '', 0]]})
  assert done.returncode == 1
  assert 'error: pod is STOPPED; start it or delete it.' in done.stderr


def test_uncommitted_changes_are_refused(fake, monkeypatch):
  git = fake / 'git'
  git.unlink()
  git.write_text('#!/bin/sh\necho " M gan_jax/step.py"\n')
  git.chmod(0o755)
  words = [word for word in command() if word != '--allow_dirty']
  done = subprocess.run(
    words,
    cwd=ROOT,
    env=os.environ | {'PATH': f'{fake}:/bin'},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2
  assert done.stderr.startswith('error: there are uncommitted changes;')
  assert not (fake / 'log').exists()


def test_a_missing_gcloud_is_one_line(tmp_path):
  done = subprocess.run(
    command(),
    cwd=ROOT,
    env=os.environ | {'PATH': str(tmp_path)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2
  assert done.stderr.startswith('error: there is no gcloud on PATH')
  assert len(done.stderr.splitlines()) == 1


@contextlib.contextmanager
def running(fake, *own):
  answers = {'tpu-vm describe': [READY], 'run': [[0, '', '', 60]]}
  (fake / 'answers').write_text(json.dumps(answers))
  process = subprocess.Popen(
    command(*own),
    cwd=ROOT,
    env=os.environ | {'PATH': str(fake)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    assert process.stdout.readline() == 'running\n'
    yield process
  finally:
    process.kill()
    process.communicate()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_on_the_workers(fake, number):
  with running(fake) as process:
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
  assert process.returncode == 128 + number
  assert kinds(fake) == [*WORK, 'stop']
  assert 'The TPU may go on: gcloud compute tpus tpu-vm delete pod' in err


def test_a_signal_deletes_where_that_was_asked(fake):
  with running(fake, '--delete') as process:
    process.terminate()
    process.communicate(timeout=30)
  assert kinds(fake) == [*WORK, 'stop', 'tpu-vm delete']


def test_packing_takes_the_changes_of_tracked_files(tmp_path):
  git = lambda *words: subprocess.run(
    ['git', '-c', 'user.name=a', '-c', 'user.email=a@b', *words],
    cwd=tmp_path,
    check=True,
    capture_output=True,
  )
  git('init')
  (tmp_path / 'a').write_text('old')
  git('add', 'a')
  git('commit', '-m', 'x')

  def packed(dirty):
    (commands,) = gcloud.pack(str(tmp_path / 'x.tar.gz'), dirty, cwd=tmp_path)
    gcloud.call(commands, cwd=tmp_path)
    out = tmp_path / f'out{time.monotonic_ns()}'
    shutil.unpack_archive(tmp_path / 'x.tar.gz', out, filter='data')
    return {p.name: p.read_text() for p in out.iterdir()}

  assert packed(dirty=False) == {'a': 'old'}
  assert packed(dirty=True) == {'a': 'old'}
  (tmp_path / 'a').write_text('new')
  (tmp_path / 'untracked').write_text('secret')
  assert packed(dirty=True) == {'a': 'new'}
  assert (tmp_path / 'a').read_text() == 'new'
  with pytest.raises(ValueError, match='uncommitted changes'):
    packed(dirty=False)
