"""Rendered towns as a training source: rendered once into a folder, read from there ever after."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path

from PIL import Image

from geoseg.errors import TrainingError
from geoseg.files import read_json, write_json
from geoseg.threads import cores
from geoseg.town.chips import chip, chip_settings
from geoseg.town.settings import TownSettings
from geoseg.train_config import TownSource

_LISTING = "towns.json"
_TRAINING, _VALIDATION = 1, 2
"""Two endless series of chips: no town of one is in the other, nor in those of another `seed`."""


@dataclass(frozen=True, slots=True)
class TownChip:
    """One rendered town on disk."""

    image: Path
    label: Path
    pixel_size_m: float
    validation: bool


def town_chips(source: TownSource) -> list[TownChip]:
    """The chips of a source; those missing under its `root` are rendered first.

    Raises TrainingError where `root` holds towns of other settings.
    """
    listing = source.root / _LISTING
    settings = source.model_dump(
        mode="json", include={"size_px", "palettes", "validation_palettes", "downtown", "seed"}
    )
    if (found := read_json(listing)) is not None and {"seed": 0, **found} != settings:
        raise TrainingError(f"{source.root}: holds towns of other settings; remove the folder or name another one.")
    source.root.mkdir(parents=True, exist_ok=True)
    write_json(listing, settings)
    unseen = source.validation_palettes or source.palettes
    training = _series(source, _TRAINING, source.scenes, source.palettes)
    return [*training, *_series(source, _VALIDATION, source.validation_scenes, unseen)]


def _series(source: TownSource, part: int, count: int, palettes: tuple[str, ...]) -> Iterator[TownChip]:
    towns = TownSettings(seed=2 * source.seed + part, downtown=source.downtown)
    render = partial(_render, source.root, towns, source.size_px, palettes)
    with ProcessPoolExecutor(cores()) as pool:
        pixel_sizes = list(pool.map(render, range(count), chunksize=4))
    for number, pixel_size_m, validation in zip(range(count), pixel_sizes, repeat(part == _VALIDATION)):
        yield TownChip(*_paths(source.root, towns.seed, number), pixel_size_m, validation)


def _render(root: Path, towns: TownSettings, size_px: int, palettes: tuple[str, ...], number: int) -> float:
    image_path, label_path = _paths(root, towns.seed, number)
    if not label_path.is_file():
        image, label = chip(towns, number, size_px, palettes)
        Image.fromarray(image.transpose(1, 2, 0)).save(image_path)
        partial_path = label_path.with_suffix(".partial.png")
        Image.fromarray(label).save(partial_path)
        # The label appears last and whole: it says that the chip is there.
        partial_path.replace(label_path)
    return chip_settings(towns, number, size_px, palettes).pixel_size_m


def _paths(root: Path, seed: int, number: int) -> tuple[Path, Path]:
    return root / f"{seed}-{number:05d}.png", root / f"{seed}-{number:05d}.label.png"
