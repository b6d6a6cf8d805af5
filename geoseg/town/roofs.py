"""Buildings from above: roof planes lit by the sun, and what stands on them."""

import itertools
from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.polygon import orient

from geoseg.town.canvas import SHIFT, Canvas, Patch
from geoseg.town.decks import paint_deck, paint_shell
from geoseg.town.geometry import box_at, polygons_of
from geoseg.town.model import Building
from geoseg.town.noise import element_rng
from geoseg.town.palettes import Palette, shades

_LOOK = 11
"""Key of the random numbers that decide a roof's look."""


def paint_building(canvas: Canvas, building: Building, palette: Palette) -> None:
    """Throw the building's shadow and paint its roof over whatever is there."""
    patch = canvas.patch(building.footprint)
    rng = element_rng(building.seed, _LOOK)
    if patch is not None:
        patch.unshade()
    rise = 1.2 if building.roof in ("gable", "hip") else 0.0
    throw_shadow(canvas, building.footprint, building.height_m + rise)
    if patch is None:
        return
    patch.unshade()
    if building.roof in ("gable", "hip"):
        _pitched(canvas, patch, building, rng, palette)
    elif building.roof == "dome":
        _round(patch, building, rng, palette)
    elif building.roof == "deck":
        paint_deck(canvas, patch, building, rng, palette)
    elif building.roof == "shell":
        paint_shell(canvas, patch, building, rng, palette)
    else:
        _flat(canvas, patch, building, rng, palette)


def throw_shadow(canvas: Canvas, footprint: Any, height_m: float) -> None:
    """Shade what the footprint sweeps when pushed along the light."""
    push = canvas.pushed(height_m)
    rings = canvas.rings(footprint)
    for ring in rings:
        for a, b in itertools.pairwise(ring):
            cv2.fillConvexPoly(canvas.shade, np.array([a, b, b + push, a + push]), 255, cv2.LINE_AA, SHIFT)
    cv2.fillPoly(canvas.shade, [r + push for r in rings], 255, cv2.LINE_AA, SHIFT)


def _walls(polygon: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Walls (N, 4: x0, y0, x1, y1), with the ground on their right, and which of them end a wing."""
    walls, ends = [], []
    shape = orient(polygon, 1.0)
    for ring in (shape.exterior, *shape.interiors):
        xy = shapely.get_coordinates(ring)[:-1]
        step = np.roll(xy, -1, axis=0) - xy
        length = np.hypot(step[:, 0], step[:, 1])
        before = np.roll(step, 1, axis=0)
        convex = before[:, 0] * step[:, 1] - before[:, 1] * step[:, 0] > 0
        shorter = (length < np.roll(length, 1)) & (length < np.roll(length, -1))
        walls.append(np.column_stack([xy, xy + step]))
        ends.append(convex & np.roll(convex, -1) & shorter)
    return np.concatenate(walls), np.concatenate(ends)


def _nearest_wall(patch: Patch, walls: NDArray[np.float64], center: tuple[float, float]) -> tuple[Any, Any]:
    """Distance to the nearest wall and its number for each pixel: equal slopes meet where walls are equally near."""
    x, y = patch.xy(center)
    best = np.full(patch.cover.shape, np.inf, np.float32)
    index = np.zeros(patch.cover.shape, np.intp)
    for number, (x0, y0, x1, y1) in enumerate((walls - np.tile(center, 2)).astype(np.float32)):
        dx, dy = x1 - x0, y1 - y0
        length = np.sqrt(dx * dx + dy * dy)
        along = ((x - x0) * dx + (y - y0) * dy) / length
        past = along - np.clip(along, 0, length)
        across = ((x - x0) * dy - (y - y0) * dx) / length
        # Two walls are equally near beyond the corner they share: the one that is less overshot gets the pixel.
        away = across * across + past * past * np.float32(1.001)
        nearer = away < best
        best[nearer] = away[nearer]
        index[nearer] = number
    return np.sqrt(best), index


def _pitched(canvas: Canvas, patch: Patch, building: Building, rng: np.random.Generator, palette: Palette) -> None:
    walls, ends = _walls(building.footprint)
    if building.shape in ("terrace", "block") and len(walls) == 4:
        ends = np.array([False, True, False, True])  # ridges follow the street, from party wall to party wall
    if building.roof == "gable" and ends.sum() < len(walls) - 1:
        walls = walls[~ends]
    center = building.footprint.centroid
    away, index = _nearest_wall(patch, walls, (center.x, center.y))
    step = walls[:, 2:] - walls[:, :2]
    normal = np.column_stack([step[:, 1], -step[:, 0]]) / np.hypot(step[:, 0], step[:, 1])[:, None]
    light = canvas.sun.light_on(normal[:, 0], normal[:, 1], float(rng.uniform(0.4, 0.85))).astype(np.float32)
    large = building.footprint.area > 450 and building.shape != "block"
    color = shades(rng, palette.flat if large else palette.pitched).astype(np.float32)
    lit = light[index] * (1 + 0.06 * (away < 0.35)) * _streaks(patch, building, (step, index), rng)
    patch.paint(lit[..., None] * color, "tile")
    top = float(away[patch.cover > 127].max(initial=0.0))
    if building.footprint.area > 40:
        _chimneys(canvas, building, rng)
        if rng.uniform() < 0.12:
            _panels(canvas, walls, normal, rng, top)


def _streaks(
    patch: Patch, building: Building, planes: tuple[NDArray[np.float64], Any], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Sheets and stains that run down the slopes: a brightness for each place along the eaves."""
    step, index = planes
    strength = rng.choice([0.015, 0.03, 0.07])
    wide = max(rng.uniform(0.5, 1.2), 1.5 * patch.canvas.pixel_size_m)
    center = building.footprint.centroid
    x, y = patch.xy((center.x, center.y))
    unit = (step / np.hypot(step[:, 0], step[:, 1])[:, None] / wide).astype(np.float32)
    along = x * unit[index, 0] + y * unit[index, 1]
    table = (1 + strength * rng.normal(0, 1, 64)).astype(np.float32)
    sheets: NDArray[np.float32] = table[np.floor(along).astype(np.int64) & 63]
    return sheets


def _chimneys(canvas: Canvas, building: Building, rng: np.random.Generator) -> None:
    inner = building.footprint.buffer(-1.8)
    if inner.is_empty:
        return
    angle = np.radians(building.orientation_deg)
    for _ in range(int(rng.integers(0, 3))):
        line = inner.exterior if inner.geom_type == "Polygon" else inner.geoms[0].exterior
        at = shapely.get_coordinates(shapely.line_interpolate_point(line, rng.uniform(), normalized=True))[0]
        if rng.uniform() < 0.6:
            canvas.quad(box_at(at + canvas.sun.shadow(0.8), angle, 0.4, 0.4), (58, 54, 54), "flat")
            canvas.quad(box_at(at, angle, 0.4, 0.4), (138, 110, 98), "flat")
        else:
            canvas.quad(box_at(at, angle, 0.45, 0.6), (70, 80, 94), "car")


def _panels(canvas: Canvas, walls: Any, normal: Any, rng: np.random.Generator, top: float) -> None:
    """Solar panels on the plane that looks to the sun."""
    length = np.hypot(*(walls[:, 2:] - walls[:, :2]).T)
    score = normal @ np.array(canvas.sun.toward) * np.minimum(length, 12)
    best = int(np.argmax(score))
    if top < 2.2 or length[best] < 5:
        return
    wall = walls[best]
    angle = float(np.arctan2(wall[3] - wall[1], wall[2] - wall[0]))
    at = wall[:2] + (wall[2:] - wall[:2]) * rng.uniform(0.4, 0.6) - normal[best] * top * 0.52
    half = (float(min(length[best] * 0.3, rng.uniform(1.5, 4.0))), top * 0.3)
    canvas.quad(box_at(at, angle, half[0] + 0.1, half[1] + 0.1), (150, 152, 156), "car")
    canvas.quad(box_at(at, angle, *half), (44, 52, 74), "car")


def _round(patch: Patch, building: Building, rng: np.random.Generator, palette: Palette) -> None:
    """Tanks and domes."""
    center = building.footprint.centroid
    x, y = patch.xy((center.x, center.y))
    radius = np.sqrt(x * x + y * y) + np.float32(1e-3)
    slope = float(rng.choice([0.0, 0.15, 0.5]))
    lit = patch.canvas.sun.light_on(x / radius, y / radius, slope)
    edge = 1 + 0.12 * (radius > np.sqrt(building.footprint.area / np.pi) - 0.7)
    color = shades(rng, palette.flat) if rng.uniform() < 0.6 else np.array([205.0, 204, 200])
    patch.paint((lit * edge)[..., None].astype(np.float32) * color.astype(np.float32), "flat")


def _flat(canvas: Canvas, patch: Patch, building: Building, rng: np.random.Generator, palette: Palette) -> None:
    color = shades(rng, palette.flat)
    patch.paint(color.astype(np.float32), "flat")
    if building.roof == "shed":
        return
    rim = [shapely.get_coordinates(r) for r in (building.footprint.exterior, *building.footprint.interiors)]
    inside = building.footprint.buffer(-0.5, join_style="mitre")
    if inside.geom_type == "Polygon" and not inside.is_empty:
        dark = [shapely.get_coordinates(r) for r in (inside.exterior, *inside.interiors)]
        canvas.lines([d + canvas.sun.shadow(0.25) for d in dark], color * 0.72, closed=True)
        _sections(canvas, building, rng, color)
        canvas.lines(rim, np.minimum(color * 1.16, 250), closed=True)
        _clutter(canvas, building, rng, color)


def _sections(canvas: Canvas, building: Building, rng: np.random.Generator, color: NDArray[np.float64]) -> None:
    """Parts of a large flat roof at other heights or in other coats, and a stair head that throws a shadow."""
    area = building.footprint.area
    if area < 110:
        return
    angle = np.radians(building.orientation_deg)
    room = building.footprint.buffer(-0.9, join_style="mitre")
    x0, y0, x1, y1 = room.bounds
    for _ in range(int(rng.integers(0, min(2 + area / 250, 7)))):
        at = rng.uniform((x0, y0), (x1, y1))
        part = shapely.intersection(shapely.Polygon(box_at(at, angle, *rng.uniform(2.0, 9.0, 2))), room)
        tone = color * rng.uniform(0.78, 1.2)
        raised = rng.uniform() < 0.35
        for polygon in polygons_of(part, 4.0):
            if raised:
                ring = shapely.get_coordinates(polygon.exterior) + canvas.sun.shadow(float(rng.uniform(0.8, 2.5)))
                canvas.quad(ring, color * 0.5, "flat")
            canvas.fill(polygon, np.minimum(tone, 248), "flat")


def _clutter(canvas: Canvas, building: Building, rng: np.random.Generator, color: NDArray[np.float64]) -> None:
    """Boxes, vents, skylights and stair heads with their shadows."""
    room = building.footprint.buffer(-2.4)
    if room.is_empty:
        return
    angle = np.radians(building.orientation_deg)
    x0, y0, x1, y1 = room.bounds
    shapely.prepare(room)
    count = int(min(3 + building.footprint.area / 55, 50) * rng.uniform(0.3, 1.0))
    for _ in range(count):
        at = rng.uniform((x0, y0), (x1, y1))
        half = rng.uniform(0.35, 1.1, 2) * (1.0 if rng.uniform() < 0.85 else 2.2)
        corners = box_at(at, angle, *half)
        if not shapely.contains_properly(room, shapely.Polygon(corners)):
            continue
        tone = color * rng.uniform(0.75, 1.3) if rng.uniform() < 0.7 else np.array([84.0, 92, 104])
        canvas.quad(corners + canvas.sun.shadow(float(rng.uniform(0.6, 1.8))), color * 0.5, "flat")
        canvas.quad(corners, np.minimum(tone, 245), "flat")
