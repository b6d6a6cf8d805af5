"""Training chips: many small towns under many suns."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from geoseg.town.noise import element_rng
from geoseg.town.palettes import PALETTE_NAMES
from geoseg.town.plan import plan_town
from geoseg.town.render import render
from geoseg.town.settings import TownSettings
from geoseg.town.truth import class_raster

Chip = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Image (3, H, W) and class raster (H, W)."""


def chip_settings(
    settings: TownSettings, number: int, size: int = 512, palettes: tuple[str, ...] = PALETTE_NAMES
) -> TownSettings:
    """The settings of chip `number`: its own town, climate, sun, air, camera and pixel size (0.3–1 m)."""
    rng = element_rng(settings.seed, 91, number)
    return replace(
        settings,
        size_px=(size, size),
        seed=int(rng.integers(2**31)),
        palette=palettes[int(rng.integers(len(palettes)))],
        pixel_size_m=round(float(np.exp(rng.uniform(np.log(0.3), np.log(1.0)))), 3),
        sun_azimuth_deg=float(rng.uniform(90, 270)) if rng.uniform() < 0.85 else float(rng.uniform(0, 360)),
        sun_elevation_deg=float(rng.uniform(26, 68)),
        haze=float(rng.uniform(0.0, 0.22)),
        contrast=float(rng.uniform(0.8, 1.3)),
        exposure=float(rng.uniform(0.75, 1.2)),
        saturation=float(rng.uniform(0.6, 1.3)),
        noise=float(rng.uniform(0.5, 5.0)),
        blur_px=float(rng.uniform(0.35, 1.1)),
        skylight=float(rng.uniform(0.2, 1.0)) if settings.downtown else settings.skylight,
    )


def chip(settings: TownSettings, number: int, size: int = 512, palettes: tuple[str, ...] = PALETTE_NAMES) -> Chip:
    """Chip `number` of the endless series that `settings.seed` names."""
    town = plan_town(chip_settings(settings, number, size, palettes))
    return render(town), class_raster(town)


def chips(
    settings: TownSettings, count: int, size: int = 512, palettes: tuple[str, ...] = PALETTE_NAMES
) -> Iterator[Chip]:
    """Chips 0 to `count` − 1; leave palettes out to keep climates unseen."""
    for number in range(count):
        yield chip(settings, number, size, palettes)
