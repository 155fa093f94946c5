"""Rows and seeds of a study -> runs with their configs and commands."""

import importlib.util
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections

from launch.published import study as studies

ROOT = pathlib.Path(__file__).parents[2]
# What trains; of the interpreter that runs this.
TRAINER = (sys.executable, '-m', 'gan_jax.main')
# Of --quick, where the study has nothing else to say.
_QUICK = dict(
  num_steps=20,
  log_every=5,
  sample_every=10,
  checkpoint_every=10,
  evaluate_every=10,
)
_QUICK_SAMPLES = 250
# Steps of a schedule, which keep their place when a run is shortened.
_SCHEDULE = (
  'anneal.steps',
  *('optimizer_g.warmup', 'optimizer_g.decay_start'),
  *('optimizer_d.warmup', 'optimizer_d.decay_start'),
)


class Asked(NamedTuple):
  """What the flags ask for.

  Attributes:
    out: the folder of results.
    rows: names; () for all that are not expensive.
    seeds: of every row.
    data: the study's own data set or the name of a stand-in.
    data_dir: of prepared data sets.
    features: the feature net; None for the study's own.
    weights: file of its weights.
    num_steps: of every run; 0 for those of its config.
    evaluate_every: 0 for the study's own.
    num_samples: 0 for the study's own.
    quick: whether it is only to be seen that everything works.
  """

  out: pathlib.Path
  rows: tuple[str, ...] = ()
  seeds: tuple[int, ...] = (0,)
  data: str = ''
  data_dir: str = ''
  features: str | None = None
  weights: str = ''
  num_steps: int = 0
  evaluate_every: int = 0
  num_samples: int = 0
  quick: bool = False


class Job(NamedTuple):
  """All seeds of one row.

  Attributes:
    row: of the study.
    folder: of its runs, one folder a seed below it.
    changes: field with dots -> value, all that is not what the config says.
    config: complete, of seed 0.
  """

  row: studies.Row
  folder: pathlib.Path
  changes: dict[str, Any]
  config: ml_collections.ConfigDict

  def seed_folder(self, seed: int) -> pathlib.Path:
    """The workdir of one run."""
    return self.folder / f'seed-{seed}'


class Plan(NamedTuple):
  """A study as it was asked for.

  Attributes:
    study: the table.
    asked: the flags.
    data: name of the data set.
    stand_in: or None, if these are the study's own data.
    metric: what is compared.
    jobs: one a row.
    left_out: names of rows that have no counterpart in a stand-in.
  """

  study: studies.Study
  asked: Asked
  data: str
  stand_in: studies.StandIn | None
  metric: str
  jobs: tuple[Job, ...]
  left_out: tuple[str, ...]


def make(study: studies.Study, asked: Asked) -> Plan:
  """The runs that were asked for; reads config files and nothing else.

  Raises:
    ValueError: there is no such row, data set or field, or a number is out of
      range.
  """
  stand_in = find_stand_in(study, asked.data)
  data = stand_in.name if stand_in else study.data
  if stand_in is None or stand_in.needs_data_dir:
    _check_data_dir(study, data, asked.data_dir)
  chosen, left_out = _rows(study, stand_in, asked.rows)
  jobs = tuple(_job(study, stand_in, row, asked) for row in chosen)
  metric = stand_in.metric if stand_in else study.metric
  return Plan(study, asked, data, stand_in, metric, jobs, left_out)


def find_stand_in(study: studies.Study, data: str) -> studies.StandIn | None:
  """The stand-in of a name; None for the study's own data.

  Raises:
    ValueError: the study has no such data set.
  """
  if data in ('', study.data):
    return None
  names = [study.data, *(s.name for s in study.stand_ins)]
  for stand_in in study.stand_ins:
    if stand_in.name == data:
      return stand_in
  raise ValueError(f'--data={data!r} is not one of {names} of {study.name}.')


def _check_data_dir(study, data, data_dir):
  if not data_dir:
    others = [s.name for s in study.stand_ins if not s.needs_data_dir]
    instead = f' Without it: --data={" or --data=".join(others)}.'
    raise ValueError(
      f'--data_dir is needed for {data!r}. {study.get_data}'
      f'{instead if others else ""}'
    )


def _rows(study, stand_in, names):
  extra = stand_in.extra if stand_in else ()
  known = {row.name: row for row in (*study.rows, *extra)}
  unknown = [name for name in names if name not in known]
  if unknown:
    raise ValueError(
      f'--rows={unknown[0]!r} is not a row of {study.name}, which has '
      f'{"; ".join(known)}.'
    )
  names = names or [name for name in known if name not in study.expensive]
  rows = [row for row in known.values() if row.name in names]
  if stand_in is None:
    return rows, ()
  kept = [row for row in rows if stand_in.change(row) is not None]
  left_out = tuple(row.name for row in rows if row not in kept)
  if not kept:
    raise ValueError(
      f'none of the rows {"; ".join(left_out)} has a counterpart in '
      f'--data={stand_in.name}: {stand_in.about}'
    )
  return kept, left_out


def folder_name(name: str) -> str:
  """The folder of a row: commas and what else is no plain letter are dashes."""
  return re.sub(r'[^\w.=+-]+', '-', name).strip('-')


def _job(study, stand_in, row, asked):
  config = read_config(row.config)
  of_stand_in = dict(stand_in.change(row)) if stand_in else {}
  own = dict(row.changes) | of_stand_in
  if stand_in:
    own['data.name'] = stand_in.name
  quick = _QUICK | dict(study.quick) if asked.quick else {}
  common = _common(study, stand_in, asked)
  # --quick is quick, but what a person asks for has the last word.
  changes = own | common | quick
  for field in ('evaluate_every', 'num_steps', 'num_samples'):
    if getattr(asked, field):
      changes[field] = getattr(asked, field)
  if asked.features is not None:
    changes['evaluation.features'] = asked.features
  changes |= _shortened(config, changes)
  try:
    apply(config, changes)
  except ValueError as error:
    raise ValueError(f'row {row.name!r} of {study.name}: {error}') from error
  folder = asked.out / 'runs' / folder_name(row.name)
  return Job(row, folder, _told(row.config, changes), config)


def _common(study, stand_in, asked):
  """What all runs of a table share: how they are measured."""
  metrics, features, samples = study.metrics, study.features, study.num_samples
  if stand_in:  # has yardsticks of its own
    metrics, features, samples = (), '', 0
  if asked.quick:
    features, samples = '', _QUICK_SAMPLES
  features = features if asked.features is None else asked.features
  samples = asked.num_samples or samples
  every = stand_in.evaluate_every if stand_in else 0
  changes = dict(
    evaluate_every=asked.evaluate_every or every or study.evaluate_every,
    best_by=stand_in.metric if stand_in else study.metric,
  )
  if samples:
    changes['num_samples'] = samples
  if asked.data_dir and (stand_in is None or stand_in.needs_data_dir):
    changes['data_dir'] = asked.data_dir
  if features:
    changes |= _in_features(features, metrics, asked)
    if study.equal_counts and samples and not stand_in:
      changes['evaluation.reference'] = samples
  return changes


def _in_features(features, metrics, asked):
  changes = {'evaluation.features': features}
  if asked.weights:
    changes['evaluation.weights'] = asked.weights
  if not features.startswith('inception'):  # the others have no score
    metrics = tuple(m for m in metrics if m != 'inception_score')
  if metrics:
    changes['evaluation.metrics'] = ','.join(metrics)
  if asked.quick:
    changes['evaluation.few'] = True
  return changes


def _shortened(config, changes):
  """A schedule of a shorter or longer run keeps its shape."""
  steps = changes.get('num_steps', config.num_steps)
  found = {}
  for field in _SCHEDULE:
    group, name = field.split('.')
    at = config[group][name]
    if at and steps != config.num_steps and field not in changes:
      found[field] = max(1, round(at * steps / config.num_steps))
  return found


def read_config(described: str) -> ml_collections.ConfigDict:
  """The config of `FILE` or `FILE:ARGUMENT`.

  Raises:
    ValueError: there is no such file, or its argument is wrong.
  """
  name, _, argument = described.partition(':')
  path = config_path(name)
  if not path.is_file():
    raise ValueError(f'config {name!r} is not a file.')
  spec = importlib.util.spec_from_file_location(f'config_{path.stem}', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  try:
    return module.get_config(*([argument] if argument else []))
  except ValueError as error:
    raise ValueError(f'config {described!r}: {error}') from error


def config_path(name: str) -> pathlib.Path:
  """Where a config is: from here, or else in the folder of this program."""
  path = pathlib.Path(name)
  return path if path.is_file() else ROOT / name


def apply(config: ml_collections.ConfigDict, changes: studies.Changes) -> None:
  """Sets fields by their names with dots.

  Raises:
    ValueError: there is no such field, or it has another type.
  """
  for field, value in changes.items():
    *groups, name = field.split('.')
    at = config
    for group in groups:
      at = at.get(group) if isinstance(at, ml_collections.ConfigDict) else None
    if not isinstance(at, ml_collections.ConfigDict) or name not in at:
      raise ValueError(f'the config has no field {field!r}.')
    try:
      at[name] = value
    except TypeError as error:
      raise ValueError(f'config.{field}={value!r}: {error}') from error


def _told(described, changes):
  """The changes that change something."""
  config, told = read_config(described), {}
  for field, value in changes.items():
    *groups, name = field.split('.')
    at = config
    for group in groups:
      at = at[group]
    if at[name] != value:
      told[field] = value
  return told


def steps(job: Job) -> int:
  """Of each run."""
  return job.config.num_steps


def train_command(
  job: Job, seeds: Sequence[int], together: str = ''
) -> list[str]:
  """Trains the seeds of a row together, evaluating as it goes."""
  command = _main(job, job.folder)
  command += [f'--seeds={",".join(map(str, seeds))}']
  command += [f'--together={together}'] if together else []
  return command + _overrides(job.changes)


def evaluate_command(job: Job, seed: int) -> list[str]:
  """Measures the last checkpoint of a run that was trained."""
  command = _main(job, job.seed_folder(seed))
  command += ['--mode=evaluate', '--checkpoints=newest']
  return command + _overrides({'seed': seed} | job.changes)


def _main(job, workdir):
  name, colon, argument = job.row.config.partition(':')
  config = f'{config_path(name)}{colon}{argument}'
  return [*TRAINER, f'--config={config}', f'--workdir={workdir}']


def _overrides(changes):
  return [f'--config.{field}={value}' for field, value in changes.items()]
