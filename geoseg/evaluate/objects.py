"""Buildings as objects: polygons out of class rows, and how many of them were found (the SpaceNet rule)."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes

from geoseg.confusion import f1, ratio

Polygons = NDArray[Any]
"""(N,) shapely polygons."""


class ObjectTracer:
    """The 4-connected parts of a class, traced strip by strip; only parts that touch the last row stay open."""

    def __init__(self, transform: Affine) -> None:
        """`transform` leads from (column, row) of the grid to its map."""
        self._transform = transform
        self._done: list[Any] = []
        self._open: list[Any] = []
        self._row = 0

    def add(self, inside: NDArray[np.bool_]) -> None:
        """The next rows of the class, (rows, width)."""
        top, bottom = self._row, self._row + len(inside)
        traced = shapes(inside.astype(np.uint8), inside, connectivity=4, transform=Affine.translation(0, top))
        parts = [shapely.geometry.shape(outline) for outline, _ in traced]
        self._row = bottom
        seam = [p for p in parts if p.bounds[1] == top]
        inner = [p for p in parts if p.bounds[1] != top]
        joined = _parts(shapely.union_all([*self._open, *seam])) if self._open else seam
        self._open = []
        for part in [*joined, *inner]:
            (self._open if part.bounds[3] == bottom else self._done).append(part)

    def polygons(self) -> Polygons:
        """All parts, in map coordinates."""
        t = self._transform
        found = np.array([*self._done, *self._open], dtype=object)
        moved: Polygons = shapely.transform(
            found, lambda xy: np.stack([t.a * xy[:, 0] + t.c, t.e * xy[:, 1] + t.f], axis=1)
        )
        return moved


def object_scores(
    found: Polygons, truth: Polygons, confidence: NDArray[np.float64] | None, threshold: float
) -> dict[str, Any]:
    """Precision, recall and F1 of objects, each matched to at most one.

    Args:
        found: polygons of the prediction.
        truth: polygons of the reference, in the same plane.
        confidence: of each found polygon. The surest chooses first, as in SpaceNet; None: the best overlap goes first.
        threshold: least IoU of a match.

    """
    pairs = _candidates(found, truth, threshold)
    order = [(-p[0], p[1], p[2]) for p in pairs]
    if confidence is not None and np.isfinite(confidence).all():
        order = [(-float(confidence[i]), i, -iou, j) for iou, i, j in pairs]  # type: ignore[misc]
    matched = _one_to_one(sorted(zip(order, pairs, strict=True)))
    hits = len(matched)
    precision, recall = ratio(hits, len(found)), ratio(hits, len(truth))
    return {
        "precision": precision,
        "recall": recall,
        "f1": f1(precision, recall),
        "matched": hits,
        "predicted": len(found),
        "reference": len(truth),
        "mean_matched_iou": ratio(sum(iou for iou, _, _ in matched), hits),
        "iou_threshold": threshold,
    }


def _candidates(found: Polygons, truth: Polygons, threshold: float) -> list[tuple[float, int, int]]:
    """IoU, found and true index of all pairs that reach the threshold."""
    if not len(found) or not len(truth):
        return []
    i, j = shapely.STRtree(truth).query(found, predicate="intersects")
    overlap = shapely.area(shapely.intersection(found[i], truth[j]))
    union = shapely.area(found[i]) + shapely.area(truth[j]) - overlap
    iou = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    good = iou >= threshold
    return [(float(v), int(a), int(b)) for v, a, b in zip(iou[good], i[good], j[good], strict=True)]


def _one_to_one(ordered: Iterable[tuple[Any, tuple[float, int, int]]]) -> list[tuple[float, int, int]]:
    taken_found: set[int] = set()
    taken_true: set[int] = set()
    matched = []
    for _, (iou, i, j) in ordered:
        if i not in taken_found and j not in taken_true:
            taken_found.add(i)
            taken_true.add(j)
            matched.append((iou, i, j))
    return matched


def _parts(geometry: Any) -> Iterator[Any]:
    yield from shapely.get_parts(geometry)
