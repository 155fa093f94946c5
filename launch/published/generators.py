"""The released generators as rows: the paper's own, in our units.

python -m launch.published.generators --generators=DIR --out=OUT/runs/released

They are measured like our own runs: the same features, counts, reference and
protocol, which --out/config.json holds. A program of its own, because it needs
the accelerator.
"""

import json
import pathlib
import sys
from typing import Any

import ml_collections

from gan_jax import build, evaluate
from gan_jax import workdir as workdirs
from launch import arguments, released
from launch.published import plan as plans
from launch.published import play

_CONFIG, _FILE = 'config.json', 'released.json'


def check(path: pathlib.Path, plan: plans.Plan) -> None:
  """Raises ValueError where the generators cannot be rows of a table."""
  if plan.stand_in is not None:
    raise ValueError(
      f'--generators={path} makes images of {plan.study.data}; with --data='
      f'{plan.data} leave it out.'
    )
  for row in released.GENERATORS:  # says what is missing
    released.sampler(path, row, 'evaluation')


def task(plan: plans.Plan, path: pathlib.Path) -> play.Task:
  """Measures those that are not measured yet."""
  folder = _folder(plan)
  folder.mkdir(parents=True, exist_ok=True)
  config = plan.jobs[0].config.to_dict()
  workdirs.replace(folder / _CONFIG, json.dumps(config, indent=1) + '\n')
  command = [
    *(sys.executable, '-m', 'launch.published.generators'),
    *(f'--generators={path}', f'--out={folder}'),
  ]
  commands = iter([] if is_whole(plan) else [command])
  return play.Task('released', folder / play.LOG, lambda: next(commands, None))


def is_whole(plan: plans.Plan) -> bool:
  """Whether all are measured."""
  return len(read(plan)) == len(released.GENERATORS) * len(released.BATCH_NORM)


def read(plan: plans.Plan) -> list[dict[str, Any]]:
  """Their entries, each with its `name`, as far as there are any."""
  try:
    return json.loads((_folder(plan) / _FILE).read_text())
  except (OSError, ValueError):
    return []


def _folder(plan):
  return plan.asked.out / 'runs' / 'released'


def measure(path: pathlib.Path, folder: pathlib.Path) -> None:
  """Measures every generator, in both modes of batch norm, and writes it."""
  config = json.loads((folder / _CONFIG).read_text())
  run = build.build(ml_collections.ConfigDict(config))
  found, known = [], {}
  for row in released.GENERATORS:
    for mode in released.BATCH_NORM:
      numbers = evaluate.evaluate(
        released.sampler(path, row, mode),
        run.dataset,
        num_samples=run.num_samples,
        seed=run.seed,
        split=run.config['data']['split'],
        settings=run.evaluation,
        known=known,
      )
      name = f'released: {row}, {mode} batch norm'
      found.append({'name': name, 'step': 0, 'weights': 'raw'} | numbers)
      for line in evaluate.describe(numbers):
        print(line, flush=True)
      text = json.dumps(found, indent=1, allow_nan=False) + '\n'
      workdirs.replace(folder / _FILE, text)


def main(argv: list[str] | None = None) -> int:
  """Measures the generators; returns the exit code."""
  argv = list(sys.argv[1:] if argv is None else argv)
  parser = arguments.Parser(__doc__)
  parser.add_argument('--generators', type=pathlib.Path, required=True)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  flags = parser.parse_args(argv)
  try:
    measure(flags.generators, flags.out)
  except (ValueError, OSError) as error:
    parser.error(str(error))
  return 0


if __name__ == '__main__':
  sys.exit(main())
