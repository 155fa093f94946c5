"""Curves of two protocols have panels of their own, that say what differs."""

import json

import numpy as np
import pytest

from launch.lab import result
from launch.published import collect, figures, page, table


def entry(step, value, count, features):
  protocol = dict(features=features, seed=0, note=f'only {count}')
  number = dict(value=value, real_against_real=count / 100, protocol=protocol)
  head = dict(step=step, dataset='digits', split='train', num_samples=count)
  return head | {'frechet': number}


def run(seed, value, count=100, features='lenet'):
  entries = tuple(entry(step, value / step, count, features) for step in (1, 2))
  clock = np.array([0.0, 2.0]), np.array([0.0, 8.0])
  return collect.Run(seed, 'finished', 2, 2, '', entries, clock)


def found(runs):
  """A record as far as figures read it, of one group."""
  rows = [
    {
      'name': name,
      'group': 'all',
      'protocol': protocol,
      'floor': {'frechet': collect.floor(chosen[0].entries[-1], 'frechet')},
      'last': {'frechet': {'mean': None}},
    }
    for name, group in runs.items()
    for protocol, chosen in table._by_protocol(group, 'frechet')
  ]
  titles = {'frechet': 'Frechet distance (lenet)'}
  return dict(study='test', metric='frechet', titles=titles, rows=rows)


def test_each_table_has_the_titles_of_its_own_features():
  runs = {
    'a': [run(0, 4.0)],
    'b': [run(0, 5.0, features='inception-v3-fid-2048')],
  }
  for entry in runs['b'][0].entries:
    entry['frechet']['protocol']['weights'] = '6726825d'
  titles = table._titles_of(runs, [], 'frechet', ['frechet'])
  assert len(titles) == 2
  record = found(runs) | dict(titles_of=titles)
  shown = [table.short_titles(record, key)['frechet'] for key in titles]
  assert shown == ['Frechet distance', 'FID']


@pytest.fixture
def drawn(monkeypatch, tmp_path):
  """Draws curves: -> (panels that are shown, caption); writes nothing."""
  kept = []

  def save(shown, out, name, caption):
    kept.append(shown)
    return result.Figure(out / f'{name}.png', caption)

  monkeypatch.setattr(figures.drawing, 'save', save)

  def draw(runs, **options):
    picture = figures.curves(found(runs), runs, tmp_path, **options)
    panels = [axes for axes in kept[-1].axes if axes.get_visible()]
    return panels, picture.caption

  return draw


def names(axes):
  return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize('over', ['steps', 'device-seconds'])
def test_two_protocols_are_two_panels(drawn, over):
  # Seeds of b were measured in both ways.
  runs = {
    'a': [run(0, 4.0)],
    'b': [run(0, 5.0), run(1, 60.0, 500, 'inception')],
    'c': [run(0, 70.0, 500, 'inception')],
  }
  panels, caption = drawn(runs, over=over)
  assert [names(axes) for axes in panels] == [['a', 'b'], ['b', 'c']]
  assert [axes.get_title() for axes in panels] == [
    'all\nnum samples 100, features lenet',
    'all\nnum samples 500, features inception',
  ]
  assert [axes.get_ylabel() for axes in panels] == [
    'Frechet distance (lenet)',
    'Frechet distance (inception)',
  ]
  # Each has its own floor and its own scale.
  floors = [axes.lines[-1].get_ydata()[0] for axes in panels]
  assert floors == [1, 5]
  assert panels[0].get_ylim()[1] < 10 < 50 < panels[1].get_ylim()[1]
  assert '(lenet) and Frechet distance (inception) over' in caption
  assert caption.endswith('do not compare.')


def test_one_protocol_is_one_panel_without_small_print(drawn):
  (axes,), caption = drawn({'a': [run(0, 4.0)], 'b': [run(0, 5.0)], 'c': []})
  assert (axes.get_title(), names(axes)) == ('all', ['a', 'b'])
  assert 'compare' not in caption


def test_what_differs_between_protocols():
  key = lambda **known: json.dumps([dict(num_samples=10, draws=1), known])
  plain, resized = key(sizes=[2, 3], note='few'), key(sizes=[2, 3], resize='x')
  assert page.differences([plain]) == {plain: ''}
  told = page.differences([plain, resized])
  assert told == {plain: 'no resize', resized: 'resize x'}
