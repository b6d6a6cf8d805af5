"""A town as values: what stands where, in map coordinates (y up, metres)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.town.settings import TownSettings

RoadKind = Literal["arterial", "street", "lane", "roundabout"]
Roof = Literal["gable", "hip", "flat", "shed", "dome", "deck", "shell"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """One stretch of road between two junctions."""

    centerline: Any
    """LineString; stretches that meet share the very same end point."""
    width_m: float
    """Width of the carriageway, 5–14 m."""
    kind: RoadKind
    """Rank in the network."""
    paved: bool
    """Asphalt or concrete, rather than earth."""

    @property
    def pavement_m(self) -> float:
        """Width of the strip between the carriageway and the plots."""
        return {"arterial": 4.2, "street": 2.4, "lane": 1.6, "roundabout": 3.0}[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """One building; neighbours of a terrace share walls vertex for vertex."""

    footprint: Any
    """Polygon, with a hole where there is a courtyard."""
    height_m: float
    """Height of the eaves above the ground."""
    shape: str
    """rectangle, l, t, u, courtyard, circle, wing45, terrace, block, podium or tower."""
    roof: Roof
    """Form of the roof."""
    orientation_deg: float
    """Direction of the main walls, counter-clockwise from east, 0–90."""
    seed: int
    """Its own random numbers: colour, chimneys and clutter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """One patch of ground with a cover."""

    area: Any
    """Polygon."""
    cover: str
    """Key of the palette's covers: lawn, crop, paving, water …"""
    level: int
    """Painting order: 0 base, 1 green, 2 over the green (drives, paths, pools), 3 decoration too thin for a map."""
    seed: int
    """Its own random numbers."""


@dataclass(frozen=True, eq=False)
class Town:
    """A planned town: the truth that a map of it should show. Towns are compared by identity."""

    settings: TownSettings
    roads: tuple[Road, ...]
    buildings: tuple[Building, ...]
    surfaces: tuple[Surface, ...]
    """In painting order."""
    trees: NDArray[np.float64]
    """(N, 4): map x, y, crown radius in metres, height in metres."""
    cars: NDArray[np.float64]
    """(N, 4): map x, y, heading in radians, and a number in 0–1 that picks the colour."""
    footprint: Any
    """Polygon that the camera saw; the bounds where there is no collar."""

    @cached_property
    def crowns(self) -> NDArray[Any]:
        """Tree crowns as polygons (octagon-quartered circles), one for each tree."""
        points = shapely.points(self.trees[:, :2])
        crowns: NDArray[Any] = shapely.buffer(points, self.trees[:, 2], quad_segs=4)
        return crowns

    @cached_property
    def road_area(self) -> Any:
        """All carriageways as one geometry."""
        return shapely.union_all(road_polygons(self.roads))

    @cached_property
    def building_area(self) -> Any:
        """All footprints as one geometry."""
        return shapely.union_all([b.footprint for b in self.buildings])

    @cached_property
    def green_area(self) -> Any:
        """All green as one geometry: green covers and crowns, less roads and buildings."""
        grown = shapely.union_all([s.area for s in self.surfaces if s.level == 1])
        over = shapely.union_all([s.area for s in self.surfaces if s.level == 2])
        green = shapely.union(shapely.difference(grown, over), shapely.union_all(self.crowns))
        return shapely.difference(shapely.difference(green, self.road_area), self.building_area)


def road_polygons(roads: tuple[Road, ...] | list[Road], pavements: bool = False) -> NDArray[Any]:
    """Carriageways as polygons with round ends, with or without the pavements on both sides."""
    lines = np.array([r.centerline for r in roads], dtype=object)
    half = np.array([r.width_m / 2 + pavements * r.pavement_m for r in roads])
    polygons: NDArray[Any] = shapely.buffer(lines, half, quad_segs=6)
    return polygons
