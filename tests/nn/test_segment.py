import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from geoseg.errors import SceneError
from geoseg.grid.tiling import Grid
from geoseg.legend import NODATA
from geoseg.nn.forward import Forward
from geoseg.nn.modeldir import load_model
from geoseg.nn.segment import ScenePass, _decide_on_gpu, decide
from geoseg.raster.read import Rows
from tests.nn.processor import in_bfloat16


class ArraySource:
    """A scene held in memory."""

    def __init__(self, pixels, valid=None):
        self.pixels = pixels
        self.valid = np.ones(pixels.shape[1:], bool) if valid is None else valid

    def rows(self, start, stop):
        return Rows(start, self.pixels[:, start:stop], self.valid[start:stop])


class Local(nn.Module):
    """Two 5 × 5 convolutions with padding by reflection: each logit sees 4 pixels around it, and no border."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 5, padding=2, padding_mode="reflect"),
            nn.ReLU(),
            nn.Conv2d(8, 4, 5, padding=2, padding_mode="reflect"),
        )
        self.calls = []

    def forward(self, x):
        self.calls.append(tuple(x.shape))
        return 50 * self.net(x)


def forward_of(model, contract, precision="float32"):
    return Forward(model, contract, "cpu", precision)


def scene(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)


def run(forward, source, grid, tile_rows=10**6, order=None, fresh=False, enlargement=1.0):
    """Class and confidence of the whole scene, strip by strip, in any order."""
    classes = np.full((grid.height, grid.width), 99, np.uint8)
    confidence = np.full((grid.height, grid.width), 99, np.uint8)
    scene_pass = ScenePass(forward, source, grid, enlargement)
    strips = grid.strips(tile_rows)
    for strip in strips if order is None else [strips[i] for i in order(len(strips))]:
        if fresh:
            scene_pass = ScenePass(forward, source, grid, enlargement)
        for rows in scene_pass.strip(strip):
            span = slice(rows.start, rows.start + len(rows.classes))
            classes[span], confidence[span] = rows.classes, rows.confidence
    return classes, confidence


def untiled(model, pixels, valid, enlargement=1.0):
    """Logits of a whole scene, extended to a multiple of 32 as the engine does, and whether the best is clear."""
    scaled = np.where(valid, (pixels / 255 - 0.5) / 0.5, 0).astype(np.float32)
    for axis in (1, 2):
        mode = "reflect" if scaled.shape[axis] > 1 else "edge"
        scaled = np.pad(scaled, [(0, -scaled.shape[i] % 32 if i == axis else 0) for i in range(3)], mode=mode)
    with torch.no_grad():
        image = torch.from_numpy(scaled)[None]
        logits = model(functional.interpolate(image, scale_factor=enlargement, mode="bicubic"))
        logits = functional.interpolate(logits, size=image.shape[2:], mode="bilinear", antialias=True)
        logits = logits[0, :, : pixels.shape[1], : pixels.shape[2]]
    top = logits.topk(2, dim=0).values
    return logits, ((top[0] - top[1]) > 1e-2).numpy() & valid


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    tiling=st.sampled_from([(64, 32), (96, 32), (128, 32), (128, 64), (320, 32)]),
    seed=st.integers(0, 5),
    holes=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(1, 250)), max_size=3),
    enlargement=st.sampled_from([1.0, 1.0625, 1.25, 1.3125, 1.5]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blended_tiles_equal_the_untiled_forward_of_a_local_model(
    contract, height, width, tiling, seed, holes, enlargement
):
    """Whatever tiles are skipped because a hole leaves them without data."""
    pixels, model, valid = scene(height, width, seed), Local(), np.ones((height, width), bool)
    for row, col, size in holes:
        valid[row : row + size, col : col + size] = False
    source, grid = ArraySource(pixels, valid), Grid(height, width, *tiling)
    classes, confidence = run(forward_of(model, contract), source, grid, enlargement=enlargement)
    logits, clear = untiled(model, pixels, valid, enlargement)
    if enlargement > 1:  # tiles are extended to multiples of 32 once more, which shows at the end of the scene
        clear[-6:] = clear[:, -6:] = False
    assert (classes == logits.argmax(0).numpy())[clear].all()
    assert np.abs(confidence - 100 * logits.softmax(0).amax(0).numpy())[clear].max(initial=0) <= 0.6
    assert (classes[~valid] == NODATA).all()


@pytest.mark.parametrize(("tile_rows", "enlargement"), [(1, 1.0), (2, 1.0), (3, 1.0), (2, 1.25)])
@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=in_bfloat16)])
def test_any_cut_into_strips_in_any_order_gives_the_same_bytes(unet_model, contract, tile_rows, enlargement, precision):
    forward = forward_of(load_model(unet_model), contract, precision)
    source, grid = ArraySource(scene(500, 330)), Grid(500, 330, 128, 32)
    whole = run(forward, source, grid, enlargement=enlargement)
    assert len(np.unique(whole[0])) > 1
    in_turn = run(forward, source, grid, tile_rows, enlargement=enlargement)
    backwards = run(forward, source, grid, tile_rows, lambda n: range(n - 1, -1, -1), enlargement=enlargement)
    alone = run(forward, source, grid, tile_rows, fresh=True, enlargement=enlargement)
    for other in (in_turn, backwards, alone):
        assert (other[0] == whole[0]).all()
        assert (other[1] == whole[1]).all()


def test_threads_do_not_change_a_byte(unet_model, contract):
    forward = forward_of(load_model(unet_model), contract, "bfloat16")
    source, grid = ArraySource(scene(200, 330)), Grid(200, 330, 128, 32)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(run(forward, source, grid)[0])
    torch.set_num_threads(before)
    assert (results[0] == results[1]).all()


def test_nodata_gets_no_class_and_its_pixel_values_do_not_matter(unet_model, contract):
    forward = forward_of(load_model(unet_model), contract)
    pixels = scene(300, 300)
    valid = np.ones((300, 300), bool)
    valid[:, :130] = False
    valid[40:90, 200:260] = False
    grid = Grid(300, 300, 128, 32)
    classes, confidence = run(forward, ArraySource(pixels, valid), grid)
    other = np.where(valid, pixels, 255 - pixels).astype(np.uint8)
    again, _ = run(forward, ArraySource(other, valid), grid)
    assert (classes[~valid] == NODATA).all()
    assert (confidence[~valid] == NODATA).all()
    assert (classes[valid] < 4).all()
    assert (classes == again).all()


def test_tiles_without_data_are_not_forwarded(contract):
    model = Local()
    valid = np.zeros((64, 500), bool)
    valid[:, 450:] = True
    forward = forward_of(model, contract)
    model.calls.clear()  # those that look what can be fused
    classes, _ = run(forward, ArraySource(scene(64, 500), valid), Grid(64, 500, 128, 32))
    assert model.calls == [(1, 3, 64, 128)]  # 450–500 lies in the last of five tiles only
    assert (classes[:, :450] == NODATA).all()


def test_a_batch_that_is_too_large_is_halved_without_changing_the_result(contract):
    class Small(Local):
        def forward(self, x):
            if len(x) > 2:
                raise torch.OutOfMemoryError
            return super().forward(x)

    source, grid = ArraySource(scene(64, 700)), Grid(64, 700, 64, 32)
    single = run(forward_of(Local(), contract), source, grid)
    forward = forward_of(Small(), contract)
    forward._batch = 16  # as on a GPU
    batched = run(forward, source, grid)
    assert forward._batch == 2
    assert (single[0] == batched[0]).all()


def test_decide_is_argmax_and_softmax():
    logits = torch.randn(6, 37, 53) * 3
    classes, confidence, _ = decide(logits)
    assert (classes == logits.argmax(0)).all()
    assert (confidence - 100 * logits.softmax(0).amax(0)).abs().max() <= 0.501
    on_gpu, sure, _ = _decide_on_gpu(logits)
    assert (on_gpu == classes).all()
    assert (sure.int() - confidence).abs().max() <= 1


@pytest.mark.parametrize("how", [decide, _decide_on_gpu])
def test_ties_go_to_the_lower_id(how):
    logits = torch.tensor([0.0, 1, 1, 1])[:, None, None].repeat(1, 3, 5)
    assert (how(logits)[0] == 1).all()


@pytest.mark.parametrize("how", [decide, _decide_on_gpu])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_logit_that_is_not_finite_shows_in_the_total(how, value):
    logits = torch.zeros(3, 8, 8)
    assert math.isfinite(how(logits)[2])
    logits[1, 4, 4] = value
    assert not math.isfinite(how(logits)[2])


def test_scores_that_are_not_finite_are_an_error(contract):
    class Broken(Local):
        def forward(self, x):
            return super().forward(x) + float("nan")

    with pytest.raises(SceneError, match="not finite"):
        run(forward_of(Broken(), contract), ArraySource(scene(64, 64)), Grid(64, 64, 64, 32))


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "uint32"])
def test_other_types_give_the_same_map_as_bytes(unet_model, contract, dtype):
    forward = forward_of(load_model(unet_model), contract)
    pixels, grid = scene(100, 150), Grid(100, 150, 128, 32)
    expected = run(forward, ArraySource(pixels), grid)[0]
    assert (run(forward, ArraySource(pixels.astype(dtype)), grid)[0] == expected).all()
