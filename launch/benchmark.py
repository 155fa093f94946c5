"""Speed, as ratios measured side by side in one run.

python -m launch.benchmark [--only=loop,scan] [--rounds=10] [--data_dir=DIR]
    [--precision=tf32] [--peak_tflops=495]

Each benchmark interleaves its two sides, so that a machine whose speed drifts
slows both; the ratio of each round is taken, and the median over rounds is held
against the ratio required. Exit code 1 if one falls short. The rows against
PyTorch (torch_*, and acgd_* against its package CGDs) need the extra `bench`,
those against torch-fidelity (inception_*) the extra `fidelity`; without they
are skipped.
"""

import argparse
import functools
import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from configs import cifar10_landscape, toy
from launch import benchmark_configs, benchmark_sides, feature_sides


class Benchmark(NamedTuple):
  """Two ways of doing the same work.

  Attributes:
    what: the ratio in words.
    required: smallest ratio that passes.
    sides: `() -> (ours, other)`.
    flops: `() -> ` those of a step's products, or None.
    unit: of both speeds.
    images: real images a step, for speeds in images/s; 0 for none.
    half: whether most products are of 16 bits, whose peak is twice TF32's.
    steps: of a whole run, for its minutes; 0 for none.
  """

  what: str
  required: float
  sides: Callable[[], benchmark_sides.Sides]
  flops: Callable[[], float] | None = None
  unit: str = 'steps/s'
  images: int = 0
  half: bool = False
  steps: int = 0


def benchmarks(
  data_dir: str = '', precision: str = 'tf32'
) -> dict[str, Benchmark]:
  """What can be measured here, by name."""
  rows = {
    'loop': Benchmark(
      'steps/s end to end (digits, logging, samples and checkpoints at their '
      'defaults) / steps/s of the bare step',
      0.95,
      benchmark_sides.loop_sides,
    )
  }
  if data_dir:
    what = 'the same on CIFAR-10, cnn,rs,quarter'
    sides = functools.partial(benchmark_sides.cifar10_sides, data_dir)
    rows['loop_cifar10'] = Benchmark(what, 0.95, sides)
  rows |= _scan_rows() | _pace_rows() | _torch_rows(precision)
  rows |= _seeds_rows() | _acgd_rows(precision)
  return rows | _inception_rows(precision) | _cpu_rows()


def _scan_rows():
  configs = dict(
    scan=cifar10_landscape.get_config('cnn,rs,quarter'),
    scan_dc=benchmark_configs.dc(),
    scan_lazy=benchmark_configs.lazy(),
  )
  what = '20 steps in one call / 20 calls of one step'
  return {
    name: Benchmark(
      f'{what}, {name}',
      0.8,
      functools.partial(benchmark_sides.scan_sides, config),
    )
    for name, config in configs.items()
  }


# On a GPU: not slower than compiled, and well ahead of what most people run.
_REQUIRED_ON_GPU = {False: 1.5, True: 1.0}


def _torch_rows(precision):
  on_cpu = jax.default_backend() == 'cpu'
  rows = {}
  for name, row in benchmark_configs.torch_rows().items():
    if on_cpu and row.required is None:
      continue
    for compiled in (False,) if on_cpu else (False, True):
      rows[name + '_compiled' * compiled] = _torch_row(
        name.removeprefix('torch_'), row, compiled, precision, on_cpu
      )
  return rows


def _torch_row(name, row, compiled, precision, on_cpu):
  kind = 'compiled' if compiled else 'eager'
  config = row.config
  body = '' if row.dtype == 'float32' else f', body in {row.dtype}'
  return Benchmark(
    f'our steps/s / PyTorch {kind} steps/s, {name}, batches of '
    f'{config.batch_size}{body}',
    row.required if on_cpu else _REQUIRED_ON_GPU[compiled],
    functools.partial(
      benchmark_sides.torch_sides,
      config,
      compiled,
      precision == 'tf32',
      row.count if on_cpu else row.count_gpu,
    ),
    functools.partial(benchmark_sides.flops, config),
    images=config.batch_size,
    half=row.dtype == 'bfloat16',
  )


def _pace_rows():
  """How long the standard experiment takes; nothing to hope for on a CPU."""
  if jax.default_backend() == 'cpu':
    return {}
  config = cifar10_landscape.get_config('cnn,rs,full')
  return {
    'pace_cnn_full': Benchmark(
      'our steps/s, cnn,rs,full / those of 100,000 steps in 8 minutes',
      1.0,
      functools.partial(
        benchmark_sides.published_pace_sides, config, 100_000, 8
      ),
      images=config.batch_size,
      steps=100_000,
    )
  }


def _seeds_rows():
  """Eight seeds at once; the goal on a GPU is 2.5 times the cost of one."""
  on_cpu = jax.default_backend() == 'cpu'
  quarter = cifar10_landscape.get_config('cnn,rs,quarter')
  table = dict(
    seeds_8=(quarter, 'unrolled'),
    seeds_8_in_turn=(quarter, 'in_turn'),
    seeds_8_vmap=(quarter, 'vmap'),
    seeds_8_mlp=(toy.get_config('ring8'), 'vmap'),
  )
  return {
    name: Benchmark(
      f'seed-steps/s of 8 seeds together ({how}) / one after another',
      # What vmap does to convolutions is only stated.
      0.0 if name == 'seeds_8_vmap' else 0.9 if on_cpu else 1.0,
      functools.partial(benchmark_sides.seeds_sides, config, how),
      unit='seed-steps/s',
    )
    for name, (config, how) in table.items()
  }


def _acgd_rows(precision):
  on_cpu = jax.default_backend() == 'cpu'
  # Loss, iterations of conjugate gradients, ratio required, steps a round.
  table = dict(
    acgd_1=('wasserstein', 1, 1.0, 10),
    acgd_5=('wasserstein', 5, 1.3 if on_cpu else 3.0, 4),
    acgd_20=('wasserstein', 20, 1.0, 1),
    acgd_js_5=('minimax', 5, 1.3 if on_cpu else 3.0, 4),
  )
  rows = {}
  for name, (loss, iterations, required, count) in table.items():
    sides = functools.partial(
      benchmark_sides.acgd_sides,
      loss,
      iterations,
      precision == 'tf32',
      # Few: both sides train, on noise, and must not diverge.
      count if on_cpu else 5,
    )
    rows[name] = Benchmark(
      f'our ACGD steps/s / those of CGDs, {loss}, {iterations} iterations',
      required,
      sides,
    )
  return rows


def _inception_rows(precision):
  distance = Benchmark(
    "Frechet distance in 2,048 features, float64 / by scipy's sqrtm",
    3.0,
    feature_sides.frechet_sides,
    unit='distances/s',
  )
  return {'frechet_2048': distance} | {
    f'inception_{size}': Benchmark(
      f'features and logits of {size} x {size} images: ours / torch-fidelity',
      0.8 if jax.default_backend() == 'cpu' else 2.0,
      functools.partial(feature_sides.sides, size, precision == 'tf32'),
      unit='images/s',
    )
    for size in (32, 256)
  }


def _cpu_rows():
  if jax.default_backend() != 'cpu':
    return {}
  what = 'depthwise layers as shifted products / as grouped convolutions'
  return {'depthwise': Benchmark(what, 1.5, benchmark_sides.depthwise_sides)}


def measure(benchmark: Benchmark, rounds: int, peak_tflops: float = 0) -> bool:
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
  ratios, medians = pairs[:, 0] / pairs[:, 1], np.median(pairs, axis=0)
  median, best = float(np.median(ratios)), pairs.max(axis=0)
  passed = median >= benchmark.required
  print(
    f'{benchmark.what}: {median:.3f} (spread {ratios.min():.3f} to '
    f'{ratios.max():.3f}, {rounds} rounds; required {benchmark.required}) '
    f'{"ok" if passed else "TOO SLOW"}\n'
    f'  medians: {medians[0]:.4g} and {medians[1]:.4g} {benchmark.unit}; '
    f'fastest rounds: {best[0]:.4g} and {best[1]:.4g}'
  )
  for line in _details(benchmark, medians, peak_tflops):
    print(f'  {line}')
  print(f'  {load()}', flush=True)
  return passed


def _details(benchmark, medians, peak_tflops):
  """Lines about both sides' speeds, in other units."""
  if benchmark.images:
    images = medians * benchmark.images
    yield f'{images[0]:.4g} and {images[1]:.4g} images/s'
  if benchmark.steps:
    minutes = benchmark.steps / medians / 60
    yield (
      f'{benchmark.steps:,} steps in {minutes[0]:.1f} and {minutes[1]:.1f} '
      'minutes'
    )
  if benchmark.flops is None:
    return
  # Those that the step needs, whatever a side computes twice.
  tflops = medians * benchmark.flops() / 1e12
  yield f'products: {tflops[0]:.3g} and {tflops[1]:.3g} TFLOP/s'
  if peak_tflops:
    peak = peak_tflops * (2 if benchmark.half else 1)
    shares = 100 * tflops / peak
    yield (
      f'model FLOPs utilisation: {shares[0]:.1f} and {shares[1]:.1f} % of '
      f'{peak:.4g} TFLOP/s'
    )


def load() -> str:
  """Others at work slow both sides, but not always alike."""
  return f'load average {os.getloadavg()[0]:.1f}'


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
  parser.add_argument('--only', default='', help='names joined by commas')
  parser.add_argument('--rounds', type=int, default=10)
  parser.add_argument(
    '--data_dir', default='', help='holds cifar10, for benchmarks that need it'
  )
  parser.add_argument(
    '--precision',
    choices=('tf32', 'float32'),
    default='tf32',
    help='of products on a GPU, on both sides',
  )
  parser.add_argument(
    '--peak_tflops',
    type=float,
    default=0,
    help='of the device in TF32, for the share of it; bfloat16 has twice that',
  )
  flags = parser.parse_args(argv)
  # PyTorch needs memory beside us.
  os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
  wanted = dict(tf32='tensorfloat32', float32='float32')[flags.precision]
  if jax.default_backend() != 'cpu':
    jax.config.update('jax_default_matmul_precision', wanted)
  known = benchmarks(flags.data_dir, flags.precision)
  names = flags.only.split(',') if flags.only else list(known)
  unknown = sorted(set(names) - set(known))
  if unknown:
    parser.error(f'--only={unknown[0]} is not one of {sorted(known)}.')
  if flags.rounds < 1:
    parser.error(f'--rounds={flags.rounds} is less than 1.')
  print(describe_machine())
  with tempfile.TemporaryDirectory() as cache:
    # Every round of the loop builds its programs anew.
    jax.config.update('jax_compilation_cache_dir', cache)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
    return _run({name: known[name] for name in names}, flags)


def _run(rows, flags):
  passed = True
  for name, row in rows.items():
    missing = _missing(name)
    if missing:
      print(f'{name}: skipped, needs {missing}')
      continue
    passed &= measure(row, flags.rounds, flags.peak_tflops)
  return 0 if passed else 1


# First part of a row's name -> the extra and the packages that it needs.
_NEEDS = dict(
  torch=('bench', ('torch',)),
  acgd=('bench', ('torch', 'CGDs')),
  inception=('fidelity', ('torch', 'torchvision', 'torch_fidelity')),
)


def _missing(name):
  """What a row needs and that is not here, with the command for it, or ''."""
  extra, packages = _NEEDS.get(name.split('_')[0], ('', ()))
  for package in packages:
    if not importlib.util.find_spec(package):
      called = dict(torch='PyTorch').get(package, package.replace('_', '-'))
      return f"{called}: pip install -e '.[{extra}]'"
  return ''


if __name__ == '__main__':
  sys.exit(main())
