from itertools import pairwise

import numpy as np
import pytest
import rasterio

from geoseg.errors import OutputError
from geoseg.raster.scene_writer import ImageSpec, write_geotiff


def spec(**change):
    plain = {"height": 700, "width": 530, "count": 3, "crs": "EPSG:32633", "masked": True}
    return ImageSpec(**{**plain, "transform": (0.5, 0, 500_000, 0, -0.5, 5_300_000), **change})


@pytest.mark.parametrize("cuts", [(0, 700), (0, 512, 700), (0, 33, 500, 699, 700)])
def test_strips_make_one_image_with_its_mask(tmp_path, cuts):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (3, 700, 530)).astype(np.uint8)
    valid = rng.uniform(size=(700, 530)) < 0.7
    strips = [(image[:, a:b], valid[a:b]) for a, b in pairwise(cuts)]
    write_geotiff(tmp_path / "a.tif", strips, spec())
    with rasterio.open(tmp_path / "a.tif") as src:
        np.testing.assert_array_equal(src.read(), image)
        np.testing.assert_array_equal(src.dataset_mask() > 0, valid)
        assert src.nodata is None
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_missing_rows_are_an_error_and_leave_nothing(tmp_path):
    strips = [(np.zeros((1, 300, 530), np.uint8), None)]
    with pytest.raises(OutputError, match="300 rows, but the image has 700"):
        write_geotiff(tmp_path / "a.tif", strips, spec(count=1, masked=False))
    assert not list(tmp_path.iterdir())
