"""What vectorizing left out in unusual measure, said in one line for each layer.

A few specks go from every map. Where most of a class goes, its pixels are noise or the settings do not suit them, and
whoever opens the layer must know. Sums over the whole scene are told, so blocks, strips and workers leave no trace.
"""

import math
from collections.abc import Callable

import numpy as np

from geoseg.vector.arrays import Bools, Floats
from geoseg.vector.job import VectorJob
from geoseg.vector.schema import Layer
from geoseg.vector.seams import Regions

_UNUSUAL = 0.5
"""Share of a class, or of the roads, above which a loss is told."""

_WORTH = 0.01
"""Share of the scene's pixels that a class must have for that."""

_LEAST_ROADS_M2 = 10_000.0
"""Area without lines that is worth a word: in a scene of a few hundred metres any share of the roads is usual."""


def sieved_away(job: VectorJob, regions: Regions, features: Bools) -> list[str]:
    """Classes of which most pixels are in specks too small for a feature."""
    pixel_m2, told = job.pixel_m**2, []
    for c in job.legend:
        seen = int(regions.seen[c.id])
        kept = int(regions.own[features & (regions.value == c.id)].sum())
        if seen - kept > _UNUSUAL * seen and seen >= _WORTH * regions.seen.sum():
            rule = job.settings.of_rule(c.rule)
            least = max(rule.min_area_m2, rule.min_area_px * pixel_m2)
            told.append(
                f"{c.layer}: {_percent(1 - kept / seen)} of class '{c.name}' ({(seen - kept) * pixel_m2:,.0f} m²) "
                f"is specks under {least:.3g} m², which are left out"
            )
    return told


def of_no_class(job: VectorJob, regions: Regions) -> list[str]:
    """Values of the class raster that the legend does not know."""
    pixel_m2, ids = job.pixel_m**2, np.flatnonzero(regions.seen)
    return [
        f"value {i} of the class raster ({int(regions.seen[i]) * pixel_m2:,.0f} m²) is no class of the legend: left out"
        for i in ids[ids >= job.legend.channels].tolist()
    ]


class RoadLosses:
    """How much of the roads of a layer its lines stand for; lines are added as they are made."""

    def __init__(
        self, job: VectorJob, layer: Layer, regions: Regions, features: Bools, warn: Callable[[str], None]
    ) -> None:
        """Of the roads among the `features`."""
        self._job, self._layer, self._warn, self._lined_m2 = job, layer, warn, 0.0
        roads = features & np.isin(regions.value, [c.id for c in layer.classes])
        self._pixels, self._seen = int(regions.own[roads].sum()), int(regions.seen.sum())

    def add(self, width_m: Floats, length_m: Floats) -> None:
        """Count some lines; those of roads wider than the settings allow for do not stand for them."""
        stands = width_m <= self._job.settings.centerlines.max_width_m
        self._lined_m2 += math.fsum(width_m[stands] * length_m[stands])

    def tell(self) -> None:
        """Warn where most of the roads have no line, unless none was asked for."""
        how, roads_m2 = self._job.settings.centerlines, self._pixels * self._job.pixel_m**2
        if not how.enabled:
            return
        share = 1 - self._lined_m2 / roads_m2 if roads_m2 else 0.0
        if share * roads_m2 >= _LEAST_ROADS_M2 and share > _UNUSUAL and self._pixels >= _WORTH * self._seen:
            self._warn(
                f"{self._layer.name}: {_percent(share)} of the roads ({share * roads_m2:,.0f} m²) have no line, or one that is "
                f"a guess: they are wider than {how.max_width_m:g} m, shorter than {how.min_length_m:g} m, or too narrow to be "
                "thinned"
            )


def _percent(share: float) -> str:
    """Rounded down: 100 % is all of it."""
    return f"{math.floor(100 * share + 1e-9)} %"
