"""Images against images in the features of a net, in bounded memory."""

import functools
from typing import Any

import jax
import numpy as np
from absl import logging

from gan_jax import data, parallel
from gan_jax.evaluate import samples
from gan_jax.evaluate import task as tasks
from gan_jax.metrics import collect, compare, intra_class, nets, reference
from gan_jax.metrics.stream import Batch

# Statistics of classes that are remembered, at most: of a thousand classes in
# 2,048 features they would be 100 GB.
_REMEMBERED_BYTES = 2**30


def measure(task: tasks.Task) -> dict[str, Any]:
  """Entries of `settings.comparison.metrics`; see `evaluate`.

  Each has `real_digest`, of the real images, beside its protocol and not in it:
  the same images as an array and as a source have different ones.
  """
  settings = task.settings
  net = nets.load(
    settings.features, weights=settings.weights, resize=settings.resize
  )
  task = task._replace(alone=task.alone or jax.process_count() == 1)
  wanted = settings.comparison.metrics
  compare.check(settings.comparison, net)
  rest = tuple(name for name in wanted if name != compare.INTRA_CLASS)
  entries = _entries(_with_metrics(task, rest), net) if rest else {}
  if compare.INTRA_CLASS in wanted:
    entries[compare.INTRA_CLASS] = _intra_class(task, net)
  digest = _digest(task)
  return {name: entries[name] | {'real_digest': digest} for name in wanted}


def _digest(task):
  find = lambda: _fingerprint(task)[:16]
  return find() if task.alone else parallel.on_leader(find)


def _fingerprint(task):
  """Of the images; takes a look at all that is stored."""
  name = 'fingerprint', task.label
  return tasks.once(task, name, lambda: data.fingerprint(task.dataset))


def _with_metrics(task, metrics):
  comparison = task.settings.comparison._replace(metrics=metrics)
  return task._replace(settings=task.settings._replace(comparison=comparison))


def _entries(task, net):
  settings, dataset = task.settings.comparison, task.dataset
  plan = compare.plan_of_fake(task.num_samples, settings)
  available = len(dataset.examples)
  compare.check_counts(task.num_samples, available, net, settings)
  real = _real(task, net)
  shape = samples.image_shape(dataset)
  stream = samples.stream(
    task.sample, shape, task.num_samples, task.seeds, alone=task.alone
  )
  fake = _together(lambda: collect.collect(stream, net, plan), task.alone)
  entries = compare.compare(fake, real, net, settings)
  for entry in entries.values():
    entry['protocol'] |= tasks.real(task)
    entry['protocol']['samples'] = 'rounded to 8 bits'
  return entries


def _intra_class(task, net):
  """The Frechet distance within each class, averaged over classes."""
  dataset = task.dataset
  if task.sample_class is not None and dataset.labels is None:
    raise ValueError(
      f'metrics={compare.INTRA_CLASS!r} needs labels; {dataset.name!r} has '
      'none, or is read as a stream.'
    )
  classes = dataset.num_classes if task.sample_class is not None else 0
  per_class = task.num_samples // max(classes, 1)

  def distance(label):
    chosen = np.flatnonzero(dataset.labels == label)
    one = _with_metrics(task, ('frechet',))._replace(
      sample=functools.partial(task.sample_class, label=label),
      dataset=data.subset(dataset, chosen),
      num_samples=per_class,
      label=label,
      # Latents of their own for each class.
      seeds=[*task.seeds, label + 1],
    )
    return _entries(one, net)['frechet']

  counts = []
  if classes:
    counts = np.bincount(dataset.labels, minlength=classes)
  return intra_class.intra_class(distance, counts, num_classes=classes)


def _real(task, net):
  """The statistics of the data set, remembered for the next generator."""
  of_net = net.name, net.digest, net.resize
  # What `compare.plan_of_real` makes its plan of, for this data set.
  plan = task.num_samples, task.settings.comparison
  name = 'real', task.label, *of_net, *plan
  if name in task.known:
    return task.known[name]
  real = _found(task, net)
  if task.label is not None:
    size = sum(np.asarray(x).nbytes for x in jax.tree.leaves(real))
    size += task.known.get('bytes', 0)
    if size > _REMEMBERED_BYTES:
      return real
    task.known['bytes'] = size
  task.known[name] = real
  return real


def _found(task, net):
  """The same from the cache, or computed."""
  settings, available = task.settings, len(task.dataset.examples)
  plan = compare.plan_of_real(available, task.num_samples, settings.comparison)
  first, last = _share(available, task.alone)

  def compute():
    batches = data.scan(task.dataset, start=first, stop=last)
    stream = (Batch(*batch) for batch in batches)
    return _together(lambda: collect.collect(stream, net, plan), task.alone)

  def cached(compute):
    key = reference.key_of(net, plan, fingerprint=_fingerprint(task))
    return reference.cached(
      compute, key=key, folder=settings.cache, say=logging.info
    )

  if not settings.cache:
    return compute()
  return cached(compute) if task.alone else _of_all(cached, compute)


def _of_all(cached, compute):
  """As `cached(compute)`, by the first process's cache.

  All processes compute or none, for they meet there.
  """
  kept = []

  def look_up():
    try:
      kept.append(cached(_not_kept))
    except LookupError:
      return False
    return True

  if parallel.on_leader(look_up):
    dumped = reference.dump(kept[0]) if kept else b''
    return reference.load(parallel.tell(dumped))
  whole = compute()
  if parallel.is_leader():
    cached(lambda: whole)
  return whole


def _not_kept():
  raise LookupError


def _share(count, alone):
  """The first and last + 1 of the images that this process looks at."""
  if alone:
    return 0, count
  process, processes = jax.process_index(), jax.process_count()
  return process * count // processes, (process + 1) * count // processes


def _together(compute, alone):
  """What all processes compute, each of its part, as one, in each of them.

  Where one fails all do: the others would wait for it.
  """
  if alone:
    return compute()
  error = None
  try:
    told = reference.dump(compute())
  except BaseException as caught:  # Ctrl-C too
    error = caught
    told = _FAILED[isinstance(error, ValueError)] + str(error).encode()
  whole, failed = None, None
  for process, part in enumerate(parallel.in_turn(told)):
    failed = failed or _failure(process, part)
    if not failed:
      other = reference.load(part)
      whole = other if whole is None else collect.merge(whole, other)
  if error or failed:
    raise error or failed
  return whole


# Before the words of a process that failed: by a fault, or by a ValueError.
_FAILED = (b'failed by a fault: ', b'failed by an error: ')


def _failure(process, told):
  for kind, start in zip((RuntimeError, ValueError), _FAILED, strict=True):
    if told.startswith(start):
      return kind(f'process {process} {told.decode()}')
  return None
