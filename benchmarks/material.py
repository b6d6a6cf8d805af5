"""Scenes and models to measure with, made once and kept in benchmarks/work."""

from pathlib import Path

import cv2
import numpy as np
import rasterio
import torch
from rasterio.windows import Window

from geoseg.contract import Contract
from geoseg.legend import DEFAULT_LEGEND
from geoseg.nn.architectures import build
from geoseg.nn.modeldir import save_model
from geoseg.town.plan import plan_town
from geoseg.town.settings import TownSettings
from geoseg.town.truth import class_raster
from geoseg.town.write import write_scene

WORK = Path(__file__).parent / "work"

CONTRACT = Contract.model_validate(
    {
        "name": "benchmark",
        "version": "1",
        "bands": ["red", "green", "blue"],
        "dtype": "uint8",
        "scaling": {"divide": 255, "mean": [0.5] * 3, "std": [0.5] * 3},
        "pixel_size_m": {"native": 0.5, "min": 0.25, "max": 1.2},
        "classes": DEFAULT_LEGEND.to_dict(),
        "licence": "none",
    }
)
COLORS = torch.tensor([[0.25, 0.2, 0.1], [0.1, -0.25, -0.35], [-0.15, -0.15, -0.1], [-0.35, -0.15, -0.5]])
"""Ground, roof, road and green in scaled units, for the network that costs nothing."""
PAINT = 0.6 * torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
"""Colours for the same of which no mixture of two is nearest to a third: a border stays a border when it is blurred."""

_PROFILE = {
    "driver": "GTiff",
    "count": 3,
    "dtype": "uint8",
    "photometric": "rgb",
    "crs": "EPSG:32633",
    "transform": rasterio.Affine(0.5, 0, 4e5, 0, -0.5, 5.4e6),
    "bigtiff": "if_safer",
    "tiled": True,
    "blockxsize": 512,
    "blockysize": 512,
    "compress": "deflate",
}


def resnet18() -> Path:
    """A model directory: U-Net on ResNet-18, random weights."""
    return _model("resnet18", lambda: build("Unet", {"encoder_name": "resnet18", "classes": 4}))


def stub(name: str = "stub", colors: torch.Tensor = COLORS) -> Path:
    """A model directory whose network costs almost nothing; every set of colours needs a name of its own."""
    return _model(name, lambda: build("ColorBaseline", {"in_channels": 3, "classes": 4}).classify_by(colors))


def _model(name: str, make) -> Path:
    folder = WORK / "models" / name
    if not (folder / "contract.json").exists():
        torch.manual_seed(0)
        save_model(make(), folder, CONTRACT, half=False)
    return folder


def town(size: int) -> Path:
    """A rendered town of size² pixels at 0.5 m: tiled 512, DEFLATE, uint8 RGB."""
    path = WORK / "scenes" / f"town_{size}.tif"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_scene(plan_town(TownSettings(size_px=(size, size), pixel_size_m=0.5, seed=3)), path)
    return path


def painted(size: int) -> Path:
    """The map of that town in the colours of `PAINT`: a stub that looks for them errs no more than a good network."""
    path = WORK / "scenes" / f"painted_{size}.tif"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        plan = plan_town(TownSettings(size_px=(size, size), pixel_size_m=0.5, seed=3))
        paint = np.rint((PAINT.numpy() * 0.5 + 0.5) * 255).astype(np.int16)
        rng = np.random.default_rng(0)
        with rasterio.open(path, "w", height=size, width=size, **_PROFILE) as dst:
            for row in range(0, size, 1024):
                classes = class_raster(plan, (row, min(row + 1024, size)))
                pixels = paint[classes].transpose(2, 0, 1) + rng.integers(-6, 7, (3, *classes.shape), np.int16)
                dst.write(pixels.clip(1, 255).astype(np.uint8), window=Window(0, row, size, len(classes)))
    return path


def texture(height: int, width: int, **profile) -> Path:
    """Coloured noise of any size, made quickly: speed and memory of everything but the vectors do not see the difference."""
    path = WORK / "scenes" / f"texture_{height}_{width}{'_'.join(['', *map(str, profile.values())])}.tif"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    base = sum(
        s * 2 * cv2.GaussianBlur(rng.normal(0, 1, (1024, 1024)).astype(np.float32), (0, 0), s) for s in (2, 8, 32)
    )
    square = np.stack(
        [np.clip(110 + 30 * base + rng.normal(0, 2, base.shape) + d, 1, 255) for d in (0, 10, -10)]
    ).astype(np.uint8)
    with rasterio.open(path, "w", height=height, width=width, **_PROFILE | profile) as dst:
        for row in range(0, height, 1024):
            rows = np.concatenate(
                [np.roll(square, (37 * row // 1024 + 91 * c, 53 * c), (1, 2)) for c in range(-(-width // 1024))], 2
            )
            count = min(1024, height - row)
            dst.write(rows[:, :count, :width], window=Window(0, row, width, count))
    return path
