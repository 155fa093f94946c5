"""The benchmark's steps in PyTorch do what ours do; runs where PyTorch is."""

import jax
import ml_collections
import numpy as np
import pytest
from jax import numpy as jnp

from gan_jax import build, defaults, models, optimizers
from launch import benchmark_configs

torch = pytest.importorskip('torch', reason='compares with PyTorch')

from torch import nn  # noqa: E402
from torch.utils import flop_counter  # noqa: E402

from launch import torch_flops, torch_steps  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
  torch.set_num_threads(1)


def small(**changes) -> ml_collections.ConfigDict:
  config = benchmark_configs.residual('64,none', batch_size=3, width=4)
  config.generator.image_size = config.discriminator.image_size = 16
  for name, value in changes.items():
    (config.penalties if name in config.penalties else config)[name] = value
  return config


def as_ours(config):
  """The critic's variables, a trainer with the same, and images for both."""
  setup = build.build_setup(config)
  variables = setup.discriminator.init(
    jax.random.key(3), *setup.discriminator.example_inputs()
  )
  trainer = torch_steps.Trainer(config, 'cpu')
  weights = models.to_torch(setup.discriminator, variables)
  trainer.discriminator.load_state_dict(
    {name: torch.tensor(value) for name, value in weights.items()}
  )
  rng = np.random.default_rng(0)
  images = rng.uniform(-1, 1, (2, 3, 16, 16, 3)).astype(np.float32)
  return setup, variables, trainer, images


def by_us(setup, params, real, fake):
  """Loss of the critic, and its gradient under PyTorch's names."""

  def loss(params):
    critic = lambda x: setup.discriminator.apply({'params': params}, x)
    value = jnp.mean(setup.loss.discriminator(critic(real), critic(fake)))
    for penalty in setup.penalties:
      terms = penalty.function(critic, real, fake, jax.random.key(0))
      value += setup.lazy * penalty.weight * jnp.mean(terms)
    return value

  value, gradient = jax.value_and_grad(loss)(params)
  return value, models.to_torch(setup.discriminator, {'params': gradient})


@pytest.mark.parametrize(
  'changes',
  [
    dict(r1=10.0),
    dict(r2=3.0, loss='hinge'),
    dict(r1=2.0, r2=5.0, loss='relativistic'),
    dict(r1=10.0, lazy=4, loss='wasserstein'),
    dict(wgan_gp=10.0, loss='wasserstein'),
  ],
  ids=str,
)
def test_penalized_loss_and_its_gradient_are_ours(changes):
  setup, variables, trainer, (real, fake) = as_ours(small(**changes))
  if 'wgan_gp' in changes:  # the points between are drawn: let them not matter
    fake = real
  expected, gradient = by_us(setup, variables['params'], real, fake)
  loss = trainer._penalized_loss(
    *(torch.tensor(x).permute(0, 3, 1, 2) for x in (real, fake))
  )
  loss.backward()
  np.testing.assert_allclose(loss.item(), expected, rtol=1e-5)
  for name, parameter in trainer.discriminator.named_parameters():
    np.testing.assert_allclose(
      parameter.grad, gradient[name], rtol=1e-3, atol=1e-5, err_msg=name
    )


def test_rmsprop_moves_as_ours():
  described = defaults.optimizer('rmsprop', 1e-2)
  described = ml_collections.ConfigDict(described)
  layer = nn.Linear(3, 1, bias=False)
  start = layer.weight.detach().numpy().copy()
  theirs = torch_steps._optimizer(layer, described, 'cpu')
  ours = optimizers.build(described, 10, 1)
  params, state = jnp.asarray(start), ours.init(jnp.asarray(start))
  for gradient in ([[1.0, -2.0, 1e-3]], [[0.5, 1.0, 0.0]]):
    layer.weight.grad = torch.tensor(gradient)
    theirs.step()
    updates, state = ours.update(jnp.asarray(gradient), state, params)
    params = params + updates
  np.testing.assert_allclose(layer.weight.detach(), params, rtol=1e-5)
  # The first step divides by sqrt(.01) |g|, so it is ten rates long.
  assert np.abs(params - start).max() > 0.1


def test_operations_are_those_that_pytorch_counts():
  config = small()
  with flop_counter.FlopCounterMode(display=False) as counter:
    torch_steps.Trainer(config, 'cpu').step()
  assert torch_flops.flops(config) == counter.get_total_flops()


def test_a_penalty_shares_the_pass_of_the_loss():
  plain, lazy = torch_flops.flops(small()), torch_flops.flops(small(lazy=4))
  assert lazy == plain
  r1 = torch_flops.flops(small(r1=1.0))
  # In passes through one of two players of equal cost: 5 in the generator's
  # turn and 7 in the critic's; R1 adds the gradient of one half, 1, and that
  # gradient's own, 2. Neither is quite so: the image needs no gradient before.
  assert r1 / plain == pytest.approx(15 / 12, rel=0.05)
  lazily = torch_flops.flops(small(r1=1.0, lazy=4))
  assert lazily == pytest.approx(plain + (r1 - plain) / 4)


def test_bfloat16_stays_near():
  config = small(r1=10.0)
  _, _, trainer, (real, fake) = as_ours(config)
  images = [torch.tensor(x).permute(0, 3, 1, 2) for x in (real, fake)]
  wide = trainer._penalized_loss(*images).item()
  config.discriminator.dtype = 'bfloat16'
  narrow = trainer._penalized_loss(*images).item()
  assert wide != narrow
  assert narrow == pytest.approx(wide, rel=0.05)


def test_an_odd_step_pays_no_lazy_penalty():
  trainer = torch_steps.Trainer(small(r1=1.0, lazy=2), 'cpu')
  paid = []
  trainer._penalized = lambda *x: (
    paid.append(trainer.steps) or (trainer._penalized_loss(*x))
  )
  for _ in range(5):
    trainer.step()
  assert paid == [0, 2, 4]


@pytest.mark.parametrize(
  'change',
  [
    dict(loss='least_squares'),
    dict(dragan=1.0),
    dict(diff_augment='cutout'),
    dict(saturating=True),
    dict(instance_noise=0.1),
    dict(optimizer_d=defaults.optimizer(historical=0.1)),
  ],
  ids=str,
)
def test_refuses_what_it_does_not_do(change):
  with pytest.raises(ValueError, match='PyTorch side of the benchmark has no'):
    torch_steps.Trainer(small(**change), 'cpu')


@pytest.mark.parametrize('name', benchmark_configs.torch_rows())
def test_every_row_trains(name):
  row = benchmark_configs.torch_rows()[name]
  assert torch_flops.flops(row.config) > 0  # without computing anything
  assert row.count_gpu % row.config.lazy == 0
  assert row.count % row.config.lazy == 0
