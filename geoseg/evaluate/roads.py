"""How well a road network was found: where its lines lie, and whether one can drive on it.

Lines are straight-segment LineStrings in metres (a projected reference system). Those that meet share an end point to
the last bit; crossings without a common end point are bridges.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, dijkstra

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Lines = Sequence[Any] | NDArray[Any]
"""shapely LineStrings."""

_STEP_M = 0.5
"""Lines are compared at the middles of pieces no longer than this."""


@dataclass(frozen=True, slots=True)
class BufferScores:
    """Share of length that lies near the other network (Heipke and others 1997), and how near."""

    correctness: float
    """Share of the found length within the tolerance of the truth (precision); NaN where nothing was found."""
    completeness: float
    """Share of the true length within the tolerance of what was found (recall); NaN where there is nothing to find."""
    quality: float
    """Matched ÷ (found + what was missed): one number of both, 0–1; NaN where there is neither."""
    lateral_rmse_m: float
    """Root mean square distance of the found length that lies within the tolerance; NaN where none does."""


@dataclass(frozen=True, slots=True)
class RoadScores:
    """Everything that is measured of a road network."""

    buffer: BufferScores
    """Where the lines lie."""
    apls: float
    """Mean average path length similarity over the samples."""
    length_ratio: float
    """Found length ÷ true length."""
    junctions: tuple[int, int]
    """Junctions found, and true ones."""
    width_mae_m: float
    """Mean absolute error of the width along the matched truth; NaN where widths are not given."""


def road_scores(
    found: Lines,
    truth: Lines,
    *,
    widths_m: tuple[NDArray[Any], NDArray[Any]] | None = None,
    tolerance_m: float = 2.0,
    samples: int = 5,
) -> RoadScores:
    """All scores of found lines against true ones; `widths_m` are those of the found and of the true lines.

    APLS is the mean over some random samples of control points, for one alone wanders by a point or so.
    """
    paths = [apls(found, truth, seed=seed) for seed in range(samples)]
    true_m = float(shapely.length(truth).sum())
    return RoadScores(
        buffer=buffer_scores(found, truth, tolerance_m=tolerance_m),
        apls=float(np.mean(paths)),
        length_ratio=float(shapely.length(found).sum()) / true_m if true_m else float("nan"),
        junctions=(junction_count(found), junction_count(truth)),
        width_mae_m=width_error_m(found, truth, *widths_m, tolerance_m=tolerance_m) if widths_m else float("nan"),
    )


def buffer_scores(found: Lines, truth: Lines, *, tolerance_m: float = 2.0) -> BufferScores:
    """Correctness, completeness and quality of found lines against true ones, and their lateral error."""
    away, found_m = _distances(found, truth)
    missed, true_m = _distances(truth, found)
    near, seen = away <= tolerance_m, missed <= tolerance_m
    matched_m, length_m = float(found_m[near].sum()), float(found_m.sum())
    lost_m = float(true_m[~seen].sum())
    square = float((away[near] ** 2 * found_m[near]).sum())
    return BufferScores(
        correctness=matched_m / length_m if length_m else np.nan,
        completeness=float(true_m[seen].sum()) / float(true_m.sum()) if len(true_m) else np.nan,
        quality=matched_m / (length_m + lost_m) if length_m + lost_m else np.nan,
        lateral_rmse_m=float(np.sqrt(square / matched_m)) if matched_m else float("nan"),
    )


def width_error_m(
    found: Lines, truth: Lines, found_width_m: NDArray[Any], true_width_m: NDArray[Any], *, tolerance_m: float = 2.0
) -> float:
    """Mean absolute error of the width over the true length that has a found line within the tolerance; else NaN.

    Found lines without a width (NaN) do not count.
    """
    measured = np.flatnonzero(np.isfinite(found_width_m))
    points, line, part_m = _samples(truth)
    nearest, away = _nearest(points, np.asarray(found, dtype=object)[measured])
    near = away <= tolerance_m
    error = np.abs(np.asarray(found_width_m)[measured][nearest[near]] - np.asarray(true_width_m)[line[near]])
    return float(np.average(error, weights=part_m[near])) if near.any() else float("nan")


def junction_count(lines: Lines) -> int:
    """Points where three or more line ends meet."""
    node, count = _end_nodes(lines)
    return int((np.bincount(node.ravel(), minlength=count) >= 3).sum())


def component_count(lines: Lines) -> int:
    """Parts of the network that no path connects."""
    node, count = _end_nodes(lines)
    if not count:
        return 0
    links = coo_array((np.ones(len(node)), (node[:, 0], node[:, 1])), shape=(count, count))
    return int(connected_components(links, directed=False)[0])


def apls(
    found: Lines,
    truth: Lines,
    *,
    spacing_m: float = 50.0,
    snap_m: float = 4.0,
    sample: int | None = 300,
    seed: int = 0,
) -> float:
    """Average path length similarity (van Etten, Lindenbaum, Bacastow 2018), 0–1.

    Control points are all line ends and points every `spacing_m` along the lines. Those of one network are snapped to
    the other, where it is within `snap_m`; for each pair that a path connects, the length L of the path is compared to
    that of the other network, L', at a cost of min(1, |L − L'| / L), or 1 where there is no such path. The score is the
    harmonic mean of truth → found and found → truth; NaN where there is neither. `sample` control points are drawn at
    random; None takes all.
    """
    if not len(found) and not len(truth):
        return float("nan")
    there = _similarity(truth, found, spacing_m, snap_m, sample, seed)
    back = _similarity(found, truth, spacing_m, snap_m, sample, seed)
    return 2 * there * back / (there + back) if there + back else 0.0


def _similarity(lines: Lines, other: Lines, spacing_m: float, snap_m: float, sample: int | None, seed: int) -> float:
    """One minus the mean cost of the paths of `lines` on the `other` network; 1 where there is no path to compare."""
    line, at = _control_points(lines, spacing_m)
    if sample is not None and sample < len(line):
        picked = np.sort(np.random.default_rng(seed).choice(len(line), sample, replace=False))
        line, at = line[picked], at[picked]
    length = _path_lengths(lines, line, at)
    asked = np.isfinite(length) & (length > 0)
    if not asked.any():
        return 1.0
    points = shapely.line_interpolate_point(np.asarray(lines, dtype=object)[line], at)
    nearest, away = _nearest(points, other)
    on = np.flatnonzero(away <= snap_m)
    got = np.full_like(length, np.inf)
    if len(on):
        where = shapely.line_locate_point(np.asarray(other, dtype=object)[nearest[on]], points[on])
        got[np.ix_(on, on)] = _path_lengths(other, nearest[on], where)
    cost = np.minimum(1.0, np.abs(length[asked] - got[asked]) / length[asked])
    return float(1.0 - cost.mean())


def _control_points(lines: Lines, spacing_m: float) -> tuple[Ints, Floats]:
    """Line and position along it, in metres, of each node once and of points about every `spacing_m` between."""
    length = shapely.length(lines)
    node, _ = _end_nodes(lines)
    _, first = np.unique(node.ravel(), return_index=True)
    ends = (first // 2, np.where(first % 2 == 0, 0.0, length[first // 2]))
    parts = np.maximum(np.rint(length / spacing_m), 1).astype(np.int64)
    inner = np.repeat(np.arange(len(parts)), parts - 1)
    place = np.arange(len(inner)) - np.repeat(np.cumsum(parts - 1) - (parts - 1), parts - 1) + 1
    return np.concatenate([ends[0], inner]), np.concatenate([ends[1], length[inner] * place / parts[inner]])


def _path_lengths(lines: Lines, line: Ints, at: Floats) -> Floats:
    """(N, N) lengths of the shortest paths between points given by line and position; infinite where none is."""
    node, count = _end_nodes(lines)
    length = shapely.length(lines)
    # Every line is cut at its points: their numbers follow those of the ends.
    cut_line = np.concatenate([np.arange(len(node)), line, np.arange(len(node))])
    cut_at = np.concatenate([np.zeros(len(node)), np.clip(at, 0, length[line]), length])
    number = np.concatenate([node[:, 0], count + np.arange(len(line)), node[:, 1]])
    order = np.lexsort((np.arange(len(number)), cut_at, cut_line))
    same = np.diff(cut_line[order]) == 0
    tail, head = number[order][:-1][same], number[order][1:][same]
    step = np.diff(cut_at[order])[same]
    total = count + len(line)
    graph = _shortest_links(tail, head, step, total)
    distance: Floats = dijkstra(graph, directed=False, indices=np.arange(count, total))[:, count:]
    return distance


def _shortest_links(tail: Ints, head: Ints, length: Floats, count: int) -> Any:
    """The links as a matrix; of parallel ones the shortest, where SciPy would add them up, and none of no length."""
    low, high = np.minimum(tail, head), np.maximum(tail, head)
    order = np.lexsort((length, high, low))
    low, high, length = low[order], high[order], np.maximum(length[order], 1e-9)
    first = np.append(True, (np.diff(low) != 0) | (np.diff(high) != 0))[: len(low)]
    return coo_array((length[first], (low[first], high[first])), shape=(count, count)).tocsr()


def _end_nodes(lines: Lines) -> tuple[Ints, int]:
    """(L, 2) number of the node at both ends of each line, and how many nodes there are."""
    if not len(lines):
        return np.zeros((0, 2), np.int64), 0
    array = np.asarray(lines, dtype=object)
    ends = [shapely.get_coordinates(shapely.get_point(array, place)) for place in (0, -1)]
    xy = np.stack(ends, axis=1).reshape(-1, 2)
    nodes, number = np.unique(xy, axis=0, return_inverse=True)
    return number.reshape(-1, 2), len(nodes)


def _distances(lines: Lines, other: Lines) -> tuple[Floats, Floats]:
    """Distance of each piece of the lines to the other network, and the length of the piece."""
    points, _, part_m = _samples(lines)
    return _nearest(points, other)[1], part_m


def _samples(lines: Lines) -> tuple[NDArray[Any], Ints, Floats]:
    """Middles of the pieces of each line, the line of each, and the length of its piece."""
    length = shapely.length(lines) if len(lines) else np.zeros(0)
    parts = np.maximum(np.ceil(length / _STEP_M), 1).astype(np.int64)
    line = np.repeat(np.arange(len(parts)), parts)
    place = np.arange(len(line)) - np.repeat(np.cumsum(parts) - parts, parts) + 0.5
    array = np.asarray(lines, dtype=object)
    points = shapely.line_interpolate_point(array[line], place / parts[line], normalized=True)
    return points, line, length[line] / parts[line]


def _nearest(points: NDArray[Any], lines: Lines) -> tuple[Ints, Floats]:
    """The line nearest to each point and its distance; infinite where there are no lines."""
    if not len(lines) or not len(points):
        return np.zeros(len(points), np.int64), np.full(len(points), np.inf)
    (_, nearest), away = shapely.STRtree(np.asarray(lines, dtype=object)).query_nearest(
        points, return_distance=True, all_matches=False
    )
    return nearest, away
