"""From settings to a town: network, blocks, buildings, green and traffic, in map coordinates."""

from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.town.blocks import BlockPlan, Site, plan_block
from geoseg.town.collar import scene_footprint
from geoseg.town.geometry import polygons_of, round_coords
from geoseg.town.model import Building, Road, Surface, Town, road_polygons
from geoseg.town.network import Network, plan_network
from geoseg.town.noise import element_rng
from geoseg.town.settings import TownSettings

_NETWORK, _ROADS, _BLOCK, _STREET, _COLLAR = range(1, 6)


def plan_town(settings: TownSettings) -> Town:
    """The vectors of the town that the settings describe; the same bits for the same settings.

    Roads and buildings may reach past the scene's bounds; what is drawn is cut by the raster.
    """
    network = plan_network(element_rng(settings.seed, _NETWORK), settings.extent_m)
    roads = _roads(settings, network)
    plans = _blocks(settings, network, roads)
    buildings = [b for plan in plans for b in plan.buildings]
    surfaces = sorted((s for plan in plans for s in plan.surfaces), key=lambda s: s.level)
    rng = element_rng(settings.seed, _STREET)
    trees = [t for plan in plans for t in plan.trees] + [_street_trees(rng, settings, roads)]
    cars = [c for plan in plans for c in plan.cars] + [_traffic(rng, roads)]
    return _on_the_map(
        settings,
        roads,
        buildings,
        surfaces,
        _with_room(np.concatenate(trees), buildings, roads),
        np.concatenate(cars),
    )


def _roads(settings: TownSettings, network: Network) -> list[Road]:
    rng = element_rng(settings.seed, _ROADS)
    dirt = settings.climate.dirt_share
    roads = []
    for edge in network.edges:
        paved = edge.kind in ("arterial", "roundabout") or rng.uniform() >= dirt
        if edge.kind != "rim":
            roads.append(Road(centerline=edge.line, width_m=edge.width_m, kind=edge.kind, paved=paved))
    return roads


def _blocks(settings: TownSettings, network: Network, roads: list[Road]) -> list[BlockPlan]:
    """Plan every block that can be seen, each with its own random numbers."""
    corridors = road_polygons(roads, pavements=True)
    tree = shapely.STRtree(corridors)
    seen = shapely.box(0, 0, *settings.extent_m).buffer(20)
    plans = []
    for number, (block, district) in enumerate(zip(network.blocks, network.districts, strict=True)):
        if not shapely.intersects(block, seen):
            continue
        near = corridors[np.sort(tree.query(block, predicate="intersects"))]
        inner = shapely.MultiPolygon(polygons_of(shapely.difference(block, shapely.union_all(near)), 40.0))
        if not inner.is_empty:
            rng = element_rng(settings.seed, _BLOCK, number)
            plans.append(
                plan_block(Site(rng, inner, district, settings.climate, settings.sheds, settings.downtown, BlockPlan()))
            )
    return plans


def _street_trees(rng: np.random.Generator, settings: TownSettings, roads: list[Road]) -> NDArray[np.float64]:
    """Rows of trees along some streets; (N, 4)."""
    rows = [np.empty((0, 4))]
    for road in roads:
        if rng.uniform() < 0.45 * min(settings.climate.tree_density, 1.2):
            step = rng.uniform(5.5, 12)
            radius = rng.uniform(1.6, 3.9)
            spots = np.concatenate(
                [_beside(road, side * (road.width_m / 2 + road.pavement_m * 0.5), step, 6.0)[:, :2] for side in (-1, 1)]
            )
            kept = spots[rng.uniform(size=len(spots)) < rng.uniform(0.5, 0.95)]
            size = radius * rng.uniform(0.7, 1.2, len(kept))
            rows.append(np.column_stack([kept, size, size * 2.0 + 1.0]))
    return np.concatenate(rows)


def _beside(road: Road, offset: float, step: float, start: float) -> NDArray[np.float64]:
    """Points every `step` metres along a road, `offset` to its left, clear of its ends; (N, 3) with the heading."""
    line = road.centerline
    reach = np.arange(start + road.width_m, line.length - start - road.width_m, step)
    here = shapely.get_coordinates(shapely.line_interpolate_point(line, reach))
    ahead = shapely.get_coordinates(shapely.line_interpolate_point(line, reach + 0.5))
    along = (ahead - here) / np.maximum(np.hypot(*(ahead - here).T), 1e-9)[:, None]
    spots = here + offset * np.column_stack([-along[:, 1], along[:, 0]])
    return np.column_stack([spots, np.arctan2(along[:, 1], along[:, 0])])


def _traffic(rng: np.random.Generator, roads: list[Road]) -> NDArray[np.float64]:
    """Cars parked at kerbs and driving; (N, 4): x, y, heading, colour."""
    rows = [np.empty((0, 4))]
    for road in roads:
        parked = road.kind in ("street", "lane") and road.width_m >= 6
        lane = road.width_m / 2 - 1.1 if parked else road.width_m / 4
        for side in (-1.0, 1.0):
            share = rng.uniform(0, 0.5) if parked else rng.uniform(0.02, 0.12)
            spots = _beside(road, side * lane, 6.2 if parked else 9.0, 3.0)
            kept = spots[rng.uniform(size=len(spots)) < share]
            rows.append(np.column_stack([kept, rng.uniform(size=len(kept))]))
    return np.concatenate(rows)


def _with_room(trees: NDArray[np.float64], buildings: list[Building], roads: list[Road]) -> NDArray[np.float64]:
    """The trees whose crowns clear the buildings and barely overhang the roads, cut back to do so."""
    points = shapely.points(trees[:, :2])
    houses = np.array([b.footprint for b in buildings], dtype=object)
    radius = np.minimum(trees[:, 2], _distance(points, houses) - 0.25)
    radius = np.minimum(radius, _distance(points, road_polygons(roads)) + 1.0)
    kept = radius >= 0.9
    return np.round(np.column_stack([trees[:, :2], radius, trees[:, 3]])[kept] * 1024) / 1024


def _distance(points: Any, geometries: NDArray[Any]) -> NDArray[np.float64]:
    """Distance from each point to the nearest geometry, up to 12 m."""
    away = np.full(len(points), 12.0)
    if len(geometries):
        (index, _), found = shapely.STRtree(geometries).query_nearest(
            points, max_distance=12.0, return_distance=True, all_matches=False
        )
        away[index] = found
    return away


def _on_the_map(
    settings: TownSettings,
    roads: list[Road],
    buildings: list[Building],
    surfaces: list[Surface],
    trees: NDArray[np.float64],
    cars: NDArray[np.float64],
) -> Town:
    """Everything moved from local metres to map coordinates."""
    corner = np.array(settings.bounds[:2])

    def moved(geometry: Any) -> Any:
        return shapely.transform(geometry, lambda xy: xy + corner)

    shift = np.array([*corner, 0.0, 0.0])
    return Town(
        settings=settings,
        roads=tuple(replace(r, centerline=moved(r.centerline)) for r in roads),
        buildings=tuple(replace(b, footprint=moved(b.footprint)) for b in buildings),
        surfaces=tuple(replace(s, area=moved(s.area)) for s in surfaces),
        trees=trees + shift,
        cars=np.column_stack([np.round(cars[:, :2] * 1024) / 1024, cars[:, 2:]]) + shift,
        footprint=round_coords(moved(scene_footprint(element_rng(settings.seed, _COLLAR), settings))),
    )
