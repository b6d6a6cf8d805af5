"""Architectures by name: those of segmentation-models-pytorch, and FCN and SegNet beside them."""

from collections.abc import Mapping
from typing import Any

import segmentation_models_pytorch as smp
from segmentation_models_pytorch.base import SegmentationModel
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import segmentation as tv

from geoseg.errors import ModelError
from geoseg.nn.baseline import ColorBaseline
from geoseg.nn.segnet import SegNet


class FCN(nn.Module):
    """Torchvision's fully convolutional network on a dilated ResNet-50 or -101 (Long, Shelhamer, Darrell 2015)."""

    def __init__(self, encoder_name: str = "resnet50", in_channels: int = 3, classes: int = 2) -> None:
        """`encoder_name`: resnet50 or resnet101."""
        super().__init__()
        makers = {"resnet50": tv.fcn_resnet50, "resnet101": tv.fcn_resnet101}
        if encoder_name not in makers:
            raise ValueError(f"encoder '{encoder_name}' is not one of {', '.join(makers)}")
        self.config = {"encoder_name": encoder_name, "in_channels": in_channels, "classes": classes}
        self.net = makers[encoder_name](weights=None, weights_backbone=None, num_classes=classes)
        if in_channels != 3:
            self.net.backbone.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → logits (N, K, H, W)."""
        logits: Tensor = self.net(x)["out"]
        return logits


class PAN(smp.PAN):  # type: ignore[misc]
    """smp's pyramid attention network, for windows of any size.

    It halves what it sees seven times, so smaller windows, such as those at the edge of a scene, get zeros beside them.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → logits (N, K, H, W)."""
        height, width = x.shape[-2:]
        beside, below = max(0, _PAN_PX - width), max(0, _PAN_PX - height)
        if beside or below:
            x = functional.pad(x, (0, beside, 0, below))
        logits: Tensor = super().forward(x)[..., :height, :width]
        return logits


_PAN_PX = 128

ARCHITECTURES: dict[str, type[nn.Module]] = {
    cls.__name__: cls
    for cls in (
        smp.Unet,
        smp.UnetPlusPlus,
        smp.FPN,
        smp.PSPNet,
        smp.DeepLabV3,
        smp.DeepLabV3Plus,
        smp.Linknet,
        smp.MAnet,
        PAN,
        smp.UPerNet,
        smp.Segformer,
        smp.DPT,
        FCN,
        SegNet,
        ColorBaseline,
    )
}


def build(name: str, settings: Mapping[str, Any]) -> nn.Module:
    """A network with random weights; nothing is ever downloaded.

    Args:
        name: class name of the architecture, such as `Unet`; upper and lower case are the same.
        settings: arguments of its constructor, as `config.json` of a model directory holds them.

    An `activation` at the end is left out: it has no weights, and what geoseg blends are logits.

    Raises ModelError for unknown names and settings, for encoders that would be fetched from a hub, and for networks that
    classify the image besides.

    """
    cls = architecture(name)
    known = {key: value for key, value in settings.items() if not key.startswith("_") and key != "activation"}
    if known.get("aux_params") is not None:
        raise ModelError(f"{name}: aux_params make it classify the image besides; only networks of pixels are taken.")
    if issubclass(cls, SegmentationModel):
        known["encoder_weights"] = None
    if cls is smp.DPT:
        # Else it takes windows of one size only, that of its pretraining.
        known.setdefault("dynamic_img_size", True)
    if cls is SegNet:
        known.pop("encoder_name", None)
    _refuse_hub(str(known.get("encoder_name", "")))
    try:
        return cls(**known)
    except (TypeError, KeyError, ValueError, RuntimeError) as exc:
        raise ModelError(f"{name}: cannot be built with {known}: {exc}") from exc


def architecture(name: str) -> type[nn.Module]:
    """The class called `name`; raises ModelError naming those there are."""
    by_lower = {key.lower(): cls for key, cls in ARCHITECTURES.items()}
    if name.lower() not in by_lower:
        raise ModelError(f"no architecture '{name}'; there are {', '.join(ARCHITECTURES)}.")
    return by_lower[name.lower()]


def _refuse_hub(encoder_name: str) -> None:
    # timm reads 'hf-hub:owner/name' and 'local-dir:path' as places to fetch a model from.
    if ":" in encoder_name or "/" in encoder_name:
        raise ModelError(
            f"encoder '{encoder_name}': names of a hub or a path are refused; use a name smp or timm knows."
        )
