"""What a network would make of a town: the truth with soft corners, wavering edges and trees in the way."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geoseg.legend import NODATA
from geoseg.town.model import Town
from geoseg.town.noise import Window, element_rng, white_noise
from geoseg.town.truth import GREEN, class_raster

_CHANNELS = 4
_BAND_ROWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkNoise:
    """How a network errs."""

    blur_px: float = 2.0
    """Standard deviation of the blur that rounds corners."""
    wave_px: float = 3.0
    """Correlation length of the noise on the scores."""
    amplitude: float = 0.14
    """Standard deviation of that noise, in units of a probability."""
    occluders_per_km2: float = 660.0
    """Crowns of 1.5–4 m radius that hide what lies below."""
    seed: int = 0
    """Which noise."""

    @property
    def reach_px(self) -> int:
        """Rows beyond a window that can change it."""
        return int(4 * max(self.blur_px, self.wave_px)) + 2


def noisy_classes(town: Town, noise: NetworkNoise | None = None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Class raster as a network might score it, and its confidence × 255; each (H, W) uint8.

    Scores are the blurred truth plus correlated noise, clipped and normalised to sum to one; the class is the largest.
    Works in bands of rows: float scores are never held for the whole scene.
    """
    noise = noise or NetworkNoise()
    height, width = town.settings.size_px
    classes = np.empty((height, width), np.uint8)
    confidence = np.empty((height, width), np.uint8)
    crowns = _occluders(town, noise)
    for first in range(0, height, _BAND_ROWS):
        end = min(first + _BAND_ROWS, height)
        classes[first:end], confidence[first:end] = _band(town, noise, crowns, (first, end))
    return classes, confidence


def _occluders(town: Town, noise: NetworkNoise) -> NDArray[np.float64]:
    """Crowns as (row, col, radius) in pixels; (N, 3)."""
    height, width = town.settings.size_px
    rng = element_rng(noise.seed, 71)
    width_m, height_m = town.settings.extent_m
    count = round(noise.occluders_per_km2 * width_m * height_m / 1e6)
    radius = rng.uniform(1.5, 4.0, count) / town.settings.pixel_size_m
    return np.column_stack([rng.uniform(0, height, count), rng.uniform(0, width, count), radius])


def _band(
    town: Town, noise: NetworkNoise, crowns: NDArray[np.float64], rows: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Classes and confidence of some rows, computed with what lies just beyond them."""
    height, width = town.settings.size_px
    top, bottom = max(rows[0] - noise.reach_px, 0), min(rows[1] + noise.reach_px, height)
    truth = class_raster(town, (top, bottom))
    hidden = truth.copy()
    for row, col, radius in crowns[(crowns[:, 0] > top - 60) & (crowns[:, 0] < bottom + 60)]:
        center = (round(col * 16), round((row - top) * 16))
        cv2.circle(hidden, center, round(radius * 16), GREEN, -1, cv2.LINE_8, 4)
    scores = np.stack([_score(hidden, k, noise, (top, bottom, 0, width)) for k in range(_CHANNELS)])
    inner = slice(rows[0] - top, rows[1] - top)
    best = scores.argmax(axis=0).astype(np.uint8)
    sure = np.rint(scores.max(axis=0) / scores.sum(axis=0) * 255).astype(np.uint8)
    best[truth == NODATA] = NODATA
    sure[truth == NODATA] = 0
    return best[inner], sure[inner]


def _score(classes: NDArray[np.uint8], channel: int, noise: NetworkNoise, window: Window) -> NDArray[np.float32]:
    """Score of one class, at least 0.001; nodata counts as background."""
    hot = classes == channel
    if channel == 0:
        hot |= classes == NODATA
    soft = cv2.GaussianBlur(hot.astype(np.float32), (0, 0), noise.blur_px) if noise.blur_px > 0 else hot
    wander = cv2.GaussianBlur(white_noise(window, noise.seed * 64 + channel + 1), (0, 0), noise.wave_px)
    # Blurring white noise of unit variance leaves a standard deviation of 1 / (2 σ √π).
    gain = noise.amplitude * 2 * noise.wave_px * float(np.sqrt(np.pi))
    scores: NDArray[np.float32] = np.maximum(soft + wander * np.float32(gain), np.float32(0.001))
    return scores
