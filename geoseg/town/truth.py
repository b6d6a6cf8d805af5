"""What a mapper would draw: the class raster and the layers of a town.

Background 0, building 1, road 2, green 3, nodata 255. Seen from above a crown hides the road below it, but the map shows
the road: crowns over carriageways count as road (the planning keeps that overhang under a metre or so). Crowns never reach
over buildings. Water, pools, bare earth, car parks, pavements and drives are background.
"""

from typing import Any

import numpy as np
import rasterio.features
import rasterio.transform
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.legend import BACKGROUND, NODATA
from geoseg.town.geometry import polygons_of
from geoseg.town.model import Town, road_polygons

BUILDING, ROAD, GREEN = 1, 2, 3


def transform_of(town: Town, first_row: int = 0) -> Affine:
    """Geotransform of the scene from a row on: pixels to map coordinates."""
    settings = town.settings
    left, top = settings.origin
    return Affine(
        settings.pixel_size_m, 0.0, left, 0.0, -settings.pixel_size_m, top - first_row * settings.pixel_size_m
    )


def class_raster(town: Town, window_rows: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Class of each pixel by what lies at its centre; (rows, W) uint8 of the window, or of the whole scene."""
    first, end = window_rows or (0, town.settings.size_px[0])
    shapes = [shape for area, value in _painted(town) for shape in _within_rows(town, area, (first, end), value)]
    classes = np.full((end - first, town.settings.size_px[1]), BACKGROUND, np.uint8)
    if shapes:
        rasterio.features.rasterize(shapes, out=classes, transform=transform_of(town, first))
    classes[~seen_mask(town, (first, end))] = NODATA
    return classes


def _painted(town: Town) -> list[tuple[NDArray[Any], int]]:
    """What covers what, from the ground up: arrays of polygons and their class."""
    green = [s.area for s in town.surfaces if s.level == 1]
    over = [s.area for s in town.surfaces if s.level == 2]
    houses = [b.footprint for b in town.buildings]
    return [
        (np.array(green, dtype=object), GREEN),
        (np.array(over, dtype=object), BACKGROUND),
        (town.crowns, GREEN),
        (road_polygons(town.roads), ROAD),
        (np.array(houses, dtype=object), BUILDING),
    ]


def _within_rows(town: Town, areas: NDArray[Any], rows: tuple[int, int], value: int) -> list[tuple[Any, int]]:
    """The polygons that can touch some rows, each with its class."""
    if len(areas) == 0:
        return []
    top, size = town.settings.origin[1], town.settings.pixel_size_m
    bounds = shapely.bounds(areas)
    near = (bounds[:, 3] > top - rows[1] * size) & (bounds[:, 1] < top - rows[0] * size)
    return [(area, value) for area in areas[near]]


def seen_mask(town: Town, window_rows: tuple[int, int]) -> NDArray[np.bool_]:
    """Where the camera saw something; (rows, W)."""
    first, end = window_rows
    size = (end - first, town.settings.size_px[1])
    if not town.settings.collar:
        return np.ones(size, bool)
    seen: NDArray[np.bool_] = rasterio.features.geometry_mask(
        [town.footprint], size, transform_of(town, first), invert=True
    )
    return seen


def building_outlines(town: Town) -> list[Any]:
    """Footprints as a class raster can show them: those that share walls as one polygon, cut to what the camera saw.

    Corners of party walls in a straight front (within 1 cm) are no corners of the outline.
    """
    whole = shapely.intersection(town.building_area, town.footprint)
    return [shapely.simplify(polygon, 0.01) for polygon in polygons_of(whole, 1e-6)]
