"""`geoseg demo`."""

from pathlib import Path

import click


@click.command("demo", short_help="Render a town, map it, and check the map against its truth.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the demo.")
@click.option("--workers", type=int, help="Processes that run networks; 0 works in this one.  [default: by cores]")
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
    click.echo(
        "OK"
        if result.exit_code == 0
        else f"NOT GOOD: every IoU should be at least {ACCEPTABLE_IOU}, and no pixel of the collar in a class"
    )
    return result.exit_code
