"""Numbers with their protocols side by side: names, which is better, means."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from gan_jax.metrics import compare
from gan_jax.metrics.compare import Entry

# Their names are said of the network that they were defined by, and no other.
_DEFINED_BY = 'inception-v3-fid-2048'
_PUBLISHED = '6726825d'
_SHORT = {'frechet': 'FID', 'kernel': 'KID', 'inception_score': 'IS'}


def title(metric: str, protocol: dict[str, Any]) -> str:
  """What a number is called: FID only of FID's network with its weights."""
  long = 'intra-class Frechet distance'
  if metric in compare.METRICS:
    long = compare.METRICS[metric].title
  published = protocol.get('weights', '').startswith(_PUBLISHED)
  if published and protocol.get('features') == _DEFINED_BY:
    return _SHORT.get(metric, long)
  return long


def same_protocol(entries: Iterable[Entry]) -> bool:
  """Whether numbers may stand side by side: their protocols are equal."""
  protocols = [entry['protocol'] for entry in entries]
  return all(protocol == protocols[0] for protocol in protocols)


def better(metric: str, a: float, b: float) -> bool:
  """Whether value `a` of a metric is better than `b`; NaN never is."""
  if math.isnan(a) or math.isnan(b):
    return not math.isnan(a)
  # What is no row of the table is a distance, or counts modes.
  lower = metric != 'stacked_modes'
  if metric in compare.METRICS:
    lower = compare.METRICS[metric].lower_is_better
  return a < b if lower else a > b


def over_draws(draws: list[dict[str, Entry]]) -> dict[str, Entry]:
  """Several draws of samples, measured alike, as one: means and deviations.

  An entry with a `value` gets the mean over draws, their standard deviation
  `std_over_draws` (n - 1 degrees of freedom) and `draws`, the values; the rest
  is the first draw's. One without gets the other draws' entries as `draws`. One
  draw is left as it is.

  Raises:
    ValueError: the draws were not measured by the same protocol.
  """
  if len(draws) == 1:
    return draws[0]
  return {
    name: _over_draws(name, [d[name] for d in draws]) for name in draws[0]
  }


def _over_draws(name, entries):
  if not same_protocol(entries):
    raise ValueError(f'The draws of {name!r} differ in their protocols.')
  if 'value' not in entries[0]:
    return entries[0] | {'draws': entries[1:]}
  values = [entry['value'] for entry in entries]
  return entries[0] | {
    'value': float(np.mean(values)),
    'std_over_draws': float(np.std(values, ddof=1)),
    'draws': values,
  }
