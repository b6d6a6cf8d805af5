"""Climates: the colours of ground, roofs, roads and plants, and the habits of a town built there."""

from dataclasses import dataclass, field, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.town.noise import element_rng

Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """Colours (sRGB, in full sun) and shares of one climate."""

    soil: tuple[Rgb, ...]
    """Bare ground of yards and plots."""
    paving: tuple[Rgb, ...]
    """Courts, pavements, car parks."""
    asphalt: tuple[Rgb, ...]
    """Carriageways."""
    lawn: tuple[Rgb, ...]
    """Grass, from watered to dry."""
    crop: tuple[Rgb, ...]
    """Growing fields."""
    plough: tuple[Rgb, ...]
    """Bare fields."""
    leaf: tuple[Rgb, ...]
    """Crowns of trees."""
    water: tuple[Rgb, ...]
    pitched: tuple[Rgb, ...]
    """Pitched roofs, the common ones first."""
    flat: tuple[Rgb, ...]
    """Flat roofs."""
    flat_share: float = 0.25
    """Share of small houses with a flat roof."""
    lawn_share: float = 0.54
    """Share of yards that are grass."""
    tree_density: float = 1.0
    """Trees against the usual number."""
    pool_share: float = 0.04
    """Share of houses with a pool."""
    dirt_share: float = 0.0
    """Share of streets without asphalt."""
    conifer_share: float = 0.1
    palm_share: float = 0.0
    ground_contrast: float = 1.0
    """Strength of the textures of the ground."""
    tint: tuple[float, float, float] = field(default=(1.0, 1.0, 1.0))
    """White balance."""


PALETTES: dict[str, Palette] = {
    "temperate": Palette(
        soil=((148, 138, 120), (134, 124, 108), (160, 152, 138)),
        paving=((168, 164, 158), (150, 147, 143), (178, 172, 162)),
        asphalt=((112, 112, 114), (98, 98, 101), (126, 125, 124)),
        lawn=((106, 122, 80), (94, 112, 72), (124, 132, 92)),
        crop=((112, 128, 76), (134, 140, 92), (94, 114, 68), (166, 158, 106)),
        plough=((150, 126, 100), (136, 114, 92)),
        leaf=((64, 90, 48), (74, 100, 52), (56, 80, 46), (84, 104, 60)),
        water=((58, 78, 80), (66, 84, 76)),
        pitched=((150, 96, 80), (128, 84, 74), (110, 102, 98), (92, 90, 92), (162, 112, 94), (118, 80, 70)),
        flat=((164, 160, 154), (132, 130, 128), (188, 186, 182), (108, 106, 106)),
    ),
    "mediterranean": Palette(
        soil=((196, 176, 142), (182, 160, 128), (208, 192, 162)),
        paving=((190, 182, 168), (176, 170, 160), (202, 190, 172)),
        asphalt=((134, 132, 130), (120, 118, 118), (146, 144, 140)),
        lawn=((122, 134, 84), (140, 142, 96), (108, 126, 76)),
        crop=((122, 134, 84), (150, 146, 96), (104, 120, 72)),
        plough=((186, 150, 112), (172, 132, 96), (196, 168, 130)),
        leaf=((66, 84, 50), (82, 98, 66), (58, 76, 44), (96, 108, 78)),
        water=((52, 88, 96), (62, 92, 90)),
        pitched=((188, 120, 88), (174, 106, 78), (198, 136, 104), (162, 98, 74), (190, 150, 120)),
        flat=((192, 122, 96), (206, 198, 186), (178, 170, 160), (218, 212, 204), (176, 108, 84)),
        flat_share=0.35,
        lawn_share=0.35,
        tree_density=0.8,
        pool_share=0.12,
    ),
    "desert": Palette(
        soil=((214, 198, 172), (202, 184, 158), (224, 212, 190)),
        paving=((204, 196, 184), (188, 182, 172), (214, 204, 188)),
        asphalt=((112, 108, 106), (98, 94, 94), (128, 122, 118)),
        lawn=((104, 118, 82), (118, 128, 90)),
        crop=((98, 122, 70), (120, 132, 80)),
        plough=((200, 178, 146), (188, 164, 134)),
        leaf=((70, 88, 60), (82, 98, 68), (92, 104, 78)),
        water=((46, 72, 74), (38, 60, 62)),
        pitched=((178, 128, 102), (196, 158, 130), (168, 116, 94)),
        flat=((222, 214, 202), (206, 196, 182), (194, 184, 172), (232, 226, 218), (180, 172, 162)),
        flat_share=0.8,
        lawn_share=0.14,
        tree_density=0.45,
        pool_share=0.08,
        dirt_share=0.06,
        conifer_share=0.0,
        palm_share=0.5,
    ),
    "northern": Palette(
        soil=((132, 124, 108), (120, 114, 100), (144, 136, 122)),
        paving=((152, 150, 148), (138, 137, 136), (162, 158, 154)),
        asphalt=((102, 103, 107), (90, 91, 95), (116, 116, 119)),
        lawn=((98, 112, 66), (112, 120, 76), (88, 104, 62)),
        crop=((118, 128, 70), (144, 142, 88), (96, 114, 62)),
        plough=((118, 106, 92), (106, 96, 84)),
        leaf=((44, 62, 42), (54, 72, 46), (40, 56, 40), (66, 82, 52)),
        water=((40, 54, 60), (34, 46, 54)),
        pitched=((78, 80, 86), (98, 92, 90), (126, 64, 54), (68, 68, 72), (112, 108, 106), (88, 106, 100)),
        flat=((96, 96, 98), (122, 122, 122), (144, 143, 142), (78, 78, 80)),
        flat_share=0.2,
        lawn_share=0.7,
        tree_density=1.25,
        pool_share=0.005,
        conifer_share=0.55,
        tint=(0.97, 1.0, 1.04),
    ),
    "tropical": Palette(
        soil=((186, 136, 100), (170, 120, 88), (200, 156, 120)),
        paving=((182, 170, 154), (166, 152, 136), (196, 180, 160)),
        asphalt=((124, 118, 114), (108, 104, 102), (140, 130, 122)),
        lawn=((112, 134, 74), (126, 142, 84), (98, 122, 66)),
        crop=((106, 142, 60), (128, 152, 72), (92, 128, 56)),
        plough=((176, 116, 82), (160, 104, 74)),
        leaf=((52, 86, 40), (64, 100, 44), (78, 112, 52), (46, 76, 40)),
        water=((92, 92, 70), (74, 86, 72)),
        pitched=(
            (168, 76, 66),
            (186, 180, 172),
            (150, 92, 72),
            (90, 112, 138),
            (204, 200, 194),
            (176, 112, 84),
            (96, 124, 104),
        ),
        flat=((188, 182, 172), (160, 152, 142), (204, 200, 194)),
        flat_share=0.12,
        lawn_share=0.45,
        tree_density=1.2,
        pool_share=0.02,
        dirt_share=0.5,
        conifer_share=0.0,
        palm_share=0.3,
    ),
    "prairie": Palette(
        soil=((176, 160, 128), (162, 148, 118), (188, 174, 146)),
        paving=((192, 188, 180), (178, 174, 168), (200, 196, 188)),
        asphalt=((138, 137, 136), (122, 121, 121), (152, 150, 148)),
        lawn=((118, 132, 80), (142, 142, 96), (102, 122, 70), (158, 150, 108)),
        crop=((170, 156, 98), (130, 140, 78), (188, 172, 120)),
        plough=((152, 128, 100), (138, 116, 92)),
        leaf=((72, 92, 54), (84, 102, 60), (62, 82, 50)),
        water=((70, 84, 74), (82, 92, 78)),
        pitched=((126, 112, 98), (108, 100, 94), (144, 130, 114), (92, 88, 86), (160, 150, 138), (116, 88, 74)),
        flat=((206, 204, 200), (178, 176, 172), (222, 220, 216), (152, 150, 148)),
        flat_share=0.06,
        lawn_share=0.6,
        tree_density=0.9,
        pool_share=0.08,
    ),
    "autumn": Palette(
        soil=((128, 114, 94), (116, 102, 84), (140, 126, 106)),
        paving=((146, 142, 138), (134, 131, 128), (156, 150, 142)),
        asphalt=((110, 110, 113), (98, 98, 102), (122, 121, 121)),
        lawn=((112, 114, 70), (124, 120, 78), (100, 108, 64)),
        crop=((132, 126, 80), (150, 138, 92)),
        plough=((118, 100, 80), (108, 90, 74)),
        leaf=((106, 92, 60), (122, 88, 50), (86, 84, 54), (134, 108, 60), (64, 76, 46)),
        water=((44, 54, 58), (52, 60, 58)),
        pitched=((104, 100, 98), (86, 84, 86), (122, 112, 104), (116, 84, 74), (138, 130, 122), (74, 74, 78)),
        flat=((150, 149, 147), (124, 122, 120), (176, 175, 172)),
        flat_share=0.1,
        lawn_share=0.6,
        tree_density=1.4,
        pool_share=0.03,
        conifer_share=0.25,
        tint=(1.02, 1.0, 0.97),
    ),
}
"""The climates by name."""

PALETTE_NAMES: tuple[str, ...] = tuple(PALETTES)


_MEDLEY = 51
"""Key of the random numbers that mix palettes."""


def check_palettes(names: str) -> str:
    """`names` as it is; raises ConfigError where one of those joined by `+` is not there."""
    for name in names.split("+"):
        if name not in PALETTES:
            raise ConfigError(f"town: palette '{name}' is unknown; there are {', '.join(PALETTES)}.")
    return names


@lru_cache(maxsize=16)
def palette_of(names: str, seed: int) -> Palette:
    """The palette of that name; of several joined by `+`, a medley: each trait is that of one of them.

    Raises ConfigError for a name that is not there.
    """
    mixed = check_palettes(names).split("+")
    rng = element_rng(seed, _MEDLEY)
    drawn = {trait.name: PALETTES[mixed[int(rng.integers(len(mixed)))]] for trait in fields(Palette)}
    return Palette(**{trait: getattr(palette, trait) for trait, palette in drawn.items()})


def shades(rng: np.random.Generator, colors: tuple[Rgb, ...], spread: float = 0.08) -> NDArray[np.float64]:
    """One of the colours, the first ones more often, a little lighter or darker."""
    weights = np.cumsum(1.0 / (np.arange(len(colors)) + 2.0))
    index = int(np.searchsorted(weights, rng.uniform() * weights[-1]))
    color = np.array(colors[index]) * (1 + rng.normal(0, spread)) * (1 + rng.normal(0, 0.011, 3))
    return np.clip(color, 8, 248)
