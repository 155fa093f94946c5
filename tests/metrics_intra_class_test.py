"""Distances within classes, averaged by hand."""

import json

import numpy as np
import pytest

from gan_jax.metrics import frechet, intra_class

VALUES = [4.0, 1.0, 7.0]


def entry(c, **changes):
  protocol = {'features': 'pixels', 'count': 50, 'count_real': 10 + c}
  whole = {
    'value': VALUES[c],
    'real_against_real': 0.5 * c,
    'protocol': protocol | changes,
  }
  return whole


def test_the_mean_and_who_is_worst():
  result = intra_class.intra_class(entry, [20, 30, 25], num_classes=3, listed=2)
  assert result['value'] == 4 and result['real_against_real'] == 0.5
  assert result['std'] == pytest.approx(6**0.5)  # deviations 0, 3, 3
  assert result['worst'] == [
    {'class': 2, 'value': 7.0, 'count': 25},
    {'class': 0, 'value': 4.0, 'count': 20},
  ]
  assert [row['class'] for row in result['best']] == [1, 0]
  assert result['protocol'] == {
    'features': 'pixels',
    'count': 50,
    'count_real': [10, 12],
    'classes': 3,
    'real_of_a_class': [20, 30],
  }
  assert json.loads(json.dumps(result)) == result


def test_a_generator_that_ignores_its_labels_is_caught():
  # Three classes on the line at 0, 10 and 20; samples of any label are drawn
  # from all three. Over all, the distance is none; within class c it is that of
  # the means, squared, and of the deviations, sqrt(2/3) 10, squared.
  offsets = np.array([[-1.0], [1.0]]) * 1e-6
  real = [10 * c + offsets for c in range(3)]
  fake = np.concatenate(real)
  distance = lambda c: {'value': frechet.distance(fake, real[c])}
  result = intra_class.intra_class(distance, [2, 2, 2], num_classes=3)
  variance = 400 * 2 / 5 / 2  # six samples: 4 (10^2) / 5
  expected = (2 * (100 + variance) + variance) / 3
  assert result['value'] == pytest.approx(expected, rel=1e-5)
  assert frechet.distance(fake, np.concatenate(real)) < 1e-9
  assert result['best'][0]['class'] == 1
  assert 'real_against_real' not in result


def test_a_floor_that_some_classes_lack_is_left_out():
  without = lambda c: (
    entry(c) if c else {'value': 1.0, 'protocol': entry(0)['protocol']}
  )
  result = intra_class.intra_class(without, [20, 20, 20], num_classes=3)
  assert 'real_against_real' not in result


@pytest.mark.parametrize(
  ('counts', 'num_classes', 'message'),
  [
    ([20, 20], 0, 'takes none'),
    ([20, 20], 3, 'takes 3 classes, but the data have 2'),
    ([20, 1, 20], 3, 'class 1 has fewer'),
    ([0, 1, 20], 3, 'classes 0, 1 have fewer'),
    ([0] * 7, 7, r'classes 0, 1, 2, 3, 4, \.\.\. have fewer'),
  ],
)
def test_what_has_no_distance_within_classes(counts, num_classes, message):
  never = lambda c: pytest.fail('nothing is to be measured')
  with pytest.raises(ValueError, match=message):
    intra_class.intra_class(never, counts, num_classes=num_classes)


def test_a_distance_that_is_not_finite_or_of_another_protocol_is_refused():
  bad = lambda c: entry(c) | {'value': float('nan') if c == 2 else 1.0}
  with pytest.raises(ValueError, match='class 2 is not finite'):
    intra_class.intra_class(bad, [20, 20, 20], num_classes=3)
  other = lambda c: entry(c, features='pixels' if c < 2 else 'digits')
  with pytest.raises(ValueError, match='different protocols: features'):
    intra_class.intra_class(other, [20, 20, 20], num_classes=3)
