"""Command lines of the launchers: `python -m launch.X --flag=... -- COMMAND`.

Standard library only: a launcher must not wait for JAX.
"""

import argparse
import sys
from typing import NoReturn


class Parser(argparse.ArgumentParser):
  """Says what is wrong in one line on stderr, with exit code 2."""

  def __init__(self, doc: str):
    super().__init__(
      description=doc,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
    )

  def error(self, message: str) -> NoReturn:
    """Raises SystemExit(2) after printing `error: message`."""
    print(f'error: {" ".join(message.split())}', file=sys.stderr)
    raise SystemExit(2)

  def parse(self, argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The launcher's own flags, and the flags of gan_jax.main after `--`."""
    if '--' not in argv:
      own, rest = argv, None
    else:
      cut = argv.index('--')
      own, rest = argv[:cut], argv[cut + 1 :]
    flags = self.parse_args(own)
    if not rest:
      self.error(
        'the flags of gan_jax.main come after --, for example: '
        '-- --config=configs/digits.py --workdir=runs/digits'
      )
    return flags, rest


def value_of(flag: str, rest: list[str]) -> str | None:
  """What `--flag=X` or `--flag X` says in a command line, or None."""
  found = None
  for i, word in enumerate(rest):
    name, equals, value = word.partition('=')
    if name not in (f'--{flag}', f'-{flag}'):
      continue
    found = value if equals else (rest[i + 1 : i + 2] or [''])[0]
  return found


def refuse(parser: Parser, rest: list[str], names: tuple[str, ...]) -> None:
  """Ends with one line if `rest` sets what the launcher sets itself."""
  for name in names:
    if value_of(name, rest) is not None:
      parser.error(f'--{name} is set by the launcher; leave it out after --.')
