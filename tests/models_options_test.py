"""Mistakes in a model's name and options, and the words that name them."""

import pytest

from gan_jax import models


@pytest.mark.parametrize(
  'name, options, message',
  [
    (
      'dcgan',
      {},
      r"^name='dcgan' is not one of \['cnn', 'cnn256', 'dc', .*'resnet'\]\.$",
    ),
    ('cnn', dict(depth=3), r"^depth=3 is not an option of 'cnn', which has: "),
    ('cnn', dict(depth=3), r'width=64, image_size=32, channels=3'),
    (
      'cnn',
      dict(image_size=30),
      r'^image_size=30 is not a positive multiple of 8',
    ),
    (
      'dc',
      dict(image_size=0),
      r'^image_size=0 is not a positive multiple of 8',
    ),
    ('cnn', dict(width=0), r'^width=0 is not a positive integer'),
    ('dc', dict(width=2.5), r'^width=2.5 is not a positive integer'),
    ('dc', dict(channels='3'), r"^channels='3' is not a positive integer"),
    ('dc', dict(init_std=0.0), r'^init_std=0.0 is not a finite number above 0'),
    (
      'mlp',
      dict(features=8),
      r'^features=8 is not a tuple of positive integers',
    ),
    (
      'mlp',
      dict(data_shape=(2, 2)),
      r'^data_shape=\(2, 2\) needs 1 or 3 entries',
    ),
    (
      'mlp',
      dict(activation='elu'),
      r"^activation='elu' is not one of \['leaky",
    ),
    (
      'mlp',
      dict(initializer='he'),
      r"^initializer='he' is not one of \['glorot",
    ),
    ('mlp', dict(gain=-1), r'^gain=-1 is not a finite number above 0'),
    ('mlp', dict(slope='x'), r"^slope='x' is not a finite number\.$"),
    (
      'mlp',
      dict(activation='tanh', slope=0.1),
      r"^slope=0.1 has no effect with activation='tanh': only 'leaky_relu'",
    ),
    (
      'mlp',
      dict(use_bias=False, bias_initializer='zeros'),
      r"^bias_initializer='zeros' has no effect with use_bias=False\.$",
    ),
  ],
)
def test_mistakes_are_named(name, options, message):
  for make in (models.generator, models.discriminator):
    with pytest.raises(ValueError, match=message):
      make(name, **options)


def test_mistakes_of_one_player():
  with pytest.raises(ValueError, match=r'^z_size=0 is not a positive integer'):
    models.generator('cnn', z_size=0)
  with pytest.raises(ValueError, match=r"^output='relu' is not one of"):
    models.generator('mlp', output='relu')
  with pytest.raises(ValueError, match=r"^spectral_norm='no' is not True or"):
    models.discriminator('cnn', spectral_norm='no')
  with pytest.raises(ValueError, match=r'^final_bias=1 is not True or False'):
    models.discriminator('mlp', final_bias=1)


def test_lists_become_tuples():
  module = models.generator('mlp', features=[3, 4], data_shape=[2])
  assert module.features == (3, 4)
  hash(module)
