"""Walls fitted to the pixels' border: straight lines by least squares, corners where they meet.

A wall is fitted to all of the border that it owns instead of being drawn between two of its pixels, so the corners that
a network rounds off come back, and the outline agrees with the truth better than the mask itself does.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from geoseg.vector.arrays import Floats, Ints, offsets_of, owners_of, ranges

Directions = Literal["right", "diagonal", "free"]
"""Where walls may run: along the main direction and across it, at 45° to it too, or anywhere."""

_MOST_WALLS = 400
"""Walls of a ring above which none is fitted: no building has as many, and the work grows with their square."""

_PARALLEL = math.radians(12)
"""Free walls that differ by less than this have the same direction."""

Point = tuple[float, float]


class Wall(NamedTuple):
    """A stretch of border: its direction as found, and the sums of its samples that any line through them needs."""

    dx: float
    """From its first sample to its last."""
    dy: float
    samples: float
    """How many; 0 for a wall that only joins two others."""
    x: float
    """Sum of x."""
    y: float
    """Sum of y."""
    xx: float
    """Sum of x²."""
    xy: float
    """Sum of x·y."""
    yy: float
    """Sum of y²."""

    def joined(self, other: "Wall") -> "Wall":
        """Both as one wall."""
        return Wall(
            self.dx + other.dx,
            self.dy + other.dy,
            self.samples + other.samples,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.xy + other.xy,
            self.yy + other.yy,
        )

    @property
    def spread(self) -> tuple[float, float, float]:
        """Second moments about the middle: xx, xy, yy."""
        n = max(self.samples, 1.0)
        return self.xx - self.x * self.x / n, self.xy - self.x * self.y / n, self.yy - self.y * self.y / n


class Line(NamedTuple):
    """A directed straight line: the points p with nx·x + ny·y = c, the building on its left."""

    angle: float
    """Direction in radians."""
    nx: float
    """Unit vector across it."""
    ny: float
    c: float
    wall: Wall

    @classmethod
    def through(cls, x: float, y: float, angle: float, wall: Wall) -> "Line":
        """The line through a point in a direction."""
        nx, ny = -math.sin(angle), math.cos(angle)
        return cls(angle, nx, ny, nx * x + ny * y, wall)

    def meets(self, other: "Line") -> Point | None:
        """Where the two cross; None where they are parallel."""
        cross = self.nx * other.ny - self.ny * other.nx
        if abs(cross) < 1e-6:
            return None
        return (self.c * other.ny - other.c * self.ny) / cross, (self.nx * other.c - other.nx * self.c) / cross


def walls_of(
    samples: Floats, offsets: Ints, corners: Sequence[Ints], trim: float, gaps: Sequence[Ints]
) -> list[list[Wall]]:
    """Walls between the corners of each of many closed rings of (N, 2) samples, of which `offsets` says where they begin.

    Corners and gaps are numbers of samples within their ring. The `trim` samples next to a corner count for no wall, and
    there is no wall across a gap, after one of `gaps`, with a corner on both sides: its neighbours meet.
    """
    ring = owners_of(offsets_of(np.array([len(found) for found in corners])))
    none, sizes, starts = np.zeros(0, np.int64), np.diff(offsets), offsets[:-1]
    first = np.concatenate([none, *corners])
    stop = np.concatenate([none, *(np.append(c[1:], c[:1] + n) for c, n in zip(corners, sizes, strict=True))])
    size, start = sizes[ring], starts[ring]
    after_gap = np.concatenate([none, *(gap + begin for gap, begin in zip(gaps, starts, strict=True))])
    there = (stop - first > 1) | ~np.isin(start + first, after_gap)
    ring, first, stop, size, start = ring[there], first[there], stop[there], size[there], start[there]
    walls: list[list[Wall]] = [[] for _ in corners]
    if not len(ring):
        return walls
    cut = np.minimum(trim, (stop - first) / 4).astype(np.int64)
    length = stop - first - 2 * cut + 1
    at = np.repeat(start, length) + ranges(first + cut, length) % np.repeat(size, length)
    x, y = samples[at].T
    # A wall's sums are its own, whatever other walls there are: the same building has the same walls in any company.
    sums = np.add.reduceat(np.stack([x, y, x * x, x * y, y * y]), offsets_of(length)[:-1], axis=1)
    dx, dy = (samples[start + stop % size] - samples[start + first]).T
    # Python's own numbers: sums of a few of them are three times as fast as NumPy's.
    for number, wall in zip(ring.tolist(), np.stack([dx, dy, length, *sums], axis=1).tolist(), strict=True):
        walls[number].append(Wall(*wall))
    return walls


def main_direction(walls: Sequence[Wall]) -> float:
    """Direction that most of the walls follow or cross at a right angle, in radians, 0 ≤ θ < π/2.

    First by the lengths of the walls (fourfold mean angle), then by total least squares over the samples of all walls
    near it, those across it turned by a right angle.
    """
    ways = [math.atan2(w.dy, w.dx) for w in walls]
    angle = math.atan2(
        sum(_weight(w) * math.sin(4 * way) for w, way in zip(walls, ways, strict=True)),
        sum(_weight(w) * math.cos(4 * way) for w, way in zip(walls, ways, strict=True)),
    )
    angle /= 4
    for _ in range(2):
        along = across = mixed = 0.0
        for wall, way in zip(walls, ways, strict=True):
            off = math.remainder(way - angle, math.pi / 2)
            if abs(off) > math.pi / 12:
                continue
            xx, xy, yy = wall.spread
            turned = round((way - off - angle) / (math.pi / 2)) % 2
            along, across, mixed = (
                (along + yy, across + xx, mixed - xy) if turned else (along + xx, across + yy, mixed + xy)
            )
        if along + across > 0:
            refined = 0.5 * math.atan2(2 * mixed, along - across)
            angle += math.remainder(refined - angle, math.pi / 2)
    return angle % (math.pi / 2)


def _weight(wall: Wall) -> float:
    return wall.dx * wall.dx + wall.dy * wall.dy


def fitted(walls: Sequence[Wall], theta: float, directions: Directions, shortest: float) -> list[Point]:
    """Corners of the outline whose walls run in the allowed directions; fewer than 3 where there is no such outline.

    Walls shorter than `shortest` are dropped, the shortest first; those on either side of one then become one wall
    where they are parallel.
    """
    if len(walls) > _MOST_WALLS:
        return []
    lines = _merged([_line(w, theta, directions) for w in walls], theta, directions, shortest)
    while len(lines) >= 3:
        if (back := _doubling_back(lines)) is not None:
            lines = _merged(_without(lines, back, theta, directions), theta, directions, shortest)
            continue
        corners = _corners(lines)
        lengths = _lengths(lines, corners)
        at = min(range(len(lines)), key=lengths.__getitem__)
        if lengths[at] >= shortest:
            return corners
        if len(lines) == 4 and directions == "right":
            break
        lines = _merged(_without(lines, at, theta, directions), theta, directions, shortest)
    return []


def _line(wall: Wall, theta: float, directions: Directions) -> Line:
    """The line through a wall's samples in the direction that is allowed and nearest to it."""
    angle = math.atan2(wall.dy, wall.dx)
    if directions == "free":
        xx, xy, yy = wall.spread
        best = 0.5 * math.atan2(2 * xy, xx - yy)
        angle = best if math.cos(best - angle) >= 0 else best + math.pi
    else:
        step = math.pi / 2 if directions == "right" else math.pi / 4
        angle = theta + step * round((angle - theta) / step)
    n = max(wall.samples, 1.0)
    return Line.through(wall.x / n, wall.y / n, angle, wall)


def _merged(lines: list[Line], theta: float, directions: Directions, shortest: float) -> list[Line]:
    """Lines with neighbours in the same direction made one, or joined by a step where they lie too far apart."""
    done: list[Line] = []
    for line in lines:
        _append(done, line, theta, directions, shortest)
    while len(done) > 3 and _same(done[-1], done[0]) and abs(done[-1].c - done[0].c) < shortest:
        done[0] = _line(done.pop().wall.joined(done[0].wall), theta, directions)
    if len(done) > 3 and _same(done[-1], done[0]):
        done.append(_step(done[-1], done[0]))
    return done


def _append(done: list[Line], line: Line, theta: float, directions: Directions, shortest: float) -> None:
    """Add a line in place, as one with the last where the two are parallel and near."""
    if not done or not _same(done[-1], line):
        done.append(line)
    elif abs(done[-1].c - line.c) < shortest or directions == "free":
        done[-1] = _line(done[-1].wall.joined(line.wall), theta, directions)
    else:
        done += [_step(done[-1], line), line]


def _same(a: Line, b: Line) -> bool:
    return abs(math.remainder(a.angle - b.angle, 2 * math.pi)) < _PARALLEL


def _doubling_back(lines: list[Line]) -> int | None:
    """The shorter of two neighbours that run in opposite directions, as at the end of a slit; None where none do."""
    for at, line in enumerate(lines):
        if abs(math.remainder(lines[at - 1].angle - line.angle - math.pi, 2 * math.pi)) < _PARALLEL:
            return at if _weight(line.wall) < _weight(lines[at - 1].wall) else (at - 1) % len(lines)
    return None


def _step(a: Line, b: Line) -> Line:
    """A wall across, half-way between the ends of two parallel ones."""
    turn = math.pi / 2 if b.c > a.c else -math.pi / 2
    angle = a.angle + turn
    n = max(a.wall.samples, 1.0), max(b.wall.samples, 1.0)
    x = (a.wall.x / n[0] + a.wall.dx / 2 + b.wall.x / n[1] - b.wall.dx / 2) / 2
    y = (a.wall.y / n[0] + a.wall.dy / 2 + b.wall.y / n[1] - b.wall.dy / 2) / 2
    size = abs(b.c - a.c)
    wall = Wall(math.cos(angle) * size, math.sin(angle) * size, 0.0, x, y, 0.0, 0.0, 0.0)
    return Line.through(x, y, angle, wall)


def _corners(lines: list[Line]) -> list[Point]:
    """Where each line begins: where it meets the one before."""
    corners = []
    for before, line in zip([lines[-1], *lines[:-1]], lines, strict=True):
        point = before.meets(line)
        n = max(line.wall.samples, 1.0)
        corners.append(point or (line.wall.x / n - line.wall.dx / 2, line.wall.y / n - line.wall.dy / 2))
    return corners


def _lengths(lines: list[Line], corners: list[Point]) -> list[float]:
    """Length of each line from corner to corner, negative where it runs backwards."""
    ahead = [*corners[1:], corners[0]]
    return [(b[0] - a[0]) * line.ny - (b[1] - a[1]) * line.nx for line, a, b in zip(lines, corners, ahead, strict=True)]


def _without(lines: list[Line], at: int, theta: float, directions: Directions) -> list[Line]:
    """Lines without one; where those on its sides run the same way they become one, whatever lies between them."""
    turned = lines[at + 1 :] + lines[:at]
    before, after = turned[-1], turned[0]
    if _same(before, after) and len(turned) > 3:
        return [_line(before.wall.joined(after.wall), theta, directions), *turned[1:-1]]
    return turned
