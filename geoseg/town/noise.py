"""Noise that is a pure function of place: hashed lattices, no state, the same in every cut of a scene.

Only integer arithmetic and single float32 products and sums are used, so the bits do not depend on threads or on how a
scene is tiled.
"""

import numpy as np
from numpy.typing import NDArray

Window = tuple[int, int, int, int]
"""Pixel rectangle: first row, end row, first column, end column."""


def element_rng(seed: int, *key: int) -> np.random.Generator:
    """The random numbers of one element of a town, independent of every other element."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *key])))


def hash_lattice(rows: NDArray[np.int64], cols: NDArray[np.int64], seed: int) -> NDArray[np.uint32]:
    """One well-mixed 32-bit number for each (row, col) of a lattice; shape (len(rows), len(cols)).

    The finalizer is "lowbias32" of C. Wellons (2018), applied to each axis and then to their combination.
    """
    mixed_rows = _mix(rows.astype(np.uint32) + np.uint32(seed * 0x9E3779B1 & 0xFFFFFFFF))
    mixed_cols = _mix(cols.astype(np.uint32) ^ np.uint32(0x68BC21EB))
    return _mix(mixed_rows[:, None] + mixed_cols[None, :] * np.uint32(0x85EBCA77))


def _mix(value: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Avalanche of 32-bit numbers."""
    value = value ^ (value >> np.uint32(16))
    value *= np.uint32(0x7FEB352D)
    value ^= value >> np.uint32(15)
    value *= np.uint32(0x846CA68B)
    value ^= value >> np.uint32(16)
    return value


def white_noise(window: Window, seed: int) -> NDArray[np.float32]:
    """Nearly Gaussian noise of mean 0 and standard deviation 1, one independent value a pixel; shape of the window."""
    bits = hash_lattice(np.arange(window[0], window[1]), np.arange(window[2], window[3]), seed)
    octets = bits.view(np.uint8).reshape(*bits.shape, 4)
    total = octets.sum(axis=2, dtype=np.int16)  # four uniform bytes: mean 510, standard deviation 147.8
    noise: NDArray[np.float32] = (total - np.int16(510)).astype(np.float32) * np.float32(1 / 147.8)
    return noise


def value_noise(window: Window, cell_px: int, seed: int) -> NDArray[np.float32]:
    """Smooth noise in −1…1 with features of `cell_px` pixels (value noise, smoothstep weights); shape of the window."""
    row0, row1, col0, col1 = window
    rows = np.arange(row0 // cell_px, (row1 - 1) // cell_px + 2)
    cols = np.arange(col0 // cell_px, (col1 - 1) // cell_px + 2)
    lattice = (hash_lattice(rows, cols, seed) >> np.uint32(8)).astype(np.float32) * np.float32(2 / 2**24) - np.float32(
        1
    )
    along = _upsample(lattice.T, cell_px, col0 - cols[0] * cell_px, col1 - col0).T
    return _upsample(along, cell_px, row0 - rows[0] * cell_px, row1 - row0)


def _upsample(lattice: NDArray[np.float32], cell_px: int, skip: int, count: int) -> NDArray[np.float32]:
    """Rows of `lattice` blown up `cell_px` times with smoothstep weights, cropped to `count` rows after `skip`."""
    t = (np.arange(cell_px, dtype=np.float32) + np.float32(0.5)) / np.float32(cell_px)
    weight = (t * t * (np.float32(3) - np.float32(2) * t))[None, :, None]
    low, high = lattice[:-1, None, :], lattice[1:, None, :]
    dense = low + (high - low) * weight
    return np.ascontiguousarray(dense.reshape(-1, lattice.shape[1])[skip : skip + count])
