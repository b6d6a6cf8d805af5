"""The built-up middle of a large town: podiums as wide as a block, the towers on them, and shells still being built."""

from typing import Any

import numpy as np
import shapely

from geoseg.town.districts import pick
from geoseg.town.geometry import GRID, box_at, main_axis, placed, polygons_of, round_coords
from geoseg.town.model import Building, Roof

_LEAST_M2 = 500.0
"""Smallest podium."""
_APART_M = 9.0
"""Least distance between towers of one podium."""


def plan_downtown(rng: np.random.Generator, inner: Any) -> list[Building]:
    """The buildings of one block, `inner` being the block less roads and pavements.

    A podium has holes where its towers stand: footprints share walls and never overlap.
    """
    setback = rng.uniform(1.5, 9.0)
    buildings = []
    for lot in _lots(rng, polygons_of(shapely.buffer(inner, -setback, join_style="mitre"), _LEAST_M2)):
        podium = _podium(rng, lot)
        if podium is not None:
            buildings += _built_up(rng, podium, main_axis(podium)[0])
    return buildings


def _lots(rng: np.random.Generator, polygons: list[Any]) -> list[Any]:
    """The polygons, large ones cut across their long side."""
    lots = []
    while polygons:
        lot, *polygons = polygons
        angle, length, width, center = main_axis(lot)
        if lot.area < rng.uniform(3000, 14000):
            lots.append(lot)
            continue
        at = placed(np.array([[rng.uniform(-0.15, 0.15) * length, 0.0]]), center, angle)[0]
        lane = shapely.Polygon(box_at(at, angle, rng.uniform(3.0, 8.0), width))
        polygons += polygons_of(shapely.difference(lot, lane), _LEAST_M2)
    return lots


def _podium(rng: np.random.Generator, lot: Any) -> Any:
    """The footprint of a podium on a lot; None where the lot is too small for it."""
    angle, length, width, center = main_axis(lot)
    half = np.array([length, width]) / 2
    kind = pick(rng, {"lot": 0.34, "rounded": 0.18, "oval": 0.14, "box": 0.16, "crescent": 0.18})
    if kind == "rounded":
        radius = width * rng.uniform(0.1, 0.35)
        shape = shapely.buffer(shapely.buffer(lot, -radius), radius)
    elif kind == "oval":
        shape = _oval(center, angle, half * rng.uniform(0.7, 1.1, 2))
    elif kind == "box":
        shape = shapely.Polygon(box_at(center, angle, *(half * rng.uniform(0.6, 0.95, 2))))
    elif kind == "crescent":
        outer = half * rng.uniform(0.75, 1.0, 2)
        away = placed(outer[None] * rng.uniform(-0.5, 0.5, (1, 2)), center, angle)[0]
        shape = shapely.difference(_oval(center, angle, outer), _oval(away, angle, outer * rng.uniform(0.5, 0.75)))
    else:
        shape = lot
    # Rounded by the intersection itself: rounded afterwards, a sliver may cross itself.
    parts = polygons_of(shapely.intersection(shape, lot, grid_size=1 / GRID), _LEAST_M2)
    return max(parts, key=lambda part: part.area, default=None)


def _oval(center: Any, angle: float, half: Any) -> Any:
    turn = 2 * np.pi * np.arange(64) / 64
    return shapely.Polygon(placed(np.column_stack([np.cos(turn), np.sin(turn)]) * half, center, angle))


def _built_up(rng: np.random.Generator, podium: Any, angle: float) -> list[Building]:
    """A podium with the towers that stand on it, or the shell of one."""
    shell = rng.uniform() < 0.22
    room = shapely.buffer(podium, -3.0)
    towers: list[Any] = []
    for _ in range(int(rng.integers(0, 8))):
        if len(towers) == 4 or room.is_empty:
            break
        tower = round_coords(_tower(rng, rng.uniform(room.bounds[:2], room.bounds[2:]), angle))
        if shapely.contains_properly(room, tower):
            towers.append(tower)
            room = shapely.difference(room, shapely.buffer(tower, _APART_M))
    deck = shapely.difference(podium, shapely.union_all(towers))
    roof: Roof = "shell" if shell else pick(rng, {"deck": 0.75, "flat": 0.25})  # type: ignore[assignment]
    base = _building(rng, deck, "podium", roof, rng.uniform(6, 24), angle)
    top: Roof = "shell" if shell and rng.uniform() < 0.7 else "flat"
    return [base, *(_building(rng, t, "tower", top, rng.uniform(32, 170), angle) for t in towers)]


def _tower(rng: np.random.Generator, at: Any, angle: float) -> Any:
    kind = pick(rng, {"bar": 0.45, "oval": 0.2, "round": 0.12, "star": 0.23})
    half = rng.uniform((11, 8), (24, 14))
    if kind == "bar":
        return shapely.Polygon(box_at(at, angle + rng.choice([0.0, np.pi / 2]), *half))
    if kind == "star":
        wings = [
            shapely.Polygon(placed(np.array([(0, -6), (half[0], -5), (half[0], 5), (0, 6)]), at, angle + turn))
            for turn in 2 * np.pi / 3 * np.arange(3)
        ]
        return shapely.union_all(wings)
    return _oval(at, angle, half if kind == "oval" else half[:1])


def _building(
    rng: np.random.Generator, footprint: Any, shape: str, roof: Roof, height: float, angle: float
) -> Building:
    return Building(
        footprint=footprint,
        height_m=round(float(height), 2),
        shape=shape,
        roof=roof,
        orientation_deg=round(float(np.degrees(angle)) % 90.0, 6),
        seed=int(rng.integers(2**31)),
    )
