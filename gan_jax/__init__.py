"""gan_jax: losses, regularizers and optimizers for two-player games in JAX."""

__version__ = '0.1.0'
