"""A town as an aerial photograph.

The scene is painted in squares of a fixed lattice with a margin for the lens, so what a pixel looks like depends neither
on the rows asked for nor on their number, and memory depends on the scene's width alone.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.town.camera import photograph
from geoseg.town.canvas import Canvas, Sun
from geoseg.town.crowns import paint_tree
from geoseg.town.ground import paint_cars, paint_marks, paint_surface, paint_wear, road_color
from geoseg.town.model import Road, Town, road_polygons
from geoseg.town.noise import Window
from geoseg.town.roofs import paint_building
from geoseg.town.truth import seen_mask

SQUARE_PX = 1024
"""Side of the squares that are painted one at a time."""

MARGIN_PX = 12
"""Painted around each square and thrown away: wider than the lens blurs."""


def render(town: Town, window_rows: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Red, green and blue of full-width rows [first, end); (3, rows, W) uint8, 0 where the camera saw nothing."""
    height, width = town.settings.size_px
    first, end = window_rows or (0, height)
    out = np.empty((3, end - first, width), np.uint8)
    for top in range(first - first % SQUARE_PX, end, SQUARE_PX):
        bottom = min(top + SQUARE_PX, height)
        row0, row1 = max(top, first), min(bottom, end)
        for left in range(0, width, SQUARE_PX):
            right = min(left + SQUARE_PX, width)
            square = _square(town, (top, bottom, left, right))
            out[:, row0 - first : row1 - first, left:right] = square[:, row0 - top : row1 - top]
    out[:, ~seen_mask(town, (first, end))] = 0
    return out


@dataclass(frozen=True, slots=True)
class _Index:
    """What lies where, so that a square paints only what it shows."""

    surfaces: Any
    roads: Any
    pavements: NDArray[Any]
    carriageways: NDArray[Any]
    objects: Any
    """Tree of footprints and crowns, with their shadows, in the order of their heights."""
    order: NDArray[np.int64]
    """Buildings as 0 …, trees after them."""
    cars: Any


@lru_cache(maxsize=2)
def _index_of(town: Town) -> _Index:
    """The index of a town; kept, because a scene is rendered in many calls."""
    sun = Sun.of(town.settings)
    boxes = np.concatenate([
        shapely.bounds([b.footprint for b in town.buildings]).reshape(-1, 4),
        np.column_stack([town.trees[:, :2] - town.trees[:, 2:3], town.trees[:, :2] + town.trees[:, 2:3]]),
    ])  # fmt: skip
    heights = np.concatenate([[b.height_m + 1.2 for b in town.buildings], town.trees[:, 3]])
    push = np.array(sun.toward) * (-sun.cot) * heights[:, None]
    boxes[:, :2] += np.minimum(push, 0)
    boxes[:, 2:] += np.maximum(push, 0)
    order = np.argsort(heights, kind="stable")
    pavements = road_polygons(town.roads, pavements=True)
    return _Index(
        surfaces=shapely.STRtree([s.area for s in town.surfaces]),
        roads=shapely.STRtree(pavements),
        pavements=pavements,
        carriageways=road_polygons(town.roads),
        objects=shapely.STRtree(shapely.box(*boxes[order].T)),
        order=order,
        cars=shapely.STRtree(shapely.points(town.cars[:, :2])),
    )


def _square(town: Town, square: Window) -> NDArray[np.uint8]:
    """One square of the lattice, painted and photographed; (3, rows, cols)."""
    window = (square[0] - MARGIN_PX, square[1] + MARGIN_PX, square[2] - MARGIN_PX, square[3] + MARGIN_PX)
    settings = town.settings
    palette = settings.climate
    index = _index_of(town)
    canvas = Canvas.blank(settings, window, palette.soil[0])
    area = _box_of(settings.origin, settings.pixel_size_m, window)
    _paint_ground(canvas, town, index, area)
    paint_cars(canvas, town.cars[np.sort(index.cars.query(area.buffer(6)))])
    count = len(town.buildings)
    for place in np.sort(index.objects.query(area)):
        number = int(index.order[place])
        if number < count:
            paint_building(canvas, town.buildings[number], palette)
        else:
            paint_tree(canvas, town.trees[number - count], number - count, palette)
    image = photograph(canvas, settings, palette)
    return image[:, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]


def _box_of(origin: tuple[float, float], pixel_size_m: float, window: Window) -> Any:
    """Map rectangle of a pixel window."""
    left, top = origin
    row0, row1, col0, col1 = window
    return shapely.box(
        left + col0 * pixel_size_m, top - row1 * pixel_size_m, left + col1 * pixel_size_m, top - row0 * pixel_size_m
    )


def _paint_ground(canvas: Canvas, town: Town, index: _Index, area: Any) -> None:
    """Plots, pavements, carriageways and their marks, in that order."""
    palette = town.settings.climate
    seed = town.settings.seed
    roads = [(int(i), town.roads[i]) for i in np.sort(index.roads.query(area))]
    for i, road in roads:
        canvas.fill(index.pavements[i], _pavement_color(road, town), "paving" if road.paved else "soil")
    for i in np.sort(index.surfaces.query(area)):
        paint_surface(canvas, town.surfaces[i], palette)
    for i, road in roads:
        rim = [shapely.get_coordinates(index.carriageways[i].exterior)]
        canvas.lines(rim, np.array(palette.paving[0]) * (0.9 if road.paved else 0.8), closed=True)
    # One coat for all roads of a rank and width, so that a street does not change colour at every corner.
    colors = {i: road_color(road, palette, seed * 4096 + round(road.width_m) * 8 + len(road.kind)) for i, road in roads}
    for i, road in roads:
        canvas.fill(index.carriageways[i], colors[i], "asphalt" if road.paved else "soil")
    for i, road in roads:
        paint_wear(canvas, road, seed * 65536 + i, colors[i])
    for _, road in roads:
        paint_marks(canvas, road)


def _pavement_color(road: Road, town: Town) -> NDArray[np.float64]:
    palette = town.settings.climate
    base = palette.paving[town.settings.seed % len(palette.paving)] if road.paved else palette.soil[0]
    return np.array(base, dtype=np.float64)
