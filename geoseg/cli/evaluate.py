"""`geoseg evaluate`."""

from pathlib import Path
from typing import Any

import click

from geoseg.cli.parameters import Numbers

_PATH = click.Path(path_type=Path)


@click.command("evaluate", short_help="Compare a map with the truth.")
@click.argument("prediction", type=_PATH, required=False)
@click.argument("reference", type=_PATH, required=False)
@click.option("-o", "--output", type=_PATH, help="Folder for metrics.json and confusion.png.")
@click.option("--config", type=_PATH, help="YAML file; see configs/evaluate.yaml.")
@click.option("--model", type=_PATH, help="Model directory that says the classes.  [default: the one that ships]")
@click.option("--image", type=_PATH, help="The scene: the loss of the model on it is reported too.")
@click.option("--bands", type=Numbers(int, "1,2,3"), help="Bands of the scene in the order of the model's.")
@click.option("--value-range", type=Numbers(float, "LOW,HIGH"), help="Of the scene, as it was mapped with.")
@click.option("--boundary-tolerance-m", type=float, help="Reach of the boundary F1.  [default: 1]")
@click.option("--object-iou", type=float, help="IoU from which on a building is found.  [default: 0.5]")
@click.option("--road-tolerance-m", type=float, help="Buffer of the centrelines.  [default: 2]")
@click.option("--pixel-size-m", type=float, help="Of the grid where both maps are vectors.  [default: 0.5]")
@click.option("--warp", is_flag=True, default=None, help="Resample a prediction on another grid to the reference's.")
def evaluate_command(config: Path | None, **options: Any) -> None:
    """Compare PREDICTION with REFERENCE, each a class raster (GeoTIFF), a GeoPackage or a GeoJSON.

    Pixels: IoU, F1, precision, recall, boundary F1, confusion matrix. Buildings as objects; roads as centrelines, with
    APLS. Vectors are painted on the pixel grid of the reference, else of the prediction.

    Exit codes: 0 compared; 1 an output could not be written; 2 the maps cannot be compared.
    """
    from geoseg.evaluate.settings import load_evaluate_settings

    settings = load_evaluate_settings(config, {k: v for k, v in options.items() if v is not None})
    from rich.console import Console

    from geoseg.evaluate.report import print_table, write_report
    from geoseg.evaluate.run import evaluate

    metrics = evaluate(settings)
    write_report(settings.output, metrics)
    print_table(metrics, Console())
    click.echo(f"written: {settings.output}")
