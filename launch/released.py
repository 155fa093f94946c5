"""The released RS-GAN generators of CIFAR-10, measured in one feature space.

python -m launch.released --generators=DIR --weights=FILE --data_dir=DIR \
    --out=docs/results [--features=efficientnet-lite0] [--quick]

Sun, Fang & Schwing (2020) released three generators with their code
(AilsaF/RS-GAN); DIR holds their state dictionaries as RSGAN-*-cifar.npz. They
are the paper's own results: what a training run of ours should meet, in the
same features. Two protocols, which are never compared with each other:

  10k  10,000 samples against 10,000 training images; the floor is another
       10,000 images against the same
  50k  50,000 samples against all 50,000 training images; the floor is two
       disjoint sets of 25,000, so it is biased upwards against the samples'

Batch norm in evaluation mode (running statistics), and in batch mode (the
statistics of batches of 500 samples), which is how the authors evaluated.
"""

import functools
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax import data, models, pictures, report
from gan_jax.evaluate import samples
from gan_jax.metrics import collect, compare, frechet, nets
from gan_jax.metrics.feature_net import FeatureNet
from launch import arguments

GENERATORS = {
  'CNN, quarter width': ('RSGAN-CNN-quater-cifar', 'cnn', dict(width=16)),
  'ResNet, quarter width': (
    'RSGAN-ResNet-quater-cifar',
    'resnet',
    dict(width=64),
  ),
  'ResNet, bottleneck': (
    'RSGAN-ResNet-bottleneck-cifar',
    'resnet',
    dict(width=128, bottleneck=True),
  ),
}
BATCH_NORM = ('evaluation', 'batch')
HELD = ('kernel', 'precision', 'recall', 'density', 'coverage')


class Sizes(NamedTuple):
  """How many images of each kind.

  Attributes:
    small: samples, reference and floor of the first protocol.
    whole: samples of the second; the reference is all images.
  """

  small: int
  whole: int


def sampler(
  folder: pathlib.Path, row: str, batch_norm: str
) -> Callable[[int, int], np.ndarray]:
  """A function (seed, n) -> images `[n, 32, 32, 3]` of a released generator.

  Raises:
    ValueError: the folder lacks its file, or the file is of another network.
  """
  name, kind, options = GENERATORS[row]
  path = folder / f'{name}.npz'
  if not path.is_file():
    raise ValueError(
      f'--generators={str(folder)!r} has no {path.name}; it must be the folder '
      'of the three state dictionaries RSGAN-*-cifar.npz.'
    )
  module = models.generator(kind, **options)
  with np.load(path) as state:
    variables = models.from_torch(module, state)
  train = batch_norm == 'batch'

  @jax.jit
  def generate(variables, z):
    if not train:
      return module.apply(variables, z)
    return module.apply(variables, z, train=True, mutable=['batch_stats'])[0]

  def sample(seed, count):
    z = jax.random.normal(jax.random.key(seed), (count, module.z_size))
    return np.asarray(generate(variables, z))

  return sample


def real_groups(count: int, small: int, *, seed: int) -> np.ndarray:
  """Two disjoint sets of `small` within two disjoint halves, int8 `[count]`.

  Groups 0 and 1 are the small sets; 2 and 3 the rest of the halves of each; 4
  is the odd one out, if any.
  """
  order = np.random.default_rng(seed).permutation(count)
  group = np.full(count, 4, np.int8)
  for number, half in enumerate(np.split(order[: count // 2 * 2], 2)):
    group[half[:small]] = number
    group[half[small:]] = number + 2
  return group


def collect_real(
  dataset: data.Dataset, net: FeatureNet, sizes: Sizes, seed: int
) -> collect.Collected:
  """All training images, in the groups of `real_groups`."""
  count = len(dataset.examples)
  plan = collect.Plan(
    count, real_groups(count, sizes.small, seed=seed), keep=sizes.small
  )
  stream = (collect.Batch(*batch) for batch in data.scan(dataset))
  return collect.collect(stream, net, plan)


def collect_fake(
  sample: Callable, net: FeatureNet, sizes: Sizes, seed: int
) -> collect.Collected:
  """Samples; group 0 are the first `sizes.small` of them."""
  group = np.ones(sizes.whole, np.int8)
  group[: sizes.small] = 0
  plan = collect.Plan(sizes.whole, group, keep=sizes.small)
  return collect.collect(_stream(sample, sizes.whole, seed), net, plan)


def _stream(sample, count, seed) -> Iterator[collect.Batch]:
  return samples.stream(sample, (32, 32, 3), count, [seed])


def distances(
  fake: collect.Collected, real: collect.Collected
) -> dict[str, float]:
  """The Frechet distances of both protocols."""
  return {
    '10k': _between(fake.groups[0].moments, real.groups[0].moments),
    '50k': _between(fake.moments, real.moments),
  }


def floors(real: collect.Collected) -> dict[str, float]:
  """Real against real, in both protocols."""
  parts = [group.moments for group in real.groups]
  halves = [collect.merge_moments((parts[i], parts[i + 2])) for i in (0, 1)]
  return {'10k': _between(parts[1], parts[0]), '50k': _between(*halves)}


def notes(protocol: dict[str, Any]) -> dict[str, str | None]:
  """What the distances of few images would mean; None where there are enough.

  Args:
    protocol: as `measure` gives it.
  """
  size = protocol['feature_size']
  return {
    '10k': frechet.bias_note(protocol['small'], size),
    '50k': frechet.bias_note(protocol['whole'], size),
  }


def _between(a, b):
  return frechet.frechet_distance(a.mean, a.covariance, b.mean, b.covariance)


def held(
  fake: collect.Collected,
  real: collect.Collected,
  net: FeatureNet,
  seed: int,
) -> dict[str, Any]:
  """Metrics of single features, at the sizes of the first protocol."""
  settings = compare.Settings(metrics=HELD, seed=seed)
  return compare.compare(fake, real, net, settings)


def measure(flags: Any) -> dict[str, Any]:
  """Every generator in every mode; see `markdown` for how it reads."""
  net = nets.load(flags.features, weights=flags.weights, resize=flags.resize)
  dataset = data.load('cifar10', data_dir=flags.data_dir)
  sizes = Sizes(10_000, 50_000)
  if flags.quick:
    sizes = Sizes(300, 1000)
    dataset = dataset._replace(examples=dataset.examples[:1000])
  modes = [(row, mode) for row in GENERATORS for mode in BATCH_NORM]
  sample_of = {key: sampler(flags.generators, *key) for key in modes}
  real = collect_real(dataset, net, sizes, flags.seed)
  rows, protocols = [], {}
  for (row, mode), sample in sample_of.items():
    start = time.monotonic()
    fake = collect_fake(sample, net, sizes, flags.seed)
    numbers = held(fake, real, net, flags.seed)
    protocols = {n: _own(entry, net) for n, entry in numbers.items()}
    rows.append(
      dict(
        generator=row,
        file=GENERATORS[row][0],
        batch_norm=mode,
        frechet=distances(fake, real),
        held={name: entry['value'] for name, entry in numbers.items()},
        floor_held={n: e['real_against_real'] for n, e in numbers.items()},
        seconds=time.monotonic() - start,
      )
    )
    print(_line(rows[-1]), flush=True)
    if mode == 'evaluation':
      grid = np.concatenate([b.images for b in _stream(sample, 64, flags.seed)])
      pictures.grid(grid / 127.5 - 1, flags.out / _picture(row))
  return dict(
    protocol=net.protocol()
    | dict(seed=flags.seed, **sizes._asdict(), held=protocols),
    floors=floors(real),
    rows=rows,
    machine=f'{jax.devices()[0].device_kind} x {jax.device_count()}, '
    f'{os.cpu_count()} cores, jax {jax.__version__}',
  )


def _own(entry, net):
  """Of the protocol of a number, what the net's has not."""
  return {k: v for k, v in entry['protocol'].items() if k not in net.protocol()}


def _picture(row):
  return f'{GENERATORS[row][0]}.png'


def _line(row):
  text = '  '.join(f'{k} {v:.2f}' for k, v in row['frechet'].items())
  text += '  ' + '  '.join(f'{k} {v:.4g}' for k, v in row['held'].items())
  return f'{row["generator"]}, {row["batch_norm"]}: {text}'


def markdown(found: dict[str, Any], command: str) -> str:
  """The tables, one a protocol."""
  protocol, few = found['protocol'], notes(found['protocol'])
  small, whole = protocol['small'], protocol['whole']
  net = protocol['features']
  how = (
    f'Distances in {net}, images rounded to 8 bits: they compare with nothing '
    'outside these tables, and the two tables not with each other.'
  )
  intro = [
    'The three generators that Sun, Fang & Schwing (2020) released, on CIFAR-10'
    f' training images. {how}',
    f'```sh\n{command}\n```',
    f'{found["machine"]}; float32; one set of latents (seed '
    f'{protocol["seed"]}). Batch norm: running statistics '
    f'(evaluation), or statistics of batches of {samples.BATCH_SIZE} samples '
    '(batch), as the authors evaluated.',
    _how(protocol),
  ]
  noted = lambda name: [('Few images', few[name])] if few[name] else []
  sections = [
    report.Section(
      'small',
      f'{small:,} samples against {small:,} images',
      [
        (
          'Floor',
          f'{small:,} other training images against the same, disjoint',
        ),
        *noted('10k'),
      ],
      table=_table(found, '10k', HELD),
    ),
    report.Section(
      'whole',
      f'{whole:,} samples against all training images',
      [
        (
          'Floor',
          'two disjoint halves of the training images, so at half the count: '
          'it is biased upwards against the other rows',
        ),
        *noted('50k'),
      ],
      table=_table(found, '50k', ()),
    ),
  ]
  samples_of = [
    report.Picture(pathlib.Path(_picture(row)), row) for row in GENERATORS
  ]
  sections.append(
    report.Section('samples', 'Samples, running statistics', [], samples_of)
  )
  title = 'Released generators of the relativistic-GAN landscape paper'
  return report.markdown(title, intro, sections)


def _how(protocol):
  """The protocol in a sentence."""
  held_by = protocol['held']
  near = {name: held_by[name]['neighbours'] for name in HELD[1:]}
  weights = protocol.get('weights')
  parts = [f'{protocol["feature_size"]:,} features']
  parts += [f'resize {protocol["resize"]}'] if 'resize' in protocol else []
  parts += [f'weights with SHA-256 {weights}...'] if weights else []
  return (
    f'**How.** {", ".join(parts)}; kernel: {held_by["kernel"]["subsets"]} '
    f'subsets of {held_by["kernel"]["subset_size"]:,}; neighbours: '
    f'{", ".join(f"{name} {k}" for name, k in near.items())}.'
  )


def _table(found, protocol, held_names):
  header = ['generator', 'batch norm', 'Frechet distance', *held_names]
  value = lambda row, name: f'{row["held"][name]:.4g}'
  rows = [
    [
      row['generator'],
      row['batch_norm'],
      f'{row["frechet"][protocol]:.2f}',
      *(value(row, name) for name in held_names),
    ]
    for row in found['rows']
  ]
  floor = found['rows'][0]['floor_held']
  rows.append(
    [
      'real against real',
      '',
      f'{found["floors"][protocol]:.2f}',
      *(f'{floor[name]:.4g}' for name in held_names),
    ]
  )
  return report.Table(header, rows)


def main(argv: list[str] | None = None) -> int:
  """Measures, prints, and writes released.md and released.json."""
  argv = list(sys.argv[1:] if argv is None else argv)
  parser = arguments.Parser(__doc__)
  flag = functools.partial(parser.add_argument, required=True)
  flag('--generators', type=pathlib.Path, help='folder of the .npz files')
  flag('--data_dir', help='holds cifar10')
  flag('--out', type=pathlib.Path)
  flag('--features', required=False, default='efficientnet-lite0')
  flag('--weights', required=False, default='', help='of the feature net')
  flag('--resize', required=False, default='')
  flag('--seed', required=False, type=int, default=0)
  parser.add_argument('--quick', action='store_true', help='1,000 images')
  flags = parser.parse_args(argv)
  try:
    found = measure(flags)
  except ValueError as error:
    parser.error(str(error))
  flags.out.mkdir(parents=True, exist_ok=True)
  numbers = json.dumps(found, indent=1) + '\n'
  (flags.out / 'released.json').write_text(numbers)
  command = ' '.join(['python -m launch.released', *argv])
  (flags.out / 'released.md').write_text(markdown(found, command))
  print(f'real against real: {found["floors"]}; {flags.out / "released.md"}')
  for name, note in notes(found['protocol']).items():
    if note:
      print(f'{name}: {note}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
