"""An evaluation from two maps to its scores, read in strips; of vectors, all features are held."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.config import RunSettings
from geoseg.contract import Contract, load_contract
from geoseg.errors import ConfigError
from geoseg.evaluate.lines import line_scores
from geoseg.evaluate.maps import (
    ClassMap,
    RasterMap,
    VectorMap,
    bounds_grid,
    is_vector,
    layer_names,
    layers_by_class,
    value_table,
)
from geoseg.evaluate.objects import ObjectTracer, Polygons, object_scores
from geoseg.evaluate.pixels import PixelCounts, pixel_scores, within
from geoseg.evaluate.settings import EvaluateSettings
from geoseg.files import check_folder, sha256_file
from geoseg.legend import NODATA, Legend, LegendClass
from geoseg.raster.aligned import PixelGrid
from geoseg.raster.read import SceneReader
from geoseg.raster.scene import Scene, inspect
from geoseg.run.plan import choose_bands, scene_pixel_size_m
from geoseg.vector.features import ClassField, unnamed_words
from geoseg.vector.measure import ground_pixel_size_m

_MOST_CLASSES = 253


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two maps on one grid."""

    prediction: ClassMap
    reference: ClassMap
    grid: PixelGrid
    legend: Legend
    known: tuple[bool, ...]
    """By class id: whether the reference labels it."""
    pixel_m: tuple[float, float]
    of_no_class: str
    """Features of the reference that count as background, as a user reads it; empty where all are of a class."""
    image: SceneReader | None = None
    """The scene, where it is given: where it has no data, nothing is known."""

    def reference_rows(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows of the truth."""
        rows = _merged(self.reference.rows(start, stop), self.known)
        if self.image is not None:
            rows = np.where(self.image.rows(start, stop).valid, rows, NODATA)
        return rows

    def both(self, start: int, stop: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Rows of prediction and reference, classes that the reference does not label as background."""
        return _merged(self.prediction.rows(start, stop), self.known), self.reference_rows(start, stop)

    def labelled(self, rule: str) -> Iterator[LegendClass]:
        """The labelled classes of a geometry rule."""
        return (c for c in self.legend if c.rule == rule and self.known[c.id])


def evaluate(settings: EvaluateSettings) -> dict[str, Any]:
    """Compare two maps; returns what `metrics.json` holds.

    Raises ConfigError where they cannot be compared, and what reading them raises.
    """
    check_folder(settings.output, "-o")
    pair = _comparison(settings)
    shown = _shown(settings, pair.grid)
    if shown is None:
        return _scores(settings, pair, None)
    with closing(SceneReader(shown.scene, shown.bands)) as image:
        return _scores(settings, replace(pair, image=image), shown)


def _scores(settings: EvaluateSettings, pair: _Comparison, shown: "_Shown | None") -> dict[str, Any]:
    loss = _loss_of(settings, pair, shown)
    counts = PixelCounts(pair.legend.channels, within(settings.boundary_tolerance_m, pair.pixel_m))
    objects = {c.id: _Objects(pair, c) for c in pair.labelled("building")}
    height = pair.grid.height
    for start in range(0, height, settings.strip_rows):
        stop = min(start + settings.strip_rows, height)
        first, last = max(0, start - counts.halo), min(height, stop + counts.halo)
        predicted, reference = pair.both(first, last)
        own = slice(start - first, stop - first)
        counts.add(predicted, reference, own)
        for of_class in objects.values():
            of_class.add(start, predicted[own], reference[own])
    if not counts.matrix.any():
        raise ConfigError(
            f"{settings.prediction} and {settings.reference} have no pixel in common that both know; check their CRS."
        )
    names = pair.legend.category_names
    return {
        "prediction": _identity(settings.prediction),
        "reference": _identity(settings.reference),
        "grid": {"height": height, "width": pair.grid.width, "pixel_m": [round(side, 6) for side in pair.pixel_m]},
        "boundary_tolerance_m": settings.boundary_tolerance_m,
        "class_names": names,
        "not_labelled": [name for name, known in zip(names, pair.known, strict=True) if not known],
        "of_no_class": pair.of_no_class,
        **pixel_scores(counts, names, pair.known),
        "objects": {pair.legend.category_names[k]: o.scores(settings.object_iou) for k, o in objects.items()},
        "roads": {
            c.name: line_scores(
                (pair.prediction, pair.reference), pair.both, c, pair.grid, pair.legend, settings.road_tolerance_m
            )
            for c in pair.labelled("road")
        },
        **loss(),
    }


class _Objects:
    """The objects of a class on both maps: polygons where a map has them, else traced from its pixels."""

    def __init__(self, pair: _Comparison, c: LegendClass) -> None:
        transform = Affine(*pair.grid.transform)
        self._class = c
        self._frames = [m.polygons(c) for m in (pair.prediction, pair.reference)]
        self._tracers = [ObjectTracer(transform) if frame is None else None for frame in self._frames]
        self._places = [None if frame is None else _pixels_of(frame, transform) for frame in self._frames]
        self._counted = [None if frame is None else np.zeros(len(frame), np.bool_) for frame in self._frames]

    def add(self, start: int, predicted: NDArray[np.uint8], reference: NDArray[np.uint8]) -> None:
        """The next rows; an object counts where its middle lies on a pixel that both maps know."""
        seen = (predicted != NODATA) & (reference != NODATA)
        for ids, tracer, places, counted in zip(
            (predicted, reference), self._tracers, self._places, self._counted, strict=True
        ):
            if tracer is not None:
                tracer.add((ids == self._class.id) & seen)
            elif places is not None and counted is not None:
                row, col = places[:, 0] - start, places[:, 1]
                here = (row >= 0) & (row < seen.shape[0]) & (col >= 0) & (col < seen.shape[1])
                counted[here] = seen[row[here], col[here]]

    def scores(self, threshold: float) -> dict[str, Any]:
        """Scores over all rows."""
        found, truth = self._polygons(0), self._polygons(1)
        frame, counted = self._frames[0], self._counted[0]
        confidence = None
        if frame is not None and "confidence" in frame:
            confidence = frame["confidence"].to_numpy(float, na_value=np.nan)[counted]
        return object_scores(found, truth, confidence, threshold)

    def _polygons(self, side: int) -> Polygons:
        frame, tracer = self._frames[side], self._tracers[side]
        if tracer is not None:
            return tracer.polygons()
        assert frame is not None  # noqa: S101 - one of the two is there
        own: Polygons = np.asarray(frame.geometry.array, dtype=object)[self._counted[side]]
        return own


def _comparison(settings: EvaluateSettings) -> _Comparison:
    legend = load_contract(settings.model_dir).legend
    if len(legend.classes) > _MOST_CLASSES:
        raise ConfigError(f"{len(legend.classes)} classes, but at most {_MOST_CLASSES} are compared.")
    wanted = settings.classes or tuple(c.name for c in legend)
    for name in (*wanted, *settings.layers, *(n for n in settings.values if n != "background")):
        legend.by_name(name)
    vectors = is_vector(settings.prediction), is_vector(settings.reference)
    layers, only, of_no_class = _reference_layers(settings, legend, wanted) if vectors[1] else ({}, None, "")
    labelled = tuple(layers) if vectors[1] else wanted
    grid = _grid(settings, vectors)
    width = settings.line_width_m
    if vectors[1]:
        reference: ClassMap = VectorMap(settings.reference, grid, legend, layers, line_width_m=width, only=only)
    else:
        named = _numbers(settings)
        table = value_table(legend, settings.values, settings.ignore)
        reference = RasterMap(settings.reference, grid, table, named, warp=settings.warp)
    if vectors[0]:
        own = layers_by_class(settings.prediction, legend, {}, labelled)
        prediction: ClassMap = VectorMap(settings.prediction, grid, legend, own, line_width_m=width)
    else:
        prediction = RasterMap(settings.prediction, grid, value_table(legend, {}, ()), warp=settings.warp)
    known = (True, *(c.name in labelled for c in legend))
    shape = (grid.height, grid.width)
    pixel_m = ground_pixel_size_m(Affine(*grid.transform), grid.crs_wkt, shape)
    return _Comparison(prediction, reference, grid, legend, known, pixel_m, of_no_class)


def _numbers(settings: EvaluateSettings) -> list[int]:
    """The values of a reference raster that are classes; raises ConfigError where one can be none."""
    named = [value for values in settings.values.values() for value in values]
    if wrong := [v for v in (*named, *settings.ignore) if not isinstance(v, int) or not 0 <= v <= 255]:
        raise ConfigError(
            f"{settings.reference}: is a raster of values 0–255, but `values` or `ignore` name {wrong[0]!r}."
        )
    return [int(v) for v in named]


def _reference_layers(
    settings: EvaluateSettings, legend: Legend, wanted: tuple[str, ...]
) -> tuple[dict[str, str], ClassField | None, str]:
    """Class → layer of a reference of vectors, which features of it count, and which are of no class."""
    if settings.class_field is None:
        return layers_by_class(settings.reference, legend, settings.layers, wanted), None, ""
    there = layer_names(settings.reference)
    if len(there) != 1:
        raise ConfigError(
            f"{settings.reference}: class_field needs one layer for all classes, but there are {', '.join(there)}."
        )
    classes = [n for n in wanted if n in settings.values] if settings.values else wanted
    field = ClassField(settings.class_field, settings.values)
    others, wrong = unnamed_words([settings.reference], field, legend.category_names[1:])
    if wrong:
        raise ConfigError(f"{settings.reference}: {wrong}")
    return dict.fromkeys(classes, there[0]), field, others


def _grid(settings: EvaluateSettings, vectors: tuple[bool, bool]) -> PixelGrid:
    """That of the reference, else of the prediction, else of the image; where there is no raster, one over it all."""
    if not vectors[1]:
        return PixelGrid.of(settings.reference)
    if not vectors[0]:
        return PixelGrid.of(settings.prediction)
    if settings.image is not None:
        return PixelGrid.of(settings.image)
    return bounds_grid((settings.prediction, settings.reference), settings.pixel_size_m)


@dataclass(frozen=True, slots=True)
class _Shown:
    """The scene, as the model sees it."""

    scene: Scene
    bands: tuple[int, ...]
    contract: Contract


def _shown(settings: EvaluateSettings, grid: PixelGrid) -> _Shown | None:
    """The image, where one is given; raises ConfigError and ContractError where the model's loss cannot be taken on it."""
    if settings.image is None:
        return None
    scene = inspect(settings.image, allow_ungeoreferenced=True)
    offset = grid.offset_of(PixelGrid.of_scene(scene))
    if offset != (0, 0) or (scene.height, scene.width) != (grid.height, grid.width):
        raise ConfigError(
            f"{settings.image}: not on the pixel grid of the maps, so no loss can be taken. Leave it out."
        )
    contract = load_contract(settings.model_dir)
    if settings.value_range is not None:
        contract = contract.stretched(*settings.value_range)
    bands = choose_bands(scene, RunSettings(bands=settings.bands, value_range=settings.value_range), contract)
    return _Shown(scene, bands, contract)


def _loss_of(settings: EvaluateSettings, pair: _Comparison, shown: _Shown | None) -> Callable[[], dict[str, Any]]:
    """What takes the model's loss on the image, where one is given: classes alone do not tell how sure the model was."""
    if shown is None:
        note = "not asked for: add --image SCENE, and --model DIR if another than the default made the map"
        return lambda: {"loss": None, "loss_note": note}
    scene, contract, bands = shown.scene, shown.contract, shown.bands
    enlargement = contract.pixel_size_m.enlargement(scene_pixel_size_m(scene, contract))

    def taken() -> dict[str, Any]:
        from geoseg.nn.scene_loss import scene_loss  # torch takes seconds to import, and little needs it

        loss = scene_loss(settings.model_dir, contract, scene, bands, pair.reference_rows, pair.known, enlargement)
        return {"loss": None if loss is None else round(loss, 6)}

    return taken


def _merged(ids: NDArray[np.uint8], known: tuple[bool, ...]) -> NDArray[np.uint8]:
    if all(known):
        return ids
    table = np.arange(256, dtype=np.uint8)
    table[: len(known)][~np.array(known)] = 0
    return table[ids]


def _pixels_of(frame: Any, transform: Affine) -> NDArray[np.int64]:
    """(N, 2) row and column of a point inside of each polygon."""
    points = shapely.point_on_surface(np.asarray(frame.geometry.array, dtype=object))
    col, row = (shapely.get_x(points) - transform.c) / transform.a, (shapely.get_y(points) - transform.f) / transform.e
    places: NDArray[np.int64] = np.floor(np.stack([row, col], axis=1)).astype(np.int64)
    return places


def _identity(path: Path) -> dict[str, str]:
    return {"path": path.name, "sha256": sha256_file(path)}
