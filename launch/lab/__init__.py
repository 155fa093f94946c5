"""The experiments of `launch/theory.py`, one file each."""
