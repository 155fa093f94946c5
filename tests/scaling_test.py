"""docs/scaling.md, the SLURM script and the Dockerfile say what is there."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

import pytest

from launch import local, tpu_pod

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / 'docs' / 'scaling.md').read_text()
DOCKERFILE = (ROOT / 'Dockerfile').read_text().replace('\\\n', ' ')
EXTRAS = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project'][
  'optional-dependencies'
]


def commands():
  """Every command of the page's bash blocks, as its words."""
  blocks = re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL)
  lines = '\n'.join(blocks).replace('\\\n', ' ').splitlines()
  return [shlex.split(line) for line in lines if line.strip()]


def of(*start):
  found = [
    c[len(start) :] for c in commands() if c[: len(start)] == list(start)
  ]
  assert found, start
  return found


def test_every_command_of_the_page_is_of_a_kind_tested_here():
  kinds = {c[0] if c[0] != 'python' else c[2] for c in commands()}
  assert kinds == {
    *('launch.cost', 'launch.local', 'launch.tpu_pod'),
    *('sbatch', 'srun', 'docker'),
  }


@pytest.mark.parametrize('words', of('python', '-m', 'launch.tpu_pod'))
def test_commands_for_tpus(words, capsys):
  assert '--dry_run' in words
  assert tpu_pod.main(words) == 0
  assert 'gcloud' in capsys.readouterr().out


@pytest.mark.parametrize('words', of('python', '-m', 'launch.local'))
def test_commands_for_processes(words, monkeypatch):
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  job, environments, _ = local.parse(words)
  assert len(environments) == 2
  assert [e['JAX_NUM_CPU_DEVICES'] for e in environments] == ['2', '2']
  assert job[1:3] == ['-m', 'gan_jax.main']
  assert_flags_of_main(job[3:])


@pytest.mark.parametrize('words', of('python', '-m', 'launch.cost'))
def test_commands_for_cost(words):
  done = subprocess.run(
    [sys.executable, '-m', 'launch.cost', *words],
    cwd=ROOT,
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr


def test_commands_for_docker():
  build, run = of('docker')
  assert build == ['build', '--tag', 'gan_jax', '.']
  assert_flags_of_main(run[run.index('gan_jax') + 1 :])


def assert_flags_of_main(words):
  known = (ROOT / 'gan_jax' / 'main.py').read_text()
  for word in words:
    name = word.removeprefix('--').partition('=')[0]
    assert f"'{name}'" in known, word
    if name == 'config':
      assert (ROOT / word.partition('=')[2].partition(':')[0]).exists()


# Answers like srun for one task: shows the words it was given.
SRUN = (
  f'#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n'
)


def test_the_slurm_script_passes_all_arguments_on(tmp_path):
  (words,) = of('sbatch')
  script = words[1]
  srun = tmp_path / 'srun'
  srun.write_text(SRUN)
  srun.chmod(0o755)
  given = [*words[2:], "--config.note=it's $HOME"]
  done = subprocess.run(
    ['bash', str(ROOT / script), *given],
    env={'PATH': f'{tmp_path}:/usr/bin:/bin'},
    capture_output=True,
    text=True,
  )
  assert json.loads(done.stdout) == [
    *('--kill-on-bad-exit=1', 'python', '-m', 'gan_jax.main'),
    *(*given, '--distributed'),
  ]
  assert_flags_of_main([*words[2:], '--distributed'])


def test_the_slurm_script_has_one_task_for_each_gpu():
  script = (ROOT / 'launch' / 'slurm.sh').read_text()
  options = dict(
    re.findall(r'^#SBATCH --([a-z-]+)=(.*)$', script, re.MULTILINE)
  )
  assert options['gres'] == f'gpu:{options["ntasks-per-node"]}'
  # These hide the other GPUs, and JAX would look for one that is not there.
  assert not {'gpus-per-task', 'gpu-bind'} & options.keys()
  (words,) = of('srun')
  assert {'--ntasks-per-node=4', '--gres=gpu:4'} <= set(words)
  assert_flags_of_main(words[words.index('gan_jax.main') + 1 :])


# One task of a SLURM step, as far as JAX looks.
TASK = """
import jax
jax.distributed.initialize()
print(jax.process_index(), jax.process_count(), flush=True)
"""


@pytest.mark.slow
def test_jax_finds_its_peers_by_the_variables_of_slurm():
  variables = {
    'JAX_PLATFORMS': 'cpu',
    # The port is 61440 + the job's number modulo 4096.
    'SLURM_JOB_ID': str(local.free_port() % 4096),
    'SLURM_STEP_NODELIST': 'localhost',
    'SLURM_NTASKS': '2',
  }
  tasks = [
    subprocess.Popen(
      [sys.executable, '-c', TASK],
      env=os.environ
      | variables
      | {'SLURM_PROCID': str(i), 'SLURM_LOCALID': str(i)},
      stdout=subprocess.PIPE,
      text=True,
    )
    for i in range(2)
  ]
  try:
    said = [task.communicate(timeout=120)[0] for task in tasks]
  finally:
    for task in tasks:
      task.kill()
      task.communicate()
  assert said == ['0 2\n', '1 2\n']


def test_the_image_has_what_it_copies_and_installs():
  sources = re.findall(r'^COPY (.*)$', DOCKERFILE, re.MULTILINE)
  names = [name for line in sources for name in line.split()[:-1]]
  assert {'pyproject.toml', 'README.md', 'LICENSE', 'gan_jax'} <= set(names)
  ignore = (ROOT / '.dockerignore').read_text().splitlines()
  assert '*' in ignore
  for name in names:
    assert (ROOT / name).exists()
    assert f'!{name}' in ignore
  # And nothing else comes along.
  assert {x[1:] for x in ignore if x.startswith('!')} == set(names)
  extras = re.search(r"'\.\[([a-z,]+)\]'", DOCKERFILE)[1].split(',')
  assert extras == ['train', 'gpu']
  assert set(extras) <= EXTRAS.keys()
  assert 'tpu' in EXTRAS  # of launch/gcloud.py


def test_the_image_does_not_run_as_root():
  words = DOCKERFILE.split('\n')
  user = next(i for i, x in enumerate(words) if x.startswith('USER '))
  assert words[user] == 'USER gan'
  assert not any(x.startswith(('RUN', 'USER')) for x in words[user + 1 :])
  entry = json.loads(re.search(r'^ENTRYPOINT (.*)$', DOCKERFILE, re.M)[1])
  assert entry == ['python', '-m', 'gan_jax.main']


def test_the_image_starts_from_a_public_one():
  assert re.findall(r'^FROM (.*)$', DOCKERFILE, re.M) == ['python:3.12-slim']


def test_the_page_names_files_that_are_there():
  for name in re.findall(r'launch/[a-z_]+\.[a-z]+', PAGE):
    assert (ROOT / name).exists(), name
