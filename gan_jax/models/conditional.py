"""Class-conditional parts: batch norm of a generator, head of a critic.

References:
  [1] Odena, Olah & Shlens, Conditional Image Synthesis with Auxiliary
      Classifier GANs, 2017.
  [2] Miyato & Koyama, cGANs with Projection Discriminator, 2018.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.models import layers, minibatch, options

# How a discriminator is told of classes: [2] and [1].
CONDITIONING = ('auxiliary', 'projection')

# What a critic gives beside its logits, in the collection `intermediates`.
CLASS_LOGITS = 'class_logits'  # `[B, K]`
FEATURES = 'features'  # `[B, F]`, what its last layer sees


class BatchNorm(nn.Module):
  """Batch norm with a scale and a shift for each class [2], `[B, ..., C]`.

  The moments are those of all rows, whatever their class.

  Attributes:
    classes: how many there are.
    axis_name: mapped axis of the devices that share a batch, if any.
  """

  classes: int
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: jax.Array, labels: jax.Array, *, train: bool
  ) -> jax.Array:
    # Set as in `layers.batch_norm`.
    x = nn.BatchNorm(
      use_running_average=not train,
      momentum=0.9,
      epsilon=1e-5,
      use_scale=False,
      use_bias=False,
      axis_name=self.axis_name,
      use_fast_variance=False,
      name='norm',
    )(x)
    shape = (self.classes, x.shape[-1])
    scale = self.param('scale', nn.initializers.ones, shape, jnp.float32)
    bias = self.param('bias', nn.initializers.zeros, shape, jnp.float32)
    of_rows = lambda table: _rows(table.astype(x.dtype), labels, x.ndim)
    return x * of_rows(scale) + of_rows(bias)


def batch_norm(
  x: jax.Array,
  labels: jax.Array | None,
  *,
  classes: int,
  train: bool,
  axis_name: str | None,
  name: str,
) -> jax.Array:
  """`layers.batch_norm`, with a scale and shift a class where there are some.

  Args:
    x: activations, `[B, ..., C]`.
    labels: as `checked_labels` gives them; not used with one class.
    classes: how many there are.
    train: as in `layers.batch_norm`, like axis_name and name.
    axis_name: see there.
    name: see there.
  """
  common = dict(train=train)
  if classes == 1:
    return layers.batch_norm(x, axis_name=axis_name, name=name, **common)
  return BatchNorm(classes, axis_name, name=name)(x, labels, **common)


def _rows(table, labels, rank):
  """Each row's entry, `[B, 1, ..., 1, C]`; NaN where there is no such class."""
  rows = jnp.take(table, labels, axis=0, mode='fill', fill_value=jnp.nan)
  return rows.reshape(len(labels), *(1,) * (rank - 2), table.shape[-1])


def checked_labels(
  labels: Any, *, classes: int, batch_size: int
) -> jax.Array | None:
  """Integer labels `[B]`, or None where there is but one class.

  A class that there is not, also a negative one, becomes `classes`, whose
  look-ups give NaN.

  Raises:
    ValueError: labels of another kind or shape, or none where needed.
  """
  if classes == 1:
    return None
  if labels is None:
    raise ValueError(
      f'labels=None, but the network has {classes} classes: pass the class of '
      'each example, integers [B].'
    )
  labels = jnp.asarray(labels)
  if labels.shape != (batch_size,):
    raise ValueError(f'labels have shape {labels.shape}, not {(batch_size,)}.')
  if not jnp.issubdtype(labels.dtype, jnp.integer):
    raise ValueError(
      f'labels of type {labels.dtype} are not integers, the class of each '
      'example.'
    )
  labels = labels.astype(jnp.int32)
  return jnp.where(labels < 0, classes, labels)


def example_labels(classes: int) -> tuple[jax.Array, ...]:
  """The label of an example input, for networks that take one."""
  return (jnp.zeros(1, jnp.int32),) if classes > 1 else ()


def logits(
  critic: nn.Module,
  phi: jax.Array,
  labels: Any,
  dense: functools.partial,
  *,
  train: bool,
) -> jax.Array:
  """The last layers of a critic; called within its compact method.

  The logit is psi(phi) (layer 'proj'); 'projection' adds the inner product of
  phi and the embedding of the example's class (layer 'embed', its columns) [2,
  eq. 3]. 'auxiliary' leaves it alone and gives class logits beside it (layer
  'classes') [1]. Minibatch discrimination adds a linear function of its
  outputs (layer 'beside'), which is what a longer last layer would do; the
  class logits do not see other rows.

  Args:
    critic: with `labels`, `conditioning`, `minibatch`, `axis_name` and
      `spectral_norm`.
    phi: what the last layer sees, `[B, F]`; sown as features.
    labels: class of each example, integers `[B]`; used by 'projection' alone.
    dense: `layers.Dense` with the settings of the last layer.
    train: whether the batch is one of all devices that `axis_name` names.

  Returns:
    Logits, `[B]`.

  Raises:
    ValueError: 'projection' without right labels.
  """
  critic.sow('intermediates', FEATURES, phi)
  logit = dense(1, use_bias=False, name='proj')(phi)[:, 0]
  if critic.conditioning == 'projection':
    scores = dense(critic.labels, use_bias=False, name='embed')(phi)
    classes = checked_labels(labels, classes=critic.labels, batch_size=len(phi))
    logit += jnp.take_along_axis(scores, classes[:, None], axis=1)[:, 0]
  if critic.conditioning == 'auxiliary':
    class_logits = dense(critic.labels, name='classes')(phi)
    critic.sow('intermediates', CLASS_LOGITS, class_logits)
  return logit + minibatch.logit(critic, phi, dense, train=train)


def check_generator(module: Any) -> None:
  """Raises ValueError unless `labels` is a count of classes."""
  options.check_size('labels', module.labels)


def check_discriminator(module: Any) -> None:
  """Raises ValueError unless the options of `logits` are right."""
  options.check_size('labels', module.labels)
  options.check_choice('conditioning', module.conditioning, ('', *CONDITIONING))
  if (module.labels > 1) != bool(module.conditioning):
    raise ValueError(
      f'labels={module.labels} with conditioning={module.conditioning!r}: a '
      'discriminator of some classes needs a conditioning of '
      f'{list(CONDITIONING)}, and one without (labels=1) has none.'
    )
  minibatch.check(module)
