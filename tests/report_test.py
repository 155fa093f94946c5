"""The page is whole, needs no other file, and shows text as text."""

import base64
import html.parser

import pytest

from gan_jax import report

PIXEL = base64.b64decode(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6'
  'kgAAAABJRU5ErkJggg=='
)


class Reader(html.parser.HTMLParser):
  """Collects links, sources, tags and text, and checks that tags close."""

  VOID = {'meta', 'img'}

  def __init__(self, text):
    super().__init__()
    self.open, self.found, self.text = [], [], []
    self.feed(text)
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.found.append((tag, dict(attrs)))
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)

  def all(self, tag):
    return [attrs for name, attrs in self.found if name == tag]


@pytest.fixture
def picture(tmp_path):
  path = tmp_path / 'a.png'
  path.write_bytes(PIXEL)
  return report.Picture(path, 'one "pixel"')


def section(name='one', **fields):
  return report.Section(
    name, f'Title of {name}', [('Claim', 'x < y')], **fields
  )


def test_a_page_needs_no_other_file(picture):
  page = Reader(report.page('Lab', ['Hello.'], [section(pictures=[picture])]))
  (image,) = page.all('img')
  kind, _, data = image['src'].partition(',')
  assert kind == 'data:image/png;base64'
  assert base64.b64decode(data) == PIXEL
  assert image['alt'] == 'one "pixel"'
  assert not page.all('script') and not page.all('link')
  assert [a['href'] for a in page.all('a')] == ['#one']
  assert [s['id'] for s in page.all('section')] == ['one']


def test_text_is_text():
  table = report.Table(['<b>'], [['a & b'], ['c']], [False, True])
  page = Reader(report.page('<Lab>', [], [section(table=table)]))
  assert {'<b>', 'a & b', 'x < y', '<Lab>'} <= set(page.text)
  assert not page.all('b')
  assert [row.get('class') for row in page.all('tr')] == [None, None, 'against']


def test_what_cannot_be_shown_is_refused(tmp_path, picture):
  with pytest.raises(ValueError, match=r"names of their own.*'one', 'one'"):
    report.page('Lab', [], [section(), section()])
  bad = picture._replace(path=tmp_path / 'a.tiff')
  with pytest.raises(
    ValueError, match=r"a\.tiff is not one of \['.gif', '.png"
  ):
    report.page('Lab', [], [section(pictures=[bad])])
  lost = picture._replace(path=tmp_path / 'b.png')
  with pytest.raises(FileNotFoundError, match=r'b\.png'):
    report.page('Lab', [], [section(pictures=[lost])])
  table = report.Table(['a', 'b'], [['1']])
  with pytest.raises(ValueError, match='a row of 1 cells, where 2 belong'):
    report.page('Lab', [], [section(table=table)])


def test_markdown_has_the_same_parts(picture):
  table = report.Table(['a', 'b'], [['1|2', '3']])
  text = report.markdown(
    'Lab', ['Hello.'], [section(pictures=[picture], table=table)]
  )
  assert text == (
    '# Lab\n\nHello.\n\n## Title of one\n\n**Claim.** x < y\n\n'
    '| a | b |\n| --- | --- |\n| 1\\|2 | 3 |\n\n'
    '![a](a.png)\n\none "pixel"\n'
  )
