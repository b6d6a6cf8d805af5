"""Gaps in roads, bridged where direction and distance say that the road goes on.

A dead end is joined to a dead end that looks back at it, else to the road ahead of it. What decides is the scene's
network as a whole, so blocks leave no trace.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from geoseg.vector.arrays import Bools, Bytes, Floats, Ints, owners_of
from geoseg.vector.road_graph import Edges, Nodes, PieceTable, edges_of, in_chunks, split, walked

_FACING = np.cos(np.radians(35.0))
"""Cosine of the angle by which either end may be turned away from the other."""

_AHEAD = np.cos(np.radians(30.0))
"""The same for a road that is met from the side."""

_SIDEWAYS = 2.0
"""A place straight ahead is preferred to one that is nearer by less than this many times the way it lies aside."""

Bare = Callable[[Bytes, Floats, Floats, Floats], Bools]
"""Says of gaps in roads of some classes, from one place to another and of some half-width, whether nothing in them can hide a road."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far is looked, in pixels of the thinned raster."""

    gap_px: float
    """Longest gap, from border to border."""
    look_px: int
    """Points along a line that say where it goes."""
    widest_px: float
    """Largest half-width of a road that is bridged."""
    join_px: float
    """A node nearer than its radius and this is met itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Leaves:
    """Dead ends inside the scene."""

    node: Ints
    """(L,) node of each."""
    edge: Ints
    """(L,) edge that ends there."""
    xy: Floats
    """(L, 2) where it is."""
    way: Floats
    """(L, 2) unit vector out of the road."""
    radius: Floats
    """(L,) half-width of the road."""


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Places on the network that bridges lead to."""

    leaf: Ints
    """(T,) number of the leaf."""
    edge: Ints
    """(T,) edge that is met."""
    point: Ints
    """(T,) place in the table of the point that is met."""

    def picked(self, which: Bools) -> "Targets":
        """Some of them."""
        return Targets(self.leaf[which], self.edge[which], self.point[which])


def leaves_of(table: PieceTable, nodes: Nodes, edges: Edges, factor: int, reach: Reach) -> Leaves:
    """The dead ends of edges, but for those on the rim of the scene."""
    loose = (edges.degrees(len(nodes)) == 1) & ~nodes.rim
    edge, side = np.nonzero(loose[np.stack([edges.tail, edges.head], axis=1)])
    node = np.where(side == 0, edges.tail[edge], edges.head[edge])
    radius = np.minimum(nodes.radius[node] / factor, reach.widest_px)
    points, offsets = walked(table, edges.picked(edge))
    first, last = offsets[:-1], offsets[1:] - 1
    # The last radius of a skeleton bends towards a corner.
    near = np.minimum(np.rint(radius).astype(np.int64), (last - first) // 2)
    far = np.minimum(near + reach.look_px, last - first)
    at, back = (_xy(table, points[np.where(side == 0, first + d, last - d)]) for d in (near, far))
    step = at - back
    way = step / np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-9)[:, None]
    return Leaves(node, edge, nodes.xy[node].astype(np.float64), way, radius)


def _xy(table: PieceTable, points: Ints) -> Floats:
    picked = table.points[points]
    return np.stack([picked["x"], picked["y"]], axis=1).astype(np.float64)


def facing_pairs(nodes: Nodes, leaves: Leaves, reach: Reach) -> Ints:
    """(N, 2) leaves that look at each other over a gap, each the nearest such of the other."""
    if len(leaves.node) < 2:
        return np.zeros((0, 2), np.int64)
    pairs = cKDTree(leaves.xy).query_pairs(reach.gap_px + 2 * reach.widest_px, output_type="ndarray").astype(np.int64)
    one, other = pairs.T
    step = leaves.xy[other] - leaves.xy[one]
    distance = np.hypot(step[:, 0], step[:, 1])
    fits = distance - leaves.radius[one] - leaves.radius[other] <= reach.gap_px
    fits &= (leaves.way[one] * step).sum(axis=1) >= _FACING * distance
    fits &= -(leaves.way[other] * step).sum(axis=1) >= _FACING * distance
    fits &= (nodes.value[leaves.node[one]] == nodes.value[leaves.node[other]]) & (
        leaves.edge[one] != leaves.edge[other]
    )
    pairs, distance = pairs[fits], distance[fits]
    low = leaves.node[pairs].min(axis=1) if len(pairs) else distance
    ranked = pairs[np.lexsort((leaves.node[pairs].max(axis=1) if len(pairs) else low, low, distance))]
    best = np.full(len(leaves.node), len(ranked))
    np.minimum.at(best, ranked, np.arange(len(ranked))[:, None])
    mutual = (best[ranked] == np.arange(len(ranked))[:, None]).all(axis=1)
    chosen: Ints = ranked[mutual]
    return chosen


def roads_ahead(
    table: PieceTable, nodes: Nodes, edges: Edges, leaves: Leaves, asking: Bools, factor: int, reach: Reach
) -> Targets:
    """For each leaf that is `asking`, the place on another road ahead of it, where there is one within reach."""
    leaf = np.flatnonzero(asking)
    nothing = np.zeros(0, np.int64)
    found = [(np.zeros(0), Targets(nothing, nothing, nothing))]
    if len(leaf):
        # The circle that has the leaf on its rim, and in it all that lies ahead.
        half = (reach.gap_px + 2 * reach.widest_px) / 2
        ahead = cKDTree(leaves.xy[leaf] + leaves.way[leaf] * half)
        for which in in_chunks(table, edges):
            point, offsets = walked(table, edges.picked(which))
            edge = which[owners_of(offsets)]
            pairs = ahead.sparse_distance_matrix(cKDTree(_xy(table, point)), half, output_type="ndarray")
            targets = Targets(leaf[pairs["i"]], edge[pairs["j"]], point[pairs["j"]])
            found.append(_fitting(table, nodes, edges, leaves, targets, factor, reach))
    score = np.concatenate([s for s, _ in found])
    best = Targets(*(np.concatenate([getattr(t, name) for _, t in found]) for name in ("leaf", "edge", "point")))
    xy = _xy(table, best.point)
    order = np.lexsort((xy[:, 0], xy[:, 1], score, best.leaf))
    first = order[np.append(True, np.diff(best.leaf[order]) != 0)[: len(order)]]
    return Targets(best.leaf[first], best.edge[first], best.point[first])


def _fitting(
    table: PieceTable, nodes: Nodes, edges: Edges, leaves: Leaves, targets: Targets, factor: int, reach: Reach
) -> tuple[Floats, Targets]:
    """The targets that lie ahead of their leaf and near enough, and how little each is preferred."""
    leaf, points = targets.leaf, table.points[targets.point]
    step = np.stack([points["x"], points["y"]], axis=1) - leaves.xy[leaf]
    distance = np.hypot(step[:, 0], step[:, 1])
    along = (leaves.way[leaf] * step).sum(axis=1)
    radius = np.minimum(points["radius"] / factor, reach.widest_px)
    fits = (distance - leaves.radius[leaf] - radius <= reach.gap_px) & (along >= _AHEAD * distance) & (distance > 0)
    fits &= nodes.value[leaves.node[leaf]] == nodes.value[edges.tail[targets.edge]]
    fits &= leaves.edge[leaf] != targets.edge
    aside = np.sqrt(np.maximum(distance**2 - along**2, 0))
    kept = np.flatnonzero(fits)
    return (distance + _SIDEWAYS * aside)[kept], Targets(leaf[kept], targets.edge[kept], targets.point[kept])


def bridged(
    table: PieceTable, nodes: Nodes, ends: Ints, edges: Edges, factor: int, reach: Reach, bare: Bare
) -> tuple[PieceTable, Nodes, Edges, Ints]:
    """The table with pieces split where bridges meet them, its nodes, the edges with the bridges, and their nodes.

    Over a gap that is `bare` there is no bridge.
    """
    leaves = leaves_of(table, nodes, edges, factor, reach)
    pairs = facing_pairs(nodes, leaves, reach)
    one, other = pairs.T
    pairs = pairs[~bare(nodes.value[leaves.node[one]], leaves.xy[one], leaves.xy[other], leaves.radius[one])]
    asking = np.ones(len(leaves.node), bool)
    asking[pairs] = False
    targets = roads_ahead(table, nodes, edges, leaves, asking, factor, reach)
    leaf = targets.leaf
    value, met = nodes.value[leaves.node[leaf]], _xy(table, targets.point)
    targets = targets.picked(~bare(value, leaves.xy[leaf], met, leaves.radius[leaf]))
    known = _known_nodes(table, nodes, edges, targets, factor, reach)
    table, nodes, ends, alive, new = split(table, nodes, ends, edges.alive, targets.point[known < 0])
    node = known.copy()
    node[known < 0] = new
    bridges = np.concatenate([leaves.node[pairs], np.stack([leaves.node[targets.leaf], node], axis=1)])
    return table, nodes, edges_of(table, ends, alive, bridges, nodes), bridges


def _known_nodes(table: PieceTable, nodes: Nodes, edges: Edges, targets: Targets, factor: int, reach: Reach) -> Ints:
    """(T,) the end of the edge that is met, where the target is within its radius; else −1."""
    xy, node = _xy(table, targets.point), np.full(len(targets.edge), -1)
    for end in (edges.tail[targets.edge], edges.head[targets.edge]):
        step = xy - nodes.xy[end]
        near = np.hypot(step[:, 0], step[:, 1]) < nodes.radius[end] / factor + reach.join_px
        node = np.where(near & (node < 0), end, node)
    return node
