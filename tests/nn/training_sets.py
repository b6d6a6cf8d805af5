"""Tiny training sets in every form, made by the tests: coloured squares that a network can learn in seconds."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from PIL import Image

COLORS = np.array([[90, 80, 60], [200, 60, 50], [120, 120, 125], [50, 140, 60]], np.uint8)
"""Ground, building, road, green."""
SIDE = 96
PIXEL_M = 0.5
ORIGIN = (500_000.0, 5_300_000.0)


def squares(seed: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) and class ids (H, W): rectangles on ground, with noise."""
    rng = np.random.default_rng(seed)
    label = np.zeros((side, side), np.uint8)
    for class_id in (3, 2, 1, 1):
        row, col = rng.integers(0, side - 40, 2)
        label[row : row + 32, col : col + 40] = class_id
    image = COLORS[label].astype(int) + rng.normal(0, 6, (side, side, 3))
    return image.clip(0, 255).astype(np.uint8), label


def write_tiff(path: Path, pixels: np.ndarray, column: int = 0, nodata: float | None = None) -> Path:
    """Write (H, W) or (H, W, C) as a GeoTIFF, the `column`-th of a row of images."""
    bands = np.moveaxis(np.atleast_3d(pixels), -1, 0)
    transform = rasterio.Affine(PIXEL_M, 0, ORIGIN[0] + column * SIDE * PIXEL_M, 0, -PIXEL_M, ORIGIN[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "count": len(bands),
        "height": bands.shape[1],
        "width": bands.shape[2],
        "nodata": nodata,
    }
    with rasterio.open(path, "w", dtype=bands.dtype, crs="EPSG:32633", transform=transform, **profile) as dst:
        dst.write(bands)
    return path


def raster_set(root: Path, count: int = 3) -> Path:
    for i in range(count):
        image, label = squares(i)
        write_tiff(root / "images" / f"a{i}.tif", image, i)
        write_tiff(root / "labels" / f"a{i}.tif", label, i)
    return root


def vector_set(root: Path, count: int = 3, crs: str = "EPSG:4326") -> Path:
    """One GeoPackage an image, a layer a class."""
    for i in range(count):
        image, label = squares(i)
        write_tiff(root / f"a{i}.tif", image, i)
        for class_id, layer in enumerate(("buildings", "roads", "green"), start=1):
            outlines(label == class_id, i).to_crs(crs).to_file(root / f"a{i}.gpkg", layer=layer)
    return root


def outlines(mask: np.ndarray, column: int = 0) -> gpd.GeoDataFrame:
    """The pixels of a mask, each a polygon: no tracing that could err with what is tested."""
    rows, cols = np.nonzero(mask)
    x, y = ORIGIN[0] + (column * SIDE + cols) * PIXEL_M, ORIGIN[1] - rows * PIXEL_M
    geometry = shapely.union_all(shapely.box(x, y - PIXEL_M, x + PIXEL_M, y))
    return gpd.GeoDataFrame(geometry=[geometry], crs="EPSG:32633")


def color_set(root: Path, count: int = 3) -> Path:
    for i in range(count):
        image, label = squares(i)
        (root / f"tile_{i}" / "images").mkdir(parents=True)
        (root / f"tile_{i}" / "masks").mkdir()
        Image.fromarray(image).save(root / f"tile_{i}" / "images" / "p.png")
        Image.fromarray(COLORS[label]).save(root / f"tile_{i}" / "masks" / "p.png")
    return root


def voc_set(root: Path, count: int = 3) -> Path:
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for i in range(count):
        image, label = squares(i)
        label[:2] = 255
        Image.fromarray(image).save(root / "JPEGImages" / f"2007_{i}.jpg", quality=95)
        indexed = Image.fromarray(label, mode="P")
        indexed.putpalette([*COLORS.ravel().tolist(), *[0] * (255 * 3 - COLORS.size), 224, 224, 192])
        indexed.save(root / "SegmentationClass" / f"2007_{i}.png")
    names = [f"2007_{i}" for i in range(count)]
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(names[:-1]) + "\n")
    (root / "ImageSets/Segmentation/val.txt").write_text(names[-1] + "\n")
    return root


def cityscapes_set(root: Path) -> Path:
    ids = np.array([7, 11, 6, 21], np.uint8)
    ids[[0, 2]] = (8, 7)
    for i, side in enumerate(("train", "train", "val")):
        image, label = squares(i)
        for kind in ("leftImg8bit", "gtFine"):
            (root / kind / side / "ulm").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / "leftImg8bit" / side / "ulm" / f"ulm_{i}_leftImg8bit.png")
        Image.fromarray(ids[label]).save(root / "gtFine" / side / "ulm" / f"ulm_{i}_gtFine_labelIds.png")
    return root


def source(form: str, root: Path) -> dict:
    """The settings of one of the sets above."""
    values = {"building": [1], "road": [2], "green": [3]}
    groups = {"group": "a(\\d)", "validation_groups": ["2"]}
    layers = {"building": "buildings", "road": "roads", "green": "green"}
    by_color = {"#c83c32": "building", "#78787d": "road", "#328c3c": "green", "#5a503c": "background"}
    forms = {
        "rasters": {"images": "images/*.tif", "labels": "../labels/{stem}.tif", "values": values} | groups,
        "vectors": {"images": "*.tif", "labels": "{stem}.gpkg", "layers": layers} | groups,
        "colors": {
            "images": "*/images/*.png", "labels": "../masks/{stem}.png", "colors": by_color,
            "group": "tile_(\\d)", "validation_groups": ["2"],
        },
        "voc": {"values": values},
        "cityscapes": {"values": {"building": [11], "road": [7], "green": [21]}},
    }  # fmt: skip
    return {"name": form, "form": form, "root": str(root), "pixel_size_m": PIXEL_M} | forms[form]


MAKERS = {
    "rasters": raster_set, "vectors": vector_set, "colors": color_set, "voc": voc_set, "cityscapes": cityscapes_set,
}  # fmt: skip


def settings(folder: Path, *sources: dict, **changes) -> Path:
    """A settings file of a training that takes seconds; JSON is YAML."""
    values = {
        "name": "tiny",
        "output": "model",
        "run_dir": "run",
        "sources": list(sources),
        "pixel_size_m": {"native": 0.5, "min": 0.4, "max": 0.6},
        "model": {"encoder": "tu-mobilenetv3_small_050", "settings": {"decoder_channels": [32, 16, 16, 8, 8]}},
        "optimization": {"learning_rate": 5e-3, "warmup_steps": 2},
        "steps": 8,
        "steps_per_epoch": 4,
        "batch": 2,
        "window_px": 64,
        "validation_window_px": 96,
        "workers": 0,
        "precision": "32",
    }
    path = folder / "train.yaml"
    path.write_text(json.dumps(values | changes))
    return path
