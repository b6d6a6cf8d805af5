"""Ground sizes against geodesics."""

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS, Geod, Transformer

from geoseg.vector.measure import Ground, ground_pixel_size_m

GEOD = Geod(ellps="WGS84")


def wkt(code):
    return CRS.from_user_input(code).to_wkt()


def field(transform, size=400):
    """A polygon with a hole, and a line, in map coordinates of a grid of some pixels."""
    outer = [(40, 50), (350, 80), (360, 330), (90, 370)]
    hole = [(150, 150), (150, 250), (250, 250), (250, 150)]

    def on_map(ring):
        return [(transform.a * x + transform.c, transform.e * y + transform.f) for x, y in ring]

    polygon = shapely.Polygon(on_map(outer), [on_map(hole)])
    return polygon, shapely.LineString(on_map([(0, 0), (size, size / 2), (size, size)]))


def geodesic(shape_, code):
    to_degrees = Transformer.from_crs(CRS.from_user_input(code), 4326, always_xy=True)
    turned = shapely.transform(shape_, lambda xy: np.column_stack(to_degrees.transform(xy[:, 0], xy[:, 1])))
    dense = shapely.segmentize(turned, shapely.length(turned) / 4000)
    area = GEOD.geometry_area_perimeter(dense)[0] if dense.geom_type == "Polygon" else 0.0
    rings = [dense.exterior, *dense.interiors] if dense.geom_type == "Polygon" else [dense]
    return abs(area), sum(GEOD.geometry_length(shapely.LineString(ring.coords)) for ring in rings)


GRIDS = {
    "utm": (32633, Affine(0.3, 0, 500_000, 0, -0.3, 4_500_000), 5e-3),
    "mercator at 60°": (3857, Affine(0.6, 0, 1_113_195, 0, -0.6, 8_399_738), 1e-4),
    "degrees": (4326, Affine(3e-6, 0, 12.5, 0, -3e-6, 47.2), 1e-4),
    # Edges here are 50 km long: straight in degrees and straight on the ground are no longer the same line.
    "degrees, a whole Sentinel tile": (4326, Affine(2.5e-3, 0, 12.5, 0, -2.5e-3, 47.2), 5e-4),
    "mercator across the date line's side": (3857, Affine(0.6, 0, -20_037_508, 0, -0.6, -4_000_000), 1e-4),
    "grads": ("EPSG:27572", Affine(1, 0, 600_000, 0, -1, 2_428_000), 5e-3),
    "feet": ("EPSG:2263", Affine(1, 0, 980_000, 0, -1, 200_000), 5e-3),
}


@pytest.mark.parametrize("grid", GRIDS)
def test_areas_and_lengths_are_those_on_the_ellipsoid(grid):
    code, transform, within = GRIDS[grid]
    polygon, line = field(transform)
    ground = Ground.of(transform, wkt(code), (400, 400))
    area, perimeter = geodesic(polygon, code)
    _, length = geodesic(line, code)
    assert ground.area_m2(np.array([polygon]))[0] == pytest.approx(area, rel=within)
    assert ground.length_m(np.array([polygon]))[0] == pytest.approx(perimeter, rel=within)
    assert ground.length_m(np.array([line]))[0] == pytest.approx(length, rel=within)


@pytest.mark.parametrize("grid", GRIDS)
def test_pixel_size_is_that_of_the_middle_pixel(grid):
    code, transform, _ = GRIDS[grid]
    height, width = ground_pixel_size_m(transform, wkt(code), (400, 400))
    to_degrees = Transformer.from_crs(CRS.from_user_input(code), 4326, always_xy=True)
    x, y = transform.a * 200 + transform.c, transform.e * 200 + transform.f
    (lon, lat), east, south = (to_degrees.transform(*p) for p in ((x, y), (x + transform.a, y), (x, y + transform.e)))
    assert width == pytest.approx(GEOD.inv(lon, lat, *east)[2], rel=1e-3)
    assert height == pytest.approx(GEOD.inv(lon, lat, *south)[2], rel=1e-3)


def test_utm_is_measured_on_the_map():
    polygon, _ = field(GRIDS["utm"][1])
    ground = Ground.of(GRIDS["utm"][1], wkt(32633), (400, 400))
    assert ground.area_m2(np.array([polygon]))[0] == polygon.area


@pytest.mark.parametrize(("crs", "unit"), [("", 1.0), ('LOCAL_CS["site",UNIT["foot",0.3048]]', 0.3048)])
def test_a_map_without_a_place_on_the_earth_is_measured_in_its_unit(crs, unit):
    assert ground_pixel_size_m(Affine(2, 0, 0, 0, -3, 0), crs, (10, 10)) == pytest.approx((3 * unit, 2 * unit))
