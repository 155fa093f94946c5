"""The augmentation pipeline, on pictures whose change is known."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import digits
from gan_jax import ada, build

IMAGE = np.random.default_rng(0).uniform(-1, 1, (8, 8, 3)).astype(np.float32)
ALL = tuple((kind, 1.0) for kind in ada.KINDS)
MANY = 2000

warp = jax.jit(ada.warp)
apply = jax.jit(ada.apply, static_argnums=2)


def keys(count, seed=0):
  return jax.random.split(jax.random.key(seed), count)


def affine(matrix, shift=(0, 0)):
  source = np.eye(3, dtype=np.float32)
  source[:2, :2], source[:2, 2] = matrix, shift
  return source


def mirrored(image, down, right):
  """What lies `down` and `right` of each pixel; mirror images around."""
  size = len(image)
  around = np.pad(image, [(size - 1,) * 2] * 2 + [(0, 0)], mode='reflect')
  rows, columns = size - 1 + down, size - 1 + right
  return around[rows : rows + size, columns : columns + size]


# Which matrix takes pixels from where, in x to the right and y down.
MOVES = {
  'nothing': (affine(np.eye(2)), IMAGE),
  'pixels': (affine(np.eye(2), (3, -2)), mirrored(IMAGE, down=-2, right=3)),
  'all gone': (affine(np.eye(2), (30, 0)), 0 * IMAGE),
}


@pytest.mark.parametrize('name', MOVES)
def test_moves_by_whole_pixels_are_exact(name):
  source, expected = MOVES[name]
  np.testing.assert_allclose(warp(IMAGE, source), expected, atol=1e-5)


# A pixel right of the middle comes from left of it, from below, from opposite.
TURNS = {
  'mirror': (affine([[-1, 0], [0, 1]]), lambda x: x[:, ::-1]),
  'quarter turn': (affine([[0, -1], [1, 0]]), np.rot90),
  'half turn': (affine([[-1, 0], [0, -1]]), lambda x: x[::-1, ::-1]),
}


@pytest.mark.parametrize('name', TURNS)
def test_turns_are_nearly_exact(name):
  # The wavelet is not quite symmetric: a mirror image comes back a tenth of a
  # pixel off, and near a corner its mirror images are no longer smooth.
  x, y = np.meshgrid(np.arange(8), np.arange(8))
  smooth = np.sin(0.3 * x + 0.2 * y)[..., None].astype(np.float32)
  source, turned = TURNS[name]
  np.testing.assert_allclose(warp(smooth, source), turned(smooth), atol=0.07)


def test_a_turned_and_shrunken_wave():
  # Of 32 pixels a period, at a point turned by 30 degrees and taken from 1.2
  # times as far; bilinear at half a pixel is off by (pi / 32)^2 / 8 at most,
  # the wavelet by little more.
  size, step = 24, 2 * math.pi / 32
  at = np.arange(size) - (size - 1) / 2
  x, y = np.meshgrid(at, at)
  wave = lambda x, y: np.cos(step * x + 0.5)[..., None].astype(np.float32)
  cos, sin = 1.2 * math.cos(math.pi / 6), 1.2 * math.sin(math.pi / 6)
  actual = warp(wave(x, y), affine([[cos, -sin], [sin, cos]], (0.3, -2)))
  expected = wave(cos * x - sin * y + 0.3, None)
  middle = slice(6, -6)  # elsewhere a mirror image may come in
  np.testing.assert_allclose(
    actual[middle, middle], expected[middle, middle], atol=0.01
  )


def test_colors():
  third = np.asarray(ada._hue(jnp.float32(2 * math.pi / 3)))
  np.testing.assert_allclose(third @ [1, 2, 3], [3, 1, 2], atol=1e-6)
  np.testing.assert_allclose(third @ third.T, np.eye(3), atol=1e-6)
  pixel = jnp.array([[[0.1, 0.2, 0.6]]])
  matrix, shift = jnp.array(np.diag([1.0, 2, 3]), jnp.float32), jnp.full(3, 0.5)
  turned = ada.recolor(pixel, matrix, shift)
  np.testing.assert_allclose(turned, [[[0.6, 0.9, 2.3]]], rtol=1e-6)
  # A grey pixel as one of three equal colours, and their mean.
  grey = ada.recolor(jnp.array([[[0.3]]]), matrix, shift)
  np.testing.assert_allclose(grey, [[[0.3 * 2 + 0.5]]], rtol=1e-6)


# Of each change with probability p = 1/2, how often nothing is to be seen: a
# mirror image is drawn half of the time and 3 of 4 turns, a move of up to one
# pixel is none on an axis half of the time, and a luma flip half of the time.
UNCHANGED = {
  'blit': (1 - 1 / 4) * (1 - 3 / 8) * (1 - 3 / 8),
  'geometry': 1 / 2**4,
  'color': (1 - 1 / 4) / 2**4,
  'cutout': 1 / 2,
}


@pytest.mark.parametrize(
  'kind',
  [
    *(pytest.param(k, marks=pytest.mark.slow) for k in ('blit', 'geometry')),
    *('color', 'cutout'),
  ],
)
def test_how_often(kind):
  images = np.broadcast_to(IMAGE, (MANY, *IMAGE.shape))
  made = apply(keys(MANY), images, ((kind, 1.0),), 0.5)
  share = np.mean(np.abs(made - images).max(axis=(1, 2, 3)) < 1e-4)
  expected = UNCHANGED[kind]
  # Four standard deviations.
  margin = 4 * math.sqrt(expected * (1 - expected) / MANY)
  assert abs(share - expected) < margin
  none = apply(keys(9), images[:9], ((kind, 1.0),), 0.0)
  np.testing.assert_allclose(none, images[:9], atol=1e-5)


def test_a_factor_of_p():
  images = np.ones((MANY, 4, 4, 1), np.float32)
  made = apply(keys(MANY), images, (('cutout', 0.5),), 0.4)
  share = np.mean(np.any(made == 0, axis=(1, 2, 3)))
  assert abs(share - 0.2) < 4 * math.sqrt(0.2 * 0.8 / MANY)


@pytest.mark.slow
def test_a_row_depends_on_its_own_key_and_pixels():
  images = np.random.default_rng(1).uniform(-1, 1, (4, 8, 8, 3))
  images = images.astype(np.float32)
  whole = apply(keys(4), images, ALL, 0.8)
  part = apply(keys(4)[2:], images[2:], ALL, 0.8)
  np.testing.assert_allclose(part, whole[2:], atol=1e-6)
  assert apply(keys(4), images, ALL, 0.8).dtype == np.float32


@pytest.mark.slow
def test_affine_and_with_derivatives_of_any_order():
  x, y, w = np.random.default_rng(2).normal(size=(3, 2, 8, 8, 3))
  x, y, w = (part.astype(np.float32) for part in (x, y, w))
  run = lambda x: apply(keys(2), x, ALL, 0.9)
  np.testing.assert_allclose(
    run(0.3 * x + 0.7 * y), 0.3 * run(x) + 0.7 * run(y), atol=1e-4
  )
  value, pushed = jax.jvp(run, (x,), (y,))
  (pulled,) = jax.vjp(run, x)[1](w)
  chex.assert_trees_all_close(value, run(x))
  np.testing.assert_allclose(
    np.vdot(pushed, w), np.vdot(pulled, y), rtol=1e-4, atol=1e-4
  )
  # R1 of the critic sum(image^2) / 2 after it: the gradient is A^T (A x + b),
  # so its squared norm has the derivative 2 A^T A A^T (A x + b) along y.
  slope = lambda x: jax.grad(lambda x: jnp.sum(run(x) ** 2) / 2)(x)
  _, along = jax.jvp(lambda x: jnp.sum(slope(x) ** 2), (x,), (y,))
  expected = 2 * np.vdot(slope(x), jax.vjp(run, x)[1](pushed)[0])
  np.testing.assert_allclose(along, expected, rtol=1e-3)


def test_words():
  assert ada.parse('') == ()
  expected = (('blit', 1.0), ('color', 0.5))
  assert ada.parse('blit, color:0.5') == expected


@pytest.mark.parametrize(
  'text',
  ['blur', 'blit,blit', 'color:0', 'color:1.5', 'color:x', 'blit,,color'],
)
def test_words_that_are_none(text):
  with pytest.raises(ValueError, match=r'policy=.* must be words of .*blit'):
    ada.parse(text)


def test_other_images():
  with pytest.raises(ValueError, match=r'1 or 3 channels, got shape \(1, 8, 8'):
    ada.apply(keys(1), jnp.zeros((1, 8, 8, 2)), ALL, 0.5)
  with pytest.raises(ValueError, match=r'floats in \[-1, 1\], got uint8'):
    ada.apply(keys(1), jnp.zeros((1, 8, 8, 3), jnp.uint8), ALL, 0.5)


def config(policy, p, **moving):
  config = digits.get_config()
  config.ada = dict(policy=policy, p=p)
  config.anneal.update(moving)
  return config


def test_a_config_has_it():
  setup = build.build_setup(config('cutout', 0.5))
  assert setup.pipeline == ada.Pipeline((('cutout', 1.0),), 0.5)


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    (dict(policy='blur', p=0.5), r"config\.ada\.policy='blur' must be words"),
    (dict(policy='blit', p=1.5), r'config\.ada\.p=1\.5 is not in \[0, 1\]'),
    (dict(policy='blit', p=0.0), 'augments nothing; set both, or neither'),
    (dict(policy='', p=0.5), 'augments nothing; set both, or neither'),
    (
      dict(policy='blit', p=0.5, steps=9, ada=4.0),
      r'config\.ada\.p=0\.5 would be 2 at first: .* up to 2\.',
    ),
  ],
)
def test_a_config_that_is_wrong(arguments, words):
  with pytest.raises(ValueError, match=words):
    build.build_setup(config(**arguments))
