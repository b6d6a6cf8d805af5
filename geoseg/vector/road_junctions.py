"""Where the lines of a road network meet.

A skeleton bends towards the side road at a junction, by up to the road's half-width. The place that lines are led to is
instead the one that lies best on the straight continuation of all arms, each taken from where it is clear of the
junction:

        │                         │
     ───┴───   the skeleton    ───┼───   as the roads were built
       ⟍ ⟋     of this
"""

import numpy as np

from geoseg.vector.arrays import Floats, Ints, ranges
from geoseg.vector.road_graph import Edges, Nodes, PieceTable, in_chunks, walked

_LEAST_POINTS = 5
"""Points of an arm that say where it goes."""

_PULL = 0.05
"""How strongly the skeleton's own junction counts, against a full arm: it decides where arms say nothing."""


def junction_places(table: PieceTable, nodes: Nodes, edges: Edges, degree: Ints, factor: int, look_px: int) -> Floats:
    """(N, 2) places of nodes in pixels of the thinned raster; nodes with fewer than three edge ends stay where they are.

    Edges must be in their final order: sums are taken in it.
    """
    own, reach = nodes.xy.astype(np.float64), np.maximum(nodes.radius / factor, 1.0)
    matrix = np.tile(_PULL * np.eye(2), (len(nodes), 1, 1))
    shift = np.zeros((len(nodes), 2))
    clear = np.where(degree > 2, np.ceil(nodes.radius / factor), 0).astype(np.int64) + 1
    for which in in_chunks(table, edges):
        points, offsets = walked(table, edges.picked(which))
        ends = edges.tail[which], edges.head[which]
        for mine, other, side in ((*ends, 1), (*ends[::-1], -1)):
            # Points of the arm, counted from the junction.
            count = np.minimum(np.diff(offsets) - clear[mine] - clear[other], look_px)
            arm = np.flatnonzero((degree[mine] > 2) & (count >= _LEAST_POINTS))
            node, count = mine[arm], count[arm]
            place = ranges(clear[node], count)
            at = np.repeat((offsets[:-1] if side > 0 else offsets[1:] - 1)[arm], count) + side * place
            found = table.points[points[at]]
            xy = np.stack([found["x"], found["y"]], axis=1) - np.repeat(own[node], count, axis=0)
            _count_arms(xy, count, node, look_px, reach, matrix, shift)
    moved = np.linalg.solve(matrix, shift[:, :, None])[:, :, 0]
    length = np.hypot(moved[:, 0], moved[:, 1])
    # Arms that are nearly parallel meet far away.
    places: Floats = own + moved * np.minimum(1.0, reach / np.maximum(length, 1e-9))[:, None]
    return places


def _count_arms(
    xy: Floats, count: Ints, node: Ints, look_px: int, reach: Floats, matrix: Floats, shift: Floats
) -> None:
    """Add to the nodes' least-squares systems the line through the points of each arm, given relative to its node."""
    if not len(count):
        return
    first = np.cumsum(count) - count
    mean = np.add.reduceat(xy, first) / count[:, None]
    off = xy - np.repeat(mean, count, axis=0)
    xx, yy, mixed = (np.add.reduceat(product, first) for product in (off[:, 0] ** 2, off[:, 1] ** 2, off.prod(axis=1)))
    along = 0.5 * np.arctan2(2 * mixed, xx - yy)
    normal = np.stack([-np.sin(along), np.cos(along)], axis=1)
    across = np.maximum((xx + yy) / 2 - np.hypot((xx - yy) / 2, mixed), 0.0) / count
    aside = (normal * mean).sum(axis=1)
    # An arm that bends says little of where it would have gone on, and one that passes the junction has bent before.
    weight = count / look_px / (1 + across) ** 2 * np.maximum(1 - (aside / reach[node]) ** 4, 0.0)
    weighted = normal * weight[:, None]
    np.add.at(matrix, node, weighted[:, :, None] * normal[:, None, :])
    np.add.at(shift, node, weighted * aside[:, None])
