"""SegNet: Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture" (2017)."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

_PAPER_WIDTHS = (64, 128, 256, 512, 512)
_PAPER_DEPTHS = (2, 2, 3, 3, 3)


class SegNet(nn.Module):
    """VGG16's convolutions down and their mirror up; the decoder puts values back where the maxima were.

    Height and width of the input are multiples of 2 to the number of stages: 32 with the paper's five.
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 2,
        widths: Sequence[int] = _PAPER_WIDTHS,
        depths: Sequence[int] = _PAPER_DEPTHS,
    ) -> None:
        """`widths` and `depths`: channels and convolutions of each stage, from fine to coarse."""
        super().__init__()
        self.config = {"in_channels": in_channels, "classes": classes, "widths": [*widths], "depths": [*depths]}
        steps = list(zip(pairwise([in_channels, *widths]), depths, strict=True))
        self.encoder = nn.ModuleList(_stage(a, b, n) for (a, b), n in steps)
        # The finest stage stays wide: its last convolution is the head.
        up = [(b, max(a, widths[0]) if i == 0 else a, n) for i, ((a, b), n) in enumerate(steps)]
        self.decoder = nn.ModuleList(_stage(a, b, n) for a, b, n in reversed(up))
        self.head = nn.Conv2d(max(in_channels, widths[0]), classes, 3, padding=1)
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → logits (N, K, H, W)."""
        places = []
        for stage in self.encoder:
            x, indices = self.pool(stage(x))
            places.append(indices)
        for stage in self.decoder:
            x = stage(self.unpool(x, places.pop()))
        logits: Tensor = self.head(x)
        return logits


def _stage(in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [
            nn.Conv2d(in_channels if i == 0 else out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
