"""Results as one HTML page that needs no other file, and as Markdown."""

import base64
import html
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

_MIME = {'.png': 'image/png', '.gif': 'image/gif'}
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, sans-serif; color: #1d2330; margin: 0 auto;
  max-width: 62rem; padding: 2rem 1.2rem 6rem; background: #fff; }
h1 { font-size: 1.9rem; line-height: 1.2; }
h2 { margin-top: 4rem; padding-top: 1rem; border-top: 2px solid #1d2330; }
nav ol { columns: 2; padding-left: 1.4rem; }
dl { display: grid; grid-template-columns: 6.5rem 1fr; gap: .5rem 1rem; }
dt { font-weight: 600; } dd { margin: 0; }
figure { margin: 2rem 0; } img { max-width: 100%; }
figcaption { color: #4a5263; font-size: .92rem; }
.scroll { overflow-x: auto; max-height: 36rem; overflow-y: auto; }
table { border-collapse: collapse; font-size: .87rem; width: 100%; }
th, td { text-align: left; padding: .3rem .7rem; vertical-align: top;
  border-bottom: 1px solid #dfe3ea; }
th { position: sticky; top: 0; background: #f3f5f9; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.against td { background: #fdeeee; }
summary { cursor: pointer; font-weight: 600; }
a { color: #2e6f95; }
"""


class Table(NamedTuple):
  """Rows of text.

  Attributes:
    header: a title for each column.
    rows: cells, as many as there are titles.
    against: for each row, whether to mark it; or nothing.
  """

  header: Sequence[str]
  rows: Sequence[Sequence[str]]
  against: Sequence[bool] = ()


class Picture(NamedTuple):
  """A PNG or GIF file and what it shows."""

  path: pathlib.Path
  caption: str


class Section(NamedTuple):
  """A heading, labelled paragraphs, pictures and a table.

  Attributes:
    name: a word, for links.
    title: the heading.
    paragraphs: (label, text) pairs.
    pictures: in order.
    table: or None.
  """

  name: str
  title: str
  paragraphs: Sequence[tuple[str, str]]
  pictures: Sequence[Picture] = ()
  table: Table | None = None


def page(title: str, intro: Sequence[str], sections: Sequence[Section]) -> str:
  """The whole page; pictures are embedded.

  Args:
    title: the first heading.
    intro: paragraphs under it.
    sections: in order; their names must differ.

  Raises:
    ValueError: a picture is neither PNG nor GIF, names repeat, or a table's row
      has too many or too few cells.
    FileNotFoundError: a picture is not there.
  """
  names = [section.name for section in sections]
  if len(set(names)) < len(names):
    raise ValueError(f'sections have names of their own, got {names}.')
  links = ''.join(
    f'<li><a href="#{_text(s.name)}">{_text(s.title)}</a></li>'
    for s in sections
  )
  first = ''.join(f'<p>{_text(line)}</p>' for line in intro)
  body = ''.join(_section(section) for section in sections)
  return (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<title>{_text(title)}</title><style>{_STYLE}</style></head><body>'
    f'<h1>{_text(title)}</h1>{first}<nav><ol>{links}</ol></nav>{body}'
    '</body></html>\n'
  )


def markdown(
  title: str, intro: Sequence[str], sections: Sequence[Section]
) -> str:
  """The same as text; pictures are links to files beside it."""
  parts = [f'# {title}', *intro]
  for section in sections:
    parts.append(f'## {section.title}')
    parts += [f'**{label}.** {text}' for label, text in section.paragraphs]
    if section.table is not None and section.table.rows:
      parts.append(_markdown_table(section.table))
    for path, caption in section.pictures:
      path = pathlib.Path(path)
      parts += [f'![{path.stem}]({path.name})', caption]
  return '\n\n'.join(parts) + '\n'


def _markdown_table(table):
  lines = [table.header, ['---'] * len(table.header), *table.rows]
  escape = lambda cell: str(cell).replace('|', '\\|')
  return '\n'.join(f'| {" | ".join(map(escape, line))} |' for line in lines)


def _section(section):
  paragraphs = ''.join(
    f'<dt>{_text(label)}</dt><dd>{_text(text)}</dd>'
    for label, text in section.paragraphs
  )
  pictures = ''.join(_picture(picture) for picture in section.pictures)
  table = '' if section.table is None else _table(section.table)
  return (
    f'<section id="{_text(section.name)}"><h2>{_text(section.title)}</h2>'
    f'<dl>{paragraphs}</dl>{pictures}{table}</section>'
  )


def _picture(picture):
  path = pathlib.Path(picture.path)
  mime = _MIME.get(path.suffix)
  if mime is None:
    raise ValueError(f'{path} is not one of {sorted(_MIME)}.')
  data = base64.b64encode(path.read_bytes()).decode()
  caption = _text(picture.caption)
  return (
    f'<figure><img alt="{caption}" loading="lazy" '
    f'src="data:{mime};base64,{data}"><figcaption>{caption}</figcaption>'
    '</figure>'
  )


def _table(table):
  marks = table.against or [False] * len(table.rows)
  head = ''.join(f'<th>{_text(cell)}</th>' for cell in table.header)
  body = ''.join(
    _row(row, mark, len(table.header))
    for row, mark in zip(table.rows, marks, strict=True)
  )
  return (
    f'<details open><summary>{len(table.rows)} rows</summary>'
    f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
    f'<tbody>{body}</tbody></table></div></details>'
  )


def _row(cells, against, width):
  if len(cells) != width:
    raise ValueError(f'a row of {len(cells)} cells, where {width} belong.')
  mark = ' class="against"' if against else ''
  text = ''.join(f'<td>{_text(cell)}</td>' for cell in cells)
  return f'<tr{mark}>{text}</tr>'


def _text(text):
  return html.escape(str(text))
