"""Areas of overlap without overlaying."""

import tracemalloc

import numpy as np
import pytest
import shapely
import shapely.affinity
from affine import Affine
from rasterio.features import shapes
from rasters import noise

from geoseg.vector.overlap import shared_area


def blobs(seed: int) -> np.ndarray:
    """Polygons of pixels, with holes, far from the origin."""
    mask = noise(np.random.default_rng(seed), (260, 260), classes=3, smooth=4)
    found = [
        shapely.geometry.shape(s) for s, value in shapes(mask, transform=Affine.translation(30000, 70000)) if value
    ]
    return np.array([f for f in found if f.area > 40])


def turned(polygons: np.ndarray, degrees: float) -> np.ndarray:
    """Simplified and turned about their middles: what a model of a building looks like."""
    plain = [shapely.affinity.rotate(p, degrees) for p in shapely.simplify(polygons, 1.5)]
    return np.array([shapely.make_valid(p) for p in plain])


@pytest.mark.parametrize("degrees", [0, 4, 45, 180])
def test_areas_are_those_of_the_overlay(degrees):
    pixels = blobs(3)
    others = turned(pixels, degrees)
    whole = shapely.get_type_id(others) == shapely.GeometryType.POLYGON
    pixels, others = pixels[whole], others[whole]
    assert shapely.get_num_interior_rings(pixels).sum() > 5
    assert len(pixels) > 50
    expected = shapely.area(shapely.intersection(pixels, others))
    assert shared_area(pixels, others) == pytest.approx(expected, rel=1e-10, abs=1e-8)
    assert shared_area(pixels, shapely.reverse(others)) == pytest.approx(expected, rel=1e-10, abs=1e-8)


def test_a_polygon_shares_all_of_itself_and_nothing_of_one_elsewhere():
    pixels = blobs(5)
    assert shared_area(pixels, pixels) == pytest.approx(shapely.area(pixels), rel=1e-12)
    elsewhere = shapely.transform(pixels, lambda xy: xy + np.array([500, 0]))
    assert shared_area(pixels, elsewhere) == pytest.approx(0, abs=1e-9)
    assert shared_area(pixels[:0], pixels[:0]).shape == (0,)


def test_a_slab_with_thousands_of_courtyards_takes_little_memory():
    at = np.arange(40)
    left, top = (axis.ravel() * 8.0 + 4 for axis in np.meshgrid(at, at))
    holes = shapely.linearrings(shapely.get_coordinates(shapely.box(left, top, left + 3, top + 3)).reshape(-1, 5, 2))
    slab = np.array([shapely.polygons(shapely.linearrings(shapely.box(0, 0, 330, 330).exterior.coords), holes)])
    other = turned(slab, 3)
    tracemalloc.start()
    area = shared_area(slab, other)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert area == pytest.approx(shapely.area(shapely.intersection(slab, other)))
    assert peak < 100e6


def test_a_triangle_over_a_square():
    square, triangle = shapely.box(0, 0, 2, 2), shapely.Polygon([(1, 1), (4, 1), (1, 4)])
    assert shared_area(np.array([square]), np.array([triangle])) == pytest.approx([1.0])
