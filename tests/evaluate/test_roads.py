"""Scores of road networks, against cases worked by hand."""

import numpy as np
import pytest
import shapely

from geoseg.evaluate.lines import _noded
from geoseg.evaluate.roads import apls, buffer_scores, component_count, junction_count, road_scores, width_error_m


def line(*xy):
    return shapely.LineString(xy)


def test_buffers_count_length_on_both_sides():
    """Found: 80 m of a road of 100 m, 1 m beside it, and 20 m that are nowhere near."""
    scores = buffer_scores([line((0, 1), (80, 1)), line((0, 50), (20, 50))], [line((0, 0), (100, 0))], tolerance_m=2)
    assert scores.correctness == pytest.approx(80 / 100)
    # Beyond its end the found line still is within 2 m for another √3 m.
    assert scores.completeness == pytest.approx(0.8 + np.sqrt(3) / 100, abs=0.003)
    assert scores.quality == pytest.approx(80 / (100 + 20 - np.sqrt(3)), abs=0.003)
    assert scores.lateral_rmse_m == pytest.approx(1.0)


def test_lateral_error_is_the_root_of_the_mean_square():
    """One half of the length is 0 m off, the other 1 m."""
    found = [line((0, 0), (50, 0)), line((50, 1), (100, 1))]
    assert buffer_scores(found, [line((0, 0), (100, 0))]).lateral_rmse_m == pytest.approx(np.sqrt(0.5), abs=0.01)


def test_nothing_found_and_nothing_to_find():
    road = [line((0, 0), (100, 0))]
    assert buffer_scores([], road).completeness == 0
    assert np.isnan(buffer_scores([], road).correctness)
    assert buffer_scores(road, []).correctness == 0
    assert np.isnan(buffer_scores(road, []).completeness)
    assert np.isnan(buffer_scores([], []).quality)
    assert np.isnan(buffer_scores([], road).lateral_rmse_m)
    assert apls([], road) == 0
    assert np.isnan(apls([], []))


def test_the_same_network_is_perfect_however_it_is_cut():
    whole = [line((0, 0), (200, 0)), line((200, 0), (200, 120))]
    cut = [line((100, 0), (0, 0)), line((100, 0), (200, 0)), line((200, 120), (200, 0))]
    assert apls(cut, whole) == pytest.approx(1.0)
    assert buffer_scores(cut, whole).quality == 1


def test_a_gap_costs_the_paths_across_it():
    """Control points at 0, 50, 100 of one road; the found one has a gap of 10 m about 75.

    Of the three pairs 0–50 is there, the two that reach 100 are not: 1 − 2/3. Back, the control points are 0, 70, 80 and
    100; every path within a found line is right: 1. Harmonic mean: ½.
    """
    found = [line((0, 0), (70, 0)), line((80, 0), (100, 0))]
    assert apls(found, [line((0, 0), (100, 0))], sample=None) == pytest.approx(0.5)


def test_a_detour_costs_its_share():
    """The way between two points 100 m apart is 140 m: a cost of 0.4 there, and of 40/140 back."""
    truth, found = [line((0, 0), (100, 0))], [line((0, 0), (0, 20), (100, 20), (100, 0))]
    there, back = 1 - 0.4, 1 - 40 / 140
    got = apls(found, truth, sample=None, spacing_m=1000)
    assert got == pytest.approx(2 * there * back / (there + back))


def test_lines_that_cross_without_a_node_do_not_connect():
    cross = [line((-50, 0), (50, 0)), line((0, -50), (0, 50))]
    noded = [line((-50, 0), (0, 0)), line((0, 0), (50, 0)), line((0, -50), (0, 0)), line((0, 0), (0, 50))]
    assert (junction_count(cross), component_count(cross)) == (0, 2)
    assert (junction_count(noded), component_count(noded)) == (1, 1)
    assert apls(cross, noded) < 0.8


def test_lines_that_meet_at_an_inner_vertex_connect_as_those_that_end_there():
    """As OpenStreetMap has it, and a street that is snapped to another in QGIS."""
    through = [line((0, 0), (100, 0), (200, 0)), line((100, 0), (100, 100))]
    split = [line((0, 0), (100, 0)), line((100, 0), (200, 0)), line((100, 0), (100, 100))]
    noded = _noded(np.array(through, object))
    assert {g.wkt for g in noded} == {g.wkt for g in split}
    assert apls(noded, split) == 1
    assert apls(through, split) < 0.8
    ring = line((0, 0), (1, 0), (1, 1), (0, 0))
    alone = np.array([ring, line((5, 5), (6, 6), (6, 6), (7, 5))], object)
    assert sum(shapely.length(_noded(alone))) == pytest.approx(sum(shapely.length(alone)))
    assert _noded(alone)[0].equals_exact(ring)
    assert not len(_noded(np.zeros(0, object)))


def test_of_parallel_lines_the_shorter_is_the_way():
    ends = [(0, 0), (100, 0)]
    assert apls([line(*ends), line((0, 0), (50, 80), (100, 0))], [line(*ends)], sample=None, spacing_m=1000) == 1.0


def test_widths_are_weighed_by_true_length():
    """30 m that are 1 m too wide, 70 m that are 2 m too narrow; a bridge without a width does not count."""
    found = [line((0, 0), (30, 0)), line((30, 0), (100, 0)), line((0, 0), (100, 0))]
    error = width_error_m(found, [line((0, 0), (100, 0))], np.array([9.0, 6.0, np.nan]), np.array([8.0]))
    assert error == pytest.approx(0.3 * 1 + 0.7 * 2, abs=0.01)


def test_all_scores_of_a_network():
    truth = [line((0, 0), (100, 0)), line((100, 0), (200, 0)), line((100, 0), (100, 90))]
    scores = road_scores(truth[:2], truth, widths_m=(np.array([6.0, 6.0]), np.array([6.0, 7.0, 8.0])))
    assert scores.length_ratio == pytest.approx(200 / 290)
    assert scores.junctions == (0, 1)
    assert scores.width_mae_m == pytest.approx((100 * 1 + 2 * 2) / 202, abs=0.02)
    assert 0 < scores.apls < 1
