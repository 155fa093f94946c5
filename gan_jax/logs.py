"""Where the numbers of a run go: the terminal, JSON lines, TensorBoard."""

import json
import math
import pathlib
import threading
import time
from typing import Any

import numpy as np

_BAR_WIDTH = 20


class Writer:
  """Appends one object a logged step to `metrics.jsonl` and TensorBoard.

  Numbers of an evaluation are an object of their own, when they are there.
  """

  def __init__(self, workdir: pathlib.Path, *, start: int):
    # Imported here: it takes a second, and only a training run needs it.
    import tensorboardX

    self._lines = open(workdir / 'metrics.jsonl', 'a')  # noqa: SIM115
    self._lock = threading.Lock()  # lines come from two threads
    # Events after `start` belong to the part of a run that was lost.
    self._events = tensorboardX.SummaryWriter(
      str(workdir / 'tensorboard'), purge_step=start + 1, flush_secs=30
    )

  def write(self, step: int, numbers: dict[str, Any]) -> None:
    """Writes scalars; one that is not finite becomes null."""
    numbers = {k: _finite(v) for k, v in numbers.items()}
    with self._lock:
      self._lines.write(json.dumps({'step': step, **numbers}) + '\n')
      self._lines.flush()
    for name, value in numbers.items():
      if value is not None:
        self._events.add_scalar(name, value, step)

  def image(self, step: int, path: pathlib.Path) -> None:
    """Shows a picture file in TensorBoard."""
    from PIL import Image

    with Image.open(path) as picture:
      pixels = np.asarray(picture.convert('RGB'))
    self._events.add_image('samples', pixels, step, dataformats='HWC')

  def close(self) -> None:
    """Flushes and closes both."""
    self._lines.close()
    self._events.close()


def _finite(value):
  value = float(value)
  return value if math.isfinite(value) else None


class Clock:
  """Steps a second.

  The first call compiles, so the clock starts when it has ended.
  """

  def __init__(self, step: int):
    self.restart(step)

  def restart(self, step: int) -> None:
    """Leaves out what happened since the last reading."""
    self._step, self._time = step, time.monotonic()

  def read(self, step: int) -> float:
    """Steps a second since the last reading; NaN where there were none."""
    now, steps = time.monotonic(), step - self._step
    rate = steps / max(now - self._time, 1e-9) if steps else math.nan
    self._step, self._time = step, now
    return rate


def line(
  step: int, num_steps: int, rate: float, numbers: dict[str, Any]
) -> str:
  """One readable line: a progress bar, the speed, the time left, the losses."""
  share = step / num_steps
  done = round(share * _BAR_WIDTH)
  bar = '#' * done + '.' * (_BAR_WIDTH - done)
  shown = '  '.join(f'{k} {v:.4g}' for k, v in numbers.items())
  return (
    f'[{bar}] {step:>{len(str(num_steps))}}/{num_steps}  '
    f'{_pace(rate, num_steps - step)}  {shown}'
  )


def _pace(rate, steps):
  if math.isnan(rate):
    return 'compiled'
  return f'{rate:.4g} steps/s  {duration(steps / rate)} left'


def duration(seconds: float) -> str:
  """`1:02:03` or `2:03`."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f'{hours}:{minutes:02d}:{seconds:02d}'
  return f'{minutes}:{seconds:02d}'
