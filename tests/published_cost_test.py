"""Costs before a run, and the released generators as rows."""

import pathlib

import pytest

from launch import cifar10_landscape
from launch.published import cost, generators, plan


def test_seconds_by_hand():
  spent = cost.Cost(2e12, 3, 10, 10, 1)
  # 2e12 operations at 1e13 a second, and 3 passes of 1 ms.
  assert cost.seconds(spent, 100, 10) == pytest.approx(100 * 0.203)


@pytest.mark.parametrize(
  ('argument', 'count'), [('wgan,acgd', 6), ('wgan,adam', 0)]
)
def test_iterations_of_a_solver(argument, count):
  config = plan.read_config(f'configs/cifar10_icr.py:{argument}')
  assert cost.solver_iterations(config) == count
  if count:
    config.game.iterations = 4
    assert cost.solver_iterations(config) == 4
    config.game.tolerance = 0.2
    assert cost.solver_iterations(config) == 2


@pytest.mark.slow
def test_operations_of_a_dc_step_by_hand():
  # Operations an image: layers of the generator and of the critic, forward.
  pixels, taps = (16, 64, 256), 2 * 16
  g = 2 * 128 * 4096 + taps * (
    pixels[0] * 256 * 128 + pixels[1] * 128 * 64 + pixels[2] * 64 * 3
  )
  d = taps * (pixels[2] * 3 * 64 + pixels[1] * 64 * 128 + pixels[0] * 128 * 256)
  # The critic's turn: a batch is made, and both batches go forward and back,
  # to the parameters and to the layers before. The generator's: forward and
  # back through the critic, and three times as much through itself.
  by_hand = 64 * ((g + 6 * d) + (3 * g + 2 * d))
  config = plan.read_config('configs/cifar10_icr.py:wgan,adam')
  found = cost.of(config)
  # XLA leaves out products with the zeros around an image, a fifth here.
  assert 0.7 * by_hand < found.flops < 1.05 * by_hand
  assert found.passes == 2
  # docs of the networks: 1,195,587 and 662,977.
  assert found.parameters == 1_195_587 + 662_977
  acgd = cost.of(plan.read_config('configs/cifar10_icr.py:wgan,acgd'))
  assert (acgd.iterations, acgd.passes) == (6, 8)
  # Adam's two moments of both players are kept, ACGD's one.
  assert acgd.checkpoint_bytes < found.checkpoint_bytes
  assert 3 * found.flops < acgd.flops < 10 * found.flops


def test_released_generators_that_cannot_be_rows(tmp_path):
  made = lambda data: plan.make(
    cifar10_landscape.STUDY,
    plan.Asked(out=tmp_path, data=data, data_dir='D', rows=('cnn,rs',)),
  )
  with pytest.raises(ValueError, match=r'has no RSGAN-CNN-quater-cifar.npz'):
    generators.check(pathlib.Path(tmp_path), made('cifar10'))
  with pytest.raises(ValueError, match='makes images of cifar10; with --data='):
    generators.check(pathlib.Path(tmp_path), made('digits'))
  task = generators.task(made('cifar10'), tmp_path)
  assert f'--generators={tmp_path}' in task.commands()
  assert task.commands() is None
