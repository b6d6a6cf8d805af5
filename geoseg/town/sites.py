"""Building land at work: graded pads, pits, stores of material and fences. Straight and bright as roofs, but none."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely import Polygon

from geoseg.town.districts import pick
from geoseg.town.gardens import DECORATION_LEVEL, OVER_LEVEL, Part
from geoseg.town.geometry import box_at, main_axis, placed

_FENCE_M = 0.25
"""Half the width of a fence."""


def site_parts(rng: np.random.Generator, inner: Any) -> list[Part]:
    """What lies on the bare earth of a building site; `inner` is the block less roads and pavements."""
    angle, length, width, center = main_axis(inner)
    parts: list[Part] = []
    for _ in range(int(np.clip(inner.area / rng.uniform(700, 3000), 1, 9))):
        at = placed(rng.uniform(-0.45, 0.45, (1, 2)) * (length, width), center, angle)[0]
        heading = angle + (rng.normal(0, 0.5) if rng.uniform() < 0.2 else 0.0)
        half = rng.uniform(6, 30, 2)
        cover = pick(rng, {"pad": 0.5, "pit": 0.15, "paving": 0.2, "gravel": 0.15})
        parts.append((Polygon(box_at(at, heading, *half)), cover, OVER_LEVEL))
        if rng.uniform() < 0.4:
            parts += _fence(at, heading, half)
        if rng.uniform() < 0.7:
            parts += _stores(rng, at, heading, half)
    return parts


def _fence(at: NDArray[np.float64], heading: float, half: NDArray[np.float64]) -> list[Part]:
    """A fence around a pad."""
    u, v = half
    sides = [
        ((0.0, -v), (u, _FENCE_M)),
        ((0.0, v), (u, _FENCE_M)),
        ((-u, 0.0), (_FENCE_M, v)),
        ((u, 0.0), (_FENCE_M, v)),
    ]
    return [
        (Polygon(box_at(placed(np.array([middle]), at, heading)[0], heading, *size)), "fence", DECORATION_LEVEL)
        for middle, size in sides
    ]


def _stores(rng: np.random.Generator, at: NDArray[np.float64], heading: float, half: NDArray[np.float64]) -> list[Part]:
    """Stacks of pipes, boards and blocks in rows, as they were unloaded, and what lies about between them."""
    parts: list[Part] = []
    step = rng.uniform(2.0, 5.0, 2)
    filled, loose = rng.uniform(0.1, 0.7), rng.uniform(0.0, 0.4)
    for u in np.arange(-half[0], half[0], step[0]):
        for v in np.arange(-half[1], half[1], step[1]):
            if rng.uniform() < filled:
                spot = placed(np.array([(u, v)]) + rng.normal(0, loose * 2, (1, 2)), at, heading)[0]
                turn = heading + (rng.uniform(0, np.pi) if rng.uniform() < loose else 0.0)
                size = step * rng.uniform(0.12, 0.42, 2)
                cover = pick(rng, {"object": 0.6, "stain": 0.3, "pad": 0.1})
                parts.append((Polygon(box_at(spot, turn, *size)), cover, DECORATION_LEVEL))
    return parts
