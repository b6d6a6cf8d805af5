"""How geoseg opens a GeoTIFF to read."""

import warnings
from pathlib import Path
from typing import Any

from geoseg.raster import env

# isort: split
import rasterio
from rasterio.errors import NotGeoreferencedWarning


def open_geotiff(path: Path) -> Any:
    """Open with the one driver that is allowed, and a handle that no other thread gets; raises RasterioError.

    rasterio is not to warn of a missing geotransform: `geoseg.raster.scene.inspect` says it in its own words.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        # Absolute, for GDAL takes GTIFF_DIR:2:x.tif and the like for more than a name.
        return rasterio.open(path.absolute(), driver=env.DRIVER, sharing=False)
