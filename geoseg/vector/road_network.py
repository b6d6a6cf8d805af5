"""The road network of a scene: edges and nodes in their final order, numbered from the top of the scene down."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from geoseg.vector.arrays import Bools, Floats, Ints, owners_of
from geoseg.vector.job import VectorJob
from geoseg.vector.road_bridges import Reach, bridged
from geoseg.vector.road_gaps import bare
from geoseg.vector.road_graph import (
    Edges,
    Nodes,
    PieceTable,
    contracted,
    edges_of,
    gathered,
    nodes_of,
    pruned,
    walked,
    without_scraps,
)
from geoseg.vector.road_junctions import junction_places
from geoseg.vector.roads import thinning_factor
from geoseg.vector.runs import merged

_JOIN_M = 1.0
"""Junctions nearer to each other than the half-width and this are one."""

_LOOK_M = 8.0
"""Length of road that says where it goes at its end."""

_ARM_M = 15.0
"""Length of road beyond a junction that says where its line comes from."""

_WIDEST_M = 10.0
"""Largest half-width of a road that is bridged."""


@dataclass(frozen=True, slots=True, eq=False)
class RoadNetwork:
    """Edges and nodes, ordered by row and column."""

    table: PieceTable
    """Where the points of the edges are."""
    edges: Edges
    """Edges; `tail` and `head` are numbers of `nodes`. One without members is a bridge."""
    nodes: Nodes
    """The nodes that edges meet or end at."""
    place: Floats
    """(N, 2) where lines meet at each node, in pixels of the thinned raster."""
    degree: Ints
    """(N,) edge ends at each node; a ring's node has two."""
    component: Ints
    """(N,) number of the connected part that each node belongs to, from 1."""
    ring: Bools
    """(E,) True for edges that meet no other, and close on themselves."""

    @property
    def inferred(self) -> Bools:
        """(E,) True for bridges."""
        bridges: Bools = np.diff(self.edges.offsets) == 0
        return bridges


def road_network(job: VectorJob, parts: Sequence[Path], values: Sequence[int]) -> RoadNetwork:
    """The network of some road classes; raises OutputError where a part is missing or broken."""
    how, factor = job.settings.centerlines, thinning_factor(job)
    pixel_m = job.pixel_m * factor
    table = gathered(parts, values, job.work)
    nodes, ends = nodes_of(table, -(-job.shape[1] // factor))
    free = np.zeros(len(nodes), bool)
    edges = edges_of(table, ends, np.arange(len(ends)), np.zeros((0, 2), np.int64), nodes)
    edges = pruned(edges, nodes, factor, how.spur_m / pixel_m)
    edges, became = contracted(edges, nodes, factor, _JOIN_M / pixel_m, free)
    edges = pruned(edges, nodes, factor, how.spur_m / pixel_m)
    edges = without_scraps(edges, nodes, how.min_length_m / pixel_m)
    if how.bridge_m > 0:
        reach = Reach(
            gap_px=how.bridge_m / pixel_m,
            look_px=max(3, round(_LOOK_M / pixel_m)),
            widest_px=_WIDEST_M / pixel_m,
            join_px=_JOIN_M / pixel_m,
        )
        table, nodes, edges, bridges = bridged(table, nodes, became[ends], edges, factor, reach, partial(bare, job))
        stay = np.zeros(len(nodes), bool)
        stay[bridges] = True
        edges, _ = contracted(edges, nodes, factor, _JOIN_M / pixel_m, stay)
    return _ordered(table, nodes, edges, factor, max(3, round(_ARM_M / pixel_m)))


def _ordered(table: PieceTable, nodes: Nodes, edges: Edges, factor: int, arm_px: int) -> RoadNetwork:
    """Edges and nodes by what they are, whatever order they came in."""
    edges, nodes, ring = _with_ring_nodes(table, nodes, edges)
    edges, nodes = _with_numbered_nodes(edges, nodes)
    flip = edges.tail > edges.head
    loop = np.flatnonzero((edges.tail == edges.head) & ~ring)
    points, offsets = walked(table, edges.picked(loop))
    flip[loop] = keys_of(table, points[offsets[1:] - 2]) < keys_of(table, points[offsets[:-1] + 1])
    edges = edges.turned(flip)
    order = _order(table, edges)
    edges = edges.picked(order)
    component = merged(len(nodes), edges.tail, edges.head) + 1
    degree = edges.degrees(len(nodes))
    place = junction_places(table, nodes, edges, degree, factor, arm_px)
    return RoadNetwork(table, edges, nodes, place, degree, component, ring[order])


def keys_of(table: PieceTable, points: Ints) -> Ints:
    """One number for each point, in row-major order."""
    at = table.points[points]
    key: Ints = (at["y"].astype(np.int64) << 32) + at["x"]
    return key


def _with_ring_nodes(table: PieceTable, nodes: Nodes, edges: Edges) -> tuple[Edges, Nodes, Bools]:
    """Edges with each ring's node at its first point in row-major order, and which edges are rings."""
    ring = (edges.tail == edges.head) & (edges.degrees(len(nodes))[edges.tail] == 2)
    which = np.flatnonzero(ring)
    if not len(which):
        return edges, nodes, ring
    points, offsets = walked(table, edges.picked(which))
    first = points[np.lexsort((keys_of(table, points), owners_of(offsets)))[offsets[:-1]]]
    at = table.points[first]
    more = Nodes(
        value=np.append(nodes.value, nodes.value[edges.tail[which]]),
        xy=np.concatenate([nodes.xy, np.stack([at["x"], at["y"]], axis=1).astype(np.int64)]),
        radius=np.append(nodes.radius, at["radius"].astype(np.float64)),
        rim=np.append(nodes.rim, np.zeros(len(which), bool)),
    )
    end = edges.tail.copy()
    end[which] = len(nodes) + np.arange(len(which))
    return replace(edges, tail=end, head=np.where(ring, end, edges.head)), more, ring


def _with_numbered_nodes(edges: Edges, nodes: Nodes) -> tuple[Edges, Nodes]:
    """Edges with the nodes they use, numbered by row, column and class."""
    used = np.unique(np.concatenate([edges.tail, edges.head]))
    used = used[np.lexsort((nodes.value[used], nodes.xy[used, 0], nodes.xy[used, 1]))]
    number = np.full(len(nodes), -1)
    number[used] = np.arange(len(used))
    left = Nodes(nodes.value[used], nodes.xy[used], nodes.radius[used], nodes.rim[used])
    return replace(edges, tail=number[edges.tail], head=number[edges.head]), left


def _order(table: PieceTable, edges: Edges) -> Ints:
    """Edges by their nodes and length; those that are alike in these, by the point in their middle."""
    middle = np.zeros(len(edges), np.int64)
    columns = (edges.length, edges.head, edges.tail)
    order = np.lexsort(columns)
    alike = np.logical_and.reduce([np.diff(column[order]) == 0 for column in columns])
    tied = np.unique(np.concatenate([order[:-1][alike], order[1:][alike]])) if len(order) else order
    tied = tied[np.diff(edges.offsets)[tied] > 0]
    points, offsets = walked(table, edges.picked(tied))
    middle[tied] = keys_of(table, points[(offsets[:-1] + offsets[1:]) // 2])
    return np.lexsort((middle, *columns))
