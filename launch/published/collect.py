"""The files of a study's runs -> numbers."""

import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gan_jax import evaluations
from gan_jax.metrics import entries as metric_entries
from launch.published import folder
from launch.published import plan as plans

# What a metric has beside its value: name -> (title, lower is better).
FIELDS = {
  'stacked_modes': ('modes covered', False),
  'stacked_modes.kl_to_uniform': ('KL to uniform', True),
  'classes.covered': ('classes covered', False),
  'sliced_wasserstein': ('sliced Wasserstein distance', True),
}


class Run(NamedTuple):
  """One seed of a row.

  Attributes:
    seed: of the run.
    state: see `folder.Seed`.
    step: of its newest checkpoint, or where it diverged.
    num_steps: that it is to have.
    reason: why it diverged, or ''.
    entries: of `evaluation.json`, by one protocol, by rising step.
    clock: steps and the device-seconds that they took, two arrays.
    checkpoint_bytes: of the newest checkpoint; 0 where there is none.
    picture: its last grid of samples, or None.
  """

  seed: int
  state: str
  step: int
  num_steps: int
  reason: str
  entries: tuple[dict[str, Any], ...]
  clock: tuple[np.ndarray, np.ndarray]
  checkpoint_bytes: int = 0
  picture: pathlib.Path | None = None


def run(
  job: plans.Job, seed: int, shares: Sequence[tuple[int, float]] = ()
) -> Run:
  """What one run has left.

  Args:
    job: its row.
    seed: of the run.
    shares: devices that it had, see `clock`.

  Raises:
    ValueError: a file of it cannot be read.
  """
  path, found = job.seed_folder(seed), folder.seed_of(job, seed)
  return Run(
    seed,
    found.state,
    found.step,
    plans.steps(job),
    found.reason,
    tuple(_entries(job, path)),
    clock(path / 'metrics.jsonl', shares, _all_metrics(job)),
    _size(path / 'checkpoints'),
    _picture(path / 'samples'),
  )


def _all_metrics(job):
  return list(job.folder.glob('seed-*/metrics.jsonl'))


def is_measured(job: plans.Job, seed: int) -> bool:
  """Whether the last step of a run has its numbers."""
  found = _entries(job, job.seed_folder(seed))
  return any(entry['step'] == plans.steps(job) for entry in found)


def _entries(job, path):
  """Those of the study's weights, counts and metric, of one protocol.

  A person may have measured the run in other ways too: what most entries have
  is the study's.
  """
  weights = 'averaged' if job.config.averaging else 'raw'
  wanted = dict(weights=weights, num_samples=job.config.num_samples)
  metric, groups = job.config.best_by, {}
  for entry in evaluations.read(path):
    alike = all(entry.get(k) == v for k, v in wanted.items())
    if alike and number(entry, metric) is not None:
      by_step = groups.setdefault(protocol_of(entry, metric), {})
      by_step[entry['step']] = entry
  by_step = max(groups.values(), key=len, default={})
  return [by_step[step] for step in sorted(by_step)]


def clock(
  path: pathlib.Path,
  shares: Sequence[tuple[int, float]] = (),
  beside: Sequence[pathlib.Path] = (),
) -> tuple[np.ndarray, np.ndarray]:
  """Steps, and the device-seconds up to each, of `metrics.jsonl`.

  Seeds that ran together share the seconds evenly. A stretch counts at the
  median speed of the others where its own is not that of the steps: it was not
  logged, or an evaluation ran beside it and took a part of the device, which
  would make cheap steps look dearer than dear ones.

  Args:
    path: of the file.
    shares: (step, devices) of each launch: the run had so many from this step
      on, until a later launch took it up; one where it is not known.
    beside: files of the runs that were evaluated by the same program.

  Returns:
    Two arrays `[N]` that begin with 0; seconds are NaN if no speed is known.
  """
  lines = [line for line in _lines(path) if 'steps_per_second' in line]
  steps = np.array([0] + [line['step'] for line in lines], np.float64)
  rates = [line['steps_per_second'] or math.nan for line in lines]
  together = [line.get('seeds_together', 1) for line in lines]
  seconds = _devices(steps, shares) / np.array(rates) / np.array(together)
  slowed = np.zeros(len(seconds), bool)
  for begin, last in _evaluated({path, *beside}):
    slowed |= (steps[1:] > begin) & (steps[:-1] <= last)
  known = np.isfinite(seconds)
  own = known & ~slowed
  own = own if own.any() else known
  if own.any():
    seconds = np.where(own, seconds, np.median(seconds[own]))
  taken = np.cumsum(np.diff(steps) * seconds)
  return steps, np.concatenate([[0.0], taken])


def _devices(steps, shares):
  """Of each stretch: those of the last launch before its end.

  A launch drops what was logged beyond the step that it takes a run up from.
  """
  devices = np.ones(len(steps) - 1)
  for begin, share in shares:
    devices[steps[1:] > begin] = share
  return devices


def _evaluated(paths):
  """(step, last step that was logged before its end) of each evaluation."""
  for path in paths:
    logged = 0
    for line in _lines(path):
      if 'steps_per_second' in line:
        logged = line['step']
      else:
        yield line['step'], logged


def _lines(path):
  try:
    text = path.read_text()
  except (FileNotFoundError, NotADirectoryError):
    return
  for line in text.splitlines():
    try:
      yield json.loads(line)
    except ValueError:  # torn by the end of a program
      return


def _size(checkpoints):
  step = folder.newest(checkpoints.parent)
  files = (checkpoints / f'{step:08d}').rglob('*') if step else ()
  return sum(path.stat().st_size for path in files if path.is_file())


def _picture(samples):
  pictures = [p for p in samples.glob('*.png') if p.stem.isdecimal()]
  return max(pictures, key=lambda path: int(path.stem), default=None)


# Numbers of a run.


def number(entry: dict[str, Any], metric: str) -> float | None:
  """A number of an entry, 'frechet' or 'stacked_modes.kl_to_uniform'."""
  name, _, field = metric.partition('.')
  return (entry.get(name) or {}).get(field or 'value')


def floor(entry: dict[str, Any], metric: str) -> float | None:
  """What real examples reach in its place."""
  name, _, field = metric.partition('.')
  key = f'{field}_real' if field else 'real_against_real'
  return (entry.get(name) or {}).get(key)


def better(metric: str, a: float, b: float) -> bool:
  """Whether value `a` is better than `b`."""
  if metric in FIELDS:
    return a < b if FIELDS[metric][1] else a > b
  return metric_entries.better(metric, a, b)


def title(metric: str, entry: dict[str, Any] | None = None) -> str:
  """What a number is called; FID only where it is FID's network."""
  if metric in FIELDS:
    return FIELDS[metric][0]
  protocol = (entry or {}).get(metric, {}).get('protocol', {})
  name = metric_entries.title(metric, protocol)
  features = protocol.get('features')
  return name if name.isupper() or not features else f'{name} ({features})'


def metrics_of(entry: dict[str, Any]) -> list[str]:
  """All metrics that an entry has a number of, in its order."""
  found = []
  for name, part in evaluations.measured(entry).items():
    found += [name] if 'value' in part else []
    own = (m for m in FIELDS if m.startswith(f'{name}.'))
    found += [m for m in own if number(entry, m) is not None]
  return found


def protocol_of(entry: dict[str, Any], metric: str) -> str:
  """Equal for numbers that may stand in one table; seeds may differ."""
  known = dict(entry.get(metric.partition('.')[0], {}).get('protocol', {}))
  known.pop('seed', None)
  rest = {k: entry.get(k) for k in ('dataset', 'split', 'num_samples')}
  rest['draws'] = entry.get('settings', {}).get('draws', 1)
  return json.dumps([rest, known], sort_keys=True)


def last(run: Run, metric: str) -> float | None:
  """At the last step; None unless the run has come to its end."""
  if run.state != 'finished':
    return None
  at_end = [e for e in run.entries if e['step'] == run.num_steps]
  return number(at_end[-1], metric) if at_end else None


def best(run: Run, metric: str) -> float | None:
  """The best of all evaluated checkpoints, also of a run that diverged."""
  found = None
  for entry in run.entries:
    value = number(entry, metric)
    if value is None:
      continue
    if found is None or better(metric, value, found):
      found = value
  return found


def seconds_at(run: Run, step: int) -> float:
  """Device-seconds up to a step; NaN where they are not known."""
  steps, seconds = run.clock
  if len(steps) < 2:
    return math.nan
  # Beyond the last line the speed stays.
  if step > steps[-1]:
    return float(seconds[-1] * step / steps[-1])
  return float(np.interp(step, steps, seconds))


def device_seconds(run: Run) -> float:
  """Of all its steps; NaN where they are not known."""
  return seconds_at(run, run.step)


def within(run: Run, seconds: float, metric: str) -> float | None:
  """The last number within some device-seconds.

  None where the run did not reach them: it diverged or was stopped before.
  """
  found = None
  if not device_seconds(run) * (1 + 1e-9) >= seconds:
    return None
  for entry in run.entries:
    # A hair of slack, for sums of floats.
    if seconds_at(run, entry['step']) <= seconds * (1 + 1e-9):
      found = number(entry, metric)
  return found
