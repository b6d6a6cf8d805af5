"""Every architecture by name: builds, takes a step, saves, loads and answers the same."""

import numpy as np
import pytest
import rasterio
import torch
from torch.nn import functional

from geoseg.config import RunSettings
from geoseg.errors import ModelError
from geoseg.nn.architectures import ARCHITECTURES, build
from geoseg.nn.modeldir import load_model, save_model
from geoseg.nn.segnet import SegNet
from geoseg.run.mapping import map_scenes
from tests.conftest import write_raster
from tests.nn.test_modeldir import contract

SMALL = "tu-mobilenetv3_small_050"

SETTINGS = {
    "FCN": {"encoder_name": "resnet50"},
    "ColorBaseline": {},
    "DPT": {"encoder_name": "tu-vit_tiny_patch16_224"},
    "SegNet": {"widths": [8, 8, 16, 16, 16], "depths": [1, 1, 1, 1, 1]},
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_learns_saves_and_loads(name, tmp_path):
    torch.manual_seed(0)
    settings = SETTINGS.get(name, {"encoder_name": SMALL})
    model = build(name.lower(), {"in_channels": 3, "classes": 4} | settings)
    side = 256 if name == "PAN" else 64  # it normalizes what it pooled to one pixel over the batch
    x, label = torch.randn(2, 3, side, side), torch.randint(0, 4, (2, side, side))
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    functional.cross_entropy(model.train()(x), label).backward()
    optimizer.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    save_model(model, tmp_path, contract(), half=False)
    with torch.no_grad():
        torch.testing.assert_close(load_model(tmp_path)(x), model.eval()(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_maps_a_scene(name, tmp_path):
    """By random weights: that all pixels have a class, and nodata none, is what is asked."""
    torch.manual_seed(0)
    model = build(name, {"in_channels": 3, "classes": 4} | SETTINGS.get(name, {"encoder_name": SMALL}))
    save_model(model, tmp_path / "model", contract())
    pixels = np.random.default_rng(0).integers(1, 255, (3, 300, 280), dtype=np.uint8)
    pixels[:, :40, :50] = 0
    path = write_raster(tmp_path / "a.tif", pixels, nodata=0)
    run = {"workers": 0, "tile_size": 256, "overlap": 64, "quiet": True}
    done = map_scenes(RunSettings(inputs=(str(path),), output=tmp_path / "out", model=tmp_path / "model", **run))
    assert done.exit_code == 0, done.results
    with rasterio.open(tmp_path / "out" / "a_classes.tif") as classes:
        ids = classes.read(1)
    assert ((ids == 255) == (pixels == 0).all(axis=0)).all()


def test_segnet_is_the_papers():
    net = SegNet(3, 12)
    assert [sum(isinstance(m, torch.nn.Conv2d) for m in stage) for stage in net.encoder] == [2, 2, 3, 3, 3]
    # VGG16's 13 convolutions hold 14.71 M weights and biases.
    kernels = sum(m.weight.numel() + m.out_channels for m in net.encoder.modules() if isinstance(m, torch.nn.Conv2d))
    assert kernels == 14_714_688


def test_segnet_unpools_to_where_the_maxima_were():
    net = SegNet(1, 2, widths=[4], depths=[1]).eval()
    kept = net.unpool(*net.pool(x := torch.randn(1, 4, 8, 8)))
    assert torch.equal(kept[kept != 0], x[kept != 0])
    assert (kept != 0).sum() == 4 * 16


def test_other_band_counts():
    for name in ("Unet", "FCN", "SegNet"):
        model = build(name, {"in_channels": 5, "classes": 2} | SETTINGS.get(name, {"encoder_name": SMALL}))
        assert model.eval()(torch.randn(1, 5, 64, 64)).shape == (1, 2, 64, 64)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("Nonsense", {}, "there are Unet"),
        ("FCN", {"encoder_name": "resnet50", "surprise": 1}, "surprise"),
        ("Unet", {"encoder_name": "nonsense"}, "nonsense"),
        ("FCN", {"encoder_name": "resnet18"}, "resnet50"),
    ],
)
def test_what_cannot_be_built_is_said(name, settings, message):
    with pytest.raises(ModelError, match=message):
        build(name, settings)
