"""The user's loop, as README.md says it: map, correct in QGIS, train on the corrections, evaluate, map again."""

import json
import re
import shutil

import geopandas as gpd
import pytest

from geoseg.cli import main
from geoseg.contract import load_contract
from geoseg.town.plan import plan_town
from geoseg.town.settings import TownSettings
from geoseg.town.write import write_scene

pytestmark = pytest.mark.filterwarnings("ignore")

CONFIG = {
    "name": "corrected",
    "output": "model",
    "run_dir": "run",
    "sources": [
        {
            "name": "corrected",
            "form": "vectors",
            "root": ".",
            "images": "imagery/*.tif",
            "labels": "../maps/{stem}.gpkg",
            "layers": {"building": "buildings", "road": "roads", "green": "green"},
            "draw_m": [0.5, 0.7],
            "validation_groups": ["b"],
        }
    ],
    "model": {"start_from": "default"},
    "optimization": {"learning_rate": 1e-3, "warmup_steps": 2},
    "augment": {"color": 0.1, "channel_gain": 0.05, "gray": 0, "blur": 0, "noise": 0, "jpeg": 0, "shadow": 0},
    "steps": 20,
    "steps_per_epoch": 20,
    "batch": 1,
    "window_px": 256,
    "validation_window_px": 384,  # the whole scene, so that both losses see the same
    "workers": 0,
    "precision": "32",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Imagery of two towns."""
    root = tmp_path_factory.mktemp("loop")
    for name, seed in (("a", 5), ("b", 6)):
        place = (500_000.0 + 1000 * seed, 5_300_000.0)
        town = plan_town(TownSettings(size_px=(384, 384), pixel_size_m=0.6, seed=seed, palette="autumn", origin=place))
        (root / "imagery").mkdir(exist_ok=True)
        write_scene(town, root / "imagery" / f"{name}.tif")
    return root


def run(*arguments):
    assert main([str(a) for a in arguments]) == 0


def correct(geopackage):
    """Lawns are no green to this user, crowns and hedges are: the larger half is deleted, as one would in QGIS."""
    green = gpd.read_file(geopackage, layer="green")
    green[green.area_m2 <= green.area_m2.median()].to_file(geopackage, layer="green")


def test_the_loss_falls(folder, capsys):
    run("map", folder / "imagery", "-o", folder / "maps", "--workers", "0", "--quiet")
    for name in ("a", "b"):
        correct(folder / "maps" / f"{name}.gpkg")
    held_out = (folder / "maps" / "b_classes.tif", folder / "maps" / "b.gpkg", "--image", folder / "imagery" / "b.tif")
    run("evaluate", *held_out, "-o", folder / "before")
    (folder / "train.yaml").write_text(json.dumps(CONFIG))  # JSON is YAML
    capsys.readouterr()
    run("train", "--config", folder / "train.yaml")
    told = capsys.readouterr().out
    assert re.search(
        r"corrected: test loss [\d.]+, mean IoU [\d.]+ \(before: [\d.]+, [\d.]+\)(; of lower IoU .*)?\n", told
    ), told
    run("map", folder / "imagery", "-o", folder / "again", "--model", folder / "model", "--workers", "0", "--quiet")
    again = (folder / "again" / "b_classes.tif", *held_out[1:], "--model", folder / "model")
    run("evaluate", *again, "-o", folder / "after")
    before, after = (json.loads((folder / name / "metrics.json").read_text()) for name in ("before", "after"))
    capsys.readouterr()
    assert after["loss"] < before["loss"]
    assert after["accuracy"] > before["accuracy"]
    assert load_contract(folder / "model").metrics["corrected"]["loss"] == pytest.approx(after["loss"], rel=0.02)
    shutil.rmtree(folder / "run")
