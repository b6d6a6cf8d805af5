"""What lies on a podium, gardens, pools, courts, cars and pavilions, and what a shell shows: slabs, shafts and cranes."""

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.town.canvas import Canvas, Patch
from geoseg.town.districts import pick
from geoseg.town.geometry import box_at, placed, polygons_of, scattered, stalls
from geoseg.town.model import Building
from geoseg.town.palettes import Palette, shades

_PARTS = {"garden": 0.36, "paving": 0.2, "pool": 0.07, "court": 0.05, "cars": 0.1, "pavilion": 0.22}
_COURTS = np.array([(92, 86, 150), (88, 124, 166), (92, 132, 104), (164, 96, 78)], dtype=np.float64)
_PAVILIONS = np.array([(238, 236, 230), (206, 140, 60), (222, 214, 196), (150, 96, 76), (112, 116, 122)], np.float64)


def paint_deck(canvas: Canvas, patch: Patch, building: Building, rng: np.random.Generator, palette: Palette) -> None:
    """The roof of a podium: paved, with up to forty parts on it."""
    color = shades(rng, palette.paving if rng.uniform() < 0.6 else palette.flat, 0.1)
    patch.paint(color.astype(np.float32), "paving")
    room = shapely.buffer(building.footprint, -1.2)
    angle = float(np.radians(building.orientation_deg))
    low, high = np.reshape(building.footprint.bounds, (2, 2))
    green = rng.uniform(0.2, 1.6)
    shares = {name: share * (green if name == "garden" else 1.0) for name, share in _PARTS.items()}
    for _ in range(int(np.clip(building.footprint.area / rng.uniform(60, 260), 4, 40))):
        kind = pick(rng, shares)
        half = rng.uniform(2.5, 11.0, 2)
        shape = shapely.Polygon(box_at(rng.uniform(low, high), angle, *half))
        if rng.uniform() < 0.35:
            shape = shapely.buffer(shapely.buffer(shape, -0.8 * half.min()), 0.8 * half.min())
        for part in polygons_of(shapely.intersection(shape, room), 6.0):
            _paint_part(canvas, part, kind, rng, palette)
    rings = [shapely.get_coordinates(r) for r in (building.footprint.exterior, *building.footprint.interiors)]
    canvas.lines(rings, np.minimum(color * 1.14, 250), closed=True)


def _paint_part(canvas: Canvas, part: shapely.Polygon, kind: str, rng: np.random.Generator, palette: Palette) -> None:
    if kind == "garden":
        canvas.fill(part, shades(rng, palette.lawn), "grass")
        _trees(canvas, part, rng, palette)
    elif kind == "pool":
        canvas.fill(part, np.array([96.0, 176, 190]) * rng.uniform(0.85, 1.1), "water")
        canvas.lines([shapely.get_coordinates(part.exterior)], (222, 218, 210), closed=True)
    elif kind == "court":
        canvas.fill(part, _COURTS[int(rng.integers(len(_COURTS)))] * rng.uniform(0.9, 1.1), "paving")
        inside = polygons_of(part.buffer(-1.2))
        canvas.lines([shapely.get_coordinates(p.exterior) for p in inside], (222, 222, 218), closed=True)
    elif kind == "cars":
        canvas.fill(part, shades(rng, palette.asphalt), "asphalt")
        for x, y, heading in stalls(part):
            if rng.uniform() < 0.6:
                canvas.quad(
                    box_at(np.array([x, y]), heading, 2.2, 0.9), rng.choice([230.0, 200, 120, 60]) * np.ones(3), "car"
                )
    elif kind == "pavilion":
        shadow = canvas.sun.shadow(float(rng.uniform(2, 6)))
        canvas.fill(shapely.transform(part, lambda xy: xy + shadow), (46, 46, 50), "flat")
        canvas.fill(part, _PAVILIONS[int(rng.integers(len(_PAVILIONS)))] * rng.uniform(0.85, 1.05), "flat")
    else:
        canvas.fill(part, shades(rng, palette.paving, 0.12), "paving")


def _trees(canvas: Canvas, part: shapely.Polygon, rng: np.random.Generator, palette: Palette) -> None:
    spots = scattered(rng, part, rng.choice([0.01, 0.03, 0.07]))
    radius = rng.uniform(1.0, 2.6, len(spots))
    color = shades(rng, palette.leaf)
    canvas.discs(spots + canvas.sun.shadow(2.0), radius, np.tile(color * 0.45, (len(spots), 1)), "leaf")
    canvas.discs(spots, radius, color * rng.uniform(0.85, 1.15, (len(spots), 1)), "leaf")


def paint_shell(canvas: Canvas, patch: Patch, building: Building, rng: np.random.Generator, palette: Palette) -> None:
    """A building without its roof yet: bays of raw concrete, open shafts, stores of material, now and then a crane."""
    color = shades(rng, (*palette.paving, *palette.soil), 0.12) * rng.uniform(0.7, 1.0)
    patch.paint(color.astype(np.float32), "paving")
    angle = float(np.radians(building.orientation_deg))
    low, high = np.reshape(building.footprint.bounds, (2, 2))
    shafts, stores = rng.uniform(0.05, 0.35), rng.uniform(0.0, 0.5)
    for at in _bays(rng, building, angle):
        half = rng.uniform(1.6, 4.2, 2)
        bay = shapely.Polygon(box_at(at, angle, *half))
        tone = 0.38 if rng.uniform() < shafts else rng.uniform(0.72, 1.22)
        for part in polygons_of(shapely.intersection(bay, building.footprint), 2.0):
            canvas.fill(part, np.minimum(color * tone, 248), "paving")
        if rng.uniform() < stores and shapely.contains(building.footprint, shapely.Point(at)):
            canvas.quad(box_at(at, angle, 1.4, 0.5), rng.uniform(60, 240, 3), "car")
    if rng.uniform() < 0.4:
        at, turn = rng.uniform(low, high), rng.uniform(0, np.pi)
        arm = np.array([np.cos(turn), np.sin(turn)]) * rng.uniform(18, 34)
        mast = np.array([at - 0.3 * arm, at + arm])
        canvas.lines([mast + canvas.sun.shadow(30.0)], (40, 40, 44))
        canvas.lines([mast], (222, 190, 70) if rng.uniform() < 0.6 else (196, 60, 48))


def _bays(rng: np.random.Generator, building: Building, angle: float) -> NDArray[np.float64]:
    """Middles of bays on a grid of columns 6–9 m apart; (N, 2)."""
    low, high = np.reshape(building.footprint.bounds, (2, 2))
    step, reach = rng.uniform(6, 9), float(np.hypot(*(high - low))) / 2
    along = np.arange(-reach, reach, step)
    u, v = np.meshgrid(along, along)
    return placed(np.column_stack([u.ravel(), v.ravel()]), (low + high) / 2, angle)
