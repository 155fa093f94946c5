"""What was wrong with the flags of a command line, in plain words."""

import re
import runpy

from absl import flags


def words_of(error: Exception, argv: list[str]) -> str:
  """What was wrong with the flags; ml_collections wraps it in a lot more."""
  if isinstance(error, OSError):
    reason = str(error).splitlines()[-1].strip()
    return f'--config cannot be read: {reason}'
  if 'Traceback' in str(error):  # of an error in the config file
    while error.__context__ is not None:
      error = error.__context__
    return f'--config: {error}'
  if isinstance(error, (AttributeError, KeyError)):
    return _unknown_field(str(error.args[0]), argv)
  return str(error) if isinstance(error, flags.Error) else f'--config: {error}'


def _unknown_field(text, argv):
  # Quoted once more than it should be, with a list of all fields.
  text = text.removeprefix("'").replace("\\'", "'").replace('\\n', ' ')
  text = re.sub('Other fields present:.*?(?=Did you mean|$)', '', text)
  name = re.search(r'\w+', text)
  for argument in argv:
    field = argument.partition('=')[0]
    if name and field.startswith('--config.') and field.endswith(name[0]):
      hint = re.search('Did you mean.*', text)
      hint = hint[0] if hint else 'Only fields of the file can be changed here.'
      if field.startswith('--config.game.'):
        hint = f'{hint} {_arguments_of_the_game(argv)}'.strip()
      return f'{argument}: the config has no such field. {hint}'
  return f'--config: {text}'


def _arguments_of_the_game(argv):
  """What the file's method takes, and how to get another."""
  files = [a.partition('=')[2] for a in argv if a.startswith('--config=')]
  if not files:  # written as two arguments
    return ''
  path, colon, word = files[-1].partition(':')
  game = runpy.run_path(path)['get_config'](*([word] if colon else [])).game
  arguments = sorted(game.to_dict().keys() - {'name'})
  return (
    f'config.game is {game.name!r}, which has {arguments}; another method is '
    'chosen by its word in the argument of a file that takes one '
    '(--config=configs/toy.py:acgd).'
  )
