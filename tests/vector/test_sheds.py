"""Sheds: a dozen pixels wide, so that noise decides which way their walls seem to run."""

import numpy as np
import shapely
from shapely.geometry import box
from test_buildings import HOW, placed, worn

from geoseg.vector.buildings import SHAPES, iou, squared

SIZES = [(10, 13), (12, 16), (13, 13), (14, 20)]
COUNT = 120


def test_sheds_have_right_angles_also_where_noise_turned_their_walls():
    rng = np.random.default_rng(2)
    angles = rng.uniform(0, 90, COUNT)
    truths = np.array([placed(box(0, 0, *SIZES[k % len(SIZES)]), angle) for k, angle in enumerate(angles)])
    raw = np.array([worn(truth, seed, 0.14) for seed, truth in enumerate(truths)])
    whole = iou(raw, truths) > 0.5
    truths, raw, angles = truths[whole], raw[whole], angles[whole]
    found = squared(raw, HOW)
    made = ~shapely.is_missing(found.polygons)
    assert made.mean() > 0.94
    assert (found.shape[made] == SHAPES.index("right angles")).mean() > 0.82
    right = found.shape == SHAPES.index("right angles")
    for polygon, way in zip(found.polygons[right], found.direction[right], strict=True):
        step = np.diff(shapely.get_coordinates(polygon), axis=0)
        heading = np.degrees(np.arctan2(step[:, 1], step[:, 0]) - way)
        assert np.abs((heading + 45) % 90 - 45).max() < 1e-6  # the direction told is that of the walls
    assert iou(found.polygons[made], truths[made]).mean() > iou(raw[made], truths[made]).mean()
    oblong = right & np.array([len(set(SIZES[k % len(SIZES)])) == 2 for k in np.flatnonzero(whole)])
    off = (np.degrees(found.direction[oblong]) - angles[oblong] + 45) % 90 - 45
    assert np.median(np.abs(off)) < 4
