"""The table of the released generators: its groups, its floors, its words."""

import json
import pathlib

import numpy as np
import pytest

from gan_jax.metrics import collect
from gan_jax.metrics.feature_net import FeatureNet, Output
from launch import released


@pytest.mark.parametrize('count', [40, 41])
def test_small_sets_lie_within_disjoint_halves(count):
  group = released.real_groups(count, 5, seed=0)
  sizes = np.bincount(group, minlength=5).tolist()
  assert sizes == [5, 5, 15, 15, count - 40]
  assert (released.real_groups(count, 5, seed=1) != group).any()


def brightness():
  """One feature and its square-free companion, so covariances are 2 x 2."""

  def apply(_, images):
    flat = images.reshape(len(images), -1).astype(np.float32)
    return Output(np.stack([flat[:, 0], flat[:, 1]], axis=1))

  return FeatureNet('two pixels', 2, 0, apply, (), on_host=True)


def gathered(images, group):
  plan = collect.Plan(len(images), group, splits=2)
  batch = collect.Batch(images, np.arange(len(images)))
  return collect.collect([batch], brightness(), plan)


def test_both_protocols_take_their_own_sets():
  # The same eight images in every group, but for a shift of their brightness:
  # covariances are equal, so that a distance is twice the squared shift.
  base = np.random.default_rng(0).integers(0, 99, (8, 1, 2, 3)).astype(np.uint8)
  shifts = [0, 10, 20, 30]
  real = gathered(
    np.concatenate([base + np.uint8(s) for s in shifts]),
    np.repeat(np.arange(4), 8).astype(np.int8),
  )
  fake = gathered(
    np.concatenate([base + np.uint8(3), base + np.uint8(101)]),
    np.repeat([0, 1], 8).astype(np.int8),
  )
  # Samples 0 to 7 against group 0: shifted by 3.
  assert released.distances(fake, real)['10k'] == pytest.approx(2 * 3**2)
  found = released.floors(real)
  assert found['10k'] == pytest.approx(2 * 10**2)
  # Halves 0 and 2 against 1 and 3: both have their images 20 apart.
  assert found['50k'] == pytest.approx(2 * 10**2)


def test_a_folder_without_the_generators(tmp_path, capsys):
  # Refused before data or weights are looked at.
  with pytest.raises(ValueError, match=r'has no RSGAN-CNN-quater-cifar.npz'):
    released.sampler(tmp_path, 'CNN, quarter width', 'batch')
  with pytest.raises(SystemExit) as ended:
    released.main(['--data_dir=X', '--out=Y'])
  assert ended.value.code == 2
  assert 'error: ' in capsys.readouterr().err


def found(small=10, whole=50):
  """As `measure` gives it, with a number of its own for each meaning."""
  held = dict.fromkeys(released.HELD, 0.5)
  rows = [
    dict(
      generator=name,
      batch_norm=mode,
      frechet={'10k': 1.0, '50k': 2.0},
      held=held,
      floor_held=dict.fromkeys(released.HELD, 0.25),
    )
    for name in released.GENERATORS
    for mode in released.BATCH_NORM
  ]
  protocol = dict(
    features='net',
    feature_size=9,
    resize='clean',
    weights='8bd6',
    seed=0,
    small=small,
    whole=whole,
    held=dict(
      kernel=dict(subsets=7, subset_size=1234),
      precision=dict(neighbours=2),
      recall=dict(neighbours=4),
      density=dict(neighbours=6),
      coverage=dict(neighbours=8),
    ),
  )
  floors = {'10k': 3.0, '50k': 4.0}
  return dict(protocol=protocol, floors=floors, rows=rows, machine='a machine')


def test_a_row_for_each_generator_and_mode_and_one_for_the_floor():
  text = released.markdown(found(), 'the command')
  first, second = text.split('## ')[1:3]
  assert first.startswith('10 samples against 10 images')
  assert first.count('| 1.00 |') == second.count('| 2.00 |') == 6
  assert '| real against real |  | 3.00 | 0.25 |' in first
  assert '| real against real |  | 4.00 |' in second
  assert 'the command' in text and 'a machine' in text


def test_how_the_numbers_were_taken():
  text = released.markdown(found(), 'the command')
  assert (
    '**How.** 9 features, resize clean, weights with SHA-256 8bd6...; kernel: '
    '7 subsets of 1,234; neighbours: precision 2, recall 4, density 6, '
    'coverage 8.'
  ) in text


@pytest.mark.parametrize(
  ('small', 'whole', 'noted'),
  [(10, 50, []), (9, 50, ['9']), (4, 8, ['4', '8'])],
)
def test_distances_of_no_more_images_than_features_say_so(small, whole, noted):
  text = released.markdown(found(small, whole), 'the command')
  lines = [x for x in text.splitlines() if x.startswith('**Few images.**')]
  assert [line.split()[2] for line in lines] == noted
  assert all('biased upwards' in line for line in lines)


def test_the_page_is_that_of_the_stored_numbers():
  results = pathlib.Path(__file__).parents[1] / 'docs' / 'results'
  page = (results / 'released.md').read_text()
  command = page.split('```sh\n')[1].partition('\n```')[0]
  stored = json.loads((results / 'released.json').read_text())
  assert released.markdown(stored, command) == page
