"""From pixel values to model input, also for scenes of another range of values."""

import numpy as np
import pytest
import torch

from geoseg.errors import ConfigError
from geoseg.nn.scaling import scale_pixels
from tests.conftest import make_contract


def test_scaling_against_its_definition():
    scaling = make_contract(scaling={"divide": 255, "mean": [0.1, 0.5, 0.9], "std": [0.2, 0.5, 0.3]}).scaling
    pixels = np.random.default_rng(0).integers(0, 256, (3, 7, 9)).astype(np.uint8)
    mean, std = (np.array(v)[:, None, None] for v in (scaling.mean, scaling.std))
    got = scale_pixels(torch.from_numpy(pixels), None, scaling)
    np.testing.assert_allclose(got, (pixels / 255 - mean) / std, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_a_value_range_becomes_the_range_of_the_model(dtype):
    """What the model sees is what it would see of a byte scene that was stretched and clipped beforehand."""
    contract = make_contract()
    low, high = 20, 120
    values = np.arange(0, 126, dtype=dtype).reshape(1, 1, -1).repeat(3, axis=0)
    stretched = (np.clip(values.astype(float), low, high) - low) / (high - low) * 255
    got = scale_pixels(torch.from_numpy(values), None, contract.stretched(low, high).scaling)
    np.testing.assert_allclose(got, scale_pixels(torch.from_numpy(stretched), None, contract.scaling), atol=1e-5)
    assert (got.min(), got.max()) == (pytest.approx(-1), pytest.approx(1))


@pytest.mark.parametrize(
    ("own", "scaling"),
    [
        ((0, 255), {"divide": 1, "mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]}),
        ((30, 200), {"divide": 255, "mean": [0.5] * 3, "std": [0.25] * 3, "clip": (30, 200)}),
    ],
)
def test_the_range_of_a_model_need_not_be_its_divisor(own, scaling):
    contract = make_contract(scaling=scaling)
    values = np.linspace(0, 3000, 61, dtype=np.float32).reshape(1, 1, -1).repeat(3, axis=0)
    stretched = own[0] + (np.clip(values, 500, 2500) - 500) / 2000 * (own[1] - own[0])
    got = scale_pixels(torch.from_numpy(values), None, contract.stretched(500, 2500).scaling)
    np.testing.assert_allclose(got, scale_pixels(torch.from_numpy(stretched), None, contract.scaling), atol=1e-4)


def test_a_range_that_the_model_does_not_tell_is_not_guessed():
    scaling = {"divide": 1, "mean": [1200] * 3, "std": [600] * 3}
    with pytest.raises(ConfigError, match=r"takes uint16 .* Set scaling\.clip in its contract\.json"):
        make_contract(dtype="uint16", scaling=scaling).stretched(0, 3000)


def test_nodata_is_zero_whatever_it_holds():
    values = torch.tensor([[[np.nan, np.inf, 50.0]]]).repeat(3, 1, 1)
    valid = torch.tensor([[False, False, True]])
    got = scale_pixels(values, valid, make_contract().stretched(0, 100).scaling)
    assert got.tolist() == [[[0, 0, 0]]] * 3


def test_a_contract_with_a_range_is_written_and_read(tmp_path):
    contract = make_contract().stretched(0, 3000)
    assert type(contract).model_validate_json(contract.to_json()) == contract
