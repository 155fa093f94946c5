"""What a published table is: its rows, what the paper says, what is claimed."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

# field of a config, with dots -> value
Changes = Mapping[str, Any]


class Row(NamedTuple):
  """One line of a table: a config and what the paper found with it.

  Attributes:
    name: what --rows takes and what its folder is called, commas in it become
      dashes there; unique within a study.
    config: file and argument, as --config takes it.
    paper: metric -> what the paper says, as text ('49.13', '6.27 +- 0.10');
      {} where it says nothing.
    changes: fields that are not to be what the config says.
    group: the figure and the part of the table that it belongs to.
    note: what a reader has to know, or ''.
  """

  name: str
  config: str
  paper: Mapping[str, str] = {}
  changes: Changes = {}
  group: str = ''
  note: str = ''


class Claim(NamedTuple):
  """That one row is better than another; judged over seeds.

  Attributes:
    text: the claim in a sentence, with its source.
    better: name of a row.
    worse: name of a row.
    metric: of `evaluation.json`, 'diverged' for the share of seeds that did,
      or None for the study's own.
    holds_if: 'lower' or 'higher': which value of the metric is better; where
      `metric` is None, the one that the metric says.
    than: (better, worse) of a smaller gap: then the claim is that the gap
      between the two rows is the bigger one.
    at: 'last', 'best' (of the evaluated checkpoints) or 'equal_time' (the last
      evaluation within the device-seconds that both rows reached).
  """

  text: str
  better: str
  worse: str
  metric: str | None = None
  holds_if: str = 'lower'
  than: tuple[str, str] | None = None
  at: str = 'last'


class StandIn(NamedTuple):
  """Other data for the same rows: what can be seen without a GPU.

  Attributes:
    name: what --data takes, a data set.
    about: a sentence: what is kept of the study, what is not.
    change: row -> fields that are not to be what the row says, or None where
      the row has no counterpart.
    metric: what is compared, a metric of `evaluation.json`.
    extra: rows that only this data set has; `change` is called on them too.
    needs_data_dir: whether the data come from --data_dir.
    evaluate_every: steps between evaluations; 0 for the study's.
  """

  name: str
  about: str
  change: Callable[[Row], Changes | None]
  metric: str = 'frechet'
  extra: tuple[Row, ...] = ()
  needs_data_dir: bool = False
  evaluate_every: int = 0


class Study(NamedTuple):
  """A published table.

  Attributes:
    name: of the launcher, 'cifar10_landscape'.
    title: a heading.
    intro: paragraphs: paper, protocol, what differs.
    rows: in the paper's order.
    data: the data set of the table; the first value of --data.
    metric: what is compared and by which the best checkpoint is chosen.
    claims: that are judged over seeds, where both rows were run.
    stand_ins: other data sets for the same rows.
    evaluate_every: steps between evaluations at full length.
    num_samples: of each evaluation.
    metrics: what is measured, words of `metrics.compare.METRICS`; () where
      the data have metrics of their own (modes).
    features: the feature net by default; '' where the data need none.
    seeds: how many by default.
    quick: fields of a run that only shows that everything works.
    get_data: how to get the data, a sentence or two with the command.
    expensive: names of rows that only run when --rows names them.
    equal_counts: whether as many real images as samples are compared with, so
      that the floor is at the same counts.
    equal_time: pairs of rows that are compared at equal device-seconds.
    generators: whether --generators brings released generators as rows.
  """

  name: str
  title: str
  intro: tuple[str, ...]
  rows: tuple[Row, ...]
  data: str
  metric: str = 'frechet'
  claims: tuple[Claim, ...] = ()
  stand_ins: tuple[StandIn, ...] = ()
  evaluate_every: int = 5000
  num_samples: int = 10_000
  metrics: tuple[str, ...] = ('frechet',)
  features: str = 'inception'
  seeds: int = 3
  quick: Changes = {}
  get_data: str = ''
  expensive: tuple[str, ...] = ()
  equal_counts: bool = False
  equal_time: tuple[tuple[str, str], ...] = ()
  generators: bool = False
