"""Samplers measured in the features of a net, and by modes and classes."""

import functools
import json

import numpy as np
import pytest

from gan_jax import data, evaluate
from gan_jax.evaluate import in_features
from gan_jax.metrics import collect, compare

# 192 features: pixels averaged to 8 x 8, in [-1, 1].
PIXELS = evaluate.Settings(features='pixels')


def images(count, seed=0, low=20, high=200):
  rng = np.random.default_rng(seed)
  return rng.integers(low, high, (count, 8, 8, 3)).astype(np.uint8)


def in_order(examples):
  """A sampler that gives examples 0 to n - 1, in [-1, 1], at every seed."""
  return lambda seed, n: examples[np.arange(n) % len(examples)] / 127.5 - 1


def settings(**changes):
  return PIXELS._replace(comparison=compare.Settings(**changes))


def test_samples_one_grey_level_brighter():
  # Means apart by 1 / 127.5 in each of 192 features, covariances equal.
  dataset = data.Dataset('noise', images(450))
  numbers = evaluate.evaluate(
    in_order(dataset.examples + np.uint8(1)),
    dataset,
    num_samples=450,
    seed=0,
    settings=PIXELS,
  )
  entry = numbers['frechet']
  assert entry['value'] == pytest.approx(192 / 127.5**2, rel=1e-4)
  assert entry['real_against_real'] > 10 * entry['value']
  assert entry['protocol']['real'] == 'noise, split train'
  assert json.loads(json.dumps(numbers)) == numbers
  lines = evaluate.describe(numbers)
  assert lines[1].startswith('Frechet distance in pixels-8x8: 0.01181 (450 ag')
  assert '450 against 450 real; real against real 13.' in lines[1]
  assert lines[2] == 'by: features pixels-8x8, images 8x8x3'
  assert lines[3].endswith('225 samples and a reference of 225.')


def test_a_source_counts_like_an_array():
  class Source:
    def __init__(self, examples):
      self.examples = examples

    def __len__(self):
      return len(self.examples)

    def __getitem__(self, index):
      return {'image': self.examples[index]}

  array = data.Dataset('noise', images(450))
  source = array._replace(examples=Source(array.examples))
  measure = functools.partial(
    evaluate.evaluate,
    in_order(images(500, seed=1)),
    num_samples=500,
    seed=0,
    settings=PIXELS,
  )
  numbers, same = measure(array), measure(source)
  # What is stored differs: it is known, and no part of the protocol.
  digests = [x['frechet'].pop('real_digest') for x in (numbers, same)]
  assert digests == [data.fingerprint(x)[:16] for x in (array, source)]
  assert numbers == same


@pytest.mark.parametrize('settings', [PIXELS, evaluate.Settings()])
def test_images_made_squares_in_another_way_have_another_protocol(settings):
  dataset = data.Dataset('noise', images(450))
  found = []
  for fit in ('', 'square', 'torchvision'):
    numbers = evaluate.evaluate(
      in_order(dataset.examples),
      dataset._replace(fit=fit),
      num_samples=450,
      seed=0,
      settings=settings,
    )
    found.append(numbers['frechet']['protocol'])
    shown = f', made to fit ({fit})' in '\n'.join(evaluate.describe(numbers))
    assert shown == bool(fit and settings.features)
  fits = [protocol.pop('fit', None) for protocol in found]
  assert fits == [None, 'square', 'torchvision']
  assert found[0] == found[1] == found[2]


def counted(monkeypatch, name):
  """Calls of a function of `data`."""
  calls, known = [], getattr(data, name)
  count = lambda *args, **options: calls.append(name) or known(*args, **options)
  monkeypatch.setattr(data, name, count)
  return calls


@pytest.mark.parametrize('cached', [True, False])
@pytest.mark.parametrize('metric', ['frechet', 'intra_class_frechet'])
def test_the_data_are_looked_at_once(tmp_path, monkeypatch, cached, metric):
  scans = counted(monkeypatch, 'scan')
  prints = counted(monkeypatch, 'fingerprint')
  dataset, known = labelled(), {}
  measure = functools.partial(
    evaluate.evaluate,
    in_order(dataset.examples),
    dataset,
    num_samples=500,
    seed=0,
    settings=settings(metrics=(metric,), few=True)._replace(
      cache=str(tmp_path) if cached else ''
    ),
    sample_class=lambda seed, n, label: images(n, seed + label) / 127.5 - 1,
    draws=2,
  )
  first = measure(known=known)
  looks = len(scans), len(prints)
  # The classes one by one, by fingerprints of their own for the cache.
  classes = 2 if metric == 'intra_class_frechet' else 0
  assert looks == (classes or 1, 1 + classes * cached)
  assert measure(known=known) == first
  assert looks == (len(scans), len(prints))
  assert measure() == first
  assert len(prints) == 2 * looks[1]
  with pytest.raises(ValueError, match="other examples than those of 'two'"):
    evaluate.evaluate(
      in_order(dataset.examples), labelled(), num_samples=9, seed=0, known=known
    )


def test_statistics_of_many_classes_are_not_all_held(monkeypatch):
  dataset, known = labelled(), {}
  held = lambda: [name for name in known if name[0] == 'real']
  measure = functools.partial(
    evaluate.evaluate,
    in_order(dataset.examples),
    dataset,
    num_samples=500,
    seed=0,
    settings=settings(metrics=('intra_class_frechet',), few=True),
    sample_class=lambda seed, n, label: images(n, seed + label) / 127.5 - 1,
  )
  # Moments of 192 features are of 3 groups, 0.3 MB each.
  monkeypatch.setattr(in_features, '_REMEMBERED_BYTES', 10**6)
  first = measure(known=known)
  assert len(held()) == 1
  assert measure(known=known) == first == measure()


def test_draws_have_latents_of_their_own():
  dataset = data.Dataset('noise', images(450))
  seen = []

  def sample(seed, n):
    seen.append(seed)
    return images(n, seed=seed) / 127.5 - 1

  measure = functools.partial(
    evaluate.evaluate,
    sample,
    dataset,
    num_samples=1000,
    seed=3,
    settings=PIXELS,
  )
  first = measure()['frechet']
  entry = measure(draws=3)['frechet']
  assert len(set(seen[2:])) == 6 and seen[:2] == seen[2:4]
  assert entry['draws'][0] == first['value']
  assert entry['value'] == pytest.approx(np.mean(entry['draws']))
  assert 0 < entry['std_over_draws'] < entry['value']
  assert entry['protocol'] == first['protocol']
  text = '\n'.join(evaluate.describe(measure(draws=3)))
  assert 'over 3 draws' in text


def test_statistics_of_the_data_come_from_the_cache(tmp_path, monkeypatch):
  dataset = data.Dataset('noise', images(450))
  cached = PIXELS._replace(cache=str(tmp_path))
  measure = lambda: evaluate.evaluate(
    in_order(dataset.examples),
    dataset,
    num_samples=450,
    seed=0,
    settings=cached,
  )
  first = measure()
  assert len(list(tmp_path.iterdir())) == 1

  def refuse(*args, **kwargs):
    raise AssertionError('the images were looked at again')

  monkeypatch.setattr(data, 'scan', refuse)
  assert measure() == first
  # Another image is other data.
  changed = dataset.examples.copy()
  changed[0, 0, 0, 0] ^= 1
  with pytest.raises(AssertionError, match='looked at again'):
    evaluate.evaluate(
      in_order(changed),
      dataset._replace(examples=changed),
      num_samples=450,
      seed=0,
      settings=cached,
    )


def labelled():
  """Two classes of 250 images, dark and bright."""
  examples = np.concatenate([images(250, high=100), images(250, 1, 150, 250)])
  labels = np.repeat([0, 1], 250).astype(np.int32)
  return data.Dataset('two', examples, labels, 2)


@pytest.mark.parametrize('obeys', [True, False])
def test_the_distance_within_classes_sees_a_generator_that_ignores_labels(
  obeys,
):
  dataset = labelled()

  def of_class(seed, n, label):
    start = 250 * (label if obeys else 1 - label)
    return dataset.examples[start + np.arange(n) % 250] / 127.5 - 1

  numbers = evaluate.evaluate(
    in_order(dataset.examples),
    dataset,
    num_samples=500,
    seed=0,
    settings=settings(metrics=('frechet', 'intra_class_frechet'), few=True),
    sample_class=of_class,
  )
  # All samples are all images: only the classes can tell.
  assert numbers['frechet']['value'] == pytest.approx(0, abs=1e-6)
  entry = numbers['intra_class_frechet']
  if obeys:
    assert entry['value'] == pytest.approx(0, abs=1e-6)
  else:
    # The means are apart by about 141 grey levels.
    assert entry['value'] > 192 * (120 / 127.5) ** 2
  assert entry['protocol']['classes'] == 2
  assert 'intra-class' in '\n'.join(evaluate.describe(numbers))


def test_stacked_digits_cover_their_modes():
  dataset = data.load('stacked_digits')
  chosen = np.asarray(dataset.examples[:500])
  measure = lambda x: evaluate.evaluate(
    in_order(x), dataset, num_samples=500, seed=0
  )
  numbers = measure(chosen)
  entry = numbers['stacked_modes']
  # 1000 (1 - 0.999^500) = 393.6 of even draws.
  assert entry['covered_expected'] == pytest.approx(393.6, abs=0.1)
  assert abs(entry['covered'] - 393) < 40 > abs(entry['covered_real'] - 393)
  lines = '\n'.join(evaluate.describe(numbers))
  assert f'modes covered: {entry["covered"]}/1000' in lines
  assert entry['protocol']['image_shape'] == [16, 16, 3]
  assert entry['protocol']['real'] == 'stacked_digits, split train'
  # One image again and again.
  single = measure(chosen[:1])['stacked_modes']
  assert single['covered'] == 1
  assert single['kl_to_uniform'] == pytest.approx(np.log(1000))


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    (dict(features='vgg'), r"features='vgg' is not one of \["),
    (dict(weights='w.npz'), "weights='w.npz' must be left out"),
    (dict(comparison=compare.Settings(few=False)), '192 features'),
    (
      dict(comparison=compare.Settings(('intra_class_frechet',))),
      'generator that takes labels',
    ),
  ],
)
def test_what_cannot_be_measured(changes, words):
  dataset = data.Dataset('noise', images(100))
  with pytest.raises(ValueError, match=words):
    evaluate.evaluate(
      in_order(dataset.examples),
      dataset,
      num_samples=100,
      seed=0,
      settings=PIXELS._replace(**changes),
    )


def test_metrics_by_the_kind_of_data():
  points = np.zeros((4, 2), np.float32)
  of = lambda name, examples, given=(), **fields: evaluate.metrics_of(
    data.Dataset(name, examples, **fields),
    settings(metrics=given) if given else evaluate.Settings(),
  )
  assert of('cloud', points) == ('sliced_wasserstein',)
  assert of('mix', points, centres=points) == ('sliced_wasserstein',)
  assert of('noise', images(4)) == of('digits', images(4)) == ('frechet',)
  assert of('noise', images(4), ('kernel', 'recall')) == ('kernel', 'recall')
  assert of('stacked_digits', images(4)) == ('stacked_modes',)
  assert of('stacked_digits', images(4), ('kernel',)) == ('kernel',)
  with pytest.raises(ValueError, match="features='pixels' is for images"):
    of('cloud', points, ('frechet',))


@pytest.mark.parametrize('features', ['', 'digits', 'mnist-lenet'])
def test_stacked_digits_have_no_metrics_but_their_modes(features):
  dataset = data.Dataset('stacked_digits', images(20))
  wanted = settings(metrics=('frechet', 'kernel'))._replace(features=features)
  words = r"metrics='frechet,kernel' must be left out .* \('stacked_modes'\)"
  with pytest.raises(ValueError, match=words):
    evaluate.evaluate(
      in_order(dataset.examples),
      dataset,
      num_samples=10,
      seed=0,
      settings=wanted,
    )


def test_points_have_no_features():
  points = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
  with pytest.raises(ValueError, match="features='pixels' is for images"):
    evaluate.evaluate(
      in_order(points),
      data.Dataset('cloud', points),
      num_samples=10,
      seed=0,
      settings=PIXELS,
    )


def test_of_several_draws_the_lines_show_means_or_say_which():
  singles = data.load('stacked_digits')
  dataset = data.subset(singles, np.arange(20))
  turns = iter((1, 9, 1, 9))

  def sample(seed, n):
    del seed
    return dataset.examples[np.arange(n) % next(turns)] / 127.5 - 1

  numbers = evaluate.evaluate(sample, dataset, num_samples=9, seed=0, draws=2)
  lines = evaluate.describe(numbers)
  one, nine = numbers['stacked_modes']['draws']
  assert one == 1 < nine
  assert lines[1].startswith(f'modes covered: {(1 + nine) / 2:g} +- ')
  assert lines[2] == 'the first of 2 draws:'


@pytest.mark.parametrize('fault', [ValueError, RuntimeError])
def test_where_one_process_fails_all_do(monkeypatch, fault):
  # Two processes that take turns: the second's words come from the first's run.
  told = []

  def hear(mine):
    told.append(mine)
    return [*told]

  monkeypatch.setattr(in_features.parallel, 'in_turn', hear)

  def diverged():
    raise fault('the generator has diverged')

  with pytest.raises(fault, match='^the generator has diverged'):
    in_features._together(diverged, alone=False)
  part = collect.Collected(None, (), None)
  with pytest.raises(fault, match=r'process 0 failed .*has diverged'):
    in_features._together(lambda: part, alone=False)
  assert in_features._together(lambda: part, alone=True) is part


def test_kernel_and_score_stand_with_their_deviations():
  entry = {
    'value': 1.0,
    'real_against_real': None,
    'protocol': {'count': 4, 'count_reference': 4},
  }
  numbers = dict(num_samples=4, seed=0, dataset='noise', split='train')
  numbers['kernel'] = entry | {'std_over_subsets': 0.25}
  numbers['inception_score'] = entry | {'std_over_splits': 0.5}
  lines = evaluate.describe(numbers)
  assert lines[1].startswith('kernel distance: 1 +- 0.25 over subsets (')
  assert lines[2].startswith('inception score: 1 +- 0.5 over splits (')
