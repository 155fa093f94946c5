"""Reads what a pickle describes without doing what it says.

A pickle is a program, and Python's own reader runs it. Here its instructions
are walked through with the standard library's parser and only those are known
that build plain values; a name from a module stands for what a table has for
it, or ends the reading. Nothing is imported and no code of the file runs.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

# Instructions that push the value they carry, of protocol 2 and later.
NUMBERS = frozenset(['BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT'])
TEXTS = frozenset(['BINUNICODE', 'SHORT_BINUNICODE'])
OLD_TEXTS = frozenset(['BINSTRING', 'SHORT_BINSTRING'])  # of Python 2
LITERALS = NUMBERS | TEXTS | OLD_TEXTS
CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
EMPTY = {'EMPTY_DICT': dict, 'EMPTY_LIST': list, 'EMPTY_TUPLE': tuple}
# How many values on top of the stack make a tuple.
SHORT_TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}
STORE = frozenset(['BINPUT', 'LONG_BINPUT'])
FETCH = frozenset(['BINGET', 'LONG_BINGET'])
NOTHING = frozenset(['PROTO', 'FRAME'])


class _Machine(NamedTuple):
  """What the instructions work on.

  Attributes:
    stack: values so far.
    marks: heights of the stack that a later instruction refers to.
    memo: values by the number under which they are used again.
    table: what a name from a module stands for.
    persistent: what a reference outside the pickle stands for.
  """

  stack: list
  marks: list
  memo: dict
  table: Mapping[tuple[str, str], Any]
  persistent: Callable[[Any], Any]


def load(
  file: BinaryIO,
  table: Mapping[tuple[str, str], Any],
  persistent: Callable[[Any], Any] | None = None,
) -> Any:
  """The value of the next pickle in a stream, which is left behind its end.

  Args:
    file: binary stream, as `io.BytesIO` gives it.
    table: (module, name) -> what it stands for. A pickle may call those that
      are functions, so they must be harmless with any arguments.
    persistent: what a persistent identifier stands for; none may occur without.

  Raises:
    ValueError: a name that is not in the table, an instruction that plain
      values have no need of, or a damaged stream.
  """
  machine = _Machine([], [], {}, table, persistent or _no_persistent)
  try:
    for operation, argument, _ in pickletools.genops(file):
      if operation.name == 'STOP':
        return machine.stack.pop()
      _step(machine, operation.name, argument)
  except ValueError:
    raise
  except Exception as error:  # damage shows as any of many types
    raise ValueError(f'a damaged pickle ({error!r})') from error
  raise ValueError('a pickle without an end')


def _step(machine: _Machine, name: str, argument: Any) -> None:
  """Carries out one instruction."""
  stack, memo = machine.stack, machine.memo
  if name in LITERALS:
    stack.append(argument)
  elif name in CONSTANTS:
    stack.append(CONSTANTS[name])
  elif name in EMPTY:
    stack.append(EMPTY[name]())
  elif name in STORE:
    memo[argument] = stack[-1]
  elif name == 'MEMOIZE':
    memo[len(memo)] = stack[-1]
  elif name in FETCH:
    stack.append(memo[argument])
  elif name == 'MARK':
    machine.marks.append(len(stack))
  elif name in SHORT_TUPLES:
    stack.append(tuple(_popped(stack, len(stack) - SHORT_TUPLES[name])))
  elif name in _GATHER:
    _GATHER[name](stack, _popped(stack, machine.marks.pop()))
  elif name in _COMBINE:
    _COMBINE[name](machine)
  elif name == 'GLOBAL':
    stack.append(_named(machine.table, *argument.split(' ', 1)))
  elif name not in NOTHING:
    raise ValueError(f'the pickle instruction {name}, of no use for weights')


def _popped(stack: list, height: int) -> list:
  """Takes all values above a height off the stack."""
  if not 0 <= height <= len(stack):
    raise IndexError('too few values')
  values = stack[height:]
  del stack[height:]
  return values


def _set_items(stack: list, values: list) -> None:
  target = stack[-1]
  if not isinstance(target, dict):
    raise TypeError('items for what is no dictionary')
  target.update(_pairs(values))


def _pairs(values: list) -> dict:
  return dict(zip(values[::2], values[1::2], strict=True))


def _append(stack: list, values: list) -> None:
  if not isinstance(stack[-1], list):
    raise TypeError('entries for what is no list')
  stack[-1].extend(values)


def _reduce(machine: _Machine) -> None:
  """Calls what a name stands for; nothing else on the stack is a function."""
  function, arguments = _popped(machine.stack, len(machine.stack) - 2)
  machine.stack.append(function(*arguments))


def _build(machine: _Machine) -> None:
  """The attributes of an OrderedDict: versions of layers. Not needed."""
  target, _ = _popped(machine.stack, len(machine.stack) - 2)
  if not isinstance(target, dict):
    raise TypeError('attributes for what is no dictionary')
  machine.stack.append(target)


def _stack_global(machine: _Machine) -> None:
  names = _popped(machine.stack, len(machine.stack) - 2)
  machine.stack.append(_named(machine.table, *names))


def _persistent(machine: _Machine) -> None:
  machine.stack.append(machine.persistent(machine.stack.pop()))


def _no_persistent(identifier: Any) -> Any:
  raise ValueError(f'a reference outside the pickle, {identifier!r}')


def _named(table, module, name):
  if (module, name) not in table:
    raise ValueError(
      f'the object {module}.{name}, which is not taken from a file: weights '
      'are a dictionary of tensors, such as state_dict() gives, and no more'
    )
  return table[module, name]


# Instructions on all values since the last mark.
_GATHER = {
  'TUPLE': lambda stack, values: stack.append(tuple(values)),
  'LIST': lambda stack, values: stack.append(values),
  'DICT': lambda stack, values: stack.append(_pairs(values)),
  'SETITEMS': _set_items,
  'APPENDS': _append,
}
# Those on a fixed number of values.
_COMBINE = {
  'SETITEM': lambda m: _set_items(m.stack, _popped(m.stack, len(m.stack) - 2)),
  'APPEND': lambda m: _append(m.stack, _popped(m.stack, len(m.stack) - 1)),
  'REDUCE': _reduce,
  'BUILD': _build,
  'STACK_GLOBAL': _stack_global,
  'BINPERSID': _persistent,
}
