"""Two sources of images -> numbers: what `python -m gan_jax.metrics` does."""

import importlib.metadata
from collections.abc import Callable
from typing import Any

import gan_jax
from gan_jax.metrics import (
  collect,
  compare,
  entries,
  reference,
  sources,
  wording,
)
from gan_jax.metrics.feature_net import FeatureNet
from gan_jax.metrics.sources import Source

_PACKAGES = ('jax', 'numpy', 'pillow', 'scikit-learn', 'scipy')


def open_both(
  name_a: str,
  name_b: str,
  options: sources.Options,
  settings: compare.Settings,
  net: FeatureNet,
) -> tuple[Source, Source]:
  """What is judged and the reference, ready to be compared.

  With `settings.reference`, that says how many images of B are taken, and
  `options.num` is of A alone.

  Raises:
    ValueError: says of which side; or they do not go together, or are too few.
  """
  a = _of('A', sources.open_source, name_a, options)
  options = options._replace(side=1)
  if settings.reference:
    options = options._replace(num=0)
  b = _of('B', sources.open_source, name_b, options)
  a, b = sources.of_one_shape(a, b)
  _check_counts(a, b, net, settings)
  return a, b


def measure(
  a: Source,
  b: Source,
  net: FeatureNet,
  settings: compare.Settings,
  *,
  cache: str = '',
  say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
  """All that is known of A against B, JSON-able.

  Args:
    a: what is judged.
    b: the reference.
    net: the feature net.
    settings: which metrics, and how.
    cache: folder where statistics of B are kept, and of A if it is a data set;
      '' keeps none.
    say: for a line on how far it is, or on trouble with the cache.

  Returns:
    `a`, `b` (names, counts, fingerprints), `same_images`, `metrics` (see
    `compare.compare`), `weights` (SHA-256), `versions`.

  Raises:
    ValueError: images cannot be read or do not suit the net, or features are
      not finite; says of which side.
  """
  plan_a = compare.plan_of_fake(a.count, settings)
  plan_b = compare.plan_of_real(b.count, a.count, settings)
  known_a = _of('A', sources.fingerprint, a)
  known_b = _of('B', sources.fingerprint, b)
  kept = cache if a.kind == 'dataset' else ''
  fake = _of('A', _collect, a, net, plan_a, known_a, kept, _by('A', say))
  real = _of('B', _collect, b, net, plan_b, known_b, cache, _by('B', say))
  measured = compare.compare(fake, real, net, settings)
  for entry in measured.values():
    entry['protocol'] |= _of_images(a, b)
  return {
    'a': sources.record(a, known_a),
    'b': sources.record(b, known_b),
    'same_images': known_a == known_b,
    'metrics': measured,
    'weights': net.digest,
    'versions': _versions(),
  }


def describe_sources(a: Source, b: Source) -> list[str]:
  """Both, a line each."""
  return [f'A: {sources.describe(a)}', f'B: {sources.describe(b)}']


def describe(record: dict[str, Any], net: FeatureNet) -> list[str]:
  """What `measure` returned, as lines for a terminal."""
  parts = [f'{net.name}, {net.size} of them']
  parts += [f'resize {net.resize}'] if net.resize else []
  parts += [f'weights {net.digest[:16]}'] if net.digest else []
  lines = [f'features: {", ".join(parts)}']
  if record['same_images']:
    lines.append('A and B are the same images.')
  said = {*net.protocol(), 'image_shape', 'note', 'real'}
  for name, entry in record['metrics'].items():
    protocol = entry['protocol']
    title = entries.title(name, protocol)
    named = title if title.isupper() else f'{title} in {net.name}'
    lines.append(f'{named}: {_value(name, entry)}')
    own = [f'{k}={v}' for k, v in protocol.items() if k not in said]
    lines.append(f'  {", ".join(own)}')
    lines += [f'  note: {note}' for note in _notes(entry)]
  return lines


def _value(name, entry) -> str:
  better = 'lower' if compare.METRICS[name].lower_is_better else 'higher'
  value = f'{entry["value"]:.6g}{wording.spread(entry)} ({better} is better; '
  count, floor = wording.counts(entry['protocol'])
  found = entry['real_against_real']
  if found is None:
    return f'{value}{count} of B; no floor, see the note)'
  if not floor:
    return f'{value}B itself scores {found:.6g} over {count} images)'
  return f'{value}{count} of B; B against B {found:.6g}: {floor})'


def _notes(entry) -> list[str]:
  protocol = entry['protocol']
  notes = [protocol.get('note'), entry.get('floor_note')]
  common = wording.common_count(entry)
  if common:
    notes.append(
      'fewer images give larger distances, so the two numbers compare at one '
      f'count only: --num={common} --reference={common}.'
    )
  return [note for note in dict.fromkeys(notes) if note]


def _check_counts(a, b, net, settings):
  """Before any work is done on the images."""
  try:
    compare.check_counts(a.count, b.count, net, settings)
    compare.plan_of_real(b.count, a.count, settings)
  except ValueError as error:
    words = str(error).replace('few=True', '--few')
    raise ValueError(f'A against B: {words}') from error


def _collect(source, net, plan, known, cache, say) -> collect.Collected:
  return reference.cached(
    lambda: collect.collect(sources.batches(source, say), net, plan),
    key=reference.key_of(net, plan, fingerprint=known),
    folder=cache,
    say=say,
  )


def _of_images(a, b) -> dict[str, Any]:
  """What the protocol says of the images of both sides."""
  said = {'real': sources.describe(b)}
  if a.fitted:
    said['fit'] = a.fitted
  if a.fitted != b.fitted:
    said['fit_reference'] = b.fitted
  for name, source in (('skipped', a), ('skipped_reference', b)):
    if source.skipped:
      said[name] = len(source.skipped)
  return said


def _of(name: str, function, *arguments):
  """function(*arguments), whose errors say which side they are of."""
  try:
    return function(*arguments)
  except ValueError as error:
    raise ValueError(f'{name}: {error}') from error


def _by(name, say):
  return lambda text: say(f'{name}: {text}')


def _versions() -> dict[str, str]:
  versions = {'gan_jax': gan_jax.__version__}
  for package in _PACKAGES:
    versions[package] = importlib.metadata.version(package)
  return versions
