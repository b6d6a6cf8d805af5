"""Activations computed by the convolutions before them, on a CPU."""

import torch
from torch import nn

from geoseg.nn.fusion import onednn
from geoseg.nn.fusion.observe import observed, put_back, replace, same, square


def fuse_activations(model: nn.Module, bands: int) -> int:
    """Let the convolutions of a model in evaluation mode compute the activations after them; returns how many.

    As `fuse_norms`: seen in a forward pass, and all or nothing. For CPUs (`geoseg.nn.fusion.onednn`).
    """
    kinds = tuple(onednn.ACTIVATIONS)
    if not any(isinstance(module, kinds) for module in model.modules()):
        return 0
    with torch.inference_mode(mode=False), torch.no_grad():
        image = square(bands)
        try:
            pairs, before = observed(model, image, kinds)
        except RuntimeError:  # a model that such a square is too small for
            return 0
        pairs = [(conv, activation) for conv, activation in pairs if onednn.can_take(conv)]
        replaced = [replace(model, activation, nn.Identity()) for _, activation in pairs]
        for conv, activation in pairs:
            onednn.activate(conv, activation)
        if same(model, image, before):
            return len(pairs)
    for conv, _ in pairs:
        conv.__class__ = nn.Conv2d
    put_back(replaced)
    return 0
