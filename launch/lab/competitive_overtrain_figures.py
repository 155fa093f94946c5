"""Pictures of the over-trained critic."""

import numpy as np

from launch.lab import competitive_drift as drift
from launch.lab import drawing, result

ALONE, IN_PLAY = drawing.COLOURS['cgd'], drawing.COLOURS['simultaneous']
_NAMES = dict(sgd='SGD', cgd='CGD')
_LABELS = dict(
  drift_real="L2 drift of the critic's outputs,\n500 real examples",
  drift_fake="L2 drift of the critic's outputs,\n500 generated examples",
  loss_d="critic's loss",
)
_FROM = dict(
  checkpoint='as it was',
  sgd='over-trained by SGD',
  cgd='over-trained by CGD',
  matched='by SGD for as long as by CGD',
)


def draw(
  seen: dict[str, drift.Seen],
  name: str,
  steps: dict[str, int],
  settings: result.Settings,
) -> list[result.Figure]:
  """Both figures of one data set.

  Args:
    seen: of `competitive_overtrain.experiment`.
    name: of the data set.
    steps: of 'sgd' and 'cgd' from the checkpoint, 0 if left out, and of the
      'strike'.
    settings: where to.
  """
  methods = [method for method in _NAMES if steps[method]]
  return [
    _draw_drift(seen, name, steps, methods, settings),
    _draw_strikes(seen, name, steps, methods, settings),
  ]


def _band(axes, values, steps, colour, label, style='-'):
  """Median and range over the seeds."""
  at = np.linspace(0, steps, values.shape[1])
  low, middle, high = np.quantile(values, (0, 0.5, 1), axis=0)
  axes.fill_between(at, low, high, color=colour, alpha=0.15, lw=0)
  axes.plot(at, middle, style, color=colour, lw=1.8, label=label)


def _draw_drift(seen, name, steps, methods, settings):
  page, panels = drawing.page(len(methods), 3, (4.4, 3.3))
  for line, method in zip(panels, methods, strict=True):
    for axes, (field, label) in zip(line, _LABELS.items(), strict=True):
      lines = {'alone': ('critic alone', ALONE, '-')}
      lines['play'] = ('both in play', IN_PLAY, '-')
      for how, (words, colour, style) in lines.items():
        values = getattr(seen[f'{how} {method}'], field)
        _band(axes, values, steps[method], colour, words, style)
      if method == 'cgd' and 'play saturating' in seen:
        values = getattr(seen['play saturating'], field)
        words = 'both, SimGD on this game'
        _band(axes, values, steps[method], drawing.COLOURS['none'], words, '--')
      axes.set(
        xlabel='steps from the checkpoint', ylabel=label, title=_NAMES[method]
      )
      axes.set_ylim(bottom=0)
    line[0].legend(fontsize=8)
  return drawing.save(
    page,
    settings.out,
    f'competitive_drift_{name.lower()}',
    f"{name}: how far the critic's outputs move from the same checkpoint. "
    'Drift at the end on real examples, alone / in play: '
    f'{_ends(seen, methods)}. Lines: median of the seeds; bands: their range.',
  )


def _sources(seen):
  return [name for name in _FROM if f'strike sgd from {name}' in seen]


def _end(seen, key, field):
  return np.median(getattr(seen[key], field)[:, -1])


def _ends(seen, methods):
  return ', '.join(
    f'{_end(seen, f"alone {method}", "drift_real"):.3g} / '
    f'{_end(seen, f"play {method}", "drift_real"):.3g} by {_NAMES[method]}'
    for method in methods
  )


def _struck(seen):
  return ', '.join(
    f'{_end(seen, f"strike sgd from {source}", "loss_d"):.3g} {_FROM[source]}'
    for source in _sources(seen)
  )


def _draw_strikes(seen, name, steps, methods, settings):
  page, panels = drawing.page(1, len(methods) + 1, (4.6, 3.6))
  colours = ('none', 'simultaneous', 'cgd', 'alternating')
  colours = dict(zip(_FROM, colours, strict=True))
  for axes, method in zip(panels[0], methods, strict=False):
    for source in _sources(seen):
      values = seen[f'strike {method} from {source}'].loss_d
      colour = drawing.COLOURS[colours[source]]
      style = '-' if source in ('checkpoint', 'sgd') else '--'
      _band(axes, values, steps['strike'], colour, _FROM[source], style)
    axes.set(
      xlabel='steps of the generator, critic frozen',
      ylabel="critic's loss",
      title=f'the generator strikes back by {_NAMES[method]}',
    )
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, title='critic')
  axes = panels[0, -1]
  for method in methods:
    colour = drawing.COLOURS[colours[method]]
    style = '--' if method == 'cgd' else '-'
    values = seen[f'alone {method}'].grad_g
    _band(axes, values, steps[method], colour, _NAMES[method], style)
  axes.set(
    xlabel='steps of the critic alone',
    ylabel="norm of the generator's gradient",
    yscale='log',
    title='while the critic is over-trained',
  )
  axes.legend(fontsize=8)
  return drawing.save(
    page,
    settings.out,
    f'competitive_strikes_{name.lower()}',
    f"{name}: the generator trains against a frozen critic. The critic's loss "
    f'at the end, striking by SGD: {_struck(seen)}. Lines: median of '
    'the seeds; bands: their range.',
  )
