"""What an experiment of the theory lab gives back: rows, numbers, figures."""

import math
import pathlib
from typing import Any, NamedTuple

import numpy as np


class Settings(NamedTuple):
  """How an experiment is run.

  Attributes:
    out: a folder that exists, for figures.
    quick: the same at a reduced size, in well under a minute and a half.
    data_dir: prepared TensorFlow Datasets, or None.
  """

  out: pathlib.Path
  quick: bool = False
  data_dir: str | None = None


class Row(NamedTuple):
  """One line of the table.

  Attributes:
    quantity: what was computed.
    paper: what the paper or its closed form says; None where it is silent.
    ours: what came out.
    settings: seeds, steps, sizes; what a reader needs to judge the row.
    holds: whether the two agree; None where there is nothing to judge.
    exact: whether they must agree: a closed form, not a finding.
  """

  quantity: str
  paper: float | str | None
  ours: float | str
  settings: str = ''
  holds: bool | None = None
  exact: bool = False


class Figure(NamedTuple):
  """A picture that an experiment wrote.

  Attributes:
    path: PNG or GIF.
    caption: its one message.
  """

  path: pathlib.Path
  caption: str


class Result(NamedTuple):
  """One experiment, as a section of the page.

  Attributes:
    title: a short heading.
    claim: what the papers say, with their names.
    protocol: what was computed, with sizes and seeds.
    seen: what came out, in words, made from the numbers.
    verdict: one sentence.
    rows: of the table.
    numbers: plain lists, dicts, strings and numbers, for the JSON file.
    figures: written to `Settings.out`.
  """

  title: str
  claim: str
  protocol: str
  seen: str
  verdict: str
  rows: tuple[Row, ...]
  numbers: dict[str, Any]
  figures: tuple[Figure, ...]


def exact(
  quantity: str, paper: float, ours: float, margin: float, settings: str = ''
) -> Row:
  """A row whose two numbers must agree, to an absolute margin.

  NaN never agrees.
  """
  paper, ours = float(paper), float(ours)
  same = paper == ours  # infinities
  holds = same or abs(paper - ours) <= margin
  return Row(quantity, paper, ours, settings, bool(holds), exact=True)


def finding(
  quantity: str,
  paper: float | str | None,
  ours: float | str,
  holds: bool | None,
  settings: str = '',
) -> Row:
  """A row of an experiment that may go against the paper."""
  return Row(
    quantity, paper, ours, settings, None if holds is None else bool(holds)
  )


def worst(values: Any) -> float:
  """The largest of numbers, and nan if one of them is: `max` may drop it."""
  return float(np.max(np.asarray(values, np.float64)))


def plain(value: Any) -> Any:
  """JSON without nan and inf: those become null and '+-inf'."""
  if hasattr(value, 'tolist'):
    value = value.tolist()
  if isinstance(value, dict):
    return {str(key): plain(x) for key, x in value.items()}
  if isinstance(value, list | tuple):
    return [plain(x) for x in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None if math.isnan(value) else f'{value:+}'
  return value
