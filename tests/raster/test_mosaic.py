"""A mosaic gives the rows of its files, laid one over the other; files of other lattices are refused."""

import pickle

import numpy as np
import psutil
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import BrokenRaster, ContractError, NotGeoreferenced
from geoseg.raster.checks import Limits
from geoseg.raster.mosaic import MosaicReader, cache_bytes, covered, mosaic_of, side_by_side
from geoseg.raster.read import tall_block_bytes
from geoseg.raster.scene import inspect, replaced
from tests.conftest import write_raster

ORIGIN = Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000)
BANDS = (1, 2, 3)

boxes = st.tuples(st.integers(-40, 90), st.integers(-40, 90), st.integers(1, 70), st.integers(1, 70))


def place(path, box, seed=0, holes=True, **profile):
    """A file of noise whose first pixel is (row, col) of a common lattice; a tenth of it has no data."""
    row, col, height, width = box
    rng = np.random.default_rng(seed)
    pixels = rng.integers(1, 255, (3, height, width), np.uint8)
    if holes:
        pixels[:, rng.random((height, width)) < 0.1] = 0
    return write_raster(path, pixels, transform=ORIGIN @ Affine.translation(col, row), nodata=0, **profile)


def mosaic(*paths, **options):
    return mosaic_of([inspect(p) for p in paths], **options)


def sweep(scene, step, overlap):
    """All rows, asked for as the engine does."""
    reader = MosaicReader(scene, BANDS)
    pixels, valid = np.full((3, scene.height, scene.width), 77, np.uint8), np.zeros((scene.height, scene.width), bool)
    start = 0
    while True:
        stop = min(start + step, scene.height)
        rows = reader.rows(start, stop)
        pixels[:, start:stop], valid[start:stop] = rows.pixels, rows.valid
        if stop == scene.height:
            break
        start = stop - overlap
    reader.close()
    return pixels, valid


@settings(max_examples=60, deadline=None)
@given(st.lists(boxes, min_size=1, max_size=5), st.integers(33, 80), st.integers(0, 32))
def test_rows_are_those_of_the_files_laid_over_each_other(tmp_path_factory, placed, step, overlap):
    """Against one array into which the files are painted in their order."""
    folder = tmp_path_factory.mktemp("mosaic")
    paths = [place(folder / f"{i}.tif", box, i) for i, box in enumerate(placed)]
    top, left = min(b[0] for b in placed), min(b[1] for b in placed)
    bottom, right = max(b[0] + b[2] for b in placed), max(b[1] + b[3] for b in placed)
    wanted = np.zeros((3, bottom - top, right - left), np.uint8)
    for path, (row, col, height, width) in zip(paths, placed, strict=True):
        with rasterio.open(path) as src:
            own, there = src.read(), src.dataset_mask() > 0
        below = wanted[:, row - top : row - top + height, col - left : col - left + width]
        below[:, there] = own[:, there]
    scene = mosaic(*paths)
    assert (scene.height, scene.width) == wanted.shape[1:]
    assert scene.transform == tuple(ORIGIN @ Affine.translation(left, top))[:6]
    pixels, valid = sweep(scene, step, overlap)
    np.testing.assert_array_equal(valid, (wanted != 0).all(axis=0))
    np.testing.assert_array_equal(pixels[:, valid], wanted[:, valid])
    assert (pixels[:, ~valid] == 0).all()


def test_only_files_of_the_rows_at_hand_are_open(tmp_path):
    paths = [place(tmp_path / f"{i}.tif", (64 * i, 0, 64, 32)) for i in range(20)]
    reader = MosaicReader(mosaic(*paths), BANDS)

    def open_files():
        return sum(str(tmp_path) in file.path for file in psutil.Process().open_files())

    for start in range(0, 64 * 20 - 96, 64):
        reader.rows(start, start + 96)
        assert open_files() <= 3
    reader.close()
    assert open_files() == 0


def test_rows_can_be_asked_for_again_from_the_top(tmp_path):
    """A process that takes a strip further up opens again what it had closed."""
    scene = mosaic(*(place(tmp_path / f"{i}.tif", (64 * i, 0, 64, 32), i) for i in range(4)))
    reader = MosaicReader(scene, BANDS)
    before = reader.rows(0, 40).pixels.copy()
    reader.rows(150, 256)
    np.testing.assert_array_equal(reader.rows(0, 40).pixels, before)
    reader.close()


def test_what_is_lost_is_counted_once_also_of_files_that_are_closed(tmp_path):
    tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
    paths = [place(tmp_path / f"{i}.tif", (64 * i, 0, 64, 32), i, holes=False, **tiled) for i in range(3)]
    with rasterio.open(paths[0]) as src:
        offset = int(
            src.tags(1, ns="TIFF").get("BLOCK_OFFSET_1_1") or src.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1)
        )
    with paths[0].open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 64)
    scene = mosaic(*paths)
    with pytest.raises(BrokenRaster, match="cannot be decoded"):
        MosaicReader(scene, BANDS).rows(0, 64)
    reader = MosaicReader(scene, BANDS, tolerant=True)
    for start in (0, 48, 96, 128):
        reader.rows(start, start + 64)
    assert not reader._open.get(0), "it is closed"

    class SlowToClose(type(reader._open[2])):
        def close(self):
            assert scene_lost() == 16 * 16, "while one is closed"
            super().close()
            assert scene_lost() == 16 * 16, "and before that is noted"

    def scene_lost():
        return reader.lost_pixels(0, 192)

    reader._open[2].__class__ = SlowToClose
    reader._close(2)
    assert reader.lost_pixels(0, 192) == 16 * 16
    assert reader.lost_pixels(0, 24) == 8 * 16
    reader.close()


@pytest.mark.parametrize(
    ("profile", "text"),
    [
        ({"transform": ORIGIN @ Affine.translation(0.3, 0)}, r"it is shifted by 0\.30 of a pixel"),
        ({"transform": ORIGIN @ Affine.scale(1.01)}, r"its pixels are 0\.505 × 0\.505, not 0\.5 × 0\.5"),
        ({"crs": "EPSG:32634"}, "its CRS is EPSG:32634, not EPSG:32633"),
    ],
)
@pytest.mark.parametrize("name", ["a", "z"])
def test_another_lattice_is_refused_and_the_odd_one_named(tmp_path, profile, text, name):
    odd = write_raster(tmp_path / f"{name}.tif", np.ones((3, 50, 50), np.uint8), **profile)
    paths = sorted([odd, *(place(tmp_path / f"{n}.tif", (50 * i, 0, 50, 50)) for i, n in enumerate("bcd"))])
    with pytest.raises(NotGeoreferenced, match=text) as told:
        mosaic(*paths)
    assert str(told.value).startswith(
        f"{odd}: its pixels do not lie on the lattice of the mosaic, on which 3 of its 4 files"
    )


def test_what_cannot_be_laid_side_by_side_is_refused(tmp_path):
    a = inspect(place(tmp_path / "a.tif", (0, 0, 50, 50)))
    with pytest.raises(ContractError, match="uint16"):
        mosaic_of([inspect(write_raster(tmp_path / "b.tif", np.ones((3, 9, 9), np.uint16))), a, a])
    nowhere = write_raster(tmp_path / "c.tif", np.ones((3, 9, 9), np.uint8), crs=None)
    with pytest.raises(NotGeoreferenced, match=r"c\.tif: no CRS"):
        mosaic_of([a, inspect(nowhere, allow_ungeoreferenced=True)])
    far = inspect(place(tmp_path / "d.tif", (90_000, 90_000, 50, 50)))
    with pytest.raises(BrokenRaster, match="90050 × 90050"):
        mosaic_of([a, far], limits=Limits(max_pixels=10**9))
    assert covered(mosaic_of([a, far])) == pytest.approx(2 * 2500 / 90_050**2)


def test_the_origin_is_that_of_the_outermost_files_to_the_last_bit(tmp_path):
    """Computed back from another file it would be off by some 1e-11, and so would all coordinates."""
    west, pixel = 524_274.8, 0.3
    for name, x in (("a", west + 1000 * pixel), ("b", west)):
        transform = Affine(pixel, 0, x, 0, -pixel, 5_300_000.1)
        write_raster(tmp_path / f"{name}.tif", np.ones((3, 40, 1000), np.uint8), transform=transform)
    assert mosaic(tmp_path / "a.tif", tmp_path / "b.tif").transform[2] == west


def test_a_mosaic_travels_light(tmp_path):
    """With each of its strips: what its files have in common is sent once."""
    one = inspect(place(tmp_path / "a.tif", (0, 0, 9, 9)))
    files = [inspect(place(tmp_path / f"{i}.tif", (9 * i, 0, 9, 9))) for i in range(20)]
    each = (len(pickle.dumps(mosaic_of(files))) - len(pickle.dumps(mosaic_of([one])))) / 19
    assert each < 500


def test_identity_is_that_of_the_files_and_their_places(tmp_path):
    paths = [place(tmp_path / f"{i}.tif", (40 * i, 0, 50, 50), i) for i in range(2)]
    scene = mosaic(*paths)
    assert mosaic(*paths).identity == scene.identity
    assert mosaic(*reversed(paths)).identity != scene.identity
    assert replaced(scene) is None
    place(paths[1], (40, 0, 50, 50), 9)
    assert replaced(scene) == paths[1]
    assert mosaic(*paths).identity != scene.identity


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40), st.integers(1, 9)), min_size=1, max_size=6))
def test_what_is_open_together_is_what_shares_a_row(tmp_path_factory, placed):
    folder = tmp_path_factory.mktemp("sums")
    paths = [place(folder / f"{i}.tif", (row, 0, height, width)) for i, (row, height, width) in enumerate(placed)]
    by_row = [sum(w for r, h, w in placed if r <= row < r + h) for row in range(100)]
    assert side_by_side(mosaic(*paths), lambda file: file.width) == max(by_row)


def test_tall_blocks_that_are_read_together_have_room(tmp_path):
    """Two files of one strip each side by side, a third below."""
    tall = {"blockysize": 1200, "compress": "deflate"}
    places = [(0, 0, 1200, 20), (0, 20, 1200, 20), (1200, 0, 1200, 20)]
    paths = [place(tmp_path / f"{i}.tif", box, i, **tall) for i, box in enumerate(places)]
    scene = mosaic(*paths)
    one = tall_block_bytes(inspect(paths[0]))
    assert one > 0
    assert cache_bytes(scene) == 2 * one
