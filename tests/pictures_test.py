"""Pictures read back: their size, and colours at known places."""

import numpy as np
import pytest
from PIL import Image

from gan_jax import pictures


def read(path):
  return np.asarray(Image.open(path))


def tones(*values, size=2, channels=1):
  """Plain images, one a value, `[N, size, size, channels]`."""
  shape = (len(values), size, size, channels)
  return np.broadcast_to(np.reshape(values, (-1, 1, 1, 1)), shape)


def test_grid_of_grey_images(tmp_path):
  # Two columns, gaps of 2: images of 6 pixels start at 2 and 10.
  pictures.grid(
    tones(-1.0, 0.0, 1.0), tmp_path / 'grid.png', columns=2, scale=3
  )
  picture = read(tmp_path / 'grid.png')
  assert picture.shape == (18, 18) and picture.dtype == np.uint8
  assert (picture[2:8, 2:8] == 0).all()
  assert (picture[2:8, 10:16] == 128).all()  # 127.5, rounded to even
  assert (picture[10:16, 2:8] == 255).all()
  assert (picture[:2] == 255).all() and (picture[:, 8:10] == 255).all()
  assert (picture[10:16, 10:16] == 255).all()  # no fourth image


def test_grid_keeps_each_pixel_in_its_place(tmp_path):
  image = np.array([[-1.0, 1.0, 1.0], [1.0, 1.0, -1.0]])[None, :, :, None]
  pictures.grid(image, tmp_path / 'grid.png', scale=2)
  inside = read(tmp_path / 'grid.png')[2:-2, 2:-2]
  expected = [[0, 0, 255, 255, 255, 255]] * 2 + [[255, 255, 255, 255, 0, 0]] * 2
  np.testing.assert_array_equal(inside, expected)


def test_grid_of_coloured_images_cuts_what_is_beyond(tmp_path):
  image = np.broadcast_to([3.0, -1.0, -7.0], (1, 4, 4, 3))
  pictures.grid(image, tmp_path / 'grid.png', scale=1)
  picture = read(tmp_path / 'grid.png')
  assert picture.shape == (8, 8, 3)
  assert picture[4, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
  ('size', 'side'), [(8, 64), (28, 84), (64, 64), (200, 200)]
)
def test_small_images_are_enlarged(tmp_path, size, side):
  pictures.grid(tones(0.5, size=size), tmp_path / 'grid.png')
  assert read(tmp_path / 'grid.png').shape == (side + 4, side + 4)


def test_grid_is_about_square(tmp_path):
  pictures.grid(tones(*[0.0] * 10), tmp_path / 'grid.png', scale=1)
  assert read(tmp_path / 'grid.png').shape == (3 * 4 + 2, 4 * 4 + 2)


def test_rows_go_down_and_columns_across(tmp_path):
  images = tones(-1.0, 0.0, 0.0, 0.0, 0.0, 1.0).reshape(2, 3, 2, 2, 1)
  pictures.rows(images, tmp_path / 'rows.png', scale=1)
  picture = read(tmp_path / 'rows.png')
  assert picture.shape == (2 * 4 + 2, 3 * 4 + 2)
  assert picture[2, 2] == 0 and picture[6, 10] == 255 and picture[6, 2] == 128


def test_grid_refuses_what_is_no_image(tmp_path):
  path = tmp_path / 'grid.png'
  with pytest.raises(ValueError, match=r'C of 1 or 3, got shape \(1, 2, 2, 2'):
    pictures.grid(tones(0.0, channels=2), path)
  with pytest.raises(ValueError, match=r'shape \(2, 2, 1\)'):
    pictures.grid(tones(0.0)[0], path)
  with pytest.raises(ValueError, match='NaN or infinity'):
    pictures.grid(tones(np.nan), path)
  with pytest.raises(ValueError, match='columns=0'):
    pictures.grid(tones(0.0), path, columns=0)
  with pytest.raises(ValueError, match='scale=-1'):
    pictures.grid(tones(0.0), path, scale=-1)
  assert not list(tmp_path.iterdir())


def test_a_failed_picture_leaves_the_old_one(tmp_path, monkeypatch):
  path = tmp_path / 'new' / 'grid.png'
  pictures.grid(tones(1.0), path)
  before = path.read_bytes()

  def fail(self, file, *unused):
    file.write(b'half')
    raise OSError('disk full')

  monkeypatch.setattr(Image.Image, 'save', fail)
  with pytest.raises(OSError, match='disk full'):
    pictures.grid(tones(-1.0), path)
  assert path.read_bytes() == before
  assert [p.name for p in path.parent.iterdir()] == ['grid.png']


def reddish(picture):
  red, green, blue = np.moveaxis(picture[..., :3].astype(int), -1, 0)
  return (red > green + 40) & (red > blue + 40)


def test_scatter_shows_samples_where_they_are(tmp_path):
  corners = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
  # The centre of the picture's upper right quarter, drawn many times over.
  pictures.scatter(
    corners, np.full((20, 2), 0.6), tmp_path / 'a.png', 'a', corners
  )
  picture = read(tmp_path / 'a.png')
  height, width = picture.shape[:2]
  # The legend's own mark is below the axes, in the last tenth.
  y, x = np.nonzero(reddish(picture[: int(0.9 * height)]))
  assert width / 2 < x.mean() < 0.9 * width
  assert 0.1 * height < y.mean() < height / 2


def test_scatter_limits_do_not_follow_the_samples():
  real = np.array([[0.0, 0.0], [4.0, 2.0]])
  low, high = pictures._limits(real)
  # Both axes span 1.3 times the longer side, 5.2, around the middle (2, 1).
  np.testing.assert_allclose(low, [-0.6, -1.6])
  np.testing.assert_allclose(high, [4.6, 3.6])


def test_scatter_counts_samples_outside(tmp_path, monkeypatch):
  labels, draw = [], pictures._draw_scatter

  def seen(axes, *args):
    draw(axes, *args)
    labels.extend(axes.get_legend_handles_labels()[1])

  monkeypatch.setattr(pictures, '_draw_scatter', seen)
  real = np.array([[0.0, 0.0], [1.0, 1.0]])
  fake = np.array([[0.5, 0.5], [0.5, 9.0], [-9.0, 9.0]])
  pictures.scatter(real, fake, tmp_path / 'a.png')
  assert labels == ['real', 'generated (2 outside)']


def test_points_on_the_line_become_histograms(tmp_path):
  # All samples at the right end: nothing red in the left half of the axes.
  real = np.linspace(0.0, 1.0, 50)
  pictures.scatter(
    real, np.full((30, 1), 0.99), tmp_path / 'a.png', 'a', np.array([0.5])
  )
  picture = read(tmp_path / 'a.png')
  axes = picture[: int(0.8 * picture.shape[0])]
  _, x = np.nonzero(reddish(axes))
  assert len(x) > 100 and x.min() > picture.shape[1] / 2


def test_scatter_refuses_what_it_cannot_draw(tmp_path):
  plane = np.zeros((3, 2))
  with pytest.raises(ValueError, match='differ in dimension'):
    pictures.scatter(plane, np.zeros(3), tmp_path / 'a.png')
  with pytest.raises(ValueError, match=r'got shape \(3, 3\)'):
    pictures.scatter(np.zeros((3, 3)), plane, tmp_path / 'a.png')
  with pytest.raises(ValueError, match='NaN or infinity'):
    pictures.scatter(plane, plane * np.nan, tmp_path / 'a.png')


def test_bars_are_as_high_as_their_counts(tmp_path):
  pictures.bars(
    [100, 0, 50], ['a', 'b', 'c'], tmp_path / 'a.png', title='t', even=False
  )
  picture = read(tmp_path / 'a.png')[..., :3].astype(int)
  blue = np.abs(picture - [0x2E, 0x6F, 0x95]).sum(-1) < 30
  heights = blue.sum(axis=0)
  filled = np.flatnonzero(heights > 5)
  # Two bars, the right half as high as the left.
  ratio = heights[filled[-3]] / heights[filled[2]]
  assert ratio == pytest.approx(0.5, abs=0.02)
  assert np.max(np.diff(filled)) > 0.2 * picture.shape[1]


def test_bars_need_a_label_each(tmp_path):
  with pytest.raises(ValueError, match='2 counts have 1 labels'):
    pictures.bars([1, 2], ['a'], tmp_path / 'a.png')
