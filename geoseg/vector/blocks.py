"""One block: its rows of the class raster become a part file with its regions, borders, skeleton lines and squares."""

from pathlib import Path

import numpy as np

from geoseg.legend import NODATA
from geoseg.memory import give_back_memory
from geoseg.raster.rows import read_rows
from geoseg.vector.alone import squared_alone
from geoseg.vector.arrays import Bytes, Ints
from geoseg.vector.job import VectorJob, block_rows
from geoseg.vector.parts import NO_PIECES, NO_SQUARES, Borders, Table, concatenated, save
from geoseg.vector.polygonize import arcs_of
from geoseg.vector.roads import pieces_of, sampled, view_of
from geoseg.vector.runs import Runs, pixels_of, regions_of, run_count, runs_of
from geoseg.vector.sieve import BlockRegions, SizeLimits, calmed, seen_whole, sieved
from geoseg.vector.simplify import kept_vertices
from geoseg.vector.squaring import squaring_settings

_DENSE_RUNS = 1 << 20
"""Runs of a block above which its specks are sieved in slices first: each run takes about 300 bytes."""

_REACHES = (64, 1024)
"""Rows on either side of a seam that are looked at for specks and pinholes, the second where the first cut one."""

_SEAM_PIXELS = 1 << 25
"""At most, beyond the first reach."""

_SUMMED_PIXELS = 1 << 20
"""Pixels whose sums are taken together."""


def vectorize_block_row(job: VectorJob, index: int) -> Path:
    """Vectorize one block and write its part, atomically; returns where.

    Depends on nothing but the job and the rows read: any process may do it, in any order, and again.
    """
    _vectorize(job, index)
    give_back_memory()
    return job.part(index)


def _vectorize(job: VectorJob, index: int) -> None:
    first, stop = job.rows_of(index)
    roads = [c.id for c in job.legend if c.rule == "road"] if job.settings.centerlines.enabled else []
    view = view_of(job, index)
    read_first, read_stop = view.scene_rows(job.shape[0]) if roads else (first, stop)
    around = read_rows(job.classes, 1, read_first, read_stop)
    # Lines end at the first points of the next block, and have the confidence there.
    after = min(stop + 2 * view.factor, job.shape[0])
    confidence = None if job.confidence is None else read_rows(job.confidence, 1, first, after)
    pieces = concatenated([NO_PIECES, *(pieces_of(job, view, around, value) for value in roads)])
    if confidence is not None:
        pieces = sampled(pieces, confidence, first, view.factor)
        confidence = confidence[: stop - first]
    classes = around[first - read_first : stop - read_first]
    open_sides = (index > 0, index < block_rows(job) - 1)
    give_back_memory()
    fate = _fate(job, index, classes)
    table, borders = block_part(classes, fate, confidence, first, open_sides, job.limits, job.tolerance_px)
    give_back_memory()
    squares = (
        squared_alone(job, squaring_settings(job), table, borders) if job.settings.buildings.enabled else NO_SQUARES
    )
    save(job.part(index), table, borders, pieces, squares)


def _fate(job: VectorJob, index: int, classes: Bytes) -> Bytes:
    """The rows of a block with what becomes of the specks and pinholes that touch its seams."""
    fate, (first, stop) = classes, job.rows_of(index)
    for seam in {first, stop} - {0, job.shape[0]} if job.limits.largest > 1 else ():
        top, found = _around_seam(job, seam)
        if found is None:
            continue
        own = slice(max(first, top), min(stop, top + len(found)))
        there = np.s_[own.start - first : own.stop - first]
        value = found[own.start - top : own.stop - top]
        fate = fate.copy() if fate is classes else fate
        np.copyto(fate[there], value, where=value != classes[there])
    return fate


def _around_seam(job: VectorJob, seam: int) -> tuple[int, Bytes | None]:
    """The first of the rows around a seam, and them as `seen_whole` decides; None where they are mere noise."""
    height, largest = job.shape[0], job.limits.largest
    # Few specks are long, and two that are smaller than a number of pixels have fewer rows than twice that.
    near, far = _REACHES
    far = max(near, min(far, _SEAM_PIXELS // (2 * job.shape[1])))
    for reach in sorted({min(reach, 2 * largest) for reach in (near, far)}):
        top, bottom = max(0, seam - reach), min(height, seam + reach)
        rows = read_rows(job.classes, 1, top, bottom)
        if run_count(rows) > _DENSE_RUNS:
            break
        if (found := seen_whole(rows, seam - top, job.limits, (top > 0, bottom < height))) is not None:
            return top, found
    return seam, None


def block_part(
    classes: Bytes,
    fate: Bytes,
    confidence: Bytes | None,
    first_row: int,
    open_sides: tuple[bool, bool],
    limits: SizeLimits,
    tolerance_px: float,
) -> tuple[Table, Borders]:
    """Regions and borders of (H, W) rows of a scene that go on above or below where `open_sides` says so.

    `fate` is the same but for what is small at its open sides.
    """
    dense = run_count(classes) > _DENSE_RUNS
    runs = runs_of(calmed(fate, limits, open_sides) if dense else classes)
    regions = sieved(runs, regions_of(runs), limits, open_sides, None if dense else _at_starts(runs, fate))
    arcs = arcs_of(runs, regions.of_run, first_row)
    table = _table(runs, regions, classes if dense else None, confidence)
    del runs, regions  # simplifying needs as much again
    give_back_memory()
    keep = kept_vertices(arcs, tolerance_px, (first_row, first_row + len(classes)))
    return table, Borders(arcs.offsets, arcs.xy, keep, arcs.left, arcs.right)


def _at_starts(runs: Runs, classes: Bytes) -> Bytes:
    """Values of (H, W) pixels where runs start, nodata in the padding."""
    padded = np.pad(classes, ((0, 0), (1, 1)), constant_values=NODATA)
    values: Bytes = padded.ravel()[runs.start[:-1]]
    return values


def _table(runs: Runs, regions: BlockRegions, raw: Bytes | None, confidence: Bytes | None) -> Table:
    """What is known of the regions; `raw` is the (H, W) class raster where the runs are those of a calmed one."""
    count, of_run = len(regions.value), regions.of_run
    own, seen = _own_pixels(runs, regions, raw)
    if confidence is None:
        sums = np.zeros(len(own), np.int64)
    elif raw is None:
        sums = np.where(own > 0, _run_sums(runs, confidence), 0)
    else:
        sums = _run_sums(runs, np.where(raw == _final(runs, regions), confidence, 0))
    return Table(
        value=regions.value,
        pixels=regions.pixels,
        own=_summed(of_run, own, count),
        confidence=_summed(of_run, sums, count),
        top=_outer_row(runs, of_run, 0),
        bottom=_outer_row(runs, of_run, runs.height - 1),
        seen=seen,
    )


def _own_pixels(runs: Runs, regions: BlockRegions, raw: Bytes | None) -> tuple[Ints, Ints]:
    """Pixels of each run that the class raster gave to the class of its region, and (256,) pixels of each class."""
    if raw is None:
        own = np.where(runs.value == regions.value[regions.of_run], runs.length, 0)
        seen = _summed(runs.value, runs.length, 256)
    else:
        own = _run_sums(runs, (raw == _final(runs, regions)).view(np.uint8))
        seen = np.bincount(raw.ravel(), minlength=256)
    seen[NODATA] = 0
    return own, seen


def _final(runs: Runs, regions: BlockRegions) -> Bytes:
    """(H, W) class of the region of each pixel."""
    return pixels_of(runs, regions.value[regions.of_run])


def _run_sums(runs: Runs, values: Bytes) -> Ints:
    """Sum of (H, W) values over each run, some rows at a time: NumPy widens all that it sums at once."""
    sums = np.empty(len(runs.value), np.int64)
    step = max(1, _SUMMED_PIXELS // runs.width)
    for first in range(0, runs.height, step):
        padded = np.pad(values[first : first + step], ((0, 0), (1, 1)))
        low, high = np.searchsorted(runs.start[:-1], [first * runs.width, (first + step) * runs.width])
        np.add.reduceat(padded.ravel(), runs.start[low:high] - first * runs.width, dtype=np.int64, out=sums[low:high])
    return sums


def _summed(region: Ints | Bytes, values: Ints, count: int) -> Ints:
    # A block's sums are far below 2**53, so float64 holds them exactly.
    return np.bincount(region, weights=values, minlength=count).astype(np.int64)


def _outer_row(runs: Runs, of_run: Ints, row: int) -> Ints:
    """First column and region of each run of a row; neighbours that became one region are one run."""
    low, high = np.searchsorted(runs.start, [row * runs.width, (row + 1) * runs.width])
    region = of_run[low:high]
    changes = np.append(True, region[1:] != region[:-1])
    return np.stack([runs.column[low:high][changes], region[changes]])
