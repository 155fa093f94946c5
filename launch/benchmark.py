"""Speed, as ratios measured side by side in one run.

python -m launch.benchmark [--only=loop] [--rounds=10] [--data_dir=DIR]

Each benchmark interleaves its two sides, so that a machine whose speed drifts
slows both; the ratio of each round is taken, and the median over rounds is held
against the ratio required. Exit code 1 if one falls short.
"""

import argparse
import functools
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from configs import cifar10_landscape, digits
from gan_jax import step, train


class Benchmark(NamedTuple):
  """Two ways of doing the same work.

  Attributes:
    what: the ratio in words.
    required: smallest ratio that passes.
    sides: `() -> (ours, other)`, each a function that returns its speed.
  """

  what: str
  required: float
  sides: Callable[[], tuple[Callable[[], float], Callable[[], float]]]


class _Enough(Exception):
  pass


def cifar10_sides(
  data_dir: str,
) -> tuple[Callable[[], float], Callable[[], float]]:
  """As `loop_sides`, for the quarter-width CNN pair on prepared CIFAR-10."""
  config = cifar10_landscape.get_config('cnn,rs,quarter')
  config.data_dir = data_dir
  return loop_sides(config)


def loop_sides(
  config: ml_collections.ConfigDict | None = None,
) -> tuple[Callable[[], float], Callable[[], float]]:
  """Steps/s of the training loop as it ships, and of its bare step.

  The loop logs, draws samples and saves checkpoints at the intervals of the
  config; the window holds one of each interval, and starts when all programs
  are compiled.
  """
  config = config or digits.get_config()
  window = max(config.checkpoint_every, config.sample_every, config.log_every)
  run = train.build(config)
  return (
    lambda: _loop_speed(run, window),
    # A fifth of the steps is enough to know a speed that does not change.
    _bare(run, -(-window // 5 // run.steps_per_call)),
  )


def _loop_speed(run, window):
  times = {}

  def say(line):
    del line
    logged = (len(times) + 1) * run.log_every
    times[logged] = time.perf_counter()
    if logged == run.log_every + window:
      raise _Enough

  with tempfile.TemporaryDirectory() as workdir:
    try:
      train.train(run, workdir, say=say)
    except _Enough:
      return window / (times[run.log_every + window] - times[run.log_every])
  raise RuntimeError('the run ended before the window did')


def _bare(run, calls):
  call = step.make_call(run.setup, run.feed.pick, run.steps_per_call)
  resident = jax.device_put(run.feed.resident)
  turns = len(run.setup.method.turns)
  fed = run.feed.next(0, run.steps_per_call * turns)
  fed = jax.tree.map(
    lambda x: np.reshape(x, (run.steps_per_call, turns, *x.shape[1:])), fed
  )
  state = step.init(run.setup, jax.random.key(0))
  for first in range(2):
    state, _ = call(state, resident, fed, first)
  kept = [jax.block_until_ready(state)]

  def speed():
    state, begin = kept.pop(), time.perf_counter()
    for i in range(calls):
      state, _ = call(state, resident, fed, i * run.steps_per_call)
    kept.append(jax.block_until_ready(state))
    return calls * run.steps_per_call / (time.perf_counter() - begin)

  return speed


BENCHMARKS = {
  'loop': Benchmark(
    'steps/s end to end (digits, logging, samples and checkpoints at their '
    'defaults) / steps/s of the bare step',
    0.95,
    loop_sides,
  ),
}


def benchmarks(data_dir: str) -> dict[str, Benchmark]:
  """What can be measured, by name; some need prepared data."""
  if not data_dir:
    return BENCHMARKS
  what = 'the same on CIFAR-10, cnn,rs,quarter'
  sides = functools.partial(cifar10_sides, data_dir)
  return BENCHMARKS | {'loop_cifar10': Benchmark(what, 0.95, sides)}


def measure(benchmark: Benchmark, rounds: int) -> bool:
  """Prints the ratio of one benchmark; returns whether it passes."""
  ours, other = benchmark.sides()
  ours(), other()
  pairs = []
  for i in range(rounds):
    # Who goes first alternates, in case the order matters.
    first, second = (ours, other) if i % 2 else (other, ours)
    speeds = first(), second()
    pairs.append(speeds if i % 2 else speeds[::-1])
  pairs = np.array(pairs)
  ratios = pairs[:, 0] / pairs[:, 1]
  median = float(np.median(ratios))
  passed = median >= benchmark.required
  print(
    f'{benchmark.what}: {median:.3f} (spread {ratios.min():.3f} to '
    f'{ratios.max():.3f}, {rounds} rounds; required {benchmark.required}) '
    f'{"ok" if passed else "TOO SLOW"}\n'
    f'  medians: {np.median(pairs[:, 0]):.4g} and '
    f'{np.median(pairs[:, 1]):.4g} steps/s',
    flush=True,
  )
  return passed


def describe_machine() -> str:
  """Device, threads, dtype and precision, for the record."""
  device = jax.devices()[0]
  precision = jax.config.jax_default_matmul_precision or 'default'
  return (
    f'{device.device_kind}, {len(os.sched_getaffinity(0))} CPU threads '
    f'({platform.machine()}), jax {jax.__version__}, float32, matmul '
    f'precision {precision}'
  )


def main(argv: list[str] | None = None) -> int:
  """Runs the benchmarks asked for; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--only', default='', help='one benchmark by name')
  parser.add_argument('--rounds', type=int, default=10)
  parser.add_argument(
    '--data_dir', default='', help='holds cifar10, for benchmarks that need it'
  )
  flags = parser.parse_args(argv)
  known = benchmarks(flags.data_dir)
  if flags.only and flags.only not in known:
    parser.error(f'--only={flags.only} is not one of {sorted(known)}.')
  if flags.rounds < 1:
    parser.error(f'--rounds={flags.rounds} is less than 1.')
  print(describe_machine())
  with tempfile.TemporaryDirectory() as cache:
    # Every round of the loop builds its programs anew.
    jax.config.update('jax_compilation_cache_dir', cache)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
    return _run(known, flags)


def _run(known, flags):
  names = [flags.only] if flags.only else list(known)
  passed = [measure(known[name], flags.rounds) for name in names]
  return 0 if all(passed) else 1


if __name__ == '__main__':
  sys.exit(main())
