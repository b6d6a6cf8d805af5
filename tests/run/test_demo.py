import cv2
import numpy as np
import pytest

from geoseg.cli import main
from geoseg.errors import OutputError
from geoseg.legend import DEFAULT_LEGEND
from geoseg.run import demo
from geoseg.run.demo import class_iou, run_demo
from geoseg.town.settings import TownSettings


def test_the_demo_maps_a_town_and_checks_it(tmp_path):
    """With the model that ships, on a town smaller than that of `make demo`."""
    town = TownSettings(size_px=(1024, 1280), pixel_size_m=0.5, seed=20261, collar=True)
    result = run_demo(tmp_path, town, workers=0)
    assert result.nodata_claimed == 0
    assert set(result.iou) == {"building", "road", "green"}
    assert min(result.iou.values()) > 0.5
    assert result.layers["buildings"] > 20
    picture = cv2.imread(str(result.preview))
    assert picture is not None
    assert picture.std() > 20
    assert {p.name for p in tmp_path.iterdir()} == {"imagery", "truth", "map", "preview.png"}


def test_a_demo_that_cannot_be_is_said_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "TOWN", TownSettings(size_px=(256, 256)))
    (tmp_path / "file").write_text("")
    assert main(["demo", "-o", str(tmp_path / "file")]) == 2
    assert "must be a folder" in capsys.readouterr().err
    assert main(["demo", "-o", str(tmp_path / "new"), "--workers", "-1"]) == 2
    assert "command line: workers: input should be greater than or equal to 0" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()  # nothing was rendered for it
    (tmp_path / "map").mkdir()
    (tmp_path / "map" / "town.gpkg-wal").write_text("")  # as QGIS leaves it while the map is open
    with pytest.raises(OutputError, match="is open in another program"):
        run_demo(tmp_path, demo.TOWN, workers=0)


def test_iou_of_a_hand_worked_case():
    counts = np.zeros((256, 256), np.int64)
    counts[1, 1], counts[1, 0], counts[0, 1], counts[1, 255], counts[255, 1] = 6, 2, 4, 50, 70
    assert class_iou(counts, DEFAULT_LEGEND)["building"] == 6 / 12  # nodata of either side does not count
    assert np.isnan(class_iou(counts, DEFAULT_LEGEND)["road"])
