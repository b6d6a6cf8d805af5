"""What a run will do, as plain data: scenes, grids, strips, outputs, fingerprints. Imports neither torch nor dask."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from affine import Affine

from geoseg.config import RunSettings
from geoseg.contract import Contract, load_contract
from geoseg.errors import ConfigError, ContractError, OutputError, SceneError
from geoseg.files import check_folder, sha256_json
from geoseg.grid.tiling import Grid, Strip
from geoseg.raster.checks import Limits, Transform
from geoseg.raster.mosaic import covered, folder_of, mosaic_of
from geoseg.raster.scene import Scene, inspect
from geoseg.run import ledger
from geoseg.run.find import OWN_FOLDER, find_files, name_scenes, of_shard, real, safe_name
from geoseg.run.redact import BLANK
from geoseg.vector.formats import LayerFormat, check_closed, check_place, layer_files
from geoseg.vector.measure import ground_pixel_size_m
from geoseg.vector.schema import layers_of

_SPARSE = 0.25
"""A mosaic of whose rectangle less than this has a file is worth a word."""

NUMERICS = 12
"""Raised when the same input, model and settings give other pixels or features than before."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the outputs of a scene go."""

    layers: tuple[Path, ...]
    """The GeoPackage, or a file for each layer."""
    project: Path | None
    """QGIS project, where there is a GeoPackage."""
    classes: Path
    confidence: Path | None
    """Only where it is to be kept."""

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file."""
        several = (*self.layers, self.project, self.classes, self.confidence)
        return tuple(p for p in several if p is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenePlan:
    """One scene of a run."""

    name: str
    """Unique in the run; the outputs are called after it."""
    scene: Scene
    bands: tuple[int, ...]
    """1-based bands in the order of the model's."""
    crs_wkt: str
    """Of the outputs; empty where the scene is not georeferenced."""
    transform: Transform
    """Of the outputs."""
    pixel_size_m: float
    """On the ground at the centre."""
    enlargement: float
    """How large the network sees the scene; see `PixelSize.enlargement`."""
    grid: Grid
    strips: tuple[Strip, ...]
    fingerprint: str
    """sha256 of what the input, the model and the settings are."""
    work: Path
    """Folder of its strips and its record."""
    outputs: Outputs
    warnings: tuple[str, ...]
    done: bool
    """Whether the outputs are there and up to date."""
    committed: frozenset[int]
    """Indices of the strips that an earlier run finished."""

    @property
    def missing(self) -> list[Strip]:
        """Strips that no run has finished."""
        return [s for s in self.strips if s.index not in self.committed]

    @property
    def pending_pixels(self) -> int:
        """Pixels that still have to be mapped."""
        rows = sum(s.row_stop - s.row_start for s in self.missing)
        return 0 if self.done else rows * self.scene.width


@dataclass(frozen=True, slots=True)
class Refusal:
    """A scene that cannot be mapped."""

    path: Path
    reason: str
    name: str = ""
    """Of a mosaic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """All that a run will do."""

    settings: RunSettings
    contract: Contract
    output: Path
    scenes: tuple[ScenePlan, ...]
    refusals: tuple[Refusal, ...]

    @property
    def pending(self) -> tuple[ScenePlan, ...]:
        """Scenes with something left to do."""
        return tuple(s for s in self.scenes if not s.done)


def plan_run(
    settings: RunSettings,
    workers: int,
    on_scene: Callable[[Path], None] = lambda _: None,
    leave: frozenset[Path] = frozenset(),
) -> RunPlan:
    """Look at every scene, refuse what cannot be mapped, and lay out the rest.

    Args:
        settings: of the run; `output` must be set.
        workers: processes that will share the strips, 0 or 1 for one.
        on_scene: called for every file before it is looked at.
        leave: files that are left for another run, which names them as this one would.

    Raises ConfigError or ModelError where the run as a whole cannot start.
    """
    if settings.output is None:
        raise ConfigError("no output folder: name one with -o OUT.")
    output = real(settings.output)
    check_folder(settings.output, "-o")
    if settings.format != "geoparquet":
        check_place(output / "scene")
    contract = load_contract(settings.model_dir)
    if settings.value_range is not None:
        contract = contract.stretched(*settings.value_range)
    files = find_files(settings.inputs)
    groups = _groups(files, settings)
    layers = tuple(layer.name for layer in layers_of(contract.legend))
    layout = _Layout(
        settings=settings,
        contract=contract,
        tiling=settings.tiling(contract.tile_size),
        output=output,
        workers=workers,
        inputs=frozenset(real(p) for p in files),
        layers=layers,
        ambiguous=_ambiguous(groups, layers, settings.format),
    )
    scenes: list[ScenePlan] = []
    refusals: list[Refusal] = []
    shard = frozenset(of_shard(files, *settings.shard_of))
    for name, group in groups.items():
        if not (shard.issuperset(group) and leave.isdisjoint(group)):  # a mosaic waits for the last of its files
            continue
        try:
            scenes.append(layout.scene(name, group, on_scene))
        except (SceneError, OutputError) as exc:
            refusals.append(layout.refusal(name, group, exc))
    return RunPlan(settings=settings, contract=contract, output=output, scenes=tuple(scenes), refusals=tuple(refusals))


def _groups(files: list[Path], settings: RunSettings) -> dict[str, tuple[Path, ...]]:
    """The files of each scene, by its name: one each, or all where they are a mosaic; raises ConfigError."""
    if settings.mosaic is None:
        # Of all, so that a scene has the same name in every shard.
        return {name: (path,) for path, name in name_scenes(files).items()}
    if (name := safe_name(settings.mosaic)) != settings.mosaic:
        raise ConfigError(
            f"mosaic: '{one_line(settings.mosaic)}' cannot be the name of its outputs. Give it another, such as {name}."
        )
    return {name: tuple(sorted(files, key=real))} if files else {}


def renewed(plan: RunPlan, workers: int) -> RunPlan:
    """The plan with what is left now: a run that held the output folder meanwhile may have done some of it."""
    return replace(plan, scenes=tuple(what_is_left(s, plan.settings, workers) for s in plan.scenes))


def _ambiguous(names: Iterable[str], layers: tuple[str, ...], how: LayerFormat) -> frozenset[str]:
    """Files that two scenes would both write, in lower case: `a` with a layer `b_c`, and `a_b` with a layer `c`."""
    count = Counter(p.name.lower() for name in names for p in layer_files(Path(), name, layers, how))
    return frozenset(name for name, times in count.items() if times > 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Lays out one scene after the other."""

    settings: RunSettings
    contract: Contract
    tiling: tuple[int, int]
    output: Path
    workers: int
    inputs: frozenset[Path]
    layers: tuple[str, ...]
    ambiguous: frozenset[str]

    def scene(self, name: str, files: tuple[Path, ...], on_scene: Callable[[Path], None]) -> ScenePlan:
        """The scene that is called so: a file, or a mosaic of several; raises SceneError or OutputError."""
        settings, limits = self.settings, Limits(**self.settings.limits.model_dump())
        found: list[Scene] = []
        wrong: list[SceneError] = []
        for file in files:
            on_scene(file)
            try:
                found.append(inspect(file, limits, allow_ungeoreferenced=settings.allow_ungeoreferenced))
            except SceneError as exc:
                wrong.append(exc)
        if wrong and settings.mosaic is None:
            raise wrong[0]
        if wrong:
            more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise SceneError(
                f"{folder_of(files)}: mosaic '{name}' is not mapped, for it would have holes: "
                f"{'; '.join(map(str, wrong[:3]))}{more}"
            )
        return self._lay_out(name, found[0] if settings.mosaic is None else mosaic_of(found, limits))

    def refusal(self, name: str, files: tuple[Path, ...], why: SceneError | OutputError) -> Refusal:
        """What is told of files that are not mapped."""
        reason = one_line(str(why))
        if self.settings.mosaic is None:
            return Refusal(files[0].absolute(), reason)
        return Refusal(folder_of(files), reason, name)

    def _lay_out(self, name: str, scene: Scene) -> ScenePlan:
        settings, path = self.settings, scene.path
        bands = self._bands(scene)
        native = self.contract.pixel_size_m.native
        crs_wkt, transform = scene.crs_wkt, scene.transform
        warnings: list[str] = []
        if not crs_wkt:
            transform = (native, 0.0, 0.0, 0.0, -native, 0.0)
            warnings.append(f"not georeferenced: taken as pixels of {native} m, in a plane of its own")
        pixel_size = scene_pixel_size_m(scene, self.contract)
        warnings += self._check_pixel_size(path, pixel_size)
        if scene.unwritten_blocks:
            warnings.append(
                f"{scene.unwritten_blocks:,} of {scene.blocks:,} blocks of its file{'s' * bool(scene.parts)} were never written: taken as nodata"
            )
        if (share := covered(scene)) < _SPARSE:
            warnings.append(
                f"its files cover no more than {share:.1%} of the mosaic: {scene.width} × {scene.height} pixels"
            )
        grid = Grid(scene.height, scene.width, *self.tiling)
        outputs = self._outputs(path, name)
        work = self._work(path, name)
        fingerprint = self._fingerprint(scene, bands, name, grid)
        planned = ScenePlan(
            name=name,
            scene=scene,
            bands=bands,
            crs_wkt=crs_wkt,
            transform=transform,
            pixel_size_m=pixel_size,
            enlargement=self.contract.pixel_size_m.enlargement(pixel_size),
            grid=grid,
            strips=(),
            fingerprint=fingerprint,
            work=work,
            outputs=outputs,
            warnings=tuple(warnings),
            done=False,
            committed=frozenset(),
        )
        planned = what_is_left(planned, settings, self.workers)
        if not planned.done:
            if (record := ledger.last_record(work)) is not None:
                _check_not_of_another(planned, record)
                planned = replace(planned, warnings=(*planned.warnings, *_gone(planned, record)))
            if settings.format == "geopackage":
                _check_closed(planned)
        return planned

    def _bands(self, scene: Scene) -> tuple[int, ...]:
        """The bands that the model gets, the same of all files of a mosaic."""
        chosen = {choose_bands(file, self.settings, self.contract): file.path for file in scene.files}
        if len(chosen) > 1:
            (bands, path), (others, other) = [*chosen.items()][:2]
            raise ContractError(
                f"{path}: its bands are {','.join(map(str, bands))}, but {','.join(map(str, others))} in {other} of the same "
                "mosaic. Name those to take with --bands."
            )
        return next(iter(chosen))

    def _check_pixel_size(self, path: Path, pixel_size: float) -> list[str]:
        size = self.contract.pixel_size_m
        if self.contract.pixel_size_m.tolerates(pixel_size):
            return []
        got = f"pixels of {pixel_size:.3g} m on the ground" if np.isfinite(pixel_size) else "pixels of unknown size"
        text = f"{got}, but model '{self.contract.name}' is for {size.min:g}–{size.max:g} m"
        if self.settings.any_pixel_size:
            factor = size.enlargement(pixel_size)
            return [f"{text}; {'mapped as it is' if factor == 1 else f'shown to it {factor:g} times as large'}"]
        raise ContractError(
            f"{path}: {text}. Resample it to {size.native:g} m, or map it all the same with --any-pixel-size."
        )

    def _outputs(self, path: Path, name: str) -> Outputs:
        out = self.output
        confidence = out / f"{name}_confidence.tif" if self.settings.keep_confidence else None
        outputs = Outputs(
            layers=layer_files(out, name, self.layers, self.settings.format),
            project=out / f"{name}.qgz" if self.settings.format == "geopackage" else None,
            classes=out / f"{name}_classes.tif",
            confidence=confidence,
        )
        for target in outputs.all:
            resolved = real(target)
            if resolved in self.inputs:
                raise OutputError(
                    f"{path}: its output {target} would overwrite an input. Choose another output folder."
                )
            if resolved.parent != out:
                raise OutputError(f"{path}: its output {target} is a link that leads out of {out}. Remove the link.")
            if target.is_dir():
                raise OutputError(f"{path}: its output {target} is a folder. Move it away.")
            if target.name.lower() in self.ambiguous:
                raise OutputError(f"{path}: its output {target} is that of another scene too. Rename one of them.")
        return outputs

    def _work(self, path: Path, name: str) -> Path:
        """The work folder; files in it are removed, so it must be no link to another one."""
        own = self.output / OWN_FOLDER
        work = own / name
        link = next((p for p in (own, work, work / "strips", work / "vector") if p.is_symlink()), None)
        if link is not None:
            raise OutputError(
                f"{path}: its work folder {link} is a link that leads out of {self.output}. Remove the link."
            )
        return work

    def _fingerprint(self, scene: Scene, bands: tuple[int, ...], name: str, grid: Grid) -> str:
        settings = self.settings
        return sha256_json(
            {
                "numerics": NUMERICS,
                "scene": scene.identity,
                "name": name,
                "crs": scene.crs_wkt,
                "transform": scene.transform,
                "bands": bands,
                "network": self.contract.config_sha256,
                "contract": self.contract.model_dump(mode="json", by_alias=True, exclude={"metrics", "description"}),
                "tile_size": grid.tile_size,
                "overlap": grid.overlap,
                "precision": settings.precision,
                "vector": settings.vector.model_dump(mode="json"),
            }
        )


def what_is_left(scene: ScenePlan, settings: RunSettings, workers: int) -> ScenePlan:
    """The scene with what its work folder says now: its cut, whether it is done, and which strips are committed.

    Of what is to be overwritten nothing counts, but for what has been done since a run, also one before this, began to.
    """
    if settings.overwrite and not ledger.is_being_overwritten(scene.work, scene.fingerprint):
        strips = scene.grid.strips(_strip_rows(scene, settings, workers, None))
        return replace(scene, strips=strips, done=False, committed=frozenset())
    work, fingerprint, whole = scene.work, scene.fingerprint, settings.on_bad_block == "fail"
    # The cut of an unfinished run goes on, so that its strips count.
    strips = scene.grid.strips(_strip_rows(scene, settings, workers, ledger.strip_rows(work, fingerprint)))
    return replace(
        scene,
        strips=strips,
        done=ledger.is_done(work, fingerprint, scene.outputs.all, whole=whole),
        committed=ledger.committed(work, fingerprint, strips, whole=whole),
    )


def _strip_rows(scene: ScenePlan, settings: RunSettings, workers: int, begun: int | None) -> int:
    return settings.strip_rows or begun or auto_strip_rows(len(scene.grid.rows), workers)


def _check_closed(scene: ScenePlan) -> None:
    """Refuse before hours of work what could not be written after them."""
    try:
        check_closed(scene.outputs.layers[0])
    except OutputError as exc:
        raise OutputError(f"{scene.scene.path}: its output {exc}") from None


def _check_not_of_another(scene: ScenePlan, record: Mapping[str, Any]) -> None:
    """Refuse to overwrite the map of another scene of the same name, which an earlier run made and left a `record` of.

    A mosaic that has a file in common with that map is the same one, grown or shrunk.
    """
    if record["fingerprint"] == scene.fingerprint:
        return
    own = [file.path for file in scene.scene.files]
    # Not by the paths that are told, in which secrets are blanked.
    known = record.get("files_sha256") or [record.get("path_sha256", sha256_json(record["path"]))]
    if not {sha256_json(str(path)) for path in own}.isdisjoint(known):
        return
    others = _inodes(record.get("files", [record["path"]]))
    if others and others.isdisjoint(_inodes(map(str, own))):
        raise OutputError(
            f"{scene.scene.path}: its outputs {scene.name}.* would overwrite those of {record['path']}, mapped here before. "
            f"Choose another output folder, or remove {scene.work}."
        )


def _inodes(paths: Iterable[str]) -> set[tuple[int, int] | str]:
    """The files that are there, by what they are and not by their names; by its path what cannot be looked at."""
    found: set[tuple[int, int] | str] = set()
    for path in paths:
        try:
            if BLANK in path:
                found.add(path)
            elif Path(path).is_file():
                stat = Path(path).stat()
                found.add((stat.st_dev, stat.st_ino))
        except OSError:  # where this user may not look, somebody else's scene lies
            found.add(path)
    return found


def _gone(scene: ScenePlan, record: Mapping[str, Any]) -> tuple[str, ...]:
    """A word on files of a mosaic that its last map shows and that are not there now: perhaps a share is away."""
    if not scene.scene.parts:
        return ()
    before = {Path(path).name for path in record.get("files", [])}
    gone = sorted(before - {file.path.name for file in scene.scene.files})
    more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
    return (f"no longer in the mosaic, but on the map that is replaced: {', '.join(gone[:3])}{more}",) if gone else ()


def auto_strip_rows(tile_rows: int, workers: int) -> int:
    """Tile rows in a strip.

    One worker keeps from strip to strip what tiles share, so short strips cost nothing and commit often. Several
    workers compute the row that two strips share twice: strips are as tall as keeps everyone busy, up to 8 rows.
    """
    if workers <= 1:
        return 4
    return max(4, min(8, -(-tile_rows // workers)))


def choose_bands(scene: Scene, settings: RunSettings, contract: Contract) -> tuple[int, ...]:
    """The bands the model gets: those that are asked for, else all but alpha, by their colours where the file tells them.

    Raises ContractError where they do not fit the model.
    """
    needed = f"model '{contract.name}' takes {len(contract.bands)} ({', '.join(contract.bands)}; {contract.dtype})"
    got = f"{scene.path}: {scene.band_count} band{'s' if scene.band_count > 1 else ''} ({scene.dtype})"
    if scene.has_palette:
        raise ContractError(
            f"{got} of indices into a palette, but {needed}. Expand its colours with gdal_translate -expand rgb."
        )
    bands = settings.bands or scene.color_bands
    called = scene.bands_called(contract.bands)
    if not settings.bands and called is not None and len(bands) == len(called):
        bands = called  # some files have blue first
    if settings.bands and max(bands) > scene.band_count:
        has = "band 1" if scene.band_count == 1 else f"bands 1–{scene.band_count}"
        raise ContractError(f"{got}, but band {max(bands)} was asked for. Name only {has} with --bands.")
    if len(bands) != len(contract.bands):
        if settings.bands:
            raise ContractError(f"{got}: --bands names {len(bands)}, but {needed}. Name {len(contract.bands)}.")
        raise ContractError(f"{got}, but {needed}. {_advice(scene, contract)}, or choose another model.")
    if scene.dtype != contract.dtype and settings.value_range is None:
        raise ContractError(
            f"{got}, but {needed}. Stretch its values with --value-range LOW,HIGH, or choose another model."
        )
    return bands


def _advice(scene: Scene, contract: Contract) -> str:
    needed = len(contract.bands)
    if scene.band_count >= needed:
        named = scene.bands_called(contract.bands) or range(1, needed + 1)
        return f"Name them with --bands {','.join(map(str, named))}"
    return f"Give imagery of {needed} bands, repeat one (--bands {','.join(['1'] * needed)})"


def one_line(text: str) -> str:
    """Control characters, which a name can hold, are spelled out: a refusal is one line, and no order to a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def scene_pixel_size_m(scene: Scene, contract: Contract) -> float:
    """On the ground at the centre; the model's own where the scene is not georeferenced."""
    if not scene.crs_wkt:
        return contract.pixel_size_m.native
    height, width = ground_pixel_size_m(Affine(*scene.transform), scene.crs_wkt, (scene.height, scene.width))
    return float(np.sqrt(height * width))


Status = Literal["new", "resumed", "done"]


def status(plan: ScenePlan) -> Status:
    """What is left of a scene: everything, a part, nothing."""
    if plan.done:
        return "done"
    return "resumed" if plan.committed else "new"
