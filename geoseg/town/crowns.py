"""Trees from above: clumps of leaves, bright toward the sun and dark away from it."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from geoseg.town.canvas import SHIFT, Canvas
from geoseg.town.noise import element_rng
from geoseg.town.palettes import Palette

_TEMPLATES = 48
_CLUMPS = 15


@lru_cache(maxsize=4)
def _templates(toward: tuple[float, float]) -> NDArray[np.float64]:
    """Crowns of radius one: (templates, clumps, 4) of dx, dy, radius, brightness, dark clumps first."""
    rng = element_rng(0, 41)
    angle = rng.uniform(0, 2 * np.pi, (_TEMPLATES, _CLUMPS))
    reach = 0.78 * np.sqrt(rng.uniform(0, 1, (_TEMPLATES, _CLUMPS)))
    dx, dy = reach * np.cos(angle), reach * np.sin(angle)
    facing = dx * toward[0] + dy * toward[1]
    light = 1.0 + 0.40 * facing + rng.normal(0, 0.10, facing.shape)
    size = rng.uniform(0.22, 0.42, facing.shape) * (1.12 - 0.5 * reach)
    table = np.stack([dx, dy, size, light], axis=2)
    return np.take_along_axis(table, np.argsort(light, axis=1)[..., None], axis=1)


def paint_tree(canvas: Canvas, tree: NDArray[np.float64], number: int, palette: Palette) -> None:
    """Throw a tree's shadow and paint its crown."""
    x, y, radius, height = tree.tolist()
    kinds = (number * 2654435761) % 2**32
    color = np.array(palette.leaf[kinds % len(palette.leaf)]) * (0.86 + 0.28 * ((kinds >> 8) & 255) / 255)
    share = ((kinds >> 16) & 255) / 256
    at = np.array([x, y])
    _shadow(canvas, at, radius, height)
    if share < palette.palm_share:
        _palm(canvas, at, radius, color, kinds)
    elif share < palette.palm_share + palette.conifer_share:
        _conifer(canvas, at, radius, color * 0.85)
    else:
        _broadleaf(canvas, at, radius, color, kinds)


def _shadow(canvas: Canvas, at: NDArray[np.float64], radius: float, height: float) -> None:
    """A soft column of shade from the foot of the tree, lifted where the crown itself is."""
    size = round(radius * abs(float(canvas.scale[0])))
    foot = canvas.fixed(at)
    for share in (0.35, 0.65, 0.9):
        center = (foot + canvas.pushed(height * share)).tolist()
        cv2.circle(canvas.shade, center, round(size * 0.95), 235, -1, cv2.LINE_8, SHIFT)
    cv2.circle(canvas.shade, foot.tolist(), size, 0, -1, cv2.LINE_8, SHIFT)


def _broadleaf(canvas: Canvas, at: NDArray[np.float64], radius: float, color: NDArray[np.float64], kinds: int) -> None:
    # Of a crown a few pixels wide only the outline shows: every third clump will do.
    step = 1 if radius > 5 * canvas.pixel_size_m else 3
    clumps = _templates(canvas.sun.toward)[(kinds >> 4) % _TEMPLATES][::step]
    _discs(canvas, at, radius, np.vstack([[0.0, 0.0, 0.82, 0.58], clumps]), color)


def _conifer(canvas: Canvas, at: NDArray[np.float64], radius: float, color: NDArray[np.float64]) -> None:
    shift = np.array([0.0, 0.12, 0.2, 0.22])[:, None] * np.array(canvas.sun.toward)
    tiers = np.column_stack([shift, [0.92, 0.72, 0.46, 0.2], [0.62, 0.85, 1.08, 1.35]])
    _discs(canvas, at, radius, tiers, color)


def _discs(
    canvas: Canvas, at: NDArray[np.float64], radius: float, table: NDArray[np.float64], color: NDArray[np.float64]
) -> None:
    """Paint rows of dx, dy, radius (in crown radii) and brightness."""
    canvas.discs(at + table[:, :2] * radius, table[:, 2] * radius, table[:, 3:4] * color, "leaf")


def _palm(canvas: Canvas, at: NDArray[np.float64], radius: float, color: NDArray[np.float64], kinds: int) -> None:
    for k in range(9):
        turn = k * 0.698 + (kinds & 63) / 64
        ahead = np.array([np.cos(turn), np.sin(turn)])
        side = np.array([-ahead[1], ahead[0]]) * radius * 0.13
        light = 0.85 + 0.4 * float(ahead @ np.array(canvas.sun.toward))
        leaf = np.array([at, at + ahead * radius * 0.5 + side, at + ahead * radius, at + ahead * radius * 0.5 - side])
        canvas.quad(leaf, color * light, "leaf")
