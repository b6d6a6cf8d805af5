"""The cross-entropy of a model over a whole scene, from the same blended logits that its map is made of."""

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from geoseg.contract import Contract
from geoseg.grid.tiling import Grid, Span, default_overlap
from geoseg.legend import NODATA
from geoseg.nn.device import choose_device, choose_precision
from geoseg.nn.forward import Forward
from geoseg.nn.losses import merge_unlabelled
from geoseg.nn.modeldir import load_model
from geoseg.nn.segment import ClassRows, ScenePass
from geoseg.raster.read import Rows, SceneReader
from geoseg.raster.scene import Scene

LabelRows = Callable[[int, int], NDArray[np.uint8]]
"""(rows, width) class ids of rows start … stop − 1, NODATA where nothing is known."""


def scene_loss(
    model_dir: Path,
    contract: Contract,
    scene: Scene,
    bands: tuple[int, ...],
    labels: LabelRows,
    known: tuple[bool, ...],
    enlargement: float = 1.0,
) -> float | None:
    """Mean cross-entropy over the labelled pixels of a scene, in nats; None where there are none.

    Args:
        model_dir: the model.
        contract: its own, or that for another range of values.
        scene: its image.
        bands: 1-based, in the order of the model's.
        labels: the truth, on the grid of the scene.
        known: by class id, whether the truth labels the class; background stands for all that it does not.
        enlargement: how large the network sees the scene, as when the map was made.

    """
    device = choose_device("auto")
    forward = Forward(load_model(model_dir), contract, device, choose_precision("auto", device))
    grid = Grid(scene.height, scene.width, contract.tile_size, default_overlap(contract.tile_size))
    with (
        closing(SceneReader(scene, bands)) as reader,
        closing(_LossPass(forward, reader, grid, enlargement, labels, known)) as summing,
    ):
        for strip in grid.strips(len(grid.rows)):
            for _ in summing.strip(strip):
                pass
    return summing.total / summing.pixels if summing.pixels else None


class _LossPass(ScenePass):
    """A pass that sums the loss of final rows instead of deciding them."""

    def __init__(
        self,
        forward: Forward,
        source: SceneReader,
        grid: Grid,
        enlargement: float,
        labels: LabelRows,
        known: tuple[bool, ...],
    ) -> None:
        super().__init__(forward, source, grid, enlargement)
        self._labels = labels
        self._known = torch.tensor([known], device=forward.device)
        self.total = 0.0
        self.pixels = 0

    def _decide(self, span: Span, rows: Rows, tiles: Iterable[tuple[Span, Tensor]]) -> ClassRows:
        label = self._labels(span.start, span.owned_stop).astype(np.int64)
        label[~rows.valid[: len(label)]] = NODATA
        target = torch.from_numpy(label).to(self._known.device)
        for column, logits in tiles:
            own = target[None, :, column.start : column.owned_stop]
            log_p = merge_unlabelled(logits[None], self._known, own)
            self.total += float(functional.nll_loss(log_p, own, ignore_index=NODATA, reduction="sum"))
        self.pixels += int(np.count_nonzero(label != NODATA))
        nothing = np.empty((0, 0), np.uint8)
        return ClassRows(span.start, nothing, nothing)
