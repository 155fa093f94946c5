"""The session is strict: four devices, no silent broadcasts or conversions."""

import jax
import pytest

jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_rank_promotion', 'raise')


@pytest.fixture(autouse=True)
def precision(request):
  """Core tests run in float64, training tests in float32, as shipped."""
  with jax.enable_x64(request.node.get_closest_marker('float64') is not None):
    yield
