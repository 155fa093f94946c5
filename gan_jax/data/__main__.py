"""Prepares and lists data sets.

python -m gan_jax.data list
python -m gan_jax.data prepare cifar10 --data_dir=DIR
"""

import argparse
import sys
from collections.abc import Sequence

from gan_jax import data
from gan_jax.data import tfds_prepare


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one command; returns 0, or 2 for what the user can put right."""
  args = _parser().parse_args(argv)
  if args.command == 'list':
    for name, summary in data.names().items():
      print(f'{name:16}{summary}')
    return 0
  try:
    print(tfds_prepare.prepare(args.name, args.data_dir))
  except (ImportError, ValueError) as error:
    if isinstance(error, ImportError) and error.name not in tfds_prepare.NEEDED:
      raise
    print(f'gan_jax.data: {error}', file=sys.stderr)
    return 2
  return 0


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='python -m gan_jax.data', description='Prepares and lists data sets.'
  )
  commands = parser.add_subparsers(dest='command', required=True)
  commands.add_parser('list', help='print the names that can be loaded')
  prepare = commands.add_parser(
    'prepare', help='download a TensorFlow Dataset and store it as array_record'
  )
  prepare.add_argument('name', help='cifar10, celeb_a_hq/1024, ...')
  prepare.add_argument(
    '--data_dir', required=True, help='the folder to prepare it in'
  )
  return parser


if __name__ == '__main__':
  sys.exit(main())
