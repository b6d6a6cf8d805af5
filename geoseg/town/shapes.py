"""Footprints in their own frame: u along the street, v away from it, front wall on v = 0."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely import Polygon

from geoseg.town.geometry import placed, round_coords

Ring = NDArray[np.float64]
Outline = tuple[Ring, Ring | None]
"""Outer ring and courtyard."""

COS45 = float(np.sqrt(0.5))


@dataclass(frozen=True, slots=True)
class Form:
    """A shape with its size."""

    shape: str
    """Key of `SHAPES`."""
    width_m: float
    """Along the street."""
    depth_m: float
    """Away from it."""


def footprint(rng: np.random.Generator, form: Form, at: Ring, angle: float) -> Polygon:
    """The form as a polygon with the middle of its front wall `at` a point, the street running along `angle`."""
    outer, hole = SHAPES[form.shape](rng, form.width_m, form.depth_m)
    holes = [] if hole is None else [placed(hole, at, angle)]
    polygon: Polygon = round_coords(Polygon(placed(outer, at, angle), holes))
    return polygon


def _box(u0: float, v0: float, u1: float, v1: float) -> Ring:
    return np.array([(u0, v0), (u1, v0), (u1, v1), (u0, v1)])


def _mirrored(rng: np.random.Generator, ring: Ring) -> Ring:
    """The ring or its mirror image, at random, counter-clockwise."""
    return ring if rng.uniform() < 0.5 else (ring * (-1.0, 1.0))[::-1]


def _rectangle(rng: np.random.Generator, width: float, depth: float) -> Outline:
    return _box(-width / 2, 0.0, width / 2, depth), None


def _l_shape(rng: np.random.Generator, width: float, depth: float) -> Outline:
    u, v = width * rng.uniform(-0.1, 0.2), depth * rng.uniform(0.4, 0.62)
    half = width / 2
    ring = np.array([(-half, 0), (half, 0), (half, depth), (u, depth), (u, v), (-half, v)])
    return _mirrored(rng, ring), None


def _t_shape(rng: np.random.Generator, width: float, depth: float) -> Outline:
    half, v = width / 2, depth * rng.uniform(0.45, 0.6)
    a, b = -half * rng.uniform(0.3, 0.55), half * rng.uniform(0.3, 0.55)
    ring = np.array([(-half, 0), (half, 0), (half, v), (b, v), (b, depth), (a, depth), (a, v), (-half, v)])
    return ring, None


def _u_shape(rng: np.random.Generator, width: float, depth: float) -> Outline:
    half, v = width / 2, depth * rng.uniform(0.35, 0.55)
    a, b = -half * rng.uniform(0.3, 0.45), half * rng.uniform(0.3, 0.45)
    ring = np.array([(-half, 0), (half, 0), (half, depth), (b, depth), (b, v), (a, v), (a, depth), (-half, depth)])
    return ring, None


def _courtyard(rng: np.random.Generator, width: float, depth: float) -> Outline:
    thick = min(width, depth) * rng.uniform(0.26, 0.34)
    return _rectangle(rng, width, depth)[0], _box(-width / 2 + thick, thick, width / 2 - thick, depth - thick)


def _circle(rng: np.random.Generator, width: float, depth: float) -> Outline:
    turn = 2 * np.pi * np.arange(48) / 48
    radius = width / 2
    return np.column_stack([radius * np.cos(turn), radius + radius * np.sin(turn)]), None


def _wing45(rng: np.random.Generator, width: float, depth: float) -> Outline:
    """A bar that bends by 45° at one end."""
    long, thick = width * 0.58, min(depth, width * 0.4)
    wing = width * rng.uniform(0.38, 0.5)
    inner = thick * np.tan(np.pi / 8)
    end = np.array([wing * COS45, wing * COS45])
    back = end + thick * np.array([-COS45, COS45])
    ring = np.array([(-long, 0), (0, 0), tuple(end), tuple(back), (-inner, thick), (-long, thick)])
    return _mirrored(rng, ring + np.array([width * 0.15, 0.0])), None


SHAPES: dict[str, Callable[[np.random.Generator, float, float], Outline]] = {
    "rectangle": _rectangle,
    "terrace": _rectangle,
    "block": _rectangle,
    "l": _l_shape,
    "t": _t_shape,
    "u": _u_shape,
    "courtyard": _courtyard,
    "circle": _circle,
    "wing45": _wing45,
}
"""Outline of each shape, given random numbers, width and depth."""
