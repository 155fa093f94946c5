"""The figures of the bad initial point."""

import pathlib

import jax
import numpy as np

from launch.lab import bad_start_play as playing
from launch.lab import bad_start_search as searching
from launch.lab import bad_start_tasks as tasks
from launch.lab import drawing, result

RULES = {'tuned': 'tuned rates', 'slow': 'slow generator'}
# Of the best critic, if all that is generated is one class of ten: there D is
# 1/11 by JS, and by RS a tenth of the pairs cannot be told apart.
ONE_CLASS = dict(js=0.1 * np.log(11) + np.log(1.1), rs=0.1 * np.log(2))
NAMES = dict(js='JS (nonsaturating)', rs='RS (relativistic)')


def draw(outcome: searching.Outcome, out: pathlib.Path) -> list[result.Figure]:
  """All figures of one task."""
  worst = {rule: searching.widest(outcome, rule) for rule in RULES}
  return [
    overview(outcome, out),
    curves(outcome, worst, out),
    losses(outcome, worst['slow'], out),
    samples(outcome, worst['slow'], out),
  ]


def _file(outcome, what):
  return f'bad_start_{outcome.task.name}_{what}'


def overview(outcome: searching.Outcome, out: pathlib.Path) -> result.Figure:
  """The distance at the end from every start, a dot a seed."""
  names = outcome.size.names
  drawn, panels = drawing.page(
    1, 2, size=(5.2, 1.4 + 0.42 * len(names)), sharex=True, sharey=True
  )
  for axes, (rule, words) in zip(panels[0], RULES.items(), strict=True):
    for loss, offset in (('js', -0.16), ('rs', 0.16)):
      for row, name in enumerate(names):
        _dots(axes, outcome, (rule, name, loss), row + offset, row == 0)
    _levels(axes.axvline, outcome)
    axes.set(xscale='log', xlabel='Frechet distance at the end', title=words)
    axes.set_yticks(range(len(names)), names)
  panels[0, 0].invert_yaxis()
  panels[0, 0].set_ylabel('start')
  handles, labels = panels[0, 0].get_legend_handles_labels()
  drawn.legend(
    handles, labels, loc='outside lower center', ncols=3, frameon=False
  )
  caption = (
    f'{outcome.task.name}: each start under both losses. A full dot is a seed '
    'that succeeds, an open one a seed that fails; the bar is the median.'
  )
  return drawing.save(drawn, out, _file(outcome, 'overview'), caption)


def _levels(line, outcome):
  """The distances that a run is held against, by axvline or axhline."""
  style = dict(color='#222222', lw=1)
  line(outcome.limit, **style, ls='--', label='needed for success')
  line(outcome.task.floor, **style, ls=':', label='real against real')


def _dots(axes, outcome, case, height, labelled):
  seen, colour = outcome.seen[case], drawing.COLOURS[case[2]]
  last = np.minimum(seen.distance[:, -1], 1e4)
  good = searching.succeeds(seen, outcome.limit)
  level = np.full(len(last), height)
  label = NAMES[case[2]]
  axes.scatter(
    last[good],
    level[good],
    s=20,
    color=colour,
    alpha=0.8,
    label=f'{label}: succeeds' if labelled else None,
  )
  axes.scatter(
    last[~good],
    level[~good],
    s=20,
    facecolors='none',
    edgecolors=colour,
    label=f'{label}: fails' if labelled else None,
  )
  axes.plot([np.median(last)] * 2, [height - 0.13, height + 0.13], color=colour)


def curves(
  outcome: searching.Outcome, worst: dict, out: pathlib.Path
) -> result.Figure:
  """Classes and distance over the steps, from the ordinary and bad start."""
  control = outcome.size.names[0]
  columns = [(rule, name) for rule in RULES for name in (control, worst[rule])]
  drawn, panels = drawing.page(2, 4, size=(3.2, 2.7), sharex=True, sharey='row')
  for column, (rule, name) in zip(panels.T, columns, strict=True):
    column[0].set_title(f'start: {name}\n{RULES[rule]}', fontsize=10)
    for loss in playing.LOSSES:
      seen = outcome.seen[rule, name, loss]
      _lines(column[0], seen.steps, seen.classes, loss)
      _lines(column[1], seen.steps, seen.distance, loss)
    column[0].axhline(9, color='#222222', lw=1, ls='--')
    _levels(column[1].axhline, outcome)
    column[1].set(yscale='log', xlabel='steps of each player')
  panels[0, 0].set(ylabel='classes, of 10', ylim=(-0.4, 10.4))
  panels[1, 0].set_ylabel('Frechet distance')
  handles, labels = panels[1, 0].get_legend_handles_labels()
  drawn.legend(
    handles, labels, loc='outside lower center', ncols=4, frameon=False
  )
  caption = (
    f'{outcome.task.name}: classes covered and distance, from the ordinary '
    'start and from the start where RS leads most. Thin lines are seeds, the '
    'thick one is their median.'
  )
  return drawing.save(drawn, out, _file(outcome, 'curves'), caption)


def _lines(axes, steps, values, loss):
  values = np.minimum(values, 1e4)
  colour = drawing.COLOURS[loss]
  axes.plot(steps, values.T, color=colour, lw=0.5, alpha=0.35)
  axes.plot(
    steps, np.median(values, axis=0), color=colour, lw=2.2, label=NAMES[loss]
  )


def losses(
  outcome: searching.Outcome, name: str, out: pathlib.Path
) -> result.Figure:
  """The critic's loss over the steps, a panel a loss."""
  drawn, panels = drawing.page(1, 2, size=(4.6, 3.2), sharex=True)
  for axes, loss in zip(panels[0], playing.LOSSES, strict=True):
    runs = outcome.seen['slow', name, loss]
    _lines(axes, runs.steps[1:], runs.loss_d[:, 1:], loss)
    axes.axhline(
      ONE_CLASS[loss],
      color='#222222',
      lw=1,
      ls='--',
      label=f'one class of ten matched: {ONE_CLASS[loss]:.3f}',
    )
    axes.set(
      xlabel='steps of each player', ylabel="critic's loss", title=NAMES[loss]
    )
    axes.set_ylim(0, None)
    axes.legend(frameon=False, fontsize=8)
  caption = (
    f"{outcome.task.name}: the critic's loss from the start {name!r} with a "
    'slow generator. Dashed: that of the best critic while the generator '
    'matches one class of ten and nothing else.'
  )
  return drawing.save(drawn, out, _file(outcome, 'losses'), caption)


def samples(
  outcome: searching.Outcome, name: str, out: pathlib.Path
) -> result.Figure:
  """Images at the start and at the end of both losses, one seed."""
  seed = outcome.size.seeds[0]
  first = searching.start_index(outcome.size, name, seed)
  players = [
    ('the start, for both', outcome.starts, first),
    *(
      (
        f'{loss.upper()} after {outcome.size.num_steps} steps, {words}',
        outcome.seen[rule, name, loss].players,
        0,
      )
      for rule, words in reversed(RULES.items())
      for loss in playing.LOSSES
    ),
  ]
  drawn, panels = drawing.page(1, len(players), size=(2.9, 3.1))
  for axes, (title, stacked, at) in zip(panels[0], players, strict=True):
    g = jax.tree.map(lambda x, at=at: x[at], stacked.g)
    axes.imshow(_grid(outcome.task, g), cmap='gray', vmin=-1, vmax=1)
    axes.set_title(title.replace(', ', ',\n'), fontsize=10)
    axes.set_axis_off()
  caption = (
    f'{outcome.task.name}: samples of the same 64 latents from the start '
    f'{name!r}, seed {seed}.'
  )
  return drawing.save(drawn, out, _file(outcome, 'samples'), caption)


def _grid(task: tasks.Task, g) -> np.ndarray:
  """64 images in 8 rows, with a line between."""
  images = task.generator.apply(g, tasks.held_latents(task)[:64])[..., 0]
  padded = np.pad(
    np.asarray(images), ((0, 0), (0, 1), (0, 1)), constant_values=1
  )
  side = padded.shape[1]
  return padded.reshape(8, 8, side, side).swapaxes(1, 2).reshape(8 * side, -1)
