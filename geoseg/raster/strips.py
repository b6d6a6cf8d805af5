"""Strip files: the committed pixels of a scene on their way to the class raster and the polygons.

One GeoTIFF a strip, two bands: class ids and confidence in percent, 255 where there is no data.
"""

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geoseg.raster import env

# isort: split
import rasterio
from rasterio.windows import Window as RasterioWindow

from geoseg.files import atomic
from geoseg.legend import NODATA
from geoseg.raster.blocks import check_written
from geoseg.threads import one_thread

CLASSES_BAND = 1
CONFIDENCE_BAND = 2
_ROWS_PER_BLOCK = 32
"""Every tile row owns a multiple of 32 rows (but the last), so blocks are written once and whole."""


class FinalRows(Protocol):
    """Rows that no later tile can change, as `geoseg.nn.segment.ClassRows`."""

    @property
    def start(self) -> int:
        """First row in the scene."""

    @property
    def classes(self) -> NDArray[np.uint8]:
        """`(rows, width)`."""

    @property
    def confidence(self) -> NDArray[np.uint8]:
        """`(rows, width)`."""


@dataclass(frozen=True, slots=True)
class StripFile:
    """Rows row_start … row_stop − 1 of a scene; `path` is None where the strip could not be mapped."""

    row_start: int
    row_stop: int
    path: Path | None


@dataclass(frozen=True, slots=True)
class StripRaster:
    """One band of all strips of a scene, read as if they were one raster; picklable."""

    strips: tuple[StripFile, ...]
    width: int
    band: int

    def rows(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows start … stop − 1, `(rows, width)`, nodata where a strip is missing."""
        out = np.full((stop - start, self.width), NODATA, np.uint8)
        for strip in self.strips:
            a, b = max(start, strip.row_start), min(stop, strip.row_stop)
            if a < b and strip.path is not None:
                window = RasterioWindow(0, a - strip.row_start, self.width, b - a)
                with rasterio.open(strip.path, driver=env.DRIVER, sharing=False) as src:
                    out[a - start : b - start] = src.read(self.band, window=window)
        return out


def write_strip(target: Path, height: int, width: int, parts: Iterable[FinalRows]) -> None:
    """Write the rows of a strip as they come, atomically.

    Compression and writing go on in a thread while the next rows are computed.
    """
    first: int | None = None
    with atomic(target) as tmp:
        with rasterio.open(tmp, "w", **_profile(height, width)) as dst, one_thread("write") as pool:
            pending: Future[None] | None = None
            for part in parts:
                first = part.start if first is None else first
                if pending is not None:
                    pending.result()  # at most one part waits, so memory is bounded
                pending = pool.submit(_write, dst, part, part.start - first)
            if pending is not None:
                pending.result()
        check_written(tmp, target)


def _write(dst: rasterio.io.DatasetWriter, part: FinalRows, row: int) -> None:
    """Write final rows."""
    window = RasterioWindow(0, row, dst.width, len(part.classes))
    dst.write(part.classes, CLASSES_BAND, window=window)
    dst.write(part.confidence, CONFIDENCE_BAND, window=window)


def _profile(height: int, width: int) -> dict[str, object]:
    return {
        "driver": env.DRIVER,
        "height": height,
        "width": width,
        "count": 2,
        "dtype": "uint8",
        "nodata": NODATA,
        "transform": rasterio.Affine(1, 0, 0, 0, -1, height),  # pixels; none at all would make GDAL warn
        "interleave": "band",
        "blockysize": _ROWS_PER_BLOCK,
        "compress": "zstd",  # a third of DEFLATE's time, for files that are read twice and deleted
        "zstd_level": 1,
        "bigtiff": "if_safer",
    }
