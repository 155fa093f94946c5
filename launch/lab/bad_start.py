"""A bad initial point: does one loss fail from weights the other recovers from?

Sun, Fang & Schwing report such a point for MNIST: training by JS fails from it,
by RS it succeeds. How it was made, and its numbers, are not known to us. So
starts are searched. From each, both losses play on from the very same weights,
with the same grid of learning rates, tuned by the same rule on seeds that are
not reported.

MNIST is played where prepared data sets are given and the run is not quick: it
is meant for a GPU, on two CPU cores it takes hours.
"""

from launch.lab import bad_start_figures as figures
from launch.lab import bad_start_search as searching
from launch.lab import bad_start_tasks as tasks
from launch.lab import bad_start_words as words
from launch.lab import result


def run(settings: result.Settings) -> result.Result:
  """Searches a bad start on digits, and on MNIST where that is given."""
  jobs = [
    (tasks.load_digits(), searching.QUICK if settings.quick else searching.FULL)
  ]
  if not settings.quick and tasks.has_mnist(settings.data_dir):
    jobs.append((tasks.load_mnist(settings.data_dir), searching.MNIST))
  outcomes = [searching.search(task, size) for task, size in jobs]
  drawn = [figures.draw(outcome, settings.out) for outcome in outcomes]
  return result.Result(
    'A bad initial point',
    'Sun, Fang & Schwing (2020): on MNIST there is a start of the weights from '
    'which training by JS fails and training by RS succeeds. The protocol and '
    'the distances are unconfirmed: we know of neither.',
    ' '.join(words.protocol(outcome) for outcome in outcomes),
    ' '.join(words.seen(outcome) for outcome in outcomes),
    ' '.join(words.verdict(outcome) for outcome in outcomes),
    tuple(row for outcome in outcomes for row in words.rows(outcome)),
    {outcome.task.name: words.numbers(outcome) for outcome in outcomes},
    tuple(figure for part in drawn for figure in part),
  )
