"""The theory lab: what the papers claim, computed, as tables and pictures.

python -m launch.theory --experiment=NAME|all --out=DIR [--quick]
    [--data_dir=DIR]

Every experiment prints paper against ours and writes NAME.json and its figures
to DIR; all that were run are put on one page, DIR/index.html, which needs no
other file. --quick is the same at a reduced size, all of it in four minutes on
two cores. At full size most take minutes there, but two_d half an hour and
mixtures hours: those want a GPU.
--data_dir holds prepared TensorFlow Datasets: two experiments also play on
MNIST where it is there.

Exit code 1 if a number with a closed form is not what it should be. What
contradicts a paper's finding is reported, and is no error.
"""

import json
import os
import pathlib
import sys
import time
import traceback
from collections.abc import Callable

import jax

from gan_jax import report
from launch import arguments
from launch.lab import (
  bad_start,
  competitive,
  continuous_games,
  dirac,
  divergences,
  landscape,
  mixtures,
  result,
  two_clusters,
  two_d,
)

EXPERIMENTS: dict[str, Callable[[result.Settings], result.Result]] = dict(
  landscape=landscape.run,
  two_clusters=two_clusters.run,
  mixtures=mixtures.run,
  divergences=divergences.run,
  continuous_games=continuous_games.run,
  dirac=dirac.run,
  two_d=two_d.run,
  competitive=competitive.run,
  bad_start=bad_start.run,
)
_HEADER = ('quantity', 'paper', 'ours', 'agrees', 'settings')


def cells(row: result.Row) -> tuple[str, ...]:
  """A row as text, in the order of the header."""
  agrees = {None: '', True: 'yes', False: 'NO'}[row.holds]
  return (
    row.quantity,
    number(row.paper),
    number(row.ours),
    agrees + ' (exact)' * (row.exact and row.holds is not None),
    row.settings,
  )


def number(value: float | str | None) -> str:
  """Seven digits of a number; text as it is."""
  if value is None:
    return '-'
  return value if isinstance(value, str) else f'{float(value):.7g}'


def text_table(rows: list[tuple[str, ...]]) -> str:
  """Columns under each other, for a terminal."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = (
    '  '.join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))
    for row in rows
  )
  return '\n'.join(line.rstrip() for line in lines)


def wrong(found: result.Result) -> list[result.Row]:
  """The rows with a closed form that do not agree with it."""
  return [row for row in found.rows if row.exact and not row.holds]


def record(found: result.Result, settings: result.Settings) -> dict:
  """What the JSON file holds."""
  return result.plain(
    dict(
      title=found.title,
      claim=found.claim,
      protocol=found.protocol,
      seen=found.seen,
      verdict=found.verdict,
      rows=[row._asdict() for row in found.rows],
      numbers=found.numbers,
      figures=[
        dict(file=figure.path.name, caption=figure.caption)
        for figure in found.figures
      ],
      quick=settings.quick,
      machine=describe_machine(),
    )
  )


def describe_machine() -> str:
  """Device and version, for the record."""
  return f'{jax.devices()[0].device_kind}, jax {jax.__version__}'


def write(name: str, saved: dict, out: pathlib.Path) -> None:
  """Writes `out/name.json`, whole or not at all."""
  whole = json.dumps(saved, indent=1, allow_nan=False)
  unfinished = out / f'.{name}.json.part'
  unfinished.write_text(whole)
  unfinished.replace(out / f'{name}.json')


def section(name: str, saved: dict, out: pathlib.Path) -> report.Section:
  """A section of the page, from what the JSON file holds."""
  rows = [result.Row(**row) for row in saved['rows']]
  size = 'reduced size (--quick)' if saved['quick'] else 'full size'
  paragraphs = [
    ('Claim', saved['claim']),
    ('Protocol', saved['protocol']),
    ('Seen', saved['seen']),
    ('Verdict', saved['verdict']),
    ('Run', f'{size}; {saved["machine"]}; {saved["seconds"]:.0f} s'),
  ]
  pictures = [
    report.Picture(out / figure['file'], figure['caption'])
    for figure in saved['figures']
  ]
  against = [row.holds is False for row in rows]
  table = report.Table(_HEADER, [cells(row) for row in rows], against)
  return report.Section(name, saved['title'], paragraphs, pictures, table)


def write_page(out: pathlib.Path) -> pathlib.Path:
  """One page of all experiments whose results lie in the folder.

  Beside it theory.md, the same without the rows that a closed form decides, if
  they agree.

  Raises:
    ValueError: a file of that name is not a result.
  """
  paths = {name: out / f'{name}.json' for name in EXPERIMENTS}
  sections = [
    _read_section(name, path) for name, path in paths.items() if path.exists()
  ]
  title = 'gan_jax theory lab'
  intro = (
    'What the papers on adversarial training claim about small games, computed '
    'with the losses, regularizers and game optimizers that train the image '
    'models. "exact" rows have a closed form, or a number in a paper that '
    'follows from one; the others are findings. Rows on red do not agree.',
  )
  text = report.page(title, intro, sections)
  path = out / 'index.html'
  path.write_text(text)
  short = [_findings(section) for section in sections]
  (out / 'theory.md').write_text(report.markdown(title, (), short))
  return path


def _findings(section):
  """The section with its exact rows counted instead of shown."""
  agree = _HEADER.index('agrees')
  exact = [row for row in section.table.rows if row[agree] == 'yes (exact)']
  rows = [row for row in section.table.rows if row not in exact]
  counted = ('Exact', f'{len(exact)} numbers agree with their closed form.')
  return section._replace(
    paragraphs=[*section.paragraphs, counted],
    table=section.table._replace(rows=rows, against=()),
  )


def _read_section(name, path):
  try:
    return section(name, json.loads(path.read_text()), path.parent)
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f'{path} is not a result of this lab ({type(error).__name__}: {error}); '
      'move it elsewhere, or run its experiment again.'
    ) from error


def play(name: str, settings: result.Settings) -> bool:
  """Runs one experiment, prints and writes it; whether all is as it must be."""
  print(f'== {name}', flush=True)
  # What is there is of a run before; a run that breaks must not leave it.
  (settings.out / f'{name}.json').unlink(missing_ok=True)
  began = time.perf_counter()
  found = EXPERIMENTS[name](settings)
  seconds = time.perf_counter() - began
  saved = record(found, settings) | dict(seconds=seconds)
  write(name, saved, settings.out)
  print(text_table([_HEADER, *map(cells, found.rows)]))
  print(f'{found.seen}\n{found.verdict}\n{seconds:.1f} s', flush=True)
  for row in wrong(found):
    said = f'{row.quantity} is {number(row.ours)}, not {number(row.paper)}'
    print(f'error: {name}: {said}.', file=sys.stderr)
  return not wrong(found)


def run_all(names: list[str], settings: result.Settings) -> bool:
  """Runs the experiments one after another; one that breaks stops no other."""
  passed = True
  for name in names:
    try:
      passed &= play(name, settings)
    except Exception as error:  # the others' results are worth having
      if not isinstance(error, ValueError | RuntimeError | ImportError):
        traceback.print_exc()
      print(f'error: {name}: {" ".join(str(error).split())}', file=sys.stderr)
      passed = False
  return passed


def _folder(parser, text):
  out = pathlib.Path(text)
  try:
    out.mkdir(parents=True, exist_ok=True)
    probe = out / '.writable'
    probe.touch()
    probe.unlink()
  except OSError as error:
    parser.error(f'--out={text} cannot be written to: {error.strerror}.')
  return out


def main(argv: list[str] | None = None) -> int:
  """Runs what was asked for; returns the exit code."""
  parser = arguments.Parser(__doc__)
  names = ', '.join(EXPERIMENTS)
  parser.add_argument('--experiment', required=True, help=f'{names}, or all')
  parser.add_argument('--out', default='runs/theory')
  parser.add_argument('--quick', action='store_true', help='a reduced size')
  parser.add_argument('--data_dir', help='holds mnist, prepared')
  flags = parser.parse_args(argv)
  wanted = flags.experiment.split(',')
  if flags.experiment == 'all':
    wanted = list(EXPERIMENTS)
  unknown = [name for name in wanted if name not in EXPERIMENTS]
  if unknown:
    parser.error(f'--experiment={unknown[0]} is not one of: {names}, all.')
  if flags.data_dir and not os.path.isdir(flags.data_dir):
    parser.error(f'--data_dir={flags.data_dir} is not a folder.')
  out = _folder(parser, flags.out)
  settings = result.Settings(out, flags.quick, flags.data_dir)
  passed = run_all(wanted, settings)
  try:
    print(f'page: {write_page(out)}')
  except (ValueError, OSError) as error:
    parser.error(f'no page was written: {error}')
  return 0 if passed else 1


if __name__ == '__main__':
  sys.exit(main())
