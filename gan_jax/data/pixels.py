"""Stored pixels to the networks' range [-1, 1]."""

import jax
import jax.numpy as jnp


def to_float(
  image: jax.Array, key: jax.Array | None = None, *, dequantize: bool = False
) -> jax.Array:
  """uint8 pixels to float32 in [-1, 1]; float inputs pass unchanged.

  Args:
    image: `[B, H, W, C]` uint8 pixels, or any floats.
    key: for the noise: one typed key, of which row i gets `fold_in(key, i)`, or
      `[B]` keys, one a row (what a device needs that holds a few rows of the
      batch).
    dequantize: adds U(0, 1/128), one grey level wide, after scaling, so that
      the result lies in [-1, 1 + 1/128).

  Returns:
    image / 127.5 - 1, and the noise, same shape.

  Raises:
    ValueError: when `dequantize` lacks a key, or the keys are not one a row.

  References:
    Noise as in Mescheder et al., 2018, and Sun et al., 2020 (their code).
  """
  if jnp.issubdtype(image.dtype, jnp.floating):
    return image
  if image.dtype != jnp.uint8:
    raise ValueError(f'image must be uint8 or floats, got {image.dtype}.')
  scaled = image.astype(jnp.float32) / 127.5 - 1.0
  if not dequantize:
    return scaled
  noise = lambda key: jax.random.uniform(
    key, image.shape[1:], jnp.float32, 0.0, 1 / 128
  )
  return scaled + jax.vmap(noise)(_row_keys(key, image.shape[0]))


def _row_keys(key, num_rows: int) -> jax.Array:
  if key is None or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
    raise ValueError(
      'dequantize=True needs key=jax.random.key(...), or one such key a row,'
      f' got {key!r}.'
    )
  if key.shape == (num_rows,):
    return key
  if key.shape:
    raise ValueError(
      f'key must have the shape () or ({num_rows},), one a row, got'
      f' {key.shape}.'
    )
  fold_in = lambda row: jax.random.fold_in(key, row)
  return jax.vmap(fold_in)(jnp.arange(num_rows))
