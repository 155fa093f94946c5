"""Weight clipping's bound on slopes, and the bound by instance noise."""

import jax
import numpy as np
import optax
from jax import numpy as jnp

from gan_jax import games, losses, models, regularizers
from gan_jax.theory import divergences, transport
from launch.lab import population, result

ATOMS = 6
CLIPS = (0.01, 0.1, 1.0)
WIDTHS = (1, 16, 16, 1)
SHIFT = 2.0


def clipping(quick: bool) -> dict:
  """Slopes of clipped critics against the product of their layers' norms."""
  steps, seeds = (200, 4) if quick else (2000, 16)
  module = models.discriminator(
    'mlp', features=WIDTHS[1:-1], data_shape=WIDTHS[:1], activation='relu'
  )
  x = jnp.linspace(-4.0, 4.0 + SHIFT, 201)[:, None]
  trained = _clipped(module, x, steps, seeds)
  ones = jax.tree.map(jnp.ones_like, _start(module)(jax.random.key(0)))
  attained = transport.lipschitz_on(lambda x: module.apply(ones, x), x)
  rows = [
    result.exact(
      'slope of the critic whose weights are all c = 1',
      transport.clipping_bound(WIDTHS, 1.0),
      attained,
      1e-9,
      f'the bound prod c sqrt(in out), widths {WIDTHS}; it is attained',
    ),
    *_excess_rows(trained, seeds),
    *(
      result.finding(
        f'share of the bound that training reaches, c = {c}',
        None,
        result.worst(part['of_bound']),
        None,
        f'bound {part["bound"]:.3g}; of W = {SHIFT:g} value / (measured K) '
        f'shows at best {result.worst(part["over_slope"]):.3g}',
      )
      for c, part in trained.items()
    ),
  ]
  return dict(steps=steps, seeds=seeds, trained=trained, rows=rows)


def excess(values, limit: float) -> float:
  """By how much the largest is above the limit; nan if one of them is."""
  return result.worst(np.maximum(0.0, np.asarray(values) - limit))


def _excess_rows(trained: dict, seeds: int) -> list[result.Row]:
  """What no critic may exceed, of all clips and seeds."""
  every = lambda name: [part[name] for part in trained.values()]
  measured = result.worst(every('over_slope'))
  return [
    result.exact(
      'largest excess of a trained slope over the bound',
      0.0,
      excess(every('of_bound'), 1.0),
      1e-9,
      f'clips {CLIPS}, {seeds} seeds each',
    ),
    result.exact(
      "largest excess over K1 K2 K3, the product of the layers' own norms",
      0.0,
      excess(every('of_norms'), 1.0),
      1e-9,
      'composition of Lipschitz maps; same critics',
    ),
    result.exact(
      'largest excess of (E_r f - E_g f) / (K1 K2 K3) over W',
      0.0,
      excess(every('over_norms'), SHIFT),
      1e-9,
      f'K1 K2 K3 bounds the slope everywhere; W = {SHIFT:g}',
    ),
    result.finding(
      'largest (E_r f - E_g f) / K, K the steepest slope measured',
      f'<= {SHIFT:g}',
      measured,
      measured <= SHIFT + 1e-6,
      'measured on a grid of step 0.05, so K is from below: not a bound',
    ),
  ]


def _start(module):
  def start(key):
    params = module.init(key, *module.example_inputs())
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)

  return start


def _clipped(module, x: jax.Array, steps: int, seeds: int) -> dict:
  """Wasserstein critics on the quantiles of both normals, one for each clip.

  The generator stands still. All clips train in one program: a clip at c is one
  at 1 of the weights over c.
  """
  clips = jnp.asarray(CLIPS)
  clip = lambda d: _times(
    regularizers.clip_weights(_times(d, 1 / clips), 1.0), clips
  )
  # Steps in proportion to the clip.
  rmsprop = optax.chain(
    optax.rmsprop(0.01), optax.stateless(lambda u, _: _times(u, clips))
  )
  gain, slope = _gain_and_slope(module, x)
  at_start = jax.vmap(_start(module))
  history = population.train(
    population.projected(
      games.simultaneous(optax.set_to_zero(), rmsprop),
      lambda players: players._replace(d=clip(players.d)),
    ),
    lambda key: games.zero_sum(lambda g, d: -jnp.sum(jax.vmap(gain)(d))),
    lambda key: games.Players(
      jnp.zeros(()), clip(at_start(jax.random.split(key, len(CLIPS))))
    ),
    lambda players: dict(
      slope=jax.vmap(slope)(players.d), gain=jax.vmap(gain)(players.d)
    ),
    np.arange(seeds),
    num_steps=steps,
    record_every=steps // 10,
  )
  return _found(history)


def _times(tree, c: jax.Array):
  """Leaves `[len(c), ...]` times c."""
  return jax.tree.map(
    lambda leaf: leaf * c.reshape(-1, *[1] * (leaf.ndim - 1)), tree
  )


def _gain_and_slope(module, x: jax.Array):
  """E_r f - E_g f of a critic, and its largest slope on x."""
  real = jax.scipy.special.ndtri((jnp.arange(200) + 0.5) / 200)[:, None]
  loss = losses.get('wasserstein').discriminator

  def gain(params):
    f = lambda x: module.apply(params, x)
    return -jnp.mean(loss(f(real), f(real + SHIFT)))

  slope = lambda params: transport.lipschitz_on(
    lambda x: module.apply(params, x), x
  )
  return gain, slope


def _found(history: population.History) -> dict:
  """Of each clip: slopes over the steps, and what came out for every seed."""
  path, gains = (np.asarray(history.seen[name]) for name in ('slope', 'gain'))
  norms = jax.jit(jax.vmap(jax.vmap(transport.norms_bound)))(history.players.d)
  last, gain, norms = path[:, -1], gains[:, -1], np.asarray(norms)
  bounds = [transport.clipping_bound(WIDTHS, c) for c in CLIPS]
  return {
    str(c): dict(
      steps=np.asarray(history.steps),
      path=path[:, :, i],
      bound=bounds[i],
      of_bound=(last[:, i] / bounds[i]).tolist(),
      of_norms=(last[:, i] / norms[:, i]).tolist(),
      over_slope=(gain[:, i] / last[:, i]).tolist(),
      over_norms=(gain[:, i] / norms[:, i]).tolist(),
    )
    for i, c in enumerate(CLIPS)
  }


def noise_bounds(quick: bool) -> dict:
  """Both sides of the noise bound on random mixtures of atoms in [0, 1]."""
  cases = 300 if quick else 3000
  draw = np.random.default_rng(1)
  array = lambda *shape: jnp.asarray(draw.uniform(size=shape))
  weights = lambda: jnp.asarray(draw.dirichlet(np.full(ATOMS, 0.7), cases))
  # Clusters of random widths, so that near and far pairs both occur.
  atoms = lambda: jnp.clip(
    array(cases, 1) + (array(cases, ATOMS) - 0.5) * array(cases, 1), 0, 1
  )
  mixtures = atoms(), weights(), atoms(), weights()
  sizes = jnp.asarray(10 ** draw.uniform(-2.5, 0, cases))
  kinds = dict(
    uniform=(divergences.noised_js_uniform, 1 / 3, 2.0),
    normal=(divergences.noised_js_normal, 1.0, 0.0),
  )
  sides = {
    name: _sides(function, variance, reach, mixtures, sizes)
    for name, (function, variance, reach) in kinds.items()
  }
  over = {name: result.worst(part['ratio']) for name, part in sides.items()}
  rows = [
    result.exact(
      'uniform noise: largest excess of W over the bound',
      0.0,
      excess(sides['uniform']['ratio'], 1.0),
      0.0,
      f'{cases} mixtures; C holds the supports after the noise, JS exact',
    ),
    result.finding(
      'normal noise: largest W / bound, C of the clean supports',
      '<= 1',
      over['normal'],
      over['normal'] <= 1,
      'the theorem asks for bounded supports after the noise; normal noise has '
      'none, so this goes beyond it',
    ),
    result.finding(
      'uniform noise: median W / bound',
      None,
      float(np.median(sides['uniform']['ratio'])),
      None,
      f'tightest {over["uniform"]:.3f}',
    ),
  ]
  return dict(sizes=np.asarray(sizes), **sides, rows=rows)


def _sides(function, variance, reach, mixtures, sizes) -> dict:
  """W and the bound; noise of size s has variance `variance` s^2."""

  def both(case):
    (x, p, y, q), size = case
    points = jnp.concatenate([x, y])
    diameter = jnp.max(points) - jnp.min(points) + reach * size
    noised = function(x, p, y, q, size)
    bound = divergences.noise_bound(variance * size**2, diameter, noised)
    return transport.on_the_line(x, p, y, q), bound

  left, right = jax.jit(lambda cases: jax.lax.map(both, cases, batch_size=50))(
    (mixtures, sizes)
  )
  left, right = np.asarray(left), np.asarray(right)
  return dict(left=left, right=right, ratio=left / right)
