"""The card of a model: what it is for, what it was made from, and how well it does. Imports no torch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from geoseg.contract import Contract, load_contract
from geoseg.files import atomic

CARD_FILE = "README.md"
"""Name of the card in a model directory."""


def write_card(contract: Contract, model_dir: Path, notes: str) -> None:
    """Write `README.md` of a model directory; `notes` says what the model is not good at."""
    with atomic(model_dir / CARD_FILE) as tmp:
        tmp.write_text(card(contract, notes), encoding="utf-8")


def card(contract: Contract, notes: str = "") -> str:
    """The card as Markdown; sections without content are left out."""
    return "\n".join(_lines(contract, notes)) + "\n"


def _lines(contract: Contract, notes: str) -> Iterator[str]:
    size = contract.pixel_size_m
    yield f"# {contract.name} {contract.version}\n"
    if contract.description:
        yield f"{contract.description}\n"
    yield f"- Bands: {', '.join(contract.bands)} ({contract.dtype})"
    larger = "" if size.enlarged_to is None else f"; coarser than {size.enlarged_to} m is shown to it enlarged"
    yield f"- Pixel size: {size.min}–{size.max} m, best at {size.native} m{larger}"
    yield f"- Classes: {', '.join(c.name for c in contract.legend)}"
    yield f"- Licence of the weights: {contract.licence}"
    if contract.sources:
        yield "\n## Trained on\n\n| source | labelled megapixels | licence |\n|---|---|---|"
        for source in contract.sources:
            yield f"| {source.name} | {source.pixels / 1e6:.1f} | {source.licence} |"
    if contract.metrics:
        yield from _measured(contract.metrics)
    if notes:
        yield f"\n## Limits\n\n{notes.strip()}"


def _measured(metrics: Mapping[str, Any]) -> Iterator[str]:
    yield "\n## Measured on held-out ground\n\n| source | class | IoU | F1 | precision | recall |\n|---|---|---|---|---|---|"
    for name, result in metrics.items():
        for class_name, s in result["classes"].items():
            yield f"| {name} | {class_name} | {s['iou']:.3f} | {s['f1']:.3f} | {s['precision']:.3f} | {s['recall']:.3f} |"
    yield "\n| source | loss | accuracy | labelled megapixels |\n|---|---|---|---|"
    for name, result in metrics.items():
        yield f"| {name} | {result['loss']:.3f} | {result['accuracy']:.3f} | {result['pixels'] / 1e6:.1f} |"


def read_card(model_dir: Path) -> str:
    """The card of a model directory as it lies there, or made from the contract; the weights are not opened.

    Raises ModelError where the directory is incomplete or its contract is broken.
    """
    contract = load_contract(model_dir)
    path = model_dir / CARD_FILE
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else card(contract)
    # A card comes with a model from elsewhere: it is text, and no order to a terminal.
    return "".join(c for c in text if c.isprintable() or c == "\n")
