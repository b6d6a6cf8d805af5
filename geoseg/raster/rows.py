"""Rows of one band of a raster of classes or confidence, geoseg's own or of any origin."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from geoseg.raster import env

# isort: split
import rasterio
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import BrokenRaster
from geoseg.legend import NODATA
from geoseg.raster.strips import StripRaster

BandSource = Path | StripRaster
"""A GeoTIFF, or the strips of a scene read as if they were one."""


def read_rows(path: BandSource, band: int, row_start: int, row_stop: int) -> NDArray[Any]:
    """Rows `row_start <= r < row_stop` of a band (1 is the first) as (rows, width), 255 where a mask or nodata hides it.

    A nodata value of 0 hides nothing: background and nodata are the same then. Raises BrokenRaster.
    """
    if isinstance(path, StripRaster):
        return path.rows(row_start, row_stop)
    try:
        with rasterio.open(path, driver=env.DRIVER) as dataset:
            window = RasterioWindow(0, row_start, dataset.width, row_stop - row_start)
            rows: NDArray[Any] = dataset.read(band, window=window)
            # GDAL asks a mask in the file before the nodata value.
            if dataset.nodata not in (0, NODATA) or MaskFlags.per_dataset in dataset.mask_flag_enums[band - 1]:
                rows[dataset.read_masks(band, window=window) == 0] = NODATA
        if (mask := Path(f"{path}.msk")).is_file():  # GDAL is not let look for it
            with rasterio.open(mask, driver=env.DRIVER) as dataset:
                rows[dataset.read(1, window=window) == 0] = NODATA
    except (RasterioError, OSError) as exc:
        raise BrokenRaster(f"{path}: rows {row_start}–{row_stop} cannot be read ({exc}).") from exc
    return rows
