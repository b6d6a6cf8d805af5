"""The command `geoseg`. Parsing only: each verb builds settings and calls the library, which does not know of it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from geoseg import __version__
from geoseg.errors import ConfigError, GeosegError


class _Numbers(click.ParamType):  # type: ignore[type-arg]
    """Numbers with commas between them."""

    def __init__(self, kind: Callable[[str], float], name: str) -> None:
        self._kind = kind
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """`1,2,3` → (1, 2, 3)."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self._kind(part) for part in value.split(","))
        except ValueError:
            self.fail(f"'{value}' is not of the form {self.name}", param, ctx)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="geoseg")
def cli() -> None:
    """Turn folders of large GeoTIFFs into maps: styled GeoPackages of buildings, roads and green."""


@cli.command("map", short_help="Map GeoTIFFs into GeoPackages and class rasters.")
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the outputs.")
@click.option("--config", type=click.Path(path_type=Path), help="YAML file with any of these options as keys.")
@click.option("--model", type=click.Path(path_type=Path), help="Model directory.  [default: the one that ships]")
@click.option("--tile-size", type=int, help="Side of a tile in pixels, a multiple of 32.  [default: 1024]")
@click.option("--overlap", type=int, help="Pixels that neighbouring tiles share, a multiple of 32.  [default: 128]")
@click.option("--strip-rows", type=int, help="Tile rows in a strip.  [default: by size and workers]")
@click.option("--bands", type=_Numbers(int, "1,2,3"), help="Bands of the scenes in the order of the model's.")
@click.option("--value-range", type=_Numbers(float, "LOW,HIGH"), help="Pixel values to stretch to the model's range.")
@click.option("--any-pixel-size", is_flag=True, default=None, help="Map scenes of any pixel size as they are.")
@click.option("--allow-ungeoreferenced", is_flag=True, default=None, help="Map scenes without CRS or geotransform.")
@click.option("--workers", type=int, help="Worker processes; 0 works in this process.  [default: by cores]")
@click.option("--scheduler", metavar="ADDRESS|FILE", help="A running Dask scheduler.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the network runs.  [default: auto]")
@click.option("--keep-confidence", is_flag=True, default=None, help="Also write NAME_confidence.tif.")
@click.option("--overwrite", is_flag=True, default=None, help="Map again what is up to date.")
@click.option("--dry-run", is_flag=True, default=None, help="Print the plan and stop.")
@click.option("--quiet", is_flag=True, default=None, help="Print errors and the last line only.")
@click.option("--verbose", is_flag=True, default=None, help="Print every step.")
@click.option("--log-json", type=click.Path(path_type=Path), help="Append one JSON line per event to this file.")
def map_command(inputs: tuple[str, ...], config: Path | None, **options: Any) -> int:
    r"""Map GeoTIFFs.

    INPUT is files, folders (searched for .tif and .tiff) or globs. Each scene gets NAME.gpkg, NAME.qgz and
    NAME_classes.tif in the output folder. A run that was interrupted goes on where it stopped.

    \b
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


@cli.command("demo", short_help="Render a town, map it, and check the map against its truth.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the demo.")
@click.option("--workers", type=int, help="Worker processes; 0 works in this process.  [default: by cores]")
def demo_command(output: Path, workers: int | None) -> int:
    """Map a rendered town of 4096 × 4096 pixels with the model that ships.

    The town is the same each time and its true buildings, roads and green are known: the map is checked against them.
    Exit code 1 if it is not good.
    """
    from geoseg.run.demo import ACCEPTABLE_IOU, run_demo

    result = run_demo(output, workers=workers)
    click.echo(f"GeoPackage  {result.geopackage}  (open it in QGIS)")
    click.echo("Layers      " + ", ".join(f"{count:,} {layer}" for layer, count in result.layers.items()))
    click.echo("IoU         " + ", ".join(f"{name} {iou:.3f}" for name, iou in result.iou.items()))
    click.echo(f"Nodata      {result.nodata_claimed} pixels of the collar got a class")
    click.echo(f"Preview     {result.preview}")
    click.echo("OK" if result.exit_code == 0 else f"NOT GOOD: every IoU should be at least {ACCEPTABLE_IOU}")
    return result.exit_code


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code, and exits with it when called as a program."""
    try:
        code = cli.main(arguments, prog_name="geoseg", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        code = 2
    except click.Abort:
        code = _interrupted()
    except KeyboardInterrupt:
        code = _interrupted()
    except GeosegError as exc:
        click.echo(f"geoseg: {exc}", err=True)
        code = 2 if isinstance(exc, ConfigError) else _code(exc)
    code = code if isinstance(code, int) else 0
    if arguments is None:
        sys.exit(code)
    return code


def _interrupted() -> int:
    click.echo("geoseg: interrupted; run the same command again to go on.", err=True)
    return 130


def _code(exc: GeosegError) -> int:
    """2 where the run could not start, 1 where it could not go on."""
    from geoseg.errors import OutputError

    return 1 if isinstance(exc, OutputError) else 2


if __name__ == "__main__":
    main()
