"""The edges of a road network as smooth lines, with what is measured along them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.vector.arrays import Floats, Ints, offsets_of, owners_of, ranges
from geoseg.vector.job import VectorJob
from geoseg.vector.road_graph import in_chunks, walked
from geoseg.vector.road_network import RoadNetwork, keys_of
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
    """Finished lines, in the order of their ids."""

    value: NDArray[np.uint8]
    """(L,) class of each."""
    edge: Ints
    """(L,) edge of the network."""
    lines: NDArray[Any]
    """(L,) shapely lines in map coordinates."""
    width_m: Floats
    """(L,) median width of the road; NaN for a bridge."""
    width_std_m: Floats
    """(L,) standard deviation of the width along the line; NaN for a bridge."""
    confidence: Floats
    """(L,) mean confidence under the line, 0–1; NaN where there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class _Track:
    """Lines through pixels, from node to node."""

    offsets: Ints
    xy: Floats
    radius: Floats
    """Distance to the road's border in pixels of the scene."""


def centerlines(job: VectorJob, network: RoadNetwork) -> Iterator[Centerlines]:
    """The lines of a network, some at a time, in the order of its edges.

    Lines run from node to node, and those that meet there have the same end point to the last bit. A line of no length
    (a loop of a few pixels, smoothed to a point) is left out.
    """
    for which in in_chunks(network.table, network.edges):
        yield finished(job, network, which)


def finished(job: VectorJob, network: RoadNetwork, which: Ints) -> Centerlines:
    """Some edges as lines in map coordinates, smoothed, with their widths."""
    how, factor = job.settings.centerlines, thinning_factor(job)
    pixel_m = job.pixel_m * factor
    points, offsets = walked(network.table, network.edges.picked(which))
    confidence = _mean(network.table.points[points]["confidence"], offsets) / 100
    track = _anchored(network, which, points, offsets, factor)
    xy, offsets = densified(track.xy, track.offsets)
    ends = np.stack([offsets[:-1], offsets[1:] - 1], axis=1)
    smooth(xy, ends, max(how.smooth_m / pixel_m, _LEAST_SMOOTH_PX))
    keep = np.zeros(len(xy), bool)
    keep[ends] = True
    thin(xy, keep, ends, how.simplify_m / pixel_m)
    lines = shapely.from_ragged_array(_LINE, node_xy(job, xy[keep]), (np.append(0, np.cumsum(keep))[offsets],))
    width, deviation = _widths_m(track, job.ground.pixel_m)
    bridge = network.inferred[which]
    whole = shapely.is_valid(lines)
    return Centerlines(
        value=network.nodes.value[network.edges.tail[which]][whole],
        edge=which[whole],
        lines=lines[whole],
        width_m=np.where(bridge, np.nan, width)[whole],
        width_std_m=np.where(bridge, np.nan, deviation)[whole],
        confidence=confidence[whole],
    )


def node_xy(job: VectorJob, xy: Floats) -> Floats:
    """Map coordinates of (N, 2) places given in pixels of the thinned raster."""
    factor = thinning_factor(job)
    return job.to_map(xy * factor + factor // 2 + 0.5)


def _anchored(network: RoadNetwork, which: Ints, points: Ints, offsets: Ints, factor: int) -> _Track:
    """Lines from node to node: what of a path lies within the radius of a junction is replaced by a straight line to it.

    There a skeleton bends towards corners.
    """
    edges, nodes = network.edges, network.nodes
    at = network.table.points[_rolled(network, which, points, offsets)]
    xy = np.stack([at["x"], at["y"]], axis=1).astype(np.float64)
    line, lengths = owners_of(offsets), np.diff(offsets)
    place = ranges(np.zeros_like(lengths), lengths)
    drop = (place == 0) | (place == lengths[line] - 1)
    for side, end in enumerate((edges.tail[which], edges.head[which])):
        reach = np.where(network.degree[end] > 2, nodes.radius[end] / factor, 0.0)
        step = xy - network.place[end][line]
        away = np.hypot(step[:, 0], step[:, 1]) >= reach[line]
        # Only what comes before the path first leaves the radius: it may come back to it later.
        seen = np.append(0, np.cumsum(away if side == 0 else away[::-1]))
        before = seen[offsets[:-1]] if side == 0 else seen[len(away) - offsets[1:]]
        count = seen[1:] if side == 0 else seen[:0:-1]
        drop |= (count == before[line]) & ~away
    inner = np.flatnonzero(~drop)
    stops = np.cumsum(np.bincount(line[inner], minlength=len(which)))
    starts = np.append(0, stops)[:-1]
    ends = edges.tail[which], edges.head[which]

    def between(values: Floats, of_node: Floats) -> Floats:
        with_start = np.insert(values[inner], starts, of_node[ends[0]], axis=0)
        return np.insert(with_start, stops + np.arange(1, len(which) + 1), of_node[ends[1]], axis=0)

    return _Track(
        offsets=np.append(0, stops) + 2 * np.arange(len(which) + 1),
        xy=between(xy, network.place),
        radius=between(at["radius"].astype(np.float64), nodes.radius),
    )


def _rolled(network: RoadNetwork, which: Ints, points: Ints, offsets: Ints) -> Ints:
    """The points with those of rings turned to begin at their node, towards the lesser of its neighbours."""
    points = points.copy()
    for ring in np.flatnonzero(network.ring[which]):
        mine = points[offsets[ring] : offsets[ring + 1]]
        keys = keys_of(network.table, mine)
        round_trip = mine[:-1] if keys[0] == keys[-1] else mine
        first = int(np.argmin(keys[: len(round_trip)]))
        onward, back = np.roll(round_trip, -first), np.roll(round_trip[::-1], first + 1)
        ahead, behind = keys_of(network.table, np.stack([onward[1], back[1]]))
        points[offsets[ring] : offsets[ring + 1]] = np.resize(onward if ahead < behind else back, len(mine))
    return points


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


def _widths_m(track: _Track, pixel_m: tuple[float, float]) -> tuple[Floats, Floats]:
    """Median width along each line and its standard deviation, from distances to the road's border.

    What is measured at the nodes themselves counts only where there is nothing between. `pixel_m` is the height and
    width of a pixel on the ground: in degrees they differ.
    """
    lengths = np.diff(track.offsets)
    place = ranges(np.zeros_like(lengths), lengths)
    inner = np.flatnonzero(((place > 0) & (place < np.repeat(lengths, lengths) - 1)) | np.repeat(lengths == 2, lengths))
    line = owners_of(track.offsets)[inner]
    width = (np.maximum(2 * track.radius - _WIDER_PX, 1.0) * _across_m(track, pixel_m))[inner]
    width = width[np.lexsort((width, line))]
    count = np.bincount(line, minlength=len(lengths))
    offsets = offsets_of(count)
    low, high = (offsets[:-1] + offsets[1:] - 1) // 2, (offsets[:-1] + offsets[1:]) // 2
    mean = np.add.reduceat(width, offsets[:-1]) / count if len(count) else width
    spread = np.add.reduceat((width - mean[line]) ** 2, offsets[:-1]) / count if len(count) else width
    return (width[low] + width[high]) / 2, np.sqrt(spread)


def _across_m(track: _Track, pixel_m: tuple[float, float]) -> Floats:
    """Metres on the ground per pixel across the line at each of its points."""
    point, lengths = np.arange(len(track.xy)), np.diff(track.offsets)
    before = np.maximum(point - _TANGENT_POINTS, np.repeat(track.offsets[:-1], lengths))
    after = np.minimum(point + _TANGENT_POINTS, np.repeat(track.offsets[1:] - 1, lengths))
    along_x, along_y = (track.xy[after] - track.xy[before]).T
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
