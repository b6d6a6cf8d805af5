"""Scores of pixels: the confusion matrix and the boundaries, counted strip by strip."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geoseg.confusion import f1, matrix_scores, ratio
from geoseg.legend import NODATA

Classes = NDArray[np.uint8]
"""(rows, width) class ids, NODATA where nothing is known."""

_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


@dataclass(slots=True)
class PixelCounts:
    """What is counted of two maps on one grid; adding strip by strip gives what one pass over all would."""

    channels: int
    """Classes and background."""
    near: NDArray[np.uint8]
    """Odd-sided mask of the pixels within the tolerance of its middle."""
    matrix: NDArray[np.int64] = field(init=False)
    """(K, K) pixels; rows are the reference, columns the prediction."""
    boundary: NDArray[np.int64] = field(init=False)
    """(K, 4) boundary pixels: predicted near the reference's, predicted, of the reference near predicted ones, all."""
    unmapped: int = 0
    """Pixels with a reference and no prediction."""

    def __post_init__(self) -> None:
        self.matrix = np.zeros((self.channels, self.channels), np.int64)
        self.boundary = np.zeros((self.channels, 4), np.int64)

    @property
    def halo(self) -> int:
        """Rows that a strip needs beyond its own, above and below."""
        return len(self.near) // 2 + 1

    def add(self, predicted: Classes, reference: Classes, own: slice) -> None:
        """Count the rows `own` of two maps; the others are neighbours, `halo` of them where the grid has as many."""
        seen = (predicted != NODATA) & (reference != NODATA)
        here = seen[own]
        pairs = reference[own][here].astype(np.int64) * self.channels + predicted[own][here]
        self.matrix += np.bincount(pairs, minlength=self.channels**2).reshape(self.matrix.shape)
        self.unmapped += int(np.count_nonzero((reference[own] != NODATA) & ~here))
        for k in range(1, self.channels):
            self.boundary[k] += self._boundary(predicted == k, reference == k, seen, own)

    def _boundary(
        self, predicted: NDArray[np.bool_], reference: NDArray[np.bool_], seen: NDArray[np.bool_], own: slice
    ) -> list[int]:
        found, true = _edge(predicted, seen), _edge(reference, seen)
        counts = []
        for edge, other in ((found, true), (true, found)):
            own_edge = edge[own] > 0
            # Away from both maps' edges there is nothing to dilate.
            close = cv2.dilate(other, self.near, borderValue=0)[own] > 0 if own_edge.any() and other.any() else False
            counts += [int(np.count_nonzero(own_edge & close)), int(np.count_nonzero(own_edge))]
        return counts


def within(tolerance_m: float, pixel_m: tuple[float, float]) -> NDArray[np.uint8]:
    """Mask of the pixels whose centres lie within the tolerance of the middle one's; `pixel_m`: height, width."""
    reach = [math.floor(tolerance_m / side + 1e-6) for side in pixel_m]
    rows, cols = (np.arange(-r, r + 1) * side for r, side in zip(reach, pixel_m, strict=True))
    inside: NDArray[np.uint8] = (np.hypot(rows[:, None], cols) <= tolerance_m * (1 + 1e-6)).astype(np.uint8)
    return inside


def pixel_scores(counts: PixelCounts, names: Sequence[str], known: Sequence[bool]) -> dict[str, Any]:
    """Those of `matrix_scores` and the boundary F1 of all strips, the confusion matrix, and how much was not mapped."""
    scores = matrix_scores(counts.matrix, names, known)
    for k, name in enumerate(names):
        if k > 0 and name in scores["classes"]:
            near_found, found, near_true, true = (int(n) for n in counts.boundary[k])
            scores["classes"][name]["boundary_f1"] = f1(ratio(near_found, found), ratio(near_true, true))
    return {**scores, "confusion": counts.matrix.tolist(), "unmapped_pixels": counts.unmapped}


def _edge(inside: NDArray[np.bool_], seen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pixels of a class beside one that is seen and not of it: the rim of the grid and of nodata is no boundary."""
    other = (seen & ~inside).astype(np.uint8)
    touched = cv2.dilate(other, _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    edge: NDArray[np.uint8] = touched & inside & seen
    return edge
