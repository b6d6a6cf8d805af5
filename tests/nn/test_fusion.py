"""Folding and fusing change the work and not the map."""

import copy

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from geoseg.nn.architectures import ARCHITECTURES, build
from geoseg.nn.forward import Forward, _round_convolutions
from geoseg.nn.fusion import onednn
from geoseg.nn.fusion.activations import fuse_activations
from geoseg.nn.fusion.decoder_block import split_upsampling
from geoseg.nn.fusion.norms import fuse_norms
from geoseg.nn.fusion.residual_block import join_residuals
from geoseg.nn.fusion.same_padding import pad_within
from tests.nn.processor import in_bfloat16

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


def runs(model, image, contract, precision):
    """Logits as a `Forward` gives them."""
    with torch.inference_mode():
        return Forward(copy.deepcopy(model), contract, "cpu", precision).logits(image)


MORE = [
    ("Unet", "tu-resnetv2_50"),  # that standardizes its weights
    ("Unet", "resnet50"),
    ("Unet", "tu-resnet18"),  # timm's own residual blocks
    ("Unet", "mobilenet_v2"),
]


@pytest.mark.parametrize(("name", "encoder"), [*NETWORKS, *MORE])
def test_a_forward_gives_the_logits_of_the_network(name, encoder, contract):
    model = trained(name, encoder)
    image = torch.randn(1, 3, 192, 256).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        exact = model(image)
    off = (runs(model, image, contract, "float32") - exact).abs() / exact.abs().max()
    assert (off > 1e-4).float().mean() <= (5e-3 if name == "SegNet" else 0)


@in_bfloat16
@pytest.mark.parametrize(("name", "encoder"), [*NETWORKS, *MORE])
def test_a_forward_in_bfloat16_is_as_near_as_the_network_in_bfloat16(name, encoder, contract):
    model = trained(name, encoder)
    # MAnet's attention over all pixels errs twice as much on some images, either way: a few of them tell nothing.
    count = 24 if name == "MAnet" else 4
    images = torch.randn(count, 3, 192, 256).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        exact = model(images)
        with torch.autocast("cpu", torch.bfloat16):
            plain = copy.deepcopy(model).to(memory_format=torch.channels_last)(images).float()
    error = (runs(model, images, contract, "bfloat16").float() - exact).square().mean().sqrt()
    assert error <= 1.1 * (plain - exact).square().mean().sqrt() + 1e-3 * exact.std()


@in_bfloat16
@pytest.mark.parametrize(("name", "encoder"), [*NETWORKS, ("Unet", "tu-resnetv2_50")])
def test_weights_that_are_rounded_once_give_the_same_bits(name, encoder):
    """Before anything but normalizations is fused: autocast would round the same weights for every tile."""
    model = trained(name, encoder).to(memory_format=torch.channels_last)
    fuse_norms(model, 3)
    rounded = copy.deepcopy(model)
    _round_convolutions(rounded)
    image = torch.randn(1, 3, 192, 192).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(rounded(image), model(image))


@pytest.mark.parametrize("name", ["Unet", "FPN"])
def test_without_onednn_the_logits_are_the_same_too(name, contract, monkeypatch):
    model = trained(name, "resnet18")
    image = torch.randn(1, 3, 64, 96)
    ours = runs(model, image, contract, "float32")
    monkeypatch.setattr(onednn, "available", lambda _: False)
    plain = runs(model, image, contract, "float32")
    assert not torch.equal(ours, plain)
    torch.testing.assert_close(ours, plain, atol=1e-4 * float(plain.abs().max()), rtol=0)


def test_operators_that_do_not_work_here_are_not_available(monkeypatch):
    assert onednn.available.__wrapped__(torch.float32)
    monkeypatch.setitem(onednn.ACTIVATIONS, nn.ReLU, ("no such activation", []))
    assert not onednn.available.__wrapped__(torch.float32)
    monkeypatch.setitem(onednn.ACTIVATIONS, nn.ReLU, ("hardtanh", [0.0, 0.5]))  # works, but is something else
    assert not onednn.available.__wrapped__(torch.float32)


@in_bfloat16
def test_operators_work_in_bfloat16_where_the_processor_does():
    assert onednn.available(torch.bfloat16)


@pytest.mark.parametrize(("encoder", "settings", "blocks"), [
    ("resnet18", {}, 5),
    ("resnet50", {"decoder_channels": [64, 32, 16], "encoder_depth": 3}, 3),
    ("resnet18", {"decoder_attention_type": "scse"}, 0),
    ("resnet18", {"decoder_interpolation": "bilinear"}, 0),
    ("resnet18", {"decoder_use_norm": False}, 5),
])  # fmt: skip
def test_decoder_blocks_that_can_be_split_are(encoder, settings, blocks):
    """Tiles of odd shapes at every level, border pixels included."""
    torch.manual_seed(0)
    model = build("Unet", {"encoder_name": encoder, "classes": 4, **settings}).eval().requires_grad_(False)
    fuse_norms(model, 3)
    image = torch.randn(2, 3, 96, 160)
    with torch.inference_mode():
        wanted = model(image)
        assert split_upsampling(model) == blocks
        found = model(image)
    torch.testing.assert_close(found, wanted, atol=1e-5 * float(wanted.abs().max()), rtol=0)


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("groups", [1, 6])
def test_padding_at_the_end_only_is_padding_within(kernel, groups):
    conv = Conv2dSame(6, 12, kernel, stride=2, groups=groups)
    image = torch.randn(2, 6, 20, 34)
    with torch.inference_mode():
        wanted = conv(image)
        assert pad_within(nn.Sequential(conv)) == 1
        torch.testing.assert_close(conv(image), wanted)


def test_residual_blocks_and_activations_are_fused():
    model = trained("Unet", "resnet18")
    fuse_norms(model, 3)
    assert join_residuals(model) == 8
    assert fuse_activations(model, 3) == 11  # the stem, and two in each block of the decoder
    assert not any(isinstance(module, nn.ReLU) for module in model.modules())


class Fork(nn.Module):
    """A convolution that feeds an activation and something else, or that has something added before it."""

    def __init__(self, *, added: bool):
        super().__init__()
        self.conv, self.activation, self.added = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), added

    def forward(self, x):
        y = self.conv(x)
        if self.added:
            y += x
            return self.activation(y)
        return y + self.activation(y)


@pytest.mark.parametrize("added", [True, False])
def test_an_activation_stays_where_fusing_it_would_change_the_map(added):
    model = Fork(added=added).eval()
    image = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        before = model(image)
        assert fuse_activations(model, 3) == 0
        assert torch.equal(model(image), before)
    assert type(model.conv) is nn.Conv2d


def test_a_unet_keeps_no_normalization():
    model = trained("Unet", "resnet18")
    fuse_norms(model, 3)
    assert norms(model) == 0


class NormFork(nn.Module):
    """A convolution that feeds a normalization and something else."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.norm.running_mean.fill_(0.5)

    def forward(self, x):
        y = self.conv(x)
        return y + self.norm(y)


def test_what_would_change_the_map_is_left_alone():
    model = NormFork().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert fuse_norms(model, 3) == 0
    assert isinstance(model.norm, nn.BatchNorm2d)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
