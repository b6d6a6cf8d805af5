import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import ConfigError
from geoseg.grid.taper import ramp, taper
from geoseg.grid.tiling import Axis, Grid

TILINGS = st.tuples(st.integers(1, 16), st.integers(0, 8)).filter(lambda t: 2 * t[1] <= t[0])


@pytest.mark.parametrize(
    ("length", "starts", "padded"),
    [
        (1, [0], [32]),  # a single pixel is one tile of the smallest size
        (1024, [0], [1024]),  # exactly one tile
        (1025, [0, 896], [1024, 160]),  # one pixel more needs a second one, which is small
        (4096, [0, 896, 1792, 2688, 3584], [1024] * 4 + [512]),  # the last tile is only as large as it must be
        (8192, [i * 896 for i in range(9)], [1024] * 9),
    ],
)
def test_tiles_along_an_axis(length, starts, padded):
    axis = Axis(length, 1024, 128)
    assert [s.start for s in axis] == starts
    assert [s.padded for s in axis] == padded


@given(st.integers(1, 3000), TILINGS)
@settings(max_examples=200, deadline=None)
def test_every_pixel_is_covered_owned_once_and_weighs_exactly_one(length, tiling):
    axis = Axis(length, tiling[0] * 32, tiling[1] * 32)
    owned = np.zeros(length, int)
    weight = np.zeros(length, np.float32)
    for span in axis:
        assert span.start % 32 == 0
        assert span.size <= span.padded <= axis.tile_size
        assert span.padded - span.size < 32
        owned[span.start : span.owned_stop] += 1
        weight[span.start : span.stop] += taper(axis, span.index)
    assert (owned == 1).all()
    assert (weight == 1).all()


@given(st.integers(1, 2000), TILINGS, st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_strips_own_every_row_once(height, tiling, tile_rows):
    grid = Grid(height, 100, tiling[0] * 32, tiling[1] * 32)
    strips = grid.strips(tile_rows)
    rows = [r for s in strips for r in range(s.row_start, s.row_stop)]
    assert rows == list(range(height))
    assert all(1 <= s.stop - s.first <= tile_rows for s in strips)


@pytest.mark.parametrize("size", [4096, 8192])
def test_few_pixels_are_forwarded_twice(size):
    grid = Grid(size, size, 1024, 128)
    assert grid.forwarded_pixels / size**2 <= 1.30


def test_a_ramp_and_its_mirror_sum_to_one():
    for overlap in (32, 64, 128, 512):
        up = ramp(overlap)
        assert (up + up[::-1] == 1).all()
        assert (np.diff(up) >= 0).all()


@pytest.mark.parametrize(("tile", "overlap"), [(1000, 128), (1024, 100), (1024, 544), (0, 0), (64, -32)])
def test_a_tiling_that_is_no_lattice_is_refused(tile, overlap):
    with pytest.raises(ConfigError, match="must be"):
        Axis(100, tile, overlap)
