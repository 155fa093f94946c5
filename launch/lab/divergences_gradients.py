"""What critics at their best, and noisy ones, tell a generator."""

import jax
import numpy as np
from jax import numpy as jnp

from gan_jax import losses
from gan_jax.theory import divergences
from launch.lab import result

POINTS = 6


def vanishing_gradients(quick: bool) -> dict:
  """d loss_g / d theta under the best critic, over theta in std."""
  thetas = jnp.linspace(0.25, 12.0, 24 if quick else 48)
  z = jnp.linspace(-30.0, 30.0, 6001)
  names = ('minimax', 'nonsaturating', 'least_squares', 'wasserstein')
  of = lambda name: jax.vmap(
    lambda theta: divergences.shift_gradient(name, theta, 1.0, z)
  )(thetas)
  found = jax.jit(lambda: {name: of(name) for name in names})()
  mean = {name: np.asarray(found[name].mean) for name in names}
  std = {name: np.asarray(found[name].std) for name in names}
  both = mean['minimax'] + mean['nonsaturating']
  js_slope = jax.vmap(jax.grad(_twice_js_of_normals))(thetas)
  rows = [
    result.exact(
      'saturating + non-saturating gradient = theta / std^2',
      0.0,
      np.max(np.abs(both - thetas)),
      1e-10,
      "the slope of KL(P_g, P_r); rows 'minimax', 'nonsaturating'",
    ),
    result.exact(
      'saturating gradient = slope of 2 JS',
      0.0,
      np.max(np.abs(mean['minimax'] - js_slope)),
      1e-8,
      'normals, integrated',
    ),
    result.exact(
      'gradient of Wasserstein: largest difference from 1',
      0.0,
      np.max(np.abs(mean['wasserstein'] - 1)),
      1e-10,
    ),
    result.finding(
      'saturating gradient vanishes with the distance',
      'exponentially',
      f'{mean["minimax"][-1]:.2e} at theta = {thetas[-1]:g} std',
      mean['minimax'][-1] < 1e-6 < 1e-2 < mean['nonsaturating'][-1],
      'best critic, held',
    ),
  ]
  return dict(theta=np.asarray(thetas), mean=mean, std=std, rows=rows)


def _twice_js_of_normals(theta: jax.Array) -> jax.Array:
  grid = jnp.linspace(-25.0, 40.0, 8001)
  log_p = divergences.log_normal(grid, 0.0, 1.0)
  log_q = divergences.log_normal(grid, theta, 1.0)
  return 2 * divergences.js_of_densities(log_p, log_q, grid)


def noisy_critics(quick: bool) -> dict:
  """Generated points where D is 0 but for noise (theorem 2.6).

  D = eps and dD/dx = r are independent normals; only eps > 0 is drawn, as a
  logit needs, which leaves the law of r / eps as it is. 'noise in the logit':
  the same two normals are the noise of the logit, -4.6 without it, and its
  slope.
  """
  batches = np.asarray([1, 10, 100, 1000])
  draws = 1000 if quick else 4000
  gradients = _noisy_gradients(draws, int(batches[-1]))
  spread = {
    name: [_half_width(g.reshape(-1, batch)) for batch in batches]
    for name, g in gradients.items()
  }
  fall = {name: values[0] / values[-1] for name, values in spread.items()}
  rows = _cauchy_rows(spread, fall, int(batches[-1]), draws)
  return dict(batch=batches, spread=spread, fall=fall, rows=rows)


def _noisy_gradients(draws: int, batch: int) -> dict[str, jax.Array]:
  """d loss_g / dx of single points, `[draws, batch]`."""
  scale, shape = 1e-2, (draws, batch)
  keys = jax.random.split(jax.random.key(0), 3)
  d = scale * jnp.abs(jax.random.normal(keys[0], shape))
  d = jnp.clip(d, 1e-15, 1 - 1e-15)
  slope = scale * jax.random.normal(keys[1], shape)
  off = scale * jax.random.normal(keys[2], shape)

  def pull(name, logit, logit_slope):
    one = lambda f: losses.get(name).generator(jnp.zeros(1), f[None])[0]
    return jax.vmap(jax.grad(one))(logit.ravel()).reshape(shape) * logit_slope

  logit, logit_slope = jnp.log(d) - jnp.log1p(-d), slope / (d * (1 - d))
  return {
    'nonsaturating': pull('nonsaturating', logit, logit_slope),
    'minimax': pull('minimax', logit, logit_slope),
    'noise in the logit': pull('nonsaturating', off - 4.6, slope),
  }


def _cauchy_rows(
  spread: dict, fall: dict, batch: int, draws: int
) -> list[result.Row]:
  root = float(np.sqrt(batch))
  near = lambda name: abs(fall[name] / root - 1) < 0.1
  return [
    result.finding(
      'non-saturating gradient: half its values within',
      1.0,
      spread['nonsaturating'][0],
      abs(spread['nonsaturating'][0] - 1) < 0.1,
      'Cauchy of scale 1 (std r / std eps); margin 0.1',
    ),
    result.finding(
      f'the same, of the mean over {batch} draws',
      1.0,
      spread['nonsaturating'][-1],
      abs(spread['nonsaturating'][-1] - 1) < 0.1,
      f'a mean of Cauchys is as wild as one; {draws} means, margin 0.1',
    ),
    result.finding(
      f'saturating gradient: spread falls over {batch} draws by',
      root,
      fall['minimax'],
      near('minimax'),
      'finite variance; margin 10 %',
    ),
    result.finding(
      f'non-saturating, noise in the logit: spread falls over {batch} draws by',
      root,
      fall['noise in the logit'],
      near('noise in the logit'),
      'finite variance; margin 10 %; of the same size as the noise in D',
    ),
  ]


def _half_width(batches: jax.Array) -> float:
  """Half the distance between the quartiles of means over rows."""
  means = np.mean(np.asarray(batches), axis=1)
  low, high = np.quantile(means, [0.25, 0.75])
  return float(high - low) / 2


def identities(quick: bool) -> dict:
  """Every row of `divergences.OPTIMA` on random pairs of distributions."""
  cases = 20 if quick else 200
  draw = np.random.default_rng(0)
  p = jnp.asarray(draw.dirichlet(np.ones(POINTS), cases))
  scores = jnp.asarray(draw.normal(size=(cases, POINTS)))
  errors, rows = {}, []
  for name, optimum in divergences.OPTIMA.items():
    value, slope, pull = jax.jit(jax.vmap(_identity_errors(name)))(p, scores)
    errors[name] = dict(value=value, slope=slope, pull=pull)
    quantities = (
      (f"'{name}': loss of the best critic = {optimum.labels[0]}", value, 1e-8),
      (f"'{name}': generator follows {optimum.labels[1]}", pull, 1e-8),
    )
    rows += [
      result.exact(
        quantity,
        0.0,
        jnp.max(jnp.abs(error)),
        margin,
        f'largest difference of {cases} pairs on {POINTS} points',
      )
      for quantity, error, margin in quantities
    ]
  rows.append(
    result.exact(
      "the critic's own gradient at its best, all rows",
      0.0,
      result.worst([np.abs(error['slope']) for error in errors.values()]),
      1e-8,
      "a certificate, as the losses are convex; 'hinge' by the signs of its "
      'slopes on both sides of the kink',
    )
  )
  return dict(cases=cases, errors=errors, rows=rows)


def _identity_errors(name: str):
  optimum, loss = divergences.OPTIMA[name], losses.get(name)

  def errors(p, scores):
    q = jax.nn.softmax(scores)
    logits = divergences.best_logits(name, p, q)
    mean = lambda v: divergences.expected(loss.discriminator, v, p, q)
    value, slope = jax.value_and_grad(mean)(logits)
    if name == 'hinge':
      # At a kink 0 is a subgradient if the loss falls before and rises after.
      away = lambda scale: jnp.sign(logits) * jax.grad(mean)(scale * logits)
      slope = jnp.maximum(0.0, jnp.maximum(away(0.9), -away(1.1)))
    follows = lambda s: optimum.generator_divergence(p, jax.nn.softmax(s))
    pull = divergences.held_critic_gradient(name, scores, p)
    value -= optimum.value(p, q)
    return value, slope, pull - jax.grad(follows)(scores)

  return errors
