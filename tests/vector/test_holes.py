"""Holes set aside while polygons are cut come back where they were."""

import numpy as np
import pytest
import shapely

from geoseg.vector.holes import put_back, set_aside
from geoseg.vector.road_cut import cut
from geoseg.vector.squaring import _less


def sieve(rng: np.random.Generator, side: int) -> shapely.Polygon:
    """A disc with a hole in two thirds of the cells of a lattice, every hole of some lattice polygon's shape."""
    x, y = np.meshgrid(np.arange(-side, side) * 10, np.arange(-side, side) * 10)
    corner = np.column_stack([x.ravel(), y.ravel()])[rng.random(x.size) < 0.66]
    low = corner + rng.integers(1, 4, corner.shape)
    high = corner + rng.integers(6, 11, corner.shape)
    holes = shapely.box(*low.T, *high.T)
    corners_cut = shapely.difference(holes, shapely.box(*low.T, *(low + 2).T))
    disc = shapely.Point(0, 0).buffer(10 * side, quad_segs=40)
    made = shapely.difference(disc, shapely.union_all(corners_cut))
    return max(shapely.get_parts(made), key=shapely.area)


def same_shape(one, other) -> bool:
    return bool((shapely.to_wkb(shapely.normalize(one)) == shapely.to_wkb(shapely.normalize(other))).all())


@pytest.mark.parametrize("seed", range(3))
def test_buildings_taken_out_leave_what_shapely_leaves(seed):
    rng = np.random.default_rng(seed)
    road = sieve(rng, 15)
    middle = rng.uniform(-150, 150, (40, 2))
    buildings = shapely.union_all(shapely.box(*(middle - 4).T, *(middle + 4).T))
    buildings = shapely.get_parts(buildings)
    assert shapely.get_num_coordinates(road) > 1000
    expected = shapely.get_parts(shapely.difference(road, shapely.union_all(buildings)))
    order = np.argsort(-shapely.area(expected), kind="stable")
    found = shapely.get_parts(_less(road, buildings))
    found = found[np.argsort(-shapely.area(found), kind="stable")]
    assert len(found) == len(expected)
    assert shapely.is_valid(found).all()
    assert same_shape(found, expected[order])


@pytest.mark.parametrize("step", [20, 37, 100])
def test_pieces_on_a_grid_are_those_of_shapely(step):
    """Holes that touch a line of the grid, in a point or along it, are cut and not set aside."""
    road = sieve(np.random.default_rng(7), 12)
    pieces, owner = cut(np.array([road]), step)
    assert not owner.any()
    lines = np.arange(-120 // step - 1, 120 // step + 2) * step
    x, y = (c.ravel() for c in np.meshgrid(lines, lines))
    parts = shapely.get_parts(shapely.intersection(road, shapely.box(x, y, x + step, y + step)))
    parts = parts[(shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(parts)]
    assert shapely.is_valid(pieces).all()
    assert set(shapely.to_wkb(shapely.normalize(pieces))) == set(shapely.to_wkb(shapely.normalize(parts)))
    assert len(pieces) == len(parts)


def test_a_hole_goes_back_to_its_polygon_and_not_to_one_that_lies_in_it():
    outer = shapely.box(0, 0, 100, 100).difference(shapely.box(10, 10, 40, 40)).difference(shapely.box(60, 60, 90, 90))
    island = shapely.box(12, 12, 38, 38).difference(shapely.box(20, 20, 30, 30))
    polygons = np.array([island, outer, shapely.box(200, 0, 210, 10)])
    rest, holes = set_aside(polygons, lambda bounds: bounds[:, 0] < 50)
    assert list(shapely.get_num_interior_rings(rest)) == [0, 1, 0]
    assert list(holes.owner) == [0, 1]
    assert same_shape(put_back(rest, np.arange(3), holes), polygons)
    left, right = shapely.intersection(rest[1], shapely.box([0, 50], 0, [50, 100], 100))
    back = put_back(np.array([rest[0], left, right, rest[2]]), np.array([0, 1, 1, 2]), holes)
    assert list(shapely.get_num_interior_rings(back)) == [1, 1, 1, 0]
    assert same_shape(back[:1], polygons[:1])


def test_where_nothing_is_set_aside_nothing_changes():
    polygons = np.array([shapely.box(0, 0, 9, 9).difference(shapely.box(2, 2, 4, 4)), shapely.box(20, 0, 25, 5)])
    rest, holes = set_aside(polygons, lambda bounds: np.zeros(len(bounds), bool))
    assert rest is polygons
    assert put_back(rest, np.arange(2), holes) is rest
    none, empty = set_aside(polygons[:0], lambda bounds: np.ones(len(bounds), bool))
    assert len(none) == len(empty) == 0
