"""What a training leaves beside the weights: curves, examples beside the truth, and how it went."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from geoseg.files import atomic, read_json
from geoseg.legend import Legend
from geoseg.nn.data import Window
from geoseg.nn.data_sources import IGNORE
from geoseg.nn.resume import START
from geoseg.train_config import TrainConfig

mpl.use("Agg")

from matplotlib import pyplot as plt

_EXAMPLES = 8
_SHOWN_PX = 256


def write_curves(tables: Sequence[Path], picture: Path) -> None:
    """Draw the loss and the IoUs in the CSV `tables`, one for each time the run was started, against the step."""
    rows = [row for table in tables for row in csv.DictReader(table.read_text().splitlines())]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
    for name in ("loss", "validation_loss"):
        left.plot(*_series(rows, name), label=name.replace("_", " "))
    left.set(xlabel="step", ylabel="loss", yscale="log")
    left.legend()
    for name in [
        n
        for n in dict.fromkeys(key for row in rows for key in row)
        if "/" in n and not n.endswith(("accuracy", "background"))
    ]:
        right.plot(*_series(rows, name), label=name.replace("/", ": "), marker=".")
    right.set(xlabel="step", ylabel="IoU", ylim=(0, 1))
    right.legend(fontsize="small", loc="lower right")
    with atomic(picture) as tmp:
        figure.savefig(tmp, dpi=110)
    plt.close(figure)


@torch.no_grad()
def write_examples(model: nn.Module, windows: Sequence[Window], legend: Legend, picture: Path) -> None:
    """A sheet of windows, one a row: image, truth, prediction; ignored pixels are white.

    `model` takes pixels as they are in files, (N, C, H, W), where they count, (N, H, W), and how large they are shown to
    the network, and gives logits.
    """
    model.eval()
    rows = []
    for window in windows:
        predicted = model(window.image[None], window.valid[None], float(window.enlargement)).argmax(1)[0].numpy()
        parts = [_visible(window), *(_colored(ids, legend) for ids in (window.label.numpy(), predicted))]
        rows.append(np.concatenate([_shrunk(p) for p in parts], axis=1))
    with atomic(picture) as tmp:
        Image.fromarray(np.concatenate(rows)).save(tmp)


def example_windows(windows: Any) -> list[Window]:
    """A few windows spread over a data set, those with the most classes in each stretch."""
    count = min(_EXAMPLES, len(windows))
    places = [int(i) for i in np.linspace(0, len(windows), count, endpoint=False)]
    return [max((windows[j] for j in _nearby(i, len(windows))), key=_classes) for i in places]


def _series(rows: list[dict[str, str]], name: str) -> tuple[list[int], list[float]]:
    points = [(int(r["step"]), float(r[name])) for r in rows if r.get(name)]
    return [p[0] for p in points], [p[1] for p in points]


def _nearby(start: int, end: int) -> range:
    return range(start, min(start + 4, end))


def _classes(window: Window) -> tuple[int, int]:
    ids = window.label[window.label != IGNORE]
    return len(set(ids.tolist())), int((ids > 0).sum())


def _visible(window: Window) -> NDArray[np.uint8]:
    """The first three bands (or the first one), stretched to 8 bits unless they are."""
    bands = window.image[:3] if window.image.shape[0] >= 3 else window.image[:1].expand(3, -1, -1)
    if bands.dtype != torch.uint8:
        values = bands.float()
        low, high = values.min(), values.max()
        bands = ((values - low) / (high - low).clamp_min(1e-9) * 255).to(torch.uint8)
    return bands.permute(1, 2, 0).numpy()


def _colored(ids: NDArray[np.integer[Any]], legend: Legend) -> NDArray[np.uint8]:
    palette = np.full((256, 3), 255, np.uint8)
    palette[0] = 0
    for c in legend:
        palette[c.id] = c.rgb
    colored: NDArray[np.uint8] = palette[ids]
    return colored


def _shrunk(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(picture).resize((_SHOWN_PX, _SHOWN_PX), Image.Resampling.NEAREST))


def outcome(config: TrainConfig, metrics: Mapping[str, Any]) -> Iterator[str]:
    """A line for each source: its test, and that of the model that the training started from."""
    before = read_json(config.run_dir / START) or {}
    for source, scores in metrics.items():
        line = f"{source}: test loss {scores['loss']:.4f}, mean IoU {scores['mean_iou']:.3f}"
        if start := before.get(source):
            line += f" (before: {start['loss']:.4f}, {start['mean_iou']:.3f})"
            if start["mean_iou"] > scores["mean_iou"]:
                line += (
                    f"; {'worse' if start['loss'] < scores['loss'] else 'of lower IoU'} than the model it started from"
                )
        yield line
