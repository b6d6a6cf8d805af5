"""Weights from elsewhere: the model answers as before, and nothing in a file is run."""

import json
import pickle
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file

from geoseg.contract import load_contract
from geoseg.errors import ConfigError, ModelError
from geoseg.import_settings import load_import_settings
from geoseg.nn.importing import import_model
from geoseg.nn.modeldir import load_model
from tests.nn.test_modeldir import Payload

ROOT = Path(__file__).parents[2]
DECODER = [32, 16, 16, 8, 8]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return smp.Unet("resnet18", encoder_weights=None, classes=2, decoder_channels=DECODER).eval()


def settings(folder, **changes):
    """The example of the documentation, with a network that is quick; JSON is YAML."""
    example = load_import_settings(ROOT / "configs" / "import.yaml")
    named = {"encoder": "resnet18", "settings": {"decoder_channels": DECODER}, "key": None, "prefix": ""}
    (folder / "import.yaml").write_text(json.dumps(example.model_dump(mode="json") | named | changes))
    return load_import_settings(folder / "import.yaml")


def assert_same(model_dir, network):
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(load_model(model_dir)(x), network(x), rtol=0, atol=0)


def test_a_folder_of_smp(network, tmp_path):
    network.save_pretrained(tmp_path / "smp")
    made = import_model(tmp_path / "smp", tmp_path / "model", settings(tmp_path, architecture=None))
    assert_same(made, network)
    contract = load_contract(made)
    assert (contract.bands, contract.legend.category_names) == (("red", "green", "blue"), ["background", "building"])
    assert "What it is not good at" in (made / "README.md").read_text()


def test_an_activation_at_the_end_is_left_out(network, tmp_path):
    probabilities = smp.Unet(
        "resnet18", encoder_weights=None, classes=2, decoder_channels=DECODER, activation="softmax2d"
    )
    probabilities.load_state_dict(network.state_dict())
    probabilities.save_pretrained(tmp_path / "smp")
    made = import_model(tmp_path / "smp", tmp_path / "model", settings(tmp_path, architecture=None))
    assert_same(made, network)


def test_a_network_that_classifies_images_besides_is_refused(tmp_path):
    both = smp.Unet("resnet18", encoder_weights=None, classes=2, decoder_channels=DECODER, aux_params={"classes": 2})
    both.save_pretrained(tmp_path / "smp")
    with pytest.raises(ModelError, match="aux_params make it classify the image besides"):
        import_model(tmp_path / "smp", tmp_path / "model", settings(tmp_path, architecture=None))


def test_a_folder_of_older_days(network, tmp_path):
    network.save_pretrained(tmp_path / "smp")
    (tmp_path / "smp" / "model.safetensors").unlink()
    torch.save(network.state_dict(), tmp_path / "smp" / "pytorch_model.bin")
    assert_same(import_model(tmp_path / "smp", tmp_path / "model", settings(tmp_path, architecture=None)), network)


def test_a_plain_state_dict(network, tmp_path):
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    assert_same(import_model(tmp_path / "w.safetensors", tmp_path / "a", settings(tmp_path)), network)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    assert_same(import_model(tmp_path / "w.pth", tmp_path / "b", settings(tmp_path)), network)


def test_a_checkpoint_with_more_in_it(network, tmp_path):
    weights = {f"model.{name}": t for name, t in network.state_dict().items()} | {"loss.weight": torch.ones(2)}
    torch.save({"epoch": 3, "state_dict": weights}, tmp_path / "last.ckpt")
    wanted = settings(tmp_path, key="state_dict", prefix="model.")
    assert_same(import_model(tmp_path / "last.ckpt", tmp_path / "model", wanted), network)
    with pytest.raises(ModelError, match=r"its entries are epoch, state_dict\. Say `key`"):
        import_model(tmp_path / "last.ckpt", tmp_path / "other", settings(tmp_path))


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.ckpt", "w.bin", "w.safetensors", "smp/pytorch_model.bin"])
@pytest.mark.parametrize("form", ["bare", "saved"])
def test_a_pickle_is_refused_and_not_run(name, form, tmp_path):
    target, path = tmp_path / "owned", tmp_path / name
    path.parent.mkdir(exist_ok=True)
    payload = {"state_dict": Payload(target)}
    path.write_bytes(pickle.dumps(payload)) if form == "bare" else torch.save(payload, path)
    source = path.parent if path.parent != tmp_path else path
    with pytest.raises(ModelError, match=r"could run code|can run code"):
        import_model(source, tmp_path / "model", settings(tmp_path))
    assert not target.exists()
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"encoder": "resnet34"}, ModelError, "do not fit"),
        ({"architecture": None}, ConfigError, r"must name `architecture`"),
        ({"prefix": "net."}, ModelError, "no name begins with `prefix` 'net.'"),
        ({"architecture": "UNot"}, ModelError, "no architecture"),
        ({"settings": {"decoder_channels": DECODER, "in_channels": 4}}, ModelError, "do not fit"),
        ({"encoder": "hf-hub:someone/model"}, ModelError, "hub"),
    ],
)
def test_what_does_not_fit_is_said(network, tmp_path, changes, error, message):
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(error, match=message):
        import_model(tmp_path / "w.safetensors", tmp_path / "model", settings(tmp_path, **changes))


def test_a_folder_whose_network_has_other_channels(network, tmp_path):
    network.save_pretrained(tmp_path / "smp")
    four = {"bands": ["r", "g", "b", "n"], "scaling": {"mean": [0] * 4, "std": [1] * 4}}
    with pytest.raises(ConfigError, match="`bands` names 4, but the network takes 3"):
        import_model(tmp_path / "smp", tmp_path / "model", settings(tmp_path, architecture=None, **four))
    more = [{"id": i, "name": f"c{i}", "color": "#000000", "layer": f"c{i}", "rule": "area"} for i in (1, 2)]
    with pytest.raises(ConfigError, match="`classes` with the background are 3"):
        import_model(tmp_path / "smp", tmp_path / "model", settings(tmp_path, architecture=None, classes=more))


def test_a_model_is_not_replaced(network, tmp_path):
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    import_model(tmp_path / "w.safetensors", tmp_path / "model", settings(tmp_path))
    with pytest.raises(ConfigError, match="holds a model already"):
        import_model(tmp_path / "w.safetensors", tmp_path / "model", settings(tmp_path))


def test_contradictions_in_the_settings(tmp_path):
    with pytest.raises(ConfigError, match=r"import\.yaml: .*3 bands, but 1 means"):
        settings(tmp_path, scaling={"mean": [0], "std": [1]})
