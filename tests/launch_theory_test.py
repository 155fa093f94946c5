"""The command line of the theory lab, with experiments of the test's own."""

import json
import math
import os

import pytest
from matplotlib import figure
from PIL import Image

from launch import theory
from launch.lab import drawing, result


def found(out, *rows):
  drawn, panels = drawing.page()
  panels[0, 0].plot([0, 1], [0, 1])
  return result.Result(
    title='A title',
    claim='A claim.',
    protocol='A protocol.',
    seen='What was seen.',
    verdict='A verdict.',
    rows=rows,
    numbers=dict(a=[1.0, math.nan, math.inf]),
    figures=(drawing.save(drawn, out, 'fig', 'A caption.'),),
  )


@pytest.fixture
def experiments(monkeypatch):
  def good(settings):
    yes = result.exact('a number', 0.5, 0.5 + 1e-9, 1e-6, 'n = 2')
    no = result.finding('a claim', 'more', 'fewer', False)
    return found(settings.out, yes, no)

  def wrong(settings):
    return found(settings.out, result.exact('a number', 0.5, 0.6, 1e-6))

  def broken(settings):
    raise ValueError('the gap is 0.1, more than 1e-8.')

  table = dict(good=good, wrong=wrong, broken=broken)
  monkeypatch.setattr(theory, 'EXPERIMENTS', table)


def run(tmp_path, name, *flags):
  return theory.main([f'--experiment={name}', f'--out={tmp_path}', *flags])


def test_prints_writes_and_shows(tmp_path, experiments, capsys):
  assert run(tmp_path, 'good', '--quick') == 0
  printed = capsys.readouterr().out
  lines = [line.split('  ') for line in printed.splitlines()]
  cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
  assert ['a number', '0.5', '0.5', 'yes (exact)', 'n = 2'] in cells
  assert ['a claim', 'more', 'fewer', 'NO'] in cells
  saved = json.loads((tmp_path / 'good.json').read_text())
  assert saved['numbers']['a'] == [1.0, None, '+inf']
  assert saved['quick'] and saved['rows'][0]['holds'] is True
  page = (tmp_path / 'index.html').read_text()
  assert 'A caption.' in page and 'data:image/png' in page
  text = (tmp_path / 'theory.md').read_text()
  assert '1 numbers agree' in text and '| a claim | more | fewer | NO |' in text
  assert '| a number |' not in text


def test_a_wrong_closed_form_is_an_error(tmp_path, experiments, capsys):
  assert run(tmp_path, 'wrong') == 1
  error = capsys.readouterr().err
  assert error == 'error: wrong: a number is 0.6, not 0.5.\n'
  assert (tmp_path / 'wrong.json').exists()


def test_an_experiment_that_breaks_stops_no_other(
  tmp_path, experiments, capsys
):
  (tmp_path / 'broken.json').write_text('an older result')
  assert run(tmp_path, 'broken,good') == 1
  assert 'error: broken: the gap is 0.1, more than' in capsys.readouterr().err
  assert (tmp_path / 'good.json').exists()
  assert not (tmp_path / 'broken.json').exists()


@pytest.mark.parametrize('value', [math.nan, math.inf, 1.0])
def test_an_exact_row_does_not_pass_by_chance(value):
  assert not result.exact('q', 0.5, value, 0.1).holds
  assert result.exact('q', math.inf, math.inf, 0.1).holds


def test_unknown_names_are_listed(tmp_path, capsys):
  with pytest.raises(SystemExit) as error:
    run(tmp_path, 'landscpe')
  assert error.value.code == 2
  said = capsys.readouterr().err
  assert '--experiment=landscpe is not one of: landscape, two_clusters' in said


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
  taken = tmp_path / 'file'
  taken.touch()
  for folder in (taken, taken / 'below', '/proc/none'):
    with pytest.raises(SystemExit) as error:
      theory.main(['--experiment=all', f'--out={folder}'])
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert f'--out={folder} cannot be written to' in said


def test_data_that_is_not_there(tmp_path, capsys):
  with pytest.raises(SystemExit):
    run(tmp_path, 'all', '--data_dir=nowhere')
  assert '--data_dir=nowhere is not a folder' in capsys.readouterr().err


def test_a_foreign_file_in_the_folder(tmp_path, experiments, capsys):
  (tmp_path / 'wrong.json').write_text('{"rows": 3}')
  with pytest.raises(SystemExit):
    run(tmp_path, 'good')
  said = capsys.readouterr().err
  assert 'wrong.json is not a result of this lab' in said
  assert (tmp_path / 'good.json').exists()


def test_an_animation_has_its_frames(tmp_path):
  drawn = figure.Figure(figsize=(1, 1))
  axes = drawn.subplots()
  (line,) = axes.plot([0, 1], [0, 1])
  move = lambda i: line.set_ydata([0, i])
  film = drawing.save_animation(drawn, move, 3, tmp_path, 'film', 'It moves.')
  with Image.open(film.path) as image:
    assert image.n_frames == 3
  assert os.path.getsize(film.path) > 100
