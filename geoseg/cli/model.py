"""`geoseg model`: show, check, import and export model directories."""

from pathlib import Path
from typing import Any

import click

from geoseg.cli.parameters import Numbers

_DIRECTORY = click.Path(path_type=Path)


@click.group("model", short_help="Show, check, import and export models.")
def model_group() -> None:
    """Work with model directories: config.json, model.safetensors and the contract between model and scene."""


@model_group.command("show", short_help="Print the card of a model.")
@click.argument("directory", type=_DIRECTORY, required=False)
def show_command(directory: Path | None) -> None:
    """Print the card of the model in DIRECTORY, or of the one that ships. The weights are not opened."""
    from geoseg.card import read_card
    from geoseg.contract import DEFAULT_MODEL

    click.echo(read_card(directory or DEFAULT_MODEL))


@model_group.command("check", short_help="Say whether a model can map a scene.")
@click.argument("directory", type=_DIRECTORY)
@click.argument("scene", type=_DIRECTORY)
@click.option("--bands", type=Numbers(int, "1,2,3"), help="Bands of the scene in the order of the model's.")
@click.option("--value-range", type=Numbers(float, "LOW,HIGH"), help="Pixel values to stretch to the model's range.")
def check_command(directory: Path, scene: Path, **options: Any) -> int:
    """Check that the model in DIRECTORY is whole, and that SCENE keeps its contract.

    Exit codes: 0 geoseg map would map it; 1 it would not, and why; 2 usage.
    """
    from geoseg.run.model_check import check_model

    refusals = check_model(directory, scene, {k: v for k, v in options.items() if v is not None})
    for line in refusals or [f"{directory.name} can map {scene.name}"]:
        click.echo(line)
    return 1 if refusals else 0


@model_group.command("import", short_help="Make a model directory of weights trained elsewhere.")
@click.argument("source", type=_DIRECTORY)
@click.argument("directory", type=_DIRECTORY)
@click.option("--settings", type=click.Path(path_type=Path), required=True, help="YAML file; see configs/import.yaml.")
def import_command(source: Path, directory: Path, settings: Path) -> None:
    """Make DIRECTORY, a model directory, of SOURCE and of what the settings say about it.

    SOURCE is a folder that smp's save_pretrained wrote, or a file with a plain state_dict: .safetensors, or .pt, .pth,
    .bin and .ckpt, of which only tensors are read. A pickle that would run code is refused.
    """
    from geoseg.import_settings import load_import_settings

    wanted = load_import_settings(settings)
    from geoseg.nn.importing import import_model

    click.echo(f"model directory: {import_model(source, directory, wanted)}")


@model_group.command("export", short_help="Write a model as ONNX.")
@click.argument("directory", type=_DIRECTORY)
@click.argument("target", type=click.Path(path_type=Path), metavar="FILE.onnx")
def export_command(directory: Path, target: Path) -> None:
    """Write the model in DIRECTORY as ONNX, and check that both give the same logits.

    The graph takes pixels as they are in the scene, scaling included. Needs the extra: pip install 'geoseg[onnx]'.
    """
    from geoseg.extras import require

    require("onnx", "onnx", "onnxruntime")
    from geoseg.nn.export import export_onnx

    agreement = export_onnx(directory, target)
    click.echo(
        f"{target}: logits differ by at most {agreement.largest:.2g} from PyTorch's (range {agreement.span:.3g})"
    )
