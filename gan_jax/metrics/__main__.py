"""Compares two sets of images: python -m gan_jax.metrics A B.

A is what is judged, B the reference. Each is one of
  PATH or folder:PATH       a folder of images
  PATH.npz, PATH.npz:KEY    an array of images, uint8 [N, H, W, C]; or PATH.npy
  NAME or NAME:SPLIT        a data set: digits, or with --data_dir a prepared
                            TensorFlow Dataset, as cifar10:test, mnist:train

Every number stands beside its floor, what B reaches against B, and above all
that must be equal before it may be compared with another number.

Exit codes: 0 done; 2 for a mistake in what was asked or a file that cannot be
used, with one line on stderr; 1 with a traceback for a fault of ours.
"""

import json
import pathlib
import signal
import sys
import traceback
from typing import Any

from absl import flags

_FLAGS = (
  (
    flags.DEFINE_string,
    'features',
    'inception',
    'What turns images into features, by a name of the list below.',
  ),
  (
    flags.DEFINE_string,
    'weights',
    '',
    "File of its weights; '' looks in the caches.",
  ),
  (
    flags.DEFINE_string,
    'resize',
    '',
    "How images are brought to the net's size: tensorflow, clean or pytorch; "
    "'' is the net's own way.",
  ),
  (
    flags.DEFINE_string,
    'metrics',
    'frechet',
    'Joined by commas: frechet, kernel, inception_score, precision, recall, '
    'density, coverage, prd_precision, prd_recall.',
  ),
  (
    flags.DEFINE_integer,
    'reference',
    0,
    'Compare with so many images of B, at random; as many others are the '
    'floor. 0: with all.',
  ),
  (
    flags.DEFINE_integer,
    'num',
    0,
    'Take so many images of A and, unless --reference says how many there, of '
    'B; at random. 0: all.',
    {'lower_bound': 0},
  ),
  (
    flags.DEFINE_integer,
    'image_size',
    None,
    'Make squares of this side of the images of folders and data sets.',
    {'lower_bound': 1},
  ),
  (
    flags.DEFINE_string,
    'fit',
    'square',
    'How: square (cuts the centre, then bicubic) or torchvision (the shorter '
    'side, bilinear, then cuts).',
  ),
  (flags.DEFINE_string, 'data_dir', '', 'Of prepared TensorFlow Datasets.'),
  (
    flags.DEFINE_integer,
    'seed',
    2020,
    'Of all that is chosen.',
    {'lower_bound': 0, 'upper_bound': 2**32 - 1},
  ),
  (flags.DEFINE_integer, 'splits', 10, 'Parts of the inception score.'),
  (
    flags.DEFINE_integer,
    'keep',
    10_000,
    'Features a side of the metrics that hold them.',
  ),
  (
    flags.DEFINE_bool,
    'few',
    False,
    'Allow a Frechet distance of no more images than features.',
  ),
  (
    flags.DEFINE_bool,
    'skip_unreadable',
    False,
    'Leave out the images of a folder that cannot be read.',
  ),
  (
    flags.DEFINE_string,
    'cache',
    '~/.cache/gan_jax/statistics',
    "Where the statistics of B and of data sets are kept; '' keeps none.",
  ),
  (flags.DEFINE_string, 'json', '', 'File for all of it, as JSON.'),
)


def main(argv: list[str] | None = None) -> int:
  """Compares; returns the exit code."""
  argv = list(sys.argv if argv is None else argv)
  values = _flags()
  if set(argv) & {'--help', '-h', '-help'}:
    print(__doc__)
    print(values.get_help())
    print(_features())
    return 0
  try:
    names = _parse(values, argv)
    record = _run(*names, values)
    if values.json:
      text = json.dumps(record, indent=2, allow_nan=False)
      pathlib.Path(values.json).write_text(text + '\n', encoding='utf-8')
  except (flags.Error, ValueError, OSError, ImportError) as error:
    words = ' '.join(str(error).split()).replace(' weights=', ' --weights=')
    print(f'error: {words}', file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print('interrupted', file=sys.stderr)
    return 128 + signal.SIGINT
  except Exception:  # a fault of ours
    traceback.print_exc()
    return 1
  return 0


def _features() -> str:
  """The nets, a line each."""
  from gan_jax.metrics import nets

  lines = [f'  {name:20}{row.what}' for name, row in nets.NETS.items()]
  return '\n'.join(['', 'Features:', *lines])


def _flags() -> flags.FlagValues:
  """The flags, anew for every call, so that none is left from the last."""
  values = flags.FlagValues()
  for define, name, default, text, *bounds in _FLAGS:
    limits = bounds[0] if bounds else {}
    define(name, default, text, flag_values=values, **limits)
  return values


def _parse(values, argv) -> list[str]:
  names = values(argv)[1:]
  if len(names) != 2:
    raise flags.Error(
      'two names are needed, of what is judged and of the reference (python -m '
      f'gan_jax.metrics A B), got {names}.'
    )
  path = pathlib.Path(values.json or '.').absolute()
  if values.json and (path.is_dir() or not path.parent.is_dir()):
    raise flags.Error(
      f'--json={values.json} must be a file, in a folder that is there.'
    )
  return names


def _run(name_a: str, name_b: str, values) -> dict[str, Any]:
  # Imported late: a typo should not wait for JAX.
  from gan_jax.metrics import compare, sources, two_sets

  settings = compare.Settings(
    metrics=tuple(filter(None, values.metrics.replace(' ', '').split(','))),
    reference=values.reference,
    splits=values.splits,
    keep=values.keep,
    seed=values.seed,
    few=values.few,
  )
  compare.check(settings)
  if compare.INTRA_CLASS in settings.metrics:
    raise ValueError(
      f'--metrics={compare.INTRA_CLASS} needs a generator that makes images '
      'of a given class; it is for --mode=evaluate of gan_jax.main.'
    )
  net = _net(values)
  compare.check(settings, net)
  names = ('data_dir', 'image_size', 'fit', 'skip_unreadable', 'num', 'seed')
  options = sources.Options(**{name: values[name].value for name in names})
  a, b = two_sets.open_both(name_a, name_b, options, settings, net)
  for line in two_sets.describe_sources(a, b):
    print(line, flush=True)
  record = two_sets.measure(a, b, net, settings, cache=values.cache, say=_say)
  for line in two_sets.describe(record, net):
    print(line)
  return record


def _say(text):
  """What is no result: how far it is, trouble with the cache."""
  print(text, file=sys.stderr, flush=True)


def _net(values):
  from gan_jax.metrics import nets, resize

  if values.resize:
    resize.check_method(values.resize)
  try:
    return nets.load(
      values.features, weights=values.weights, resize=values.resize
    )
  except ValueError as error:
    others = sorted({*nets.NETS} - {values.features})
    if values.weights or values.features not in nets.NETS or values.resize:
      raise
    raise ValueError(
      f'{error} Or choose other features: {", ".join(others)}; pixels and '
      'digits need no weights.'
    ) from error


if __name__ == '__main__':
  sys.exit(main())
