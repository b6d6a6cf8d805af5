"""ONNX: any window size, scaling included, and a graph that disagrees does not appear."""

import json

import numpy as np
import pytest
import torch

from geoseg.errors import ModelError
from geoseg.nn.architectures import build
from geoseg.nn.modeldir import load_model, save_model
from geoseg.nn.scaling import scale_pixels
from tests.conftest import make_contract

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from geoseg.nn import export  # noqa: E402


@pytest.fixture(scope="module")
def exported(unet_model, tmp_path_factory):
    target = tmp_path_factory.mktemp("onnx") / "m.onnx"
    return target, export.export_onnx(unet_model, target)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (3, 3, 64, 224)])
def test_it_takes_pixels_of_any_window(exported, unet_model, contract, shape):
    pixels = torch.randint(0, 256, shape).float()
    (found,) = onnxruntime.InferenceSession(exported[0]).run(None, {"pixels": pixels.numpy()})
    with torch.no_grad():
        wanted = load_model(unet_model)(scale_pixels(pixels, None, contract.scaling)).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.ptp(wanted))


def test_it_carries_its_contract(exported, unet_model):
    properties = {p.key: p.value for p in onnx.load(exported[0]).metadata_props}
    assert json.loads(properties["geoseg_contract"]) == json.loads((unet_model / "contract.json").read_text())


def test_agreement_is_measured(exported):
    assert 0 <= exported[1].largest < 1e-3 * exported[1].span


def test_a_graph_that_disagrees_does_not_appear(unet_model, tmp_path, monkeypatch):
    write = export._write

    def damaged(network, contract, path):
        write(network, contract, path)
        graph = onnx.load(path)
        tensor = next(t for t in graph.graph.initializer if len(t.dims) == 4)
        values = onnx.numpy_helper.to_array(tensor) * 1.1
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), tensor.name))
        onnx.save(graph, path)

    monkeypatch.setattr(export, "_write", damaged)
    with pytest.raises(ModelError, match="differ by up to"):
        export.export_onnx(unet_model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def saved(name, folder):
    torch.manual_seed(0)
    settings = {"encoder_name": "resnet18", "in_channels": 3, "classes": 4}
    save_model(build(name, settings), folder, make_contract(), half=False)
    return folder


def test_dilated_architectures(tmp_path):
    export.export_onnx(saved("DeepLabV3Plus", tmp_path / "model"), tmp_path / "m.onnx")
    assert onnx.load(tmp_path / "m.onnx").graph.output[0].name == "logits"


def test_what_onnx_cannot_hold_is_said(tmp_path):
    with pytest.raises(ModelError, match="test: cannot be written as ONNX"):  # max-unpooling
        export.export_onnx(saved("SegNet", tmp_path / "model"), tmp_path / "m.onnx")
