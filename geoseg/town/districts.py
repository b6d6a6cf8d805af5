"""How each kind of block is built up: which forms, how large, how far apart and how high."""

from dataclasses import dataclass

import numpy as np

from geoseg.town.model import Roof
from geoseg.town.shapes import Form

Span = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """What is built along the streets of a kind of block."""

    forms: dict[str, float]
    """Shares of the shapes."""
    width_m: Span
    depth_m: Span
    gap_m: Span
    """Between neighbours."""
    setback_m: Span
    """From the pavement; one value a block."""
    height_m: Span
    row: tuple[int, int] = (1, 1)
    """Units in a row that share walls."""
    roofs: dict[Roof, float]
    """Shares of the roofs of buildings that are not circles."""
    empty: float = 0.06
    """Share of plots left open."""
    yard: float = 1.0
    """Share of plots with a yard of their own."""
    shed: float = 0.0
    """Share of plots with a garage or shed."""
    base: dict[str, float]
    """Shares of the covers of the block's ground."""
    trees_per_ha: float
    """In yards and courts."""
    filled: float = 0.0
    """Share of the blocks whose inside is built up in rows as well."""


HABITS: dict[str, Habit] = {
    "suburb": Habit(
        forms={"rectangle": 0.5, "l": 0.28, "t": 0.09, "u": 0.05, "wing45": 0.08},
        width_m=(9, 17), depth_m=(8.5, 13.5), gap_m=(3, 8), setback_m=(3.5, 8), height_m=(3, 6.5),
        roofs={"gable": 0.5, "hip": 0.5}, shed=0.45, base={"soil": 0.42, "dry": 0.36, "yardgrass": 0.22}, trees_per_ha=38,
    ),
    "terrace": Habit(
        forms={"terrace": 1.0}, width_m=(5.5, 8), depth_m=(8, 12), gap_m=(2.5, 7), setback_m=(1.5, 5),
        height_m=(5, 8), row=(3, 9), roofs={"gable": 0.85, "flat": 0.15}, shed=0.3,
        base={"soil": 0.5, "dry": 0.3, "paving": 0.2}, trees_per_ha=26,
    ),
    "urban": Habit(
        forms={"block": 0.78, "courtyard": 0.08, "u": 0.06, "l": 0.08}, width_m=(10, 22), depth_m=(11, 16),
        gap_m=(0.95, 6), setback_m=(0.3, 2.0), height_m=(9, 20), row=(2, 6), roofs={"gable": 0.4, "hip": 0.1, "flat": 0.5},
        yard=0.3, shed=0.6, filled=0.5, base={"paving": 0.7, "soil": 0.2, "gravel": 0.1}, trees_per_ha=20,
    ),
    "slabs": Habit(
        forms={"rectangle": 0.62, "l": 0.1, "u": 0.07, "wing45": 0.11, "circle": 0.04, "courtyard": 0.06},
        width_m=(26, 62), depth_m=(12, 17), gap_m=(12, 26), setback_m=(4, 10), height_m=(12, 30),
        roofs={"flat": 0.85, "hip": 0.15}, yard=0.0, base={"yardgrass": 0.3, "paving": 0.4, "dry": 0.3},
        trees_per_ha=32, filled=1.0,
    ),
    "industrial": Habit(
        forms={"rectangle": 0.72, "l": 0.12, "circle": 0.1, "u": 0.06}, width_m=(24, 75), depth_m=(20, 48),
        gap_m=(7, 22), setback_m=(5, 14), height_m=(6, 11), roofs={"flat": 0.6, "gable": 0.4}, yard=0.0,
        base={"paving": 0.5, "gravel": 0.3, "soil": 0.2}, trees_per_ha=4, filled=1.0,
    ),
    "rural": Habit(
        forms={"rectangle": 0.6, "l": 0.3, "u": 0.1}, width_m=(10, 26), depth_m=(8, 14), gap_m=(30, 110),
        setback_m=(6, 16), height_m=(4, 7), roofs={"gable": 0.8, "hip": 0.2}, shed=0.7, empty=0.45,
        base={"dry": 0.5, "soil": 0.5}, trees_per_ha=6,
    ),
}  # fmt: skip
"""The habits by kind of district."""


def pick(rng: np.random.Generator, shares: dict[str, float]) -> str:
    """One of the keys, by its share."""
    names = list(shares)
    bounds = np.cumsum(list(shares.values()))
    return names[int(np.searchsorted(bounds, rng.uniform() * bounds[-1]))]


def draw_form(rng: np.random.Generator, habit: Habit) -> Form:
    """A shape and its size; rings and bent bars are larger than boxes, or they would be slivers."""
    shape = pick(rng, habit.forms)
    width, depth = rng.uniform(*habit.width_m), rng.uniform(*habit.depth_m)
    if shape == "circle":
        width = depth = min(max(width * 0.5, 9.0), 26.0)
    elif shape == "courtyard":
        width, depth = max(width, 26.0) * rng.uniform(1.0, 1.3), max(depth, 26.0) * rng.uniform(1.0, 1.3)
    elif shape in ("l", "t", "u"):
        width, depth = width * 1.2, max(depth * 1.35, 0.55 * width)
    elif shape == "wing45":
        width = width * 1.25
    return Form(shape, width, depth)
