"""Numbers as lines for a terminal."""

from typing import Any

from gan_jax.evaluate import stacked_digits
from gan_jax.metrics import entries, wording

_BAR = 40


def describe(numbers: dict[str, Any]) -> list[str]:
  """What `evaluate` returned, as lines for a terminal."""
  lines = [
    f'{numbers["num_samples"]} samples (seed {numbers["seed"]}) against '
    f'{numbers["dataset"]}, split {numbers["split"]}'
  ]
  if 'classes' in numbers:
    lines += _describe_classes(numbers['classes'], numbers['classifier'])
  if 'modes' in numbers:
    lines += _describe_modes(numbers['modes'])
  if stacked_digits.METRIC in numbers:
    lines += stacked_digits.describe(numbers[stacked_digits.METRIC])
  for name, entry in numbers.items():
    if not isinstance(entry, dict) or name == stacked_digits.METRIC:
      continue
    if 'value' in entry:
      lines.append(_describe_value(name, entry))
  return lines + _how(numbers)


def _how(numbers):
  """What stands behind numbers in the features of a net."""
  found = [e for e in numbers.values() if isinstance(e, dict)]
  protocols = [e['protocol'] for e in found]
  protocols = [p for p in protocols if {'features', 'image_shape'} <= {*p}]
  if not protocols:
    return []
  named = {'features': 'features', 'resize': 'resize', 'weights': 'weights'}
  first = protocols[0]
  parts = [f'{title} {first[k]}' for k, title in named.items() if k in first]
  notes = {p['note'] for p in protocols if 'note' in p}
  for common in filter(None, map(wording.common_count, found)):
    notes.add(
      'fewer images give larger distances, so a number and its floor compare '
      f'at one count only: {common} samples and a reference of {common}.'
    )
  size = 'x'.join(map(str, first['image_shape']))
  fit = f', made to fit ({first["fit"]})' if 'fit' in first else ''
  return [f'by: {", ".join(parts)}, images {size}{fit}', *sorted(notes)]


def _describe_classes(classes, classifier):
  covered = f'{classes["covered"]}/{classes["total"]}'
  lines = [f'classes covered: {covered}{_of_draws(classes)}']
  counts = [*classes['histogram'], classes['no_digit']]
  names = [*(str(i) for i in range(classes['total'])), 'none']
  lines += _histogram(names, counts)
  protocol = classes['protocol']
  return [
    *lines,
    f'smallest share: {classes["smallest_share"]:.1%} (a class counts from '
    f'{protocol["minimum_share"]:.0%})',
    f'classifier {protocol["classifier"]}: held-out accuracy '
    f'{classifier["accuracy"]:.1%}',
  ]


def _describe_modes(entry):
  protocol = entry['protocol']
  covered = f'{entry["covered"]}/{entry["total"]}'
  lines = [f'modes covered: {covered}{_of_draws(entry)}']
  lines += _histogram(map(str, range(entry['total'])), entry['histogram'])
  return [
    *lines,
    f'within {protocol["radius_in_std"]:g} std of a centre: '
    f'{entry["high_quality"]:.1%} (real: {entry["high_quality_real"]:.1%})',
    f'KL of the histogram to uniform: {entry["kl_to_uniform"]:.4f} '
    f'(real: {entry["kl_to_uniform_real"]:.4f})',
  ]


def _of_draws(entry):
  """Of what has no mean the first draw is shown."""
  others = len(entry.get('draws', ()))
  return f' (the first of {1 + others} draws)' if others else ''


def _describe_value(name, entry):
  """One number, what real examples reach, and the counts of both."""
  protocol = entry['protocol']
  spread = wording.spread(entry)
  if entry.get('std_over_draws') is not None:
    spread = (
      f' +- {entry["std_over_draws"]:.2g} over {len(entry["draws"])} draws'
    )
  title = _title(name, protocol)
  return f'{title}: {entry["value"]:.4g}{spread} ({_terms(entry)})'


def _title(name, protocol):
  title = _TITLES.get(name) or entries.title(name, protocol)
  if title.isupper() or 'features' not in protocol:
    return title
  return f'{title} in {protocol["features"]}'


_TITLES = {'sliced_wasserstein': 'sliced Wasserstein-1 distance'}


def _terms(entry):
  """The counts of both sides, and what real examples reach at which counts."""
  protocol, found = entry['protocol'], entry.get('real_against_real')
  if 'halvings' in protocol:
    spread = f' +- {entry["real_against_real_std"]:.2g}'
    count, halvings = protocol['count'], protocol['halvings']
    terms = f'{count} against {count}, mean of {halvings} halvings'
    return f'real against real: {found:.4g}{spread}; {terms}'
  count, floor = wording.counts(protocol)
  if found is None:
    none = entry.get('floor_note', 'too few real images')
    return f'{count} real; no floor: {none}'
  if not floor:
    return f'real images score {found:.4g} over {count} images'
  return f'{count} real; real against real {found:.4g}: {floor}'


def _histogram(names, counts):
  total, largest = sum(counts), max(*counts, 1)
  return [
    f'{name:>6} {count / total:6.1%} '
    f'{"#" * round(_BAR * count / largest)}'.rstrip()
    for name, count in zip(names, counts, strict=True)
  ]
