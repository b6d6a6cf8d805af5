"""Every file that cannot be mapped is refused by its header, with its class and in one line."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC

from geoseg.errors import BrokenRaster, ContractError, NotARaster, NotGeoreferenced, SceneError
from geoseg.raster.checks import Limits
from geoseg.raster.read import SceneReader
from geoseg.raster.scene import inspect
from tests.conftest import write_raster
from tests.raster.hostile import GEO_TAGS, LONG8, SHORT, image_tags, tiff

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

PIXELS = np.random.default_rng(5).integers(0, 256, (3, 40, 50), dtype=np.uint8)
NORTH_UP = Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000)


def refused(path, kind, text, **options):
    """The message, after checking that it is one line that names the file and says what to do."""
    with pytest.raises(kind, match=text) as caught:
        inspect(path, **options)
    message = str(caught.value)
    assert type(caught.value) is kind
    assert message.startswith(f"{path}")
    assert message.endswith(".")
    assert "\n" not in message
    assert re.search(r"\. [A-Z][^.]+( [^ ]+)*\.$", message), f"no advice: {message}"
    return message


# Not a raster

NOT_RASTERS = {
    "text": (b"easting,northing\n1,2\n", r"not a TIFF \(begins with b'east'\).*Convert it"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a TIFF"),
    "empty": (b"", r"empty \(0 bytes\)"),
    "three bytes": (b"II*", "not a TIFF"),
    "zeros": (bytes(4096), "not a TIFF"),
    "vrt": (b"<VRTDataset rasterXSize='9' rasterYSize='9'/>", "XML description .*Name the file it points to"),
    "wms": (b"\xef\xbb\xbf \n<GDAL_WMS><Service name='TMS'/></GDAL_WMS>", "XML description"),
}


@pytest.mark.parametrize("name", NOT_RASTERS)
def test_not_a_raster(tmp_path, name):
    content, text = NOT_RASTERS[name]
    path = tmp_path / "x.tif"
    path.write_bytes(content)
    refused(path, NotARaster, text)


def test_a_vrt_named_tif_reaches_no_other_file(tmp_path):
    """As a VRT it would hand out the bytes of any file it names."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(100)))
    path = tmp_path / "x.tif"
    path.write_text(
        f"""<VRTDataset rasterXSize="10" rasterYSize="10"><VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand">
        <SourceFilename>{secret}</SourceFilename></VRTRasterBand></VRTDataset>"""
    )
    refused(path, NotARaster, "XML description")


def test_missing_folder_pipe_and_broken_links(tmp_path):
    refused(tmp_path / "none.tif", NotARaster, "cannot be read .No such file")
    (tmp_path / "folder.tif").mkdir()
    refused(tmp_path / "folder.tif", NotARaster, "a folder, but a GeoTIFF file is needed")
    (tmp_path / "loop.tif").symlink_to(tmp_path / "loop.tif")
    refused(tmp_path / "loop.tif", NotARaster, "cannot be read .Too many levels")
    (tmp_path / "broken.tif").symlink_to(tmp_path / "nowhere.tif")
    refused(tmp_path / "broken.tif", NotARaster, "cannot be read")
    os.mkfifo(tmp_path / "pipe.tif")
    started = time.monotonic()
    refused(tmp_path / "pipe.tif", NotARaster, "a pipe, socket or device")
    refused(Path("/dev/zero"), NotARaster, "a pipe, socket or device")
    assert time.monotonic() - started < 5


def test_a_file_that_may_not_be_read(tmp_path):
    path = write_raster(tmp_path / "x.tif", PIXELS)
    path.chmod(0)
    me = os.geteuid()
    if me == 0:  # root may read everything; nobody may not
        os.seteuid(65534)
    try:
        refused(path, NotARaster, "cannot be read .Permission denied.*that you may read it")
    finally:
        os.seteuid(me)


# Truncated

LAYOUTS = {
    "tiled": {"tiled": True, "blockxsize": 128, "blockysize": 128},
    "stripped": {"blockysize": 16},
    "one strip": {"blockysize": 400},
    "planes": {"blockysize": 16, "interleave": "band"},
    "cog": {"driver": "COG", "blocksize": 128},
}
NOISE = np.random.default_rng(7).integers(0, 256, (3, 400, 300), dtype=np.uint8)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Files of every layout and compression, made once."""
    made = {}

    def make(layout, compress):
        if (layout, compress) not in made:
            path = tmp_path_factory.mktemp("whole") / "x.tif"
            options = {"compress": compress} if compress != "none" else {}
            if compress == "jpeg" and layout != "planes":
                options["photometric"] = "ycbcr"
            if layout == "cog":
                options.pop("photometric", None)
            write_raster(path, NOISE, **LAYOUTS[layout], **options)
            made[layout, compress] = path.read_bytes()
        return made[layout, compress]

    return make


@pytest.mark.parametrize("compress", ["none", "deflate", "lzw", "zstd", "jpeg", "webp", "lerc", "packbits", "lzma"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_truncated(tmp_path, whole, layout, compress):
    if compress == "webp" and layout == "planes":
        pytest.skip("WebP interleaves its bands")
    if compress == "packbits" and layout == "cog":
        pytest.skip("the COG driver has no PackBits")
    content = whole(layout, compress)
    path = tmp_path / "x.tif"
    path.write_bytes(content)
    assert inspect(path).width == 300
    for keep in (int(len(content) * 0.995), int(len(content) * 0.6), 200, 40, 12, 7):
        path.write_bytes(content[:keep])
        message = refused(path, BrokenRaster, "truncated: .*Copy it again from its source")
        assert f"{keep:,}" in message


def test_a_mask_that_was_cut_off(tmp_path):
    """GDAL opens the file without a word, and without the mask where the mask's directory is gone."""
    path = tmp_path / "x.tif"
    mask = np.random.default_rng(3).integers(0, 2, (400, 300), dtype=np.uint8) * 255
    write_raster(path, NOISE, blockysize=16, compress="deflate")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dst:
        dst.write_mask(mask)
    assert inspect(path).has_mask
    content = path.read_bytes()
    before = write_raster(tmp_path / "plain.tif", NOISE, blockysize=16, compress="deflate").stat().st_size
    for keep in (len(content) - 20, before + 10):
        path.write_bytes(content[:keep])
        refused(path, BrokenRaster, "truncated")


def test_truncated_mask_beside_the_scene(tmp_path):
    path = write_raster(tmp_path / "x.tif", NOISE)
    mask = write_raster(tmp_path / "mask.tif", NOISE[:1], crs=None, transform=Affine.identity()).read_bytes()
    Path(f"{path}.msk").write_bytes(mask[:-50])
    refused(path, BrokenRaster, r"x\.tif\.msk: truncated")
    Path(f"{path}.msk").write_bytes(b"no mask at all")
    refused(path, BrokenRaster, r"x\.tif\.msk: not a mask .*Remove it")
    Path(f"{path}.msk").unlink()
    write_raster(Path(f"{path}.msk"), NOISE[:1, :100], crs=None, transform=Affine.identity())
    refused(path, BrokenRaster, r"x\.tif\.msk: a mask of 300 × 100 pixels, but its scene has 300 × 400")


def test_directories_that_end_too_early(tmp_path):
    path = tmp_path / "x.tif"
    geo = GEO_TAGS
    path.write_bytes(tiff(image_tags(64, 64, offsets=(400,), sizes=(4096,)) | geo, pad_to=400, data=bytes(4096)))
    assert inspect(path).height == 64
    path.write_bytes(tiff(image_tags(64, 64, block=(8, None), offsets=(400,) * 3, sizes=(512,) * 3) | geo, pad_to=5000))
    refused(path, BrokenRaster, "its directory lists 3 blocks, but the size it declares needs 8")
    path.write_bytes(
        tiff(
            image_tags(64, 64, offsets=(400,), sizes=(4096,)) | geo, next_directory=10**6, pad_to=400, data=bytes(4096)
        )
    )
    refused(path, BrokenRaster, "truncated: its directory needs 1,000,002 bytes, but the file has 4,496")
    path.write_bytes(b"II*\0\0\0\0\0" + bytes(100))
    refused(path, BrokenRaster, "a TIFF without any image")


def test_hostile_numbers_end_in_refusals(tmp_path):
    """Counts and offsets of up to 2⁶⁴ − 1 neither take memory nor time."""
    path = tmp_path / "x.tif"
    top = 2**64 - 1
    tags = image_tags(64, 64) | GEO_TAGS | {273: (LONG8, (top,)), 279: (LONG8, (top,))}
    for offset, size in ((top, top), (2**63 - 1, 2**63 - 1), (400, 2**63 - 1), (2**40, 4096)):
        tags |= {273: (LONG8, (offset,)), 279: (LONG8, (size,))}
        path.write_bytes(tiff(tags, big=True, pad_to=5000))
        refused(path, BrokenRaster, "truncated|cannot open")
    content = bytearray(tiff(tags, big=True, pad_to=5000))
    content[16:24] = top.to_bytes(8, "little")  # 2⁶⁴ − 1 tags
    path.write_bytes(content)
    refused(path, BrokenRaster, "truncated")
    path.write_bytes(tiff(image_tags(64, 64) | GEO_TAGS | {278: (SHORT, (0,))}, pad_to=5000))
    with pytest.raises(SceneError):
        inspect(path)
    path.write_bytes(tiff(image_tags(0, 64) | GEO_TAGS, pad_to=5000))
    refused(path, BrokenRaster, "a TIFF of 64 × 0 pixels")


def test_a_chain_of_directories_that_bites_its_tail_ends(tmp_path):
    path = tmp_path / "x.tif"
    tags = image_tags(64, 64, offsets=(400,), sizes=(4096,)) | GEO_TAGS
    path.write_bytes(tiff(tags, next_directory=8, pad_to=400, data=bytes(4096)))
    assert inspect(path).height == 64


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_broken_headers_are_refused_or_read_but_never_crash(tmp_path, layout):
    """A few bytes of the header, changed at random: a SceneError, or rows of pixels."""
    path = write_raster(tmp_path / "x.tif", NOISE[:, :100, :80], compress="deflate", **LAYOUTS[layout])
    content = path.read_bytes()
    random = np.random.default_rng(17)
    outcomes = set()
    for _ in range(150):
        broken = bytearray(content)
        for at in random.integers(0, 600, random.integers(1, 6)):
            broken[at] = random.integers(0, 256)
        path.write_bytes(broken)
        try:
            scene = inspect(path)
            reader = SceneReader(scene, scene.color_bands)
            reader.rows(0, min(scene.height, 100))
            reader.close()
            outcomes.add("read")
        except SceneError as exc:
            outcomes.add(type(exc))
    assert {"read", BrokenRaster, NotGeoreferenced} <= outcomes


def test_a_crs_whose_name_is_no_text(tmp_path):
    path = write_raster(tmp_path / "x.tif", PIXELS, crs='LOCAL_CS["Gauss-Kruger",UNIT["metre",1]]')
    content = path.read_bytes()
    assert b"Gauss-Kruger" in content
    path.write_bytes(content.replace(b"Gauss-Kruger", "Gauß-Krüger.".encode("latin-1")))
    refused(path, NotGeoreferenced, "the name of its CRS is not UTF-8 text. Set the CRS anew")


# Sizes beyond belief


def test_a_bomb_of_200_bytes(tmp_path):
    """One tile of 32768² × 3: reading a single pixel of it would allocate 3 GB."""
    path = tmp_path / "x.tif"
    tags = image_tags(32768, 32768, bands=3, block=(32768, 32768), offsets=(150,), sizes=(8,)) | GEO_TAGS
    path.write_bytes(tiff(tags, pad_to=400))
    refused(
        path,
        BrokenRaster,
        r"one block of 32768 × 32768 pixels takes 3,072 MiB, over the limit of 256\. Rewrite it tiled",
    )


def test_declared_sizes_beyond_the_limits(tmp_path):
    path = write_raster(tmp_path / "x.tif", PIXELS)
    refused(
        path,
        BrokenRaster,
        "declares 50 × 40 pixels, over the limit of 1,999. If that is true, `geoseg map` takes it with a higher limits.max_pixels",
        limits=Limits(max_pixels=1999),
    )
    refused(
        path,
        BrokenRaster,
        "declares 3 bands, over the limit of 2. If that is true, `geoseg map` takes it with a higher limits.max_bands",
        limits=Limits(max_bands=2),
    )
    refused(path, BrokenRaster, "one block of 50 × 40 pixels takes", limits=Limits(max_block_bytes=5999))
    assert inspect(path, Limits(max_pixels=2000, max_bands=3, max_block_bytes=6000)).width == 50


def test_a_small_file_that_declares_much(tmp_path):
    """All blocks are the same eight bytes."""
    path = tmp_path / "x.tif"
    tags = image_tags(2**17, 2**17, block=(2**14, 2**14), offsets=(1000,) * 64, sizes=(8,) * 64) | GEO_TAGS
    path.write_bytes(tiff(tags, pad_to=1008))
    refused(
        path,
        BrokenRaster,
        "1,008 bytes declare 17,179,869,184 bytes of pixels, over 100,000 to 1. If that is true, `geoseg map` takes it with a higher limits.max_ratio",
    )


def test_one_strip_that_declares_much(tmp_path):
    """GDAL shows it as blocks of one row."""
    path = tmp_path / "x.tif"
    deflate = {259: (SHORT, (8,))}
    tags = image_tags(4_000_000, 60_000, bands=3, offsets=(1000,), sizes=(5000,)) | GEO_TAGS | deflate
    path.write_bytes(tiff(tags, pad_to=1000, data=bytes(5000)))
    refused(path, BrokenRaster, "6,000 bytes declare 720,000,000,000 bytes of pixels, over 100,000 to 1")


def test_one_compressed_strip_is_read_whole_and_so_is_limited(tmp_path):
    noise, limits = np.random.default_rng(0).integers(0, 255, (1, 4000, 50), np.uint8), Limits(max_block_bytes=100_000)
    one = write_raster(tmp_path / "one.tif", noise, compress="deflate", blockysize=4000)
    refused(one, BrokenRaster, r"one compressed block takes .* Rewrite it tiled", limits=limits)
    assert inspect(write_raster(tmp_path / "raw.tif", noise, blockysize=4000), limits)
    assert inspect(write_raster(tmp_path / "strips.tif", noise, compress="deflate", blockysize=64), limits)


def test_scenes_of_one_colour_and_sparse_scenes_are_no_bombs(tmp_path):
    one = np.zeros((3, 4096, 4096), np.uint8)
    assert inspect(
        write_raster(tmp_path / "one.tif", one, compress="zstd", tiled=True, blockxsize=1024, blockysize=1024)
    )
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": 60_000, "width": 60_000, "crs": "EPSG:32633"}
    with rasterio.open(tmp_path / "sparse.tif", "w", sparse_ok=True, tiled=True, transform=NORTH_UP, **profile):
        pass
    assert inspect(tmp_path / "sparse.tif").height == 60_000


# Pixels of no usable type


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "complex_int16"])
def test_complex_pixels(tmp_path, dtype):
    path = write_raster(tmp_path / "x.tif", PIXELS.astype("complex64"), dtype=dtype)
    refused(path, ContractError, f"pixels of type {dtype}, but one type of whole or real numbers is needed. Convert it")


def test_bands_of_several_types(tmp_path):
    """TIFF could hold them; libtiff does not open them."""
    path = tmp_path / "x.tif"
    tags = image_tags(64, 64, bands=3, offsets=(500,), sizes=(16384,)) | GEO_TAGS | {258: (SHORT, (8, 8, 16))}
    path.write_bytes(tiff(tags, pad_to=500, data=bytes(16384)))
    refused(path, BrokenRaster, "GDAL cannot open it")


def test_pixels_of_an_unknown_format(tmp_path):
    path = tmp_path / "x.tif"
    tags = image_tags(64, 64, offsets=(500,), sizes=(20480,)) | GEO_TAGS | {258: (SHORT, (40,))}
    path.write_bytes(tiff(tags, pad_to=500, data=bytes(20480)))
    with pytest.raises(SceneError):
        inspect(path)


# Grids that cannot be carried through

TRANSFORMS = {
    "rotated": ((1, 0.5, 0, 0.5, -1, 0), r"rotated or sheared \(1.0, 0.5, .*Warp it with gdalwarp"),
    "sheared": ((1, 0.5, 0, 0, -1, 0), "rotated or sheared"),
    "south-up": ((1, 0, 0, 0, 1, 7), r"south-up or mirrored \(pixel size 1.0, 1.0\), but must be north-up"),
    "mirrored": ((-1, 0, 0, 0, -1, 7), "south-up or mirrored"),
    "NaN": ((float("nan"), 0, 0, 0, -1, 0), "is not finite. Georeference it anew"),
    "infinite": ((1, 0, float("inf"), 0, -1, 0), "is not finite"),
    "huge": ((1e300, 0, 0, 0, -1e300, 0), "pixel size 1e.300, -1e.300 is not believable"),
    "tiny": ((1e-15, 0, 0, 0, -1e-15, 0), "is not believable"),
    "zero": ((0, 0, 0, 0, 0, 0), "no geotransform"),
    "zero size": ((0, 0, 5, 0, 0, 5), "is not believable"),
    "far away": ((1, 0, 1e12, 0, -1, 0), "its corners .* do not lie in"),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_grids(tmp_path, name):
    transform, text = TRANSFORMS[name]
    path = write_raster(tmp_path / "x.tif", PIXELS, transform=Affine(*transform))
    refused(path, NotGeoreferenced, text)
    if name != "zero":  # that one is none at all
        refused(path, NotGeoreferenced, text, allow_ungeoreferenced=True)


def test_rounding_is_no_rotation(tmp_path):
    turned = Affine(0.5, 1e-13, 5e5, -1e-13, -0.5, 5e6)
    assert inspect(write_raster(tmp_path / "x.tif", PIXELS, transform=turned)).transform == (0.5, 0, 5e5, 0, -0.5, 5e6)
    path = write_raster(tmp_path / "y.tif", PIXELS, transform=Affine(0.5, 2e-5, 5e5, 0, -0.5, 5e6))
    refused(path, NotGeoreferenced, "rotated")


REFERENCES = {
    "no CRS": ({"crs": None}, "no CRS, but a projected or geographic one is needed. Set it with gdal_edit.py -a_srs"),
    "no grid": ({"transform": Affine.identity()}, "no geotransform, but a north-up grid is needed. Set it"),
    "local": ({"crs": 'LOCAL_CS["site",UNIT["metre",1]]'}, "its CRS 'site' is local, geocentric or vertical"),
    "geocentric": ({"crs": "EPSG:4978"}, "is local, geocentric or vertical"),
    "vertical": ({"crs": "EPSG:5773"}, "is local, geocentric or vertical"),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_missing_references(tmp_path, name):
    changes, text = REFERENCES[name]
    path = write_raster(tmp_path / "x.tif", PIXELS, **changes)
    refused(path, NotGeoreferenced, f"{text}.*--allow-ungeoreferenced")
    assert inspect(path, allow_ungeoreferenced=True).crs_wkt == ""


def test_control_points_and_polynomials(tmp_path):
    path = write_raster(tmp_path / "gcp.tif", PIXELS, crs=None, transform=Affine.identity())
    with rasterio.open(path, "r+") as dst:
        dst.gcps = [GroundControlPoint(0, 0, 1, 1), GroundControlPoint(10, 10, 2, 0)], "EPSG:4326"
    refused(path, NotGeoreferenced, "georeferenced by 2 ground control points, but a regular grid is needed. Warp it")
    assert inspect(path, allow_ungeoreferenced=True).crs_wkt == ""
    path = write_raster(tmp_path / "rpc.tif", PIXELS, crs=None, transform=Affine.identity())
    ones = dict.fromkeys(("height_off", "height_scale", "lat_off", "lat_scale", "line_off", "line_scale"), 1.0)
    ones |= dict.fromkeys(("long_off", "long_scale", "samp_off", "samp_scale"), 1.0)
    many = {n: [1.0] * 20 for n in ("line_den_coeff", "line_num_coeff", "samp_den_coeff", "samp_num_coeff")}
    with rasterio.open(path, "r+") as dst:
        dst.rpcs = RPC(**ones, **many)
    refused(path, NotGeoreferenced, r"georeferenced by rational polynomials \(RPC\), but a regular grid is needed")


def test_metres_that_are_called_degrees(tmp_path):
    path = write_raster(tmp_path / "x.tif", PIXELS, crs="EPSG:4326")
    refused(path, NotGeoreferenced, r"its corners \(500000, 5.3e\+06\) .* do not lie in 'WGS 84'. Set the right CRS")
    round_the_world = Affine(0.1, 0, 0, 0, -0.1, 2)
    pixels = np.zeros((1, 40, 3600), np.uint8)
    assert inspect(write_raster(tmp_path / "y.tif", pixels, crs="EPSG:4326", transform=round_the_world))


@pytest.mark.parametrize(("crs", "place"), [("ESRI:102003", (5e5, 5.5e6)), ("EPSG:3035", (4e6, 2.9e7))])
def test_a_grid_of_another_projection(tmp_path, crs, place):
    """Of one that has no inverse there."""
    path = write_raster(tmp_path / "x.tif", PIXELS, crs=crs, transform=Affine(0.5, 0, place[0], 0, -0.5, place[1]))
    refused(path, NotGeoreferenced, r"do not lie in .* Set the right CRS")


@pytest.mark.parametrize("crs", ["EPSG:25832+5783", "EPSG:2263", "EPSG:3857", "ESRI:54009", "EPSG:3031"])
def test_maps_of_any_kind_are_taken(tmp_path, crs):
    assert inspect(write_raster(tmp_path / "x.tif", PIXELS, crs=crs)).crs_wkt


# Files beside the scene


def test_files_beside_the_scene_move_nothing(tmp_path):
    path = write_raster(tmp_path / "x.tif", PIXELS)
    before = inspect(path)
    Path(f"{path}.aux.xml").write_text(
        """<PAMDataset><SRS>EPSG:4326</SRS><GeoTransform>1,2,0,3,0,-2</GeoTransform>
        <PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand></PAMDataset>"""
    )
    path.with_suffix(".tfw").write_text("9\n0\n0\n-9\n1\n2\n")
    (tmp_path / "x.prj").write_text('GEOGCS["other"]')
    after = inspect(path)
    assert (after.crs_wkt, after.transform, after.nodata) == (before.crs_wkt, before.transform, None)
    assert after.identity == before.identity
    bare = write_raster(tmp_path / "bare.tif", PIXELS, crs=None, transform=Affine.identity())
    bare.with_suffix(".tfw").write_text("9\n0\n0\n-9\n1\n2\n")
    refused(bare, NotGeoreferenced, "no geotransform")


@pytest.mark.parametrize(
    "name",
    ["Łódź übersicht 東京.tif", "a b#c?d!e%20.tif", "line\nbreak.tif", "GTIFF_DIR:2:x.tif", "-o.TIF", "x[1]*.tiff"],
)
def test_names(tmp_path, monkeypatch, name):
    write_raster(tmp_path / "plain.tif", PIXELS).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert inspect(Path(name)).height == 40
    assert inspect(tmp_path / name).height == 40


def test_the_environment_brings_back_no_sidecar(tmp_path):
    """GDAL's options are often set for a whole machine."""
    path = write_raster(tmp_path / "x.tif", PIXELS)
    Path(f"{path}.aux.xml").write_text("<PAMDataset><SRS>EPSG:4326</SRS></PAMDataset>")
    code = "import sys, pathlib; from geoseg.raster.scene import inspect; print(inspect(pathlib.Path(sys.argv[1])).crs_wkt)"
    options = {"GDAL_PAM_ENABLED": "YES", "GDAL_DISABLE_READDIR_ON_OPEN": "FALSE"}
    command = [sys.executable, "-c", code, path]
    done = subprocess.run(command, env={**os.environ, **options}, capture_output=True, text=True, check=True)
    assert "UTM zone 33N" in done.stdout


def test_big_endian_and_bigtiff(tmp_path):
    for name, options in {"big": {"bigtiff": "yes"}, "msb": {"endianness": "big"}}.items():
        assert inspect(write_raster(tmp_path / f"{name}.tif", PIXELS.astype("uint16"), **options)).dtype == "uint16"
    tags = image_tags(64, 64, offsets=(500,), sizes=(4096,)) | GEO_TAGS
    for big in (False, True):
        path = tmp_path / "hand.tif"
        path.write_bytes(tiff(tags, order=">", big=big, pad_to=500, data=bytes(4096)))
        assert inspect(path).transform == (0.5, 0, 500_000, 0, -0.5, 5_300_000)


def test_limits_are_those_of_the_settings():
    from geoseg.config import LimitSettings

    assert Limits(**LimitSettings().model_dump()) == Limits()
