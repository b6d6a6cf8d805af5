"""python -m benchmarks.reading [SIZE]: how fast scenes are read, layout by layout, as the engine reads them.

Every layout holds the same picture. Each is read in a process of its own, from the page cache, in CPU time. The floor
is what rasterio takes to read the same file block row by block row, each block once, and to do nothing with it.
`again` is the time against that of the tiled twin; `fetched` is bytes read over bytes stored: 1.0 is each block once.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from geoseg.grid.tiling import Grid
from geoseg.raster.read import SceneReader
from geoseg.raster.scene import Scene, inspect

WORK = Path(__file__).parent / "work"

TILED = {"tiled": True, "blockxsize": 512, "blockysize": 512}
DEFLATE = {"compress": "deflate", "predictor": 2, "zlevel": 6, "interleave": "pixel"}
LAYOUTS: dict[str, dict[str, object]] = {
    "tiled 512": {**DEFLATE, **TILED},
    "tiled 256": {**DEFLATE, "tiled": True, "blockxsize": 256, "blockysize": 256},
    "tiled 512, planes": {**DEFLATE, **TILED, "interleave": "band"},
    "tiled 512, alpha": {**DEFLATE, **TILED, "alpha": "yes"},
    "tiled 512 × 2048": {**DEFLATE, "tiled": True, "blockxsize": 512, "blockysize": 2048},
    "strips of 1": {**DEFLATE, "blockysize": 1},
    "strips of 16": {**DEFLATE, "blockysize": 16},
    "strips of 16, planes": {**DEFLATE, "blockysize": 16, "interleave": "band"},
    "strips of 16, alpha": {**DEFLATE, "blockysize": 16, "alpha": "yes"},
    "strips of 700": {**DEFLATE, "blockysize": 700},
    "one strip": {**DEFLATE, "blockysize": 10**6},
    "one strip, planes": {**DEFLATE, "blockysize": 10**6, "interleave": "band"},
    "raw, tiled 512": {**TILED, "interleave": "pixel"},
    "raw, strips of 1": {"blockysize": 1, "interleave": "pixel"},
    "lzw, tiled 512": {**DEFLATE, **TILED, "compress": "lzw"},
    "lzw, strips of 16": {**DEFLATE, "compress": "lzw", "blockysize": 16},
    "zstd, tiled 512": {**DEFLATE, **TILED, "compress": "zstd", "zlevel": None},
    "zstd, strips of 16": {**DEFLATE, "compress": "zstd", "zlevel": None, "blockysize": 16},
}


def main(size: int) -> None:
    """Measure every layout of a picture of `size` × `size` pixels and print a table."""
    print(f"{'layout':24}{'MP/CPU-s':>10}{'floor':>8}{'again':>8}{'fetched':>9}{'MB':>7}")
    tiled: dict[str, float] = {}
    for name, profile in LAYOUTS.items():
        path = twin(size, name, profile)
        command = [sys.executable, "-m", "benchmarks.reading", "--one", str(path)]
        rate, floor, fetched, peak = map(float, subprocess.check_output(command, text=True).split())
        kind = next((k for k in ("planes", "alpha", "raw", "lzw", "zstd") if k in name), "deflate")
        twin_rate = tiled.setdefault(kind, rate)
        print(f"{name:24}{rate:10.1f}{floor:8.1f}{twin_rate / rate:8.2f}{fetched:9.2f}{peak:7.0f}", flush=True)
        path.unlink()


def twin(size: int, name: str, profile: dict[str, object]) -> Path:
    """The picture in one layout."""
    path = WORK / "scenes" / f"reading_{name.replace(' ', '_')}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {k: v for k, v in profile.items() if v is not None}
    options["blockysize"] = step = min(int(str(profile["blockysize"])), size)
    step = max(step, 512 // step * step)  # a row of blocks at a time: blocks written again would leave holes
    count = 4 if "alpha" in profile else 3
    header = {"driver": "GTiff", "height": size, "width": size, "count": count, "dtype": "uint8", "crs": "EPSG:32633"}
    transform = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000)
    with rasterio.open(path, "w", transform=transform, photometric="rgb", **header, **options) as dst:
        for row in range(0, size, step):
            rows = picture(row, min(step, size - row), size)
            alpha = np.full((count - 3, *rows.shape[1:]), 255, np.uint8)
            dst.write(np.concatenate([rows, alpha]), window=Window(0, row, size, rows.shape[1]))
    return path


def picture(row: int, rows: int, width: int) -> np.ndarray:
    """Houses of flat colour with fine noise: compresses as an aerial picture does, and is the same for any cut."""
    y, x = np.mgrid[row : row + rows, 0:width].astype(np.uint32)
    block = (y // 37 * 2654435761 + x // 53 * 40503) >> 7
    grain = (y * 73856093 ^ x * 19349663) * np.uint32(2654435761) >> 27
    return np.stack([(block * k + grain).astype(np.uint8) for k in (1, 3, 7)])


def one(path: Path) -> None:
    """Print megapixels a CPU second of a sweep and of the floor, bytes fetched per stored byte, and peak memory."""
    scene = inspect(path)
    before = fetched()
    sweep(scene)
    ratio = (fetched() - before) / scene.file_bytes
    peak = int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024 / 1e6
    megapixels = scene.height * scene.width / 1e6
    print(megapixels / best(lambda: sweep(scene)), megapixels / best(lambda: decode(path)), ratio, peak)


def sweep(scene: Scene) -> None:
    """Read a scene as a strip does: tile rows of 1024 that overlap by 128."""
    reader = SceneReader(scene, (1, 2, 3))
    for span in Grid(scene.height, scene.width, 1024, 128).rows:
        reader.rows(span.start, span.stop)
    reader.close()


def decode(path: Path) -> None:
    """Read every block once into memory that is used again."""
    with rasterio.open(path) as src:
        for window, out in _block_rows(src):
            src.read(out=out, window=window)


def _block_rows(src: rasterio.io.DatasetReader) -> Iterator[tuple[Window, np.ndarray]]:
    block = src.block_shapes[0][0]
    step = max(block, 512 // block * block)
    buffer = np.empty((src.count, step, src.width), np.uint8)
    for row in range(0, src.height, step):
        rows = min(step, src.height - row)
        yield Window(0, row, src.width, rows), buffer[:, :rows]


def fetched() -> int:
    """Bytes that this process has read from files so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


def best(work: Callable[[], None], times: int = 3) -> float:
    """CPU seconds of the fastest of several runs."""
    seconds = []
    for _ in range(times):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 8192)
