"""Convolutions that pad as TensorFlow does, more at the end than at the start, without a padded copy of their input."""

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn
from torch.nn import functional


def pad_within(model: nn.Module) -> int:
    """Give timm's `Conv2dSame` of stride 2 and odd kernels a row and a column of zeros, in place; returns how many.

    Before them, a zero weight and a pixel of padding more make both ends alike, so that a plain convolution computes the
    same. True for inputs of even height and width, as tiles are at every level of a network.
    """
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d) and _can_widen(m)]
    for conv in convolutions:
        with torch.no_grad():
            conv.weight = nn.Parameter(functional.pad(conv.weight, (1, 0, 1, 0)), requires_grad=False)
        size = conv.kernel_size[0] + 1
        conv.kernel_size, conv.padding = (size, size), (size // 2 - 1, size // 2 - 1)
        conv.__class__ = nn.Conv2d
    return len(convolutions)


def _can_widen(conv: nn.Conv2d) -> bool:
    high, wide = conv.kernel_size
    odd = high == wide and high % 2 == 1 and high > 1
    return type(conv) is Conv2dSame and odd and conv.stride == (2, 2) and conv.dilation == (1, 1)
