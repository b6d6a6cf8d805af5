"""`geoseg map`."""

from pathlib import Path
from typing import Any, get_args

import click

from geoseg.cli.parameters import Numbers
from geoseg.vector.formats import LayerFormat


@click.command("map", short_help="Map GeoTIFFs into GeoPackages and class rasters.")
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the outputs.")
@click.option("--config", type=click.Path(path_type=Path), help="YAML file with any of these options as keys.")
@click.option("--model", type=click.Path(path_type=Path), help="Model directory.  [default: the one that ships]")
@click.option("--mosaic", metavar="NAME", help="Map all scenes as one, called NAME.")
@click.option("--tile-size", type=int, help="Side of a tile in pixels, a multiple of 32.  [default: the model's]")
@click.option("--overlap", type=int, help="Pixels that neighbouring tiles share, a multiple of 32.  [default: 128]")
@click.option("--strip-rows", type=int, help="Tile rows in a strip.  [default: by size and workers]")
@click.option("--bands", type=Numbers(int, "1,2,3"), help="Bands of the scenes in the order of the model's.")
@click.option("--value-range", type=Numbers(float, "LOW,HIGH"), help="Pixel values to stretch to the model's range.")
@click.option("--any-pixel-size", is_flag=True, default=None, help="Map scenes of any pixel size, with a warning.")
@click.option("--allow-ungeoreferenced", is_flag=True, default=None, help="Map scenes without CRS or geotransform.")
@click.option(
    "--on-bad-block",
    type=click.Choice(["fail", "nodata"]),
    help="A block that cannot be decoded fails its strip, or is left as nodata.  [default: fail]",
)
@click.option("--workers", type=int, help="Processes that run networks; 0 works in this one.  [default: by cores]")
@click.option("--scheduler", metavar="ADDRESS|FILE", help="A running Dask scheduler.")
@click.option("--cluster", metavar="FILE", type=click.Path(path_type=Path), help="The cluster to run on, in YAML.")
@click.option("--insecure-network", is_flag=True, default=None, help="Let Dask do without TLS beyond this machine.")
@click.option("--shard", metavar="I/N", help="Map only the I-th of N parts of the scenes.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the network runs.  [default: auto]")
@click.option(
    "--format",
    type=click.Choice(get_args(LayerFormat)),
    help="One styled GeoPackage and its QGIS project, or a file for each layer.  [default: geopackage]",
)
@click.option("--keep-confidence", is_flag=True, default=None, help="Also write NAME_confidence.tif.")
@click.option("--overwrite", is_flag=True, default=None, help="Map again what is up to date.")
@click.option("--dry-run", is_flag=True, default=None, help="Print the plan and stop.")
@click.option("--quiet", is_flag=True, default=None, help="Print errors and the last line only.")
@click.option("--verbose", is_flag=True, default=None, help="Print every step.")
@click.option("--log-json", type=click.Path(path_type=Path), help="Append one JSON line per event to this file.")
def map_command(inputs: tuple[str, ...], config: Path | None, **options: Any) -> int:
    """Map GeoTIFFs.

    INPUT is files, folders (searched for .tif and .tiff) or globs. Each scene gets NAME.gpkg, NAME.qgz and
    NAME_classes.tif in the output folder; in another format NAME_LAYER.parquet or .fgb. A run that was interrupted goes
    on where it stopped.

    Exit codes: 0 all mapped or up to date; 1 some scene failed, is partial or was refused;
    2 usage or configuration; 130 interrupted (run it again to go on).
    """
    from geoseg.config import load_settings

    given = {key: value for key, value in options.items() if value is not None}
    if inputs:
        given["inputs"] = inputs
    settings = load_settings(config, given)
    from geoseg.run.mapping import map_scenes

    return map_scenes(settings).exit_code
