"""Batch normalization folded into the convolutions before it: the same map with fewer passes over memory."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

_SIDE = 128
"""Side of the square that is sent through a model to see what follows what."""

_NEAR = 1e-3
"""Largest change of a logit that folding may make, relative to the largest logit: float32 rounds to far less."""


def fuse_norms(model: nn.Module, bands: int) -> int:
    """Fold the normalizations of a model in evaluation mode into its convolutions, in place; returns how many.

    Which convolution a normalization follows is seen in a forward pass, so any architecture will do. The model is left
    as it was where its logits would change by more than rounding: where a convolution also feeds something else.
    """
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return 0
    image = torch.rand((1, bands, _SIDE, _SIDE), generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        try:
            pairs, before = _observed(model, image)
        except RuntimeError:  # a model that such a square is too small for
            return 0
        originals = [(conv, conv.weight, conv.bias) for conv, _ in pairs]
        replaced = [_fold(model, conv, norm) for conv, norm in pairs]
        if _same(model, image, before):
            return len(pairs)
    for conv, weight, bias in originals:
        conv.weight, conv.bias = weight, bias
    for places in replaced:
        for parent, name, norm in places:
            setattr(parent, name, norm)
    return 0


def _observed(model: nn.Module, image: Tensor) -> tuple[list[tuple[nn.Conv2d, _BatchNorm]], Tensor]:
    """Pairs of convolution and normalization that take one's output to the other, each used once; and the logits."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, _BatchNorm]] = []
    calls: list[nn.Module] = []

    def after_conv(conv: nn.Conv2d, _: Any, out: Tensor) -> None:
        made[id(out)] = conv, out  # the tensor is held, so that its id stays its own
        calls.append(conv)

    def before_norm(norm: _BatchNorm, args: tuple[Tensor, ...]) -> None:
        calls.append(norm)
        if id(args[0]) in made:
            pairs.append((made[id(args[0])][0], norm))

    handles: list[Any] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(after_conv))
        elif isinstance(module, _BatchNorm) and module.track_running_stats:
            handles.append(module.register_forward_pre_hook(before_norm))
    try:
        logits: Tensor = model(image)
    finally:
        for handle in handles:
            handle.remove()
    return [pair for pair in pairs if all(calls.count(module) == 1 for module in pair)], logits


def _fold(model: nn.Module, conv: nn.Conv2d, norm: _BatchNorm) -> list[tuple[nn.Module, str, nn.Module]]:
    """Fold one normalization; returns where it was: parent, name, module."""
    statistics: tuple[Any, ...] = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)
    conv.requires_grad_(False)
    # timm's normalizations end with an activation of their own.
    after = [child for name, child in norm.named_children() if name in ("drop", "act")]
    rest = nn.Sequential(*after) if after else nn.Identity()
    places = [(p, name, norm) for p in model.modules() for name, child in p.named_children() if child is norm]
    for parent, name, _ in places:
        setattr(parent, name, rest.eval())
    return list(places)


def _same(model: nn.Module, image: Tensor, before: Tensor) -> bool:
    try:
        after: Tensor = model(image)
    except AttributeError:  # a model that looks into its normalizations
        return False
    return bool((after - before).abs().max() <= _NEAR * before.abs().max())
