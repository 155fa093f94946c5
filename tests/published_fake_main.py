"""Stands in for `gan_jax.main`: leaves what a run leaves, in no time.

Rows are told apart by the name of their folder: 'bad' fails, seed 1 of
'lost' diverges at step 12, 'late' and 'lost' train without their last
evaluation, and 'slow' waits for a signal, saves, and goes on next time. Each
call is a line of `calls.txt` beside the folder of runs.
"""

import json
import pathlib
import signal
import sys
import time


def given(name, default=None):
  found = [a for a in sys.argv if a.startswith(f'--{name}=')]
  return found[-1].partition('=')[2] if found else default


def entry(step, value):
  protocol = dict(features='none', seed=0)
  number = dict(value=value, real_against_real=0.5, protocol=protocol)
  head = dict(step=step, weights='averaged', dataset='digits', split='train')
  return head | dict(num_samples=100, settings={}, frechet=number)


def save(folder, step):
  checkpoint = folder / 'checkpoints' / f'{step:08d}'
  checkpoint.mkdir(parents=True, exist_ok=True)
  (checkpoint / 'SHA256SUMS').write_text('x' * 1000)
  (folder / 'config.json').write_text('{}')


def finish(folder, row, seed):
  save(folder, 20)
  # 10 steps a second for both: 1 second for each of two seeds.
  lines = [
    dict(step=10, steps_per_second=None, seeds_together=2),
    dict(step=20, steps_per_second=10.0, seeds_together=2),
  ]
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (folder / 'metrics.jsonl').write_text(text)
  base = 10.0 * (1 + (row == 'b')) + seed
  entries = [entry(10, base - 1), entry(20, base)]
  entries = entries[: 1 if row in ('late', 'lost') else 2]
  (folder / 'evaluation.json').write_text(json.dumps(entries))


def train(workdir, row):
  if row == 'bad':
    sys.exit('error: no luck')
  for seed in map(int, given('seeds').split(',')):
    folder = workdir / f'seed-{seed}'
    if row == 'slow' and not folder.exists():
      wait(folder)
    if row == 'lost' and seed == 1:
      save(folder, 10)
      found = dict(step=12, reason='loss_d is nan')
      (folder / 'diverged.json').write_text(json.dumps(found))
      continue
    finish(folder, row, seed)
  if row == 'lost':  # as `gan_jax.main` ends
    print('error: diverged: seed 1 at step 12', file=sys.stderr)
    sys.exit(2)


def wait(folder):
  def end(signum, frame):
    save(folder, 10)
    sys.exit(128 + signum)

  signal.signal(signal.SIGTERM, end)
  print('evaluation at step 0: ready', flush=True)
  time.sleep(60)
  sys.exit('error: no signal came')


def main():
  workdir = pathlib.Path(given('workdir'))
  evaluates = '--mode=evaluate' in sys.argv
  row = workdir.parent.name if evaluates else workdir.name
  calls = next(p for p in workdir.parents if p.name == 'runs').parent
  with open(calls / 'calls.txt', 'a') as file:
    what = workdir.name if evaluates else given('seeds')
    file.write(f'{"evaluate" if evaluates else "train"} {row} {what}\n')
  if evaluates:
    path = workdir / 'evaluation.json'
    path.write_text(json.dumps([*json.loads(path.read_text()), entry(20, 7.0)]))
  else:
    train(workdir, row)


if __name__ == '__main__':
  main()
