"""A tile being painted: colour, material and shadow, in drawing order from the ground up.

Colours are blended at edges (anti-aliased); materials are not, they only choose a texture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.town.noise import Window
from geoseg.town.settings import TownSettings

Color = Sequence[float] | NDArray[Any]
"""Red, green, blue, 0–255."""

SHIFT = 4
"""Fractional bits of drawing coordinates: sixteenths of a pixel."""

MATERIALS = ("soil", "paving", "asphalt", "grass", "leaf", "tile", "flat", "water", "mark", "car", "crop", "shrub")
"""What a pixel is made of; the number chooses its texture."""

_NUMBER = {name: i for i, name in enumerate(MATERIALS)}


@dataclass(frozen=True, slots=True)
class Sun:
    """Light from one direction."""

    toward: tuple[float, float]
    """Unit vector in the plane (x east, y north) toward the sun."""
    cot: float
    """Length of the shadow of a metre."""

    @classmethod
    def of(cls, settings: TownSettings) -> "Sun":
        """The sun of some settings."""
        azimuth = np.radians(settings.sun_azimuth_deg)
        toward = (float(np.sin(azimuth)), float(np.cos(azimuth)))
        return cls(toward, float(1 / np.tan(np.radians(settings.sun_elevation_deg))))

    def shadow(self, height_m: float) -> NDArray[np.float64]:
        """Where the tip of something `height_m` high throws its shadow, relative to its foot (x, y)."""
        return np.array(self.toward) * (-self.cot * height_m)

    def light_on(self, normal_x: Any, normal_y: Any, slope: float) -> Any:
        """Brightness of a plane against level ground; the normal's horizontal direction is a unit vector."""
        cos, sin = 1 / np.sqrt(1 + slope * slope), slope / np.sqrt(1 + slope * slope)
        facing = cos + sin * self.cot * (normal_x * self.toward[0] + normal_y * self.toward[1])
        return 0.46 + 0.54 * np.clip(facing, 0.0, 1.75)


@dataclass(slots=True)
class Canvas:
    """The pixels of one window of a scene while it is painted."""

    window: Window
    pixel_size_m: float
    origin: tuple[float, float]
    """Map x, y of the scene's upper left corner."""
    sun: Sun
    color: NDArray[np.uint8]
    """(rows, cols, 3)."""
    material: NDArray[np.uint8]
    """(rows, cols), index in MATERIALS."""
    shade: NDArray[np.uint8]
    """(rows, cols), 255 in full shadow."""
    corner: NDArray[np.float64] = field(init=False)
    """Map x, y of the centre of the first pixel."""
    scale: NDArray[np.float64] = field(init=False)
    """Sixteenths of a pixel for a metre along x and y."""

    def __post_init__(self) -> None:
        size = self.pixel_size_m
        shift = (np.array([self.window[2], self.window[0]]) + 0.5) * size
        self.corner = np.array(self.origin) + shift * (1, -1)
        self.scale = np.array([1.0, -1.0]) * (2**SHIFT / size)

    @classmethod
    def blank(cls, settings: TownSettings, window: Window, ground: Color) -> "Canvas":
        """A canvas of bare ground."""
        shape = (window[1] - window[0], window[3] - window[2])
        color = np.empty((*shape, 3), np.uint8)
        color[:] = np.clip(np.asarray(ground), 0, 255)
        zeros = np.zeros(shape, np.uint8)
        return cls(window, settings.pixel_size_m, settings.origin, Sun.of(settings), color, zeros, zeros.copy())

    def fixed(self, xy: NDArray[np.float64]) -> NDArray[np.int32]:
        """Map coordinates as drawing coordinates (sixteenths of pixels; pixel centres are whole)."""
        fixed: NDArray[np.int32] = np.rint((xy - self.corner) * self.scale).astype(np.int32)
        return fixed

    def pushed(self, height_m: float) -> NDArray[np.int32]:
        """The shadow of something `height_m` high as a shift in drawing coordinates."""
        push: NDArray[np.int32] = np.rint(self.sun.shadow(height_m) * self.scale).astype(np.int32)
        return push

    def rings(self, polygon: Any) -> list[NDArray[np.int32]]:
        """Rings of a polygon in drawing coordinates."""
        rings = [polygon.exterior, *polygon.interiors]
        return [self.fixed(shapely.get_coordinates(r)) for r in rings]

    def fill(self, polygon: Any, color: Color, material: str) -> None:
        """Paint a polygon with a colour and a material."""
        self.fill_rings(self.rings(polygon), color, material)

    def fill_rings(self, rings: list[NDArray[np.int32]], color: Color, material: str) -> None:
        """Paint rings in drawing coordinates (even-odd)."""
        cv2.fillPoly(self.color, rings, _plain(color), cv2.LINE_AA, SHIFT)
        cv2.fillPoly(self.material, rings, _NUMBER[material], cv2.LINE_8, SHIFT)

    def quad(self, corners: NDArray[np.float64], color: Color, material: str) -> None:
        """Paint a convex polygon given by map coordinates (N, 2)."""
        self.fill_rings([self.fixed(corners)], color, material)

    def discs(
        self, xy: NDArray[np.float64], radius_m: NDArray[np.float64], colors: NDArray[np.float64], material: str
    ) -> None:
        """Paint discs in order: centres (N, 2) in map coordinates, radii (N,), colours (N, 3)."""
        centers = self.fixed(xy).tolist()
        radii = np.rint(radius_m * abs(self.scale[0])).astype(int).tolist()
        plain = np.clip(np.rint(colors), 0, 255).tolist()
        number = _NUMBER[material]
        for center, radius, color in zip(centers, radii, plain, strict=True):
            cv2.circle(self.color, center, radius, color, -1, cv2.LINE_AA, SHIFT)
            cv2.circle(self.material, center, radius, number, -1, cv2.LINE_8, SHIFT)

    def lines(self, lines: list[NDArray[np.float64]], color: Color, width_px: int = 1, closed: bool = False) -> None:
        """Draw lines of map coordinates, keeping the material below."""
        points = [self.fixed(line) for line in lines]
        cv2.polylines(self.color, points, closed, _plain(color), width_px, cv2.LINE_AA, SHIFT)

    def patch(self, polygon: Any) -> "Patch | None":
        """The part of the canvas around a polygon, to be painted by arrays; None where it lies outside."""
        rings = self.rings(polygon)
        x0, y0 = np.maximum((rings[0].min(axis=0) >> SHIFT) - 1, 0)
        x1, y1 = np.minimum((rings[0].max(axis=0) >> SHIFT) + 3, self.shade.shape[::-1])
        if x0 >= x1 or y0 >= y1:
            return None
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        corner = np.array([x0, y0], np.int32) << SHIFT
        cv2.fillPoly(mask, [r - corner for r in rings], 255, cv2.LINE_AA, SHIFT)
        return Patch(self, slice(y0, y1), slice(x0, x1), mask)


@dataclass(slots=True)
class Patch:
    """A rectangle of a canvas with the coverage of one polygon."""

    canvas: Canvas
    rows: slice
    cols: slice
    cover: NDArray[np.uint8]
    """Share of each pixel inside the polygon, of 255."""

    def xy(self, center: tuple[float, float]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Map x (1, cols) and y (rows, 1) of the pixel centres relative to `center`, float32."""
        canvas = self.canvas
        cols = np.arange(self.cols.start, self.cols.stop) + canvas.window[2] + 0.5
        rows = np.arange(self.rows.start, self.rows.stop) + canvas.window[0] + 0.5
        x = cols * canvas.pixel_size_m + (canvas.origin[0] - center[0])
        y = (canvas.origin[1] - center[1]) - rows * canvas.pixel_size_m
        return x.astype(np.float32)[None, :], y.astype(np.float32)[:, None]

    def paint(self, color: NDArray[np.float32], material: str) -> None:
        """Blend (rows, cols, 3) colours, or one colour for all, in by the coverage."""
        share = self.cover[..., None] * np.float32(1 / 255)
        old = self.canvas.color[self.rows, self.cols]
        mixed = old + (color - old) * share
        self.canvas.color[self.rows, self.cols] = np.clip(mixed + np.float32(0.5), 0, 255).astype(np.uint8)
        self.canvas.material[self.rows, self.cols][self.cover > 127] = _NUMBER[material]

    def unshade(self) -> None:
        """Lift the shadows that fell here before: this now stands above them."""
        view = self.canvas.shade[self.rows, self.cols]
        view[:] = np.minimum(view, 255 - self.cover)


def _plain(color: Color) -> tuple[int, int, int]:
    r, g, b = (min(max(round(float(c)), 0), 255) for c in color)
    return r, g, b
