import cv2
import numpy as np

from geoseg.legend import DEFAULT_LEGEND
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


def test_iou_of_a_hand_worked_case():
    counts = np.zeros((256, 256), np.int64)
    counts[1, 1], counts[1, 0], counts[0, 1], counts[1, 255], counts[255, 1] = 6, 2, 4, 50, 70
    assert class_iou(counts, DEFAULT_LEGEND)["building"] == 6 / 12  # nodata of either side does not count
    assert np.isnan(class_iou(counts, DEFAULT_LEGEND)["road"])
