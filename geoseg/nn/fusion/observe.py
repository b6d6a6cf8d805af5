"""What follows what in a model, seen in a forward pass, so that any architecture will do."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_SIDE = 128
"""Side of the square that is sent through a model."""

_NEAR = 1e-3
"""Largest change of a logit that fusing may make, relative to the largest logit: float32 rounds to far less."""

Places = list[tuple[nn.Module, str, nn.Module]]
"""Where modules were: parent, name, module."""

Pairs = list[tuple[nn.Conv2d, Any]]
"""Convolutions, each with the module that takes its output as it is and in which it is to be fused."""


def fuse_followers(
    model: nn.Module,
    bands: int,
    kinds: tuple[type[nn.Module], ...],
    fusing: Callable[[nn.Module, Pairs], Callable[[], None]],
    can_take: Callable[[nn.Conv2d], bool] = lambda _: True,
) -> int:
    """Fuse modules of some kinds into the convolutions before them that can take them, in place; returns how many.

    `fusing` changes the model and returns what undoes that: the model is left as it was where its logits would change by
    more than rounding, because a convolution also feeds something else.
    """
    if not any(isinstance(module, kinds) for module in model.modules()):
        return 0
    with torch.inference_mode(mode=False), torch.no_grad():
        image = torch.rand((1, bands, _SIDE, _SIDE), generator=torch.Generator().manual_seed(0)) * 2 - 1
        try:
            pairs, before = _observed(model, image, kinds)
        except RuntimeError:  # a model that such a square is too small for
            return 0
        pairs = [(conv, module) for conv, module in pairs if can_take(conv)]
        undo = fusing(model, pairs)
        if _same(model, image, before):
            return len(pairs)
        undo()
    return 0


def _observed(model: nn.Module, image: Tensor, kinds: tuple[type[nn.Module], ...]) -> tuple[Pairs, Tensor]:
    """Pairs of convolution and follower, each used once; and the logits."""
    made: dict[int, tuple[nn.Conv2d, Tensor, int]] = {}
    pairs: Pairs = []
    calls: list[nn.Module] = []

    def after_conv(conv: nn.Conv2d, _: Any, out: Tensor) -> None:
        made[id(out)] = conv, out, out._version  # the tensor is held, so that its id stays its own
        calls.append(conv)

    def before_follower(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        calls.append(module)
        conv, out, version = made.get(id(args[0]), (None, None, 0))
        if conv is not None and out is not None and out._version == version:  # else something was added to it
            pairs.append((conv, module))

    handles: list[Any] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(after_conv))
        elif isinstance(module, kinds) and getattr(module, "track_running_stats", True):
            handles.append(module.register_forward_pre_hook(before_follower))
    try:
        logits: Tensor = model(image)
    finally:
        for handle in handles:
            handle.remove()
    return [pair for pair in pairs if all(calls.count(module) == 1 for module in pair)], logits


def _same(model: nn.Module, image: Tensor, before: Tensor) -> bool:
    """Whether the logits are still what they were, but for rounding."""
    try:
        after: Tensor = model(image)
    except AttributeError:  # a model that looks into its normalizations
        return False
    return bool((after - before).abs().max() <= _NEAR * before.abs().max())


def replace(model: nn.Module, old: nn.Module, new: nn.Module) -> Places:
    """Put one module in the place of another; returns where that was."""
    places = [(p, name, old) for p in model.modules() for name, child in p.named_children() if child is old]
    for parent, name, _ in places:
        setattr(parent, name, new)
    return places


def put_back(replaced: list[Places]) -> None:
    """Undo `replace`."""
    for places in replaced:
        for parent, name, module in places:
            setattr(parent, name, module)
