"""Runs the real command line, as a person would."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]

# Small enough to compile in seconds: batch norm, spectral norm, averaging and a
# lazy R1 are all there.
SMALL = (
  '--config=configs/digits.py:quick',
  '--config.batch_size=16',
  '--config.data.image_size=8',
  '--config.generator.image_size=8',
  '--config.generator.width=4',
  '--config.discriminator.image_size=8',
  '--config.discriminator.width=4',
  '--config.discriminator.spectral_norm=True',
  '--config.penalties.r1=0.5',
  '--config.lazy=4',
  '--config.averaging=0.9',
)


def environment(**changes):
  return os.environ | {'JAX_PLATFORMS': 'cpu'} | changes


def command(*flags):
  return [sys.executable, '-m', 'gan_jax.main', *map(str, flags)]


def main(*flags, **changes):
  """Runs to the end; returns the finished process with its output."""
  return subprocess.run(
    command(*flags),
    cwd=ROOT,
    env=environment(**changes),
    capture_output=True,
    text=True,
    timeout=300,
  )


def assert_mistake(done, *words):
  """Exit code 2, one line on stderr with these words, no traceback."""
  assert done.returncode == 2, done.stderr
  lines = done.stderr.strip().splitlines()
  errors = [line for line in lines if line.startswith('error: ')]
  assert len(errors) == 1, done.stderr
  assert 'Traceback' not in done.stderr
  for word in words:
    assert str(word) in errors[0], errors[0]
