"""Metrics: arrays and streams of images in, floats out.

`nets` make features of images, `collect` runs one over a stream, `compare` sets
two sets against each other, each number beside its floor and with its protocol.
A file a metric: `frechet`, `kernel`, `scores`, `neighbours`, `prd`; `modes`,
`classes`, `stacked` and `intra_class` for sets whose modes or labels are known.
`python -m gan_jax.metrics A B` is the command; it alone reads data.
"""
