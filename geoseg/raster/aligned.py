"""A raster of labels, read row by row on the pixel grid of another raster."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.raster import env

# isort: split
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as transform_points
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import BrokenRaster, ConfigError
from geoseg.files import atomic
from geoseg.legend import NODATA
from geoseg.raster.checks import Transform
from geoseg.raster.geotiff import open_geotiff
from geoseg.raster.scene import Scene, inspect

_OFF_PX = 0.05
"""Grids that are nowhere further apart than this share of a pixel are one lattice: rounding did it."""


@dataclass(frozen=True, slots=True)
class PixelGrid:
    """Where the pixels of a raster lie."""

    height: int
    width: int
    crs_wkt: str
    """Empty where there is no CRS."""
    transform: Transform

    @classmethod
    def of(cls, path: Path) -> "PixelGrid":
        """The grid of a GeoTIFF; raises what `inspect` raises."""
        return cls.of_scene(inspect(path, allow_ungeoreferenced=True))

    @classmethod
    def of_scene(cls, scene: Scene) -> "PixelGrid":
        """The grid of a scene."""
        return cls(scene.height, scene.width, scene.crs_wkt, scene.transform)

    def offset_of(self, other: "PixelGrid") -> tuple[int, int] | None:
        """Row and column in this grid of the first pixel of `other`; None unless both are parts of one lattice."""
        if bool(self.crs_wkt) != bool(other.crs_wkt):
            return None
        if not self.crs_wkt:
            return (0, 0) if (self.height, self.width) == (other.height, other.width) else None
        if not self._has_the_crs_of(other):
            return None
        row, col, far = self._place_of(other)
        return (round(row), round(col)) if far <= _OFF_PX and _shift(row, col) <= _OFF_PX else None

    def unlike(self, other: "PixelGrid") -> str:
        """In what `other` is not part of the same lattice, in a few words."""
        if not self._has_the_crs_of(other):
            here, there = (CRS.from_wkt(g.crs_wkt).to_string()[:40] for g in (self, other))
            return f"its CRS is {there}, not {here}"
        row, col, far = self._place_of(other)
        if far > _OFF_PX:
            (a, _, _, _, e, _), (a2, _, _, _, e2, _) = self.transform, other.transform
            return f"its pixels are {a2:.6g} × {-e2:.6g}, not {a:.6g} × {-e:.6g}"
        return f"it is shifted by {_shift(row, col):.2f} of a pixel"

    def _place_of(self, other: "PixelGrid") -> tuple[float, float, float]:
        """Row and column here of the first pixel of `other`, and by how many pixels its last one is off for their size."""
        (a, _, c, _, e, f), (a2, _, c2, _, e2, f2) = self.transform, other.transform
        far = max(abs(e2 / e - 1) * other.height, abs(a2 / a - 1) * other.width)
        return (f2 - f) / e, (c2 - c) / a, far

    def _has_the_crs_of(self, other: "PixelGrid") -> bool:
        """Whether the corners of `other` have the same numbers in both CRS: each program writes a CRS in its own way."""
        here, there = CRS.from_wkt(self.crs_wkt), CRS.from_wkt(other.crs_wkt)
        if here == there:
            return True
        a, _, c, _, e, f = other.transform
        xs, ys = (np.array(v, float) for v in ([c, c + a * other.width] * 2, [f, f, *[f + e * other.height] * 2]))
        try:
            moved = np.array(transform_points(there, here, xs, ys)[:2])
        except (CRSError, RasterioError):
            return False
        return bool(
            np.isfinite(moved).all() and (abs(moved - (xs, ys)) <= [[_OFF_PX * abs(a)], [_OFF_PX * abs(e)]]).all()
        )


def _shift(row: float, col: float) -> float:
    """How far a place is from the corner of a pixel, in pixels, along the worse axis."""
    return max(abs(row - round(row)), abs(col - round(col)))


class AlignedReader:
    """One band of whole numbers, 0–255, on a grid that need not be its own."""

    def __init__(self, path: Path, grid: PixelGrid, *, warp: bool = False, named: Collection[int] = ()) -> None:
        """Open `path`; raises ConfigError where it has more bands, other numbers, or, unless `warp`, another lattice.

        A nodata value that is `named` is a value like any other, unless a mask or alpha in the file hides it.
        """
        scene = inspect(path, allow_ungeoreferenced=True)
        if len(scene.color_bands) != 1 or np.dtype(scene.dtype).kind not in "ui":
            raise ConfigError(
                f"{path}: {len(scene.color_bands)} bands of {scene.dtype}, but one band of class ids is needed."
            )
        self._path = path
        self._offset = grid.offset_of(PixelGrid.of_scene(scene))
        self._grid = grid
        if self._offset is None and not (warp and grid.crs_wkt and scene.crs_wkt):
            raise ConfigError(
                f"{path}: its pixels do not lie on the grid of the reference ({_words(PixelGrid.of_scene(scene))}; the "
                f"reference: {_words(grid)}). Resample it, or let it be with --warp (nearest neighbour)."
            )
        self._src = open_geotiff(path)
        # GDAL is not let look for it, so it has to be read here.
        self._mask = open_geotiff(scene.mask_file) if scene.mask_file else None
        if self._mask is not None and self._offset is None:
            raise ConfigError(f"{path}: has a mask beside it, which is not resampled. Put it into the file (gdalwarp).")
        self._said = self._src.nodata is not None and self._src.nodata in named
        # GDAL itself asks the nodata value before an alpha band, but a mask before the nodata value.
        self._alpha = scene.alpha_band if self._said and not scene.has_mask else None
        self._masked = scene.has_mask or not self._said
        if self._offset is None:
            self._src = _warped(self._src, grid, heeded=self._src.nodata is not None and not self._said, scene=scene)
            self._alpha, self._masked = None, True
            self._offset = (0, 0)

    def close(self) -> None:
        """Close the file."""
        self._src.close()

    def rows(self, start: int, stop: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Values and where there are any, both (rows, width), of rows start … stop − 1 of the grid.

        Raises BrokenRaster where a block cannot be decoded, ConfigError for values beyond 0–255.
        """
        shape = (stop - start, self._grid.width)
        values, valid = np.zeros(shape, np.uint8), np.zeros(shape, np.bool_)
        row, col = self._offset or (0, 0)
        top, bottom = max(start, row), min(stop, row + self._src.height)
        left, right = max(0, col), min(self._grid.width, col + self._src.width)
        if top >= bottom or left >= right:
            return values, valid
        window = RasterioWindow(left - col, top - row, right - left, bottom - top)
        try:
            found: NDArray[Any] = self._src.read(1, window=window)
            known = self._src.read_masks(1, window=window) > 0 if self._masked else np.ones(found.shape, np.bool_)
            if self._alpha is not None:
                known &= self._src.read(self._alpha, window=window) > 0
            if self._mask is not None:
                known &= (self._mask.read(window=window) > 0).all(axis=0)
        except RasterioError as exc:
            raise BrokenRaster(f"{self._path}: rows {top}–{bottom} cannot be decoded ({exc}). Copy it again.") from exc
        if found[known].size and not 0 <= found[known].min() <= found[known].max() <= 255:
            raise ConfigError(f"{self._path}: values beyond 0–255, but class ids are needed.")
        inside = np.s_[top - start : bottom - start, left:right]
        values[inside], valid[inside] = found.astype(np.uint8), known
        return values, valid


def write_class_rows(path: Path, grid: PixelGrid, rows: Any) -> None:
    """Write (rows, width) arrays of class ids, from top to bottom, as a GeoTIFF on `grid`; 255 is no data."""
    profile = {"driver": env.DRIVER, "height": grid.height, "width": grid.width, "count": 1, "dtype": "uint8"}
    with (
        atomic(path) as tmp,
        rasterio.open(
            tmp, "w", **profile, crs=grid.crs_wkt or None, transform=rasterio.Affine(*grid.transform),
            nodata=NODATA, compress="deflate", zlevel=1, bigtiff="if_safer",
        ) as dst,
    ):  # fmt: skip
        start = 0
        for part in rows:
            dst.write(part, 1, window=RasterioWindow(0, start, grid.width, len(part)))
            start += len(part)


def _warped(src: Any, grid: PixelGrid, *, heeded: bool, scene: Scene) -> WarpedVRT:
    """`heeded`: whether the source has a nodata value that says nothing."""
    # With an alpha band, what lies outside of the source is known as such, whatever its nodata value.
    return WarpedVRT(
        src,
        crs=grid.crs_wkt,
        transform=rasterio.Affine(*grid.transform),
        width=grid.width,
        height=grid.height,
        resampling=Resampling.nearest,
        add_alpha=not heeded and scene.alpha_band is None,
        **({} if heeded else {"src_nodata": None, "nodata": None}),
    )


def _words(grid: PixelGrid) -> str:
    name = CRS.from_wkt(grid.crs_wkt).to_string()[:40] if grid.crs_wkt else "no CRS"
    a, _, c, _, e, f = grid.transform
    return f"{grid.width} × {grid.height} pixels of {a:g} × {-e:g} from ({c:.8g}, {f:.8g}), {name}"
