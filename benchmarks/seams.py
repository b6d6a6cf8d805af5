"""How far the blended map is from the untiled forward: all over, along tile borders, and in the rim of the scene."""

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.material import town
from geoseg.contract import DEFAULT_MODEL, load_contract
from geoseg.grid.tiling import Axis, Grid
from geoseg.nn.device import choose_precision
from geoseg.nn.forward import Forward
from geoseg.nn.modeldir import load_model
from geoseg.nn.scaling import scale_pixels
from geoseg.nn.segment import ScenePass
from geoseg.raster.read import SceneReader
from geoseg.raster.scene import inspect

_NEAR_PX = 8
_RIM_PX = 64


def seams(size: int = 2048, model: Path = DEFAULT_MODEL) -> None:
    """Print the share of pixels whose class differs from that of one forward of the whole scene."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    scene = inspect(town(size))
    precision = choose_precision("auto", "cpu")
    forward = Forward(load_model(model), load_contract(model), "cpu", precision)
    grid = Grid(scene.height, scene.width, 1024, 128)
    rows = SceneReader(scene, (1, 2, 3)).rows(0, scene.height)
    with torch.inference_mode():
        image = scale_pixels(torch.from_numpy(rows.pixels), None, load_contract(model).scaling)[None]
        whole = forward.logits(image.contiguous(memory_format=torch.channels_last))[0].argmax(0).numpy()
    strips = ScenePass(forward, SceneReader(scene, (1, 2, 3)), grid).strip(grid.strips(10**6)[0])
    blended = np.concatenate([part.classes for part in strips])
    differs = blended != whole
    near = _near(grid.rows)[:, None] | _near(grid.cols)[None, :]
    rim = np.ones_like(differs)
    rim[_RIM_PX:-_RIM_PX, _RIM_PX:-_RIM_PX] = False
    elsewhere = ~near & ~rim
    print(
        f"seams {size}² {precision}: {differs.mean():.4%} of pixels differ from the untiled forward; "
        f"≤ {_NEAR_PX} px of tile borders {differs[near].mean():.4%}, {_RIM_PX} px rim {differs[rim].mean():.4%}, "
        f"elsewhere {differs[elsewhere].mean():.4%}"
    )


def _near(axis: Axis) -> NDArray[np.bool_]:
    """Positions within a few pixels of where a tile begins or ends inside the scene."""
    borders = [b for span in axis for b in (span.start, span.stop) if 0 < b < axis.length]
    at = np.arange(axis.length)
    return np.logical_or.reduce([np.abs(at - b + 0.5) <= _NEAR_PX for b in borders])
