"""Trains on handwritten digits and says whether it worked.

python -m launch.quickstart --workdir=runs/quickstart

Exit code 1 unless all ten digits are there, each at least 4 % of the samples,
and the Frechet distance is under a bound that five seeds fixed beforehand.
"""

import argparse
import sys

from configs import digits

_SMALLEST_SHARE = 0.04
# Seeds 0 to 4 gave 1.5 to 2.1; a missing class adds about 4.
_LARGEST_DISTANCE = 3.0


def failures(numbers: dict) -> list[str]:
  """What the numbers of `evaluate` miss; empty where the run succeeded."""
  classes, distance = numbers['classes'], numbers['frechet']['value']
  found = []
  if classes['covered'] < classes['total']:
    found.append(f'{classes["covered"]} of {classes["total"]} classes covered')
  if classes['smallest_share'] < _SMALLEST_SHARE:
    found.append(
      f'a class has {classes["smallest_share"]:.1%} of the samples, less than '
      f'{_SMALLEST_SHARE:.0%}'
    )
  if not distance <= _LARGEST_DISTANCE:
    found.append(f'Frechet distance {distance:.4g} > {_LARGEST_DISTANCE:g}')
  return found


def main(argv: list[str] | None = None) -> int:
  """Trains, evaluates and judges; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--workdir', default='runs/quickstart')
  parser.add_argument('--seed', type=int, default=0)
  flags = parser.parse_args(argv)
  from gan_jax import checkpoints, train, workdir

  try:
    return _play(flags)
  except (
    workdir.WorkdirError,
    checkpoints.CheckpointError,
    train.Diverged,
  ) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  except train.Interrupted as error:
    print(error, file=sys.stderr)
    return 128 + error.signum


def _play(flags):
  from gan_jax import generate, measure_run, train

  config = digits.get_config()
  config.seed = flags.seed
  run = train.build(config)
  _say(__doc__.splitlines()[0])
  train.train(run, flags.workdir, say=_say)
  (numbers,) = measure_run.evaluate_run(run, flags.workdir, say=_say)
  picture = generate.sample(run, flags.workdir)[0]
  _say(f'samples: {picture}')
  found = failures(numbers)
  for failure in found:
    _say(f'FAILED: {failure}.')
  return 1 if found else 0


def _say(text):
  print(text, flush=True)


if __name__ == '__main__':
  sys.exit(main())
