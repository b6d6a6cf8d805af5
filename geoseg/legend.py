"""The legend: class id ↔ name ↔ colour ↔ layer and geometry rule."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from geoseg.errors import ConfigError

BACKGROUND = 0
"""Class id of everything that no class of the legend claims."""

NODATA = 255
"""Value of the class raster where nothing was seen; never a class."""

Rule = Literal["building", "road", "area"]
"""How a class becomes features: squared footprints, a network, or plain areas."""

FORMAT_TABLES = ("gpkg_", "rtree_", "sqlite_")
"""How the names of a GeoPackage's own tables begin."""
QGIS_TABLES = ("layer_styles", "qgis_projects")
"""Where QGIS keeps styles and projects in a GeoPackage."""
RESERVED_TABLES = FORMAT_TABLES + QGIS_TABLES
"""Beginnings of names that tables of a GeoPackage may not have: its own, and those of QGIS."""

_LAYER_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")
_COLOR = re.compile(r"^#[0-9a-f]{6}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class LegendClass:
    """One class of a model, and what becomes of it on the map."""

    id: int
    """Value in the class raster, 1–254; also the channel of the logits."""
    name: str
    """Singular, lower case: `building`."""
    color: str
    """`#rrggbb`, for the palette and the layer's style."""
    layer: str
    """GeoPackage table the features go to: `buildings`."""
    rule: Rule
    """Geometry rule: building, road or area."""

    def __post_init__(self) -> None:
        self._check_types()
        if not 1 <= self.id <= 254:
            raise ConfigError(
                f"legend: class id {self.id} of '{self.name}' is not in 1–254 (0 is background, 255 nodata)."
            )
        if not _COLOR.match(self.color):
            raise ConfigError(
                f"legend: colour '{self.color}' of '{self.name}' is not of the form #rrggbb (lower case)."
            )
        if not _LAYER_NAME.match(self.layer) or self.layer.lower().startswith(RESERVED_TABLES):
            raise ConfigError(
                f"legend: layer '{self.layer}' of '{self.name}' is not a safe table name (letters, digits, _)."
            )
        if self.rule not in get_args(Rule):
            raise ConfigError(f"legend: rule '{self.rule}' of '{self.name}' is not one of {', '.join(get_args(Rule))}.")

    def _check_types(self) -> None:
        """Raise ConfigError for what a YAML or JSON file may hold instead of a number and words."""
        if type(self.id) is not int:
            raise ConfigError(f"legend: class id {self.id!r} of '{self.name}' is not a whole number.")
        for key in ("name", "color", "layer", "rule"):
            value = getattr(self, key)
            if value is None and key == "color":
                raise ConfigError(f"legend: class {self.id} has no color; quote it, as # begins a comment in YAML.")
            if not isinstance(value, str) or not value.strip():
                raise ConfigError(f"legend: {key} of class {self.id} is {value!r}, but a word is needed; quote it.")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Colour as three numbers 0–255."""
        return int(self.color[1:3], 16), int(self.color[3:5], 16), int(self.color[5:7], 16)

    @property
    def centerline_layer(self) -> str | None:
        """Table of the centrelines of a road class: `roads` → `road_centerlines`; None for other rules."""
        return f"{self.layer.removesuffix('s')}_centerlines" if self.rule == "road" else None

    @property
    def node_layer(self) -> str | None:
        """Table of the nodes of a road class's network: `roads` → `road_nodes`; None for other rules."""
        return f"{self.layer.removesuffix('s')}_nodes" if self.rule == "road" else None


@dataclass(frozen=True, slots=True)
class Legend:
    """The classes of a model in the order of their ids; background (0) is implied."""

    classes: tuple[LegendClass, ...]

    def __post_init__(self) -> None:
        ids = [c.id for c in self.classes]
        if ids != list(range(1, len(ids) + 1)):
            raise ConfigError(f"legend: class ids are {ids}, but must be 1, 2, 3 … in order (background is 0).")
        names = [c.name for c in self.classes]
        if len(set(names)) != len(names):
            raise ConfigError(f"legend: class names {names} are not unique.")
        self._check_layers()

    def _check_layers(self) -> None:
        """Raise ConfigError unless each layer has one rule, and no two tables of a GeoPackage one name."""
        layers: dict[str, LegendClass] = {}
        for c in self.classes:
            if layers.setdefault(c.layer, c).rule != c.rule:
                raise ConfigError(
                    f"legend: classes of layer '{c.layer}' have the rules {layers[c.layer].rule} and {c.rule}, but a "
                    "layer has one. Give each its own layer."
                )
        seen: set[str] = set()
        for table in (t for c in layers.values() for t in (c.layer, c.centerline_layer, c.node_layer) if t):
            if not _LAYER_NAME.match(table) or table.lower() in seen:  # SQLite does not tell upper case from lower
                raise ConfigError(
                    f"legend: layer '{table}', of a class or of the lines and nodes of its roads, is there twice or has "
                    "more than 63 characters."
                )
            seen.add(table.lower())

    def __iter__(self) -> Iterator[LegendClass]:
        return iter(self.classes)

    @property
    def channels(self) -> int:
        """Channels of the logits: the classes and the background."""
        return len(self.classes) + 1

    @property
    def category_names(self) -> list[str]:
        """Names by class id, `background` first."""
        return ["background", *(c.name for c in self.classes)]

    def by_name(self, name: str) -> LegendClass:
        """The class called `name`; raises ConfigError naming those there are."""
        for c in self.classes:
            if c.name == name:
                return c
        raise ConfigError(f"legend: no class '{name}'; there are {', '.join(c.name for c in self.classes)}.")

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain values, as written in a contract or a manifest."""
        return [{"id": c.id, "name": c.name, "color": c.color, "layer": c.layer, "rule": c.rule} for c in self.classes]

    @classmethod
    def from_dict(cls, rows: list[Mapping[str, Any]]) -> "Legend":
        """The legend that `to_dict` wrote; raises ConfigError on unknown or missing keys."""
        try:
            return cls(tuple(LegendClass(**row) for row in rows))
        except TypeError as exc:
            raise ConfigError(f"legend: {exc}; each class needs id, name, color, layer, rule.") from None


DEFAULT_LEGEND = Legend(
    (
        LegendClass(id=1, name="building", color="#d7301f", layer="buildings", rule="building"),
        LegendClass(id=2, name="road", color="#4d4d4d", layer="roads", rule="road"),
        LegendClass(id=3, name="green", color="#4daf4a", layer="green", rule="area"),
    )
)
