"""python -m gan_jax.metrics A B, by its words, files and exit codes."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gan_jax.data import images as images_lib
from gan_jax.metrics import __main__ as command
from gan_jax.metrics import collect, nets, sources
from gan_jax.metrics.feature_net import FeatureNet, Output

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (400, 8, 8, 3), np.uint8)


def of_colours(colours):
  """An image of 8 x 8 pixels for each grey level."""
  levels = np.asarray(colours, np.uint8)[:, None, None, None]
  return np.broadcast_to(levels, (len(levels), 8, 8, 3))


def folder(path, images):
  path.mkdir()
  for i, image in enumerate(images):
    Image.fromarray(np.squeeze(image)).save(path / f'{i:04}.png')
  return path


def arrays(path, images):
  np.savez(path, images=images)
  return path


@pytest.fixture
def run(capsys, tmp_path):
  """Runs the command; returns its exit code and both outputs."""

  def call(*arguments, features='pixels', cache=''):
    argv = ['gan_jax.metrics', *map(str, arguments)]
    argv += [f'--features={features}'] if features else []
    code = command.main([*argv, f'--cache={cache}'])
    return code, *capsys.readouterr()

  return call


@pytest.fixture
def measured(run, tmp_path):
  """Runs the command; returns its JSON."""

  def call(*arguments, **options):
    file = tmp_path / 'out.json'
    code, _, errors = run(*arguments, f'--json={file}', **options)
    assert code == 0, errors
    return json.loads(file.read_text())

  return call


@pytest.fixture
def refused(run):
  """Runs the command, which refuses; returns the words after `error: `."""

  def call(*arguments, **options):
    code, _, errors = run(*arguments, **options)
    (line,) = [x for x in errors.splitlines() if x.startswith('error: ')]
    assert code == 2 and 'Traceback' not in errors
    return line.removeprefix('error: ')

  return call


# Numbers that a person can derive.


def test_a_shift_of_colour_is_192_times_its_square(measured, tmp_path):
  # Pixels stand for [-1, 1], so 51 levels are 0.4, in each of 192 features.
  colours = RNG.integers(0, 200, 30)
  a = folder(tmp_path / 'a', of_colours(colours + 51))
  b = folder(tmp_path / 'b', of_colours(colours))
  entry = measured(a, b, '--few')['metrics']['frechet']
  assert entry['value'] == pytest.approx(192 * 0.4**2, rel=1e-5)


def test_twice_the_spread_and_a_floor_of_nothing(measured, tmp_path):
  # Along (1, ..., 1) two Gaussians of deviations sqrt(192) times 0.2 and 0.4,
  # of 200 images each half above and half below the mean.
  sign = np.resize([-1, 1], 200)
  a = arrays(tmp_path / 'a.npz', of_colours(128 + 51 * sign))
  b = arrays(tmp_path / 'b.npz', of_colours(np.full(400, 128)))
  entry = measured(a, b, '--num=200', '--reference=200')['metrics']['frechet']
  assert entry['value'] == pytest.approx(192 * 0.4**2 * 200 / 199, rel=1e-5)
  assert entry['real_against_real'] == pytest.approx(0, abs=1e-9)
  c = arrays(tmp_path / 'c.npz', of_colours(128 + 25.5 * sign - 0.5 * sign))
  value = measured(a, c)['metrics']['frechet']['value']
  step = (51 - 25) / 127.5
  assert value == pytest.approx(192 * step**2 * 200 / 199, rel=1e-4)


# One set of images, however it is stored, however often it is looked at.


def test_folders_and_arrays_give_the_same_number(measured, tmp_path):
  half = NOISE[:200]
  a = folder(tmp_path / 'a', half)
  b = arrays(tmp_path / 'b.npz', NOISE[200:] // 2)
  np.save(tmp_path / 'a.npy', half)
  names = [a, f'folder:{a}', arrays(tmp_path / 'a.npz', half)]
  names += [f'{tmp_path}/a.npz:images', f'{tmp_path}/a.npy']
  records = [measured(name, b)['metrics'] for name in names]
  assert all(record == records[0] for record in records[1:])
  assert records[0]['frechet']['value'] > 1


def test_grey_images_become_colour_beside_colour(measured, run, tmp_path):
  grey = NOISE[:200, ..., :1]
  a = folder(tmp_path / 'a', grey)
  b = arrays(tmp_path / 'b.npz', np.repeat(grey, 3, axis=-1))
  record = measured(a, b)
  assert record['metrics']['frechet']['value'] == pytest.approx(0, abs=1e-6)
  assert record['a']['shape'] == [8, 8, 3] and record['a']['grey_repeated']
  assert 'colour (all grey as stored)' in run(a, b)[1]
  assert measured(a, a)['a']['shape'] == [8, 8, 1]


def test_grey_and_colour_are_kept_apart(measured, tmp_path):
  grey = arrays(tmp_path / 'grey.npz', NOISE[:200, ..., :1])
  colour = arrays(tmp_path / 'colour.npz', NOISE[200:])
  cache = tmp_path / 'cache'
  measured(grey, grey, cache=cache)
  assert measured(colour, grey, cache=cache) == measured(colour, grey)


@pytest.fixture
def decoded(monkeypatch):
  """A list that grows with every image decoded."""
  names, decode = [], images_lib.ImageSource.decode

  def counted(self, encoded):
    names.append(encoded.where)
    return decode(self, encoded)

  monkeypatch.setattr(images_lib.ImageSource, 'decode', counted)
  return names


def test_the_reference_is_looked_at_once(measured, tmp_path, decoded):
  a = arrays(tmp_path / 'a.npz', NOISE[:200])
  b = folder(tmp_path / 'b', NOISE[100:300])
  cache = tmp_path / 'cache'
  first = measured(a, b, cache=cache)
  assert len(decoded) == 200
  again = measured(a, b, cache=cache)
  assert len(decoded) == 200
  assert again == first
  assert first == measured(a, b)  # as without the cache
  Image.fromarray(NOISE[0]).save(b / '0000.png')
  decoded.clear()
  assert measured(a, b, cache=cache) != first
  assert len(decoded) == 200


def test_data_sets_are_kept_as_a_too_but_no_folders(
  measured, tmp_path, monkeypatch
):
  counts = []
  original = collect.collect

  def counted(batches, net, plan):
    counts.append(plan.count)
    return original(batches, net, plan)

  monkeypatch.setattr(collect, 'collect', counted)
  cache = tmp_path / 'cache'
  a = arrays(tmp_path / 'a.npz', NOISE[:200, ..., :1])
  measured('digits', a, '--image_size=8', cache=cache)
  assert counts == [1797, 200]
  measured('digits', a, '--image_size=8', cache=cache)
  assert counts == [1797, 200]
  measured(a, 'digits', '--image_size=8', cache=cache)
  measured(a, 'digits', '--image_size=8', cache=cache)
  assert counts == [1797, 200, 200, 1797, 200]


def test_a_damaged_cache_is_said_and_computed_anew(run, tmp_path):
  a = arrays(tmp_path / 'a.npz', NOISE[:200])
  b = arrays(tmp_path / 'b.npz', NOISE[200:])
  cache = tmp_path / 'cache'
  code, first, errors = run(a, b, cache=cache)
  assert (code, errors) == (0, '')
  (file,) = cache.iterdir()
  file.write_bytes(file.read_bytes()[:-3])
  code, again, errors = run(a, b, cache=cache)
  assert (code, again) == (0, first)
  assert 'B: ' in errors and file.name in errors and 'damaged' in errors


def test_a_choice_follows_from_its_seed(measured, tmp_path):
  a = arrays(tmp_path / 'a.npz', NOISE[:300])
  b = folder(tmp_path / 'b', NOISE[100:])
  few = lambda *flags: measured(a, b, '--num=250', *flags)
  first = few()
  assert first == few()
  assert first['b']['count'] == 250 and first['b']['found'] == 300
  other = few('--seed=1')
  for side in 'ab':
    assert other[side]['fingerprint'] != first[side]['fingerprint']
  assert few('--num=300')['metrics'] == measured(a, b)['metrics']


def test_both_sides_choose_by_themselves(measured, tmp_path):
  # By one choice it would be the same images, at a distance of 0.
  a = arrays(tmp_path / 'a.npz', NOISE)
  record = measured(a, a, '--num=200')
  assert not record['same_images']
  assert record['metrics']['frechet']['value'] > 1


def test_a_choice_of_a_is_not_the_reference_of_b(measured, tmp_path):
  # Else a set against itself would be at 0, and below its floor.
  a = arrays(tmp_path / 'a.npz', NOISE)
  entry = measured(a, a, '--num=200', '--reference=200')['metrics']['frechet']
  assert entry['value'] > entry['real_against_real'] / 4


# What is said.


def test_a_number_stands_with_its_floor_counts_and_seed(run, tmp_path):
  a = arrays(tmp_path / 'a.npz', NOISE)
  metrics = '--metrics=frechet, kernel,precision'
  code, out, errors = run(a, a, metrics)
  assert (code, errors) == (0, '')
  lines = out.splitlines()
  assert lines[0] == f'A: arrays {a}: 400 images, 8 x 8, colour'
  assert lines[2].startswith('features: pixels-8x8, 192 of them')
  assert 'A and B are the same images.' in lines
  (frechet,) = [x for x in lines if x.startswith('Frechet distance in pixels')]
  assert 'lower is better; 400 against 400 of B; B against B ' in frechet
  assert frechet.endswith(': 200 against the other 200)')
  assert 'count=400, count_reference=400, count_floor=200' in out
  assert 'compare at one count only: --num=200 --reference=200.' in out
  assert 'precision in pixels-8x8: ' in out and 'neighbours=3' in out
  assert 'kernel distance in pixels-8x8: ' in out
  assert 'FID' not in out and 'KID' not in out


def test_a_floor_of_as_many_images_needs_no_note(run, tmp_path):
  a = arrays(tmp_path / 'a.npz', NOISE)
  b = arrays(tmp_path / 'b.npz', np.concatenate([NOISE, NOISE // 2]))
  _, out, _ = run(a, b)
  assert '400 against 800 of B; B against B ' in out
  assert ': 400 against the other 400)' in out and 'note:' not in out


def test_equal_counts_need_no_note(run, tmp_path):
  a = arrays(tmp_path / 'a.npz', NOISE)
  _, out, _ = run(a, a, '--num=200', '--reference=200')
  assert 'note:' not in out and 'count_floor=200' in out


def test_the_record_says_all_of_it(measured, tmp_path):
  a = arrays(tmp_path / 'a.npz', NOISE)
  record = measured(a, 'digits', '--image_size=8')
  assert record['a']['name'] == str(a) and record['b']['name'] == 'digits'
  assert (record['a']['kind'], record['b']['kind']) == ('arrays', 'dataset')
  assert (record['a']['count'], record['b']['count']) == (400, 1797)
  assert len(record['a']['fingerprint']) == 64
  assert record['a']['fingerprint'] != record['b']['fingerprint']
  assert not record['same_images']
  packages = {'jax', 'numpy', 'pillow', 'scikit-learn', 'scipy'}
  assert {'gan_jax', *packages} == set(record['versions'])
  protocol = record['metrics']['frechet']['protocol']
  assert protocol['features'] == 'pixels-8x8'
  assert protocol['real'].startswith('digits, split train: 1797 images')


def fake_net(monkeypatch, **fields):
  """Makes `nets.load` give a net of two features: first and last pixel."""

  def apply(params, images):
    del params
    flat = images.reshape(len(images), -1)[:, [0, -1]].astype(np.float32)
    return Output(flat, flat / 255)

  net = FeatureNet('fake', 2, 2, apply, (), on_host=True)
  net = net._replace(**fields)
  monkeypatch.setattr(nets, 'load', lambda *args, **options: net)


@pytest.mark.parametrize(
  ('name', 'digest', 'title'),
  [
    ('inception-v3-fid-2048', '6726825d' + 56 * '0', 'FID: '),
    ('inception-v3-fid-2048', 64 * '1', 'Frechet distance in inception-v3'),
    ('inception-v3-fid-768', '6726825d' + 56 * '0', 'Frechet distance in '),
  ],
)
def test_fid_is_said_of_its_network_with_its_weights_only(
  run, tmp_path, monkeypatch, name, digest, title
):
  fake_net(monkeypatch, name=name, digest=digest)
  a = arrays(tmp_path / 'a.npz', NOISE)
  _, out, _ = run(a, a, '--metrics=frechet,kernel,inception_score')
  lines = out.splitlines()
  assert any(line.startswith(title) for line in lines), lines
  assert f'weights {digest[:16]}' in out
  assert any(x.startswith(('KID', 'IS')) for x in lines) == (title == 'FID: ')
  assert 'B itself scores ' in out and ' over 400 images)' in out
  assert 'splits=10' in out


def test_unreadable_images_are_skipped_if_asked_and_said(
  run, measured, refused, tmp_path
):
  a = folder(tmp_path / 'a', NOISE[:203])
  for name in ('0001', '0007', '0200'):
    file = a / f'{name}.png'
    file.write_bytes(file.read_bytes()[:100])
  b = arrays(tmp_path / 'b.npz', NOISE[200:])
  words = refused(a, b)
  assert words.startswith('A: 3 of 203 images') and '0007.png' in words
  assert 'skip_unreadable' in words
  left = arrays(tmp_path / 'left.npz', np.delete(NOISE[:203], [1, 7, 200], 0))
  record = measured(a, b, '--skip_unreadable')
  entry = record['metrics']['frechet']
  assert entry['value'] == measured(left, b)['metrics']['frechet']['value']
  assert entry['protocol']['skipped'] == 3
  assert record['a']['skipped'] == 3
  _, out, _ = run(a, b, '--skip_unreadable')
  assert '200 images' in out and '3 unreadable images SKIPPED' in out


def test_it_says_how_far_it_is(run, tmp_path, monkeypatch):
  monkeypatch.setattr(sources, '_SAY_EVERY', -1.0)
  a = arrays(tmp_path / 'a.npz', NOISE)
  _, _, errors = run(a, a)
  assert 'A: 400 of 400 images, ' in errors and ' a second' in errors


# What is refused.


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    (['{a}'], "two names are needed, .* got \\['.*a.npz'\\]"),
    (['{a}', '{a}', '{a}'], 'two names are needed'),
    (
      ['{a}', '{a}', '--num_sample=3'],
      "Unknown command line flag 'num_sample'",
    ),
    (['{a}', '{a}', '--num=-1'], '--num=-1'),
    (['{a}', '{a}', '--num=many'], '--num=many'),
    (['{a}', '{a}', '--image_size=0'], '--image_size=0'),
    (['{a}', '{a}', '--json={tmp}'], 'must be a file'),
    (['{a}', '{a}', '--json={tmp}/no/x'], 'in a folder that is there'),
    (['{a}', '{a}', '--metrics=fid'], "metrics='fid' is not one of .*frechet"),
    (['{a}', '{a}', '--metrics='], 'metrics is empty'),
    (['{a}', '{a}', '--metrics=inception_score'], 'has no logits'),
    (['{a}', '{a}', '--splits=0'], 'splits=0'),
    (['{a}', '{a}', '--resize=best'], 'best'),
    (['{a}', '{a}', '--weights=w.pth'], "weights='w.pth' must be left out"),
    (['{a}', '{a}', '--fit=foo'], "A: fit='foo' is not one of"),
    (['{a}', '{a}', '--num=401'], 'A: num=401: it has 400 images'),
    (['{a}', '{a}', '--num=100'], '100 samples .* 192 features.*--few'),
    (['{a}', '{a}', '--reference=201'], 'reference=201 needs twice as many'),
    (['{a}', '{a}', '--image_size=4'], 'A: image_size=4: the arrays are 8 x 8'),
    (['{a}', ''], 'B: its name is empty'),
    (['{a}', 'nowhere'], "B: 'nowhere' is no folder .*--data_dir=DIR"),
    (['./nowhere', '{a}'], 'A: .* there is no such folder or file'),
    (['{a}', '{tmp}/gone.npz'], 'B: .* there is no file'),
    (['{a}', '{tmp}/note.txt'], 'B: .* is a file; it must be a folder'),
    (['{a}', '{tmp}/empty'], 'B: .* has no images'),
    (
      ['{a}', 'nowhere', '--data_dir={tmp}'],
      'B: .*holds no prepared data sets',
    ),
    (['{a}', 'ring8'], "B: 'ring8' is a set of points"),
    (['{a}', 'digits:test'], "B: split='test' of 'digits'"),
    (
      ['{a}', 'digits'],
      'of A are 8 x 8 and those of B 16 x 16.*--image_size=N',
    ),
  ],
)
def test_mistakes_are_one_line(
  refused, tmp_path, monkeypatch, arguments, words
):
  monkeypatch.chdir(tmp_path)
  a = arrays(tmp_path / 'a.npz', NOISE)
  (tmp_path / 'note.txt').write_text('no images')
  (tmp_path / 'empty').mkdir()
  found = refused(*(x.format(a=a, tmp=tmp_path) for x in arguments))
  assert re.search(words, found), found


def test_a_name_of_two_things_is_refused(refused, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  folder(tmp_path / 'cifar10', NOISE[:2])
  (tmp_path / 'sets' / 'cifar10').mkdir(parents=True)
  words = refused('cifar10', 'digits', '--data_dir=sets')
  assert 'folder:cifar10' in words and 'cifar10:train' in words


def test_missing_weights_come_with_what_else_there_is(
  refused, tmp_path, monkeypatch
):
  def load(*args, **options):
    raise ValueError('The weights are not here.')

  monkeypatch.setattr(nets, 'load', load)
  words = refused('a', 'b', features='')
  assert words.startswith('The weights are not here.')
  assert 'efficientnet-lite0' in words and 'pixels and digits need' in words
  words = refused('a', 'b', '--weights=mine.pth', features='')
  assert words == 'The weights are not here.'


def test_features_that_are_not_finite_are_refused(
  refused, tmp_path, monkeypatch
):
  apply = lambda params, images: Output(
    np.where(images[:, 0, 0, :2] > 250, np.nan, 1.0).astype(np.float32)
  )
  fake_net(monkeypatch, apply=apply, num_classes=0)
  a = arrays(tmp_path / 'a.npz', NOISE // 2)
  b = arrays(tmp_path / 'b.npz', NOISE)
  assert refused(a, b).startswith('B: ') and 'NaN' in refused(a, b)


def test_a_fault_of_ours_is_shown(run, tmp_path, monkeypatch):
  fake_net(monkeypatch, apply=lambda params, images: images.no_such_thing)
  a = arrays(tmp_path / 'a.npz', NOISE)
  code, _, errors = run(a, a)
  assert code == 1 and 'Traceback' in errors


def test_help_names_every_flag(run):
  code, out, _ = run('--help')
  assert code == 0
  for word in (
    'folder:PATH',
    '--features',
    '--[no]skip_unreadable',
    '--reference',
    'by a name of the list below',
    'Inception-v3 of FID, layer of 192',
    'averages of 8 x 8 cells; no weights',
  ):
    assert word in out
  listed = out.partition('Features:\n')[2].splitlines()
  assert [line.split()[0] for line in listed] == list(nets.NETS)


def test_it_runs_as_a_module():
  done = subprocess.run(
    [sys.executable, '-m', 'gan_jax.metrics', 'a', 'b', '--nun=3'],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2
  assert done.stderr.startswith("error: Unknown command line flag 'nun'")
