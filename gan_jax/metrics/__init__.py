"""Metrics: arrays in, floats out.

`frechet` compares two sets of features, `digits` and `pixels` make features of
images, `modes` compares sets of points, `floors` sets a distance beside what
real examples reach. No file here knows of models or data.
"""
