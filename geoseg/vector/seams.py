"""Blocks joined into one scene: which regions are one, what becomes a feature, and the borders along the seams."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from geoseg.legend import NODATA
from geoseg.vector.arrays import Bytes, Ints, offsets_of
from geoseg.vector.parts import Table, load_table
from geoseg.vector.runs import merged

OUTSIDE = 0
"""Region of all that is not on the scene; the regions of the blocks follow, from top to bottom."""


@dataclass(frozen=True, slots=True, eq=False)
class Seam:
    """A line between two blocks, or the upper or lower side of the scene."""

    row: int
    """Row of the lattice."""
    x: Ints
    """(N + 1,) columns at which what is above or below changes, and the end of the line."""
    upper: Ints
    """(N,) region of the scene above."""
    lower: Ints
    """(N,) region of the scene below."""


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """The 4-connected regions of a scene, numbered by their first pixel in row-major order after `OUTSIDE`."""

    of_block: list[Ints]
    """Region of the scene for each region of each block."""
    value: Bytes
    """Class of each region."""
    pixels: Ints
    """Pixels of each region, filled pinholes among them."""
    own: Ints
    """Pixels that the class raster gave to its class."""
    confidence: Ints
    """Sum of the confidence, 0–100, over its own pixels."""
    last_block: Ints
    """Last block that has a part of it."""
    seen: Ints
    """(256,) pixels of each class before any speck was sieved; 0 for nodata."""
    seams: list[Seam]
    """All seams, from the scene's upper to its lower side."""


def joined(parts: Sequence[Path], block_height: int, shape: tuple[int, int]) -> Regions:
    """Join the blocks of a scene by union-find over what lies on both sides of its seams."""
    tables = [load_table(path) for path in parts]
    base = 1 + offsets_of(np.array([len(table.value) for table in tables]))
    value = np.concatenate([np.array([NODATA], np.uint8), *(table.value for table in tables)])
    seams = _seams(tables, base, block_height, shape)
    group = merged(len(value), *_same(seams, value))
    count = int(group.max()) + 1
    of_group = np.zeros(count, np.uint8)
    of_group[group] = value
    last_block = np.zeros(count, np.int64)
    np.maximum.at(last_block, group[1:], np.repeat(np.arange(len(tables)), np.diff(base)))
    return Regions(
        of_block=[group[first:stop] for first, stop in pairwise(base)],
        value=of_group,
        pixels=_summed([table.pixels for table in tables], group, count),
        own=_summed([table.own for table in tables], group, count),
        confidence=_summed([table.confidence for table in tables], group, count),
        last_block=last_block,
        seen=np.sum([table.seen for table in tables], axis=0),
        seams=[Seam(s.row, s.x, group[s.upper], group[s.lower]) for s in seams],
    )


def _summed(values: list[Ints], group: Ints, count: int) -> Ints:
    """Exact sums by region of the scene; float64 would round above 2**53."""
    total = np.zeros(count, np.int64)
    np.add.at(total, group[1:], np.concatenate(values))
    return total


def _same(seams: list[Seam], value: Bytes) -> tuple[Ints, Ints]:
    """Regions above and below the seams that are of one class, and so one region."""
    upper, lower = (np.concatenate(side) for side in ([s.upper for s in seams], [s.lower for s in seams]))
    same = value[upper] == value[lower]
    return upper[same], lower[same]


def _seams(tables: list[Table], base: Ints, block_height: int, shape: tuple[int, int]) -> list[Seam]:
    outside = np.array([[0], [OUTSIDE]])
    above = [outside, *(_on_scene(t.bottom, first) for t, first in zip(tables, base, strict=False))]
    below = [*(_on_scene(t.top, first) for t, first in zip(tables, base, strict=False)), outside]
    rows = [*range(0, shape[0], block_height), shape[0]]
    return [_seam(row, up, down, shape[1]) for row, up, down in zip(rows, above, below, strict=True)]


def _on_scene(runs: Ints, base: Ints) -> Ints:
    return np.stack([runs[0], runs[1] + base])


def _seam(row: int, above: Ints, below: Ints, width: int) -> Seam:
    """The intervals of a seam from the runs on both sides; the padding's column 0 becomes column −1."""
    start = np.union1d(above[0], below[0])
    upper = above[1, np.searchsorted(above[0], start, side="right") - 1]
    lower = below[1, np.searchsorted(below[0], start, side="right") - 1]
    return Seam(row, np.append(start, width + 2) - 1, upper, lower)
