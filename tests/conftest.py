"""Scenes and models that several tests share, made once."""

import contextlib
import io
import os
import runpy
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from geoseg.contract import Contract
from geoseg.legend import DEFAULT_LEGEND
from geoseg.nn.architectures import build
from geoseg.nn.modeldir import save_model

TOWN_COLORS = torch.tensor([[0.25, 0.2, 0.1], [0.1, -0.25, -0.35], [-0.15, -0.15, -0.1], [-0.35, -0.15, -0.5]])
"""Ground, roof, road and green in scaled units (−1 … 1), for a classifier by colour."""


def make_contract(**changes) -> Contract:
    values = {
        "name": "test",
        "version": "1",
        "bands": ["red", "green", "blue"],
        "dtype": "uint8",
        "scaling": {"divide": 255, "mean": [0.5] * 3, "std": [0.5] * 3},
        "pixel_size_m": {"native": 0.5, "min": 0.25, "max": 1.2},
        "classes": DEFAULT_LEGEND.to_dict(),
        "licence": "none",
    }
    return Contract.model_validate(values | changes)


@pytest.fixture(scope="session")
def contract() -> Contract:
    return make_contract()


@pytest.fixture(scope="session")
def color_model(tmp_path_factory) -> Path:
    """A model directory whose network costs nothing and whose map is full of detail."""
    folder = tmp_path_factory.mktemp("models") / "color"
    network = build("ColorBaseline", {"in_channels": 3, "classes": 4}).classify_by(TOWN_COLORS)
    save_model(network, folder, make_contract(), half=False)
    return folder


@pytest.fixture(scope="session")
def unet_model(tmp_path_factory) -> Path:
    """A model directory with a real U-Net with random, repeatable weights."""
    folder = tmp_path_factory.mktemp("models") / "unet"
    torch.manual_seed(3)
    network = build("Unet", {"encoder_name": "resnet18", "classes": 4, "decoder_channels": [64, 32, 16, 16, 8]})
    for module in network.modules():  # random statistics, or the untrained logits would be all alike
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.1, 0.5)
    save_model(network, folder, make_contract(), half=False)
    return folder


@pytest.fixture(scope="session")
def town_scene(tmp_path_factory) -> Path:
    """A rendered town of 1400 × 1100 pixels with a nodata collar."""
    from geoseg.town.plan import plan_town
    from geoseg.town.settings import TownSettings
    from geoseg.town.write import write_scene

    path = tmp_path_factory.mktemp("scenes") / "town.tif"
    write_scene(plan_town(TownSettings(size_px=(1400, 1100), pixel_size_m=0.5, seed=11, collar=True)), path)
    return path


def run_script(path: Path, *arguments) -> tuple[int, str]:
    """Exit code and standard error of `python PATH ARGUMENTS`, run in this process: another takes seconds to start."""
    before, sys.argv = sys.argv, [str(path), *map(str, arguments)]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
    finally:
        sys.argv = before
    return ended.value.code, said.getvalue()


def write_raster(path: Path, pixels: np.ndarray, **profile) -> Path:
    """Write (bands, rows, cols) as a georeferenced GeoTIFF; `profile` overrides."""
    count, height, width = pixels.shape
    values = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": count,
        "dtype": pixels.dtype.name,
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000),
    }
    with rasterio.open(path, "w", **values | profile) as dst:
        dst.write(pixels)
    return path
