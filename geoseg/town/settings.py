"""What a town is made from: size, seed, climate, sun and camera. Plain values, checked."""

from dataclasses import dataclass

from geoseg.errors import ConfigError
from geoseg.town.palettes import Palette, palette_of

MIN_SIZE_PX = 256
"""Smallest side of a scene."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TownSettings:
    """Everything a town depends on: equal settings give equal vectors and equal pixels."""

    size_px: tuple[int, int] = (2048, 2048)
    """Height and width in pixels, each at least 256."""
    pixel_size_m: float = 0.3
    """Side of a pixel on the ground, 0.1–1 m."""
    seed: int = 0
    """Which town: any integer from 0."""
    palette: str = "temperate"
    """Climate: colours and habits of ground, roofs, roads and plants; one of `PALETTE_NAMES`, or several joined by `+`:
    a medley, each trait from one of them."""
    sun_azimuth_deg: float = 152.0
    """Where the sun stands, clockwise from north."""
    sun_elevation_deg: float = 46.0
    """Height of the sun above the horizon, 15–85°."""
    haze: float = 0.05
    """Share of the light that is air, 0–0.5."""
    contrast: float = 1.0
    """Slope of the tone curve about middle grey, 0.5–2."""
    exposure: float = 1.0
    """Brightness against the palette's, 0.3–2."""
    saturation: float = 1.0
    """Strength of the colours, 0 (grey) to 2."""
    noise: float = 2.0
    """Standard deviation of the sensor's noise, in grey levels of 255."""
    blur_px: float = 0.6
    """Standard deviation of the lens blur in pixels; 0 is none."""
    sheds: bool = True
    """Whether garages and sheds stand beside the houses."""
    downtown: float = 0.0
    """Share of the built-up blocks that hold podiums and towers, or are still building sites, 0–1."""
    skylight: float = 1.0
    """Light in the shadows against that of a clear sky, 0–2: towers keep it from each other."""
    collar: bool = False
    """Whether a rotated, ragged footprint leaves a nodata collar around the scene."""
    crs: str = "EPSG:32633"
    """Projected CRS in metres."""
    origin: tuple[float, float] = (500_000.0, 5_300_000.0)
    """Map x, y of the upper left corner of the scene."""

    def __post_init__(self) -> None:
        if min(self.size_px) < MIN_SIZE_PX:
            raise ConfigError(f"town: size_px is {self.size_px}, but each side must be at least {MIN_SIZE_PX} pixels.")
        if self.seed < 0:
            raise ConfigError(f"town: seed is {self.seed}, but must be 0 or more.")
        palette_of(self.palette, self.seed)  # refuses what it does not know
        _check_range("pixel_size_m", self.pixel_size_m, 0.1, 1.0)
        _check_range("sun_elevation_deg", self.sun_elevation_deg, 15.0, 85.0)
        _check_range("haze", self.haze, 0.0, 0.5)
        _check_range("contrast", self.contrast, 0.5, 2.0)
        _check_range("exposure", self.exposure, 0.3, 2.0)
        _check_range("saturation", self.saturation, 0.0, 2.0)
        _check_range("noise", self.noise, 0.0, 30.0)
        _check_range("downtown", self.downtown, 0.0, 1.0)
        _check_range("skylight", self.skylight, 0.0, 2.0)
        _check_range("blur_px", self.blur_px, 0.0, 3.0)

    @property
    def climate(self) -> Palette:
        """The palette that `palette` names."""
        return palette_of(self.palette, self.seed)

    @property
    def extent_m(self) -> tuple[float, float]:
        """Width and height on the ground in metres, in that (x, y) order."""
        height, width = self.size_px
        return width * self.pixel_size_m, height * self.pixel_size_m

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Map bounds: left, bottom, right, top."""
        width_m, height_m = self.extent_m
        left, top = self.origin
        return left, top - height_m, left + width_m, top


def _check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ConfigError unless `low <= value <= high`."""
    if not low <= value <= high:
        raise ConfigError(f"town: {name} is {value}, but must be in {low}–{high}.")
