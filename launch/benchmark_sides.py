"""The two sides of each benchmark: functions that return a speed in steps/s."""

import math
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from configs import cifar10_landscape, digits
from gan_jax import build, cgd, data, parallel, step, together, train
from gan_jax.models import conv_primitives, convolution
from launch import acgd_pair

Sides = tuple[Callable[[], float], Callable[[], float]]


class _Enough(Exception):
  pass


def cifar10_sides(data_dir: str) -> Sides:
  """As `loop_sides`, for the quarter-width CNN pair on prepared CIFAR-10."""
  config = cifar10_landscape.get_config('cnn,rs,quarter')
  config.data_dir = data_dir
  return loop_sides(config)


def loop_sides(config: ml_collections.ConfigDict | None = None) -> Sides:
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
    _bare(
      run.setup,
      run.feed,
      run.steps_per_call,
      -(-window // 5 // run.steps_per_call),
    ),
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


def _bare(setup, feed, steps_per_call, calls):
  devices = parallel.make('jit')
  call = step.make_call(
    setup, feed.pick, steps_per_call, compile_=devices.compile
  )
  resident = devices.replicate(feed.resident)
  turns = len(setup.method.turns)
  fed = feed.next(0, steps_per_call * turns)
  fed = jax.tree.map(
    lambda x: np.reshape(x, (steps_per_call, turns, *x.shape[1:])), fed
  )
  state = devices.replicate(step.init(setup, jax.random.key(0)))
  for first in range(2):
    state, _ = call(state, resident, fed, first)
  kept = [jax.block_until_ready(state)]

  def speed():
    state, begin = kept.pop(), time.perf_counter()
    for i in range(calls):
      state, _ = call(state, resident, fed, i * steps_per_call)
    kept.append(jax.block_until_ready(state))
    return calls * steps_per_call / (time.perf_counter() - begin)

  return speed


# Bytes of all images of noise, where a thousand would be more.
_NOISE_BYTES = 2**28


def synthetic_feed(
  config: ml_collections.ConfigDict, shape: tuple[int, ...] = (32, 32, 3)
) -> data.Feed:
  """Noise instead of CIFAR-10: speed does not depend on what is seen."""
  rng = np.random.default_rng(0)
  fitting = _NOISE_BYTES // math.prod(shape)
  count = max(2 * config.batch_size, min(1024, fitting))
  images = rng.integers(0, 256, (count, *shape), np.uint8)
  return data.feed(data.Dataset('noise', images), config.batch_size, seed=0)


def scan_sides(config: ml_collections.ConfigDict) -> Sides:
  """Twenty steps in one call, and twenty calls of one step."""
  setup, feed = build.build_setup(config), synthetic_feed(config)
  return _bare(setup, feed, 20, 1), _bare(setup, feed, 1, 20)


def seeds_sides(
  config: ml_collections.ConfigDict, how: str, count: int = 8
) -> Sides:
  """Seed-steps/s of many seeds at once, and of one run by itself.

  Args:
    config: of the runs.
    how: they share the devices, a name of `together.NAMES`.
    count: seeds.
  """
  setup = build.build_setup(config)
  example = setup.discriminator.example_inputs()[0].shape[1:]
  convolutions = len(example) == 3
  steps = 1 if convolutions and jax.default_backend() == 'cpu' else 20
  # Calls a round: a step of 8 small CNNs takes a second on a CPU.
  calls = 2 if steps == 1 else 5
  run = build.Run(
    setup=setup,
    feed=_any_feed(config, example),
    num_steps=0,
    steps_per_call=steps,
  )
  devices = parallel.make('jit')
  resident = devices.replicate(run.feed.resident)
  make = lambda name, runs: together.make(name, runs, devices, resident)
  return (
    _seeds_speed(make(how, [run] * count), [run] * count, devices, calls),
    _seeds_speed(make('in_turn', [run]), [run], devices, count * calls),
  )


def _any_feed(config, example):
  if len(example) == 3:
    return synthetic_feed(config, example)
  points = np.random.default_rng(0).normal(size=(4096, *example))
  dataset = data.Dataset('noise', points.astype(np.float32))
  return data.feed(dataset, config.batch_size, seed=0)


def _seeds_speed(program, runs, devices, calls):
  fresh = lambda i: step.init(runs[i].setup, jax.random.key(i))
  states = [devices.replicate(fresh(i)) for i in range(len(runs))]
  packed, _ = program.call(program.pack(states), 0)
  kept, steps = [packed], calls * runs[0].steps_per_call

  def speed():
    packed, begin = kept.pop(), time.perf_counter()
    for i in range(calls):
      packed, _ = program.call(packed, i * runs[0].steps_per_call)
    kept.append(jax.block_until_ready(packed))
    return len(runs) * steps / (time.perf_counter() - begin)

  return speed


def torch_sides(
  config: ml_collections.ConfigDict, compiled: bool, tf32: bool, count: int
) -> Sides:
  """Our training step, and PyTorch's in the faster of its memory layouts."""
  from launch import torch_steps

  torch_steps.set_up(tf32=tf32)
  on_cpu = jax.default_backend() == 'cpu'
  together = min(count, 20)
  setup = build.build_setup(config)
  feed = synthetic_feed(
    config, setup.discriminator.example_inputs()[0].shape[1:]
  )
  device = 'cpu' if on_cpu else 'cuda'
  runners = torch_steps.runners(config, device, compiled)
  ours = _bare(setup, feed, together, -(-count // together))
  return ours, _fastest(runners, count)


def published_pace_sides(
  config: ml_collections.ConfigDict, steps: int, minutes: float
) -> Sides:
  """Our bare step, and the pace of so many steps in so many minutes."""
  setup, feed = build.build_setup(config), synthetic_feed(config)
  return _bare(setup, feed, 20, 5), lambda: steps / (60 * minutes)


def flops(config: ml_collections.ConfigDict) -> float:
  """Of the products in one step, by PyTorch's own formulas."""
  from launch import torch_flops

  return torch_flops.flops(config)


def acgd_sides(loss: str, iterations: int, tf32: bool, count: int) -> Sides:
  """ACGD steps, ours and those of the PyTorch package CGDs.

  Args:
    loss: 'wasserstein' or 'minimax'.
    iterations: of conjugate gradients in each step, on both sides.
    tf32: precision of products on a GPU.
    count: steps a round.
  """
  from launch import torch_acgd, torch_steps

  torch_steps.set_up(tf32=tf32)
  on_cpu = jax.default_backend() == 'cpu'
  config = acgd_pair.config(loss)
  method = cgd.acgd(
    acgd_pair.LEARNING_RATE, tolerance=0.0, iterations=iterations
  )
  runners = torch_acgd.runners(
    config, iterations, acgd_pair.LEARNING_RATE, 'cpu' if on_cpu else 'cuda'
  )
  # As many steps a call as the trainer does.
  together = 1 if on_cpu else count
  ours = _bare(
    acgd_pair.setup(config, method),
    synthetic_feed(config),
    together,
    count // together,
  )
  return ours, _fastest(runners, count)


def _fastest(runners, count):
  """Steps/s of the fastest of some functions that do so many steps."""
  for run in runners:
    run(2)

  def speed():
    speeds = []
    for run in runners:
      begin = time.perf_counter()
      run(count)
      speeds.append(count / (time.perf_counter() - begin))
    return max(speeds)

  return speed


# Image size, channels, kernel and stride of depthwise layers in
# EfficientNet-Lite0 at 96 px.
_DEPTHWISE = (
  (48, 32, 3, 1),
  (48, 96, 3, 2),
  (24, 144, 5, 2),
  (12, 240, 3, 2),
  (6, 480, 5, 1),
  (6, 672, 5, 2),
)


def depthwise_sides() -> Sides:
  """Depthwise layers as they ship, and as grouped convolutions."""

  def speed(form):
    layers = []
    for size, channels, kernel, stride in _DEPTHWISE:
      pads = convolution.same_padding((size, size), kernel, stride)
      geometry = conv_primitives.Geometry(
        (stride,) * 2, pads, (size, size), (kernel,) * 2
      )
      x = jnp.ones((16, size, size, channels))
      weight = jnp.ones((kernel, kernel, 1, channels))
      layers.append((geometry, x, weight))
    arrays = [layer[1:] for layer in layers]
    run = jax.jit(
      lambda arrays: [
        form(x, weight, geometry)
        for (geometry, *_), (x, weight) in zip(layers, arrays, strict=True)
      ]
    )
    jax.block_until_ready(run(arrays))

    def measured():
      begin = time.perf_counter()
      for _ in range(5):
        jax.block_until_ready(run(arrays))
      return 5 / (time.perf_counter() - begin)

    return measured

  return (
    speed(convolution.depthwise_by_products),
    speed(convolution.depthwise_by_lax),
  )
