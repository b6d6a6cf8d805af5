"""Random changes to training windows, so that the model does not learn one sensor, season or hour."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage.draw import polygon
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from geoseg.train_config import Augment

_JPEG_QUALITY = (30, 95)


def turn(
    image: NDArray[np.generic], label: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.generic], NDArray[np.uint8]]:
    """One of the eight flips and rotations by 90° of a square window; image (S, S, C) and label (S, S) alike."""
    quarter, mirror = int(rng.integers(4)), bool(rng.integers(2))
    image, label = np.rot90(image, quarter), np.rot90(label, quarter)
    return (image[:, ::-1], label[:, ::-1]) if mirror else (image, label)


class ColorChanges:
    """Changes of colour and quality of an 8-bit window; where things stand stays as it is."""

    def __init__(self, settings: Augment) -> None:
        s = settings.color
        self._settings = settings
        self._jitter = v2.ColorJitter(s, s, s, s / 4)
        self._blur = v2.GaussianBlur(5, (0.3, 1.5))

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """`image` uint8 (C, H, W), changed; other dtypes and band counts get less.

        Levels need 8 bits; hue, blur, noise and compression three bands of them; gains and shadows nothing.

        torch's own random numbers are seeded from `rng`, so that a window depends on nothing but its number.
        """
        torch.manual_seed(int(rng.integers(2**31)))
        a = self._settings
        image = _levels(image, rng) if rng.random() < a.levels else image
        image = _shadow(image, rng) if rng.random() < a.shadow else image
        image = _gain(image, a.channel_gain, rng) if a.channel_gain else image
        if image.dtype != torch.uint8 or image.shape[0] != 3:
            return image
        return self._photographic(image, rng)

    def _photographic(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        a = self._settings
        image = self._jitter(image) if a.color else image
        if rng.random() < a.gray:
            image = tv.adjust_saturation(image, float(rng.uniform(0, 0.3)))
        if rng.random() < a.blur:
            image = self._blur(image)
        if rng.random() < a.noise:
            image = _noise(image, float(rng.uniform(2, 12)))
        if rng.random() < a.jpeg:
            image = _compressed(image, int(rng.integers(*_JPEG_QUALITY)))
        return image


def _levels(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Another stretch of the same scene: its dark and bright ends cut off at random shares, its middle moved.

    Producers of imagery do this to whole scenes, so that water may be black in one and asphalt-grey in another; half of
    them to each band by itself, which takes the cast of haze away or leaves one of its own.
    """
    if image.dtype != torch.uint8:
        return image
    cut = (rng.uniform(0, 5), 100 - rng.uniform(0, 4))
    gamma = float(np.exp(rng.uniform(-0.5, 0.6)))
    apart = rng.random() < 0.5
    sample = image[:, ::8, ::8].numpy().reshape(image.shape[0] if apart else 1, -1)
    low, high = np.percentile(sample, cut, axis=1)[..., None]
    ramp = np.clip((np.arange(256) - low) / np.maximum(high - low, 32.0), 0, 1) ** gamma
    tables = torch.from_numpy((255 * ramp).round().astype(np.uint8)).expand(image.shape[0], 256)
    return torch.stack([table[band.long()] for table, band in zip(tables, image, strict=True)])


def _gain(image: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    gain = torch.tensor(rng.uniform(1 - strength, 1 + strength, image.shape[0]), dtype=torch.float32)
    return _back(image.float() * gain[:, None, None], image)


def _shadow(image: Tensor, rng: np.random.Generator) -> Tensor:
    """A dark quadrilateral with soft edges over a part of the window: a tall building or a cloud."""
    height, width = image.shape[1:]
    centre, spread = rng.uniform(0, 1, 2), rng.uniform(0.1, 0.5)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 4))
    rows, cols = polygon(
        (centre[0] + spread * np.sin(angles)) * height, (centre[1] + spread * np.cos(angles)) * width, (height, width)
    )
    mask = torch.zeros(1, height, width)
    mask[0, rows, cols] = float(rng.uniform(0.2, 0.6))
    return _back(image.float() * (1 - tv.gaussian_blur(mask, [9, 9])), image)


def _noise(image: Tensor, sigma: float) -> Tensor:
    return _back(image.float() + sigma * torch.randn(image.shape), image)


def _compressed(image: Tensor, quality: int) -> Tensor:
    # OpenCV's order of the bands: the chroma is compressed, not the luma.
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy()[..., ::-1])
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
    return torch.from_numpy(np.ascontiguousarray(decoded.transpose(2, 0, 1)))


def _back(values: Tensor, like: Tensor) -> Tensor:
    if like.dtype.is_floating_point:
        return values.to(like.dtype)
    info = torch.iinfo(like.dtype)
    return values.round().clamp(info.min, info.max).to(like.dtype)
