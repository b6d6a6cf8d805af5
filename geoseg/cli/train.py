"""`geoseg train`."""

from pathlib import Path

import click


@click.command("train", short_help="Train a model on labelled imagery.")
@click.option("--config", type=click.Path(path_type=Path), required=True, help="YAML file; see configs/train.")
@click.option("--fresh", is_flag=True, help="Start anew, even where a killed run could go on.")
def train_command(config: Path, fresh: bool) -> None:
    """Train a model and write its directory, with curves, examples and scores in the run's folder.

    A run that was interrupted goes on from its last checkpoint; one that is over is repeated if its settings or data
    have changed, and goes on if only `steps` was raised. Needs the extra: pip install 'geoseg[train]'.

    Exit codes: 0 trained; 2 the settings or the data are wrong; 130 interrupted (run it again to go on).
    """
    from geoseg.contract import load_contract
    from geoseg.train_config import load_train_config

    settings = load_train_config(config)
    from geoseg.extras import require

    require("train", "lightning", "torchmetrics", "matplotlib")
    from geoseg.nn.train import train
    from geoseg.nn.train_report import outcome

    model_dir = train(settings, resume=not fresh)
    for line in outcome(settings, load_contract(model_dir).metrics):
        click.echo(line)
    click.echo(f"model directory: {model_dir}")
