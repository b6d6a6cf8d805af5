"""`geoseg vectorize`: the vector half alone, for any class raster."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from affine import Affine

from geoseg import __version__
from geoseg.contract import DEFAULT_MODEL, load_contract
from geoseg.errors import ConfigError, ContractError, OutputError
from geoseg.files import check_folder, sha256_file, temporary_folder
from geoseg.legend import BACKGROUND, NODATA, Legend
from geoseg.raster.aligned import PixelGrid
from geoseg.raster.rows import read_rows
from geoseg.raster.scene import Scene, inspect
from geoseg.run import ledger
from geoseg.run.corrections import set_aside
from geoseg.run.find import OWN_FOLDER
from geoseg.threads import terminable
from geoseg.vector.exchange import write_layers
from geoseg.vector.formats import SUFFIXES, check_place, layer_files, layers_name
from geoseg.vector.geopackage import write_geopackage
from geoseg.vector.job import VectorJob, block_rows
from geoseg.vector.metadata import GeoPackageMeta, extent_of
from geoseg.vector.project import write_project
from geoseg.vector.schema import layers_of
from geoseg.vector.vectorize import assemble, vectorize_block_row
from geoseg.vectorize_config import VectorizeSettings

_ROWS = 1024


def vectorize(settings: VectorizeSettings, warn: Callable[[str], None] = lambda _: None) -> dict[str, int]:
    """Write the layers of a class raster; returns the features of each.

    `warn` is told what is left out in unusual measure.

    Memory holds a block of rows and the features that are still open, whatever the height.
    Raises a subclass of GeosegError where the raster cannot be taken or an output cannot be written.
    """
    scene = _class_raster(settings.classes, settings)
    if settings.confidence is not None:
        _check_alike(scene, _class_raster(settings.confidence, settings))
    target = settings.output
    if target.resolve() == settings.classes.resolve():
        raise ConfigError(f"{target}: is the class raster itself; name another output.")
    if settings.format == "geopackage" and target.suffix != SUFFIXES["geopackage"]:
        raise ConfigError(f"{target}: a GeoPackage is written; name it {target.stem}.gpkg, or choose another --format.")
    check_folder(target.parent, "-o")
    if settings.format != "geoparquet":
        check_place(target)
    legend = _legend(settings)
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        warn(text)

    with terminable(), temporary_folder(target) as work:
        counts = _write(settings, scene, _job(settings, scene, legend, work), tell)
    if not told and not any(counts.values()):
        ids = ", ".join(f"{c.id} {c.name}" for c in legend)
        warn(f"nothing became a feature: {BACKGROUND} is background, {NODATA} nodata, {ids}")
    return counts


def _write(settings: VectorizeSettings, scene: Scene, job: VectorJob, warn: Callable[[str], None]) -> dict[str, int]:
    target, layers = settings.output, layers_of(job.legend)
    features = assemble(job, _parts(job, settings.workers), warn)
    chunks = [(layer, features.get(layer.name, ())) for layer in layers]

    def keep(*files: Path) -> None:
        """Set aside what people changed in the files that will be written, also where they are those of a map."""
        for text in set_aside(_work(settings), "", files):
            warn(text)

    if settings.format != "geopackage":
        files = layer_files(
            target.parent, layers_name(target, settings.format), [layer.name for layer in layers], settings.format
        )
        keep(*files)
        work = _work(settings)

        def replacing(path: Path, written: Path) -> None:
            keep(path)
            if work:
                ledger.note_written(work, path, written)

        return write_layers(files, chunks, job.crs, replacing)
    meta, project = _meta(settings, scene, job), target.with_suffix(".qgz")
    keep(target, project)
    counts = write_geopackage(target, chunks, meta=meta, replacing=keep)
    keep(project)
    write_project(project, layers, meta=meta, geopackage=target.name)
    return counts


def _work(settings: VectorizeSettings) -> Path | None:
    """The work folder of the map of that name, if there is one."""
    work = settings.output.parent / OWN_FOLDER / layers_name(settings.output, settings.format)
    return work if work.is_dir() else None


def _class_raster(path: Path, settings: VectorizeSettings) -> Scene:
    scene = inspect(path, allow_ungeoreferenced=settings.allow_ungeoreferenced)
    if (scene.dtype, scene.band_count) != ("uint8", 1):
        raise ContractError(
            f"{path}: {scene.band_count} bands of {scene.dtype}, but one of uint8 is needed: class ids, 255 for nodata."
        )
    return scene


def _check_alike(classes: Scene, confidence: Scene) -> None:
    if PixelGrid.of_scene(classes).offset_of(PixelGrid.of_scene(confidence)) != (0, 0) or (
        (classes.height, classes.width) != (confidence.height, confidence.width)
    ):
        raise ContractError(f"{confidence.path}: lies on another grid than {classes.path}; both must be alike.")
    for start in range(0, classes.height, _ROWS):
        stop = min(start + _ROWS, classes.height)
        percent, ids = (read_rows(scene.path, 1, start, stop) for scene in (confidence, classes))
        if (strange := percent[(percent > 100) & (percent != NODATA)]).size:
            raise ContractError(
                f"{confidence.path}: holds {strange[0]}, but percent are needed: 0–100, 255 for nodata."
            )
        if ((percent == NODATA) & (ids != NODATA) & (ids != BACKGROUND)).any():
            raise ContractError(f"{confidence.path}: has gaps where {classes.path} has classes. Fill them.")


def _legend(settings: VectorizeSettings) -> Legend:
    if settings.legend is not None and settings.model is not None:
        raise ConfigError("legend and model exclude each other: both say what the classes are.")
    if settings.legend is not None:
        return Legend.from_dict([*settings.legend])
    return load_contract((settings.model or DEFAULT_MODEL).resolve()).legend


def _job(settings: VectorizeSettings, scene: Scene, legend: Legend, work: Path) -> VectorJob:
    return VectorJob(
        classes=settings.classes,
        confidence=settings.confidence,
        transform=_north_up(scene),
        crs=scene.crs_wkt,
        shape=(scene.height, scene.width),
        legend=legend,
        settings=settings.vector,
        scene=settings.classes.stem.removesuffix("_classes"),
        work=work,
    )


def _north_up(scene: Scene) -> Affine:
    """The grid of a class raster; where it has no reference, rows go down from 0, as QGIS shows them."""
    a, b, _, d, e, _ = scene.transform
    return Affine(*scene.transform) if scene.crs_wkt or (a > 0 > e and b == d == 0) else Affine.scale(1, -1)


def _parts(job: VectorJob, workers: int) -> list[Path]:
    rows = range(block_rows(job))
    if workers == 0:
        return [vectorize_block_row(job, i) for i in rows]
    try:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            return list(pool.map(vectorize_block_row, [job] * len(rows), rows))
    except BrokenProcessPool as exc:
        raise OutputError(
            f"{job.classes}: not vectorized, for a process was killed, most likely for want of memory. Use fewer "
            "(--workers), or none (--workers 0)."
        ) from exc


def _meta(settings: VectorizeSettings, scene: Scene, job: VectorJob) -> GeoPackageMeta:
    folder = settings.output.resolve().parent
    return GeoPackageMeta(
        crs_wkt=scene.crs_wkt or None,
        scene=job.scene,
        abstract=f"Vectorized by geoseg from {settings.classes.name}.",
        manifest={
            "geoseg": __version__,
            "classes": settings.classes.name,
            "classes_sha256": sha256_file(settings.classes),
            "vector": settings.vector.model_dump(mode="json"),
            "legend": job.legend.to_dict(),
        },
        extent=extent_of(job.transform[:6], job.shape),
        class_raster=Path(os.path.relpath(settings.classes.resolve(), folder)).as_posix(),
    )
