"""What moves by half a cosine, by hand and in a step."""

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from configs import cifar10_modern, toy
from gan_jax import anneal, batch_game, build, defaults, optimizers, train

ROOT = 2**-0.5  # cos(pi / 4)


def test_half_a_cosine():
  factor = anneal.half_cosine(4.0, 100)
  actual = [float(factor(step)) for step in (0, 25, 50, 75, 100, 5000)]
  expected = [4, 1 + 1.5 * (1 + ROOT), 2.5, 1 + 1.5 * (1 - ROOT), 1, 1]
  np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_a_half_life_that_grows_from_nothing():
  # Twice the half-life is the root of the decay; none is a decay of 0.
  decay = anneal.averaging(0.25, lambda step: step)
  actual = [float(decay(x)) for x in (0.0, 0.5, 1.0, 2.0)]
  np.testing.assert_allclose(actual, [0, 0.0625, 0.25, 0.5], rtol=1e-6)


def described(**changes):
  return ml_collections.ConfigDict(defaults.optimizer(**changes))


def test_adam_whose_b2_and_rate_move():
  # Over two steps b2 is .9, .945, .99 and the rate .04, .025, .01; each step
  # has two updates. Gradients 1, 2, 3 with b1 = 0: v is .1; .9 .1 + .1 4 = .49;
  # .945 .49 + .055 9 = .95805, over 1 - .9, 1 - .9^2, 1 - .945^3.
  moving = {
    'learning_rate': anneal.half_cosine(4.0, 2),
    'forgetting': anneal.half_cosine(10.0, 2),
  }
  fields = described(learning_rate=0.01, b1=0.0, b2=0.99, eps=0.0)
  optimizer = optimizers.build(fields, 10, 2, moving)
  state, made = optimizer.init(jnp.zeros(())), []
  for gradient in (1.0, 2.0, 3.0):
    update, state = optimizer.update(jnp.float32(gradient), state)
    made.append(float(update))
  second = 0.04 * 2 / (0.49 / 0.19) ** 0.5
  third = 0.025 * 3 / (0.95805 / (1 - 0.945**3)) ** 0.5
  np.testing.assert_allclose(made, [-0.04, -second, -third], rtol=1e-5)


# In 40,000 steps of 512 images the last value is reached after 39,062.
PUBLISHED = {0: (0.05, 2e-4, 0.0), 39_062: (0.005, 5e-5, 0.55)}


@pytest.mark.parametrize('at', PUBLISHED)
def test_the_modern_config_moves_as_published(at):
  gamma, rate, p = PUBLISHED[at]
  config = cifar10_modern.get_config()
  setup = batch_game.at_step(build.build_setup(config), at)
  assert [penalty.name for penalty in setup.penalties] == ['r1', 'r2']
  for penalty in setup.penalties:
    np.testing.assert_allclose(penalty.weight, gamma / 2, rtol=1e-5)
  np.testing.assert_allclose(setup.pipeline.p, p, rtol=1e-5)
  factor = anneal.factors(config.anneal.to_dict())['learning_rate'](at)
  np.testing.assert_allclose(
    config.optimizer_g.learning_rate * factor, rate, rtol=1e-5
  )


def toy_config(**fields):
  config = toy.get_config()
  config.penalties.r1 = 0.5
  config.averaging = 0.0
  config.anneal.update(fields)
  return config


@pytest.mark.parametrize(
  ('fields', 'words'),
  [
    (dict(steps=-1), r'steps=-1 is below 0'),
    (dict(penalties=2.0), r'penalties=2\.0 moves in no step; set'),
    (dict(steps=9, penalties=-1.0), r'penalties=-1\.0 is not in \[0, inf\)'),
    (
      dict(steps=9, forgetting=2e3),
      r'b2=0\.9\d* would be -.*up to',
    ),
    (dict(steps=9, half_life=0.0), 'half_life moves .*averaging=0 keeps none'),
    (dict(steps=9, ada=0.0), r'ada moves config\.ada\.p, which is 0'),
  ],
)
def test_what_cannot_move(fields, words):
  with pytest.raises(
    ValueError, match=r'^config\.(optimizer_g|anneal)\.' + words
  ):
    build.build_setup(toy_config(**fields))


def test_what_has_nothing_to_move():
  config = toy_config(steps=9, learning_rate=2.0)
  config.game = train.game_defaults('cgd')
  config.loss = 'wasserstein'
  with pytest.raises(
    ValueError, match="config.game 'cgd' has none but its own"
  ):
    build.build_setup(config)
  config = toy_config(steps=9, penalties=2.0)
  config.penalties.r1 = 0.0
  with pytest.raises(ValueError, match=r"has none of \['dragan', 'r1', .*\]"):
    build.build_setup(config)
  config = toy_config(steps=9, forgetting=2.0)
  config.optimizer_d.name = 'rmsprop'
  with pytest.raises(ValueError, match="optimizer_d.name='rmsprop' has no b2"):
    build.build_setup(config)
