"""Styles: the XML that QGIS reads, without QGIS (test_qgis.py asks QGIS itself)."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from geoseg.legend import DEFAULT_LEGEND, Legend, LegendClass
from geoseg.vector.schema import Field, Layer, layers_of
from geoseg.vector.styles import (
    BLACK,
    WHITE,
    Rgb,
    class_raster_qml,
    decimals,
    display_expression,
    map_tip,
    printable,
    qml,
)

GARDEN = Legend(
    (
        LegendClass(id=1, name="tree", color="#1b7837", layer="plants", rule="area"),
        LegendClass(id=2, name="grass", color="#a6dba0", layer="plants", rule="area"),
    )
)


def parse(text):
    assert text.startswith("<!DOCTYPE qgis")
    return ET.fromstring(text.partition("\n")[2])  # noqa: S314  our own text


def props(root):
    """The last symbol layer's properties in both notations, which must agree."""
    part = root.findall(".//symbol/layer")[-1]
    old = {p.get("k"): p.get("v") for p in part.findall("prop")}
    new = {o.get("name"): o.get("value") for o in part.findall("Option/Option")}
    assert old == new
    return old


@pytest.mark.parametrize("layer", layers_of(DEFAULT_LEGEND), ids=lambda layer: layer.name)
def test_a_layer_of_one_class_has_one_symbol_in_its_colour(layer):
    root = parse(qml(layer))
    assert root.find("renderer-v2").get("type") == "singleSymbol"
    assert root.find("layerGeometryType").text == {"Point": "0", "LineString": "1", "Polygon": "2"}[layer.geometry]
    if layer.look == "node":
        assert (root.get("hasScaleBasedVisibilityFlag"), root.get("minScale")) == ("1", "10000")
        return
    assert root.get("hasScaleBasedVisibilityFlag") == "0"
    color = props(root).get("color") or props(root)["line_color"]
    expected = Rgb(*layer.classes[0].rgb)
    if layer.look == "centerline":
        expected = expected.towards(BLACK, 0.3)
    assert color.split(",")[:3] == [str(v) for v in expected]


def test_classes_that_share_a_layer_are_told_apart():
    (layer,) = layers_of(GARDEN)
    renderer = parse(qml(layer)).find("renderer-v2")
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "class")
    fills = {s.get("name"): s.find("layer/prop[@k='color']").get("v") for s in renderer.findall("symbols/symbol")}
    shown = {c.get("value"): fills[c.get("symbol")].rsplit(",", 1)[0] for c in renderer.findall("categories/category")}
    assert shown == {"tree": "27,120,55", "grass": "166,219,160"}


def test_only_buildings_have_outlines_and_theirs_are_darker():
    looks = {layer.look: props(parse(qml(layer))) for layer in layers_of(DEFAULT_LEGEND) if layer.geometry == "Polygon"}
    assert {look: p["outline_style"] for look, p in looks.items()} == {"building": "solid", "road": "no", "area": "no"}
    fill, outline = (sum(map(int, looks["building"][k].split(",")[:3])) for k in ("color", "outline_color"))
    assert outline < fill


def test_every_field_has_its_alias_and_only_the_key_is_hidden():
    layer = layers_of(DEFAULT_LEGEND)[0]
    root = parse(qml(layer))
    assert {a.get("field"): a.get("name") for a in root.findall("aliases/alias")} == {
        f.name: f.alias for f in layer.fields
    }
    assert [c.get("name") for c in root.findall(".//column[@hidden='1']")] == ["fid"]


def test_the_map_tip_names_every_field_and_escapes_html():
    field = Field("note", "string", "A <b> & c", "")
    layer = Layer(name="notes", geometry="Point", fields=(field,), look="area", classes=DEFAULT_LEGEND.classes[:1])
    assert "A &lt;b&gt; &amp; c" in map_tip(layer)
    assert "[% coalesce(\"note\", '–') %]" in map_tip(layer)
    assert display_expression(layer) == '"fid"'
    parse(qml(layer))


def test_decimals_by_unit():
    wanted = {"area_m2": 1, "length_m": 2, "confidence": 2, "id": 0}
    types = {"id": "int64"}
    assert {n: decimals(Field(n, types.get(n, "float64"), n, "")) for n in wanted} == wanted


def test_the_class_raster_shows_classes_and_nothing_else():
    entries = parse(class_raster_qml(GARDEN)).findall(".//paletteEntry")
    assert [(e.get("value"), e.get("label"), e.get("color")) for e in entries] == [
        ("1", "tree", "#1b7837"),
        ("2", "grass", "#a6dba0"),
    ]


def test_colours_mix():
    assert Rgb(10, 20, 30).towards(WHITE, 0) == (10, 20, 30)
    assert Rgb(10, 20, 30).towards(WHITE, 1) == WHITE
    assert Rgb(10, 20, 30).text(0.5) == "10,20,30,128"


def test_control_characters_do_not_reach_xml():
    assert printable("a\x01b\nc é") == "a b c é"


def test_the_manual_names_every_layer_and_field():
    manual = (Path(__file__).parents[2] / "docs" / "layers.md").read_text(encoding="utf-8")
    for layer in layers_of(DEFAULT_LEGEND):
        assert f"| `{layer.name}` |" in manual
        for field in layer.fields:
            assert f"| `{field.name}` |" in manual
