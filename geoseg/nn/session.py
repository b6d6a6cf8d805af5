"""What a process keeps between strips: the model, loaded once, and the pass over the scene it works on.

This module is importable on every worker, so Dask sends its name and not its content, and the cache holds.
"""

import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import segmentation_models_pytorch
import torch

from geoseg.contract import Contract
from geoseg.grid.tiling import Grid, Strip
from geoseg.memory import give_back_memory
from geoseg.nn.device import choose_device, choose_precision, prepare_process
from geoseg.nn.forward import Forward, Precision
from geoseg.nn.modeldir import load_model
from geoseg.nn.segment import ClassRows, ScenePass
from geoseg.raster.mosaic import MosaicReader, open_rows
from geoseg.raster.read import SceneReader
from geoseg.raster.scene import Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model and how it runs, the same for all strips of a run."""

    directory: Path
    contract: Contract
    device: str
    precision: Precision
    threads: int | None
    """CPU threads, None for all cores of the process."""


_LOCK = threading.Lock()
"""One strip at a time in a process: a second one would only double the memory."""
_forwards: dict[tuple[str, ...], Forward] = {}
_passes: dict[tuple[str, str, str, bool], tuple[ScenePass, SceneReader | MosaicReader]] = {}
_lost_pixels = 0
loads = 0
"""Models loaded by this process; tests hold it to one."""


def resolve(device: str, precision: str) -> tuple[str, Precision]:
    """Device and precision that this process would use; raises ConfigError."""
    chosen = choose_device(device)
    return chosen, choose_precision(precision, chosen)


def versions() -> dict[str, str]:
    """Versions of the libraries of networks, as plain strings: torch's own is of a class of torch."""
    return {module.__name__: str(module.__version__) for module in (torch, segmentation_models_pytorch)}


def forward_of(spec: ModelSpec) -> Forward:
    """The model of `spec`, loaded at the first call."""
    global loads
    contract = spec.contract
    key = (
        contract.weights_sha256, contract.config_sha256, str(contract.scaling), spec.device, spec.precision
    )  # fmt: skip
    if key not in _forwards:
        prepare_process(spec.threads)
        _forwards.clear()  # a run has one model
        _forwards[key] = Forward(load_model(spec.directory), contract, spec.device, spec.precision)
        loads += 1
        give_back_memory()  # what imports and loading took besides
    return _forwards[key]


def segment(
    spec: ModelSpec,
    scene: Scene,
    bands: tuple[int, ...],
    grid: Grid,
    strip: Strip,
    fingerprint: str,
    *,
    enlargement: float = 1.0,
    tolerant: bool = False,
) -> Generator[ClassRows, None, None]:
    """The final rows of a strip; a strip that follows the one before goes on from what that kept.

    Close it where it is not read to its end: before, this process maps no other strip. With `tolerant`, blocks of the
    scene that cannot be decoded count as nodata.
    """
    global _lost_pixels
    with _LOCK:
        key = fingerprint, spec.device, spec.precision, tolerant
        if key not in _passes:
            release()
            opened = open_rows(scene, bands, tolerant=tolerant)
            _passes[key] = ScenePass(forward_of(spec), opened, grid, enlargement), opened
        # What a strip that failed has left.
        take_seconds()
        take_lost_pixels()
        scene_pass, reader = _passes[key]
        try:
            yield from scene_pass.strip(strip)
        except BaseException:
            release()  # a broken pass is not gone on with
            raise
        _lost_pixels += reader.lost_pixels(strip.row_start, strip.row_stop)
        if strip.row_stop == scene.height:
            release()


def take_seconds() -> dict[str, float]:
    """Seconds per stage since the last call."""
    seconds = {stage: round(s, 3) for forward in _forwards.values() for stage, s in forward.seconds.items()}
    for forward in _forwards.values():
        forward.seconds.clear()
    return seconds


def take_lost_pixels() -> int:
    """Pixels since the last call that are nodata because their block could not be decoded."""
    global _lost_pixels
    lost, _lost_pixels = _lost_pixels, 0
    return lost


def halved_batch() -> int | None:
    """Tiles forwarded at once, where a lack of memory halved them."""
    return next((f.halved_to for f in _forwards.values()), None)


def release() -> None:
    """Close the scene at hand and give its memory back."""
    for scene_pass, reader in _passes.values():
        scene_pass.close()
        reader.close()
    if _passes:
        _passes.clear()
        give_back_memory()
