"""Pieces of skeleton lines of all blocks, joined and smoothed to the centrelines of a scene."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.vector.arrays import Bools, Floats, Ints, offsets_of, owners_of, ranges
from geoseg.vector.job import VectorJob
from geoseg.vector.network import CUT, JUNCTION, LEAF, RING, traced
from geoseg.vector.parts import Pieces, concatenated, load_pieces
from geoseg.vector.roads import thinning_factor
from geoseg.vector.simplify import thin

_LINE = shapely.GeometryType.LINESTRING

_WIDER_PX = 0.35
"""How much wider than a road twice the largest distance to its border is, on average over all angles and widths.

The distance is taken from pixel to pixel: from a middle pixel to the nearest pixel beside the road.
"""

_TANGENT_POINTS = 4
"""Points before and after one that say where the line goes there."""

_LEAST_SMOOTH_PX = 1.5
"""Standard deviation that takes the staircase out of a line of pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Centerlines:
    """Finished lines."""

    value: NDArray[np.uint8]
    """(L,) class of each."""
    lines: NDArray[Any]
    """(L,) shapely lines in map coordinates."""
    width_m: Floats
    """(L,) median width of the road."""
    confidence: Floats
    """(L,) mean confidence under the line, 0–1; NaN where there is none."""


def centerlines_by_block(job: VectorJob, parts: Sequence[Path], values: Sequence[int]) -> Iterator[Centerlines]:
    """The centrelines of some classes, each once its last block was seen; only those still open are held.

    Lines run from junction to junction, and those that meet there have the same end point to the last bit.
    """
    held: list[Pieces] = []
    for index, path in enumerate(parts):
        pieces = load_pieces(path)
        held.append(picked(pieces, np.flatnonzero(np.isin(pieces.value, values))))
        lines = joined(concatenated(held))
        stop = -(-job.rows_of(index)[1] // thinning_factor(job))
        loose = (lines.ends == CUT) & (_end_points(lines)[:, :, 1] >= stop)
        going_on = loose.any(axis=1) & (index < len(parts) - 1)
        yield finished(job, picked(lines, np.flatnonzero(~going_on)))
        held = [picked(lines, np.flatnonzero(going_on))]


def picked(pieces: Pieces, which: Ints) -> Pieces:
    """Some of the pieces, in this order."""
    lengths = np.diff(pieces.offsets)[which]
    points = ranges(pieces.offsets[which], lengths)
    return Pieces(
        value=pieces.value[which],
        offsets=offsets_of(lengths),
        xy=pieces.xy[points],
        radius=pieces.radius[points],
        confidence=pieces.confidence[points],
        ends=pieces.ends[which],
    )


def joined(pieces: Pieces) -> Pieces:
    """Pieces put together where exactly two were cut at the same point."""
    count = len(pieces.value)
    node, through = _nodes(pieces)
    edges, offsets, closed = traced(node[:, 0], node[:, 1], through)
    piece, backwards = edges % max(count, 1), (edges >= count).astype(np.int64)
    first, last = offsets[:-1], offsets[1:] - 1
    ends = np.stack(
        [pieces.ends[piece[first], backwards[first]], pieces.ends[piece[last], 1 - backwards[last]]], axis=1
    )
    ends[closed] = RING
    points, lengths = _walked(pieces.offsets, piece, backwards, last)
    return Pieces(
        value=pieces.value[piece[first]],
        offsets=offsets_of(lengths)[offsets],
        xy=pieces.xy[points],
        radius=pieces.radius[points],
        confidence=pieces.confidence[points],
        ends=ends,
    )


def _nodes(pieces: Pieces) -> tuple[Ints, Bools]:
    """(P, 2) node at each end of each piece, and which nodes lines run through."""
    count = len(pieces.value)
    node = np.arange(2 * count).reshape(count, 2)
    cut = pieces.ends == CUT
    keys = np.column_stack([np.repeat(pieces.value, 2).reshape(count, 2)[cut], _end_points(pieces)[cut]])
    _, number, ends = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    node[cut] = 2 * count + number.ravel()
    return node, np.concatenate([np.zeros(2 * count, bool), ends == 2])


def _end_points(pieces: Pieces) -> Ints:
    """(P, 2, 2) first and last point of each piece."""
    return np.stack([pieces.xy[pieces.offsets[:-1]], pieces.xy[pieces.offsets[1:] - 1]], axis=1)


def _walked(offsets: Ints, piece: Ints, backwards: Ints, last: Ints) -> tuple[Ints, Ints]:
    """Points of pieces walked one after the other; the last of a piece is left out where the next begins with it."""
    lengths = np.diff(offsets)[piece]
    step = np.repeat(1 - 2 * backwards, lengths)
    start = np.where(backwards == 1, offsets[piece + 1] - 1, offsets[piece])
    place = ranges(np.zeros_like(lengths), lengths)
    points = np.repeat(start, lengths) + step * place
    ending = np.zeros(len(piece), bool)
    ending[last] = True
    keep = (place < np.repeat(lengths, lengths) - 1) | np.repeat(ending, lengths)
    return points[keep], lengths - ~ending


def finished(job: VectorJob, pieces: Pieces) -> Centerlines:
    """Lines in map coordinates, smoothed, with their widths; short roads without a junction are left out."""
    how, factor = job.settings.centerlines, thinning_factor(job)
    pixel_m = job.pixel_m * factor
    alone = ((pieces.ends == CUT) | (pieces.ends == LEAF)).all(axis=1)
    pieces = upright(picked(pieces, np.flatnonzero(~alone | (_lengths(pieces) * pixel_m >= how.min_length_m))))
    xy, offsets = densified(pieces.xy.astype(np.float64), pieces.offsets)
    ends = np.stack([offsets[:-1], offsets[1:] - 1], axis=1)
    smooth(xy, ends, max(how.smooth_m / pixel_m, _LEAST_SMOOTH_PX))
    keep = np.zeros(len(xy), bool)
    keep[ends] = True
    thin(xy, keep, ends, how.simplify_m / pixel_m)
    centers = job.to_map(xy[keep] * factor + factor // 2 + 0.5)
    lines = shapely.from_ragged_array(_LINE, centers, (np.append(0, np.cumsum(keep))[offsets],))
    whole = shapely.is_valid(lines)  # a loop of a few pixels is smoothed to a point
    return Centerlines(
        value=pieces.value[whole],
        lines=lines[whole],
        width_m=_widths_m(pieces, job.ground.pixel_m)[whole],
        confidence=_mean(pieces.confidence, pieces.offsets)[whole] / 100,
    )


def upright(pieces: Pieces) -> Pieces:
    """The pieces turned so that each begins at its upper end, or at the left one of equals, ordered by that point."""
    begin, end = (_end_points(pieces)[:, side] for side in (0, 1))
    down = (end[:, 1] < begin[:, 1]) | ((end[:, 1] == begin[:, 1]) & (end[:, 0] < begin[:, 0]))
    start = np.where(down[:, None], end, begin)
    order = np.lexsort((np.diff(pieces.offsets), start[:, 0], start[:, 1]))
    points, lengths = _walked(pieces.offsets, order, down[order].astype(np.int64), np.arange(len(order)))
    return Pieces(
        value=pieces.value[order],
        offsets=offsets_of(lengths),
        xy=pieces.xy[points],
        radius=pieces.radius[points],
        confidence=pieces.confidence[points],
        ends=np.where(down[order, None], pieces.ends[order, ::-1], pieces.ends[order]),
    )


def densified(xy: Floats, offsets: Ints) -> tuple[Floats, Ints]:
    """Lines with points about one pixel apart, where a straight step is longer; and their new offsets."""
    if not len(xy):
        return xy, offsets
    step = np.diff(xy, axis=0, append=xy[-1:])
    step[offsets[1:] - 1] = 0
    parts = np.maximum(np.rint(np.hypot(step[:, 0], step[:, 1])), 1).astype(np.int64)
    share = ranges(np.zeros_like(parts), parts) / np.repeat(parts, parts)
    return np.repeat(xy, parts, axis=0) + np.repeat(step, parts, axis=0) * share[:, None], offsets_of(parts)[offsets]


def smooth(xy: Floats, ends: Ints, sigma: float) -> None:
    """Smooth lines in place with a standard deviation of `sigma` points, their `ends` (L, 2) pinned.

    Repeated averaging with weights 1, 2, 1, each of which adds half a point² of variance.
    """
    pinned = xy[ends]
    for _ in range(round(2 * sigma * sigma)):
        xy[1:-1] += 0.25 * (xy[:-2] - 2 * xy[1:-1] + xy[2:])
        xy[ends] = pinned


def _widths_m(pieces: Pieces, pixel_m: tuple[float, float]) -> Floats:
    """Median width along each line, from distances to the road's border; those at junctions only where there are no others.

    `pixel_m` is the height and width of a pixel on the ground: in degrees they differ.
    """
    first, last = pieces.offsets[:-1], pieces.offsets[1:] - 1
    wide = np.zeros(len(pieces.xy), bool)
    wide[first[pieces.ends[:, 0] == JUNCTION]] = wide[last[pieces.ends[:, 1] == JUNCTION]] = True
    wide[wide & np.repeat(last - first < 2, last - first + 1)] = False
    line = owners_of(pieces.offsets)[~wide]
    width = (np.maximum(2 * pieces.radius - _WIDER_PX, 1.0) * _across_m(pieces, pixel_m))[~wide]
    width = width[np.lexsort((width, line))]
    offsets = offsets_of(np.bincount(line, minlength=len(first)))
    low, high = (offsets[:-1] + offsets[1:] - 1) // 2, (offsets[:-1] + offsets[1:]) // 2
    median: Floats = (width[low] + width[high]) / 2
    return median


def _across_m(pieces: Pieces, pixel_m: tuple[float, float]) -> Floats:
    """Metres on the ground per pixel across the line at each of its points."""
    point, lengths = np.arange(len(pieces.xy)), np.diff(pieces.offsets)
    before = np.maximum(point - _TANGENT_POINTS, np.repeat(pieces.offsets[:-1], lengths))
    after = np.minimum(point + _TANGENT_POINTS, np.repeat(pieces.offsets[1:] - 1, lengths))
    along_x, along_y = (pieces.xy[after] - pieces.xy[before]).T
    height, width = pixel_m
    # A road |n·p| ≤ d in pixels p is |(n/s)·m| ≤ d in metres m = s·p, for the normal n of the line.
    stretched = np.hypot(along_y / width, along_x / height)
    per_pixel = np.hypot(along_x, along_y) / np.maximum(stretched, 1e-300)
    return np.where(stretched > 0, per_pixel, math.sqrt(height * width))


def _mean(values: NDArray[np.float32], offsets: Ints) -> Floats:
    """Mean of what is known along each line; NaN where nothing is."""
    line, known = owners_of(offsets), ~np.isnan(values)
    count = np.bincount(line[known], minlength=len(offsets) - 1)
    total = np.bincount(line[known], weights=values[known], minlength=len(offsets) - 1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _lengths(pieces: Pieces) -> Floats:
    """Length of each line in pixels of the thinned raster, along its pixels."""
    step = np.hypot(*np.diff(pieces.xy, axis=0).T) if len(pieces.xy) else np.zeros(0)
    along = np.append(0.0, np.cumsum(step))
    lengths: Floats = along[pieces.offsets[1:] - 1] - along[pieces.offsets[:-1]]
    return lengths
