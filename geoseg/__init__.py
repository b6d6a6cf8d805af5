"""geoseg turns folders of large GeoTIFFs into styled GeoPackages.

The command line is the front door (`geoseg --help`); the pieces are imported by module,
for instance `from geoseg.grid.tiling import Grid`. Importing this package imports nothing heavy.
"""

__version__ = "0.1.0"
