"""Figures of the two clusters; records are those of `two_clusters`."""

import pathlib

import numpy as np

from launch.lab import drawing, result

LABELS = dict(js='JS', rs='RS')


def draw_times(
  out: pathlib.Path, epochs, times: dict, covered: dict
) -> result.Figure:
  """How soon both clusters are covered.

  Args:
    out: folder.
    epochs: of the records, `[R]`.
    times: by objective, epochs to cover, `[S]`, inf for never.
    covered: by objective, whether covered at each record, `[S, R]`.
  """
  drawn, ((left, right),) = drawing.page(1, 2)
  for name, label in LABELS.items():
    colour = drawing.COLOURS[name]
    share = [np.mean(times[name] <= epoch) for epoch in epochs]
    left.step(epochs, share, where='post', c=colour, label=f'{label}: so far')
    now = np.mean(covered[name], axis=0)
    left.plot(epochs, now, c=colour, lw=0.9, ls=':', label=f'{label}: now')
  left.set(
    xlabel='epoch',
    ylabel='share of seeds with both clusters covered',
    ylim=(-0.03, 1.03),
  )
  left.legend(loc='lower right', fontsize=8)
  _draw_pairs(right, times, int(epochs[-1]))
  return drawing.save(
    drawn,
    out,
    'two_clusters_time',
    'Left: share of seeds that have covered both clusters at some look '
    '(solid) and that cover them now (dotted). Right: each seed from the same '
    'start under both losses; below the diagonal RS was earlier, as in '
    f'{np.sum(times["rs"] < times["js"])} of {len(times["rs"])} seeds, above '
    f'it JS, as in {np.sum(times["js"] < times["rs"])}.',
  )


def _draw_pairs(axes, times, last):
  js, rs = np.minimum(times['js'], last), np.minimum(times['rs'], last)
  late = np.isinf(times['js']) | np.isinf(times['rs'])
  colour = drawing.COLOURS['real']
  axes.plot(js[~late], rs[~late], 'o', ms=5, alpha=0.6, c=colour, label='seed')
  if np.any(late):
    axes.plot(
      js[late],
      rs[late],
      'x',
      c=drawing.COLOURS['rs'],
      clip_on=False,
      label=f'seed not covered by epoch {last}',
    )
  axes.plot([0, last], [0, last], c='#8a8f98', lw=1, label='equally soon')
  axes.set(
    xlabel='JS: epochs to cover both',
    ylabel='RS: epochs to cover both',
    xlim=(0, last),
    ylim=(0, last),
  )
  axes.legend(fontsize=8)


def draw_losses(
  out: pathlib.Path, losses: dict, plateaus: dict
) -> result.Figure:
  """The critic's loss by epoch, `[S, E]` for each objective."""
  drawn, (panels,) = drawing.page(1, 2, sharey=True)
  for axes, (name, label) in zip(panels, LABELS.items(), strict=True):
    loss, colour = losses[name], drawing.COLOURS[name]
    epochs = np.arange(1, loss.shape[1] + 1)
    for i, row in enumerate(loss[:20]):
      axes.plot(
        epochs, row, c=colour, lw=0.5, alpha=0.35, label='' if i else 'a seed'
      )
    median = np.median(loss, axis=0)
    axes.plot(epochs, median, c='#222222', lw=1.4, label='median of seeds')
    axes.axhline(
      plateaus[name],
      c='#e0a030',
      ls='--',
      label=f'all samples on one point: {plateaus[name]:.4f}',
    )
    axes.axhline(
      np.log(2), c='#8a8f98', ls=':', label='real = generated: log 2'
    )
    axes.set(xlabel='epoch', title=label, ylim=(0.05, 0.9))
    axes.legend(fontsize=8, loc='lower right')
  panels[0].set_ylabel("critic's loss (nats a pair, halved for JS)")
  return drawing.save(
    drawn,
    out,
    'two_clusters_loss',
    "The critic's loss on the way, and its level at a total collapse "
    f'(dashed). Lowest of a seed: {_lowest(losses)}. At most 20 seeds are '
    'drawn; the median is over all.',
  )


def _lowest(losses: dict) -> str:
  parts = []
  for name, label in LABELS.items():
    lowest = np.min(losses[name], axis=1)
    parts.append(f'{label} {lowest.min():.2f} to {lowest.max():.2f}')
  return ', '.join(parts)


def draw_collapse(out: pathlib.Path, seen, plateau: float) -> result.Figure:
  """The JS critic while all samples are near 0.

  Args:
    out: folder.
    seen: `two_clusters_table.Collapse`.
    plateau: the loss of the best critic.
  """
  drawn, ((axes,),) = drawing.page(1, 1, size=(5.4, 3.8))
  rows = zip(
    (0, 1), (1 / 3, 1.0), ('o', '^'), ('#2e6f95', '#5a9e6f'), strict=True
  )
  for column, best, marker, colour in rows:
    axes.plot(
      seen.loss,
      seen.at[:, column],
      marker,
      ms=3,
      alpha=0.5,
      c=colour,
      label=f'D({(0, 4)[column]}), one record of one seed',
    )
    axes.plot(
      plateau,
      best,
      '*',
      ms=15,
      mec='white',
      c='#e0a030',
      label='' if column else 'best critic: D(0) = 1/3, D(4) = 1',
    )
  axes.invert_xaxis()
  axes.set(
    xlabel="critic's loss (nats, halved); lower to the right",
    ylabel='D = sigmoid of the logit',
  )
  axes.legend(fontsize=8, loc='center left')
  return drawing.save(
    drawn,
    out,
    'two_clusters_critic',
    f'The JS critic in the {len(seen.loss)} records, of '
    f'{len(np.unique(seen.seed))} seeds, in which all samples sit near 0. '
    'Stars, the best of all critics if all sit at one point: 1/3 where real '
    'and generated points meet, 1 at the cluster that was missed. '
    f'{len(np.unique(seen.seed[np.abs(seen.loss - plateau) < 0.01]))} seeds '
    'come within 0.01 of its loss.',
  )


def animate(
  out: pathlib.Path, records: dict, grid, seed: int, last: int
) -> result.Figure:
  """The critic and the samples of one seed, up to epoch `last`."""
  epochs = records['js'].epochs
  shown = np.flatnonzero(epochs <= last)
  num_frames = min(50, len(shown))
  shown = shown[np.linspace(0, len(shown) - 1, num_frames).astype(int)]
  drawn, (panels,) = drawing.page(1, 2, size=(4.2, 3.2), sharey=True)
  movers = [
    _still(axes, records[name], grid, name, seed)
    for axes, name in zip(panels, LABELS, strict=True)
  ]

  panels[0].set_ylabel('D(x), and share of the samples')

  def frame(i):
    for axes, name, (curve, bars, edges) in zip(
      panels, LABELS, movers, strict=True
    ):
      record, at = records[name], shown[i]
      curve.set_ydata(record.critic[seed, at])
      counts = np.histogram(record.samples[seed, at], edges)[0]
      for bar, count in zip(bars, counts, strict=True):
        bar.set_height(count / 100)
      near = record.near[seed, at]
      axes.set_title(
        f'{LABELS[name]}, epoch {epochs[at]}: {near[0]} + {near[1]} samples',
        fontsize=10,
      )

  # Settled once, with titles: laying out anew takes most of a frame's time.
  frame(0)
  drawn.draw_without_rendering()
  drawn.set_layout_engine('none')
  return drawing.save_animation(
    drawn,
    frame,
    num_frames,
    out,
    'two_clusters',
    f'Seed {seed}, the one of median time under JS: the critic (line) and '
    'the samples (bars) from one start, under either loss. In the titles, '
    'samples within 0.36 of 0 and of 4. RS leaves the height of D free: only '
    'its differences count.',
  )


def _still(axes, record, grid, name, seed):
  """What stays in a panel, and the artists that move."""
  edges = np.linspace(grid[0], grid[-1], 41)
  bars = axes.bar(
    (edges[1:] + edges[:-1]) / 2,
    np.zeros(40),
    0.19,
    color=drawing.COLOURS['fake'],
    label='share of samples',
  )
  (curve,) = axes.plot(
    grid, record.critic[seed, 0], c=drawing.COLOURS[name], label='D(x)'
  )
  for left in (0, 4):
    axes.plot(
      (left, left + 0.3),
      (-0.03, -0.03),
      c=drawing.COLOURS['real'],
      lw=4,
      solid_capstyle='butt',
      label='' if left else 'real points',
    )
  axes.set(xlabel='x', ylim=(-0.07, 1.05), xlim=(grid[0], grid[-1]))
  axes.legend(fontsize=7, loc='upper center', bbox_to_anchor=(0.46, 1.0))
  return curve, bars, edges
