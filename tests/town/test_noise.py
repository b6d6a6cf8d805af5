import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.town.noise import element_rng, hash_lattice, value_noise, white_noise


def test_the_hash_is_the_same_everywhere():
    bits = hash_lattice(np.array([-3, 0, 70_000]), np.array([0, 5]), 42)
    assert bits.dtype == np.uint32
    again = hash_lattice(np.arange(-3, 70_001), np.arange(0, 6), 42)[[0, 3, 70_003]][:, [0, 5]]
    np.testing.assert_array_equal(bits, again)
    assert bits.tolist() == GOLDEN


GOLDEN = [[2161905528, 3414750280], [2835658746, 557129554], [3187376930, 1725335123]]


@settings(max_examples=25, deadline=None)
@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 40), st.integers(1, 30), st.integers(0, 2**40))
def test_noise_depends_on_the_place_and_not_on_the_window(row, col, size, cell_px, seed):
    whole = (-60, 100, -60, 100)
    part = (row, row + size, col, col + size)
    crop = np.s_[row + 60 : row + 60 + size, col + 60 : col + 60 + size]
    np.testing.assert_array_equal(value_noise(part, cell_px, seed), value_noise(whole, cell_px, seed)[crop])
    np.testing.assert_array_equal(white_noise(part, seed), white_noise(whole, seed)[crop])


def test_white_noise_is_nearly_normal_and_uncorrelated():
    noise = white_noise((0, 500, 0, 500), 1)
    assert abs(noise.mean()) < 0.01
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert abs((noise[1:] * noise[:-1]).mean()) < 0.02
    assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < 0.02
    assert abs((noise * white_noise((0, 500, 0, 500), 2)).mean()) < 0.02


def test_value_noise_is_smooth_and_bounded():
    noise = value_noise((0, 400, 0, 400), 20, 3)
    assert np.abs(noise).max() <= 1
    assert np.abs(np.diff(noise, axis=0)).max() < 2 * 1.5 / 20 + 1e-6
    assert noise.std() > 0.25


def test_elements_have_their_own_numbers():
    assert element_rng(1, 2, 3).integers(2**60) == element_rng(1, 2, 3).integers(2**60)
    assert element_rng(1, 2, 3).integers(2**60) != element_rng(1, 2, 4).integers(2**60)
