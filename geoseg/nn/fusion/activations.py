"""Activations computed by the convolutions before them, on a CPU."""

from collections.abc import Callable

from torch import nn

from geoseg.nn.fusion import onednn
from geoseg.nn.fusion.observe import Pairs, fuse_followers, put_back, replace


def fuse_activations(model: nn.Module, bands: int) -> int:
    """Let the convolutions of a model in evaluation mode compute the activations after them; returns how many.

    As `fuse_norms`: seen in a forward pass, and all or nothing. For CPUs (`geoseg.nn.fusion.onednn`).
    """
    return fuse_followers(model, bands, tuple(onednn.ACTIVATIONS), _fuse, onednn.can_take)


def _fuse(model: nn.Module, pairs: Pairs) -> Callable[[], None]:
    replaced = [replace(model, activation, nn.Identity()) for _, activation in pairs]
    for conv, activation in pairs:
        onednn.activate(conv, activation)

    def undo() -> None:
        for conv, _ in pairs:
            conv.__class__ = nn.Conv2d
        put_back(replaced)

    return undo
