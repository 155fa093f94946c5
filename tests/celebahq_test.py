"""Faces and LSUN: configs and studies as their sources say; large images."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from configs import celebahq, lsun
from gan_jax import build, data, generate, step
from launch import celebahq as celebahq_launcher
from launch import celebahq_cost
from launch import lsun as lsun_launcher
from launch.published import plan


def test_celebahq_is_the_published_set_up():
  config = celebahq.get_config()
  setup = build.build_setup(config)
  g, d = setup.generator, setup.discriminator
  assert (g.image_size, g.width, g.max_width) == (1024, 16, 512)
  assert (g.z_size, g.embed_size, config.batch_size) == (256, 1, 24)
  assert (d.image_size, d.width, d.max_width) == (1024, 16, 512)
  assert [(p.name, p.weight) for p in setup.penalties] == [('r1', 10.0)]
  assert config.optimizer_g.name == config.optimizer_d.name == 'rmsprop'
  assert config.optimizer_g.learning_rate == 1e-4
  assert setup.method.turns == ('d', 'g') and setup.averaging == 0.999
  assert config.loss == 'nonsaturating' and config.flip
  assert config.data.name == 'celeb_a_hq/1024'


@pytest.mark.parametrize('size', ['64', '128', '256', '1024'])
@pytest.mark.parametrize('penalty', ['none', 'r1', 'r2', 'wgan_gp'])
def test_celebahq_builds_with_every_choice_of_words(size, penalty):
  config = celebahq.get_config(f'{penalty},{size},bf16,remat,lazy')
  setup = build.build_setup(config)
  expected = [] if penalty == 'none' else [(penalty, 10.0)]
  assert [(p.name, p.weight) for p in setup.penalties] == expected
  assert setup.loss.zero_sum == (penalty == 'wgan_gp') and setup.lazy == 16
  for player in (setup.generator, setup.discriminator):
    assert (player.dtype, player.remat) == ('bfloat16', True)
    assert player.image_size == int(size) == config.data.image_size
  for word in (size, penalty, 'bf16', 'remat', 'lazy'):
    assert word in celebahq.get_config.__doc__


@pytest.mark.parametrize('scene', ['bedroom', 'tower', 'church'])
@pytest.mark.parametrize('recipe', ['r1', 'rs', 'js'])
def test_lsun_builds_with_every_choice_of_words(scene, recipe):
  config = lsun.get_config(f'{scene},{recipe}')
  setup = build.build_setup(config)
  assert config.batch_size == 64 and config.data.image_size == 256
  name = {'church': 'church_outdoor'}.get(scene, scene)
  assert config.data.name == f'lsun/{name}'
  rates = config.optimizer_g.learning_rate, config.optimizer_d.learning_rate
  if recipe == 'r1':
    assert setup.generator.max_width == 1024 and rates == (1e-4, 1e-4)
  else:
    assert setup.method.turns == ('g', 'd') and rates == (1e-3, 2e-4)
    assert setup.discriminator.spectral_norm
  assert (config.loss == 'relativistic') == (recipe == 'rs')


def test_words_that_contradict_each_other_are_refused():
  with pytest.raises(ValueError, match="'bf16' does not go with 'rs'"):
    lsun.get_config('rs,bf16')
  with pytest.raises(ValueError, match='config argument has .* give one of'):
    celebahq.get_config('r1,r2')
  with pytest.raises(ValueError, match='config argument has .* give one of'):
    lsun.get_config('tower,church')


@pytest.mark.parametrize(
  'study', [celebahq_launcher.STUDY, lsun_launcher.STUDY], ids=lambda s: s.name
)
@pytest.mark.parametrize('quick', [False, True])
def test_every_row_of_a_study_builds(study, quick):
  names = tuple(row.name for row in study.rows)
  for stand_in in ('', *(s.name for s in study.stand_ins)):
    asked = plan.Asked(
      pathlib.Path('out'),
      rows=names,
      data=stand_in,
      data_dir='D',
      quick=quick,
    )
    made = plan.make(study, asked)
    # Of the stand-in, the rows of 64 px.
    assert len(made.jobs) == (4 if stand_in else len(names))
    for job in made.jobs:
      build.build_setup(job.config)


def test_rows_of_large_images_run_when_they_are_named():
  asked = plan.Asked(pathlib.Path('out'), data_dir='D')
  jobs = plan.make(celebahq_launcher.STUDY, asked).jobs
  assert len(jobs) == 12 and '1024,r1' not in [job.row.name for job in jobs]
  jobs = plan.make(lsun_launcher.STUDY, asked).jobs
  assert [job.row.name for job in jobs if 'r1' in job.row.name] == []


def test_without_data_a_launcher_says_what_to_put_where():
  asked = plan.Asked(pathlib.Path('out'))
  with pytest.raises(ValueError, match='data1024x1024.tar.*downloads/manual/'):
    plan.make(celebahq_launcher.STUDY, asked)


def _faces(folder, count, side=64):
  """A folder of JPEGs of noise, to be streamed."""
  rng = np.random.default_rng(0)
  for i in range(count):
    pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f'{i:02d}.jpg', quality=95)
  return data.load(f'folder:{folder}', image_size=side, max_bytes=0)


def test_streams_whole_batches_of_an_epoch(tmp_path):
  # 56 images in batches of 24: two an epoch, eight images wait for the next.
  dataset = _faces(tmp_path, 56, side=8)
  feeds = [
    data.feed(dataset, 24, 0, threads=threads).next(0, 4) for threads in (1, 3)
  ]
  assert feeds[0]['image'].shape == (4, 24, 8, 8, 3)
  np.testing.assert_array_equal(feeds[0]['image'], feeds[1]['image'])
  first = feeds[0]['image'][:2].reshape(48, -1)
  assert len(np.unique(first, axis=0)) == 48


def test_a_damaged_image_is_named_when_the_stream_comes_to_it(tmp_path):
  dataset = _faces(tmp_path, 4)
  damaged = tmp_path / '02.jpg'
  damaged.write_bytes(damaged.read_bytes()[:2000])
  with pytest.raises(data.DataError, match=r"image 2 of 'folder:.*02\.jpg"):
    data.feed(dataset, 4, 0).next(0, 1)


@pytest.mark.parametrize(
  'side, batch, images', [(1024, 4, 16), (256, 64, 64), (32, 250, 64)]
)
def test_pictures_of_large_images_are_few(side, batch, images):
  # 2^22 pixels of a generator at once, 2^24 of a picture.
  config = celebahq.get_config('64')
  for player in (config.generator, config.discriminator):
    player.image_size, player.width, player.max_width = side, 1, 1
  setup = build.build_setup(config)
  assert generate._how_many(setup) == images
  sizes = []

  def place(function, variables):
    draw = lambda rows: sizes.append(len(rows[0])) or rows[0]
    return draw, 1

  step.make_sampler(setup, place=place)({}, np.zeros((1, 256), np.float32))
  assert sizes == [batch]


def test_the_cost_of_an_option_is_counted_from_shapes():
  config = celebahq.get_config('64')
  celebahq_cost.with_options(config, 'remat,bf16,accumulate=4')
  assert config.discriminator.remat and config.generator.dtype == 'bfloat16'
  assert config.accumulate == 4
  with pytest.raises(ValueError, match="--options='fast' is not one of plain"):
    celebahq_cost.with_options(config, 'fast')


@pytest.mark.parametrize(
  'flag, words',
  [
    ('--options=fast', "--options='fast' is not one of plain"),
    ('--options=accumulate=5', 'accumulate=5 does not divide batch_size=64'),
    ('--only=memory', "--only='memory' has words not of"),
    ('--only=loader', 'needs --data_dir for loader'),
    ('--threads=two', "--threads='two' is not counts"),
  ],
)
def test_mistakes_in_what_is_to_be_measured(flag, words, capsys):
  with pytest.raises(SystemExit, match='2'):
    celebahq_cost.main(['--config=configs/celebahq.py:64', flag])
  assert words in capsys.readouterr().err
