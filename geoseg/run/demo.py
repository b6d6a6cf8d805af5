"""The demo: a rendered town is mapped with the model that ships, and the map is checked against its truth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.config import load_settings
from geoseg.contract import load_contract
from geoseg.errors import OutputError
from geoseg.files import check_folder, output_error
from geoseg.legend import NODATA, Legend
from geoseg.raster.preview import confusion, write_preview
from geoseg.run.mapping import EXIT_DONE, EXIT_SOME_FAILED, map_scenes
from geoseg.town.plan import plan_town
from geoseg.town.settings import TownSettings
from geoseg.town.write import write_scene, write_truth

TOWN = TownSettings(size_px=(4096, 4096), pixel_size_m=0.5, seed=20260, palette="temperate", collar=True)
"""A town that the model that ships has never seen: its training used other seeds."""

ACCEPTABLE_IOU = 0.6
"""Below this in any class, the demo has failed: something is wrong with the installation or the model."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo made and how good it is."""

    geopackage: Path
    preview: Path
    layers: dict[str, int]
    """Layer → features."""
    iou: dict[str, float]
    """Class → intersection over union with the truth."""
    nodata_claimed: int
    """Pixels of the nodata collar that got a class; must be 0."""
    exit_code: int


def run_demo(output: Path, town: TownSettings = TOWN, workers: int | None = None) -> DemoResult:
    """Render a town into `output`, map it, compare.

    Raises OutputError where it cannot be written or mapped, and what `map_scenes` raises.
    """
    check_folder(output, "-o")
    given = {"inputs": (str(output / "imagery" / "town.tif"),), "output": output / "map", "workers": workers}
    settings = load_settings(None, {**given, "overwrite": True})
    scene = output / "imagery" / "town.tif"
    truth = output / "truth"
    try:
        truth.mkdir(parents=True, exist_ok=True)
        scene.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise output_error(output, exc) from exc
    planned = plan_town(town)
    write_scene(planned, scene)
    write_truth(planned, truth)
    run = map_scenes(settings)
    (result,) = run.results
    if result.status not in ("done", "up to date"):
        raise OutputError(f"{scene}: {result.status}: {result.reason.removeprefix(f'{scene}: ')}")
    outputs = run.plan.scenes[0].outputs
    legend = load_contract(settings.model_dir).legend
    counts = confusion(truth / "truth_classes.tif", outputs.classes)
    iou = class_iou(counts, legend)
    preview = output / "preview.png"
    write_preview(preview, scene, outputs.classes, legend)
    claimed = int(counts[NODATA, :NODATA].sum())
    good = run.exit_code == EXIT_DONE and not claimed and min(iou.values()) >= ACCEPTABLE_IOU
    return DemoResult(outputs.layers[0], preview, result.layers, iou, claimed, EXIT_DONE if good else EXIT_SOME_FAILED)


def class_iou(counts: NDArray[np.int64], legend: Legend) -> dict[str, float]:
    """Intersection over union of each class from a (256, 256) confusion matrix; nodata of either side is left out."""
    seen = counts[:NODATA, :NODATA]
    hits = np.diag(seen)
    union = seen.sum(0) + seen.sum(1) - hits
    return {c.name: float(hits[c.id] / union[c.id]) if union[c.id] else float("nan") for c in legend}
