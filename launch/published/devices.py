"""Which accelerators there are, and which of them a program is to see.

Without JAX: a program that asks it for GPUs takes their memory.
"""

import glob
import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import NamedTuple


class Devices(NamedTuple):
  """Accelerators of this machine.

  Attributes:
    kind: 'gpu', 'tpu' or 'cpu'.
    names: by which a program is told its own; one '' for a CPU.
  """

  kind: str
  names: tuple[str, ...]


def visible(environ: Mapping[str, str] = os.environ) -> Devices:
  """What programs started from here would see."""
  platforms = environ.get('JAX_PLATFORMS', '')
  if platforms.split(',')[0] == 'cpu':
    return Devices('cpu', ('',))
  gpus = _gpus(environ)
  if gpus:
    return Devices('gpu', gpus)
  chips = _chips(environ)
  return Devices('tpu', chips) if chips else Devices('cpu', ('',))


def _gpus(environ):
  chosen = environ.get('CUDA_VISIBLE_DEVICES')
  if chosen is not None:
    names = (name.strip() for name in chosen.split(','))
    return tuple(name for name in names if name and name != '-1')
  if shutil.which('nvidia-smi') is None:
    return ()
  command = ['nvidia-smi', '--query-gpu=index', '--format=csv,noheader']
  try:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
  except (OSError, subprocess.TimeoutExpired):
    return ()
  lines = done.stdout.split() if done.returncode == 0 else []
  return tuple(line for line in lines if line.isdecimal())


def _chips(environ):
  chosen = environ.get('TPU_VISIBLE_CHIPS')
  if chosen:
    return tuple(chosen.split(','))
  return tuple(map(str, range(len(glob.glob('/dev/accel[0-9]*')))))


def check_at_once(devices: Devices, at_once: int) -> None:
  """Raises ValueError where so many programs cannot run side by side."""
  if at_once < 1:
    raise ValueError(f'--at_once={at_once} must be at least 1.')
  if devices.kind == 'tpu' and at_once > len(devices.names):
    raise ValueError(
      f'--at_once={at_once} is more than the {len(devices.names)} TPU chips '
      'here, and a chip runs one program at a time.'
    )


def environment(devices: Devices, slot: int, at_once: int) -> dict[str, str]:
  """What is added to the environment of one of several programs.

  One alone sees all devices. Side by side each has one; where there are more
  programs than GPUs, they share its memory evenly.

  Args:
    devices: of the machine.
    slot: which of the programs, from 0.
    at_once: how many there are.
  """
  if at_once == 1 or devices.kind == 'cpu':
    return {}
  count = len(devices.names)
  name = devices.names[slot % count]
  if devices.kind == 'tpu':
    bounds = ('TPU_CHIPS_PER_PROCESS_BOUNDS', 'TPU_PROCESS_BOUNDS')
    return dict.fromkeys(bounds, '1,1,1') | {'TPU_VISIBLE_CHIPS': name}
  added = {'CUDA_VISIBLE_DEVICES': name}
  sharing = -(-at_once // count)
  if sharing > 1:
    added['XLA_PYTHON_CLIENT_MEM_FRACTION'] = f'{0.9 / sharing:.2f}'
  return added


def share(devices: Devices, at_once: int) -> float:
  """Devices that one of the programs has; below 1 where they share one."""
  count = len(devices.names)
  if at_once == 1:
    return float(count)
  return min(1.0, count / at_once)
