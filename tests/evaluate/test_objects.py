"""Objects: traced as scipy labels them, matched as SpaceNet does."""

from itertools import permutations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import label

from geoseg.evaluate.objects import ObjectTracer, object_scores

IDENTITY = Affine.identity()


def boxes(*bounds):
    return np.array([shapely.box(*b) for b in bounds], dtype=object)


def traced(inside, strips, transform=IDENTITY):
    tracer, start = ObjectTracer(transform), 0
    for rows in strips:
        if start < len(inside):
            tracer.add(inside[start : start + rows])
            start += rows
    return tracer.polygons()


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 12))), st.lists(st.integers(1, 5), max_size=14))
def test_parts_are_those_of_scipy_whatever_the_strips(inside, strips):
    found = traced(inside, [*strips, 100])
    number, count = label(inside)  # 4-connected
    assert len(found) == count
    for polygon in found:
        point = polygon.point_on_surface()
        own = number == number[int(point.y), int(point.x)]
        assert polygon.area == own.sum()
        rows, cols = np.nonzero(own)
        assert polygon.bounds == (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)


def test_they_lie_on_the_map():
    inside = np.zeros((4, 4), bool)
    inside[1:3, 2] = True
    (found,) = traced(inside, [2, 2], Affine(0.5, 0, 100, 0, -0.5, 200))
    assert found.bounds == (101, 198.5, 101.5, 199.5)


def test_by_hand():
    """Two of three found, one at IoU 0.8, one at 1; a third of the prediction is not there."""
    truth = boxes((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10))
    found = boxes((0, 0, 10, 8), (20, 0, 30, 10), (40, 6, 50, 16), (80, 0, 90, 10))
    scores = object_scores(found, truth, None, 0.5)
    assert (scores["matched"], scores["predicted"], scores["reference"]) == (2, 4, 3)
    assert (scores["precision"], scores["recall"]) == (0.5, pytest.approx(2 / 3, abs=1e-6))
    assert scores["f1"] == pytest.approx(4 / 7, abs=1e-6)
    assert scores["mean_matched_iou"] == pytest.approx(0.9)


def test_one_block_cannot_stand_for_two_houses():
    truth = boxes((0, 0, 10, 10), (0, 0, 10, 9))
    assert object_scores(boxes((0, 0, 10, 10)), truth, None, 0.5)["matched"] == 1


def test_the_surest_chooses_first():
    """At IoU 0.3 one object can reach two: the order then decides, as in SpaceNet."""
    truth = boxes((0, 0, 10, 10), (10, 0, 20, 10))
    found = boxes((4, 0, 14, 10), (0, 0, 9, 10))
    by_overlap = object_scores(found, truth, None, 0.2)
    assert by_overlap["matched"] == 2
    surest = object_scores(found, truth, np.array([0.9, 0.5]), 0.2)
    assert (surest["matched"], surest["mean_matched_iou"]) == (1, pytest.approx(60 / 140))
    assert object_scores(found, truth, np.array([np.nan, 0.5]), 0.2) == by_overlap


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_above_a_half_the_greedy_match_is_the_largest_there_is(seed):
    rng = np.random.default_rng(seed)

    def some():
        corner = rng.integers(0, 6, (4, 2))
        side = rng.integers(1, 6, (4, 2))
        return boxes(*np.hstack([corner, corner + side]).tolist())

    found, truth = some(), some()
    iou = np.array([[a.intersection(b).area / a.union(b).area for b in truth] for a in found])
    best = max(sum(iou[i, j] >= 0.5 for i, j in enumerate(order)) for order in permutations(range(4)))
    matched = object_scores(found, truth, None, 0.5)["matched"]
    # Objects of one map may overlap here, so greedy may lose one that the best assignment has.
    assert best - 1 <= matched <= best


@pytest.mark.parametrize(("found", "truth"), [((), ((0, 0, 1, 1),)), (((0, 0, 1, 1),), ()), ((), ())])
def test_nothing_is_no_error(found, truth):
    scores = object_scores(boxes(*found), boxes(*truth), None, 0.5)
    assert scores["matched"] == 0
    assert scores["precision"] == (0 if found else None)
    assert scores["recall"] == (0 if truth else None)
