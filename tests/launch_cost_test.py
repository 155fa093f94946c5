"""The calculator, against numbers that are derived by hand."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax import batch_game, games, losses, models
from launch import cost

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.parametrize(
  ('method', 'options', 'expected'),
  [
    ('simultaneous', {}, (1, 1)),
    ('simultaneous', dict(d_steps=5), (1, 1)),
    ('alternating', {}, (1, 1)),
    ('alternating', dict(d_steps=5), (1, 5)),
    ('alternating', dict(d_steps=2, g_steps=3), (3, 2)),
    ('extragradient', {}, (2, 2)),
    # A gradient and one product each.
    ('linearized_cgd', {}, (2, 2)),
    # No iteration: gradients, right-hand sides, and the answer of the other.
    ('cgd', dict(iterations=0, smaller='d'), (3, 2)),
    ('cgd', dict(iterations=0, smaller='g'), (2, 3)),
    # Both systems with 10 iterations of 2 products: 20 and 20 more.
    ('icr', dict(iterations=10), (22, 22)),
  ],
)
def test_vectors_of_a_step(method, options, expected):
  assert cost.vectors(method, **options) == expected


@pytest.mark.parametrize('method', ['cgd', 'acgd'])
@pytest.mark.parametrize('iterations', [1, 5, 50])
@pytest.mark.parametrize('smaller', ['g', 'd'])
def test_cgd_has_two_products_an_iteration_and_three(
  method, iterations, smaller
):
  counts = cost.vectors(method, iterations=iterations, smaller=smaller)
  gradients = 2
  assert sum(counts) == gradients + 2 * iterations + 3
  assert abs(counts.g - counts.d) == 1


def test_unknown_methods_are_named():
  with pytest.raises(ValueError, match="method='sgd' is not one of"):
    cost.vectors('sgd')


def test_bytes_of_a_step():
  # 3 vectors of 100 bytes and 2 of 10.
  assert cost.step_bytes(cost.Vectors(3, 2), cost.Vectors(100, 10)) == 320


def test_time_on_a_ring():
  # Four devices send 6/4 of 2 GB at 3 GB/s; one sends nothing.
  assert cost.ring_seconds(2e9, 4, 3.0) == pytest.approx(1.0)
  assert cost.ring_seconds(2e9, 2, 2.0) == pytest.approx(1.0)
  assert cost.ring_seconds(2e9, 1, 3.0) == 0


def test_size_of_a_tree():
  tree = {'a': jnp.zeros((2, 3)), 'b': [jnp.zeros(4, jnp.bfloat16), None]}
  assert cost.tree_size(tree) == (10, 6 * 4 + 4 * 2)
  assert cost.tree_size(None) == (0, 0)


def tiny_setup(**changes):
  generator = models.generator('mlp', features=(3,), z_size=2, data_shape=(5,))
  discriminator = models.discriminator('mlp', features=(4,), data_shape=(5,))
  method = games.alternating(optax.adam(1e-3), optax.sgd(1e-3))
  return batch_game.Setup(
    generator, discriminator, losses.get('minimax'), method, **changes
  )


def test_sizes_of_a_run():
  size = cost.sizes(tiny_setup(averaging=0.9))
  g = 2 * 3 + 3 + 3 * 5 + 5
  d = 5 * 4 + 4 + 4 * 1 + 1
  assert size.parameters == (g, d)
  assert size.parameter_bytes == (4 * g, 4 * d)
  # Adam keeps two vectors and an int32 count, SGD nothing.
  assert size.optimizer_bytes == 2 * 4 * g + 4
  assert size.averaged_bytes == 4 * g
  assert size.model_bytes == 0
  assert cost.sizes(tiny_setup()).averaged_bytes == 0


def test_nothing_is_computed(monkeypatch):
  """Shapes alone: networks that fit on no device can be asked about."""
  width = 2**18
  generator = models.generator(
    'mlp', features=(width, width), z_size=2, data_shape=(5,)
  )
  size = cost.sizes(tiny_setup()._replace(generator=generator))
  assert size.parameter_bytes.g > 4 * width**2  # 275 GB


def test_vectors_are_what_a_step_averages():
  """Counted in the program of a step on 2 devices, by hand-written play."""
  setup = tiny_setup()
  players = jax.eval_shape(
    lambda: games.Players(
      *(
        module.init(jax.random.key(0), *module.example_inputs())['params']
        for module in (setup.generator, setup.discriminator)
      )
    )
  )
  sizes = cost.Vectors(*(cost.tree_size(player)[0] for player in players))

  def loss(g, d):
    fake = setup.generator.apply({'params': g}, jnp.ones((3, 2)))
    return jnp.mean(setup.discriminator.apply({'params': d}, fake))

  def averaged(function):
    """Elements that go through pmean, scalars left out."""
    found = []
    jaxpr = jax.make_jaxpr(function, axis_env=[('data', 2)])(players)
    stack = [jaxpr.jaxpr]
    while stack:
      for equation in stack.pop().eqns:
        if 'psum' in equation.primitive.name:
          found += [v.aval.size for v in equation.invars if v.aval.shape]
        stack += [
          getattr(x, 'jaxpr', x)
          for x in equation.params.values()
          if hasattr(getattr(x, 'jaxpr', x), 'eqns')
        ]
    return sum(found)

  game = games.zero_sum(loss, axis_name='data')

  def iterations(players, count):
    """Gradients, right-hand sides, CG for the critic, the answer."""
    at = games.derivatives(game, players)
    rhs = at.d_from_g(at.grad_g)
    other = at.g_from_d(at.grad_d)
    for _ in range(count):
      rhs = at.d_from_g(at.g_from_d(rhs))
    return at.g_from_d(rhs), other

  for count in (0, 2):
    counts = cost.vectors('cgd', iterations=count, smaller='d')
    assert averaged(lambda p, n=count: iterations(p, n)) == np.dot(
      counts, sizes
    )
  both = cost.vectors('simultaneous')
  assert averaged(lambda p: games.gradients(game, p)) == np.dot(both, sizes)


def run(*words):
  return subprocess.run(
    [sys.executable, '-m', 'launch.cost', *words],
    cwd=ROOT,
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_the_tables(capsys):
  done = run(
    *('--config=configs/digits.py', '--devices=4', '--config.batch_size=12'),
    *('--method=alternating,acgd', '--iterations=3', '--bandwidth_gb_s=1'),
  )
  assert done.returncode == 0, done.stderr
  assert 'On each of 4 devices, 3 examples a device and turn' in done.stdout
  rows = {
    line.split()[0]: line.split() for line in done.stdout.splitlines() if line
  }
  g, d, both = (int(x.replace(',', '')) for x in rows['parameters'][-3:])
  assert g + d == both
  # 1.5 times the bytes, at 1 GB/s; printed to 1 kB and 1 us.
  counts = rows['acgd'][1:3]
  assert sorted(map(int, counts)) == [5, 6]
  milliseconds = 1.5 * float(rows['acgd'][3])
  np.testing.assert_allclose(float(rows['acgd'][4]), milliseconds, atol=2e-3)
  alternating = float(rows['alternating'][3])
  np.testing.assert_allclose(alternating, 4 * both / 1e6, atol=1e-3)
  assert 'simultaneous' not in rows


@pytest.mark.parametrize(
  ('words', 'said'),
  [
    ([], '--config is needed'),
    (['--config=configs/nothing.py'], 'configs/nothing.py'),
    (['--config=configs/digits.py', '--config.nothing=1'], 'nothing'),
    (['--config=configs/digits.py', '--devices=0'], '--devices=0 is too small'),
    (['--config=configs/digits.py', '--devices=7'], '--devices=7'),
    (['--config=configs/digits.py', '--method=x'], "method='x' is not one of"),
    (['--config=configs/digits.py', '--nothing'], 'nothing'),
    (['--config=configs/digits.py', 'word'], "unexpected argument 'word'"),
    (
      ['--config=configs/digits.py', '--config.loss=x'],
      "config.loss='x' is not one of",
    ),
  ],
)
def test_mistakes_are_one_line(words, said):
  done = run(*words)
  assert done.returncode == 2
  assert not done.stdout
  errors = [x for x in done.stderr.splitlines() if x.startswith('error: ')]
  assert len(errors) == 1
  assert said in errors[0]
  assert 'Traceback' not in done.stderr
