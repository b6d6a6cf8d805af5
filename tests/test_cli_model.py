"""`geoseg model` as a user types it, and pickles in every command that takes a model."""

import json
import pickle
import shutil

import numpy as np
import pytest

from geoseg.cli import main
from tests.conftest import write_raster
from tests.nn.test_modeldir import Payload


@pytest.fixture
def scene(tmp_path):
    return write_raster(tmp_path / "scene.tif", np.zeros((3, 64, 64), np.uint8))


def test_show_prints_the_card_that_ships(capsys):
    assert main(["model", "show"]) == 0
    assert "# town-rgb" in capsys.readouterr().out


def test_show_makes_a_card_of_the_contract_and_gives_no_orders(color_model, tmp_path, capsys):
    assert main(["model", "show", str(color_model)]) == 0
    assert "- Pixel size: 0.25–1.2 m, best at 0.5 m" in capsys.readouterr().out
    shutil.copytree(color_model, tmp_path / "m")
    (tmp_path / "m" / "README.md").write_text("card\x1b[2J")
    assert main(["model", "show", str(tmp_path / "m")]) == 0
    assert capsys.readouterr().out == "card[2J\n"


def test_check_says_yes(color_model, scene, capsys):
    assert main(["model", "check", str(color_model), str(scene)]) == 0
    assert capsys.readouterr().out == "color can map scene.tif\n"


@pytest.mark.parametrize(
    ("pixels", "profile", "message"),
    [
        (np.zeros((5, 64, 64), np.uint8), {}, "5 bands (uint8), but model 'test' takes 3"),
        (np.zeros((3, 64, 64), np.uint16), {}, "3 bands (uint16), but model 'test' takes 3"),
        (np.zeros((3, 64, 64), np.uint8), {"crs": None}, "no CRS"),
    ],
)
def test_check_says_why_not(color_model, tmp_path, capsys, pixels, profile, message):
    write_raster(tmp_path / "scene.tif", pixels, **profile)
    assert main(["model", "check", str(color_model), str(tmp_path / "scene.tif")]) == 1
    assert message in capsys.readouterr().out


def test_check_takes_the_options_of_map(color_model, tmp_path):
    write_raster(tmp_path / "scene.tif", np.zeros((4, 64, 64), np.uint16))
    command = ["model", "check", str(color_model), str(tmp_path / "scene.tif")]
    assert main([*command, "--bands", "3,2,1", "--value-range", "0,3000"]) == 0


def test_check_of_a_scene_that_is_not_there(color_model, tmp_path, capsys):
    assert main(["model", "check", str(color_model), str(tmp_path / "none.tif")]) == 2
    assert "names no GeoTIFF" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["map", "model check", "model export", "model import", "train", "evaluate"])
def test_a_pickle_is_refused_and_not_run(command, color_model, scene, tmp_path, capsys):
    model, target = tmp_path / "model", tmp_path / "owned"
    shutil.copytree(color_model, model)
    (model / "model.safetensors").write_bytes(pickle.dumps(Payload(target)))
    contract = json.loads((model / "contract.json").read_text())
    (model / "contract.json").write_text(json.dumps(contract | {"weights_sha256": ""}))
    assert main(arguments(command, model, scene, tmp_path)) != 0
    captured = capsys.readouterr()
    assert "not a safetensors file" in captured.out + captured.err
    assert not target.exists()


@pytest.mark.parametrize("what", ["last.ckpt", "encoder.safetensors"])
def test_no_file_of_a_training_can_run_code(what, tmp_path, capsys):
    from tests.nn.training_sets import raster_set, settings, source

    (tmp_path / "run").mkdir()
    path = tmp_path / ("run/last.ckpt" if what == "last.ckpt" else what)
    path.write_bytes(pickle.dumps(Payload(tmp_path / "owned")))
    weights = {} if what == "last.ckpt" else {"model": {"encoder_weights": what}}
    config = settings(tmp_path, source("rasters", raster_set(tmp_path / "set")), **weights)
    assert main(["train", "--config", str(config)]) == 2
    assert "run code" in capsys.readouterr().err
    assert not (tmp_path / "owned").exists()


def arguments(command, model, scene, folder):
    """A command line whose model is `model`."""
    if command == "map":
        return ["map", str(scene), "-o", str(folder / "out"), "--model", str(model), "--workers", "0"]
    if command == "train":
        return ["train", "--config", str(training(folder, model))]
    if command == "evaluate":
        labels = write_raster(folder / "labels.tif", np.zeros((1, 64, 64), np.uint8))
        command = ["evaluate", str(labels), str(labels), "--image", str(scene), "--model", str(model)]
        return [*command, "-o", str(folder / "out")]
    last = {"model check": [scene], "model export": [folder / "m.onnx"], "model import": [folder / "other"]}[command]
    extra = ["--settings", str(import_settings(folder))] if command == "model import" else []
    return [*command.split(), str(model), *map(str, last), *extra]


def import_settings(folder):
    from tests.nn.test_model_import import settings

    settings(folder, architecture=None)
    return folder / "import.yaml"


def training(folder, model):
    from tests.nn.training_sets import raster_set, settings, source

    return settings(folder, source("rasters", raster_set(folder / "set")), model={"start_from": str(model)})
