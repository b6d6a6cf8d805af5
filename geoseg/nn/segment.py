"""From pixels to classes: forward, blend and decide on the device, tile row by tile row.

For a strip, tiles are added in row-major order to an accumulator of logits that holds one tile row. Rows that no
later tile can change are final: their class and confidence leave the device as bytes, and the accumulator rolls on.
It holds K × T × W numbers whatever the height. The lattice of tiles belongs to the scene, so any cut into strips
adds the same numbers in the same order and gives the same bits.
"""

import math
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoseg.errors import SceneError
from geoseg.grid.taper import reach, taper
from geoseg.grid.tiling import Grid, Span, Strip
from geoseg.legend import NODATA
from geoseg.nn.forward import Forward
from geoseg.raster.read import Rows
from geoseg.threads import one_thread

_DECIDE_PX = 1 << 15
"""Pixels decided at once on a CPU: their logits stay in its second-level cache."""


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

    A strip that follows the one before takes over its accumulator and its open file; any other strip first computes
    the tile row that it shares with the one above. Both give the same bits.
    """

    def __init__(self, forward: Forward, source: RowSource, grid: Grid) -> None:
        """Prepare to map the scene that `source` reads, on the lattice `grid`."""
        self._forward = forward
        self._source = source
        self._grid = grid
        shape = (forward.channels, min(grid.tile_size, grid.height), grid.width)
        self._scores = torch.zeros(shape, device=forward.device)  # (K, T, W) weighted sums of logits
        self._tapers: dict[tuple[bool, ...], Tensor] = {}
        self._next_row: int | None = None  # tile row that the accumulator is ready for
        self._reader = one_thread("read")
        self._ahead: tuple[int, Future[Rows]] | None = None  # tile row that is read while another is computed

    def close(self) -> None:
        """Read no more; the source may be closed then."""
        self._reader.shutdown(cancel_futures=True)

    def strip(self, strip: Strip) -> Iterator[ClassRows]:
        """The final rows of a strip, one tile row at a time, from top to bottom."""
        ready = self._next_row == strip.first
        self._next_row = None
        first = strip.first if ready or strip.first == 0 else strip.first - 1
        # A process that goes through a scene strip by strip will want the row after this strip next.
        last = strip.stop if ready or strip.first == 0 else strip.stop - 1
        if not ready:
            self._scores.zero_()
        with torch.inference_mode():
            for index in range(first, strip.stop):
                span, rows = self._grid.rows[index], self._read(index).result()
                if index < min(last, len(self._grid.rows) - 1):
                    self._read(index + 1)
                self._add(span, rows)
                if index >= strip.first:
                    yield self._decide(span, rows)
                self._roll(span)
        self._next_row = strip.stop

    def _read(self, index: int) -> Future[Rows]:
        """The pixels of tile row `index`, in a thread; those of the row asked for last are at hand or on their way."""
        if self._ahead is None or self._ahead[0] != index:
            span = self._grid.rows[index]
            self._ahead = index, self._reader.submit(self._source.rows, span.start, span.stop)
        return self._ahead[1]

    def _add(self, span: Span, rows: Rows) -> None:
        """Add the weighted logits of one row of tiles; tiles without any data are not forwarded."""
        on_device = self._forward.to_device(rows)
        wanted = [c for c in self._grid.cols if rows.valid[:, c.start : c.stop].any()]
        for _, alike in groupby(wanted, key=lambda c: c.padded):
            for column, logits in self._forward.tiles(on_device, list(alike), span.padded):
                self._blend(logits, span, column)

    def _blend(self, logits: Tensor, span: Span, column: Span) -> None:
        """Add a tile to what those before it left; where they have no say, it takes the place of whatever is there.

        A tile that was not forwarded may leave anything there: all its pixels are without data.
        """
        target = self._scores[:, : span.size, column.start : column.stop]
        weights = self._weights(span, column)
        y, x = reach(self._grid.rows, span.index), reach(self._grid.cols, column.index)
        own_rows, own_cols = slice(y.alone, y.stop), slice(x.alone, x.stop)
        for rows, cols in (
            (slice(y.start, y.alone), slice(x.start, x.stop)),
            (own_rows, slice(x.start, x.alone)),
        ):
            target[:, rows, cols].addcmul_(logits[:, rows, cols].float(), weights[rows, cols])
        target[:, own_rows, own_cols] = logits[:, own_rows, own_cols]
        # Elsewhere the weight is 1.
        for rows, cols in (
            (slice(y.fading, y.stop), own_cols),
            (slice(y.alone, y.fading), slice(x.fading, x.stop)),
        ):
            target[:, rows, cols] *= weights[rows, cols]

    def _weights(self, span: Span, column: Span) -> Tensor:
        """Blend weights of a tile, (rows, cols); tiles in the middle of the scene share theirs."""
        ends = len(self._grid.rows) - 1, len(self._grid.cols) - 1
        place = span.index == 0, span.index == ends[0], column.index == 0, column.index == ends[1]
        if place not in self._tapers:
            if len(self._tapers) == 3:  # those of another tile row
                self._tapers.clear()
            down, across = taper(self._grid.rows, span.index), taper(self._grid.cols, column.index)
            self._tapers[place] = torch.from_numpy(np.outer(down, across)).to(self._scores.device)
        return self._tapers[place]

    def _decide(self, span: Span, rows: Rows) -> ClassRows:
        """Class and confidence of the rows that tile row `span` owns."""
        height = span.owned_stop - span.start
        classes, confidence = decide(self._scores[:, :height])
        invalid = ~rows.valid[:height]
        classes[invalid] = NODATA
        confidence[invalid] = NODATA
        return ClassRows(span.start, classes, confidence)

    def _roll(self, span: Span) -> None:
        """Move the rows that the next tile row shares to the top."""
        shared = span.stop - span.owned_stop
        self._scores[:, :shared] = self._scores[:, span.size - shared : span.size].clone()


def decide(scores: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Class ids and confidence in percent of `scores` (K, H, W), each `(H, W)` uint8 on the host.

    Ties go to the lower id. Raises SceneError where a score is not finite.
    """
    if scores.device.type == "cpu":
        classes, confidence = _decide_on_cpu(scores.flatten(1).numpy())
    else:
        classes, confidence = (band.cpu().numpy() for band in _decide_on_gpu(scores))
    shape = tuple(scores.shape[1:])
    return classes.reshape(shape), confidence.reshape(shape)


def _decide_on_cpu(scores: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """For (K, pixels): running maximum and softmax of the winner, a piece that stays in the cache at a time.

    NumPy on one core is as quick as PyTorch on two, whose threads wait for each other after each of two dozen operations.
    """
    classes = np.zeros(scores.shape[1], np.uint8)
    confidence = np.empty_like(classes)
    for start in range(0, len(classes), _DECIDE_PX):
        piece = slice(start, start + _DECIDE_PX)
        logits, winner = scores[:, piece], classes[piece]
        best = logits[0].copy()
        for k, logit in enumerate(logits[1:], 1):
            # Later winners have higher ids, so a maximum of bytes replaces a masked write.
            np.maximum(winner, np.multiply(logit > best, k, dtype=np.uint8), out=winner)
            np.maximum(best, logit, out=best)
        total = np.zeros_like(best)
        for logit in logits:
            shifted = logit - best
            total += np.exp(shifted, out=shifted)
        _check_finite(float(total.sum()))
        confidence[piece] = np.rint(np.divide(100, total, out=total), out=total)
    return classes, confidence


def _decide_on_gpu(scores: Tensor) -> tuple[Tensor, Tensor]:
    """For (K, H, W)."""
    best, classes = scores[0].clone(), torch.zeros_like(scores[0], dtype=torch.uint8)
    for k, logit in enumerate(scores[1:], 1):
        torch.maximum(classes, (logit > best).to(torch.uint8) * k, out=classes)
        torch.maximum(best, logit, out=best)
    total = (scores - best).exp_().sum(0)
    _check_finite(float(total.sum()))
    return classes, total.reciprocal_().mul_(100).round_().to(torch.uint8)


def _check_finite(total: float) -> None:
    if not math.isfinite(total):
        raise SceneError("the model gave scores that are not finite; its weights or its scaling are broken.")
