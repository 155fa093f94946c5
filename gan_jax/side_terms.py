"""What the players pay beside the loss for what a critic says beside a logit.

Class terms (Odena et al. 2017): both players minimize the cross-entropy of the
critic's class logits, each its own share. Feature matching (Salimans et al.
2016, section 3.1): the generator minimizes the distance of mean features. A
term in which the generator has a part makes the game general-sum: both players
minimize the one, only the generator pays the other.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax import losses


class Auxiliary(NamedTuple):
  """Weights of the cross-entropy of the critic's class logits; 0: none.

  Attributes:
    real: what the critic pays on real examples, of their labels.
    fake: what the critic pays on generated ones, of the labels asked for.
    generator: what the generator pays on these.
  """

  real: float = 0.0
  fake: float = 0.0
  generator: float = 0.0


class Matching(NamedTuple):
  """Feature matching by the generator.

  Attributes:
    weight: of the squared distance of mean features; 0: none.
    alone: whether it takes the place of the generator's loss, as in the paper.
  """

  weight: float = 0.0
  alone: bool = False


class Verdict(NamedTuple):
  """What a critic says of `B` examples.

  Attributes:
    logits: `[B]`.
    class_logits: `[B, K]`, or None where it has none or none are needed.
    features: `[B, F]`, or None likewise.
  """

  logits: jax.Array
  class_logits: jax.Array | None = None
  features: jax.Array | None = None


def are_asked(auxiliary: Auxiliary, matching: Matching) -> bool:
  """Whether any term needs more than logits."""
  return any(auxiliary) or matching.weight > 0


def keep_zero_sum(auxiliary: Auxiliary, matching: Matching) -> bool:
  """Whether a zero-sum game is one with these terms too.

  It is with what the critic alone pays on real examples, as with a penalty.
  """
  return not (auxiliary.fake or auxiliary.generator or matching.weight)


def verdict(logits: jax.Array, side: dict[str, Any]) -> Verdict:
  """From the logits and the critic's collection `intermediates`."""
  last = lambda name: side[name][-1] if name in side else None
  return Verdict(logits, last('class_logits'), last('features'))


def of_critic(
  weights: Auxiliary, real: Verdict, fake: Verdict, labels: jax.Array | None
) -> tuple[jax.Array | float, dict[str, jax.Array]]:
  """The class terms of the critic, and metrics.

  Args:
    weights: of the terms.
    real: of real examples.
    fake: of generated ones.
    labels: classes of both, `[B]`.

  Returns:
    Their weighted sum, the means over the batch `class_loss_real` and
    `class_loss_fake`, and `class_accuracy` on real examples; 0 and none where
    no weight is given.
  """
  if not any(weights):
    return 0.0, {}
  means = [
    jnp.mean(losses.class_cross_entropy(seen.class_logits, labels))
    for seen in (real, fake)
  ]
  hit = jnp.argmax(real.class_logits, axis=1) == labels
  metrics = {
    'class_loss_real': means[0],
    'class_loss_fake': means[1],
    'class_accuracy': jnp.mean(hit.astype(jnp.float32)),
  }
  return weights.real * means[0] + weights.fake * means[1], metrics


def of_generator(
  auxiliary: Auxiliary,
  matching: Matching,
  real: Verdict,
  fake: Verdict,
  labels: jax.Array | None,
  axis_name: str | None = None,
) -> jax.Array | float:
  """The terms of the generator, weighted; 0 where no weight is given.

  Args:
    auxiliary: weights of the class terms.
    matching: weight of feature matching.
    real: of real examples.
    fake: of generated ones.
    labels: classes of both, `[B]`.
    axis_name: a mapped axis over which mean features are taken too.
  """
  value = 0.0
  if auxiliary.generator:
    each = losses.class_cross_entropy(fake.class_logits, labels)
    value += auxiliary.generator * jnp.mean(each)
  if matching.weight:
    value += matching.weight * losses.feature_matching(
      real.features, fake.features, axis_name=axis_name
    )
  return value
