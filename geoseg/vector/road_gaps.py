"""What lies in the gaps of roads: crowns hide a road, bare ground does not.

Over a gap in which little but background was seen no road goes on: a cul-de-sac may well look at the next one. Where a
legend knows of nothing but buildings and roads, crowns are background too, and a gap says nothing.
"""

from collections.abc import Iterator

import numpy as np

from geoseg.legend import BACKGROUND
from geoseg.raster.rows import read_rows
from geoseg.vector.arrays import Bools, Bytes, Floats, Ints, ranges
from geoseg.vector.job import VectorJob
from geoseg.vector.roads import thinning_factor

_BARE_M = 4.0
"""Length of background in a gap that noise may leave."""

_HIDING = 0.05
"""Share of a gap, as wide as the road, that may be neither road nor background and hides nothing."""

_ACROSS = (0.0, -1.0, -0.5, 0.5, 1.0)
"""Where a gap is looked at, in half-widths of the road: along the middle first."""


def bare(job: VectorJob, value: Bytes, one: Floats, other: Floats, radius: Floats) -> Bools:
    """(N,) gaps between the places `one` and `other`, (N, 2) in pixels of the thinned raster, that hide no road.

    `value` is the class of the road that is interrupted, `radius` its half-width.
    """
    found = np.zeros(len(value), bool)
    if all(c.rule != "area" for c in job.legend):
        return found
    factor = thinning_factor(job)
    ahead = other - one
    aside = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1) / np.maximum(np.hypot(*ahead.T), 1e-9)[:, None]
    for which, first, stop in _by_rows(job, one, other, radius):
        classes = read_rows(job.classes, 1, first, stop)
        steps = np.ceil(factor * np.hypot(*ahead[which].T)).astype(np.int64) + 1
        owner = np.repeat(np.arange(len(which)), steps)
        share = (ranges(np.zeros_like(steps), steps) / np.maximum(steps - 1, 1)[owner])[:, None]
        middle = one[which][owner] + ahead[which][owner] * share
        ground, gap, length = (np.zeros(len(which)) for _ in range(3))
        for across in _ACROSS:
            xy = middle + across * (radius[:, None] * aside)[which][owner]
            at = np.rint(xy * factor + factor // 2 - [0, first]).astype(np.int64)
            at = np.clip(at, 0, [job.shape[1] - 1, stop - first - 1])
            seen = classes[at[:, 1], at[:, 0]]
            ground += np.bincount(owner, weights=seen == BACKGROUND)
            gap += np.bincount(owner, weights=seen != value[which][owner])
            length = ground.copy() if across == 0.0 else length
        found[which] = (length * job.pixel_m > _BARE_M) & (gap - ground <= _HIDING * gap)
    return found


def _by_rows(job: VectorJob, one: Floats, other: Floats, radius: Floats) -> Iterator[tuple[Ints, int, int]]:
    """The gaps that begin in one block after the other, and the rows of the scene they reach over."""
    factor = thinning_factor(job)
    top = np.maximum((np.minimum(one[:, 1], other[:, 1]) - radius) * factor, 0).astype(np.int64)
    bottom = ((np.maximum(one[:, 1], other[:, 1]) + radius + 1) * factor).astype(np.int64) + 1
    for block in np.unique(top // job.block_height):
        which = np.flatnonzero(top // job.block_height == block)
        yield which, min(int(top[which].min()), job.shape[0] - 1), min(int(bottom[which].max()), job.shape[0])
