"""The scores of torch-fidelity for the same features; runs where it is."""

import importlib.util

import numpy as np
import pytest

from gan_jax.metrics import frechet, kernel, scores
from launch import feature_sides

torch = pytest.importorskip('torch', reason='compares with PyTorch')
if not importlib.util.find_spec('torch_fidelity'):
  pytest.skip('compares with torch-fidelity', allow_module_level=True)
feature_sides.import_torchvision()

from torch_fidelity import (  # noqa: E402
  metric_fid,
  metric_isc,
  metric_kid,
)


def features(count, size, seed, scale=1.0):
  """Like features of a network, float32: from 0 up, correlated."""
  rng = np.random.default_rng(seed)
  mix = np.random.default_rng(9).standard_normal((16, size))
  x = rng.standard_normal((count, 16)) @ mix + rng.standard_normal(
    (count, size)
  )
  return (scale * np.maximum(x, 0)).astype(np.float32)


def in_float64(values):
  return torch.from_numpy(values.astype(np.float64))


@pytest.mark.parametrize(
  ('count', 'classes', 'splits'), [(1003, 1008, 10), (57, 10, 7), (40, 3, 1)]
)
@pytest.mark.parametrize('shuffle', [True, False])
def test_inception_score(count, classes, splits, shuffle):
  rng = np.random.default_rng(0)
  logits = 4 * rng.standard_normal((count, classes)).astype(np.float32)
  theirs = metric_isc.isc_features_to_metric(
    torch.from_numpy(logits), splits, shuffle, 2020
  )
  seed = 2020 if shuffle else None
  # In pieces, as they come off a device.
  split = scores.splits_of(count, splits, seed=seed)
  total = None
  for at in np.array_split(np.arange(count), 4):
    part = scores.sums(logits[at], split[at], splits)
    total = part if total is None else scores.merge(total, part)
  mean, std = scores.inception_score(total)
  assert mean == pytest.approx(theirs['inception_score_mean'], rel=1e-9)
  expected = pytest.approx(theirs['inception_score_std'], rel=1e-6, abs=1e-12)
  assert std == expected
  assert (mean, std) == pytest.approx(
    scores.of_logits(logits, splits=splits, seed=seed), rel=1e-12, abs=1e-12
  )


@pytest.mark.filterwarnings('ignore')  # scipy: the matrix may be singular
@pytest.mark.parametrize('offset', [0.0, 1e4])
@pytest.mark.parametrize(
  'counts', [(500, 700), (101, 102), (60, 90), (40, 300)], ids=str
)
def test_frechet_distance(counts, offset):
  size = 100
  a, b = (
    features(n, size, seed, 1 + 0.1 * seed).astype(np.float64) + offset
    for seed, n in enumerate(counts)
  )
  theirs = metric_fid.fid_statistics_to_metric(
    *(
      metric_fid.fid_features_to_statistics(torch.from_numpy(x)) for x in (a, b)
    ),
    verbose=False,
  )['frechet_inception_distance']
  assert frechet.distance(a, b) == pytest.approx(theirs, rel=1e-6)
  seen = []
  for x in (a, b):
    moments = None
    for piece in np.array_split(x, 7):
      moments = frechet.update(moments, piece)
    seen += [moments.mean, moments.covariance]
  assert frechet.frechet_distance(*seen) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize('counts', [(300, 400), (128, 100)], ids=str)
def test_kernel_distance(counts):
  # Fewer samples than features too. torch-fidelity computes in the precision
  # of what it is given, so it is given float64.
  a, b = (
    features(n, 256, seed, 1 + 0.1 * seed) for seed, n in enumerate(counts)
  )
  settings = dict(kid_subsets=12, kid_subset_size=90, rng_seed=2020)
  theirs = metric_kid.kid_features_to_metric(
    in_float64(a), in_float64(b), verbose=False, **settings
  )
  mean, std = kernel.kernel_distance(a, b, subsets=12, subset_size=90)
  expected = theirs['kernel_inception_distance_mean']
  assert mean == pytest.approx(expected, rel=1e-9)
  assert std == pytest.approx(theirs['kernel_inception_distance_std'], rel=1e-6)


def test_kernel_distance_takes_the_settings_of_torch_fidelity():
  a, b = features(60, 8, 0), features(70, 8, 1, 1.1)
  kind = dict(degree=2, gamma=0.1, coef0=3.0)
  # Version 0.4 has other names for them; each leaves the other's aside.
  named = {f'kid_{name}': value for name, value in kind.items()}
  named |= {f'kid_kernel_poly_{name}': value for name, value in kind.items()}
  theirs = metric_kid.kid_features_to_metric(
    in_float64(a),
    in_float64(b),
    verbose=False,
    kid_subsets=3,
    kid_subset_size=50,
    rng_seed=7,
    **named,
  )
  mean, _ = kernel.kernel_distance(
    a, b, subsets=3, subset_size=50, seed=7, **kind
  )
  expected = theirs['kernel_inception_distance_mean']
  assert mean == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize('name', ['splits', 'subsets', 'subset_size', 'seed'])
def test_defaults_are_those_of_torch_fidelity(name):
  from torch_fidelity import defaults

  theirs = defaults.DEFAULTS
  ours = {
    'splits': (scores.SPLITS, theirs['isc_splits']),
    'subsets': (kernel.SUBSETS, theirs['kid_subsets']),
    'subset_size': (kernel.SUBSET_SIZE, theirs['kid_subset_size']),
    'seed': (kernel.SEED, theirs['rng_seed']),
  }[name]
  assert ours[0] == ours[1]
  assert scores.SEED == kernel.SEED
