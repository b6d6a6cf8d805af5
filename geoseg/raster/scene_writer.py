"""A colour image written strip by strip as a tiled GeoTIFF, with a mask where nothing was seen."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.raster import env

# isort: split
import rasterio
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import OutputError
from geoseg.files import atomic
from geoseg.raster.checks import Transform

_BLOCK = 512

ImageRows = tuple[NDArray[np.uint8], NDArray[np.bool_] | None]
"""Bands (count, rows, width), and where they are valid (rows, width); None for everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """Where an image lies and what shape it has."""

    height: int
    width: int
    count: int
    """Number of bands; three are red, green and blue."""
    crs: str
    """Anything that GDAL understands: an EPSG code or WKT."""
    transform: Transform
    masked: bool
    """Whether the file carries an internal mask; the strips then bring one."""


def write_geotiff(target: Path, strips: Iterable[ImageRows], spec: ImageSpec) -> None:
    """Write strips from the top down, atomically; memory holds one strip and a row of blocks.

    Nodata is an internal mask: a black roof stays a black roof, and GDAL, QGIS and rasterio honour it unasked.
    Raises OutputError if the strips do not add up to the height.
    """
    # Outside the file, a mask would be a second file that gets lost.
    with atomic(target) as tmp, rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), _open(tmp, spec) as dst:
        row = 0
        for bands, valid in strips:
            rows = bands.shape[1]
            window = RasterioWindow(0, row, spec.width, rows)
            if spec.masked and valid is not None:
                # Before the pixels, or GDAL moves the directory to the end of the file.
                dst.write_mask(valid.astype(np.uint8) * np.uint8(255), window=window)
            dst.write(bands, window=window)
            row += rows
        if row != spec.height:
            raise OutputError(f"{target}: the strips hold {row} rows, but the image has {spec.height}.")


def _open(path: Path, spec: ImageSpec) -> "rasterio.io.DatasetWriter":
    return rasterio.open(
        path,
        "w",
        driver=env.DRIVER,
        height=spec.height,
        width=spec.width,
        count=spec.count,
        dtype="uint8",
        crs=spec.crs,
        transform=rasterio.Affine(*spec.transform),
        tiled=True,
        blockxsize=_BLOCK,
        blockysize=_BLOCK,
        compress="deflate",
        predictor=2,  # neighbouring pixels are alike: a third smaller for little time
        zlevel=1,
        interleave="pixel",
        photometric="rgb" if spec.count == 3 else "minisblack",
        bigtiff="if_safer",
    )
