"""The forward pass of a model over tiles, on one device, in one precision."""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.contract import Contract
from geoseg.grid.tiling import Span
from geoseg.nn.enlarge import forward_enlarged
from geoseg.nn.fusion.fuse import fuse
from geoseg.nn.fusion.onednn import CONVOLUTIONS
from geoseg.nn.scaling import scale_pixels
from geoseg.raster.read import Rows

Precision = Literal["bfloat16", "float32"]

_GPU_BATCH = 16
"""Tiles forwarded at once on a GPU; halved when its memory is too small. On a CPU one at a time is fastest."""


@dataclass(frozen=True, slots=True, eq=False)
class DeviceRows:
    """Full-width rows on the device."""

    pixels: Tensor
    """(C, rows, W) in the scene's own type; the bits of uint16 and uint32 as the signed type that PyTorch computes in."""
    unsigned: int | None
    """The largest value of such a type; None for the others."""
    valid: Tensor | None
    """(rows, W), None where every pixel is valid."""


class Forward:
    """A model that is ready to run."""

    def __init__(self, model: nn.Module, contract: Contract, device: str, precision: Precision) -> None:
        """Make `model` ready and move it to `device` ("cpu" or "cuda[:N]"); it is changed in place."""
        self.device = torch.device(device)
        self.channels = contract.legend.channels
        self._scaling = contract.scaling
        self._autocast = precision == "bfloat16"
        self._batch = 1 if self.device.type == "cpu" else _GPU_BATCH
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """Wall time spent so far on `prepare` (crop, scale, extend) and `forward`; on a GPU, on asking for them."""
        self.halved_to: int | None = None
        """Tiles forwarded at once, where a lack of memory halved them."""
        model = model.eval().requires_grad_(False)
        dtype = torch.bfloat16 if self._autocast else torch.float32
        fuse(model, len(contract.bands), on_cpu=self.device.type == "cpu", dtype=dtype)
        if self._autocast:
            _round_convolutions(model)
        self._model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def to_device(self, rows: Rows) -> DeviceRows:
        """Move rows to the device as they are: bytes, not floats, travel."""
        pixels, unsigned = rows.pixels, None
        if pixels.dtype in (np.uint16, np.uint32):
            unsigned = int(np.iinfo(pixels.dtype).max)
            pixels = pixels.view(f"i{pixels.dtype.itemsize}")
        valid = None if rows.valid.all() else torch.from_numpy(rows.valid).to(self.device)
        return DeviceRows(torch.from_numpy(pixels).to(self.device), unsigned, valid)

    def tiles(
        self, rows: DeviceRows, columns: list[Span], padded_height: int, enlargement: float = 1.0
    ) -> Iterator[tuple[Span, Tensor]]:
        """Logits (K, padded height, padded width) of the tiles at `columns`, in that order.

        All columns have the same padded width. The network sees them `enlargement` times as large. When the GPU's memory is
        too small the batch is halved: that changes nothing but the speed.
        """
        start = 0
        while start < len(columns):
            group = columns[start : start + self._batch]
            try:
                started = time.perf_counter()
                images = _batch([self._tile(rows, c, padded_height) for c in group])
                prepared = time.perf_counter()
                logits = self.logits(images, enlargement)
                self.seconds["prepare"] += prepared - started
                self.seconds["forward"] += time.perf_counter() - prepared
            except torch.OutOfMemoryError:
                if self._batch == 1:
                    raise
                self._batch //= 2
                self.halved_to = self._batch
                continue
            yield from zip(group, logits, strict=True)
            start += len(group)

    def logits(self, images: Tensor, enlargement: float = 1.0) -> Tensor:
        """(N, C, H, W) scaled pixels, H and W multiples of 32 → (N, K, H, W)."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            return forward_enlarged(self._model, images, enlargement)

    def _tile(self, rows: DeviceRows, column: Span, padded_height: int) -> Tensor:
        """One scaled tile (1, C, padded height, padded width), reflected where it reaches beyond the scene."""
        across = slice(column.start, column.stop)
        valid = None if rows.valid is None else rows.valid[:, across]
        pixels = rows.pixels[:, :, across]
        if rows.unsigned is not None:
            pixels = pixels.to(torch.int64) & rows.unsigned
        image = scale_pixels(pixels, valid, self._scaling)
        image = _reflect(_reflect(image, 1, padded_height), 2, column.padded)
        return image[None].contiguous(memory_format=torch.channels_last)


def _batch(tiles: list[Tensor]) -> Tensor:
    """(N, C, H, W) of N tiles (1, C, H, W), one without a copy."""
    return tiles[0] if len(tiles) == 1 else torch.cat(tiles)


def _round_convolutions(model: nn.Module) -> None:
    """Round the weights of convolutions to bfloat16 for good: autocast would do so for every tile anew."""
    for module in model.modules():
        if type(module) in CONVOLUTIONS:
            module.to(torch.bfloat16)


def _reflect(image: Tensor, axis: int, size: int) -> Tensor:
    """Extend `axis` to `size` by reflection, as often as it takes; a single pixel is repeated."""
    have = image.shape[axis]
    if have == size:
        return image
    index = np.pad(np.arange(have), (0, size - have), mode="reflect" if have > 1 else "edge")
    return image.index_select(axis, torch.from_numpy(index).to(image.device))
