"""The table of benchmarks; nothing is timed."""

import jax
import numpy as np
import pytest

from gan_jax import build
from launch import benchmark, benchmark_configs, benchmark_sides


def test_on_a_gpu_compiled_pytorch_is_met_and_eager_beaten(monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  rows = benchmark.benchmarks()
  for name in benchmark_configs.torch_rows():
    assert rows[name].required == 1.5
    assert rows[f'{name}_compiled'].required == 1.0
  row = rows['torch_residual_1024']
  assert row.half
  assert 'batches of 8, body in bfloat16' in row.what


def test_a_cpu_leaves_out_what_it_cannot_do():
  rows = benchmark.benchmarks()
  assert 'torch_residual_64' in rows
  absent = {'torch_residual_1024', 'torch_resnet_full', 'pace_cnn_full'}
  assert not absent & set(rows)
  assert not [name for name in rows if name.endswith('_compiled')]


def test_rounds_pay_whole_periods_of_lazy_penalties():
  for row in benchmark_configs.torch_rows().values():
    assert row.count_gpu % row.config.lazy == 0
    assert row.count % row.config.lazy == 0


def test_what_is_said_of_both_speeds():
  row = benchmark.Benchmark(
    'x', 1.0, None, lambda: 2.5e12, images=8, half=True, steps=100_000
  )
  lines = list(benchmark._details(row, np.array([200.0, 100.0]), 500.0))
  # 500 TFLOP/s of 1,000; 100,000 steps at 200 a second are 8 1/3 minutes.
  assert lines == [
    '1600 and 800 images/s',
    '100,000 steps in 8.3 and 16.7 minutes',
    'products: 500 and 250 TFLOP/s',
    'model FLOPs utilisation: 50.0 and 25.0 % of 1000 TFLOP/s',
  ]


def test_eight_minutes_are_the_pace(monkeypatch):
  bare = lambda *args: lambda: 1.0
  monkeypatch.setattr(benchmark_sides, '_bare', bare)
  monkeypatch.setattr(benchmark_sides, 'synthetic_feed', bare)
  monkeypatch.setattr(build, 'build_setup', bare)
  _, pace = benchmark_sides.published_pace_sides(None, 100_000, 8)
  assert pace() == pytest.approx(208.33, abs=0.01)


def test_noise_is_of_the_networks_size_and_bounded(monkeypatch):
  config = benchmark_configs.residual('1024', batch_size=8)
  for limit, count in ((2**20, 85), (2**12, 16), (2**40, 1024)):
    monkeypatch.setattr(benchmark_sides, '_NOISE_BYTES', limit)
    feed = benchmark_sides.synthetic_feed(config, (64, 64, 3))
    (images,) = jax.tree.leaves(feed.resident)
    assert images.shape == (count, 64, 64, 3)
