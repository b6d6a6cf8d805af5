"""Specks go and pinholes are filled before borders are drawn, on the regions of a block and how they touch."""

from dataclasses import dataclass

import numpy as np

from geoseg.legend import BACKGROUND, NODATA
from geoseg.vector.arrays import Bools, Bytes, Ints
from geoseg.vector.runs import Runs, merged, regions_of, runs_of

_SLICE_PIXELS = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class SizeLimits:
    """Sizes in pixels by class, as tables of 256 entries; 0 where nothing is dropped or filled."""

    min_area: Ints
    """A region of a class with fewer pixels is a speck."""
    min_hole: Ints
    """Background with fewer pixels inside one region of a class is filled."""
    walled: Bools
    """Classes that take no speck that lies beside something else: a small lawn between two houses is no roof."""


@dataclass(frozen=True, slots=True, eq=False)
class BlockRegions:
    """The regions of a block."""

    of_run: Ints
    """Region of each run, numbered by their first pixel."""
    value: Bytes
    """Class of each region."""
    pixels: Ints
    """Pixels of each region."""


@dataclass(frozen=True, slots=True, eq=False)
class _Touching:
    """Pairs of regions side by side, each pair in both directions, perhaps many times over."""

    one: Ints
    other: Ints
    length: Ints
    """Pixel edges they share here."""


def sieved(runs: Runs, of_run: Ints, limits: SizeLimits, open_sides: tuple[bool, bool]) -> BlockRegions:
    """Regions after specks went to the neighbour they share most border with, and pinholes to what surrounds them.

    Classes with walls take a speck only where nothing else is beside it. A speck with no neighbour but specks and nodata
    becomes background. Regions that touch the block's upper or lower side are left alone where that side is open, for
    they may go on in the next block.
    """
    regions = _measured(runs, of_run, runs.value)
    cut = _on_sides(regions.of_run, runs, open_sides)
    speck = (regions.pixels < limits.min_area[regions.value]) & ~cut
    if speck.any():
        regions = _absorbed(runs, regions, speck, limits.walled)
    edge = _on_sides(regions.of_run, runs, (True, True))
    hole = (regions.value == BACKGROUND) & (regions.pixels < limits.min_hole.max()) & ~edge
    if hole.any():
        regions = _filled(runs, regions, hole, limits.min_hole)
    return regions


def calmed(classes: Bytes, limits: SizeLimits, open_sides: tuple[bool, bool]) -> Bytes:
    """An (H, W) class raster with its specks sieved in slices of rows, so that pixel noise takes no more memory than a map.

    What touches a slice's side is left for later. Specks count as pixels of what they go to from here on.
    """
    step = max(1, _SLICE_PIXELS // classes.shape[1])
    calm = np.empty_like(classes)
    for first in range(0, len(classes), step):
        stop = min(first + step, len(classes))
        runs = runs_of(classes[first:stop])
        sides = (first > 0 or open_sides[0], stop < len(classes) or open_sides[1])
        regions = sieved(runs, regions_of(runs), limits, sides)
        values = np.repeat(regions.value[regions.of_run], runs.length)
        calm[first:stop] = values.reshape(runs.height, runs.width)[:, 1:-1]
    return calm


def _measured(runs: Runs, of_run: Ints, value_of_run: Bytes) -> BlockRegions:
    count = int(of_run.max()) + 1
    value = np.zeros(count, np.uint8)
    value[of_run] = value_of_run
    return BlockRegions(of_run, value, np.bincount(of_run, weights=runs.length, minlength=count).astype(np.int64))


def _on_sides(of_run: Ints, runs: Runs, sides: tuple[bool, bool]) -> Bools:
    """Regions with a pixel in the first (`sides[0]`) or last (`sides[1]`) row of the block."""
    found = np.zeros(int(of_run.max()) + 1, bool)
    upper, lower = sides
    if upper:
        found[of_run[runs.start[:-1] < runs.width]] = True
    if lower:
        found[of_run[runs.start[:-1] >= (runs.height - 1) * runs.width]] = True
    return found


def _touching(runs: Runs, regions: BlockRegions, wanted: Bools) -> _Touching:
    """How the wanted regions touch others; `one` is always a wanted one."""
    lines, of_run = runs.lines, regions.of_run
    across = np.diff(np.append(lines.key, runs.height * runs.width))
    inner = np.flatnonzero(runs.column > 0)
    one = np.concatenate([of_run[lines.upper], of_run[inner - 1]])
    other = np.concatenate([of_run[lines.lower], of_run[inner]])
    length = np.concatenate([across, np.ones(len(inner), np.int64)])
    apart = one != other
    here, there = apart & wanted[one], apart & wanted[other]
    return _Touching(
        np.concatenate([one[here], other[there]]),
        np.concatenate([other[here], one[there]]),
        np.concatenate([length[here], length[there]]),
    )


def _absorbed(runs: Runs, regions: BlockRegions, speck: Bools, walled: Bools) -> BlockRegions:
    touching = _touching(runs, regions, speck)
    value = regions.value.copy()
    value[speck] = BACKGROUND
    taker = ~speck[touching.other] & (regions.value[touching.other] != NODATA)
    last = walled[regions.value[touching.other]]
    others = np.zeros(len(speck), bool)
    others[touching.one[taker & ~last]] = True
    taker &= ~(last & others[touching.one])
    takes = _longest(touching.one[taker], touching.other[taker], touching.length[taker], len(speck))
    value[takes[0]] = regions.value[takes[1]]
    return _remerged(runs, regions, value, touching)


def _longest(one: Ints, other: Ints, length: Ints, count: int) -> tuple[Ints, Ints]:
    """Each region of `one` with the region it shares most border with; of equals the first."""
    pair, which = np.unique(one * count + other, return_inverse=True)
    shared = np.bincount(which, weights=length, minlength=len(pair))
    one, other = pair // count, pair % count
    order = np.lexsort((other, -shared, one))
    first = np.ones(len(order), bool)
    first[1:] = one[order[1:]] != one[order[:-1]]
    best = order[first]
    return one[best], other[best]


def _filled(runs: Runs, regions: BlockRegions, hole: Bools, min_hole: Ints) -> BlockRegions:
    touching = _touching(runs, regions, hole)
    lowest = np.full(len(hole), len(hole))
    highest = np.full(len(hole), -1)
    np.minimum.at(lowest, touching.one, touching.other)
    np.maximum.at(highest, touching.one, touching.other)
    around = np.where(hole & (lowest == highest), lowest, 0)
    fill = hole & (lowest == highest) & (regions.pixels < min_hole[regions.value[around]])
    value = np.where(fill, regions.value[around], regions.value)
    return _remerged(runs, regions, value, touching)


def _remerged(runs: Runs, regions: BlockRegions, value: Bytes, touching: _Touching) -> BlockRegions:
    """Regions joined where neighbours have come to be of one class."""
    same = value[touching.one] == value[touching.other]
    group = merged(len(value), touching.one[same], touching.other[same])
    return _measured(runs, group[regions.of_run], value[regions.of_run])
