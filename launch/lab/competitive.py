"""Implicit competitive regularization: a quadratic game, a toy, and GANs.

References:
  Schaefer, Zheng and Anandkumar, Implicit Competitive Regularization in GANs,
  ICML 2020, and the authors' blog on it.
"""

from launch.lab import (
  competitive_overtrain,
  competitive_projection,
  competitive_quadratic,
  result,
)

PARTS = (competitive_quadratic, competitive_projection, competitive_overtrain)


def run(settings: result.Settings) -> result.Result:
  """All three parts, one after the other.

  MNIST needs `settings.data_dir`, and is left out of quick runs.
  """
  return join([part.run(settings) for part in PARTS])


def join(parts: list[result.Result]) -> result.Result:
  """One result of several, each part's words under its title."""
  told = lambda field: ' '.join(
    f'({i}) {part.title}. {getattr(part, field)}'
    for i, part in enumerate(parts, start=1)
  )
  return result.Result(
    title='Implicit competitive regularization',
    claim=told('claim'),
    protocol=told('protocol'),
    seen=told('seen'),
    verdict=' '.join(part.verdict for part in parts),
    rows=tuple(row for part in parts for row in part.rows),
    numbers={part.title: part.numbers for part in parts},
    figures=tuple(figure for part in parts for figure in part.figures),
  )
