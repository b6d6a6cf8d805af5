"""The tasks of a run: what a worker does, in any process, any number of times, with the same result.

Each takes plain data, leaves its pixels or features in a file by an atomic rename, and returns a small record. What
only some workers need is imported by the task that needs it: torch and smp take 500 MB, the vector side 100 MB.
"""

import os
import socket
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from affine import Affine

from geoseg.config import RunSettings
from geoseg.contract import Contract
from geoseg.files import atomic, sha256_file
from geoseg.grid.tiling import Strip
from geoseg.legend import Legend
from geoseg.raster.palette import category_names_aux_xml, palette
from geoseg.raster.scene import Scene
from geoseg.raster.strips import CLASSES_BAND, CONFIDENCE_BAND, StripFile, StripRaster, write_strip
from geoseg.raster.write import RasterSpec, write_cog
from geoseg.run import ledger
from geoseg.run.corrections import set_aside, set_aside_rasters
from geoseg.run.ledger import StripRecord
from geoseg.run.plan import ScenePlan
from geoseg.vector.digest import TableDigests, written_digests
from geoseg.vector.job import VectorJob
from geoseg.vector.metadata import GeoPackageMeta, Imagery, extent_of
from geoseg.vector.styles import ImageryLook, class_raster_qml

_MOST_SHOWN = 100
"""Files of a mosaic that its project shows: QGIS opens each."""

Lane = Literal["network", "cpu"]
"""Where a task belongs: on a worker that runs the network, or on any."""


class Task(Protocol):
    """One unit of work."""

    @property
    def key(self) -> str:
        """Unique in the run, readable."""

    @property
    def lane(self) -> Lane:
        """Where it belongs."""

    def run(self) -> Any:
        """Do it, here and now; returns a small record."""


class WorkerLost(Exception):
    """The process died that ran a task, or that the task waited for. Says nothing to a user: the driver does."""


def run_task(task: Task) -> Any:
    """What Dask calls; importable, so that only its name travels."""
    return task.run()


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a process runs networks with."""

    device: str
    precision: str
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProbeTask:
    """Find out device and precision, and load what takes seconds to load."""

    settings: RunSettings
    contract: Contract
    lane: Lane = "network"
    key: str = "probe"

    def run(self) -> Runtime:
        """Device and precision here; raises ConfigError or ModelError before any scene is touched."""
        from geoseg.nn.session import ModelSpec, forward_of, resolve, versions

        device, precision = resolve(self.settings.device, self.settings.precision)
        forward_of(
            ModelSpec(
                directory=self.settings.model_dir,
                contract=self.contract,
                device=device,
                precision=precision,
                threads=self.settings.threads,
            )
        )
        return Runtime(device, precision, versions())


@dataclass(frozen=True, slots=True)
class SegmentTask:
    """Map one strip and commit it."""

    plan: ScenePlan
    strip: Strip
    settings: RunSettings
    contract: Contract
    runtime: Runtime
    lane: Lane = "network"

    @property
    def key(self) -> str:
        """Scene and tile rows."""
        return f"segment-{self.plan.name}-{self.strip.first:05d}-{self.strip.stop:05d}"

    def run(self) -> StripRecord:
        """Forward, blend, decide, write, commit; returns the record if a worker did so just before it died."""
        from geoseg.nn.session import ModelSpec, halved_batch, segment, take_lost_pixels, take_seconds

        plan, strip = self.plan, self.strip
        if (done := ledger.record(plan.work, plan.fingerprint, strip)) is not None:
            return done
        spec = ModelSpec(
            directory=self.settings.model_dir,
            contract=self.contract,
            device=self.runtime.device,
            precision=self.runtime.precision,  # type: ignore[arg-type]
            threads=self.settings.threads,
        )
        host = f"{socket.gethostname()}:{os.getpid()}"
        ledger.mark_begun(plan.work, strip, host)
        started = time.perf_counter()
        tolerant = self.settings.on_bad_block == "nodata"
        path = ledger.strip_path(plan.work, strip)
        mapping = segment(
            spec, plan.scene, plan.bands, plan.grid, strip, plan.fingerprint,
            enlargement=plan.enlargement, tolerant=tolerant,
        )  # fmt: skip
        with closing(mapping) as rows:
            write_strip(path, strip.row_stop - strip.row_start, plan.scene.width, rows)
        record = StripRecord(
            fingerprint=plan.fingerprint,
            first=strip.first,
            stop=strip.stop,
            sha256=sha256_file(path),
            bytes=path.stat().st_size,
            seconds={**take_seconds(), "all": round(time.perf_counter() - started, 3)},
            precision=self.runtime.precision,
            host=host,
            unreadable=take_lost_pixels(),
            batch=halved_batch(),
        )
        ledger.commit_strip(plan.work, strip, record)
        return record


def strip_files(plan: ScenePlan, failed: frozenset[int]) -> tuple[StripFile, ...]:
    """The strips of a scene as one raster; those that failed are nodata."""
    return tuple(
        StripFile(s.row_start, s.row_stop, None if s.index in failed else ledger.strip_path(plan.work, s))
        for s in plan.strips
    )


@dataclass(frozen=True, slots=True)
class Rasters:
    """A raster of a scene, and what lies beside it."""

    sha256: dict[str, str]
    """File name → digest."""
    warnings: tuple[str, ...] = ()
    """What was in its place and is kept."""


@dataclass(frozen=True, slots=True)
class RasterTask:
    """Write the class raster, or the confidence, of a whole scene."""

    plan: ScenePlan
    contract: Contract
    failed: frozenset[int]
    band: int
    lane: Lane = "cpu"

    @property
    def key(self) -> str:
        """Scene and band."""
        return f"raster-{self.plan.name}-{self.band}"

    def run(self) -> "Rasters":
        """Assemble the strips into a COG; returns what it wrote."""
        plan, legend = self.plan, self.contract.legend
        is_classes = self.band == CLASSES_BAND
        target = plan.outputs.classes if is_classes else plan.outputs.confidence
        if target is None:
            return Rasters({})
        tags = {"CLASSES": ",".join(legend.category_names)} if is_classes else {"UNIT": "percent"}
        texts = _sidecars(target, legend) if is_classes else {}
        style = target.with_suffix(".qml") if is_classes else None
        kept = set_aside_rasters(plan.work, plan.fingerprint, target, tags, style)
        source = StripRaster(strip_files(plan, self.failed), plan.scene.width, self.band)
        spec = RasterSpec(
            height=plan.scene.height,
            width=plan.scene.width,
            crs_wkt=plan.crs_wkt,
            transform=plan.transform,
            palette=palette(legend) if is_classes else None,
            tags=tags,
            resampling="mode" if is_classes else "average",
        )

        def replacing(written: Path) -> None:
            """Ask again at the last moment, and leave word of what will stand there: it is not somebody else's."""
            _add_new(kept, set_aside_rasters(plan.work, plan.fingerprint, target, tags, style))
            ledger.note_written(plan.work, target, written)

        write_cog(target, source, spec, replacing)
        for path, text in texts.items():  # after it: what lay beside the raster before may have been set aside with it
            _write_text(path, text)
        return Rasters(_digests((target, *texts)), tuple(kept))


def _sidecars(target: Path, legend: Legend) -> dict[Path, str]:
    """What lies beside a class raster: names and colours of its classes."""
    return {
        target.with_name(f"{target.name}.aux.xml"): category_names_aux_xml(legend),
        target.with_suffix(".qml"): class_raster_qml(legend),
    }


def _add_new(lines: list[str], more: Iterable[str]) -> None:
    lines.extend(line for line in more if line not in lines)


def _digests(paths: Iterable[Path]) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in paths}


def _write_text(target: Path, text: str) -> None:
    with atomic(target) as tmp:
        tmp.write_text(text, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class VectorTask:
    """Turn one row of blocks of the class raster into polygons and skeletons."""

    scene: str
    job: VectorJob
    index: int
    lane: Lane = "cpu"

    @property
    def key(self) -> str:
        """Scene and row of blocks."""
        return f"vectorize-{self.scene}-{self.index:05d}"

    def run(self) -> Path:
        """Write the part; returns its path."""
        from geoseg.vector.vectorize import vectorize_block_row

        return vectorize_block_row(self.job, self.index)


@dataclass(frozen=True, slots=True)
class Published:
    """The layers of a scene, and the project of a GeoPackage."""

    layers: dict[str, int]
    """Layer → features."""
    sha256: dict[str, str]
    """File name → digest."""
    tables: TableDigests | None
    """Of a GeoPackage."""
    warnings: tuple[str, ...] = ()
    """What was left out in unusual measure."""


@dataclass(frozen=True, slots=True)
class PublishTask:
    """Join the parts of a scene and write the layers, and the project of a GeoPackage."""

    plan: ScenePlan
    job: VectorJob
    parts: tuple[Path, ...]
    provenance: dict[str, Any]
    """Goes into the GeoPackage; holds no times, so that the same map is the same file."""
    contract: Contract
    lane: Lane = "cpu"

    @property
    def key(self) -> str:
        """Scene."""
        return f"publish-{self.plan.name}"

    def run(self) -> Published:
        """Write them; what `geoseg verify` will want to know of them is computed here, on a worker."""
        from geoseg.vector.exchange import write_layers
        from geoseg.vector.schema import layers_of
        from geoseg.vector.vectorize import assemble

        plan, outputs, layers = self.plan, self.plan.outputs, layers_of(self.job.legend)
        project = () if outputs.project is None else (outputs.project,)
        kept: list[str] = []

        def keep(*paths: Path) -> None:
            """Set aside what people changed; asked again at the last moment, for layers of a large scene take their time."""
            _add_new(kept, set_aside(plan.work, plan.fingerprint, paths))

        keep(*outputs.layers, *project)
        warnings: list[str] = []
        features = assemble(self.job, list(self.parts), warnings.append)
        chunks = [(layer, features.get(layer.name, ())) for layer in layers]
        if outputs.project is None:
            # Word is left of them one by one: a GeoPackage tells by itself whose it is, these do not.
            def replacing(path: Path, written: Path) -> None:
                keep(path)
                ledger.note_written(plan.work, path, written)

            counts = write_layers(outputs.layers, chunks, plan.crs_wkt, replacing)
            tables = None
        else:
            from geoseg.vector.geopackage import write_geopackage
            from geoseg.vector.project import write_project

            (geopackage,), meta = outputs.layers, self._meta()
            counts = write_geopackage(geopackage, chunks, meta=meta, replacing=keep)
            keep(outputs.project)
            write_project(outputs.project, layers, meta=meta, geopackage=geopackage.name)
            tables = written_digests(geopackage)
        return Published(counts, _digests((*outputs.layers, *project)), tables, (*kept, *warnings))

    def _meta(self) -> GeoPackageMeta:
        plan = self.plan
        folder = plan.outputs.classes.parent
        return GeoPackageMeta(
            crs_wkt=plan.crs_wkt or None,
            scene=plan.name,
            abstract=f"Mapped by geoseg with model '{self.provenance['model']}' from {plan.scene.label}.",
            manifest=self.provenance,
            extent=extent_of(plan.transform, self.job.shape),
            class_raster=plan.outputs.classes.name,
            imagery=_imagery(plan, self.contract, folder),
        )


def _imagery(plan: ScenePlan, contract: Contract, folder: Path) -> tuple[Imagery, ...]:
    """The files of a scene as seen from `folder`; none of a scene without a place, nor of a mosaic of very many."""
    files = plan.scene.files
    if not plan.crs_wkt or len(files) > _MOST_SHOWN:
        return ()
    return tuple(
        Imagery(Path(os.path.relpath(file.path.resolve(), folder)).as_posix(), _imagery_look(plan, file, contract))
        for file in files
    )


def _imagery_look(plan: ScenePlan, scene: Scene, contract: Contract) -> ImageryLook | None:
    """The colours that the model sees; None where QGIS shows them by itself."""
    names, colors = contract.bands, ("red", "green", "blue")
    chosen = [names.index(c) for c in colors] if {*colors} <= {*names} else range(3 if len(names) >= 3 else 1)
    bands, scaling = tuple(plan.bands[i] for i in chosen), contract.scaling
    alpha = scene.alpha_band or (scene.band_count + 1 if scene.has_mask else None)  # as QGIS numbers a mask
    if scene.dtype == "uint8" and scaling.clip is None:
        return None if bands == (1, 2, 3) else ImageryLook(bands, None, alpha)
    if scaling.clip is None and scaling.divide == 1:  # which values are its range is not known
        return None
    return ImageryLook(bands, scaling.clip or (0.0, scaling.divide), alpha)


def vector_job(plan: ScenePlan, settings: RunSettings, contract: Contract, failed: frozenset[int]) -> VectorJob:
    """What is vectorized of a scene: its strips, read as one raster."""
    strips = strip_files(plan, failed)
    return VectorJob(
        classes=StripRaster(strips, plan.scene.width, CLASSES_BAND),
        confidence=StripRaster(strips, plan.scene.width, CONFIDENCE_BAND),
        transform=Affine(*plan.transform),
        crs=plan.crs_wkt,
        shape=(plan.scene.height, plan.scene.width),
        legend=contract.legend,
        settings=settings.vector,
        scene=plan.name,
        work=plan.work / "vector",
    )
