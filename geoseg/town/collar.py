"""The ground that the camera saw: the whole extent, or a turned, ragged piece of it."""

from typing import Any

import numpy as np
import shapely

from geoseg.town.settings import TownSettings


def scene_footprint(rng: np.random.Generator, settings: TownSettings) -> Any:
    """Polygon in local metres; with a collar it is turned by up to 9° and its sides are ragged."""
    width, height = settings.extent_m
    if not settings.collar:
        return shapely.box(0, 0, width, height)
    angle = np.radians(rng.uniform(3, 9)) * rng.choice([-1.0, 1.0])
    cos, sin = np.cos(angle), abs(np.sin(angle))
    half_width = (width * cos - height * sin) / (cos * cos - sin * sin) / 2
    half_height = (height * cos - width * sin) / (cos * cos - sin * sin) / 2
    half = np.maximum([half_width, half_height], 0.25 * min(width, height))
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]) * half
    side = shapely.segmentize(shapely.LineString(corners), 20 * settings.pixel_size_m)
    ragged = shapely.get_coordinates(side)[:-1] * (1 - 0.012 * rng.uniform(size=(len(side.coords) - 1, 1)))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    polygon = shapely.Polygon(ragged @ turn + (width / 2, height / 2))
    return shapely.intersection(polygon.buffer(0), shapely.box(0, 0, width, height))
