"""The record of a table -> NAME.json, NAME.md, index.html and lines."""

import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from gan_jax import report
from gan_jax import workdir as workdirs
from launch.lab import result
from launch.published import plan as plans
from launch.published import table


def write(
  plan: plans.Plan,
  found: dict[str, Any],
  pictures: Sequence[report.Picture],
  command: str,
) -> pathlib.Path:
  """Writes all three; returns the path of the Markdown.

  Args:
    plan: what was asked for.
    found: see `table.record`.
    pictures: of `figures.draw`, in the same folder.
    command: that makes the table.
  """
  out, name = plan.asked.out, plan.study.name
  text = json.dumps(result.plain(found), indent=1, allow_nan=False) + '\n'
  workdirs.replace(out / f'{name}.json', text)
  intro, sections = _intro(plan, found, command), _sections(found, pictures)
  page = report.page(plan.study.title, intro, sections)
  workdirs.replace(out / 'index.html', page)
  intro[-1] = f'```sh\n{command}\n```'
  markdown = report.markdown(plan.study.title, intro, sections)
  workdirs.replace(out / f'{name}.md', markdown)
  return out / f'{name}.md'


def _intro(plan, found, command):
  intro = list(plan.study.intro)
  if plan.stand_in is not None:
    intro.append(
      f'A stand-in on other data ({plan.data}): {plan.stand_in.about} No '
      'number here compares with one of the paper.'
    )
  if plan.asked.quick:
    intro.append(
      'Runs of --quick: they show that everything works, and nothing else.'
    )
  if found['left_out']:
    intro.append(f'Not on these data: {"; ".join(found["left_out"])}.')
  return [*intro, command]


_LEGEND = (
  'Ours: the averaged generator where a run keeps one; mean ± standard '
  'deviation over seeds (how many). Last: at the last step, of the seeds that '
  'reached it. Best: of the evaluated checkpoints, also of seeds that diverged '
  'later. Device-seconds are those of the training steps, shared evenly by '
  'seeds that were trained together; where the program was compiled or '
  'evaluated beside them, they count at their median speed elsewhere.'
)


def _sections(found, pictures):
  sections = []
  for number, (protocol, shown) in enumerate(table.tables(found)):
    more = f' ({number + 1})' if number else ''
    paragraphs = [('How', protocol_words(protocol)), ('Legend', _LEGEND)]
    paragraphs += _notes(found, protocol) if protocol else []
    paragraphs += [] if number else _missing(found)
    sections.append(
      report.Section(f'table-{number}', f'Table{more}', paragraphs, (), shown)
    )
  sections.append(report.Section('figures', 'Figures', [], pictures))
  times = table.equal_time(found)
  if times is not None:
    words = (
      'At the largest device-seconds that all finished seeds of both rows '
      'reached: the last evaluation up to there. A seed that diverged before '
      'is left out.'
    )
    sections.append(
      report.Section(
        'time', 'At equal device-seconds', [('How', words)], (), times
      )
    )
  claims = table.claims(found)
  if claims is not None:
    words = (
      'Differences of means over seeds with 95 % intervals of Welch (of shares '
      'that diverged: Newcombe). A claim holds, or is contradicted, where the '
      'whole interval lies on one side of 0; else it is not decided.'
    )
    sections.append(
      report.Section('claims', 'Claims', [('How', words)], (), claims)
    )
  return sections


def protocol_words(protocol: str) -> str:
  """The key of `collect.protocol_of`, in words."""
  if not protocol:
    return 'nothing was measured yet.'
  rest, known = json.loads(protocol)
  words = [f'{k.replace("_", " ")} {_short(v)}' for k, v in known.items()]
  if rest['draws'] > 1:
    words.append(f'the mean of {rest["draws"]} draws')
  return (
    f'{rest["num_samples"]:,} samples against {rest["dataset"]}, split '
    f'{rest["split"]}; {", ".join(words)}.'
  )


def differences(protocols: Iterable[str]) -> dict[str, str]:
  """Protocol -> in words, what of it is not the same in all of them."""
  told = {protocol: _settings(protocol) for protocol in protocols}
  names = dict.fromkeys(name for settings in told.values() for name in settings)
  alike = lambda name: len({_said(name, s) for s in told.values()}) == 1
  differ = [name for name in names if not alike(name)]
  return {
    protocol: ', '.join(_said(name, settings) for name in differ)
    for protocol, settings in told.items()
  }


def _settings(protocol):
  """All of a protocol but the note, which follows from the rest."""
  rest, known = json.loads(protocol)
  return {k: v for k, v in (rest | known).items() if k != 'note'}


def _said(name, settings):
  words = name.replace('_', ' ')
  if name not in settings:
    return f'no {words}'
  return f'{words} {_short(settings[name])}'


def _short(value):
  if isinstance(value, list):
    return ' x '.join(map(str, value))
  return str(value)


def _notes(found, protocol):
  rows = [r for r in found['rows'] if r['protocol'] == protocol and r['note']]
  return [(row['name'], row['note']) for row in rows]


def _missing(found):
  """What has failed or is not there yet, row by row."""
  words = []
  for row in found['rows']:
    if row['failed']:
      words.append((f'Failed: {row["name"]}', row['failed']))
    elif table.unfinished(row):
      words.append((f'Open: {row["name"]}', table.unfinished(row)))
    for seed in row['seeds']:
      if seed['state'] == 'diverged':
        title = f'Diverged: {row["name"]}, seed {seed["seed"]}'
        words.append((title, f'at step {seed["step"]:,}: {seed["reason"]}'))
  return words


def lines(found: dict[str, Any]) -> list[str]:
  """The same for a terminal."""
  told = []
  for protocol, shown in table.tables(found):
    told += ['', *table.lines(shown), protocol_words(protocol)]
  for shown in (table.equal_time(found), table.claims(found)):
    told += [] if shown is None else ['', *table.lines(shown)]
  told += [f'{title}: {words}' for title, words in _missing(found)]
  return told
