# For GPU clusters. CUDA comes with JAX's wheels; the host has the driver (for
# CUDA 13) and the NVIDIA container toolkit. No data and no run is inside.
#
#   docker build --tag gan_jax .
#   docker run --gpus=all --volume="$PWD/runs:/runs" gan_jax \
#     --config=configs/digits.py --workdir=/runs/digits
FROM python:3.12-slim

WORKDIR /opt/gan_jax

COPY pyproject.toml README.md LICENSE ./
COPY gan_jax gan_jax
COPY configs configs
COPY launch launch
RUN pip install --no-cache-dir --editable '.[train,gpu]'

# Files below /runs then belong to user 1000 of the host.
RUN useradd --create-home --uid=1000 gan \
  && mkdir /runs && chown gan /runs
USER gan

ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["python", "-m", "gan_jax.main"]
