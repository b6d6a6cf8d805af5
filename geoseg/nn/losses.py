"""Losses by name, and what lets sources that label only some classes train together."""

from collections.abc import Callable, Mapping

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional

from geoseg.nn.data_sources import IGNORE

_NEVER = -30.0
"""Log-probability of a class that a source does not label: e⁻³⁰ counts for nothing, and stays finite."""

LossFn = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Log-probabilities (N, K, H, W), labels (N, H, W) and weights of the classes (N, K) → a scalar."""


def merge_unlabelled(logits: Tensor, known: Tensor, label: Tensor) -> Tensor:
    """Log-probabilities where "background" stands for every class that a sample's source does not label.

    A source with buildings only says "not a building" elsewhere, not "no road, no green". So channel 0 becomes
    log(p₀ + Σ p of the unlabelled classes), and their own channels vanish: whatever loss follows neither rewards nor
    punishes how the rest is divided. Where a source draws some of a class that it does not label throughout (parks,
    but no street trees), those pixels are sure all the same: theirs stay as they are.

    Args:
        logits: (N, K, H, W).
        known: bool (N, K), the classes that are labelled throughout; class 0 always is.
        label: int64 (N, H, W), IGNORE where nothing is known.

    Returns (N, K, H, W), whose exponentials sum to 1 over K; for samples with all classes it is log_softmax.

    """
    log_p = functional.log_softmax(logits.float(), dim=1)
    if bool(known.all()):
        return log_p
    own = known.clone()
    own[:, 0] = False
    own = own[:, :, None, None]
    rest = torch.logsumexp(log_p.masked_fill(own, _NEVER), dim=1, keepdim=True)
    merged = torch.cat([rest, log_p.masked_fill(~own, _NEVER)[:, 1:]], dim=1)
    return torch.where(drawn_apart(label, known)[:, None], log_p, merged)


def drawn_apart(label: Tensor, known: Tensor) -> Tensor:
    """Bool (N, H, W): pixels labelled with a class that their source does not label throughout."""
    classes = label.masked_fill(label == IGNORE, 0)
    return ~known.gather(1, classes.flatten(1)).view_as(label)


class WeightedLoss(nn.Module):
    """A weighted sum of losses by name, over labels that may be partial."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        """`weights` maps cross_entropy, focal, dice or lovasz to its factor in the sum."""
        super().__init__()
        self._terms: list[tuple[float, LossFn]] = [(w, _LOSSES[name]) for name, w in weights.items()]

    def forward(self, logits: Tensor, label: Tensor, known: Tensor, class_weights: Tensor | None = None) -> Tensor:
        """The loss, a scalar; 0 where every pixel is ignored.

        Args:
            logits: (N, K, H, W).
            label: int64 (N, H, W), IGNORE where nothing is known.
            known: bool (N, K), see `merge_unlabelled`.
            class_weights: (N, K), of each class in the cross-entropy of each sample; None: all the same.

        """
        if bool((label == IGNORE).all()):
            return logits.sum() * 0.0
        log_p = merge_unlabelled(logits, known, label)
        terms = [weight * loss(log_p, label, class_weights) for weight, loss in self._terms]
        return torch.stack(terms).sum()


def _cross_entropy(log_p: Tensor, label: Tensor, class_weights: Tensor | None) -> Tensor:
    """The mean over what is labelled, weighted as PyTorch weighs classes, but sample by sample."""
    if class_weights is None:
        return functional.nll_loss(log_p, label, ignore_index=IGNORE)
    known = label != IGNORE
    each = functional.nll_loss(log_p, label, ignore_index=IGNORE, reduction="none")
    weights = class_weights.gather(1, label.masked_fill(~known, 0).flatten(1)).view_as(each) * known
    return (each * weights).sum() / weights.sum()


def _focal(log_p: Tensor, label: Tensor, _: Tensor | None) -> Tensor:
    """The softmax form of Lin et al., "Focal Loss for Dense Object Detection" (2017), γ = 2."""
    known = label != IGNORE
    log_pt = log_p.gather(1, label.masked_fill(~known, 0)[:, None])[:, 0][known]
    return -((1 - log_pt.exp()) ** 2 * log_pt).mean()


_dice = smp.losses.DiceLoss("multiclass", ignore_index=IGNORE)
_lovasz = smp.losses.LovaszLoss("multiclass", ignore_index=IGNORE)
_LOSSES: dict[str, LossFn] = {
    "cross_entropy": _cross_entropy,
    "focal": _focal,
    "dice": lambda log_p, label, _: _dice(log_p, label),
    "lovasz": lambda log_p, label, _: _lovasz(log_p, label),
}
