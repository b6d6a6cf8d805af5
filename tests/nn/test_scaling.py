"""From pixel values to model input, also for scenes of another range of values."""

import numpy as np
import pytest
import torch

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


def test_nodata_is_zero_whatever_it_holds():
    values = torch.tensor([[[np.nan, np.inf, 50.0]]]).repeat(3, 1, 1)
    valid = torch.tensor([[False, False, True]])
    got = scale_pixels(values, valid, make_contract().stretched(0, 100).scaling)
    assert got.tolist() == [[[0, 0, 0]]] * 3


def test_a_contract_with_a_range_is_written_and_read(tmp_path):
    contract = make_contract().stretched(0, 3000)
    assert type(contract).model_validate_json(contract.to_json()) == contract
