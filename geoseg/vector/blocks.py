"""One block: its rows of the class raster become a part file with its regions, borders and skeleton lines."""

from pathlib import Path

import numpy as np

from geoseg.raster.rows import read_rows
from geoseg.vector.arrays import Bytes, Ints
from geoseg.vector.job import VectorJob, block_rows
from geoseg.vector.parts import NO_PIECES, Borders, Table, concatenated, save
from geoseg.vector.polygonize import arcs_of
from geoseg.vector.roads import pieces_of, sampled, view_of
from geoseg.vector.runs import Runs, regions_of, run_count, runs_of
from geoseg.vector.sieve import Limits, Regions, calmed, sieved
from geoseg.vector.simplify import kept_vertices

_DENSE_RUNS = 1 << 20
"""Runs of a block above which its specks are sieved in slices first: each run takes about 300 bytes."""


def vectorize_block_row(job: VectorJob, index: int) -> Path:
    """Vectorize one block and write its part, atomically; returns where.

    Depends on nothing but the job and the rows read: any process may do it, in any order, and again.
    """
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
    table, borders = block_part(classes, confidence, first, open_sides, job.limits, job.tolerance_px)
    save(job.part(index), table, borders, pieces)
    return job.part(index)


def block_part(
    classes: Bytes,
    confidence: Bytes | None,
    first_row: int,
    open_sides: tuple[bool, bool],
    limits: Limits,
    tolerance_px: float,
) -> tuple[Table, Borders]:
    """Regions and borders of (H, W) rows of a scene that go on above or below where `open_sides` says so."""
    if run_count(classes) > _DENSE_RUNS:
        classes = calmed(classes, limits, open_sides)
    runs = runs_of(classes)
    regions = sieved(runs, regions_of(runs), limits, open_sides)
    arcs = arcs_of(runs, regions.of_run, first_row)
    keep = kept_vertices(arcs, tolerance_px, (first_row, first_row + runs.height))
    return _table(runs, regions, confidence), Borders(arcs.offsets, arcs.xy, keep, arcs.left, arcs.right)


def _table(runs: Runs, regions: Regions, confidence: Bytes | None) -> Table:
    count = len(regions.value)
    own = runs.value == regions.value[regions.of_run]
    sums = np.zeros(len(own), np.int64) if confidence is None else _run_sums(runs, confidence)
    return Table(
        value=regions.value,
        pixels=regions.pixels,
        own=_summed(regions.of_run[own], runs.length[own], count),
        confidence=_summed(regions.of_run[own], sums[own], count),
        top=_outer_row(runs, regions.of_run, 0),
        bottom=_outer_row(runs, regions.of_run, runs.height - 1),
    )


def _run_sums(runs: Runs, confidence: Bytes) -> Ints:
    """Sum of the confidence over each run."""
    padded = np.pad(confidence, ((0, 0), (1, 1)))
    sums: Ints = np.add.reduceat(padded.ravel(), runs.start[:-1], dtype=np.int64)
    return sums


def _summed(region: Ints, values: Ints, count: int) -> Ints:
    # A block's sums are far below 2**53, so float64 holds them exactly.
    return np.bincount(region, weights=values, minlength=count).astype(np.int64)


def _outer_row(runs: Runs, of_run: Ints, row: int) -> Ints:
    """First column and region of each run of a row; neighbours that became one region are one run."""
    low, high = np.searchsorted(runs.start, [row * runs.width, (row + 1) * runs.width])
    region = of_run[low:high]
    changes = np.append(True, region[1:] != region[:-1])
    return np.stack([runs.column[low:high][changes], region[changes]])
