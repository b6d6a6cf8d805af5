"""Windows out of labelled scenes: random ones to train on, a fixed grid of them to validate on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from geoseg.contract import PixelSize
from geoseg.errors import TrainingError
from geoseg.nn.augment import ColorChanges, turn
from geoseg.nn.data_sources import IGNORE, MOST_GROWN, UNSEEN, LabelledScene, labelled, read_source
from geoseg.nn.spill import Spill
from geoseg.train_config import CityscapesSource, Source, TrainConfig, VocSource

_TRIES = 8
"""Draws for a window before one with too few known labels is taken as it is."""
_MIN_KNOWN = 0.3
"""Share of known labels a training window should have."""


class Window(NamedTuple):
    """What the network is given at once; a batch of them stacks each part."""

    image: Tensor
    """(C, S, S) in the dtype of the contract."""
    label: Tensor
    """int64 (S, S) class ids, IGNORE where nothing is known."""
    known: Tensor
    """bool (K,), the classes that the source labels."""
    source: Tensor
    """Index of the source."""
    valid: Tensor
    """bool (S, S), false where the image has no data."""
    enlargement: Tensor
    """How large the network is shown the window; see `PixelSize.enlargement`."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """The scenes of all sources, by side of the split."""

    training: tuple[LabelledScene, ...]
    validation: tuple[LabelledScene, ...]


def read_data(config: TrainConfig) -> TrainingData:
    """Read all sources; raises TrainingError where nothing sensible could be learnt or measured."""
    spill = Spill(config.run_dir)
    scenes = [scene for source in config.sources for scene in read_source(source, config, spill)]
    data = TrainingData(
        tuple(s for s in scenes if not s.validation and _any_known(s)),
        tuple(s for s in scenes if s.validation and _any_known(s)),
    )
    _check_sides(data, config)
    _check_ground(data)
    _check_classes(data.training, config)
    return data


class RandomWindows(Dataset[Window]):
    """Windows of random place, pixel size and look; the window of a number is the same in every process."""

    def __init__(self, scenes: Sequence[LabelledScene], config: TrainConfig, first: int, count: int) -> None:
        """Windows number `first` … `first` + `count` − 1 of the endless sequence that the seed stands for."""
        self._config = config
        self._first, self._count = first, count
        self._changes = ColorChanges(config.augment)
        self._sources = [s.name for s in config.sources]
        size = config.pixel_size_m
        self._draw_m = {s.name: s.draw_m or (size.min, size.shown(size.max)) for s in config.sources}
        self._as_mapped = {s.name: s.draw_as_mapped for s in config.sources}
        present = [s for s in config.sources if any(scene.source == s.name for scene in scenes)]
        shares = np.array([s.weight for s in present])
        self._shares = shares / shares.sum()
        self._scenes = [[scene for scene in scenes if scene.source == s.name] for s in present]
        # Ground and not pixels: else scenes of fine pixels would be drawn far more often.
        areas = [np.array([s.label.size * s.pixel_size_m**2 for s in members]) for members in self._scenes]
        self._chances = [a / a.sum() for a in areas]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Window:
        if not 0 <= index < self._count:
            raise IndexError(index)
        rng = np.random.default_rng((self._config.seed, self._first + index))
        which = int(rng.choice(len(self._shares), p=self._shares))
        scene = self._scenes[which][int(rng.choice(len(self._chances[which]), p=self._chances[which]))]
        for _ in range(_TRIES):
            image, label = self._cut(scene, rng)
            if labelled(label).mean() >= _MIN_KNOWN:
                break
        return self._window(scene, image, label, rng)

    def _cut(self, scene: LabelledScene, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        pixel_size_m = self._pixel_size_m(scene, rng)
        size = self._config.window_px
        span = max(1, round(size * pixel_size_m / scene.pixel_size_m))
        height, width = scene.label.shape
        row, col = (int(rng.integers(0, max(1, n - span + 1))) for n in (height, width))
        image, label = scene.image[row : row + span, col : col + span], scene.label[row : row + span, col : col + span]
        factor = size / span
        high, wide = (max(1, min(size, round(n * factor))) for n in label.shape)
        return pad_to(*resample(image, label, (high, wide)), size)

    def _pixel_size_m(self, scene: LabelledScene, rng: np.random.Generator) -> float:
        """The size that a window is drawn at."""
        if rng.random() < self._as_mapped[scene.source]:
            return self._config.pixel_size_m.shown(scene.pixel_size_m)
        low, high = self._draw_m[scene.source]
        low = max(low, MOST_GROWN * scene.pixel_size_m)
        return float(np.exp(rng.uniform(np.log(low), np.log(max(low, high)))))

    def _window(
        self, scene: LabelledScene, image: NDArray[Any], label: NDArray[np.uint8], rng: np.random.Generator
    ) -> Window:
        if self._config.augment.flip:
            image, label = turn(image, label, rng)
        pixels = self._changes(_to_tensor(image), rng)
        return _to_window(pixels, label, scene, self._sources)


class GridWindows(Dataset[Window]):
    """All of every scene, each labelled pixel once, at the scene's own pixel size where the model tolerates it."""

    def __init__(self, scenes: Sequence[LabelledScene], config: TrainConfig) -> None:
        self._sources = [s.name for s in config.sources]
        self._size = config.validation_window_px
        self._pixel_size = config.pixel_size_m
        self._scenes = [at_tolerated_size(s, config.pixel_size_m) for s in scenes]
        self._places = [
            (i, row, col)
            for i, s in enumerate(self._scenes)
            for row in range(0, s.label.shape[0], self._size)
            for col in range(0, s.label.shape[1], self._size)
            if labelled(s.label[row : row + self._size, col : col + self._size]).any()
        ]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Window:
        i, row, col = self._places[index]
        scene = self._scenes[i]
        # The last windows are moved inward, so that they see the scene and not its mirror image; what the ones before have
        # shown says nothing in them.
        first_row, first_col = (
            max(0, min(at, side - self._size)) for at, side in zip((row, col), scene.label.shape, strict=True)
        )
        box = np.s_[first_row : first_row + self._size, first_col : first_col + self._size]
        shown = scene.label[box].copy()
        seen = shown != UNSEEN
        seen[row - first_row :, col - first_col :] = False
        shown[seen] = IGNORE
        image, label = pad_to(scene.image[box], shown, self._size)
        enlargement = self._pixel_size.enlargement(scene.pixel_size_m)
        return _to_window(_to_tensor(image), label, scene, self._sources, enlargement)


def at_tolerated_size(scene: LabelledScene, pixel_size: PixelSize) -> LabelledScene:
    """The scene as it is, or resampled to the nearest pixel size that the model tolerates."""
    nearest = pixel_size.tolerated(scene.pixel_size_m)
    if nearest == scene.pixel_size_m:
        return scene
    factor = scene.pixel_size_m / nearest
    shape = (max(1, round(scene.label.shape[0] * factor)), max(1, round(scene.label.shape[1] * factor)))
    image, label = resample(scene.image, scene.label, shape)
    return LabelledScene(
        scene.source, scene.path, scene.group, image, label, nearest, scene.known, None, scene.validation
    )


def resample(
    image: NDArray[Any], label: NDArray[np.uint8], shape: tuple[int, int]
) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Image and label at another height and width: area means when shrinking, cubic when growing; nearest labels."""
    if label.shape == shape:
        return image, label
    # OpenCV takes (width, height).
    size = shape[::-1]
    how = cv2.INTER_AREA if shape[0] < label.shape[0] else cv2.INTER_CUBIC
    # OpenCV resizes no integers of 32 bits.
    pixels = image.astype(np.float64) if image.dtype in (np.uint32, np.int32) else image
    # OpenCV takes means of four bands at most.
    parts = [np.ascontiguousarray(pixels[..., i : i + 4]) for i in range(0, pixels.shape[2], 4)]
    resized = np.concatenate([cv2.resize(p, size, interpolation=how).reshape(*shape, -1) for p in parts], axis=2)
    if resized.dtype != image.dtype:
        limits = np.iinfo(image.dtype)
        resized = np.rint(resized).clip(limits.min, limits.max).astype(image.dtype)
    return resized, cv2.resize(label, size, interpolation=cv2.INTER_NEAREST_EXACT)


def pad_to(image: NDArray[Any], label: NDArray[np.uint8], size: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """(size, size) windows: the image mirrored beyond its edge, the label ignored there."""
    bottom, right = size - label.shape[0], size - label.shape[1]
    if bottom == 0 and right == 0:
        return image, label
    # "symmetric" repeats as often as needed, also where the window is many times the image.
    image = np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="symmetric")
    return image, np.pad(label, ((0, bottom), (0, right)), constant_values=IGNORE)


def _to_tensor(image: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.moveaxis(image, -1, 0).copy())


def _to_window(
    pixels: Tensor, label: NDArray[np.uint8], scene: LabelledScene, sources: list[str], enlargement: float = 1.0
) -> Window:
    ids = torch.from_numpy(label.astype(np.int64))
    valid = ids != UNSEEN
    ids = ids.masked_fill(~valid, IGNORE)
    source = torch.tensor(sources.index(scene.source))
    return Window(pixels, ids, torch.tensor(scene.known), source, valid, torch.tensor(enlargement))


def _any_known(scene: LabelledScene) -> bool:
    return bool(labelled(scene.label).any())


_HOW = "Set validation_groups or validation_ground of a source."


def _check_sides(data: TrainingData, config: TrainConfig) -> None:
    for side, what in ((data.training, "left for training"), (data.validation, "held out for validation")):
        if not side:
            why = [_why(source, [*data.training, *data.validation]) for source in config.sources]
            raise TrainingError(f"{config.name}: no labelled pixel is {what}. {' '.join(w for w in why if w) or _HOW}")


def _why(source: Source, scenes: Sequence[LabelledScene]) -> str:
    """What a source's settings for validation are to be held against."""
    if isinstance(source, VocSource):
        return f"Name images of source '{source.name}' in ImageSets/Segmentation/train.txt and val.txt."
    if isinstance(source, CityscapesSource):
        return f"Put images of source '{source.name}' below leftImg8bit/train and leftImg8bit/val."
    grounds = [_ground(s) for s in scenes if s.source == source.name and s.grid is not None]
    if source.validation_ground is None or not grounds:
        return ""
    there = ", ".join(f"{degrees:.4f}" for degrees in shapely.total_bounds(grounds))
    return (
        f"validation_ground of source '{source.name}' is {list(source.validation_ground)}, and its images lie in [{there}] "
        "(west, south, east, north)."
    )


_SHARED = 0.02
"""Share of the ground of one scene that may lie in another on the other side of the split: neighbours overlap a little."""


def _check_ground(data: TrainingData) -> None:
    """No labelled ground of validation may be in training, nor an image without a grid in both, across sources as well."""
    somewhere = [s for s in data.training if s.grid is not None]
    grounds = shapely.STRtree([_ground(s) for s in somewhere])
    elsewhere = {s.path: s.source for s in data.training if s.grid is None}
    for held_out in data.validation:
        if held_out.grid is None:
            if held_out.path in elsewhere:
                raise TrainingError(
                    f"{held_out.path}: is in the training of source '{elsewhere[held_out.path]}' and in the validation of "
                    f"source '{held_out.source}'. Hold it out of both."
                )
            continue
        ground = _ground(held_out)
        near = grounds.query(ground, predicate="intersects")
        areas = shapely.area(grounds.geometries[near])
        shared = shapely.area(shapely.intersection(grounds.geometries[near], ground))
        # Of the smaller one: many small ones share little each of the large one that all of them lie in.
        if (shared > _SHARED * np.minimum(areas, ground.area)).any():
            scene = somewhere[near[int(np.argmax(shared))]]
            raise TrainingError(
                f"{scene.path} (training of source '{scene.source}') and {held_out.path} (validation of source "
                f"'{held_out.source}') show the same ground. Split by validation_ground, or put both into one group."
            )


def _ground(scene: LabelledScene) -> Any:
    """The ground that the labels of a georeferenced scene lie on, in degrees."""
    if scene.ground is not None or scene.grid is None:
        return scene.ground
    return scene.grid.footprint


def _check_classes(scenes: Sequence[LabelledScene], config: TrainConfig) -> None:
    counts = np.zeros(256, np.int64)
    for scene in scenes:
        for row in scene.label:  # NumPy counts a copy of eight times the size
            counts += np.bincount(row, minlength=256)
    if absent := [c.name for c in config.legend if not counts[c.id]]:
        raise TrainingError(
            f"{config.name}: no training pixel is labelled {', '.join(absent)}; check the sources' values."
        )
