"""Model directories: what is written is read back, smp reads it too, and nothing in it can run code."""

import json
import pickle

import pytest
import segmentation_models_pytorch as smp
import torch

from geoseg.contract import Contract, PixelSize, Scaling, load_contract
from geoseg.errors import ModelError
from geoseg.legend import DEFAULT_LEGEND
from geoseg.nn.architectures import build
from geoseg.nn.modeldir import load_model, save_model


class Payload:
    """Creates a file when unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


def contract():
    return Contract(
        name="test", version="1", bands=("red", "green", "blue"), dtype="uint8", licence="Apache-2.0",
        scaling=Scaling(mean=(0.5,) * 3, std=(0.5,) * 3), pixel_size_m=PixelSize(native=0.5, min=0.25, max=1.2),
        legend=DEFAULT_LEGEND,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build("Unet", {"encoder_name": "tu-tf_efficientnet_lite0", "in_channels": 3, "classes": 4}).eval()


@pytest.fixture
def saved(model, tmp_path):
    save_model(model, tmp_path / "model", contract())
    return tmp_path / "model"


@torch.no_grad()
def test_a_saved_model_answers_as_before(model, saved):
    x = torch.randn(1, 3, 64, 64)
    loaded = load_model(saved)
    assert not loaded.training
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded(x), model(x), rtol=0.05, atol=0.5)
    save_model(model, saved, contract(), half=False)
    torch.testing.assert_close(load_model(saved)(x), model(x), rtol=0, atol=0)


@torch.no_grad()
def test_smp_reads_it(saved):
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(smp.from_pretrained(saved).eval()(x), load_model(saved)(x), rtol=0, atol=0)


def test_half_the_bytes_and_readable_by_all(saved):
    weights = saved / "model.safetensors"
    assert weights.stat().st_size < 12e6
    assert weights.stat().st_mode & 0o044 == 0o044


def test_the_contract_comes_back(saved):
    written = load_contract(saved)
    digests = {key: getattr(written, key) for key in ("weights_sha256", "config_sha256")}
    assert written == contract().model_copy(update=digests)
    assert written.legend == DEFAULT_LEGEND


def test_changed_weights_are_refused(saved):
    weights = saved / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256"):
        load_model(saved)


def test_a_pickle_is_refused_and_not_run(saved, tmp_path):
    target = tmp_path / "owned"
    (saved / "model.safetensors").write_bytes(pickle.dumps(Payload(target)))
    _edit(saved, weights_sha256="")
    with pytest.raises(ModelError, match="safetensors"):
        load_model(saved)
    assert not target.exists()


def test_a_pickle_beside_the_weights_is_not_read(saved, tmp_path):
    target = tmp_path / "owned"
    (saved / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(target)))
    load_model(saved)
    (saved / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        load_model(saved)
    assert not target.exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 2, "format"),
        ("bands", ["red", "red", "blue"], "not unique"),
        ("bands", ["red"], "1 bands, but 3 means"),
        ("dtype", "complex64", "dtype"),
        ("pixel_size_m", {"native": 2.0, "min": 0.25, "max": 1.2}, "not in this order"),
        ("tile_size", 1000, "multiple of 32"),
        ("stride", 64, "stride 64 does not divide 32"),
        (
            "classes",
            [
                {"id": 1, "name": "house", "color": "#000000", "layer": "things", "rule": "building"},
                {"id": 2, "name": "lawn", "color": "#000000", "layer": "things", "rule": "area"},
            ],
            "layer 'things' have the rules building and area",
        ),
        (
            "classes",
            [
                {"id": 1, "name": "street", "color": "#000000", "layer": "roads", "rule": "road"},
                {"id": 2, "name": "square", "color": "#000000", "layer": "Road_Nodes", "rule": "area"},
            ],
            "'Road_Nodes'.* is there twice",
        ),
        ("classes", [{"id": 2, "name": "a", "color": "#000000", "layer": "a", "rule": "area"}], "class ids"),
        ("surprise", 1, "surprise"),
    ],
)
def test_a_broken_contract_says_what_is_wrong(saved, key, value, message):
    _edit(saved, **{key: value})
    with pytest.raises(ModelError, match=message) as caught:
        load_contract(saved)
    assert str(saved / "contract.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_refused(saved):
    config = saved / "config.json"
    config.write_text(config.read_text().replace('"classes": 4', '"classes": 5'))
    with pytest.raises(ModelError, match="do not fit"):
        load_model(saved)


@pytest.mark.parametrize("encoder", ["tu-hf-hub:someone/model", "hf-hub:x", "../resnet"])
def test_a_config_cannot_reach_the_network(saved, encoder):
    config = saved / "config.json"
    values = json.loads(config.read_text()) | {"encoder_name": encoder, "encoder_weights": "imagenet"}
    config.write_text(json.dumps(values))
    with pytest.raises(ModelError, match="hub"):
        load_model(saved)


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(ModelError, match="not a directory"):
        load_model(tmp_path / "nothing")


def _edit(model_dir, **changes):
    path = model_dir / "contract.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
