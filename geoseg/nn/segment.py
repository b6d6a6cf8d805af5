"""From pixels to classes: forward, blend and decide on the device, tile by tile.

Pixels that no later tile can change are final: their class and confidence leave the device as bytes, a tile row at a
time. The lattice of tiles belongs to the scene, so any cut into strips adds the same numbers in the same order and gives
the same bits.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoseg.errors import SceneError
from geoseg.grid.tiling import Grid, Span, Strip
from geoseg.legend import NODATA
from geoseg.nn.blend import Blend
from geoseg.nn.forward import Forward
from geoseg.raster.read import Rows
from geoseg.threads import one_thread

_DECIDE_PX = 1 << 17
"""Pixels that a core decides at once: few enough for its cache, enough that cores do not wait for each other in Python."""


class RowSource(Protocol):
    """Gives full-width rows of a scene, usually a `geoseg.raster.read.SceneReader`."""

    def rows(self, start: int, stop: int) -> Rows:
        """Rows start … stop − 1."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassRows:
    """Final rows of a scene."""

    start: int
    """First row."""
    classes: NDArray[np.uint8]
    """`(rows, width)` class ids, 255 where the scene has no data."""
    confidence: NDArray[np.uint8]
    """`(rows, width)` softmax probability of the class in percent, 255 where the scene has no data."""


class ScenePass:
    """One pass over a scene from top to bottom, strip by strip.

    A strip that follows the one before takes over what that kept of its last tile row, and its open file; any other
    strip first computes the tile row that it shares with the one above. Both give the same bits.
    """

    def __init__(self, forward: Forward, source: RowSource, grid: Grid, enlargement: float = 1.0) -> None:
        """Prepare to map the scene that `source` reads, on the lattice `grid`, shown to the network enlarged."""
        self._forward = forward
        self._enlargement = enlargement
        self._source = source
        self._grid = grid
        self._blend = Blend(grid, forward.channels, forward.device)
        self._next_row: int | None = None  # tile row that the blend is ready for
        self._reader = one_thread("read")
        self._deciders = ThreadPoolExecutor(torch.get_num_threads(), "decide")
        self._ahead: tuple[int, Future[Rows]] | None = None  # tile row that is read while another is computed

    def close(self) -> None:
        """Read no more; the source may be closed then."""
        self._reader.shutdown(cancel_futures=True)
        self._deciders.shutdown()

    def strip(self, strip: Strip) -> Iterator[ClassRows]:
        """The final rows of a strip, one tile row at a time, from top to bottom."""
        ready = self._next_row == strip.first
        self._next_row = None
        first = strip.first if ready or strip.first == 0 else strip.first - 1
        # A process that goes through a scene strip by strip will want the row after this strip next.
        last = strip.stop if ready or strip.first == 0 else strip.stop - 1
        with torch.inference_mode():
            for index in range(first, strip.stop):
                span, rows = self._grid.rows[index], self._read(index).result()
                if index < min(last, len(self._grid.rows) - 1):
                    self._read(index + 1)
                tiles = self._tiles(span, rows)
                if index >= strip.first:
                    yield self._decide(span, rows, tiles)
                else:
                    deque(tiles, maxlen=0)
        self._next_row = strip.stop

    def _read(self, index: int) -> Future[Rows]:
        """The pixels of tile row `index`, in a thread; those of the row asked for last are at hand or on their way."""
        if self._ahead is None or self._ahead[0] != index:
            span = self._grid.rows[index]
            self._ahead = index, self._reader.submit(self._source.rows, span.start, span.stop)
        return self._ahead[1]

    def _tiles(self, span: Span, rows: Rows) -> Iterator[tuple[Span, Tensor]]:
        """The tiles of one tile row with the final logits (K, rows, columns) that they own.

        Tiles without any data are not forwarded and left out.
        """
        on_device = self._forward.to_device(rows)
        wanted = [c for c in self._grid.cols if rows.valid[:, c.start : c.stop].any()]
        for _, alike in groupby(wanted, key=lambda c: c.padded):
            for column, logits in self._forward.tiles(on_device, list(alike), span.padded, self._enlargement):
                yield column, self._blend.add(logits, span, column)

    def _decide(self, span: Span, rows: Rows, tiles: Iterable[tuple[Span, Tensor]]) -> ClassRows:
        """Class and confidence of the rows that tile row `span` owns."""
        height, device = span.owned_stop - span.start, self._forward.device
        classes, confidence = (
            torch.full((height, self._grid.width), NODATA, dtype=torch.uint8, device=device) for _ in range(2)
        )
        totals: list[float | Tensor] = []
        for column, logits in tiles:
            own = slice(None), slice(column.start, column.owned_stop)
            classes[own], confidence[own], total = decide(logits, self._deciders.map)
            totals.append(total)
        # Once a row and not for every tile: a GPU would have to wait for it.
        if not math.isfinite(sum(totals)):
            raise SceneError("the model gave scores that are not finite; its weights or its scaling are broken.")
        invalid = ~rows.valid[:height]
        bands = [band.cpu().numpy() for band in (classes, confidence)]
        for band in bands:
            band[invalid] = NODATA
        return ClassRows(span.start, *bands)


def decide(logits: Tensor, each: Callable[..., Iterable[float]] = map) -> tuple[Tensor, Tensor, float | Tensor]:
    """Class ids and confidence in percent of `logits` (K, H, W), each `(H, W)` uint8; ties go to the lower id.

    The third is a number that is not finite where a logit is NaN or infinite. `each` is `map`, or that of a pool of threads.
    """
    if not logits.is_cpu:
        return _decide_on_gpu(logits)
    planes = logits.numpy()
    classes, confidence = (np.empty(planes.shape[1:], np.uint8) for _ in range(2))
    rows = max(1, _DECIDE_PX // planes.shape[2])
    pieces = [slice(start, start + rows) for start in range(0, planes.shape[1], rows)]
    total = sum(each(lambda piece: _decide_on_cpu(planes[:, piece], classes[piece], confidence[piece]), pieces))
    return torch.from_numpy(classes), torch.from_numpy(confidence), total


def _decide_on_cpu(logits: NDArray[np.float32], classes: NDArray[np.uint8], confidence: NDArray[np.uint8]) -> float:
    """Fill in the classes by a running maximum, and the softmax of the winner; the sum of the highest logits.

    In NumPy, piece by piece: PyTorch's threads would wait for each other after each of two dozen operations.
    """
    best, others = logits[0].copy(), np.empty_like(logits[1:])
    classes[:] = 0
    for k, (logit, other) in enumerate(zip(logits[1:], others, strict=True), 1):
        # Later winners have higher ids, so a maximum of bytes replaces a masked write.
        np.maximum(classes, np.multiply(logit > best, k, dtype=np.uint8), out=classes)
        np.minimum(best, logit, out=other)
        np.maximum(best, logit, out=best)
    highest = float(best.sum())
    if math.isfinite(highest):
        others -= best
        # The exponential is most of the work; that of the winner itself is 1.
        total = np.exp(others, out=others).sum(0) + 1
        confidence[:] = np.rint(np.divide(100, total, out=total), out=total)
    return highest


def _decide_on_gpu(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same in operations that a GPU has."""
    best, classes = logits[0].clone(), torch.zeros_like(logits[0], dtype=torch.uint8)
    for k, logit in enumerate(logits[1:], 1):
        torch.maximum(classes, (logit > best).to(torch.uint8) * k, out=classes)
        torch.maximum(best, logit, out=best)
    total = (logits - best).exp_().sum(0)
    return classes, total.reciprocal_().mul_(100).round_().to(torch.uint8), best.sum()
