"""Reads training sources into labelled scenes: images beside class ids, whatever form the labels came in.

Everything that is wrong with a source is said here, before the first epoch.
"""

import glob
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image

from geoseg.errors import TrainingError
from geoseg.legend import Legend
from geoseg.nn.ground import ImageGrid, ground_mask, mosaic_offsets, read_geotiff, read_labels
from geoseg.nn.say import say
from geoseg.nn.spill import Spill
from geoseg.nn.town_source import town_chips
from geoseg.nn.vector_labels import check_words, paint_vectors
from geoseg.train_config import (
    CityscapesSource,
    ColorSource,
    Ground,
    RasterSource,
    Source,
    TownSource,
    TrainConfig,
    VectorSource,
    VocSource,
)

IGNORE = 255
"""Label of pixels that say nothing: unlabelled, or ground of the other side of the split."""

UNSEEN = 254
"""Label of nodata pixels while scenes are cut to windows; a window tells them by its mask and ignores them."""

MOST_GROWN = 0.55
"""Smallest pixel size that windows are drawn at, relative to the scene's own: growing it more would teach blur."""

Labels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledScene:
    """One image with the truth about it."""

    source: str
    """Name of the source."""
    path: Path
    group: str
    """What must stay on one side of the split."""
    image: NDArray[Any]
    """(H, W, C), in the dtype of the model's contract."""
    label: Labels
    """(H, W) class ids; IGNORE where nothing is known, UNSEEN where the image has no data."""
    pixel_size_m: float
    known: tuple[bool, ...]
    """By class id: whether the source labels it. Background is known everywhere."""
    grid: ImageGrid | None = None
    """None for images without a CRS."""
    validation: bool = False
    ground: Any = None
    """Polygon in degrees that its labels lie in; None: all of the grid."""


def read_source(source: Source, config: TrainConfig, spill: Spill) -> list[LabelledScene]:
    """All scenes of a source, split into training and validation; what memory is too small for is kept by `spill`.

    Raises TrainingError for missing images or labels, unknown colours or values, labels that do not overlap their
    images, and a split that leaks.
    """
    readers: dict[type, Callable[[Any, TrainConfig], Iterator[LabelledScene]]] = {
        RasterSource: _rasters,
        VectorSource: _vectors,
        ColorSource: _colors,
        VocSource: _voc,
        CityscapesSource: _cityscapes,
        TownSource: _towns,
    }
    scenes = [_kept(s, spill) for s in readers[type(source)](source, config)]
    if not scenes:
        raise TrainingError(f"source '{source.name}': no images under {source.root}; check `root` and `images`.")
    scenes = _split_by_group(scenes, source)
    if isinstance(source, RasterSource) and source.mosaic:
        sides = ([s for s in scenes if s.validation is side] for side in (False, True))
        scenes = [_kept(m, spill) for side in sides for m in _mosaics(side)]
    if source.validation_ground is not None:
        parts = (part for scene in scenes for part in _split_by_ground(scene, source.validation_ground))
        scenes = [replace(part, label=spill.keep(part.label)) for part in parts]
    if limits := source.ignore_larger_m2:
        scenes = [s if s.validation else _without_blocks(s, limits, config.legend, spill) for s in scenes]
    return scenes


def _kept(scene: LabelledScene, spill: Spill) -> LabelledScene:
    return replace(scene, image=spill.keep(scene.image), label=spill.keep(scene.label))


def known_classes(source: Source, legend: Legend) -> tuple[bool, ...]:
    """By class id, whether `source` labels it."""
    if source.labelled is None:
        return (True,) * legend.channels
    return (True, *(c.name in source.labelled for c in legend))


def _rasters(source: RasterSource, config: TrainConfig) -> Iterator[LabelledScene]:
    lut = _value_table(source.values, source.ignore, config.legend)
    named = {0}.union(*source.values.values())
    filler = next((values[0] for values in source.values.values() if values), 0)
    for path in _images(source, source.images):
        image, valid, grid = read_geotiff(path, config.bands, config.dtype, source.bands)
        values, says = read_labels(_label_path(source, path), named, grid)
        known = _look_up(np.where(says, values, filler), lut, source, path)
        label = np.where(says, known, IGNORE).astype(np.uint8)
        yield _scene(source, config, path, image, label, grid, valid)


def _vectors(source: VectorSource, config: TrainConfig) -> Iterator[LabelledScene]:
    remarks: list[str] = []
    astray: dict[Path, bool] = {}  # label file → whether no image has a feature of it; images may share one
    for path in _images(source, source.images):
        image, valid, grid = read_geotiff(path, config.bands, config.dtype, source.bands)
        if grid is None:
            raise TrainingError(
                f"{path}: no CRS, so vector labels cannot be laid over it. Set it with gdal_edit.py -a_srs."
            )
        label_path = _label_path(source, path)
        painted = paint_vectors(label_path, source, config.legend, grid)
        astray[label_path] = astray.get(label_path, True) and painted.astray
        remarks += [text] if (text := painted.remark(path)) else []
        yield _scene(source, config, path, image, painted.label, grid, valid)
    for path, all_are in astray.items():
        if all_are:
            raise TrainingError(f"{path}: no feature overlaps the ground of an image; check the CRS of both.")
    for remark in remarks:
        say(remark)
    if left_out := check_words(astray, source, config.legend):
        say(left_out)
    for path in astray:
        edited = path.parent.glob(f"{glob.escape(path.stem)}.edited*{path.suffix}")
        if names := [p.name for p in sorted(edited, key=lambda p: p.stat().st_mtime)]:
            say(
                f"{path}: corrections that were set aside ({', '.join(names)}; the newest last) are not trained on. Put them in "
                "its place if they should be."
            )


def _colors(source: ColorSource, config: TrainConfig) -> Iterator[LabelledScene]:
    ids = {name: i for i, name in enumerate(config.legend.category_names)}
    table = {_packed(color): ids[name] for color, name in source.colors.items()}
    table |= {_packed(color): IGNORE for color in source.ignore}
    for path in _images(source, source.images):
        mask = _read_picture(_label_path(source, path), "RGB").astype(np.uint32)
        packed = (mask[..., 0] << 16) | (mask[..., 1] << 8) | mask[..., 2]
        found, inverse = np.unique(packed, return_inverse=True)
        if strange := [f"#{v:06x}" for v in found if int(v) not in table]:
            listed = ", ".join(strange[:8])
            raise TrainingError(f"{path}: its mask has colours {listed} that are neither in `colors` nor in `ignore`.")
        label = np.array([table[int(v)] for v in found], np.uint8)[inverse].reshape(packed.shape)
        yield _scene(source, config, path, _read_picture(path, "RGB"), label, None)


def _voc(source: VocSource, config: TrainConfig) -> Iterator[LabelledScene]:
    lut = _value_table(source.values, source.ignore, config.legend)
    for side in ("train", "val"):
        listing = source.root / "ImageSets" / "Segmentation" / f"{side}.txt"
        if not listing.is_file():
            raise TrainingError(f"source '{source.name}': no {listing}; a VOC folder lists its images there.")
        for name in listing.read_text().split():
            path = source.root / "JPEGImages" / f"{name}.jpg"
            label = _look_up(_read_picture(source.root / "SegmentationClass" / f"{name}.png", None), lut, source, path)
            scene = _scene(source, config, path, _read_picture(path, "RGB"), label, None)
            yield replace(scene, validation=side == "val")


def _cityscapes(source: CityscapesSource, config: TrainConfig) -> Iterator[LabelledScene]:
    lut = _value_table(source.values, source.ignore, config.legend)
    for side in ("train", "val"):
        for path in sorted((source.root / "leftImg8bit" / side).glob("*/*_leftImg8bit.png")):
            stem = path.name.removesuffix("_leftImg8bit.png")
            values = _read_picture(
                source.root / "gtFine" / side / path.parent.name / f"{stem}_gtFine_labelIds.png", None
            )
            scene = _scene(source, config, path, _read_picture(path, "RGB"), _look_up(values, lut, source, path), None)
            yield replace(scene, validation=side == "val")


def _towns(source: TownSource, config: TrainConfig) -> Iterator[LabelledScene]:
    for town in town_chips(source):
        scene = _scene(
            source, config, town.image, _read_picture(town.image, "RGB"), _read_picture(town.label, None), None
        )
        yield replace(scene, pixel_size_m=town.pixel_size_m, validation=town.validation)


def _scene(
    source: Source,
    config: TrainConfig,
    path: Path,
    image: NDArray[Any],
    label: Labels,
    grid: ImageGrid | None,
    valid: NDArray[np.bool_] | None = None,
) -> LabelledScene:
    if image.shape[:2] != label.shape:
        raise TrainingError(
            f"{path}: {image.shape[:2]} pixels, but its labels have {label.shape}; they must be the same."
        )
    if valid is not None:
        label = np.where(valid, label, UNSEEN).astype(np.uint8)
    if image.shape[2] != len(config.bands):
        raise TrainingError(f"{path}: {image.shape[2]} bands, but {len(config.bands)} are needed ({config.bands}).")
    if image.dtype != config.dtype:
        raise TrainingError(f"{path}: pixels of type {image.dtype}, but `dtype` is {config.dtype}.")
    size = (grid.pixel_size_m if grid else None) or source.pixel_size_m or config.pixel_size_m.native
    if size * MOST_GROWN > config.pixel_size_m.max:
        raise TrainingError(
            f"{path}: pixels of {size:.3g} m on the ground, but the model is for {config.pixel_size_m.min:g}–"
            f"{config.pixel_size_m.max:g} m. Leave it out, or set pixel_size_m of the training."
        )
    match = re.search(source.group, str(path)) if source.group else None
    group = (match.group(1) if match else None) or path.stem
    return LabelledScene(source.name, path, group, image, label, size, known_classes(source, config.legend), grid)


def labelled(label: Labels) -> NDArray[np.bool_]:
    """Where a label says something."""
    return np.asarray(label < UNSEEN, np.bool_)


def _split_by_group(scenes: list[LabelledScene], source: Source) -> list[LabelledScene]:
    held_out = set(source.validation_groups)
    if missing := held_out - {s.group for s in scenes}:
        raise TrainingError(
            f"source '{source.name}': no group {sorted(missing)}; there are {_some(s.group for s in scenes)}."
        )
    for together in source.same_ground:
        if held_out & set(together) and not set(together) <= held_out:
            raise TrainingError(
                f"source '{source.name}': groups {together} show the same ground: hold out all or none."
            )
    return [replace(s, validation=s.validation or s.group in held_out) for s in scenes]


def _split_by_ground(scene: LabelledScene, ground: Ground) -> Iterator[LabelledScene]:
    """The parts of a scene outside of `ground` and in it; what its group holds out already stays held out."""
    if scene.validation:
        yield scene
        return
    if scene.grid is None:
        raise TrainingError(
            f"{scene.path}: no CRS, so it cannot be split by ground. Use `group` and `validation_groups`."
        )
    held_out, box_held_out = ground_mask(scene.grid, ground), shapely.box(*ground)
    whole = scene.grid.footprint if scene.ground is None else scene.ground
    sides = (False, ~held_out, whole.difference(box_held_out)), (True, held_out, whole.intersection(box_held_out))
    for validation, keep, own in sides:
        rows, cols = np.flatnonzero(keep.any(axis=1)), np.flatnonzero(keep.any(axis=0))
        if rows.size == 0:
            continue
        box = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        label = scene.label[box]
        label = np.where(keep[box] | (label == UNSEEN), label, IGNORE).astype(np.uint8)
        yield replace(
            scene,
            image=scene.image[box],
            label=label,
            validation=validation,
            grid=scene.grid.moved(rows[0], cols[0], label.shape),
            ground=own,
        )


def _mosaics(scenes: list[LabelledScene]) -> Iterator[LabelledScene]:
    for members in mosaic_offsets([s.grid for s in scenes], [s.path for s in scenes]):
        first = scenes[members.indices[0]]
        image = np.zeros((*members.grid.shape, first.image.shape[2]), first.image.dtype)
        label = np.full(members.grid.shape, UNSEEN, np.uint8)
        for index, (row, col) in zip(members.indices, members.offsets, strict=True):
            part = scenes[index]
            box = np.s_[row : row + part.label.shape[0], col : col + part.label.shape[1]]
            seen = part.label != UNSEEN  # the collar of one image hides nothing of another
            image[box][seen], label[box][seen] = part.image[seen], part.label[seen]
        ground = shapely.union_all([scenes[index].grid.footprint for index in members.indices])  # type: ignore[union-attr]
        yield replace(first, image=image, label=label, grid=members.grid, ground=ground)


def _without_blocks(scene: LabelledScene, limits: dict[str, float], legend: Legend, spill: Spill) -> LabelledScene:
    """The scene, with connected areas of a class over its limit ignored."""
    label = scene.label.copy()
    for name, largest_m2 in limits.items():
        count, parts, stats, _ = cv2.connectedComponentsWithStats((label == legend.by_name(name).id).astype(np.uint8))
        large = stats[:, cv2.CC_STAT_AREA] * scene.pixel_size_m**2 > largest_m2
        # Component 0 is everything else.
        large[0] = False
        if count > 1:
            label[large[parts]] = IGNORE
    return replace(scene, label=spill.keep(label))


def _images(source: Source, pattern: str) -> list[Path]:
    if Path(pattern).is_absolute():
        raise TrainingError(f"source '{source.name}': images '{pattern}' must be a pattern under `root`.")
    return sorted(p for p in source.root.glob(pattern) if p.is_file())


def _label_path(source: RasterSource | VectorSource | ColorSource, image: Path) -> Path:
    starred = re.escape(Path(source.images).name).replace(r"\*", "(.*)")
    parts = re.fullmatch(starred, image.name)
    part = parts.group(parts.lastindex) if parts and parts.lastindex else image.stem
    path = image.parent / source.labels.replace("{stem}", image.stem).replace("{part}", part)
    if not path.is_file():
        raise TrainingError(f"{image}: source '{source.name}' expects its labels at {path}, but there is no such file.")
    return path


def _read_picture(path: Path, mode: str | None) -> NDArray[np.uint8]:
    if not path.is_file():
        raise TrainingError(f"{path}: there is no such file.")
    try:
        with Image.open(path) as picture:
            return np.asarray(picture if mode is None else picture.convert(mode), np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        raise TrainingError(f"{path}: cannot be read as a picture ({exc}).") from exc


def _value_table(values: dict[str, tuple[int, ...]], ignore: tuple[int, ...], legend: Legend) -> NDArray[np.int16]:
    """(256,) class id by value; what no class claims is background, or −1 where background claims values of its own."""
    lut = np.full(256, -1 if "background" in values else 0, np.int16)
    lut[list(ignore)] = IGNORE
    for class_id, name in enumerate(legend.category_names):
        lut[list(values.get(name, ()))] = class_id
    return lut


def _look_up(values: NDArray[Any], lut: NDArray[np.int16], source: Source, path: Path) -> Labels:
    if values.ndim != 2 or values.min(initial=0) < 0 or values.max(initial=0) > 255:
        raise TrainingError(f"{path}: labels of source '{source.name}' must be one band of values 0–255.")
    if np.issubdtype(values.dtype, np.floating) and (values != np.rint(values)).any():
        raise TrainingError(f"{path}: labels of source '{source.name}' must be whole numbers; round them first.")
    found: NDArray[np.int16] = lut[values.astype(np.uint8)]
    if (found < 0).any():
        strange = ", ".join(str(int(v)) for v in np.unique(values[found < 0])[:8])
        raise TrainingError(f"{path}: its labels hold {strange}, which are neither in `values` nor in `ignore`.")
    return found.astype(np.uint8)


def _packed(color: str) -> int:
    return int(color[1:], 16)


def _some(names: Iterator[str] | Any) -> str:
    distinct = sorted(set(names))
    return ", ".join(distinct[:12]) + (" …" if len(distinct) > 12 else "")
