"""The gcloud commands that a TPU pod needs, as lists of words.

Flags as in the reference of `gcloud compute tpus tpu-vm` and `queued-resources`
(Google Cloud CLI 528). Over ssh, `--worker=all` runs a command on all workers
at once, waits for all, ends with the first exit code that is not 0, and runs a
command again when the connection was lost: therefore the lock below.
"""

import dataclasses
import os
import shlex
import subprocess

# Exit code of a worker that still runs an earlier command.
BUSY = 75
# Names in the home folder of each worker. Installing replaces the code, so runs
# have the home folder itself as theirs.
_ARCHIVE = 'gan_jax.tar.gz'
_CODE = 'gan_jax_code'
_ENVIRONMENT = 'gan_jax_env'
_LOCK = 'gan_jax.lock'
_PID = 'gan_jax.pid'
# TPU images come with Python 3.10; uv brings the one that gan_jax needs.
_INSTALL = (
  'set -e',
  # Not under the feet of a run.
  f'flock --nonblock {_LOCK} true || exit {BUSY}',
  f'rm -rf {_CODE}',
  f'mkdir {_CODE}',
  f'tar -xzf {_ARCHIVE} -C {_CODE}',
  'python3 -m pip install --quiet --user uv',
  f'test -d {_ENVIRONMENT} || python3 -m uv venv --quiet --python=3.12 '
  f'{_ENVIRONMENT}',
  f'python3 -m uv pip install --quiet --python={_ENVIRONMENT}/bin/python '
  f"--editable '{_CODE}[train,tpu]'",
)


class Failed(Exception):
  """A command that ended badly."""


@dataclasses.dataclass
class Pod:
  """A Cloud TPU by name, and the commands about it.

  Attributes:
    name: of the TPU, and of its request where it is queued.
    zone: where it is.
    project: whose it is, or None for gcloud's own.
    accelerator_type: generation and size.
    runtime_version: software of its VMs.
    spot: may be preempted.
    queued: is asked for through a queued resource.
    touched: whether it has been created or found ready.
  """

  name: str
  zone: str
  project: str | None
  accelerator_type: str
  runtime_version: str
  spot: bool = False
  queued: bool = False
  touched: bool = False

  def _words(self, group, verb, *words):
    place = [f'--zone={self.zone}']
    place += [f'--project={self.project}'] if self.project else []
    head = ['gcloud', 'compute', 'tpus', group, verb]
    return [*head, *words, *place, '--quiet']

  def describe(self) -> list[str]:
    """Prints the state, such as READY or PREEMPTED."""
    words = self.name, '--format=value(state)'
    return self._words('tpu-vm', 'describe', *words)

  def describe_type(self) -> list[str]:
    """Prints the accelerator type, such as v4-8."""
    words = self.name, '--format=value(acceleratorType)'
    return self._words('tpu-vm', 'describe', *words)

  def describe_queue(self) -> list[str]:
    """Prints the state of the request, such as ACTIVE or FAILED."""
    words = self.name, '--format=value(state.state)'
    return self._words('queued-resources', 'describe', *words)

  def create(self) -> list[list[str]]:
    """Asks for the TPU."""
    spot = ['--spot'] if self.spot else []
    kind = f'--accelerator-type={self.accelerator_type}'
    if not self.queued:
      version = f'--version={self.runtime_version}'
      return [self._words('tpu-vm', 'create', self.name, kind, version, *spot)]
    node = f'--node-id={self.name}'
    version = f'--runtime-version={self.runtime_version}'
    words = self.name, node, kind, version, *spot
    return [self._words('queued-resources', 'create', *words)]

  def delete(self, requested: bool) -> list[str]:
    """Gives the TPU back, together with the request for it if there is one."""
    if requested:
      words = self.name, '--force'
      return self._words('queued-resources', 'delete', *words)
    return self._words('tpu-vm', 'delete', self.name)

  def install(self, archive: str) -> list[list[str]]:
    """Copies the code to all workers and installs it there."""
    words = archive, f'{self.name}:{_ARCHIVE}', '--worker=all'
    copy = self._words('tpu-vm', 'scp', *words)
    return [copy, self.ssh('; '.join(_INSTALL))]

  def prepare(self, setup: str | None, mount: str | None) -> list[list[str]]:
    """Runs the user's command and looks whether the storage is there."""
    commands = [self.ssh(setup)] if setup else []
    if mount:
      commands.append(self.ssh(f'mountpoint {shlex.quote(mount)}'))
    return commands

  def run(self, rest: list[str]) -> list[str]:
    """Trains on all workers; `rest` are the flags of gan_jax.main.

    Relative paths are below the home folder, but for the config's, which comes
    with the code.
    """
    # -P: nothing in the home folder takes the place of a package.
    job = [f'{_ENVIRONMENT}/bin/python', '-P', '-m', 'gan_jax.main']
    job = shlex.join([*job, *_config_of_code(rest), '--distributed'])
    # The open file keeps the lock for as long as the run lives.
    lock = f'exec 9> {_LOCK}; flock --nonblock 9 || exit {BUSY}'
    return self.ssh(f'{lock}; echo $$ > {_PID}; exec {job}')

  def stop(self) -> list[str]:
    """Sends SIGTERM to the run on each worker, where there is one."""
    return self.ssh(
      f'flock --nonblock {_LOCK} true || kill -TERM "$(cat {_PID})"'
    )

  def ssh(self, command: str) -> list[str]:
    """Runs a shell command on all workers."""
    words = self.name, '--worker=all', f'--command={command}'
    return self._words('tpu-vm', 'ssh', *words)


def _config_of_code(rest):
  """The same flags, `--config=X` or `--config X` below the code's folder."""
  placed, expected = [], False
  for word in rest:
    flag, equals, value = word.partition('=')
    is_flag = flag in ('--config', '-config')
    if expected:
      word = os.path.join(_CODE, word)
    elif is_flag and value:
      word = f'{flag}={os.path.join(_CODE, value)}'
    expected = is_flag and not equals
    placed.append(word)
  return placed


def is_replaced(path: str) -> bool:
  """Whether a path goes through a folder that installing deletes."""
  return _CODE in os.path.normpath(path).split(os.sep)


def line(command: list[str]) -> str:
  """A command as one would type it."""
  return shlex.join(command)


def call(command: list[str], **options) -> None:
  """Runs a command, its output shown.

  Raises:
    Failed: its exit code is not 0.
  """
  code = subprocess.run(command, start_new_session=True, **options).returncode
  if code:
    raise Failed(f'exit code {code} from {line(command)}')


def state(pod: Pod, *, patient: bool = False) -> str:
  """State of the TPU; 'ABSENT' where there is none.

  Args:
    pod: which.
    patient: 'UNKNOWN' instead of an error, for a network that comes back.

  Raises:
    Failed: gcloud could not say.
  """
  return _ask(pod.describe(), patient)


def queue_state(pod: Pod, *, patient: bool = False) -> str:
  """State of the request for the TPU, in the same way."""
  return _ask(pod.describe_queue(), patient)


def type_of(pod: Pod) -> str:
  """Accelerator type of the TPU that is there, in the same way."""
  return _ask(pod.describe_type(), patient=False).rpartition('/')[2]


def deletion(pod: Pod) -> list[list[str]]:
  """Commands that delete what there is of the request and the TPU.

  A request where there is one, however the TPU is asked for today: the TPU goes
  with it, and the command for one does not know the other.
  """
  request = queue_state(pod, patient=True)
  if request == 'UNKNOWN':
    return [pod.delete(pod.queued)]
  if request == 'ABSENT' and state(pod, patient=True) == 'ABSENT':
    return []
  return [pod.delete(request != 'ABSENT')]


def _ask(command, patient):
  done = subprocess.run(
    command, capture_output=True, text=True, start_new_session=True
  )
  if done.returncode == 0:
    return done.stdout.strip()
  if 'NOT_FOUND' in done.stderr or 'was not found' in done.stderr:
    return 'ABSENT'
  if patient:
    return 'UNKNOWN'
  said = (done.stderr.strip().splitlines() or ['nothing said'])[-1]
  raise Failed(f'{said} (from {line(command)})')


def pack(
  archive: str, dirty: bool, *, dry: bool = False, cwd: str | None = None
) -> list[list[str]]:
  """Commands that put the tracked files into an archive.

  Args:
    archive: where.
    dirty: with uncommitted changes of tracked files, else as committed.
    dry: look at nothing.
    cwd: of the repository.

  Raises:
    ValueError: there are uncommitted changes and they were not asked for.
    Failed: git could not say.
  """
  look = ['git', 'status', '--porcelain', '--untracked-files=no']
  # A commit of the working tree that no branch knows; empty where it is clean.
  stash = [
    'git',
    '-c',
    'user.name=gan_jax',
    '-c',
    'user.email=gan_jax@localhost',
  ]
  stash += ['stash', 'create']
  pick = ['git', 'archive', '--format=tar.gz', f'--output={archive}']
  if dry:
    return [stash, [*pick, 'THAT_COMMIT']] if dirty else [look, [*pick, 'HEAD']]
  commit = 'HEAD'
  if dirty:
    commit = _output(stash, cwd) or commit
  elif _output(look, cwd):
    raise ValueError(
      'there are uncommitted changes; commit them, or say --allow_dirty to '
      'copy them too.'
    )
  return [[*pick, commit]]


def _output(command, cwd):
  done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
  if done.returncode:
    raise Failed(f'{done.stderr.strip()} (from {line(command)})')
  return done.stdout.strip()
