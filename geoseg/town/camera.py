"""From painted colours to a photograph: textures, shadow, haze, tone, lens and sensor."""

import cv2
import numpy as np
from numpy.typing import NDArray

from geoseg.town.canvas import MATERIALS, Canvas
from geoseg.town.noise import Window, value_noise, white_noise
from geoseg.town.palettes import Palette
from geoseg.town.settings import TownSettings

_AMPLITUDES: dict[str, tuple[float, float, float, float, float, float]] = {
    #        grain  1 m   5 m   30 m  leafy  hue
    "soil": (0.04, 0.11, 0.05, 0.05, 0.04, 0.02),
    "paving": (0.03, 0.07, 0.045, 0.04, 0.02, 0.01),
    "asphalt": (0.025, 0.04, 0.04, 0.04, 0.0, 0.005),
    "grass": (0.04, 0.10, 0.06, 0.05, 0.08, 0.06),
    "leaf": (0.05, 0.08, 0.03, 0.03, 0.26, 0.05),
    "tile": (0.04, 0.08, 0.04, 0.02, 0.03, 0.015),
    "flat": (0.02, 0.07, 0.05, 0.02, 0.02, 0.01),
    "water": (0.012, 0.01, 0.03, 0.05, 0.0, 0.04),
    "mark": (0.04, 0.06, 0.05, 0.03, 0.0, 0.0),
    "car": (0.01, 0.01, 0.01, 0.0, 0.0, 0.0),
    "crop": (0.04, 0.08, 0.04, 0.06, 0.05, 0.04),
    "shrub": (0.06, 0.10, 0.08, 0.06, 0.22, 0.08),
}
_TABLE = np.array([_AMPLITUDES[name] for name in MATERIALS], dtype=np.float32)
_HUE = (1.0, 0.1, -0.8)
"""How a change of hue moves red, green and blue: toward straw or toward green."""
_SKY = (0.31, 0.35, 0.42)
"""Share of the light that reaches a shadow, by channel: the blue of the sky."""


def photograph(canvas: Canvas, settings: TownSettings, palette: Palette) -> NDArray[np.uint8]:
    """The canvas as a camera would record it; (3, rows, cols) uint8."""
    gain, hue = _texture(canvas, settings, palette)
    shade = cv2.GaussianBlur(canvas.shade, (0, 0), max(0.25 / settings.pixel_size_m, 0.3)).astype(np.float32)
    shade *= np.float32(1 / 255)
    colors = _saturated(canvas.color, settings.saturation)
    out = np.empty_like(canvas.color)
    for channel in range(3):
        light = gain * (1 - shade * np.float32(1 - _SKY[channel] * settings.skylight))
        light *= 1 + hue * np.float32(_HUE[channel])
        light *= colors[..., channel]
        out[..., channel] = _tone(light, settings, palette.tint[channel], channel)
    if settings.blur_px > 0:
        out = cv2.GaussianBlur(out, (0, 0), settings.blur_px)
    return _grained(out, canvas.window, settings)


def _saturated(color: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    """Colours moved away from (or toward) the grey of the same green."""
    if strength == 1.0:
        return color
    grey = color[..., 1:2].astype(np.float32)
    moved: NDArray[np.uint8] = np.clip(grey + (color - grey) * np.float32(strength) + 0.5, 0, 255).astype(np.uint8)
    return moved


def _texture(
    canvas: Canvas, settings: TownSettings, palette: Palette
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Brightness factor and hue shift of each pixel by its material."""
    window, size = canvas.window, settings.pixel_size_m
    seed = settings.seed * 16
    rough = value_noise(window, _cells(0.9, size), seed + 1)
    # Cubed: mostly calm, with spots that stand out, as litter, stains and tufts do.
    rough = rough * rough * rough * np.float32(2.2)
    patchy = value_noise(window, _cells(5.0, size), seed + 2)
    fields = [
        white_noise(window, seed),
        rough,
        patchy,
        value_noise(window, _cells(30.0, size), seed + 3),
        _embossed(window, settings, seed + 4),
    ]
    scale = np.ones(6, np.float32) * np.float32(palette.ground_contrast)
    table = _TABLE * scale
    gain = np.ones(canvas.material.shape, np.float32)
    for k, noise in enumerate(fields):
        gain += table[:, k][canvas.material] * noise
    hue = table[:, 5][canvas.material] * (value_noise(window, _cells(12.0, size), seed + 5) + patchy * np.float32(0.5))
    return gain, hue


def _cells(length_m: float, pixel_size_m: float) -> int:
    return max(round(length_m / pixel_size_m), 1)


def _embossed(window: Window, settings: TownSettings, seed: int) -> NDArray[np.float32]:
    """Noise lit from the sun's side: what leaves look like."""
    azimuth = np.radians(settings.sun_azimuth_deg)
    step_col, step_row = round(float(np.sin(azimuth)) * 1.4), round(-float(np.cos(azimuth)) * 1.4)
    margin = 2
    wide = (window[0] - margin, window[1] + margin, window[2] - margin, window[3] + margin)
    bumps = value_noise(wide, _cells(0.75, settings.pixel_size_m), seed)
    rows, cols = window[1] - window[0], window[3] - window[2]
    here = bumps[margin : margin + rows, margin : margin + cols]
    sunward = bumps[margin + step_row : margin + step_row + rows, margin + step_col : margin + step_col + cols]
    return here - sunward


def _tone(light: NDArray[np.float32], settings: TownSettings, tint: float, channel: int) -> NDArray[np.uint8]:
    """Haze, contrast and white balance, to 8 bits."""
    air = (176.0, 184.0, 196.0)[channel]
    keep = (1 - settings.haze) * settings.contrast * settings.exposure * tint
    lift = settings.haze * air + 118.0 * (1 - settings.contrast) + 0.5
    level: NDArray[np.uint8] = np.clip(light * np.float32(keep) + np.float32(lift), 0, 255).astype(np.uint8)
    return level


def _grained(image: NDArray[np.uint8], window: Window, settings: TownSettings) -> NDArray[np.uint8]:
    """The sensor's noise: mostly the same in all bands, a little of each band's own; (3, rows, cols)."""
    out = np.empty((3, *image.shape[:2]), np.uint8)
    common = white_noise(window, settings.seed * 16 + 8) * np.float32(settings.noise * 0.9) if settings.noise else None
    for channel in range(3):
        band = image[..., channel]
        if common is not None:
            own = white_noise(window, settings.seed * 16 + 9 + channel) * np.float32(settings.noise * 0.45)
            band = np.clip(np.rint(band + common + own), 0, 255).astype(np.uint8)
        out[channel] = band
    return out
