"""What an evaluation leaves: metrics.json, a picture of the confusion matrix, a table for the terminal."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from geoseg.files import atomic, write_json

METRICS_FILE = "metrics.json"
CONFUSION_FILE = "confusion.png"

_CELL_PX, _MARGIN_PX, _LEGEND_PX = 120, 180, 90
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MOST_PX = 8000
_SURE = np.array([181, 113, 8], np.float64)
"""Colour (blue, green, red) of a cell that holds all of its row."""


def write_report(folder: Path, metrics: dict[str, Any]) -> None:
    """Write metrics.json and confusion.png into `folder`."""
    write_json(folder / METRICS_FILE, metrics)
    picture = confusion_picture(np.array(metrics["confusion"]), metrics["class_names"])
    with atomic(folder / CONFUSION_FILE) as tmp:
        tmp.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def confusion_picture(matrix: NDArray[np.int64], names: list[str]) -> NDArray[np.uint8]:
    """The matrix as a picture (H, W, 3), blue, green, red; cells say the share of their row, which is the truth.

    Of more classes than can be written, at most some 8000 pixels wide, it shows the colours alone.
    """
    count = len(names)
    cell = max(4, min(_CELL_PX, _MOST_PX // count))
    shape = (_LEGEND_PX + count * cell, _MARGIN_PX + count * cell, 3)
    picture = np.full(shape, 255, np.uint8)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    _text(picture, "rows: reference", (8, 28))
    _text(picture, "columns: prediction", (8, 54))
    for i, name in enumerate(names):
        if cell == _CELL_PX:
            _text(picture, name[:16], (8, _LEGEND_PX + i * cell + cell // 2))
            _text(picture, name[:12], (_MARGIN_PX + i * cell + 4, _LEGEND_PX - 10))
        for j in range(count):
            _cell(picture, (i, j), shares[i, j], int(matrix[i, j]), cell)
    return picture


def print_table(metrics: dict[str, Any], console: Console) -> None:
    """The scores as tables."""
    console.print(_pixel_table(metrics))
    if metrics["objects"]:
        columns = ("precision", "recall", "f1", "matched", "predicted", "reference")
        console.print(_table("Objects", columns, metrics["objects"]))
    if metrics["roads"]:
        columns = ("precision", "recall", "quality", "apls", "predicted_m", "reference_m")
        console.print(_table("Road centrelines", columns, metrics["roads"]))
    loss = f"loss {metrics['loss']:.4f}" if metrics["loss"] is not None else f"loss: {metrics.get('loss_note', 'none')}"
    console.print(
        f"accuracy {_shown(metrics['accuracy'])}, mean IoU {_shown(metrics['mean_iou'])}, {metrics['pixels']:,} pixels, "
        f"{metrics['unmapped_pixels']:,} more without a prediction; {loss}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if metrics["not_labelled"]:
        console.print(f"not in the reference: {', '.join(metrics['not_labelled'])}", highlight=False, markup=False)
    if metrics["of_no_class"]:
        told = f"features of the reference of no class count as background: {metrics['of_no_class']}"
        console.print(told, highlight=False, markup=False, soft_wrap=True)


def _pixel_table(metrics: dict[str, Any]) -> Table:
    columns = ("iou", "f1", "precision", "recall", "boundary_f1")
    return _table(f"Pixels (boundary within {metrics['boundary_tolerance_m']:g} m)", columns, metrics["classes"])


def _table(title: str, columns: tuple[str, ...], rows: dict[str, dict[str, Any]]) -> Table:
    table = Table("class", *(c.replace("_", " ") for c in columns), title=title, title_justify="left")
    for name, scores in rows.items():
        table.add_row(escape(name), *(_shown(scores.get(c)) for c in columns))
    return table


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}" if value <= 1 else f"{value:,.0f}"


def _cell(picture: NDArray[np.uint8], place: tuple[int, int], share: float, pixels: int, cell: int) -> None:
    top, left = _LEGEND_PX + place[0] * cell, _MARGIN_PX + place[1] * cell
    picture[top + 1 : top + cell, left + 1 : left + cell] = 255 + share * (_SURE - 255)
    if cell < _CELL_PX:  # no room for words
        return
    ink = (255, 255, 255) if share > 0.6 else (0, 0, 0)
    _text(picture, f"{share:.1%}", (left + 10, top + _CELL_PX // 2), ink)
    _text(picture, _short(pixels), (left + 10, top + _CELL_PX // 2 + 26), ink)


def _text(picture: NDArray[np.uint8], text: str, place: tuple[int, int], ink: tuple[int, int, int] = (0, 0, 0)) -> None:
    cv2.putText(picture, text.encode("ascii", "replace").decode(), place, _FONT, 0.5, ink, 1, cv2.LINE_AA)


def _short(pixels: int) -> str:
    return f"{pixels / 1e6:.1f} M" if pixels >= 1e6 else f"{pixels:,}"
