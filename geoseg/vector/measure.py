"""Areas and lengths on the ground, whatever the reference system.

Where the map is true to scale within 1 % over the scene (UTM, national grids), planar measures are used. Elsewhere
(Web Mercator, degrees) they are taken on Lambert's azimuthal equal-area projection of the ellipsoid, centred on the
scene: areas are exact, and lengths are off by less than 0.1 % within 500 km of the centre.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import LambertAzimuthalEqualAreaConversion

from geoseg.vector.arrays import Floats

_TRUE_WITHIN = 0.01
"""Share by which the scale may be off before planar measures are given up."""

_SPAN_PX = 8.0
"""Pixels over which the scale is measured."""

_WGS84 = Geod(ellps="WGS84")


def ground_pixel_size_m(transform: Affine, crs: str, shape: tuple[int, int]) -> tuple[float, float]:
    """Height and width of a pixel on the ground at the centre of the scene, in metres, for any `crs` (WKT).

    An empty `crs`, or one without a place on the Earth, is measured in its own unit.
    """
    return Ground.of(transform, crs, shape).pixel_m


@dataclass(frozen=True, slots=True)
class Ground:
    """How map units become metres on the ground in one scene."""

    pixel_m: tuple[float, float]
    """Height and width of a pixel at the scene's centre in metres."""
    unit_m: float
    """Metres per map unit, where planar measures are true."""
    crs: str
    """WKT of the map."""
    center: tuple[float, float] | None
    """Longitude and latitude that measures are taken around; None where planar measures are true."""
    middle: tuple[float, float]
    """x and y of the scene's centre on the map."""

    @classmethod
    def of(cls, transform: Affine, crs: str, shape: tuple[int, int]) -> "Ground":
        """Look at the scene's centre, corners and sides to see how true its map is."""
        return _ground(transform, crs, shape)

    def area_m2(self, polygons: NDArray[Any]) -> Floats:
        """Area of each polygon in square metres."""
        if self.center is None:
            area: Floats = shapely.area(polygons) * self.unit_m**2
        else:
            area = shapely.area(self._equal_area(polygons))
        return area

    def length_m(self, shapes: NDArray[Any]) -> Floats:
        """Length of each line, or of all rings of each polygon, in metres."""
        if self.center is None:
            length: Floats = shapely.length(shapes) * self.unit_m
        else:
            length = shapely.length(self._equal_area(shapes))
        return length

    def in_metres(self, shapes: NDArray[Any]) -> NDArray[Any]:
        """The shapes on a plane of metres, the same for all shapes of the scene."""
        if self.center is not None:
            return self._equal_area(shapes)
        scaled: NDArray[Any] = shapely.transform(shapes, lambda xy: xy * self.unit_m)
        return shapes if self.unit_m == 1 else scaled

    def _equal_area(self, shapes: NDArray[Any]) -> NDArray[Any]:
        """The shapes on the equal-area projection around the centre."""
        forward = _to_equal_area(self.crs, self.center or (0.0, 0.0))
        projected: NDArray[Any] = shapely.transform(
            shapes, lambda xy: np.column_stack(forward.transform(xy[:, 0], xy[:, 1]))
        )
        return projected


def widened(lines: geopandas.GeoDataFrame, ground: Ground, width_m: float) -> NDArray[Any]:
    """Lines as areas, as wide as at the centre of the scene; a field `width_m` counts where it has a number."""
    widths = np.full(len(lines), width_m)
    if "width_m" in lines:
        own = pd.to_numeric(lines["width_m"], errors="coerce").to_numpy(float, na_value=np.nan)
        widths = np.where(own > 0, own, widths)
    shapes = np.asarray(lines.geometry.array, dtype=object)
    if not len(shapes):
        return shapes
    # Metres of a map unit to the east and to the north: in degrees they differ.
    (x, y), half = ground.middle, 1e-6 * (1 + max(map(abs, ground.middle)))
    both = shapely.linestrings([[(x - half, y), (x + half, y)], [(x, y - half), (x, y + half)]])
    metres = ground.length_m(both) / (2 * half)
    on_ground = shapely.buffer(shapely.transform(shapes, lambda xy: xy * metres), widths / 2)
    areas: NDArray[Any] = shapely.transform(on_ground, lambda xy: xy / metres)
    return areas


@lru_cache(maxsize=64)
def _ground(transform: Affine, crs: str, shape: tuple[int, int]) -> Ground:
    unit = _unit_m(crs)
    middle = _on_map(transform, shape[0] / 2, shape[1] / 2)
    planar = math.hypot(transform.b, transform.e) * unit, math.hypot(transform.a, transform.d) * unit
    datum = _datum(crs)
    if datum is None:
        return Ground(planar, unit, crs, None, middle)
    to_datum = Transformer.from_crs(CRS.from_wkt(crs).to_2d(), datum, always_xy=True)
    degrees = math.degrees(datum.axis_info[0].unit_conversion_factor)  # old French maps count in grads

    def geographic(x: float, y: float) -> tuple[float, float]:
        lon, lat = to_datum.transform(x, y)
        return lon * degrees, lat * degrees

    rows, cols = shape
    # The centre comes first; a map is as true as at its worst corner or side.
    places = [(row * rows, col * cols) for row in (0.5, 0.0, 1.0) for col in (0.5, 0.0, 1.0)]
    sizes = [_pixel_on_ellipsoid(transform, geographic, datum.get_geod() or _WGS84, place) for place in places]
    scales = np.array(sizes) / np.array(planar)
    true = np.isfinite(scales).all() and (abs(scales - 1) <= _TRUE_WITHIN).all()
    return Ground(sizes[0], unit, crs, None if true else geographic(*middle), middle)


def _on_map(transform: Affine, row: float, col: float) -> tuple[float, float]:
    return (
        transform.a * col + transform.b * row + transform.c,
        transform.d * col + transform.e * row + transform.f,
    )


def _unit_m(crs: str) -> float:
    """Metres per map unit; 1 where the unit is an angle (planar measures are never true then) or unknown."""
    axes = CRS.from_wkt(crs).to_2d().axis_info if crs else []
    angular = not axes or axes[0].unit_name.lower() in ("degree", "grad", "radian", "gon")
    return 1.0 if angular else float(axes[0].unit_conversion_factor)


def _datum(crs: str) -> CRS | None:
    """Longitude and latitude on the map's own datum; None where it has no place on the Earth."""
    geodetic = CRS.from_wkt(crs).to_2d().geodetic_crs if crs else None
    return None if geodetic is None else geodetic.to_2d()


def _pixel_on_ellipsoid(
    transform: Affine, geographic: Callable[[float, float], tuple[float, float]], geod: Geod, place: tuple[float, float]
) -> tuple[float, float]:
    """Height and width of a pixel at (row, column), from geodesics over a few pixels; infinite off the Earth."""
    (row, col), half = place, _SPAN_PX / 2
    ends = [(row - half, col), (row + half, col), (row, col - half), (row, col + half)]
    lon, lat = zip(*(geographic(*_on_map(transform, *end)) for end in ends), strict=True)
    if not np.isfinite([*lon, *lat]).all():
        return math.inf, math.inf
    _, _, metres = geod.inv((lon[0], lon[2]), (lat[0], lat[2]), (lon[1], lon[3]), (lat[1], lat[3]))
    return float(metres[0]) / _SPAN_PX, float(metres[1]) / _SPAN_PX


@lru_cache(maxsize=64)
def _to_equal_area(crs: str, center: tuple[float, float]) -> Transformer:
    """From the map to the equal-area projection around a place, on the map's own datum."""
    lon, lat = center
    around = LambertAzimuthalEqualAreaConversion(latitude_natural_origin=lat, longitude_natural_origin=lon)
    local = ProjectedCRS(around, geodetic_crs=_datum(crs))
    return Transformer.from_crs(CRS.from_wkt(crs).to_2d(), local, always_xy=True)
