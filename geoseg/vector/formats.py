"""The formats that layers are written in, and the files each makes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from geoseg.errors import ConfigError, OutputError
from geoseg.files import output_error

LayerFormat = Literal["geopackage", "geoparquet", "flatgeobuf"]

SUFFIXES: dict[LayerFormat, str] = {"geopackage": ".gpkg", "geoparquet": ".parquet", "flatgeobuf": ".fgb"}


_MAGIC = {".gpkg": b"SQLite format 3", ".geojson": b"{", ".json": b"{"}
"""How a file of vectors to read begins: GDAL is not asked to open anything else, which might name other files."""


def is_vector_file(path: Path) -> bool:
    """Whether a file is named as a GeoPackage or a GeoJSON; raises ConfigError where it does not begin like one."""
    magic = _MAGIC.get(path.suffix.lower())
    if magic is None:
        return False
    with path.open("rb") as file:
        if not file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(magic):
            raise ConfigError(f"{path}: does not begin like a {path.suffix} file. Save it again in QGIS.")
    return True


def layer_files(folder: Path, name: str, layers: Iterable[str], how: LayerFormat) -> tuple[Path, ...]:
    """The files that hold the layers of `name`: one GeoPackage, or a file for each layer."""
    if how == "geopackage":
        return (folder / f"{name}{SUFFIXES[how]}",)
    return tuple(folder / f"{name}_{layer}{SUFFIXES[how]}" for layer in layers)


def layers_name(output: Path, how: LayerFormat) -> str:
    """What the files of `output` are called before `_LAYER`: its name, less a suffix of a format if it has one."""
    return output.stem if how == "geopackage" or output.suffix in SUFFIXES.values() else output.name


def check_place(path: Path) -> None:
    """Raise ConfigError for a path that pyogrio would take for one in an archive, or with parameters."""
    if "!" in str(path.absolute()) or ";" in path.name:
        raise ConfigError(
            f"{path}: layers cannot be written to a path with ! in it, or a file name with ;. Choose another."
        )


def check_closed(geopackage: Path) -> None:
    """Raise OutputError if another program has the file open: its journal would be replayed into a new one."""
    for suffix in ("-wal", "-journal"):
        journal = geopackage.with_name(geopackage.name + suffix)
        try:
            there = journal.exists()
        except OSError as exc:
            raise output_error(geopackage, exc) from exc
        if there:
            raise OutputError(
                f"{geopackage}: is open in another program ({journal.name} lies beside it). "
                "Close it there (in QGIS: remove its layers). If nothing has it open, a program died over it, and that file may "
                "hold what was saved last: open it in QGIS once more, and close it."
            )
