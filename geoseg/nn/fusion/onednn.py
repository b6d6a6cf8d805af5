"""Convolutions of oneDNN with what follows them: one pass over memory instead of two or three, on a CPU.

PyTorch's compiler uses these operators (torch/_inductor/fx_passes/mkldnn_fusion.py), but it needs a C++ compiler where it
runs. With an activation they give the same bits as the two after each other; a sum is rounded once and not twice.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}
"""What oneDNN calls the activations that it computes to the bit, and their arguments."""


@cache
def available(dtype: torch.dtype) -> bool:
    """Whether this build of PyTorch has the operators, and they compute on this processor what they should in `dtype`."""
    with torch.inference_mode(mode=False), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x, other = (t.contiguous(memory_format=torch.channels_last) for t in torch.randn(2, 1, 16, 8, 8, dtype=dtype))
        conv = nn.Conv2d(16, 16, 3, padding=1, dtype=dtype)
        transposed = nn.ConvTranspose2d(16, 16, 4, stride=2, padding=1, dtype=dtype)
        wanted = [conv(x).relu(), (conv(x) + other).relu(), transposed(x).clamp(0, 6)]
        activate(conv, nn.ReLU())
        activate(transposed, nn.ReLU6())
        try:
            found = [conv(x), conv(x, other), transposed(x)]
        except (AttributeError, RuntimeError, TypeError):  # no such operator, or not with these arguments
            return False
    near = max(1e-4, 8 * torch.finfo(dtype).eps)  # a sum is rounded once and not twice
    return all(torch.allclose(f, w, atol=near) for f, w in zip(found, wanted, strict=True))


def can_take(conv: nn.Module) -> bool:
    """Whether the operators compute this convolution: subclasses may compute something else."""
    return type(conv) is nn.Conv2d and not isinstance(conv.padding, str) and conv.padding_mode == "zeros"


def activate(conv: nn.Conv2d | nn.ConvTranspose2d, activation: nn.Module) -> None:
    """Let `conv` compute `activation` too, in place."""
    conv.activation = ACTIVATIONS[type(activation)]  # type: ignore[assignment]
    conv.__class__ = ActivatedConvTranspose2d if isinstance(conv, nn.ConvTranspose2d) else ActivatedConv2d


class ActivatedConv2d(nn.Conv2d):
    """A convolution with an activation."""

    activation: Any

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """The activation of the convolution of `x`, or of the sum of that and `other`."""
        kind = self.weight.dtype
        how = self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        operator = torch.ops.mkldnn._convolution_pointwise
        if other is None:
            return operator(x.to(kind), *how, *self.activation, "")  # type: ignore[no-any-return]
        return operator.binary(x.to(kind), other.to(kind), *how, "add", 1.0, *self.activation, "")  # type: ignore[no-any-return]


class ActivatedConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution with an activation."""

    activation: Any

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """The activation of the transposed convolution of `x`."""
        return torch.ops.mkldnn._convolution_transpose_pointwise(  # type: ignore[no-any-return]
            x.to(self.weight.dtype), self.weight, self.bias, self.padding, self.output_padding, self.stride,
            self.dilation, self.groups, *self.activation, "",
        )  # fmt: skip


CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, ActivatedConv2d, ActivatedConvTranspose2d)
"""Those that compute with their weights as they are; other subclasses may not."""
