"""The folder of a run: one writer, one config, no lines from a lost future."""

import json
import os

import pytest

from gan_jax import defaults, workdir

CONFIG = {
  'seed': 0,
  'num_steps': 100,
  'game': {'name': 'alternating', 'd_steps': 1},
  'generator': {'features': [4, 4]},
}


def recorded(tmp_path, config=CONFIG):
  workdir.record(tmp_path, config)
  return tmp_path


def changed(**fields):
  return CONFIG | fields


def test_a_new_folder_has_nothing_to_differ_from(tmp_path):
  assert workdir.check(tmp_path / 'none', CONFIG) == []
  assert not (tmp_path / 'none').exists()
  assert workdir.recorded(tmp_path / 'none') is None


def test_the_same_config_is_the_same_after_json(tmp_path):
  # Tuples become lists there.
  config = changed(generator={'features': (4, 4)})
  assert workdir.check(recorded(tmp_path, config), config) == []
  assert workdir.recorded(tmp_path) == CONFIG
  assert [p.name for p in tmp_path.iterdir()] == ['config.json']


def test_what_may_differ_is_said(tmp_path):
  recorded(tmp_path)
  said = workdir.check(tmp_path, changed(num_steps=200, data_dir='x'))
  assert said == ["data_dir: '' -> 'x'", 'num_steps: 100 -> 200']


@pytest.mark.parametrize(
  'config, words',
  [
    (changed(seed=1), 'seed: 0 -> 1'),
    (
      changed(game={'name': 'alternating', 'd_steps': 5}),
      'game.d_steps: 1 -> 5',
    ),
    (changed(generator={'features': [4]}), r'features: \[4, 4\] -> \[4\]'),
    (changed(loss='hinge'), "loss: 'nonsaturating' -> 'hinge'"),
    ({k: v for k, v in CONFIG.items() if k != 'seed'}, 'seed: 0 -> None'),
    # A group that became a value.
    (changed(game='alternating'), "game: None -> 'alternating'"),
    # The name of a changeable field, in a group.
    (changed(game=CONFIG['game'] | {'num_steps': 1}), 'game.num_steps: None'),
  ],
)
def test_what_may_not_differ_is_refused_by_name(tmp_path, config, words):
  recorded(tmp_path)
  before = (tmp_path / 'config.json').read_bytes()
  with pytest.raises(workdir.WorkdirError, match=words) as caught:
    workdir.check(tmp_path, config)
  assert str(tmp_path) in str(caught.value)
  assert 'Use the recorded values or a new workdir' in str(caught.value)
  assert (tmp_path / 'config.json').read_bytes() == before


def test_only_what_may_not_differ_is_in_the_refusal(tmp_path):
  recorded(tmp_path)
  with pytest.raises(workdir.WorkdirError) as caught:
    workdir.check(tmp_path, changed(seed=1, num_steps=7))
  assert 'num_steps' not in str(caught.value)


@pytest.mark.parametrize('content', [b'', b'{"seed": ', b'[]', b'5', b'\xff'])
def test_a_damaged_record(tmp_path, content):
  (tmp_path / 'config.json').write_bytes(content)
  with pytest.raises(workdir.WorkdirError, match='config.json .*restore it'):
    workdir.check(tmp_path, CONFIG)


def test_a_record_that_is_a_folder(tmp_path):
  (tmp_path / 'config.json').mkdir()
  with pytest.raises(workdir.WorkdirError, match='cannot be read: Is a dir'):
    workdir.check(tmp_path, CONFIG)


def test_claim_makes_the_folder_and_keeps_others_out(tmp_path):
  folder = tmp_path / 'a' / 'b'
  with workdir.claim(folder) as path:
    assert path == folder and folder.is_dir()
    # flock counts open files, so this process is another one to itself.
    with (
      pytest.raises(workdir.WorkdirError, match='in use') as caught,
      workdir.claim(folder),
    ):
      raise AssertionError('claimed twice')
    assert f'by process {os.getpid()};' in str(caught.value)
    assert str(folder) in str(caught.value)
  with workdir.claim(folder):
    assert (folder / 'lock').read_text() == f'{os.getpid()}\n'


def test_claim_is_given_back_after_an_error(tmp_path):
  with pytest.raises(KeyError), workdir.claim(tmp_path):
    raise KeyError
  with workdir.claim(tmp_path):
    pass


def test_the_lock_of_a_dead_process_holds_nobody(tmp_path):
  (tmp_path / 'lock').write_text('4194305\n')
  with workdir.claim(tmp_path):
    assert (tmp_path / 'lock').read_text() == f'{os.getpid()}\n'


@pytest.mark.parametrize('where', ['file', 'file/run'])
def test_claim_below_a_file(tmp_path, where):
  (tmp_path / 'file').write_text('kept')
  with (
    pytest.raises(workdir.WorkdirError, match='cannot be written: '),
    workdir.claim(tmp_path / where),
  ):
    raise AssertionError('claimed')
  assert (tmp_path / 'file').read_text() == 'kept'


def line(step):
  return json.dumps({'step': step, 'loss_g': None}) + '\n'


@pytest.mark.parametrize(
  'text, step, kept',
  [
    (line(10) + line(20) + line(30), 20, line(10) + line(20)),
    (line(10) + line(20), 20, line(10) + line(20)),
    (line(10) + line(20), 15, line(10)),
    (line(10), 0, ''),
    ('', 10, ''),
    # Torn while it was written.
    (line(10) + line(20)[:9], 20, line(10)),
    # Torn just before its end: whole JSON, but the next line would join it.
    (line(10) + line(20)[:-1], 20, line(10)),
    (line(10) + '5\n' + line(20), 20, line(10)),
    (line(10) + '{}\n' + line(20), 20, line(10)),
    (line(10) + '\x00' * 8, 20, line(10)),
  ],
)
def test_cut_metrics(tmp_path, text, step, kept):
  path = tmp_path / 'metrics.jsonl'
  path.write_text(text)
  workdir.cut_metrics(tmp_path, step)
  assert path.read_text() == kept
  assert [p.name for p in tmp_path.iterdir()] == ['metrics.jsonl']


def test_cut_metrics_of_a_new_run(tmp_path):
  workdir.cut_metrics(tmp_path, 0)
  assert not list(tmp_path.iterdir())


def test_what_is_set_aside_keeps_its_end(tmp_path):
  for name in ('metrics.jsonl', 'diverged.json', 'evaluation.json'):
    (tmp_path / name).write_text(name)
  assert workdir.set_aside(tmp_path, ['diverged.json', 'best.json']) == [
    'diverged.before.json'
  ]
  assert workdir.divergence(tmp_path) is None
  assert workdir.set_aside(tmp_path) == [
    'metrics.before.jsonl',
    'evaluation.before.json',
  ]
  assert (tmp_path / 'diverged.before.json').read_text() == 'diverged.json'


def test_replace_takes_the_place_of_a_file(tmp_path):
  path = tmp_path / 'evaluation.json'
  for text in ('[1]', '[1, 2]'):
    workdir.replace(path, text)
    assert path.read_text() == text
  assert [p.name for p in tmp_path.iterdir()] == ['evaluation.json']


def test_a_field_that_came_later_has_its_default(tmp_path):
  config = defaults.get_config().to_dict()
  older = {k: v for k, v in config.items() if k not in ('flip', 'parallel')}
  older['data'] = {k: v for k, v in config['data'].items() if k != 'resize'}
  workdir.record(tmp_path, older)
  assert workdir.check(tmp_path, config) == []
  with pytest.raises(workdir.WorkdirError, match='flip: False -> True'):
    workdir.check(tmp_path, config | {'flip': True})
  assert defaults.complete(older) == config
