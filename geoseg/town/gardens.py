"""Plots around houses: gardens, drives, terraces, hedges, fences and pools."""

import numpy as np
from shapely import Polygon

from geoseg.town.districts import pick
from geoseg.town.geometry import placed
from geoseg.town.lots import Plot
from geoseg.town.palettes import Palette

Part = tuple[Polygon, str, int]
"""A polygon, not yet cut to the block, its cover and its level."""

GREEN_LEVEL, OVER_LEVEL, DECORATION_LEVEL = 1, 2, 3


def garden_parts(rng: np.random.Generator, plot: Plot, palette: Palette) -> list[Part]:
    """Everything on a plot but the house, from the ground up."""
    terraced = plot.shape in ("terrace", "block")
    half, depth = plot.form.width_m / 2, plot.form.depth_m
    side = 0.0 if terraced else min(3.0, half * 0.4)
    back = rng.uniform(7, 17)
    parts = _grounds(rng, plot, palette, (half + side, back))
    if not terraced or rng.uniform() < 0.3:
        u = half * rng.uniform(0.3, 0.9) * rng.choice([-1.0, 1.0])
        drive = _rect(plot, u - 1.5, -plot.setback_m - 2.6, u + 1.5, 0.5)
        parts.append((drive, pick(rng, {"paving": 0.7, "gravel": 0.3}), OVER_LEVEL))
    if rng.uniform() < 0.5:
        terrace = _rect(plot, -half * 0.8, depth - 0.2, half * rng.uniform(-0.2, 0.9), depth + rng.uniform(2, 4.5))
        parts.append((terrace, pick(rng, {"paving": 0.8, "gravel": 0.2}), OVER_LEVEL))
    parts += _borders(rng, plot, half + side, back)
    if rng.uniform() < palette.pool_share:
        parts.append(_pool(rng, plot))
    return parts


def _grounds(rng: np.random.Generator, plot: Plot, palette: Palette, size: tuple[float, float]) -> list[Part]:
    """Front and back garden: grass by the habit of the climate, else earth, gravel or paving."""
    half, back = size
    depth, setback = plot.form.depth_m, plot.setback_m
    share = palette.lawn_share
    covers = {"lawn": share * 0.6, "meadow": share * 0.3, "soil": (1 - share) * 0.55, "paving": (1 - share) * 0.3}
    covers["gravel"] = (1 - share) * 0.15
    behind, before = pick(rng, covers), pick(rng, covers)
    parts = [(_rect(plot, -half, depth * 0.5, half, depth + back), behind, _level(behind))]
    if setback > 2.5:
        parts.append((_rect(plot, -half, 0.4 - setback, half, depth * 0.5), before, _level(before)))
    for _ in range(int(rng.integers(0, 4))):
        u, v = rng.uniform(-half, half), depth + rng.uniform(1.5, back)
        bed = _rect(plot, u, v, u + rng.uniform(0.8, 3.0), v + rng.uniform(0.8, 2.5))
        parts.append((bed, pick(rng, {"bed": 0.6, "object": 0.4}), DECORATION_LEVEL))
    return parts


def _level(cover: str) -> int:
    return GREEN_LEVEL if cover in ("lawn", "meadow") else 0


def _borders(rng: np.random.Generator, plot: Plot, half: float, back: float) -> list[Part]:
    """A hedge or a fence on one side and behind."""
    depth = plot.form.depth_m
    kind = pick(rng, {"hedge": 0.28, "fence": 0.5, "none": 0.22})
    if kind == "none":
        return []
    wide, level = (0.6, GREEN_LEVEL) if kind == "hedge" else (0.16, DECORATION_LEVEL)
    parts: list[Part] = [(_rect(plot, -half - wide, 0.0, -half + wide, depth + back), kind, level)]
    if rng.uniform() < 0.5:
        parts.append((_rect(plot, -half, depth + back - wide, half, depth + back + wide), kind, level))
    return parts


def _rect(plot: Plot, u0: float, v0: float, u1: float, v1: float) -> Polygon:
    """A rectangle of the plot's frame."""
    return Polygon(placed(np.array([(u0, v0), (u1, v0), (u1, v1), (u0, v1)]), plot.at, plot.angle))


def _pool(rng: np.random.Generator, plot: Plot) -> Part:
    """A swimming pool behind a house."""
    v = plot.form.depth_m + rng.uniform(3.0, 7.0)
    u, size = rng.uniform(-3, 3), rng.uniform(2.2, 4.4)
    return _rect(plot, u - size, v, u + size, v + size * rng.uniform(0.8, 1.2)), "pool", OVER_LEVEL
