"""`geoseg vectorize`."""

from pathlib import Path
from typing import Any, get_args

import click

from geoseg.vector.formats import LayerFormat, layer_files, layers_name

_PATH = click.Path(path_type=Path)


@click.command("vectorize", short_help="Turn a class raster into a styled GeoPackage.")
@click.argument("classes", type=_PATH, required=False)
@click.option("-o", "--output", type=_PATH, help="GeoPackage to write; for the other formats the name before _LAYER.")
@click.option("--config", type=_PATH, help="YAML file; see configs/vectorize.yaml.")
@click.option("--model", type=_PATH, help="Model directory that says the classes.  [default: the one that ships]")
@click.option("--confidence", type=_PATH, help="Confidence raster on the same grid.")
@click.option("--format", type=click.Choice(get_args(LayerFormat)), help="[default: geopackage]")
@click.option("--workers", type=int, help="Processes; 0 works in this one.  [default: 0]")
@click.option("--allow-ungeoreferenced", is_flag=True, default=None, help="Take a raster without CRS or geotransform.")
def vectorize_command(config: Path | None, **options: Any) -> None:
    """Vectorize CLASSES, any GeoTIFF of class ids (uint8, 0 background, 255 nodata).

    The layers are those that `geoseg map` writes: a class is a building, a road or an area as the legend says.

    Exit codes: 0 written; 1 an output could not be written; 2 the raster cannot be taken.
    """
    from geoseg.run.vectorizing import vectorize
    from geoseg.vectorize_config import load_vectorize_settings

    settings = load_vectorize_settings(config, {k: v for k, v in options.items() if v is not None})
    counts = vectorize(settings, lambda text: click.echo(f"warning: {text}", err=True))
    click.echo(", ".join(f"{count:,} {layer}" for layer, count in counts.items()))
    files = layer_files(settings.output.parent, layers_name(settings.output, settings.format), counts, settings.format)
    click.echo(f"written: {', '.join(str(path) for path in files)}")
