"""How GDAL may behave in geoseg. Import this before rasterio; it is the only place that sets GDAL options."""

import os

CACHE_BYTES = 24 * 2**20
"""GDAL's block cache. Whole rows of blocks are read in order, so little is enough; its default is 5 % of the RAM."""

_OPTIONS = {
    # Do not list the folder of a scene: world files, .ovr and .aux.xml beside it are not read unasked,
    # and a folder of 10,000 scenes is not listed 10,000 times.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # A .aux.xml could replace CRS, transform and nodata of a scene without a word.
    "GDAL_PAM_ENABLED": "NO",
    # Python code inside a VRT is never run.
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_CACHEMAX": f"{CACHE_BYTES // 2**20}",  # here in MB, elsewhere in bytes
}

# Whatever the environment says: a scene is the same scene on every machine.
os.environ.update(_OPTIONS)

DRIVER = "GTiff"
"""The one raster driver that may open an input: a VRT or WMS description named .tif is refused."""
