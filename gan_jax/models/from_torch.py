"""Variables from PyTorch's state dictionaries, and back; needs no PyTorch.

A layer's path in `params`, with '.' for '/', is the prefix of its PyTorch keys:

  Dense, Conv, ConvTranspose   weight, bias
  BatchNorm                    weight, bias, running_mean, running_var
  Embed                        weight

Under spectral normalization a weight is called weight_orig, and weight_u is our
`u`. PyTorch also keeps weight_v, the other side of its last power iteration. We
take the v that belongs to u, so before u has converged sigma here is ahead of
PyTorch's stored one by half an iteration.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from gan_jax.models import options, torch_layout


def from_torch(
  module: nn.Module, state_dict: Mapping[str, Any]
) -> dict[str, Any]:
  """Variables of a module from the weights of its twin in PyTorch.

  Args:
    module: one of our networks, with the options of the one that was saved.
    state_dict: PyTorch's names and arrays, anything that `np.asarray` takes:
      of a tensor `x`, in doubt, `x.detach().cpu().float().numpy()`.
      `num_batches_tracked` and `weight_v` are not used and may be missing.

  Returns:
    What `module.init` would give, float32, with these weights.

  Raises:
    ValueError: it is no mapping, or entries are missing, surplus, misshapen,
      not numbers, not finite, or not what they are called: a negative
      `running_var`, a `weight_u` that is no unit vector. All of them are named,
      with shapes in PyTorch's order.
  """
  _check_mapping('state_dict', state_dict)
  entries = torch_layout.entries(module)
  unused = _unused(entries)
  used = {k: v for k, v in state_dict.items() if k not in unused}
  expected = {entry.key: entry.shape for entry in entries}
  arrays = _arrays('state_dict', module, used, expected, _content_problem)
  found = {}
  for entry in entries:
    value = entry.read(arrays[entry.key].astype(np.float32))
    found[entry.path] = jnp.asarray(value)
  return traverse_util.unflatten_dict(found, sep='/')


def to_torch(
  module: nn.Module, variables: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """The weights under PyTorch's names and in its orders.

  A plain dictionary of these as tensors is what PyTorch's `load_state_dict`
  takes, which sets `num_batches_tracked` by itself.

  Args:
    module: one of our networks.
    variables: its variables, as `init` or `from_torch` give them.

  Returns:
    A new array for each name, float32. `from_torch` gives the same variables.

  Raises:
    ValueError: entries of `variables` are missing, surplus or misshapen.
  """
  _check_mapping('variables', variables)
  entries = torch_layout.entries(module)
  flat = traverse_util.flatten_dict(dict(variables), sep='/')
  expected = {entry.path: entry.our_shape for entry in entries}
  arrays = _arrays('variables', module, flat, expected)
  state = {}
  for entry in entries:
    value = entry.write(arrays[entry.path].astype(np.float32))
    state[entry.key] = np.array(value, order='C')
  for key in [key for key in state if key.endswith('.weight_u')]:
    state[key[:-1] + 'v'] = _right_vector(state, key.removesuffix('_u'))
  return state


def _unused(entries: list[torch_layout.Entry]) -> set[str]:
  """What PyTorch saves beside these entries and we have no use for."""
  beside = {'running_mean': 'num_batches_tracked', 'weight_u': 'weight_v'}
  keys = set()
  for entry in entries:
    layer, _, suffix = entry.key.rpartition('.')
    if suffix in beside:
      keys.add(f'{layer}.{beside[suffix]}')
  return keys


def _right_vector(state: dict[str, np.ndarray], weight: str) -> np.ndarray:
  """The unit v for which u^T W v is ||W^T u||, W being `[out, rest]`."""
  u = state[f'{weight}_u']
  kernel = state[f'{weight}_orig']
  v = kernel.reshape(len(u), -1).T @ u
  return v / max(np.linalg.norm(v), np.finfo(np.float32).tiny)


def _check_mapping(what: str, given: Any) -> None:
  if not isinstance(given, Mapping):
    raise ValueError(
      f'{what} is of type {type(given).__name__}, not a mapping from names to '
      'arrays.'
    )


def _arrays(
  what: str,
  module: nn.Module,
  given: Mapping[Any, Any],
  expected: Mapping[str, tuple[int, ...]],
  content_problem: Callable[[str, np.ndarray], str] = lambda key, array: '',
) -> dict[str, np.ndarray]:
  """All entries as arrays.

  Raises:
    ValueError: names, shapes or contents do not fit, with all that is wrong.
  """
  arrays, problems = _read(given)
  for key, shape in expected.items():
    if key not in given:
      problems.append(f'missing: {key} {shape}')
    elif key not in arrays:
      continue  # named already
    elif not _is_numeric(arrays[key]):
      problems.append(f'not numbers: {key}')
    elif arrays[key].shape != shape:
      problems.append(f'misshapen: {key} {arrays[key].shape}, not {shape}')
    elif problem := content_problem(key, arrays[key]):
      problems.append(problem)
  surplus = [key for key in arrays if key not in expected]
  problems += [f'surplus: {key} {arrays[key].shape}' for key in surplus]
  if problems:
    title = f'{what} does not fit {_named(module)}:'
    raise ValueError('\n  '.join([title, *problems]) + _hint(arrays, expected))
  return arrays


def _read(given: Mapping[Any, Any]) -> tuple[dict[str, np.ndarray], list[str]]:
  """The entries that are arrays, and what is wrong with the others."""
  arrays, problems = {}, []
  for key, value in given.items():
    if not isinstance(key, str):
      problems.append(f'not a name: {key!r}')
      continue
    try:
      arrays[key] = np.asarray(value)
    # What PyTorch raises depends on the type, the device and the gradient.
    except (RuntimeError, TypeError, ValueError) as error:
      reason = str(error).partition('\n')[0]
      problems.append(
        f'not an array: {key} ({reason}); of a tensor x pass '
        'x.detach().cpu().float().numpy()'
      )
  return arrays, problems


def _content_problem(key: str, array: np.ndarray) -> str:
  """What no network can have under this PyTorch name, or ''."""
  with np.errstate(over='ignore'):
    array = array.astype(np.float32)
  strange = array.size - np.count_nonzero(np.isfinite(array))
  if strange:
    return f'not finite in float32: {key}, {strange} of {array.size} values'
  if key.endswith('running_var') and np.any(array < 0):
    return f'negative variance: {key}, down to {array.min():.3g}'
  length = np.linalg.norm(array)
  # Half precision leaves a unit vector within a hundredth.
  if key.endswith('weight_u') and abs(length - 1) > 0.01:
    return f'not a unit vector: {key}, of length {length:.3g}'
  return ''


def _is_numeric(array: np.ndarray) -> bool:
  kinds = (jnp.floating, jnp.integer)  # unlike numpy's, with bfloat16
  return any(jnp.issubdtype(array.dtype, kind) for kind in kinds)


def _named(module: nn.Module) -> str:
  """Such as `cnn.Generator(width=16)`, with what is not a default."""
  kind = type(module)
  given = {
    option: getattr(module, option)
    for option, default in options.defaults(kind).items()
    if getattr(module, option) != default
  }
  settings = ', '.join(f'{option}={value!r}' for option, value in given.items())
  return f'{kind.__module__.rpartition(".")[2]}.{kind.__name__}({settings})'


def _hint(given: Collection[str], expected: Collection[str]) -> str:
  """Advice where all names are there, but with something in front."""
  last = max(expected, key=len)
  for prefix in {key.removesuffix(last) for key in given if key.endswith(last)}:
    if prefix and all(prefix + key in given for key in expected):
      return f'\nThe names begin with {prefix!r}: pass them without it.'
  return ''
