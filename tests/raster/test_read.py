"""Rows of a scene equal those of rasterio in one go, whatever the layout, the mask and the order of asking."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import BrokenRaster
from geoseg.raster.blocks import BlockTable
from geoseg.raster.read import SceneReader
from geoseg.raster.scene import inspect
from tests.conftest import write_raster

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def read_all(path, bands, step=1024, overlap=128, **header):
    """Pixels and mask of a file, asked for as the engine does: tile rows that overlap."""
    return sweep(inspect(path, **header), bands, step, overlap)


def sweep(scene, bands, step=1024, overlap=128):
    reader = SceneReader(scene, bands)
    parts, start = [], 0
    while True:
        stop = min(start + step, scene.height)
        rows = reader.rows(start, stop)
        first = len(parts) and overlap
        parts.append((rows.pixels[:, first:].copy(), rows.valid[first:].copy()))
        if stop == scene.height:
            break
        start = stop - overlap
    reader.close()
    return np.concatenate([p for p, _ in parts], axis=1), np.concatenate([v for _, v in parts])


def bytes_read():
    """Bytes that this process has read from files so far."""
    io = Path("/proc/self/io")
    if not io.exists():
        pytest.skip("the system does not count what a process reads")
    return int(io.read_text().split()[1])


def decoded(path, bands):
    """How often each stored byte is fetched in a sweep, to be decoded."""
    scene = inspect(path)
    before = bytes_read()
    sweep(scene, bands)
    return (bytes_read() - before) / scene.file_bytes


def noise(*shape, dtype="uint8", seed=0):
    """Pixels that do not compress, so that files are mostly pixels; never 0."""
    return np.random.default_rng(seed).integers(1, 120, shape).astype(dtype)


# Any layout

BLOCKS = [{"blockysize": n} for n in (1, 3, 16, 1000)] + [
    {"tiled": True, "blockxsize": x, "blockysize": y} for x, y in ((16, 16), (32, 16), (16, 48))
]
MASKS = ["none", "nodata", "alpha", "internal", "msk", "nan", "internal and alpha", "sparse"]


@st.composite
def scenes(draw):
    dtype = draw(st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"]))
    return {
        "shape": (draw(st.integers(1, 4)), draw(st.integers(1, 70)), draw(st.integers(1, 50))),
        "dtype": dtype,
        "mask": draw(st.sampled_from([m for m in MASKS if m != "nan" or dtype.startswith("float")])),
        "profile": draw(st.sampled_from(BLOCKS))
        | {"compress": draw(st.sampled_from(["none", "deflate", "lzw", "zstd", "packbits", "lzma"]))}
        | {"interleave": draw(st.sampled_from(["pixel", "band"]))}
        | draw(st.sampled_from([{}, {"bigtiff": "yes"}, {"endianness": "big"}])),
        "seed": draw(st.integers(0, 99)),
    }


def write_scene(path, scene):
    """Write a drawn scene; returns its pixels and where they are valid, `(bands, rows, cols)` and `(rows, cols)`."""
    pixels = noise(*scene["shape"], dtype=scene["dtype"], seed=scene["seed"])
    valid = np.random.default_rng(scene["seed"] + 1).random(pixels.shape[1:]) < 0.7
    mask, profile, stored = scene["mask"], {**scene["profile"], "photometric": "minisblack", "alpha": "no"}, pixels
    if mask == "none":
        valid[:] = True
    elif mask == "nodata":
        pixels[:, ~valid] = 0
        pixels[0, valid] %= 2  # one dark band makes no nodata
        valid = (pixels != 0).any(axis=0)
        profile["nodata"] = 0
    elif mask == "nan":
        pixels[0, ~valid] = np.nan
    elif "alpha" in mask:
        stored = np.concatenate([pixels, valid[None].astype(pixels.dtype) * 7])
    elif mask == "sparse":
        write_sparse(path, pixels, valid, profile)
        return pixels, valid
    write_raster(path, stored, **profile)
    if "alpha" in mask:
        with rasterio.open(path, "r+") as dst:
            dst.colorinterp = [*dst.colorinterp[:-1], rasterio.enums.ColorInterp.alpha]
    if "internal" in mask or mask == "msk":
        inside = valid if mask == "internal" or mask == "msk" else np.random.default_rng(9).random(valid.shape) < 0.5
        write_mask(path, inside, internal=mask != "msk")
        valid = valid & inside
    return pixels, valid


def write_mask(path, valid, *, internal):
    if internal:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dst:
            dst.write_mask(valid)
    else:
        write_raster(Path(f"{path}.msk"), valid[None].astype("uint8") * 255, crs=None, transform=Affine.identity())


def write_sparse(path, pixels, valid, profile):
    """Whole blocks that are never written; `valid` becomes what is left."""
    count, height, width = pixels.shape
    rows, cols = profile["blockysize"], profile.get("blockxsize", width)
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=count, dtype=pixels.dtype.name, crs="EPSG:32633",
        transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6), sparse_ok=True, **profile,
    ) as dst:  # fmt: skip
        for row in range(0, height, rows):
            for col in range(0, width, cols):
                block = np.s_[row : row + rows, col : col + cols]
                keep = valid[row, col]
                valid[block] = keep
                if keep:
                    window = rasterio.windows.Window(col, row, min(cols, width - col), min(rows, height - row))
                    dst.write(pixels[:, *block], window=window)
                else:
                    pixels[:, *block] = 0


@settings(max_examples=150, deadline=None)
@given(scene=scenes(), data=st.data())
def test_rows_equal_the_pixels_written(tmp_path_factory, scene, data):
    path = tmp_path_factory.mktemp("scene") / "x.tif"
    pixels, valid = write_scene(path, scene)
    count, height, _ = pixels.shape
    bands = tuple(data.draw(st.lists(st.integers(1, count), min_size=1, max_size=4)))
    header = inspect(path)
    assert len(header.color_bands) == count
    reader = SceneReader(header, bands)
    expected = pixels[[b - 1 for b in bands]]
    if scene["mask"] == "nan":
        valid = ~np.isnan(expected).any(axis=0)
    if scene["mask"] == "nodata":
        valid = (expected != 0).any(axis=0)
    given_out = None
    start = stop = 0
    for _ in range(data.draw(st.integers(1, 8))):
        if data.draw(st.integers(0, 5)) == 0:  # anywhere, as a strip of another worker
            start = data.draw(st.integers(0, height - 1))
        else:  # on from where the last one was, overlapping
            start = data.draw(st.integers(start, min(stop, height - 1)))
        stop = data.draw(st.integers(start + 1, height))
        rows = reader.rows(start, stop)
        for a, b, r in [(start, stop, rows)] + ([given_out] if given_out else []):
            np.testing.assert_array_equal(r.valid, valid[a:b])
            np.testing.assert_array_equal(r.pixels, expected[:, a:b])
            assert (r.start, r.stop) == (a, b)
        given_out = (start, stop, rows)
    reader.close()


LOSSY = {
    "jpeg": {"compress": "jpeg", "photometric": "ycbcr", "tiled": True, "blockxsize": 64, "blockysize": 64},
    "jpeg strips": {"compress": "jpeg", "photometric": "ycbcr", "blockysize": 16},
    "jpeg planes": {"compress": "jpeg", "interleave": "band", "blockysize": 24},
    "webp": {"compress": "webp", "tiled": True, "blockxsize": 64, "blockysize": 64},
    "lerc": {"compress": "lerc", "tiled": True, "blockxsize": 64, "blockysize": 64},
    "lerc_deflate": {"compress": "lerc_deflate", "blockysize": 7},
    "lerc_zstd": {"compress": "lerc_zstd", "interleave": "band"},
    "predictor": {"compress": "deflate", "predictor": 2, "interleave": "pixel"},
    "cog": {"driver": "COG", "blocksize": 128, "compress": "jpeg"},
}


@pytest.mark.parametrize("name", LOSSY)
def test_every_compression_reads_as_gdal_decodes_it(tmp_path, name):
    path = write_raster(tmp_path / "x.tif", noise(3, 301, 203), **LOSSY[name])
    pixels, valid = read_all(path, (3, 1, 2), step=96, overlap=32)
    with rasterio.open(path) as src:
        np.testing.assert_array_equal(pixels, src.read([3, 1, 2]))
        np.testing.assert_array_equal(valid, src.dataset_mask() > 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (3, 5), (1023, 31), (1025, 33)])
@pytest.mark.parametrize("profile", [{}, {"tiled": True, "blockxsize": 256, "blockysize": 256}, {"driver": "COG"}])
def test_small_and_odd_sizes(tmp_path, shape, profile):
    expected = noise(3, *shape)
    pixels, valid = read_all(write_raster(tmp_path / "x.tif", expected, **profile), (1, 2, 3))
    np.testing.assert_array_equal(pixels, expected)
    assert valid.all()


# Masks


def test_nodata_that_no_pixel_can_hold_marks_nothing(tmp_path):
    """rasterio does not write it; others do."""
    path = write_raster(tmp_path / "x.tif", noise(3, 20, 20), nodata=255)
    content = path.read_bytes()
    assert content.count(b"255\0") == 1
    path.write_bytes(content.replace(b"255\0", b"-99\0"))
    assert read_all(path, (1, 2, 3))[1].all()


def test_infinite_pixels_are_no_data(tmp_path):
    pixels = noise(2, 20, 20, dtype="float32")
    pixels[0, 3, 4], pixels[1, 5, 6], pixels[0, 7, 8] = np.inf, -np.inf, np.nan
    _, valid = read_all(write_raster(tmp_path / "x.tif", pixels), (1, 2))
    assert sorted(map(tuple, np.argwhere(~valid))) == [(3, 4), (5, 6), (7, 8)]


def test_alpha_that_is_asked_for_is_data(tmp_path):
    """Infrared in the fourth band is often called alpha."""
    pixels = noise(4, 30, 20)
    pixels[3, :5] = 0
    path = write_raster(tmp_path / "x.tif", pixels, photometric="rgb", alpha="yes")
    assert inspect(path).alpha_band == 4
    assert not read_all(path, (1, 2, 3))[1][:5].any()
    got, valid = read_all(path, (4, 1, 2))
    np.testing.assert_array_equal(got, pixels[[3, 0, 1]])
    assert valid.all()


def test_a_block_missing_in_one_band_is_missing(tmp_path):
    pixels = noise(3, 40, 20)
    path = tmp_path / "x.tif"
    profile = {"driver": "GTiff", "height": 40, "width": 20, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    transform = Affine(0.5, 0, 5e5, 0, -0.5, 5e6)
    with rasterio.open(
        path, "w", sparse_ok=True, interleave="band", blockysize=10, transform=transform, **profile
    ) as dst:
        dst.write(pixels[:2], [1, 2])
        dst.write(pixels[2, :30], 3, window=rasterio.windows.Window(0, 0, 20, 30))
    assert not read_all(path, (1, 2, 3))[1][30:].any()
    assert read_all(path, (1, 2, 3))[1][:30].all()
    assert read_all(path, (1, 2))[1].all()


def test_a_mask_file_with_a_mask_for_each_band(tmp_path):
    path = write_raster(tmp_path / "x.tif", noise(3, 30, 20))
    masks = np.full((3, 30, 20), 255, np.uint8)
    masks[0, :3], masks[1, 5:8], masks[2, :, 4] = 0, 0, 0
    write_raster(Path(f"{path}.msk"), masks, crs=None, transform=Affine.identity())
    np.testing.assert_array_equal(read_all(path, (1, 2, 3))[1], masks.all(axis=0))


# Blocks as tall as the scene, or nearly

TALL = {
    "one strip": {"blockysize": 2600, "compress": "deflate"},
    "one strip, planes": {"blockysize": 2600, "compress": "deflate", "interleave": "band"},
    "one strip, raw": {"blockysize": 2600},
    "one strip, raw planes": {"blockysize": 2600, "interleave": "band"},
    "strips of 1100": {"blockysize": 1100, "compress": "deflate"},
    "tiles of 2048": {"tiled": True, "blockxsize": 16, "blockysize": 2048, "compress": "deflate"},
    "tiles of 2048, planes": {"tiled": True, "blockxsize": 16, "blockysize": 2048, "interleave": "band"},
    "tiles of 1024": {"tiled": True, "blockxsize": 1024, "blockysize": 1024, "compress": "deflate"},
}


@pytest.mark.parametrize("name", TALL)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_tall_blocks(tmp_path, monkeypatch, name, dtype):
    """GDAL shows a strip of more than 2000 rows of bytes as rows, of which the file's own table knows nothing."""
    monkeypatch.setattr("geoseg.raster.env.CACHE_BYTES", 2**16)
    expected = noise(3, 2600, 90, dtype=dtype)
    path = write_raster(tmp_path / "x.tif", expected, **TALL[name])
    pixels, valid = read_all(path, (1, 2, 3))
    np.testing.assert_array_equal(pixels, expected)
    assert valid.all()
    assert decoded(path, (1, 2, 3)) < 1.3


# Each block is decoded once

SWEEPS = {
    "tiled": {"tiled": True, "blockxsize": 512, "blockysize": 512, "interleave": "pixel"},
    "tiled planes": {"tiled": True, "blockxsize": 512, "blockysize": 512, "interleave": "band"},
    "small tiles": {"tiled": True, "blockxsize": 256, "blockysize": 256, "interleave": "pixel"},
    "strips": {"blockysize": 16, "interleave": "pixel"},
    "strips of 700": {"blockysize": 700, "interleave": "pixel"},
    "planes": {"blockysize": 16, "interleave": "band"},
}


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_fetches_each_block_once(tmp_path, monkeypatch, name, alpha):
    """With a block cache far smaller than a tile row, as on a scene of 100,000 columns."""
    monkeypatch.setattr("geoseg.raster.env.CACHE_BYTES", 2**20)
    options = {"photometric": "rgb", "alpha": "yes"} if alpha else {}
    path = write_raster(
        tmp_path / "x.tif", noise(3 + alpha, 2900, 1100), compress="deflate", zlevel=1, **SWEEPS[name], **options
    )
    assert decoded(path, (1, 2, 3)) < 1.1


def test_a_block_that_cannot_be_decoded_is_named_with_its_rows(tmp_path):
    path = write_raster(tmp_path / "x.tif", noise(3, 400, 300), compress="deflate", blockysize=16)
    scene = inspect(path)
    content = bytearray(path.read_bytes())
    offset = BlockTable.read(path).directories[0].offsets[0, -1, 0]
    content[offset : offset + 100] = bytes(100)  # a broken header; a bit in the middle may go unseen
    path.write_bytes(content)
    reader = SceneReader(scene, (1, 2, 3))
    reader.rows(0, 100)
    for _ in range(2):  # again, for what failed must not be taken for read
        with pytest.raises(BrokenRaster, match=r"x\.tif: rows \d+–399 cannot be decoded .*Copy the file again"):
            reader.rows(90, 400)
    reader.close()


def test_a_scene_that_changed_since_it_was_planned(tmp_path):
    path = write_raster(tmp_path / "x.tif", noise(3, 40, 30))
    scene = inspect(path)
    write_raster(path, noise(3, 41, 30))
    with pytest.raises(BrokenRaster, match="is not the file that was planned with"):
        SceneReader(scene, (1, 2, 3))
    path.unlink()
    with pytest.raises(BrokenRaster, match="can no longer be opened"):
        SceneReader(scene, (1, 2, 3))
