"""Folding normalizations changes the work and not the map."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from geoseg.nn.architectures import ARCHITECTURES, build
from geoseg.nn.forward import Forward
from geoseg.nn.fusing import fuse_norms

ENCODERS = {"Segformer": "mit_b0", "DPT": "tu-vit_tiny_patch16_224", "FCN": "resnet50"}


def trained(name, encoder):
    """A network whose statistics are not those of its start."""
    torch.manual_seed(0)
    model = build(name, {"classes": 4} | ({} if name == "SegNet" else {"encoder_name": encoder})).eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    return model


def norms(model):
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


NETWORKS = [(name, ENCODERS.get(name, "resnet18")) for name in ARCHITECTURES if name != "ColorBaseline"] + [
    ("Unet", "tu-tf_efficientnet_lite0")  # whose normalizations hold activations
]


@pytest.mark.parametrize(("name", "encoder"), NETWORKS)
def test_logits_stay_the_same(name, encoder):
    model = trained(name, encoder)
    folded = copy.deepcopy(model)
    before = norms(folded)
    assert fuse_norms(folded, 3) == before - norms(folded) > 0
    image = torch.randn(1, 3, 192, 192)
    with torch.inference_mode():
        wanted, found = model(image), folded(image)
    off = (found - wanted).abs() / wanted.abs().max()
    # SegNet puts a maximum back where it was: of two that were almost equal, rounding may choose the other.
    assert (off > 1e-4).float().mean() <= (5e-3 if name == "SegNet" else 0)
    assert off.max() <= 0.05


@pytest.mark.parametrize(("name", "encoder"), [*NETWORKS, ("Unet", "tu-resnetv2_50")])  # that standardizes its weights
def test_weights_that_are_rounded_once_give_the_same_bits(name, encoder, contract):
    model = trained(name, encoder)
    plain = copy.deepcopy(model)
    fuse_norms(plain, 3)
    image = torch.randn(1, 3, 192, 192).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        wanted = plain.to(memory_format=torch.channels_last)(image)
    with torch.inference_mode():
        assert torch.equal(Forward(model, contract, "cpu", "bfloat16").logits(image), wanted)


def test_a_unet_keeps_no_normalization():
    model = trained("Unet", "resnet18")
    fuse_norms(model, 3)
    assert norms(model) == 0


class Fork(nn.Module):
    """A convolution that feeds a normalization and something else."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.norm.running_mean.fill_(0.5)

    def forward(self, x):
        y = self.conv(x)
        return y + self.norm(y)


def test_what_would_change_the_map_is_left_alone():
    model = Fork().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert fuse_norms(model, 3) == 0
    assert isinstance(model.norm, nn.BatchNorm2d)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
