"""Roads cut on a grid: nothing lost, nothing twice, and every vertex shared."""

import numpy as np
import pytest
import shapely
from rasters import make_job, settings, town
from test_vectorize import layers, same

from geoseg.vector.road_cut import cut, with_grid_vertices
from geoseg.vector.settings import VectorSettings

STAR = shapely.Point(0, 0).buffer(37.3, quad_segs=13).difference(shapely.Point(3, 1).buffer(20))


def test_a_box_over_four_cells_becomes_four_boxes():
    pieces, owner = cut(np.array([shapely.box(5, 5, 15, 17), shapely.box(0, 0, 10, 10)]), 10)
    assert list(owner) == [0, 0, 0, 0, 1]
    assert [p.bounds for p in pieces] == [
        (5, 5, 10, 10),
        (10, 5, 15, 10),
        (5, 10, 10, 17),
        (10, 10, 15, 17),
        (0, 0, 10, 10),
    ]


def test_vertices_are_inserted_where_borders_cross_the_grid():
    (grown,) = with_grid_vertices(np.array([shapely.Polygon([(5, 5), (25, 15), (5, 15)])]), 10)
    expected = [(5, 5), (10, 7.5), (15, 10), (20, 12.5), (25, 15), (20, 15), (10, 15), (5, 15), (5, 10), (5, 5)]
    assert list(grown.exterior.coords) == expected


def test_a_corner_of_the_grid_on_a_border_is_one_vertex():
    (grown,) = with_grid_vertices(np.array([shapely.Polygon([(5, 5), (15, 15), (5, 15)])]), 10)
    assert list(grown.exterior.coords) == [(5, 5), (10, 10), (15, 15), (10, 15), (5, 15), (5, 10), (5, 5)]


@pytest.mark.parametrize("seed", range(5))
def test_pieces_and_neighbours_stay_a_coverage(seed):
    """A ring of any shape, and what surrounds it: both get the same vertices, and the ring's pieces share theirs."""
    rng = np.random.default_rng(seed)
    ring = shapely.affinity.translate(shapely.affinity.rotate(STAR, rng.uniform(0, 360)), *rng.uniform(40, 60, 2))
    around = shapely.box(0, 0, 100, 100).difference(ring)
    grown = with_grid_vertices(np.array([ring, *shapely.get_parts(around)]), 9)
    pieces, _ = cut(grown[:1], 9)
    assert len(pieces) > 20
    assert shapely.is_valid(pieces).all()
    assert shapely.coverage_is_valid(np.concatenate([pieces, grown[1:]]))
    assert shapely.area(pieces).sum() == pytest.approx(ring.area, rel=1e-12)
    cells = np.floor(shapely.get_coordinates(shapely.centroid(pieces)) / 9)
    assert all(shapely.box(*cell * 9, *(cell + 1) * 9).covers(p) for p, cell in zip(pieces, cells, strict=True))


def test_pieces_have_the_area_of_their_road(tmp_path):
    classes, confidence = town(800, seed=2)
    cut_up = layers(make_job(tmp_path / "cut", classes, confidence, how=VectorSettings(cut_m=60)))["roads"]
    uncut = layers(make_job(tmp_path / "uncut", classes, confidence, how=VectorSettings(cut_m=0)))["roads"]
    assert len(cut_up) > len(uncut)
    assert cut_up["id"].is_unique
    assert set(cut_up["part_of"]) <= set(cut_up["id"])
    sums, expected = (f.groupby("part_of")["area_m2"].sum() for f in (cut_up, uncut))
    assert list(sums.index) == list(expected.index)
    assert list(sums) == pytest.approx(list(expected), rel=1e-9)
    assert shapely.coverage_is_valid(cut_up.geometry.to_numpy())


@pytest.mark.parametrize("block", [150, 411])
def test_pieces_are_the_same_for_any_blocks(tmp_path, block):
    classes, confidence = town(800, seed=2)
    one, other = (
        layers(make_job(tmp_path / str(rows), classes, confidence, how=settings(cut_m=60, block_rows=rows)))["roads"]
        for rows in (800, block)
    )
    assert len(one) > 30
    assert same({"roads": one}, {"roads": other})
