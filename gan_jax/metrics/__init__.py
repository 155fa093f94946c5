"""Metrics: arrays in, floats out.

`frechet` compares two sets of features, `digits` and `pixels` make features of
images, `modes` compares sets of points. No room here knows of models or data.
"""
