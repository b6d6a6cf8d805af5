"""From pixel values to model input: the one normalisation that training and mapping share."""

import torch
from torch import Tensor

from geoseg.contract import Scaling


def scale_pixels(pixels: Tensor, valid: Tensor | None, scaling: Scaling) -> Tensor:
    """(clip(x) / divide − mean) / std as float32, with 0 wherever `valid` is false.

    Args:
        pixels: (N, C, H, W) or (C, H, W) of any dtype.
        valid: bool (N, H, W) or (H, W), or None where every pixel counts.
        scaling: one mean and one standard deviation for each of the C bands.

    """
    mean = torch.tensor(scaling.mean, dtype=torch.float32, device=pixels.device)[:, None, None]
    std = torch.tensor(scaling.std, dtype=torch.float32, device=pixels.device)[:, None, None]
    # One multiply and one add; float32 holds uint16 exactly, so the order of operations costs no precision.
    values = pixels.to(torch.float32, copy=True)
    if scaling.clip is not None:
        values.clamp_(*scaling.clip)
    values.mul_(1.0 / (scaling.divide * std)).sub_(mean / std)
    if valid is not None:
        # masked_fill and not a product: NaN nodata times 0 stays NaN.
        values.masked_fill_(~valid.unsqueeze(-3), 0.0)
    return values
