"""The roads of a scene as a graph: pieces of all blocks put together, spurs pruned, near junctions made one.

Points stay in a file; what is held is a few numbers for each piece and node. Everything is decided here, for the scene
as a whole and by what pieces and nodes are, so that how the scene was cut into blocks leaves no trace.

    pieces ──▶ edges from node to node ──▶ spurs pruned ──▶ junctions contracted ──▶ gaps bridged ──▶ lines
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.vector.arrays import Bools, Bytes, Floats, Ints, offsets_of, ranges, take_sequences
from geoseg.vector.network import CUT, traced
from geoseg.vector.parts import load_pieces
from geoseg.vector.runs import merged

_POINT = np.dtype([("x", "<i4"), ("y", "<i4"), ("radius", "<f4"), ("confidence", "<f4")])

_CHUNK = 1 << 18
"""Points of the network looked at together."""

_ROUNDS = 8
"""Pruning a spur can make a new one, a few times over."""


@dataclass(frozen=True, slots=True, eq=False)
class PieceTable:
    """The pieces of a scene; their points are in a file."""

    points: NDArray[np.void]
    """(Q,) x, y in pixels of the thinned raster, radius and confidence; a memory map."""
    value: Bytes
    """(P,) class of each piece."""
    start: Ints
    """(P,) first point of each."""
    last: Ints
    """(P,) last point of each."""
    length: Floats
    """(P,) length of each along its pixels."""
    cut: NDArray[np.bool_]
    """(P, 2) which ends were cut off."""

    def end_points(self) -> NDArray[np.void]:
        """(P, 2) first and last point of each piece."""
        found: NDArray[np.void] = self.points[np.stack([self.start, self.last], axis=1)]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """Where pieces end, ordered by class, row and column."""

    value: Bytes
    """(N,) class of each."""
    xy: Ints
    """(N, 2) pixel of the thinned raster."""
    radius: Floats
    """(N,) distance to the road's border in pixels of the scene."""
    rim: Bools
    """(N,) True where a line was cut off: it leaves the scene there."""

    def __len__(self) -> int:
        return len(self.value)


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Chains of pieces from node to node."""

    tail: Ints
    """(E,) node where each begins."""
    head: Ints
    """(E,) node where each ends."""
    length: Floats
    """(E,) length in pixels of the thinned raster."""
    offsets: Ints
    """(E + 1,) first member of each."""
    members: Ints
    """(M,) piece; or, for one walked backwards, the piece and `pieces`."""
    pieces: int
    """How many pieces there are."""

    def __len__(self) -> int:
        return len(self.tail)

    def picked(self, which: Ints) -> "Edges":
        """Some of the edges."""
        members, offsets = take_sequences(self.offsets, which)
        return replace(
            self,
            tail=self.tail[which],
            head=self.head[which],
            length=self.length[which],
            offsets=offsets,
            members=self.members[members],
        )

    def turned(self, flip: Bools) -> "Edges":
        """The edges, some of them walked backwards."""
        lengths = np.diff(self.offsets)
        place, step = np.where(flip, self.offsets[1:] - 1, self.offsets[:-1]), np.where(flip, -1, 1)
        within = ranges(np.zeros_like(lengths), lengths)
        members = self.members[np.repeat(place, lengths) + np.repeat(step, lengths) * within]
        return replace(
            self,
            tail=np.where(flip, self.head, self.tail),
            head=np.where(flip, self.tail, self.head),
            members=np.where(np.repeat(flip, lengths), (members + self.pieces) % max(2 * self.pieces, 1), members),
        )

    @property
    def alive(self) -> Ints:
        """The pieces that edges consist of, ascending."""
        return np.sort(self.members % max(self.pieces, 1))

    def degrees(self, count: int) -> Ints:
        """Edge ends at each of `count` nodes."""
        return np.bincount(self.tail, minlength=count) + np.bincount(self.head, minlength=count)


def gathered(parts: Sequence[Path], values: Sequence[int], work: Path) -> PieceTable:
    """The pieces of some classes of all blocks; their points go to a nameless file in `work`."""
    values_of, lengths, cut, along = [], [], [], []
    with tempfile.TemporaryFile(dir=work) as file:
        for path in parts:
            pieces = load_pieces(path)
            which = np.flatnonzero(np.isin(pieces.value, values))
            vertex, offsets = take_sequences(pieces.offsets, which)
            points = np.empty(len(vertex), _POINT)
            points["x"], points["y"] = pieces.xy[vertex].T
            points["radius"], points["confidence"] = pieces.radius[vertex], pieces.confidence[vertex]
            points.tofile(file)
            values_of.append(pieces.value[which])
            lengths.append(np.diff(offsets))
            cut.append(pieces.ends[which] == CUT)
            along.append(_lengths(pieces.xy[vertex], offsets))
        file.flush()
        total = file.tell() // _POINT.itemsize
        points = np.memmap(file, _POINT, "r", shape=(total,)) if total else np.empty(0, _POINT)
    bounds = offsets_of(np.concatenate(lengths))
    return PieceTable(
        points, np.concatenate(values_of), bounds[:-1], bounds[1:] - 1, np.concatenate(along), np.concatenate(cut)
    )


def _lengths(xy: Ints, offsets: Ints) -> Floats:
    """Length of each line in pixels; steps are rounded to 2⁻¹⁶, so that sums are exact in any order."""
    step = _rounded(np.hypot(*np.diff(xy, axis=0).T)) if len(xy) else np.zeros(0)
    along = np.append(0.0, np.cumsum(step))
    lengths: Floats = along[offsets[1:] - 1] - along[offsets[:-1]]
    return lengths


def _rounded(length: Floats) -> Floats:
    return np.rint(length * 65536) / 65536


def walked(table: PieceTable, edges: Edges) -> tuple[Ints, Ints]:
    """Points of each edge from its tail to its head, as places in the table, and the offsets of the edges.

    The last point of a piece is left out where another follows, for that begins with it.
    """
    piece, backwards = edges.members % max(edges.pieces, 1), edges.members >= edges.pieces
    lengths = table.last[piece] - table.start[piece] + 1
    closing = np.zeros(len(piece), bool)
    closing[edges.offsets[1:][np.diff(edges.offsets) > 0] - 1] = True
    lengths = lengths - ~closing
    start = np.where(backwards, table.last[piece], table.start[piece])
    step = np.repeat(1 - 2 * backwards.astype(np.int64), lengths)
    points = np.repeat(start, lengths) + step * ranges(np.zeros_like(lengths), lengths)
    return points, offsets_of(lengths)[edges.offsets]


def in_chunks(table: PieceTable, edges: Edges) -> Iterator[Ints]:
    """Edges in their order, as many at a time as have a bounded number of points."""
    piece = edges.members % max(edges.pieces, 1)
    points = np.append(0, np.cumsum(table.last[piece] - table.start[piece] + 1))[edges.offsets[1:]]
    chunk = points // _CHUNK
    for number in np.unique(chunk):
        yield np.flatnonzero(chunk == number)


def nodes_of(table: PieceTable, width: int) -> tuple[Nodes, Ints]:
    """The nodes of pieces on a thinned raster of some `width`, and (P, 2) the node at each end of each piece."""
    ends = table.end_points()
    x, y = ends["x"].astype(np.int64), ends["y"].astype(np.int64)
    key = ((y + 1) * (width + 2) + x + 1) * 256 + table.value[:, None]
    keys, first, number = np.unique(key, return_index=True, return_inverse=True)
    number = number.reshape(-1, 2)
    degree = np.bincount(number.ravel(), minlength=len(keys))
    cut = np.zeros(len(keys), bool)
    cut[number[table.cut]] = True
    xy = np.stack([x.ravel()[first], y.ravel()[first]], axis=1)
    return Nodes(
        (keys % 256).astype(np.uint8), xy, ends["radius"].ravel()[first].astype(np.float64), cut & (degree == 1)
    ), number


def edges_of(table: PieceTable, ends: Ints, alive: Ints, bridges: Ints, nodes: Nodes) -> Edges:
    """Edges through the pieces that are `alive`, and (B, 2) `bridges` from node to node, which have no piece."""
    members = np.append(np.arange(len(alive)), np.full(len(bridges) + 1, len(alive)))
    single = Edges(
        tail=np.concatenate([ends[alive, 0], bridges[:, 0]]),
        head=np.concatenate([ends[alive, 1], bridges[:, 1]]),
        length=np.concatenate([table.length[alive], _apart(nodes, bridges[:, 0], bridges[:, 1])]),
        offsets=members,
        members=alive,
        pieces=len(ends),
    )
    stay = np.zeros(len(nodes), bool)
    stay[bridges] = True
    return joined_through(single, stay)


def joined_through(edges: Edges, stay: Bools) -> Edges:
    """Edges put together at nodes with exactly two edge ends, but for those that `stay`."""
    count = len(edges)
    if not count:
        return edges
    through = (edges.degrees(len(stay)) == 2) & ~stay
    order, offsets, _ = traced(edges.tail, edges.head, through)
    walk = edges.picked(order % count).turned(order >= count)
    return Edges(
        tail=walk.tail[offsets[:-1]],
        head=walk.head[offsets[1:] - 1],
        length=np.add.reduceat(walk.length, offsets[:-1]),
        offsets=walk.offsets[offsets],
        members=walk.members,
        pieces=edges.pieces,
    )


def pruned(edges: Edges, nodes: Nodes, factor: int, spur_px: float) -> Edges:
    """Edges without dead ends shorter than 1.2 times the radius at their junction plus `spur_px`."""
    stay = np.zeros(len(nodes), bool)
    for _ in range(_ROUNDS):
        degree = edges.degrees(len(nodes))
        loose = (degree == 1) & ~nodes.rim
        spur = np.zeros(len(edges), bool)
        for leaf, junction in ((edges.tail, edges.head), (edges.head, edges.tail)):
            short = edges.length < 1.2 * nodes.radius[junction] / factor + spur_px
            spur |= loose[leaf] & (degree[junction] > 2) & short
        if not spur.any():
            break
        edges = joined_through(edges.picked(np.flatnonzero(~spur)), stay)
    return edges


def contracted(edges: Edges, nodes: Nodes, factor: int, join_px: float, stay: Bools) -> tuple[Edges, Ints]:
    """Edges after junctions nearer to each other than their radius plus `join_px` became one, the widest of them.

    Also returns (N,) the node that each node became.
    """
    degree = edges.degrees(len(nodes))
    between = (degree[edges.tail] > 2) & (degree[edges.head] > 2)
    reach = np.maximum(nodes.radius[edges.tail], nodes.radius[edges.head]) / factor + join_px
    near = between & (edges.length < reach)
    cluster = merged(len(nodes), edges.tail[near], edges.head[near])
    # Of equally wide ones the upper left.
    order = np.lexsort((nodes.xy[:, 0], nodes.xy[:, 1], -nodes.radius, cluster))
    widest = order[np.append(True, np.diff(cluster[order]) != 0)[: len(order)]]
    became = widest[cluster]
    tail, head = became[edges.tail], became[edges.head]
    keep = np.flatnonzero(~(between & (tail == head) & (edges.length < 2 * reach)))
    shift = (_apart(nodes, edges.tail, tail) + _apart(nodes, edges.head, head))[keep]
    left = edges.picked(keep)
    left = replace(left, tail=tail[keep], head=head[keep], length=left.length + shift)
    return joined_through(left, stay[became] | stay), became


def _apart(nodes: Nodes, one: Ints, other: Ints) -> Floats:
    step = nodes.xy[one] - nodes.xy[other]
    return _rounded(np.hypot(step[:, 0], step[:, 1]))


def without_scraps(edges: Edges, nodes: Nodes, least_px: float) -> Edges:
    """Edges without those shorter than `least_px` that meet no other, and rings of that length."""
    degree = edges.degrees(len(nodes))
    alone = np.where(
        edges.tail == edges.head, degree[edges.tail] == 2, (degree[edges.tail] == 1) & (degree[edges.head] == 1)
    )
    return edges.picked(np.flatnonzero(~alone | (edges.length >= least_px)))


def split(
    table: PieceTable, nodes: Nodes, ends: Ints, alive: Ints, points: Ints
) -> tuple[PieceTable, Nodes, Ints, Ints, Ints]:
    """Split pieces at some of their `points`, given as places in the table.

    Returns the table, nodes and (P, 2) ends with what is new at their end, the pieces that are alive now, and the node
    at each of the points.
    """
    cuts, which = np.unique(points, return_inverse=True)
    by_start = alive[np.argsort(table.start[alive])]
    piece = by_start[np.searchsorted(table.start[by_start], cuts, side="right") - 1]
    inner = (cuts > table.start[piece]) & (cuts < table.last[piece])
    node = np.where(cuts == table.start[piece], ends[piece, 0], ends[piece, 1])
    node[inner] = len(nodes) + np.arange(np.count_nonzero(inner))
    cuts, piece, new = cuts[inner], piece[inner], node[inner]
    whole, first_cut, cuts_of = np.unique(piece, return_index=True, return_counts=True)
    last_cut = first_cut + cuts_of - 1
    # A part before each cut, and one after the last of each piece.
    start, begin = np.append(np.roll(cuts, 1), cuts[last_cut]), np.append(np.roll(new, 1), new[last_cut])
    start[first_cut], begin[first_cut] = table.start[whole], ends[whole, 0]
    last, end = np.append(cuts, table.last[whole]), np.append(new, ends[whole, 1])
    parent = np.append(piece, whole)
    steps = ranges(start, last - start + 1)
    xy = np.stack([table.points[steps][name].astype(np.int64) for name in ("x", "y")], axis=1)
    parts = PieceTable(
        points=table.points,
        value=np.append(table.value, table.value[parent]),
        start=np.append(table.start, start),
        last=np.append(table.last, last),
        length=np.append(table.length, _lengths(xy, offsets_of(last - start + 1))),
        cut=np.concatenate([table.cut, np.zeros((len(parent), 2), bool)]),
    )
    at = table.points[cuts]
    more = Nodes(
        value=np.append(nodes.value, table.value[piece]),
        xy=np.concatenate([nodes.xy, np.stack([at["x"], at["y"]], axis=1).astype(np.int64)]),
        radius=np.append(nodes.radius, at["radius"].astype(np.float64)),
        rim=np.append(nodes.rim, np.zeros(len(cuts), bool)),
    )
    left = np.append(np.setdiff1d(alive, whole), len(table.value) + np.arange(len(parent)))
    return parts, more, np.concatenate([ends, np.stack([begin, end], axis=1)]), left, node[which.ravel()]
