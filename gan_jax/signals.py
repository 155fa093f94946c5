"""SIGINT and SIGTERM end a run where it can be taken up again."""

import contextlib
import signal
from collections.abc import Callable, Iterator


class Interrupted(Exception):
  """A signal ended what was going on; the message says what is left behind."""

  def __init__(self, words: str, signum: int):
    super().__init__(f'{signal.Signals(signum).name}: {words}')
    self.signum = signum


@contextlib.contextmanager
def collected(
  wake: Callable[[], None] = lambda: None,
) -> Iterator[list[int]]:
  """Collects SIGINT and SIGTERM, so that what is going on can end.

  Args:
    wake: called at each signal.
  """
  received = []

  def handler(signum, frame):
    del frame
    received.append(signum)
    wake()

  kept = {}
  with contextlib.suppress(ValueError):  # only the main thread may
    for signum in (signal.SIGINT, signal.SIGTERM):
      kept[signum] = signal.signal(signum, handler)
  try:
    yield received
  finally:
    for signum, before in kept.items():
      signal.signal(signum, before)
