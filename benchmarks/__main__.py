"""python -m benchmarks [speed|memory|stub|seams]...: measure, and print what README and the closing figures quote.

Speed is a ratio to the floor: the bare forward of the same model over the same pixels, without overlap, input or output,
in the same precision, before and after. Absolute times say more of the machine than of the program.
"""

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

# Before torch, whose threads then sleep while they wait, as they do in a run.
import geoseg.nn  # noqa: F401

# isort: split
import rasterio
import torch

from benchmarks.material import CONTRACT, PAINT, WORK, painted, resnet18, stub, texture, town
from benchmarks.measure import Usage, run
from benchmarks.seams import seams
from geoseg.config import RunSettings
from geoseg.nn.device import choose_precision, prepare_process
from geoseg.nn.modeldir import load_model
from geoseg.nn.scaling import scale_pixels
from geoseg.raster.strips import CLASSES_BAND
from geoseg.run import ledger
from geoseg.run.plan import plan_run
from geoseg.run.tasks import ProbeTask, RasterTask, SegmentTask

GEOSEG = [sys.executable, "-m", "geoseg.cli", "map"]


def floor(
    model_dir: Path, scene: Path, precision: str, tile: int = 1024, share: int = 4, layout: Any = torch.channels_last
) -> float:
    """Seconds for the bare forward of a scene, from every `share`-th tile of a grid without overlap.

    The network as smp gives it, normalizations and all, in a process that keeps its memory as geoseg's do.
    """
    prepare_process(None)
    model = load_model(model_dir).to(memory_format=layout)
    with rasterio.open(scene) as src, torch.inference_mode(), torch.autocast("cpu", enabled=precision == "bfloat16"):
        pixels = torch.from_numpy(src.read(window=rasterio.windows.Window(0, 0, tile, tile)))
        tiles = src.height * src.width / tile**2
        image = scale_pixels(pixels, None, CONTRACT.scaling)[None].contiguous(memory_format=layout)
        model(image)
        started = time.perf_counter()
        for _ in range(max(1, int(tiles) // share)):
            model(image)
        return (time.perf_counter() - started) / max(1, int(tiles) // share) * tiles


def mapped(name: str, scene: Path, model: Path, *more: str, watched: bool = False) -> tuple[Usage, dict[str, float]]:
    """Map a scene anew; returns what it used (memory where it is watched), and the seconds from its first read to each stage."""
    out, log = WORK / "out" / name, WORK / f"{name}.jsonl"
    log.unlink(missing_ok=True)
    usage = run(
        [
            *GEOSEG,
            str(scene),
            "-o",
            str(out),
            "--model",
            str(model),
            "--overwrite",
            "--quiet",
            "--log-json",
            str(log),
            *more,
        ],
        watched=watched,
    )
    events = [json.loads(line) for line in log.read_text().splitlines()]
    start = next(_time(e) for e in events if e["event"] == "scene")
    stages = {e["task"].split("-")[0]: _time(e) - start for e in events if e["event"] == "task"}
    stages["over"] = next(_time(e) - start for e in events if e["event"] == "scene_over")
    strips = [e["seconds"] for e in events if e["event"] == "strip"]
    stages["forward_share"] = sum(s["forward"] for s in strips) / sum(s["all"] for s in strips)
    stages["startup"] = usage.wall_s - stages["over"]
    return usage, stages


def _time(event: dict[str, str]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def speed(size: int = 8192) -> None:
    """Wall time to the class raster and to the GeoPackage, as ratios to the floor."""
    scene, model = town(size), resnet18()
    precision = choose_precision("auto", "cpu")
    floors = [floor(model, scene, precision)]
    total: dict[str, float] = {}
    for workers in ("0", "1"):
        usage, stages = mapped(f"speed_{workers}", scene, model, "--workers", workers)
        floors.append(floor(model, scene, precision))
        bare = sum(floors[-2:]) / 2  # right before and right after: the machine may change its pace
        total[workers] = usage.wall_s
        print(
            f"speed {size}² workers {workers}: floor {precision} {bare:.1f} s; class raster {stages['raster'] / bare:.2f} ×, "
            f"GeoPackage {stages['over'] / bare:.2f} ×; forward {stages['forward_share']:.0%} of strips; "
            f"start-up {stages['startup']:.1f} s; process {usage.wall_s:.1f} s, {usage.cpu_s:.0f} CPU-s"
        )
    eager = floor(model, scene, "float32", tile=512, share=16, layout=torch.contiguous_format)
    print(
        f"speed {size}²: eager float32 floor {eager:.1f} s; whole process {total['0'] / eager:.2f} × of it, with Dask {total['1'] / eager:.2f} ×"
    )


def costs(size: int = 8192) -> None:
    """CPU seconds of everything but the network, on a noisy map and on one that looks like a map.

    The mean colour of a few pixels tells a photograph's roads from roofs and bare ground no better than it may: that map
    has ten times the lines of a town. The painted town gives the map that a good network makes of it. Outlines are
    polygons as they are, simplified; the other figure has squared buildings and a road network too.
    """
    outlines = WORK / "outlines.yaml"
    outlines.write_text("vector: {buildings: {enabled: false}, centerlines: {enabled: false}}\n")
    empty, _ = mapped("startup", texture(64, 64), stub(), "--workers", "0")
    for name, scene, model in (
        ("photograph", town(size), stub()),
        ("painted", painted(size), stub("stub_painted", PAINT)),
    ):
        raster_s, network_s = class_raster_cpu(scene, model)
        plain, _ = mapped(f"outlines_{name}", scene, model, "--workers", "0", "--config", str(outlines))
        full, stages = mapped(f"stub_{name}", scene, model, "--workers", "0")
        print(
            f"stub {name} {size}², CPU-s without start-up ({empty.cpu_s:.1f}), of which the stub's own {network_s:.1f}: "
            f"class raster {raster_s:.1f}, outlines in a GeoPackage {plain.cpu_s - empty.cpu_s:.1f}, all layers "
            f"{full.cpu_s - empty.cpu_s:.1f}; wall to class raster {stages['raster']:.1f} s, to all {stages['over']:.1f} s"
        )


def class_raster_cpu(scene: Path, model: Path) -> tuple[float, float]:
    """CPU seconds to the class raster in this process, and those of the network's bare forward of the same pixels."""
    settings = RunSettings(inputs=(str(scene),), output=WORK / "out" / "raster", model=model, overwrite=True, workers=0)
    plan = plan_run(settings, 0)
    runtime = ProbeTask(settings, plan.contract).run()
    (mapping,) = plan.scenes
    ledger.begin(mapping.work, mapping.fingerprint, mapping.strips, frozenset())
    started = time.process_time()
    for strip in mapping.strips:
        SegmentTask(mapping, strip, settings, plan.contract, runtime).run()
    RasterTask(mapping, plan.contract, frozenset(), CLASSES_BAND).run()
    whole = time.process_time() - started
    started = time.process_time()
    wall = time.perf_counter()
    bare = floor(model, scene, runtime.precision)
    share = (time.process_time() - started) / (time.perf_counter() - wall)
    return whole, bare * share * mapping.grid.forwarded_pixels / (mapping.scene.height * mapping.scene.width)


def memory(width: int = 8192) -> None:
    """Peak of the process tree for a scene and one four times as high."""
    for workers in ("0", "1"):
        peaks = {}
        for height in (width, 4 * width):
            usage, _ = mapped(
                f"memory_{workers}", texture(height, width), resnet18(), "--workers", workers, watched=True
            )
            peaks[height] = usage.peak_mb
        low, high = peaks.values()
        print(
            f"memory {width} wide, workers {workers}: {low:.0f} MB, four times as high {high:.0f} MB ({high / low - 1:+.1%})"
        )


if __name__ == "__main__":
    chosen = {"speed": speed, "stub": costs, "memory": memory, "seams": seams}
    names = sys.argv[1:] or list(chosen)
    if strange := [name for name in names if name not in chosen]:
        sys.exit(f"no benchmark {', '.join(strange)}; there are {', '.join(chosen)}")
    for name in names:
        chosen[name]()
