#!/bin/bash
# Trains on a SLURM cluster:
#
#   sbatch --nodes=2 launch/slurm.sh --config=configs/digits.py --workdir=DIR
#
# One task for each GPU, which is what JAX's own cluster detection expects: it
# gives task i of a node GPU i, so every task has to see all GPUs of its node
# (--gres, not --gpus-per-task). For nodes with another number of GPUs change
# both numbers, here or on the command line of sbatch.
#
#SBATCH --job-name=gan_jax
#SBATCH --ntasks-per-node=4
#SBATCH --gres=gpu:4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
# All tasks get SIGTERM two minutes before the end: time to save.
#SBATCH --signal=TERM@120
# After a node has failed the job is run again, and goes on.
#SBATCH --requeue
#SBATCH --open-mode=append

# A task that dies takes the others with it; else they would wait for it.
exec srun --kill-on-bad-exit=1 \
  "${PYTHON:-python}" -m gan_jax.main "$@" --distributed
