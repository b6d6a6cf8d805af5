"""Specks go and pinholes are filled before borders are drawn, on the regions of a block and how they touch."""

from dataclasses import dataclass

import numpy as np

from geoseg.legend import BACKGROUND, NODATA
from geoseg.vector.arrays import Bools, Bytes, Ints
from geoseg.vector.runs import Runs, merged, pixels_of, regions_of, runs_of

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

    @property
    def largest(self) -> int:
        """Pixels that neither a speck nor a pinhole has."""
        return int(max(self.min_area.max(), self.min_hole.max()))


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


def sieved(
    runs: Runs, of_run: Ints, limits: SizeLimits, open_sides: tuple[bool, bool], fate: Bytes | None = None
) -> BlockRegions:
    """Regions after specks went to the class they share most border with, and pinholes to what surrounds them.

    Classes with walls take a speck only where nothing else is beside it. A speck with no neighbour but specks and nodata
    becomes background. Regions that touch the block's upper or lower side are left alone where that side is open, for
    they may go on in the next block; but `fate` is the class that each run of them gets, as `seen_whole` decided.
    """
    regions = _measured(runs, of_run, runs.value)
    cut = _on_sides(regions.of_run, runs, open_sides)
    decided = regions.value.copy()
    if fate is not None:
        decided[of_run] = fate
    speck = np.where(cut, decided != regions.value, regions.pixels < limits.min_area[regions.value])
    if speck.any():
        regions = _absorbed(runs, regions, speck, limits.walled, np.flatnonzero(cut & speck), decided)
    edge = _on_sides(regions.of_run, runs, (True, True))
    hole = (regions.value == BACKGROUND) & (regions.pixels < limits.min_hole.max()) & ~edge
    if hole.any():
        regions = _filled(runs, regions, hole, limits.min_hole)
    return regions


def seen_whole(classes: Bytes, seam: int, limits: SizeLimits, open_sides: tuple[bool, bool]) -> Bytes | None:
    """The rows around a seam after specks and pinholes that touch it were decided: neither of its blocks sees them whole.

    Both blocks look at the same (H, W) rows, of which row `seam` is the first below it, and so decide alike. None where
    something that may be small, or is beside something small, goes on beyond the rows.
    """
    runs = runs_of(classes)
    of_run = regions_of(runs)
    before = _measured(runs, of_run, runs.value)
    row = runs.start[:-1] // runs.width
    at_seam = np.zeros(len(before.value), bool)
    at_seam[of_run[(row == seam - 1) | (row == seam)]] = True
    small = (before.value != NODATA) & (before.pixels < limits.largest)
    unknown = small & _on_sides(of_run, runs, open_sides)
    beside = _touching(runs, before, at_seam & small)
    if (at_seam & unknown).any() or unknown[beside.other].any():
        return None
    after = sieved(runs, of_run, limits, open_sides)
    return pixels_of(runs, np.where(at_seam[of_run], after.value[after.of_run], runs.value))


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
        calm[first:stop] = pixels_of(runs, regions.value[regions.of_run])
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


def _absorbed(runs: Runs, regions: BlockRegions, speck: Bools, walled: Bools, known: Ints, fate: Bytes) -> BlockRegions:
    """Specks given to their neighbours; those that are `known`, and pinholes among them, to the class of their `fate`."""
    touching = _touching(runs, regions, speck)
    value = regions.value.copy()
    value[speck] = BACKGROUND
    beside = regions.value[touching.other]
    taker = ~speck[touching.other] | (beside == BACKGROUND)  # a pinhole takes as any background does
    taker &= beside != NODATA
    others = np.zeros(len(speck), bool)
    others[touching.one[taker & ~walled[beside]]] = True
    taker &= ~(walled[beside] & others[touching.one])
    takes = _longest(touching.one[taker], beside[taker], touching.length[taker])
    value[takes[0]] = takes[1]
    value[known] = fate[known]
    return _remerged(runs, regions, value, touching)


def _longest(one: Ints, value: Bytes, length: Ints) -> tuple[Ints, Ints]:
    """Each region of `one` with the class it shares most border with; of equals the lowest.

    Not the region: what is one region beyond a seam may be two on this side of it.
    """
    pair, which = np.unique(one * 256 + value, return_inverse=True)
    shared = np.bincount(which, weights=length, minlength=len(pair))
    region, held = pair // 256, pair % 256
    order = np.lexsort((held, -shared, region))
    first = np.ones(len(order), bool)
    first[1:] = region[order[1:]] != region[order[:-1]]
    best = order[first]
    return region[best], held[best]


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
