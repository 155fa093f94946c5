"""What a study would do: commands, costs, and what is done already."""

import os
import shlex
from collections.abc import Callable

from launch.published import collect, cost, folder
from launch.published import plan as plans

Say = Callable[[str], None]


def say(plan: plans.Plan, tflops: float, together: str, say: Say) -> None:
  """Prints every row as soon as it is counted, then the sum.

  Args:
    plan: what was asked for.
    tflops: see `cost.seconds`.
    together: as the training command is given it.
    say: takes each line.
  """
  asked = plan.asked
  say(f'{plan.study.title}: {len(plan.jobs)} rows x {len(asked.seeds)} seeds')
  say(f'data {plan.data}, results in {asked.out}')
  if plan.left_out:
    say(f'not on these data: {"; ".join(plan.left_out)}')
  sums = [0.0, 0.0]
  for job in plan.jobs:
    spent = _say_row(job, asked.seeds, tflops, together, say)
    sums = [a + b for a, b in zip(sums, spent, strict=True)]
  say(
    f'\nin all, of what is left: {_duration(sums[0])} on one device, '
    f'{sums[1] / 1e9:.3g} GB of checkpoints'
  )
  say(
    f'Estimated at {tflops:g} TFLOP/s (--tflops) and '
    f'{cost.SECONDS_A_PASS * 1e3:g} ms for each pass through both networks, '
    'which fits the rows of one H100 in docs/results/speed.md to a third; '
    'seeds one after another, which together cost no more. Not counted: '
    'compiling, evaluations, pictures.'
  )


def _say_row(job, seeds, tflops, together, say):
  states = [folder.seed_of(job, seed) for seed in seeds]
  todo = [s for s in states if s.state in ('none', 'begun')]
  spent, steps = cost.of(job.config), plans.steps(job)
  one = cost.seconds(spent, steps, tflops)
  left = sum(cost.seconds(spent, steps - s.step, tflops) for s in todo)
  say(f'\n{job.row.name}')
  if todo:
    command = plans.train_command(job, [s.seed for s in todo], together)
    say(f'  {_shell(command)}')
  for state in states:
    if state.state == 'finished' and not collect.is_measured(job, state.seed):
      say(f'  {_shell(plans.evaluate_command(job, state.seed))}')
  solver = f', {spent.iterations} solver iterations' if spent.iterations else ''
  say(
    f'  {steps:,} steps of {spent.flops / 1e9:,.3g} GFLOP{solver}, seeds '
    f'{",".join(map(str, seeds))}; {spent.parameters:,} parameters'
  )
  volume = spent.checkpoint_bytes * spent.kept * len(todo)
  say(
    f'  {_duration(one)} a seed, {_duration(left)} left; checkpoint '
    f'{spent.checkpoint_bytes / 1e6:.3g} MB, at most {spent.kept} a run: '
    f'{volume / 1e9:.3g} GB'
  )
  done = [f'seed {s.seed} {_done(s)}' for s in states if s.state != 'none']
  if done:
    say(f'  already there: {", ".join(done)}')
  return left, volume


def _done(state):
  return f'{state.state} at {state.step:,}'


def _shell(command):
  words = list(command)
  words[0] = 'python' if os.path.isabs(words[0]) else words[0]
  return shlex.join(words)


def _duration(seconds):
  if seconds < 100:
    return f'{seconds:.3g} s'
  if seconds < 6000:
    return f'{seconds / 60:.3g} min'
  return f'{seconds / 3600:,.3g} h'
