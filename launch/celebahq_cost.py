"""Memory and speed of training on large faces: the step, and its loader.

python -m launch.celebahq_cost [--config=configs/celebahq.py:1024,r1]
    [--options='plain;remat;bf16;bf16,remat;accumulate=4'] [--batch_size=24]
    [--only=kept,compiled,step,loader] [--data_dir=DIR] [--threads=1,2,4,8]

  kept      bytes that wait between the forward and the backward pass of each
            player's loss, of one part of a batch; nothing is compiled
  compiled  bytes of temporaries of the whole step, as the compiler counts them
  step      steps and images a second, of noise that is on the device
  loader    images a second from disk to a batch in memory, and its memory

On CPU `compiled` was the same with and without remat. Numbers of the loader
are of this machine's cores; a step needs batch_size images for each of its
turns.
"""

import functools
import math
import resource
import sys
import time

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from gan_jax import batch_game, build, data, step
from launch import arguments
from launch.published import plan

_MEASURES = ('kept', 'compiled', 'step', 'loader')
_OPTIONS = 'plain;remat;bf16;bf16,remat;accumulate=4'
_GIB = 2**30
_STEPS, _SECONDS = 5, 10.0


def with_options(config: ml_collections.ConfigDict, words: str) -> None:
  """Sets what words joined by commas ask for.

  Args:
    config: of a residual pair; changed.
    words: of plain, remat, bf16 and accumulate=K.

  Raises:
    ValueError: there is no such word.
  """
  for word in words.split(','):
    if word.startswith('accumulate=') and word[11:].isdigit():
      config.accumulate = int(word[11:])
    elif word in ('remat', 'bf16'):
      for player in (config.generator, config.discriminator):
        change = dict(remat=True, bf16='bfloat16')[word]
        player['remat' if word == 'remat' else 'dtype'] = change
    elif word != 'plain':
      raise ValueError(
        f'--options={word!r} is not one of plain, remat, bf16, accumulate=K.'
      )


def kept(setup: batch_game.Setup, batch_size: int, player: str) -> int:
  """Bytes that one part of a batch leaves for the backward pass.

  Args:
    setup: of the run.
    batch_size: rows of the whole batch.
    player: 'g' or 'd', whose loss is differentiated in its parameters.
  """
  shape = setup.discriminator.example_inputs()[0].shape[1:]
  state = jax.eval_shape(lambda: step.init(setup, jax.random.key(0)))
  rows = batch_size // setup.accumulate

  def backward(players, images):
    batch, key = {'image': images}, jax.random.key(0)
    game = batch_game.make_game(setup, state.model_state, batch, key)
    losses = dict(
      g=lambda g: game.loss_g(g, players.d)[0],
      d=lambda d: game.loss_d(players.g, d)[0],
    )
    return jax.vjp(losses[player], getattr(players, player))[1]

  images = jax.ShapeDtypeStruct((rows, *shape), jnp.uint8)
  leaves = jax.tree.leaves(jax.eval_shape(backward, state.players, images))
  # Keys, which have no size in bytes, are few.
  plain = [
    x for x in leaves if not jnp.issubdtype(x.dtype, jax.dtypes.extended)
  ]
  return sum(math.prod(x.shape) * x.dtype.itemsize for x in plain)


def _compile(setup, batch_size):
  shape = setup.discriminator.example_inputs()[0].shape[1:]
  state = jax.eval_shape(lambda: step.init(setup, jax.random.key(0)))
  rows = (len(setup.method.turns), batch_size, *shape)
  batches = {'image': jax.ShapeDtypeStruct(rows, jnp.uint8)}
  call = functools.partial(step.train_step, setup=setup)
  compiled = jax.jit(call, donate_argnums=0).lower(state, batches).compile()
  return compiled, batches


def _time_steps(setup, compiled, batches):
  """Seconds of a step, the median of some."""
  state = step.init(setup, jax.random.key(0))
  draw = np.random.default_rng(0).integers
  images = {
    k: jax.device_put(draw(0, 256, x.shape, np.uint8))
    for k, x in batches.items()
  }
  seconds = []
  for _ in range(_STEPS + 1):
    start = time.monotonic()
    state, metrics = compiled(state, images)
    jax.block_until_ready(state)
    seconds.append(time.monotonic() - start)
  bad = [k for k, x in metrics.items() if not np.isfinite(x)]
  if bad:
    raise FloatingPointError(f'{bad[0]} is not finite.')
  return float(np.median(seconds[1:]))


def _resident_memory():
  """GiB of this process, now and at most."""
  with open('/proc/self/status', encoding='utf-8') as file:
    lines = dict(line.split(':', 1) for line in file)
  most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  return int(lines['VmRSS'].split()[0]) / 2**20, most


def _measure_loader(config, threads):
  batch_size = config.batch_size
  dataset = data.load(
    config.data.name,
    data_dir=config.data_dir,
    image_size=config.data.image_size or None,
    resize=config.data.resize,
    max_bytes=0,
  )
  for count in threads:
    feed, batches = data.feed(dataset, batch_size, 0, threads=count), 0
    feed.next(0, 1)
    start, worked = time.monotonic(), time.process_time()
    while (passed := time.monotonic() - start) < _SECONDS:
      batches += 1
      feed.next(batches, 1)
    images, worked = batches * batch_size, time.process_time() - worked
    now, most = _resident_memory()
    print(
      f'loader, {count} threads: {images / passed:.0f} images/s, '
      f'{1000 * worked / max(1, images):.0f} ms of a core each, '
      f'{worked / passed:.1f} cores in use; process {now:.2f} GiB, at most '
      f'{most:.2f}',
      flush=True,
    )


def _measure_step(config, words, only):
  setup, told = build.build_setup(config), [f'{words}:']
  batch_size = config.batch_size
  if 'kept' in only:
    sizes = {who: kept(setup, batch_size, who) / _GIB for who in 'dg'}
    told += [f'kept {who} {size:.2f} GiB;' for who, size in sizes.items()]
  if only & {'compiled', 'step'}:
    compiled, batches = _compile(setup, batch_size)
    memory = compiled.memory_analysis().temp_size_in_bytes / _GIB
    told.append(f'temporaries {memory:.2f} GiB;')
    if 'step' in only:
      seconds = _time_steps(setup, compiled, batches)
      images = len(setup.method.turns) * batch_size / seconds
      told.append(f'{1 / seconds:.3f} steps/s, {images:.1f} images/s;')
  print(*told, flush=True)


def main(argv: list[str] | None = None) -> int:
  """Prints a line for each option and each number of threads."""
  parser = arguments.Parser(__doc__)
  parser.add_argument('--config', default='configs/celebahq.py:1024,r1')
  parser.add_argument('--options', default=_OPTIONS)
  parser.add_argument('--batch_size', type=int, default=0)
  parser.add_argument('--only', default='')
  parser.add_argument('--data_dir', default='')
  parser.add_argument('--threads', default='1,2,4,8')
  asked = parser.parse_args(argv)
  try:
    _measure(asked)
  except (ValueError, data.DataError) as error:
    parser.error(str(error))
  return 0


def _measure(asked):
  only, threads = _chosen(asked)
  configs = {words: _config(asked) for words in asked.options.split(';')}
  for words, config in configs.items():  # a mistake in the last shows first
    with_options(config, words)
    build.build_setup(config)
  device = jax.devices()[0]
  print(f'{device.device_kind}, {jax.device_count()} of them', flush=True)
  for words, config in configs.items() if only - {'loader'} else ():
    _measure_step(config, words, only)
  if 'loader' in only:
    _measure_loader(_config(asked), threads)


def _chosen(asked):
  """What is measured; the loader by default only where there are data."""
  only = set(asked.only.split(',')) if asked.only else set(_MEASURES)
  if only - set(_MEASURES):
    raise ValueError(f'--only={asked.only!r} has words not of {_MEASURES}.')
  if 'loader' in only and not asked.data_dir:
    if asked.only:
      raise ValueError(f'--only={asked.only!r} needs --data_dir for loader.')
    only -= {'loader'}
  threads = asked.threads.split(',')
  if not all(count.isdecimal() and int(count) for count in threads):
    raise ValueError(f'--threads={asked.threads!r} is not counts as 1,2,4.')
  return only, [int(count) for count in threads]


def _config(asked):
  config = plan.read_config(asked.config)
  if asked.batch_size < 0:
    raise ValueError(f'--batch_size={asked.batch_size} must be at least 1.')
  config.batch_size = asked.batch_size or config.batch_size
  config.data_dir = asked.data_dir
  return config


if __name__ == '__main__':
  sys.exit(main())
