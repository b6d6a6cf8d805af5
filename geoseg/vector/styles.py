"""How QGIS shows a layer: symbols, labels of fields, map tips and number formats, as QML.

QML is the XML that QGIS itself saves. It is written by hand and small: the elements below are all that QGIS 3.22 needs,
and newer versions read it too. Symbol properties are given twice, as `<Option>` (QGIS 3.26 and newer) and as `<prop>`.
"""

import html
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from geoseg.legend import Legend, LegendClass
from geoseg.vector.mark import mark
from geoseg.vector.schema import Field, GeometryType, Layer

DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
QGIS_VERSION = "3.22.0"
"""The version the XML claims to be from: the oldest that it is tested with."""

FID = "fid"
"""Name of the primary key column, which every layer has before its own fields."""

_GEOMETRY_CODE: Mapping[GeometryType, str] = {"Point": "0", "LineString": "1", "Polygon": "2"}
_SYMBOL_TYPE: Mapping[GeometryType, str] = {"Point": "marker", "LineString": "line", "Polygon": "fill"}

_SWITCHES = {"labelsEnabled": "0", "readOnly": "0"}
"""No labels, editable."""

_NODES_UP_TO = "10000"
"""Denominator of the smallest scale at which nodes of the road network are shown."""

FILL_OPACITY: Mapping[str, float] = {"building": 0.75, "road": 0.7, "area": 0.5}
"""Opacity of the fill by look: the imagery below stays readable, most of all under green."""


class Rgb(NamedTuple):
    """A colour, 0–255 each."""

    red: int
    green: int
    blue: int

    def towards(self, other: "Rgb", share: float) -> "Rgb":
        """The colour `share` (0–1) of the way to another."""
        return Rgb(*(round(a + (b - a) * share) for a, b in zip(self, other, strict=True)))

    def text(self, opacity: float = 1.0) -> str:
        """The colour as QGIS writes it: `red,green,blue,alpha`."""
        return f"{self.red},{self.green},{self.blue},{round(255 * opacity)}"


BLACK = Rgb(0, 0, 0)
WHITE = Rgb(255, 255, 255)


def qml(layer: Layer) -> str:
    """The style of a layer as the text of a QML document, as `layer_styles.styleQML` holds it."""
    root = ET.Element(
        "qgis", {**_SWITCHES, **scale_range(layer)}, version=QGIS_VERSION, styleCategories="AllStyleCategories"
    )
    root.extend(style_elements(layer))
    return DOCTYPE + ET.tostring(root, encoding="unicode")


def scale_range(layer: Layer) -> dict[str, str]:
    """The scales at which a layer is shown, as attributes: nodes only at large ones, all else at any."""
    if layer.look != "node":
        return {"hasScaleBasedVisibilityFlag": "0"}
    return {"hasScaleBasedVisibilityFlag": "1", "minScale": _NODES_UP_TO, "maxScale": "0"}


def class_raster_qml(legend: Legend) -> str:
    """The style of the class raster, the text of `NAME_classes.qml`, which QGIS reads with `NAME_classes.tif`.

    Without it QGIS lists all 256 entries of the colour table, and paints the background.
    """
    root = ET.Element("qgis", version=QGIS_VERSION, styleCategories="AllStyleCategories")
    ET.SubElement(root, "pipe").append(paletted_renderer(legend))
    text = DOCTYPE + ET.tostring(root, encoding="unicode") + "\n"
    return f"{text}{_marked(text.encode())}"


def is_style_as_written(path: Path) -> bool:
    """Whether a .qml is a `class_raster_qml` as it was written: a program that saves it leaves the mark in it out."""
    content = path.read_bytes()
    text, begin, _ = content.rpartition(b"<!-- ")
    return bool(begin) and content == text + _marked(text).encode()


def _marked(text: bytes) -> str:
    return f"<!-- {mark(text).decode()} -->\n"


def paletted_renderer(classes: Iterable[LegendClass]) -> ET.Element:
    """How a class raster is drawn: the classes by name and colour, all other values not at all."""
    root = ET.Element("rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1")
    palette = ET.SubElement(root, "colorPalette")
    for c in classes:
        ET.SubElement(palette, "paletteEntry", value=str(c.id), label=c.name, color=c.color, alpha="255")
    return root


@dataclass(frozen=True, slots=True)
class ImageryLook:
    """Which bands of the imagery are drawn, and how bright."""

    bands: tuple[int, ...]
    """1-based: red, green and blue, or one for grey."""
    value_range: tuple[float, float] | None
    """Pixel values that are black and full; None: as they are."""
    alpha: int | None = None
    """Band that says where there is data."""


def imagery_renderer(look: ImageryLook) -> ET.Element:
    """How imagery is drawn whose pixels are no bytes, or whose bands are in another order."""
    if len(look.bands) == 1:
        root = ET.Element("rasterrenderer", type="singlebandgray", grayBand=str(look.bands[0]), gradient="BlackToWhite")
        roles = ["contrastEnhancement"]
    else:
        colors = ("red", "green", "blue")
        bands = {f"{color}Band": str(band) for color, band in zip(colors, look.bands, strict=True)}
        root = ET.Element("rasterrenderer", {"type": "multibandcolor", **bands})
        roles = [f"{color}ContrastEnhancement" for color in colors]
    root.attrib |= {"opacity": "1", "alphaBand": str(look.alpha or -1)}
    for role in roles if look.value_range else ():
        stretch = ET.SubElement(root, role)
        for tag, value in zip(("minValue", "maxValue"), look.value_range or (), strict=True):
            ET.SubElement(stretch, tag).text = repr(float(value))
        ET.SubElement(stretch, "algorithm").text = "StretchToMinimumMaximum"
    return root


def style_elements(layer: Layer) -> list[ET.Element]:
    """The parts of a style, which a QML document and a project's `<maplayer>` share."""
    return [
        renderer(layer),
        _field_formats(layer.fields),
        _aliases(layer.fields),
        _table_columns(layer.fields),
        _text("previewExpression", display_expression(layer)),
        _text("mapTip", map_tip(layer)),
        _text("layerGeometryType", _GEOMETRY_CODE[layer.geometry]),
    ]


def renderer(layer: Layer) -> ET.Element:
    """One symbol for a layer of one class, else one for each value of the field `class`."""
    categorized = len(layer.classes) > 1 and any(f.name == "class" for f in layer.fields)
    root = ET.Element(
        "renderer-v2", type="categorizedSymbol" if categorized else "singleSymbol", symbollevels="0", forceraster="0"
    )
    if categorized:
        root.set("attr", "class")
        categories = ET.SubElement(root, "categories")
        for index, c in enumerate(layer.classes):
            ET.SubElement(categories, "category", symbol=str(index), value=c.name, label=c.name, render="true")
    symbols = ET.SubElement(root, "symbols")
    for index, c in enumerate(layer.classes if categorized else layer.classes[:1]):
        symbols.append(_symbol(layer, c, str(index)))
    return root


def display_expression(layer: Layer) -> str:
    """What QGIS calls a feature in lists: its class and its id."""
    names = {f.name for f in layer.fields}
    if {"class", "id"} <= names:
        return '"class" || \' \' || "id"'
    return '"id"' if "id" in names else f'"{FID}"'


def map_tip(layer: Layer) -> str:
    """HTML that QGIS shows when the pointer rests on a feature: a table of all fields, rounded for reading."""
    rows = (
        f'<tr><td style="color:#666">{html.escape(f.alias)}</td><td>&nbsp;[% {_rounded(f)} %]</td></tr>'
        for f in layer.fields
    )
    return f"<b>[% {display_expression(layer)} %]</b><table>{''.join(rows)}</table>"


def decimals(field: Field) -> int:
    """Decimals worth showing of a field: none of whole numbers, two of lengths and shares, one of areas."""
    if field.type != "float64":
        return 0
    return 1 if field.name.endswith("_m2") else 2


def _rounded(field: Field) -> str:
    """QGIS expression of the value as text; a missing value is a dash."""
    value = f'"{field.name}"'
    if field.type == "float64":
        value = f"format_number({value}, {decimals(field)})"
    return f"coalesce({value}, '–')"


def _symbol(layer: Layer, c: LegendClass, name: str) -> ET.Element:
    symbol = ET.Element("symbol", type=_SYMBOL_TYPE[layer.geometry], name=name, alpha="1", clip_to_extent="1")
    parts = _symbol_layers(layer, Rgb(*c.rgb))
    for index, (kind, options) in enumerate(parts, start=1):
        # A casing is locked: the top part's colour is the symbol's, and changes when the user picks another.
        locked = "0" if index == len(parts) else "1"
        part = ET.SubElement(symbol, "layer", {"class": kind, "enabled": "1", "locked": locked, "pass": "0"})
        _options(part, options)
    return symbol


def _symbol_layers(layer: Layer, color: Rgb) -> list[tuple[str, dict[str, str]]]:
    """Symbol layers from bottom to top, widths in millimetres on the screen."""
    if layer.geometry == "Point":
        return [("SimpleMarker", _marker(color))]
    if layer.geometry == "LineString":
        # A pale casing keeps the dark line readable on imagery and on the grey of its own road.
        return [("SimpleLine", _line(WHITE, 0.6, 0.45)), ("SimpleLine", _line(color.towards(BLACK, 0.3), 0.3, 1.0))]
    return [("SimpleFill", _fill(color, layer.look))]


def _fill(color: Rgb, look: str) -> dict[str, str]:
    return {
        "color": color.text(FILL_OPACITY.get(look, 0.6)),
        "style": "solid",
        "outline_color": color.towards(BLACK, 0.45).text(),
        "outline_style": "solid" if look == "building" else "no",
        "outline_width": "0.2",
        "outline_width_unit": "MM",
        "joinstyle": "miter",
    }


def _line(color: Rgb, width_mm: float, opacity: float) -> dict[str, str]:
    return {
        "line_color": color.text(opacity),
        "line_style": "solid",
        "line_width": f"{width_mm:g}",
        "line_width_unit": "MM",
        "capstyle": "round",
        "joinstyle": "round",
    }


def _marker(color: Rgb) -> dict[str, str]:
    return {
        "name": "circle",
        "color": WHITE.text(),
        "outline_color": color.towards(BLACK, 0.3).text(),
        "outline_width": "0.3",
        "outline_width_unit": "MM",
        "size": "1.2",
        "size_unit": "MM",
    }


def _aliases(fields: Iterable[Field]) -> ET.Element:
    root = ET.Element("aliases")
    for index, field in enumerate(fields, start=1):  # the primary key is field 0
        ET.SubElement(root, "alias", index=str(index), field=field.name, name=field.alias)
    return root


def _field_formats(fields: Iterable[Field]) -> ET.Element:
    """Decimals in tables and forms; values in the file keep all of theirs."""
    root = ET.Element("fieldConfiguration")
    for field in fields:
        if field.type == "float64":
            widget = ET.SubElement(ET.SubElement(root, "field", name=field.name), "editWidget", type="Range")
            option = ET.SubElement(ET.SubElement(widget, "config"), "Option", type="Map")
            ET.SubElement(option, "Option", name="Precision", type="int", value=str(decimals(field)))
    return root


def _table_columns(fields: Iterable[Field]) -> ET.Element:
    """Columns of the attribute table; the primary key is hidden, as `id` says the same."""
    root = ET.Element("attributetableconfig", actionWidgetStyle="dropDown", sortExpression="", sortOrder="0")
    columns = ET.SubElement(root, "columns")
    ET.SubElement(columns, "column", type="field", name=FID, hidden="1", width="-1")
    for field in fields:
        ET.SubElement(columns, "column", type="field", name=field.name, hidden="0", width="-1")
    return root


def _options(parent: ET.Element, options: Mapping[str, str]) -> None:
    group = ET.SubElement(parent, "Option", type="Map")
    for name, value in options.items():
        ET.SubElement(group, "Option", name=name, type="QString", value=value)
    for name, value in options.items():
        ET.SubElement(parent, "prop", k=name, v=value)


def _text(tag: str, text: str) -> ET.Element:
    element = ET.Element(tag)
    element.text = text
    return element


def printable(text: str) -> str:
    """The text without control characters, which XML cannot hold (a file name may)."""
    return "".join(c if c.isprintable() else " " for c in text)
