"""U-Net decoders that convolve before they enlarge: the same map with less than half of the work of a block.

A block of a U-Net enlarges its features twice by repeating pixels, joins those of the encoder, and convolves. Over
repeated pixels, the nine weights of a 3 × 3 convolution fall on four pixels only: a transposed convolution with the sums
of the weights that fall together gives the same numbers from 4 instead of 9 products, and neither the enlarged nor the
joined features are ever written to memory.
"""

from typing import Any

import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder, UnetDecoderBlock
from torch import Tensor, nn

from geoseg.nn.fusion.onednn import activate, can_take

_FALLS_ON = torch.tensor([[0.0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
"""Row t of a transposed kernel of stride 2 is the sum of these rows of the 3 × 3 kernel over repeated pixels."""


def split_upsampling(model: nn.Module) -> int:
    """Change the blocks of a U-Net in evaluation mode, in place; returns how many.

    Left as they are: blocks that attend, that interpolate, or whose normalization is not in the convolution
    (`geoseg.nn.fusion.norms`).
    """
    decoder: Any = getattr(model, "decoder", None)
    if type(decoder) is not UnetDecoder:
        return 0
    channels: int = model.encoder.out_channels[-1]  # type: ignore[union-attr,index,assignment]
    count = 0
    for i, block in enumerate(decoder.blocks):
        made: int = block.conv2[0].out_channels
        if _can_split(block):
            decoder.blocks[i] = SplitBlock(block, channels)
            count += 1
        channels = made
    return count


class SplitBlock(nn.Module):
    """A `UnetDecoderBlock` that convolves the features from below and those of the encoder each by itself."""

    def __init__(self, block: UnetDecoderBlock, channels: int) -> None:
        """Take over the weights of `block`, whose first `channels` input channels come from below."""
        super().__init__()
        conv, _, activation = block.conv1
        weight = conv.weight.detach()
        falls_on = _FALLS_ON.to(weight)
        kernel = torch.einsum("tk,oikl,ul->iotu", falls_on, weight[:, :channels], falls_on)
        self.from_below = nn.ConvTranspose2d(channels, conv.out_channels, 4, stride=2, padding=1, bias=False)
        self.from_below.weight = nn.Parameter(kernel, requires_grad=False)
        self.from_encoder: nn.Module | None = None
        last: nn.Conv2d | nn.ConvTranspose2d = self.from_below
        if conv.in_channels > channels:
            self.from_encoder = last = nn.Conv2d(
                conv.in_channels - channels, conv.out_channels, 3, padding=1, bias=False
            )
            last.weight = nn.Parameter(weight[:, channels:].clone(), requires_grad=False)
        last.bias = conv.bias
        activate(last, activation)
        self.rest = nn.Sequential(block.conv2, block.attention2)

    def forward(self, features: Tensor, _height: int, _width: int, skip_connection: Tensor | None = None) -> Tensor:
        """Features from below (N, C, H, W) and from the encoder (N, S, 2H, 2W) → (N, made, 2H, 2W)."""
        out = self.from_below(features)
        if self.from_encoder is not None:
            out = self.from_encoder(skip_connection, out)
        return self.rest(out)  # type: ignore[no-any-return]


def _can_split(block: UnetDecoderBlock) -> bool:
    conv, norm, activation = block.conv1
    return (
        can_take(conv)
        and (conv.kernel_size, conv.padding, conv.stride, conv.groups) == ((3, 3), (1, 1), (1, 1), 1)
        and isinstance(norm, nn.Identity)
        and type(activation) is nn.ReLU
        and block.interpolation_mode == "nearest"
        and isinstance(block.attention1.attention, nn.Identity)
    )
