"""Batch normalization folded into the convolutions before it: the same map with fewer passes over memory."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from geoseg.nn.fusion.observe import Pairs, Places, fuse_followers, put_back, replace


def fuse_norms(model: nn.Module, bands: int) -> int:
    """Fold the normalizations of a model in evaluation mode into its convolutions, in place; returns how many.

    Which convolution a normalization follows is seen in a forward pass, so any architecture will do. The model is left
    as it was where its logits would change by more than rounding: where a convolution also feeds something else.
    """
    return fuse_followers(model, bands, (_BatchNorm,), _fuse)


def _fuse(model: nn.Module, pairs: Pairs) -> Callable[[], None]:
    originals = [(conv, conv.weight, conv.bias) for conv, _ in pairs]
    replaced = [_fold(model, conv, norm) for conv, norm in pairs]

    def undo() -> None:
        for conv, weight, bias in originals:
            conv.weight, conv.bias = weight, bias
        put_back(replaced)

    return undo


def _fold(model: nn.Module, conv: nn.Conv2d, norm: _BatchNorm) -> Places:
    """Fold one normalization; returns where it was."""
    statistics: tuple[Any, ...] = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)
    conv.requires_grad_(False)
    # timm's normalizations end with an activation of their own.
    after = [child for name, child in norm.named_children() if name in ("drop", "act")]
    return replace(model, norm, nn.Sequential(*after).eval() if after else nn.Identity())
