"""python -m benchmarks.roads [size]: how well road networks are recovered, on noisy towns and on real networks.

Towns have a known network and class rasters as a network would err; the networks of Las Vegas (SpaceNet 3) are drawn
8 m wide and recovered. APLS is the mean of five samples of control points.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import geopandas
import numpy as np
import pandas as pd
import rasterio.features
import rasterio.transform
import shapely
from affine import Affine
from rasterio.crs import CRS

from geoseg.evaluate.roads import RoadScores, component_count, road_scores
from geoseg.legend import DEFAULT_LEGEND
from geoseg.town.noisy import NetworkNoise, noisy_classes
from geoseg.town.plan import plan_town
from geoseg.town.settings import TownSettings
from geoseg.town.truth import transform_of
from geoseg.town.write import truth_layers
from geoseg.vector.settings import VectorSettings
from geoseg.vector.vectorize import VectorJob, assemble, block_rows, vectorize_block_row

VEGAS = Path(__file__).parents[2] / "shared" / "data" / "vegas_roads"
SEEDS = (11, 12, 13, 14)
_PIXEL_M = 0.3
_VEGAS_WIDTH_M = 8.0
_LAYERS = ("road_centerlines", "road_nodes", "roads")


class Scene(NamedTuple):
    """A class raster with the network that is in it."""

    name: str
    classes: np.ndarray
    transform: Affine
    crs: str
    truth: geopandas.GeoDataFrame


def towns(size: int, pixel_m: float = _PIXEL_M) -> Iterator[Scene]:
    """Towns as a network might see them."""
    for seed in SEEDS:
        town = plan_town(TownSettings(size_px=(size, size), pixel_size_m=pixel_m, seed=seed))
        classes, _ = noisy_classes(town, NetworkNoise(seed=seed))
        crs = CRS.from_string(town.settings.crs).to_wkt()
        yield Scene(f"town {seed}", classes, transform_of(town), crs, truth_layers(town)["road_centerlines"])


def vegas() -> Iterator[Scene]:
    """Real networks, noded at shared vertices and drawn 8 m wide."""
    for path in sorted(VEGAS.glob("*.geojson")):
        lines = geopandas.read_file(path)
        lines = lines.to_crs(lines.estimate_utm_crs())
        left, bottom, right, top = lines.total_bounds + np.array([-10, -10, 10, 10])
        transform = rasterio.transform.from_origin(left, top, _PIXEL_M, _PIXEL_M)
        shape = int((top - bottom) / _PIXEL_M) + 1, int((right - left) / _PIXEL_M) + 1
        drawn = [(area, 2) for area in lines.buffer(_VEGAS_WIDTH_M / 2)]
        classes = rasterio.features.rasterize(drawn, shape, transform=transform, dtype=np.uint8)
        parts = shapely.get_parts(shapely.line_merge(shapely.node(shapely.unary_union(lines.geometry.to_numpy()))))
        truth = geopandas.GeoDataFrame({"width_m": np.full(len(parts), _VEGAS_WIDTH_M)}, geometry=parts)
        yield Scene(path.stem.rpartition("_")[2], classes, transform, lines.crs.to_wkt(), truth)


def network_of(scene: Scene, how: VectorSettings) -> tuple[dict[str, geopandas.GeoDataFrame], float]:
    """The road layers of a scene, and the CPU seconds they took."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "classes.tif"
        height, width = scene.classes.shape
        profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint8"}
        with rasterio.open(path, "w", **profile, transform=scene.transform, crs=CRS.from_wkt(scene.crs)) as dst:
            dst.write(scene.classes, 1)
        job = VectorJob(
            path, None, scene.transform, scene.crs, (height, width), DEFAULT_LEGEND, how, scene.name, Path(folder)
        )
        started = time.process_time()
        parts = [vectorize_block_row(job, index) for index in range(block_rows(job))]
        layers = assemble(job, parts)
        found = {name: pd.concat(list(layers[name])) for name in _LAYERS}
        return found, time.process_time() - started


def scored(scene: Scene, how: VectorSettings) -> RoadScores:
    """Scores of a scene, printed."""
    found, seconds = network_of(scene, how)
    lines, nodes = found["road_centerlines"], found["road_nodes"]
    scores = road_scores(
        lines.geometry.to_numpy(),
        scene.truth.geometry.to_numpy(),
        widths_m=(lines["width_m"].to_numpy(), scene.truth["width_m"].to_numpy()),
    )
    near, (junctions, true_junctions) = scores.buffer, scores.junctions
    print(
        f"{scene.name}: APLS {scores.apls:.3f}, completeness {near.completeness:.3f}, correctness {near.correctness:.3f}, "
        f"lateral {near.lateral_rmse_m:.2f} m, length {scores.length_ratio:.3f} ×, width ± {scores.width_mae_m:.2f} m, "
        f"junctions {junctions} of {true_junctions}, parts {component_count(lines.geometry.to_numpy())} of "
        f"{component_count(scene.truth.geometry.to_numpy())}, dead ends {(nodes['degree'] == 1).sum()}, "
        f"bridges {lines['inferred'].sum()}; {seconds:.1f} CPU-s with polygons",
        flush=True,
    )
    return scores


def main(size: int = 4096) -> None:
    """Print the scores of all scenes and their means."""
    how = VectorSettings.model_validate(json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
    for scenes in (towns(size), vegas()):
        scores = [scored(scene, how) for scene in scenes]
        if scores:
            print(
                f"  mean of {len(scores)}: APLS {np.mean([s.apls for s in scores]):.3f} "
                f"(least {min(s.apls for s in scores):.3f}), "
                f"completeness {np.mean([s.buffer.completeness for s in scores]):.3f}, "
                f"correctness {np.mean([s.buffer.correctness for s in scores]):.3f}, "
                f"lateral {np.mean([s.buffer.lateral_rmse_m for s in scores]):.2f} m"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4096)
