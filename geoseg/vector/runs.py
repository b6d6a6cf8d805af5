"""A block of the class raster as runs of equal pixels, and its 4-connected regions.

Everything a polygon is made of is in the runs: its pixels, sums and borders. They are a twentieth of the pixels or
fewer, so what follows works on them with plain array operations, and a block's raster is read only once.

    row r      aaaaabbbbcccc        runs of r:      0, 5, 9
    row r + 1  aaabbbbbbbccc        runs of r + 1:  0, 3, 10
    intervals  0, 3, 5, 9, 10      each has one run above and one below
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from geoseg.legend import NODATA
from geoseg.vector.arrays import Bools, Bytes, Ints


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Stretches of the lines between rows over which neither the run above nor the run below changes."""

    key: Ints
    """Start as flat position of the pixel below it; an interval ends where the next one starts."""
    upper: Ints
    """Run above."""
    lower: Ints
    """Run below."""
    opens_upper: Bools
    """True where the run above starts here: a vertical edge comes from above."""
    opens_lower: Bools
    """True where the run below starts here: a vertical edge goes on below."""


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Runs of equal class in row-major order; each row is padded by one pixel of nodata on either side."""

    height: int
    """Rows."""
    width: int
    """Columns with the padding."""
    start: Ints
    """(N + 1,) flat position of the first pixel of each run, and the end of the last."""
    value: Bytes
    """(N,) class of each run."""
    lines: Intervals
    """Intervals of the lines between the block's rows; the block's upper and lower border are not among them."""

    @property
    def length(self) -> Ints:
        """Pixels of each run."""
        return np.diff(self.start)

    @property
    def column(self) -> Ints:
        """First column of each run; the padding is column 0."""
        return self.start[:-1] % self.width


def run_count(classes: Bytes) -> int:
    """Runs of an (H, W) class raster, without the padding."""
    return len(classes) + int(np.count_nonzero(classes[:, 1:] != classes[:, :-1]))


def runs_of(classes: Bytes) -> Runs:
    """The runs of an (H, W) class raster."""
    height, width = classes.shape[0], classes.shape[1] + 2
    padded = np.full((height, width), NODATA, np.uint8)
    padded[:, 1:-1] = classes
    opens = np.ones((height, width), bool)
    np.not_equal(padded[:, 1:], padded[:, :-1], out=opens[:, 1:])
    start = np.flatnonzero(opens)
    value = padded.ravel()[start]
    return Runs(height, width, np.append(start, opens.size), value, _intervals(opens))


def _intervals(opens: Bools) -> Intervals:
    """Intervals of all lines between the rows of a block, from where its runs open."""
    width = opens.shape[1]
    key = np.flatnonzero(opens[1:] | opens[:-1]) + width
    flat = opens.ravel()
    upper_opens, lower_opens = flat[key - width], flat[key]
    first_lower = int(np.count_nonzero(opens[0]))
    upper = np.cumsum(upper_opens) - 1
    lower = np.cumsum(lower_opens) - 1 + first_lower
    return Intervals(key, upper, lower, upper_opens, lower_opens)


def pixels_of(runs: Runs, value_of_run: Bytes) -> Bytes:
    """(H, W) the value of the run that each pixel lies in, without the padding."""
    pixels: Bytes = np.repeat(value_of_run, runs.length).reshape(runs.height, runs.width)[:, 1:-1]
    return pixels


def regions_of(runs: Runs) -> Ints:
    """Number of the 4-connected region of each run; regions are numbered by their first pixel in row-major order."""
    touching = runs.value[runs.lines.upper] == runs.value[runs.lines.lower]
    return merged(len(runs.value), runs.lines.upper[touching], runs.lines.lower[touching])


def merged(count: int, first: Ints, second: Ints) -> Ints:
    """Group of each of `count` things after `first[i]` and `second[i]` were joined, numbered by the first of each group."""
    links = csr_array((np.ones(len(first), np.uint8), (first, second)), shape=(count, count))
    groups, label = connected_components(links, directed=False)
    first_of = np.full(groups, count, np.int64)
    np.minimum.at(first_of, label, np.arange(count))
    number = np.empty(groups, np.int64)
    number[np.argsort(first_of)] = np.arange(groups)
    group: Ints = number[label]
    return group
