"""A checkpoint -> samples and pictures."""

import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from gan_jax import (
  batch_game,
  build,
  checkpoints,
  defaults,
  models,
  parallel,
  pictures,
)
from gan_jax import best as bests
from gan_jax import step as steps
from gan_jax import workdir as workdirs

_GRID = 64  # images of a grid
_POINTS = 2000  # of a scatter plot
_INTERPOLATION_ROWS, _INTERPOLATION_STEPS = 8, 10
# Of a picture, so that it can be opened: 16 images of 1024 px.
_PIXELS = 2**24
# A stream of latents beside those of training.
_PICTURES = 2**31 - 1


class Sampler(NamedTuple):
  """A trained generator.

  Attributes:
    sample: `(key, count, labels=None) -> [count, ...]` numpy, images in [-1,
      1]. A generator that takes labels goes through all classes without.
    decode: `(z, labels=None)`, latents `[N, z_size]` to numpy `[N, ...]`.
    z_size: of the latents.
    step: training steps of the checkpoint.
  """

  sample: Callable[..., np.ndarray]
  decode: Callable[..., np.ndarray]
  z_size: int
  step: int


def load(
  workdir: str | os.PathLike, *, averaged: bool = True, best: bool = False
) -> Sampler:
  """The generator of a run's newest checkpoint; no config and no data needed.

  Args:
    workdir: of the run.
    averaged: the averaged generator, where the run keeps one.
    best: of the best checkpoint instead, where the run keeps one.

  Raises:
    workdir.WorkdirError: the folder holds no run.
    checkpoints.CheckpointError: it has no checkpoint that is whole, or no best.
  """
  config = workdirs.recorded(workdir)
  if config is None:
    raise workdirs.WorkdirError(
      f'workdir={str(workdir)!r} holds no config.json, so it is no run.'
    )
  if not config:
    raise workdirs.WorkdirError(
      f'workdir={str(workdir)!r} is of a run that was built by hand; give its '
      'setup to generate.load_setup.'
    )
  # A run of an older version lacks the fields that came later.
  config = ml_collections.ConfigDict(defaults.complete(config))
  setup = build.build_setup(config)
  return load_setup(setup, workdir, averaged=averaged, best=best)


def load_setup(
  setup: batch_game.Setup,
  workdir: str | os.PathLike,
  *,
  averaged: bool = True,
  best: bool = False,
) -> Sampler:
  """As `load`, for a run that was built by hand."""
  state, step = _restored(setup, workdir, best)
  variables = steps.generator_variables(state, averaged=averaged)
  return _sampler(setup, variables, step)


def like(setup: batch_game.Setup) -> steps.TrainState:
  """Shapes and dtypes of a run's state."""
  return jax.eval_shape(lambda: steps.init(setup, jax.random.key(0)))


def latents(setup: batch_game.Setup, key: jax.Array, count: int) -> jax.Array:
  """What a generator draws `count` samples from, `[count, z_size]`."""
  return batch_game.latents(key, count, setup.generator.z_size)


def _restored(setup, workdir, best=False):
  if best:
    restored = bests.restore(workdir, like(setup))
    return restored.state, restored.step
  folder = pathlib.Path(workdir) / 'checkpoints'
  restored = checkpoints.restore_latest(folder, like(setup))
  if restored is None:
    raise checkpoints.CheckpointError(
      f'workdir={str(workdir)!r} has no checkpoint yet; train first.'
    )
  return restored.state, restored.step


def _sampler(setup, variables, step):
  generate = steps.make_sampler(setup, place=parallel.by_rows)
  decode = lambda z, labels=None: generate(variables, z, labels)

  def sample(key, count, labels=None):
    return decode(latents(setup, key, count), labels)

  return Sampler(sample, decode, setup.generator.z_size, step)


def make_picture(run: build.Run, workdir: pathlib.Path) -> Callable:
  """A function `(state, step) -> path` that draws samples of fixed latents.

  It raises FloatingPointError where one is not finite.
  """
  generate = steps.make_sampler(run.setup)
  z = _fixed_latents(run, _how_many(run.setup))

  def picture(state, step):
    variables = steps.generator_variables(state, averaged=True)
    examples = generate(variables, z)
    if not np.isfinite(examples).all():
      raise FloatingPointError('a sample of the generator is not finite')
    return _draw(run, examples, workdir, step)

  return picture


def sample(run: build.Run, workdir: str | os.PathLike) -> list[pathlib.Path]:
  """Draws a grid of new samples and paths between latents (`--mode=sample`).

  Returns:
    The pictures' paths, in `workdir/samples`.
  """
  sampler = load_setup(run.setup, workdir)
  folder = pathlib.Path(workdir)
  images = len(_example_shape(run.setup)) == 3
  z = _fixed_latents(run, _how_many(run.setup))
  paths = [_draw(run, sampler.decode(z), folder, sampler.step)]
  if images:
    paths.append(folder / 'samples' / f'interpolation-{sampler.step:08d}.png')
    pictures.rows(_interpolations(run, sampler), paths[-1])
  return paths


def _interpolations(run, sampler):
  height, width, _ = _example_shape(run.setup)
  fitting = _PIXELS // (_INTERPOLATION_STEPS * height * width)
  rows = max(1, min(_INTERPOLATION_ROWS, fitting))
  ends = _fixed_latents(run, 2 * rows)
  first, last = ends[:rows], ends[rows:]
  shares = np.linspace(0.0, 1.0, _INTERPOLATION_STEPS)
  z = jax.vmap(lambda share: spherical(first, last, share), out_axes=1)(shares)
  # A row keeps its class.
  labels = np.arange(len(z)) % _classes(run.setup)
  labels = np.repeat(labels, z.shape[1])
  images = sampler.decode(z.reshape(-1, z.shape[-1]), labels)
  return images.reshape(*z.shape[:2], *images.shape[1:])


def spherical(a: jax.Array, b: jax.Array, share: jax.Array) -> jax.Array:
  """Spherical interpolation of latents `[N, z]` (White 2016, eq. 1).

  Straight lines between normal latents leave the shell where they all lie.
  """
  unit = lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True)
  cosine = jnp.sum(unit(a) * unit(b), axis=-1, keepdims=True)
  angle = jnp.arccos(jnp.clip(cosine, -1 + 1e-6, 1 - 1e-6))
  weights = jnp.sin((1 - share) * angle), jnp.sin(share * angle)
  return (weights[0] * a + weights[1] * b) / jnp.sin(angle)


def export(run: build.Run, workdir: str | os.PathLike) -> list[pathlib.Path]:
  """Writes the newest checkpoint's weights (`--mode=export`).

  Returns:
    Paths of `.npz` files in `workdir/export`, for `numpy.load`: the generator,
    its average where the run keeps one, and the discriminator, named and laid
    out as in PyTorch (see `models.to_torch`).
  """
  state, step = _restored(run.setup, workdir)
  generator = run.setup.generator
  variables = {
    'generator': (generator, steps.generator_variables(state, averaged=False)),
    'discriminator': (
      run.setup.discriminator,
      {'params': state.players.d, **state.model_state.d},
    ),
  }
  if run.setup.averaging:
    averaged = steps.generator_variables(state, averaged=True)
    variables['generator-averaged'] = (generator, averaged)
  folder = pathlib.Path(workdir) / 'export'
  folder.mkdir(exist_ok=True)
  paths = []
  for name, (module, values) in variables.items():
    paths.append(folder / f'{name}-{step:08d}.npz')
    np.savez(paths[-1], **models.to_torch(module, values))
  return paths


def _how_many(setup):
  """Examples of a picture: points, or images that make a grid."""
  shape = _example_shape(setup)
  if len(shape) != 3:
    return _POINTS
  count = max(1, min(_GRID, _PIXELS // (shape[0] * shape[1])))
  classes = _classes(setup)
  return count - count % classes if classes <= count else count


def _classes(setup):
  return getattr(setup.generator, 'labels', 1)


def _example_shape(setup):
  return setup.discriminator.example_inputs()[0].shape[1:]


def _fixed_latents(run, count):
  key = jax.random.fold_in(jax.random.key(run.seed), _PICTURES)
  return batch_game.latents(key, count, run.setup.generator.z_size)


def _draw(run, examples, workdir, step):
  path = workdir / 'samples' / f'{step:08d}.png'
  path.parent.mkdir(parents=True, exist_ok=True)
  if examples.ndim == 4:
    # All classes in turn: each has a column.
    classes = _classes(run.setup)
    fit = classes > 1 and not len(examples) % classes
    pictures.grid(examples, path, columns=classes if fit else None)
    return path
  real = run.dataset.examples[:_POINTS] if run.dataset else examples
  centres = run.dataset.centres if run.dataset else None
  pictures.scatter(real, examples, path, f'step {step}', centres)
  return path
