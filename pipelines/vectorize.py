"""Turn a class raster into a styled GeoPackage: the batch job behind a schedule.

    python pipelines/vectorize.py CLASSES.tif -o OUT.gpkg [--config CONFIG.yaml]

It is `geoseg vectorize`. Exit codes: 0 written, 1 an output could not be written, 2 the raster cannot be taken,
130 interrupted.
"""

import sys

from geoseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["vectorize", *sys.argv[1:]]))
