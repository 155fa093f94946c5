"""Loading by name: points, digits, folders; and the way to floats."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan_jax import data
from gan_jax.data import toy

MIXTURES = sorted(name for name, row in toy.SETS.items() if row.std)


def save(path, pixels):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def test_names_and_the_error_for_an_unknown_one():
  assert {'ring8', 'digits', 'folder:PATH'} <= set(data.names())
  with pytest.raises(ValueError, match="'ring9' is not one of .*'ring8'"):
    data.load('ring9')


# Points.


@pytest.mark.parametrize('name', sorted(toy.SETS))
def test_points_are_fixed_and_float32(name):
  first, again = data.load(name), data.load(name)
  assert first.examples.dtype == np.float32
  assert first.examples.shape[1] == (1 if name == 'two_clusters' else 2)
  np.testing.assert_array_equal(first.examples, again.examples)
  assert (first.labels, first.num_classes, first.name) == (None, 0, name)


@pytest.mark.parametrize(
  'name, count, centre, std, total',
  [
    # Per the papers' code: radius, spacing and deviation.
    ('gaussian', 1, (0, 0), 1, 40_000),
    ('two_gaussians', 2, (1, 0), 0.0447214, 4_000),
    ('five_gaussians', 5, (0.309017, 0.951057), 0.0447214, 10_000),  # 72 deg
    ('ring8', 8, (0.7071068, 0.7071068), 0.01, 40_000),
    ('ring8_unrolled', 7, (1, 0), 0.01, 40_000),
    ('ring8_wgan', 8, (1, 1), 0.0141443, 40_000),  # 2 / 1.414 / sqrt(2)
    ('grid25', 25, (-2, 1), 0.0447214, 50_000),
    ('grid25_wgan', 25, (-1.414427, 0.707214), 0.0176803, 50_000),
  ],
)
def test_mixtures_have_the_published_centres(name, count, centre, std, total):
  mixture = data.load(name)
  assert mixture.centres.shape == (count, 2)
  assert len(np.unique(mixture.centres.round(6), axis=0)) == count
  nearest = np.linalg.norm(mixture.centres - np.array(centre), axis=1).min()
  assert nearest < 3e-4
  assert mixture.std == pytest.approx(std, rel=1e-4)
  assert mixture.examples.shape == (total, 2)


@pytest.mark.parametrize('name', MIXTURES)
def test_mixtures_spread_evenly_around_their_centres(name):
  mixture = data.load(name)
  offsets = mixture.examples[:, None] - mixture.centres[None]
  nearest = np.argmin(np.linalg.norm(offsets, axis=-1), axis=1)
  counts = np.bincount(nearest, minlength=len(mixture.centres))
  weights = np.ones(len(counts))
  weights[0] = 2 if name == 'ring8_unrolled' else 1
  np.testing.assert_array_equal(counts, len(nearest) * weights / weights.sum())
  around = offsets[np.arange(len(nearest)), nearest]
  np.testing.assert_allclose(around.std(axis=0), mixture.std, rtol=0.04)
  # Four standard errors of the mean.
  np.testing.assert_allclose(
    around.mean(axis=0), 0, atol=4 * mixture.std / len(nearest) ** 0.5
  )


def test_lines_and_circles():
  x, y = data.load('line').examples.T
  assert np.all(y == 0) and abs(x).max() <= 1
  assert np.histogram(x, 4, (-1, 1))[0].min() > 9_600  # of 10,000 expected
  np.testing.assert_allclose(
    np.linalg.norm(data.load('circle').examples, axis=1), 1, atol=1e-6
  )
  assert abs(data.load('circle').examples.mean(axis=0)).max() < 0.02
  heights, counts = np.unique(
    data.load('four_lines').examples[:, 1], return_counts=True
  )
  np.testing.assert_allclose(heights, [-1, -1 / 3, 1 / 3, 1], atol=1e-6)
  np.testing.assert_array_equal(counts, 10_000)


def test_two_clusters_is_the_published_sample():
  points = data.load('two_clusters').examples
  # Mersenne Twister with seed 0 begins .5488135, .71518937; times .3, plus 4.
  np.testing.assert_allclose(points[:2, 0], [0.16464405, 4.21455681])
  assert points.shape == (100, 1)
  assert np.all((points[::2] >= 0) & (points[::2] <= 0.3))
  assert np.all((points[1::2] >= 4) & (points[1::2] <= 4.3))


def test_the_test_split_has_other_points():
  train, test = data.load('ring8'), data.load('ring8', split='test')
  assert np.all(test.examples[:1000] != train.examples[:1000])
  with pytest.raises(ValueError, match="split='test'.*not one of.*'train'"):
    data.load('two_clusters', split='test')
  with pytest.raises(ValueError, match='image_size=8 must be None'):
    data.load('ring8', image_size=8)


# Digits.


def test_digits_keep_their_pixels_at_8_and_grow_smoothly():
  digits = data.load('digits', image_size=8)
  assert digits.examples.shape == (1797, 8, 8, 1)
  # The first row of the first digit is 0 0 5 13 9 1 0 0, in sixteenths.
  row = [0, 0, 80, 207, 143, 16, 0, 0]
  np.testing.assert_array_equal(digits.examples[0, 0, :, 0], row)
  assert digits.examples.max() == 255
  np.testing.assert_array_equal(digits.labels[:10], range(10))
  assert digits.labels.dtype == np.int32 and digits.num_classes == 10
  larger = data.load('digits').examples
  assert larger.shape == (1797, 16, 16, 1) and larger.dtype == np.uint8
  halves = larger.reshape(1797, 8, 2, 8, 2, 1).mean((2, 4), dtype=np.float32)
  assert abs(halves - digits.examples).mean() < 12


def test_digits_refuse_other_splits_and_smaller_sizes():
  with pytest.raises(ValueError, match='image_size=7'):
    data.load('digits', image_size=7)
  with pytest.raises(ValueError, match="split='test'"):
    data.load('digits', split='test')
  with pytest.raises(ValueError, match='image_size=0 must be 1 or more'):
    data.load('digits', image_size=0)


# Folders.


def test_folder_crops_the_centre_sorts_and_labels(tmp_path):
  wide = np.zeros((4, 8, 3))
  wide[:, 2:6] = [10, 20, 30]  # The centre square; the sides are black.
  save(tmp_path / 'b' / 'wide.png', wide)
  save(tmp_path / 'a' / 'deep' / 'grey.png', np.full((6, 6), 7))
  save(tmp_path / 'b' / 'large.WEBP', np.full((9, 9, 3), 200))
  (tmp_path / 'a' / 'notes.txt').write_text('not an image')
  loaded = data.load(f'folder:{tmp_path}', image_size=2)
  assert loaded.examples.shape == (3, 2, 2, 3)
  assert loaded.examples.dtype == np.uint8
  np.testing.assert_array_equal(loaded.examples[0], 7)  # a/deep/grey
  np.testing.assert_allclose(loaded.examples[1], 200, atol=2)  # b/large
  np.testing.assert_array_equal(loaded.examples[2, 1, 1], [10, 20, 30])
  np.testing.assert_array_equal(loaded.labels, [0, 1, 1])
  assert loaded.num_classes == 2


def test_folder_without_classes_and_too_large_for_memory(tmp_path):
  for i in range(3):
    save(tmp_path / f'{i}.png', np.full((5, 5, 3), i))
  name = f'folder:{tmp_path}'
  resident = data.load(name, image_size=4, max_bytes=3 * 4 * 4 * 3)
  assert (resident.labels, resident.num_classes) == (None, 0)
  source = data.load(name, image_size=4, max_bytes=3 * 4 * 4 * 3 - 1).examples
  assert not isinstance(source, np.ndarray) and len(source) == 3
  assert set(source[2]) == {'image'}
  stacked = np.stack([example['image'] for example in source])
  np.testing.assert_array_equal(stacked, resident.examples)


def test_the_two_ways_to_make_a_square(tmp_path):
  # A ramp, 40 a column, with a black border that a crop cuts off.
  ramp = np.zeros((2, 6), np.uint8)
  ramp[:, 1:5] = [40, 80, 120, 160]
  save(tmp_path / 'ramp.png', ramp)
  load = lambda size, **options: data.load(
    f'folder:{tmp_path}', image_size=size, **options
  ).examples[0, 0, :, 0]
  for resize in ('square', 'torchvision'):  # no resize: the middle two columns
    np.testing.assert_array_equal(load(2, resize=resize), [80, 120])
  # Enlarged twice, 2 x 6 becomes 4 x 12, pixels at quarters between columns.
  # Resized whole, the cut's border still sees the columns beside it; cut first,
  # it does not, and bicubic overshoots.
  np.testing.assert_array_equal(
    load(4, resize='torchvision'), [70, 90, 110, 130]
  )
  first, *middle, last = load(4).astype(int)
  assert first > 72 and last < 128 and 80 < middle[0] < middle[1] < 120
  with pytest.raises(ValueError, match="resize='none' is not one of.*square"):
    load(4, resize='none')


def test_the_centre_is_cut_as_torchvision_rounds(tmp_path):
  # 2 x 5: offset 1.5 is rounded to 2 (to even), 2 x 3: 0.5 to 0.
  save(tmp_path / '5.png', np.arange(10).reshape(2, 5) % 5 * 50)
  save(tmp_path / '3.png', np.arange(6).reshape(2, 3) % 3 * 50)
  loaded = data.load(f'folder:{tmp_path}', image_size=2, resize='torchvision')
  np.testing.assert_array_equal(loaded.examples[0, 0, :, 0], [0, 50])
  np.testing.assert_array_equal(loaded.examples[1, 0, :, 0], [100, 150])


def test_folder_errors(tmp_path):
  load = lambda folder, **kw: data.load(f'folder:{folder}', **kw)
  with pytest.raises(ValueError, match="there is no folder '.*nowhere'"):
    load(tmp_path / 'nowhere', image_size=8)
  with pytest.raises(ValueError, match='has no images'):
    load(tmp_path, image_size=8)
  save(tmp_path / 'good.png', np.arange(64).reshape(8, 8))
  with pytest.raises(ValueError, match='image_size must be given'):
    load(tmp_path)
  with pytest.raises(ValueError, match="split='test'"):
    load(tmp_path, split='test', image_size=8)
  (tmp_path / 'cut.png').write_bytes((tmp_path / 'good.png').read_bytes()[:50])
  (tmp_path / 'text.jpg').write_text('no image')
  deep = np.zeros((8, 8), np.uint16)
  Image.fromarray(deep).save(tmp_path / 'deep.png')
  with pytest.raises(ValueError, match='3 of 4 images') as error:
    load(tmp_path, image_size=8)
  for name in ('cut.png', 'text.jpg', 'deep.png'):
    assert name in str(error.value)
  assert 'good.png' not in str(error.value)


def test_points_load_nothing_heavy():
  code = (
    "import sys; from gan_jax import data; data.load('ring8');"
    "data.feed(data.load('line'), 8, 0).next(0, 2);"
    'print([m for m in ("tensorflow_datasets", "grain", "PIL", "sklearn")'
    ' if m in sys.modules])'
  )
  run = subprocess.run([sys.executable, '-c', code], capture_output=True)
  assert run.stdout.decode().strip() == '[]', run.stderr.decode()


# Floats.


def test_to_float_maps_black_to_minus_one_and_white_to_one():
  image = np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1)
  scaled = data.to_float(image)
  assert scaled.dtype == jnp.float32
  np.testing.assert_allclose(scaled.ravel(), [-1, -0.6, 1], atol=1e-6)
  points = np.array([[2.0, 3.0]], np.float32)
  same = data.to_float(points, jax.random.key(0), dequantize=True)
  np.testing.assert_array_equal(same, points)


def test_noise_is_one_grey_level_wide_and_each_row_has_its_own():
  image = jnp.zeros((2, 64, 64, 3), jnp.uint8)
  key = jax.random.key(0)
  noise = data.to_float(image, key, dequantize=True) + 1
  assert noise.min() >= 0 and noise.max() <= 1 / 128
  # Uniform: mean 1/256, deviation 1/128/sqrt(12); 12,288 values a row.
  np.testing.assert_allclose(noise.mean((1, 2, 3)), 1 / 256, rtol=0.03)
  np.testing.assert_allclose(noise.std((1, 2, 3)), 0.00225527, rtol=0.03)
  assert jnp.any(noise[0] != noise[1])
  np.testing.assert_array_equal(data.to_float(image, key), -1)  # not asked for


def test_noise_of_a_row_depends_on_its_own_key_only():
  image = jnp.zeros((3, 4, 4, 1), jnp.uint8)
  key = jax.random.key(5)
  keys = jnp.stack([jax.random.fold_in(key, i) for i in range(3)])
  whole = data.to_float(image, key, dequantize=True)
  again = data.to_float(image, keys, dequantize=True)
  part = data.to_float(image[1:], keys[1:], dequantize=True)
  np.testing.assert_array_equal(again, whole)
  np.testing.assert_array_equal(part, whole[1:])


def test_to_float_errors():
  image = jnp.zeros((3, 2, 2, 1), jnp.uint8)
  with pytest.raises(ValueError, match='needs key='):
    data.to_float(image, dequantize=True)
  with pytest.raises(ValueError, match='needs key='):
    data.to_float(image, jnp.zeros(2, jnp.uint32), dequantize=True)
  with pytest.raises(ValueError, match=r'\(2,\)'):
    data.to_float(
      image, jax.random.split(jax.random.key(0), 2), dequantize=True
    )
  with pytest.raises(ValueError, match='int32'):
    data.to_float(image.astype(jnp.int32))
