"""Imagery that is coarser than a network works well at is enlarged for it, and its logits are made smaller again.

`geoseg.contract.PixelSize.enlargement` says by how much.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from geoseg.grid.tiling import NETWORK_STRIDE


def forward_enlarged(model: Callable[[Tensor], Tensor], images: Tensor, factor: float) -> Tensor:
    """Logits (N, K, H, W) of scaled images (N, C, H, W) that `model` sees `factor` times as large, of float32.

    The enlarged images are reflected to multiples of 32. With a factor of 1 this is `model(images)`.
    """
    if factor == 1:
        return model(images)
    larger = functional.interpolate(images, scale_factor=factor, mode="bicubic")
    height, width = larger.shape[2:]
    beyond = (0, -width % NETWORK_STRIDE, 0, -height % NETWORK_STRIDE)
    shown = functional.pad(larger, beyond, "reflect").contiguous(memory_format=torch.channels_last)
    logits = model(shown)[:, :, :height, :width].float()
    return functional.interpolate(logits, size=images.shape[2:], mode="bilinear", antialias=True)
