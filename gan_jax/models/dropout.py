"""Channel dropout whose masks belong to examples, not to devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.models import options


class ChannelDropout(nn.Module):
  """Drops whole channels of an example, `[B, ..., C]` to the same shape.

  As PyTorch's Dropout2d: in training, each channel of each example is zero
  with probability `rate`, and divided by 1 - rate otherwise. The mask follows
  from the key of the collection `dropout` and the example's place in the batch
  alone, so a network applied twice with one key is one function.

  Attributes:
    rate: probability of dropping a channel, from 0 (never) to below 1.
    axis_name: mapped axis of the devices that share a batch, if any; the
      examples are then counted across all of them, device after device.

  Raises:
    ValueError: rate outside [0, 1).

  References:
    Tompson et al., Efficient Object Localization Using Convolutional Networks,
    2015, section 3.2.
  """

  rate: float
  axis_name: str | None = None

  def __post_init__(self):
    super().__post_init__()
    check_rate('rate', self.rate)

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """The input itself unless `train`; then rngs must have `dropout`."""
    if not train or not self.rate:
      return x
    keep = 1.0 - self.rate
    shape = (x.shape[0],) + (1,) * (x.ndim - 2) + x.shape[-1:]
    mask = self._mask(keep, x.shape[0], x.shape[-1]).reshape(shape)
    return jnp.where(mask, x / keep, 0.0)

  def _mask(self, keep, batch_size, channels):
    row = jnp.arange(batch_size)
    if self.axis_name is not None:
      row += jax.lax.axis_index(self.axis_name) * batch_size
    keys = jax.vmap(jax.random.fold_in, (None, 0))(
      self.make_rng('dropout'), row
    )
    # A float32 probability draws one mask for every precision of x.
    draw = lambda key: jax.random.bernoulli(key, np.float32(keep), (channels,))
    return jax.vmap(draw)(keys)


def check_rate(option: str, value: float) -> None:
  """Raises ValueError unless `value` is a number in [0, 1)."""
  options.check_number(option, value)
  if not 0 <= value < 1:
    raise ValueError(f'{option}={value!r} is not from 0 to below 1.')
