"""Everything that lies flat: plots, fields, carriageways with their marks, stalls, and the cars on them."""

from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.town.canvas import SHIFT, Canvas, Color
from geoseg.town.geometry import STALL_M, box_at, main_axis, stalls
from geoseg.town.model import Road, Surface
from geoseg.town.noise import element_rng
from geoseg.town.palettes import Palette, shades

_MATERIAL = {
    "lawn": "grass", "meadow": "grass", "yardgrass": "grass", "park": "grass", "pitch": "grass", "crop": "crop",
    "wood": "shrub", "hedge": "leaf", "water": "water", "pool": "water", "soil": "soil", "dry": "soil", "gravel": "soil",
    "plough": "crop", "path": "soil", "track": "paving", "bed": "shrub", "object": "car", "stain": "soil", "fence": "paving", "paving": "paving", "carpark": "asphalt",
    "clay": "paving", "acrylic": "paving", "pad": "soil", "pit": "soil",
}  # fmt: skip


def paint_surface(canvas: Canvas, surface: Surface, palette: Palette) -> None:
    """Paint a patch of ground with its cover."""
    rng = element_rng(surface.seed, 21)
    color = _cover_color(rng, surface.cover, palette)
    canvas.fill(surface.area, color, _MATERIAL[surface.cover])
    if surface.cover in ("crop", "plough") and surface.area.area > 300:
        _furrows(canvas, surface, rng, color)
    elif surface.cover == "pitch":
        _pitch_marks(canvas, surface)
    elif surface.cover in _COURTS:
        _court_marks(canvas, surface)
    elif surface.cover == "carpark":
        _stall_marks(canvas, surface)
    elif surface.cover == "pool":
        canvas.lines([shapely.get_coordinates(surface.area.exterior)], (214, 210, 202), closed=True)


def _cover_color(rng: np.random.Generator, cover: str, palette: Palette) -> NDArray[np.float64]:
    """The colour of one patch of a cover in this climate."""
    first, second, share, gain = _MIXED.get(cover, ("soil", "soil", 0.0, 1.0))
    if cover == "object":
        return np.asarray(_OBJECTS[int(rng.integers(len(_OBJECTS)))] * rng.uniform(0.8, 1.1))
    if cover in _COURTS:
        return np.asarray(_COURTS[cover][int(rng.integers(len(_COURTS[cover])))] * rng.uniform(0.9, 1.1))
    if cover == "pool":
        return np.array([96.0, 176, 190]) * rng.uniform(0.85, 1.1)
    if cover == "fence":
        gain = rng.choice([0.55, 1.18])
    color: NDArray[np.float64] = shades(rng, getattr(palette, first), 0.05)
    if share:
        color = color * (1 - share) + shades(rng, getattr(palette, second), 0.05) * share
    return color * gain


_MIXED: dict[str, tuple[str, str, float, float]] = {
    "lawn": ("lawn", "soil", 0.0, 1.0), "yardgrass": ("lawn", "soil", 0.08, 1.0), "park": ("lawn", "soil", 0.0, 1.0),
    "pitch": ("lawn", "soil", 0.0, 1.04), "meadow": ("lawn", "soil", 0.25, 1.0), "wood": ("leaf", "soil", 0.1, 0.8),
    "hedge": ("leaf", "leaf", 0.0, 0.95), "track": ("paving", "plough", 0.5, 1.0), "gravel": ("soil", "paving", 0.6, 1.0),
    "crop": ("crop", "crop", 0.0, 1.0), "plough": ("plough", "plough", 0.0, 1.0), "water": ("water", "water", 0.0, 1.0),
    "carpark": ("asphalt", "asphalt", 0.0, 1.0), "paving": ("paving", "paving", 0.0, 1.0), "bed": ("leaf", "plough", 0.5, 1.0),
    "stain": ("soil", "soil", 0.0, 0.72), "path": ("soil", "paving", 0.3, 1.06), "dry": ("soil", "lawn", 0.12, 1.0),
    "pad": ("soil", "paving", 0.4, 1.08), "pit": ("soil", "soil", 0.0, 0.6),
}  # fmt: skip
"""Cover → two of the palette's colours, the share of the second, and a gain; bare soil where not named."""

_COURTS = {
    "clay": np.array([(188, 116, 76), (172, 96, 66), (198, 130, 90)], dtype=np.float64),
    "acrylic": np.array([(88, 124, 166), (92, 132, 104), (158, 92, 80), (150, 150, 148)], dtype=np.float64),
}

_OBJECTS = np.array([(222, 220, 214), (92, 96, 100), (150, 128, 104), (60, 84, 120)], dtype=np.float64)


def _furrows(canvas: Canvas, surface: Surface, rng: np.random.Generator, color: NDArray[np.float64]) -> None:
    """Rows of a field, lighter and darker along its long side."""
    patch = canvas.patch(surface.area)
    if patch is None:
        return
    angle, _, _, center = main_axis(surface.area)
    x, y = patch.xy((float(center[0]), float(center[1])))
    across = y * np.float32(np.cos(angle)) - x * np.float32(np.sin(angle))
    gain = np.ones_like(across)
    for step, depth in ((max(rng.uniform(0.9, 2.0), 2.5 * canvas.pixel_size_m), 0.05), (rng.uniform(9, 18), 0.04)):
        phase = across * np.float32(1 / step)
        gain += np.float32(depth) * (np.abs((phase - np.floor(phase)) * 4 - 2) - 1)
    patch.paint(gain[..., None] * color.astype(np.float32), "crop")


def _pitch_marks(canvas: Canvas, surface: Surface) -> None:
    angle, length, width, center = main_axis(surface.area)
    white = (214, 218, 206)
    canvas.lines([box_at(center, angle, length * 0.46, width * 0.45)], white, closed=True)
    across = box_at(center, angle, 0.0, width * 0.45)
    canvas.lines([across[1:3]], white)
    turn = 2 * np.pi * np.arange(32) / 32
    ring = center + min(9.0, width * 0.13) * np.column_stack([np.cos(turn), np.sin(turn)])
    canvas.lines([ring], white, closed=True)


def _court_marks(canvas: Canvas, surface: Surface) -> None:
    """The lines of tennis and its net."""
    angle, _, _, center = main_axis(surface.area)
    white = (222, 222, 218)
    canvas.lines([box_at(center, angle, 11.9, 5.5)], white, closed=True)
    for at in (box_at(center, angle, 11.9, 4.1), box_at(center, angle, 6.4, 4.1)):
        canvas.lines([at], white, closed=True)
    canvas.lines([box_at(center, angle, 0.0, 6.4)[1:3]], (70, 74, 72))


def _stall_marks(canvas: Canvas, surface: Surface) -> None:
    spots = stalls(surface.area)
    if not len(spots) or canvas.pixel_size_m > 0.6:
        return
    along = np.column_stack([np.cos(spots[:, 2]), np.sin(spots[:, 2])])
    side = np.column_stack([along[:, 1], -along[:, 0]]) * (STALL_M / 2)
    a, b = spots[:, :2] + side - along * 2.4, spots[:, :2] + side + along * 2.4
    canvas.lines(list(np.stack([a, b], axis=1)), (176, 175, 172))


def road_color(road: Road, palette: Palette, seed: int) -> NDArray[np.float64]:
    """Colour of a carriageway: asphalt of any age, now and then concrete, or earth."""
    rng = element_rng(seed, 31)
    if not road.paved:
        return shades(rng, palette.soil, 0.05) * 1.04
    return shades(rng, palette.paving if rng.uniform() < 0.1 else palette.asphalt, 0.13)


def paint_marks(canvas: Canvas, road: Road) -> None:
    """Centre dashes, edge lines and stop bars."""
    if road.kind == "lane" or not road.paved or canvas.pixel_size_m > 0.7:
        return
    line = road.centerline
    white: Color = (202, 201, 196)
    start, end = 9.0, line.length - 9.0
    if end <= start:
        return
    if road.width_m >= 7:
        at = np.arange(start, end - 3, 9.0 if road.kind == "street" else 7.5)
        canvas.lines(list(np.stack([_points(line, at), _points(line, at + 3)], axis=1)), white)
    if road.kind == "arterial":
        body = shapely.ops.substring(line, start, end)
        for side in (-1, 1):
            rim = body.offset_curve(side * (road.width_m / 2 - 0.4))
            canvas.lines([shapely.get_coordinates(part) for part in shapely.get_parts(rim)], white)
        for at_m in (start, end):
            if round(line.length * 7 + at_m) % 5 < 2:
                _zebra(canvas, road, at_m)


def paint_wear(canvas: Canvas, road: Road, seed: int, color: NDArray[np.float64]) -> None:
    """What traffic leaves: polished or darkened wheel tracks, patches and covers."""
    rng = element_rng(seed, 33)
    line = road.centerline
    if line.length < 12:
        return
    for side in (-1, 1):
        track = line.offset_curve(side * road.width_m / 4)
        wide = max(round(road.width_m * 0.22 / canvas.pixel_size_m), 1)
        parts = [shapely.get_coordinates(p) for p in shapely.get_parts(track) if not p.is_empty]
        canvas.lines(parts, color * rng.uniform(0.93, 1.05), wide)
    for at in rng.uniform(4, line.length - 4, int(line.length / 22)):
        here, ahead = _points(line, np.array([at, at + 0.5]))
        angle = float(np.arctan2(ahead[1] - here[1], ahead[0] - here[0]))
        spot = here + np.array([-np.sin(angle), np.cos(angle)]) * rng.uniform(-0.32, 0.32) * road.width_m
        half = (rng.uniform(0.3, 4.0), rng.uniform(0.25, 0.9))
        canvas.quad(box_at(spot, angle, *half), color * rng.uniform(0.82, 1.1), "asphalt" if road.paved else "soil")


def _points(line: Any, at: NDArray[np.float64]) -> NDArray[np.float64]:
    points: NDArray[np.float64] = shapely.get_coordinates(shapely.line_interpolate_point(line, at))
    return points


def _zebra(canvas: Canvas, road: Road, at_m: float) -> None:
    here, ahead = _points(road.centerline, np.array([at_m, at_m + 0.5]))
    angle = float(np.arctan2(ahead[1] - here[1], ahead[0] - here[0]))
    side = np.array([-np.sin(angle), np.cos(angle)])
    for offset in np.arange(-road.width_m / 2 + 0.7, road.width_m / 2 - 0.4, 1.0):
        canvas.quad(box_at(here + side * offset, angle, 1.6, 0.26), (204, 203, 198), "mark")


_PAINTS = np.array([
    (232, 232, 230), (226, 226, 226), (204, 205, 207), (160, 163, 168), (112, 115, 120), (70, 72, 76), (40, 41, 44),
    (52, 64, 96), (140, 44, 40), (96, 104, 92), (186, 178, 160), (238, 238, 236),
], dtype=np.float64)  # fmt: skip


def paint_cars(canvas: Canvas, cars: NDArray[np.float64]) -> None:
    """Cars with their shadows: body, windscreen and rear window."""
    for x, y, heading, number in cars:
        at = np.array([x, y])
        half = (2.1 + 0.5 * number, 0.9)
        shadow = canvas.fixed(box_at(at + canvas.sun.shadow(0.9), heading, *half))
        cv2.fillConvexPoly(canvas.shade, shadow, 200, cv2.LINE_AA, SHIFT)
        paint = _PAINTS[int(number * len(_PAINTS))]
        body = box_at(at, heading, *half)
        canvas.quad(body, paint, "car")
        cv2.fillConvexPoly(canvas.shade, canvas.fixed(body), 0, cv2.LINE_8, SHIFT)
        ahead = np.array([np.cos(heading), np.sin(heading)])
        canvas.quad(box_at(at + ahead * 0.7, heading, 0.35, 0.7), (52, 58, 66), "car")
        canvas.quad(box_at(at - ahead * 1.4, heading, 0.22, 0.65), (58, 62, 68), "car")
