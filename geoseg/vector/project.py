"""A small QGIS project of one scene: its layers, styled, above the class raster and the imagery.

The same project lies beside the GeoPackage (`NAME.qgz`) and inside it (table `qgis_projects`). All paths in it are
relative, so a folder of outputs can be moved as a whole.
"""

import io
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from geoseg.files import atomic
from geoseg.vector.mark import mark
from geoseg.vector.metadata import GeoPackageMeta, crs_element
from geoseg.vector.schema import GeometryType, Layer
from geoseg.vector.styles import (
    DOCTYPE,
    QGIS_VERSION,
    imagery_renderer,
    paletted_renderer,
    printable,
    scale_range,
    style_elements,
)

_RANK: dict[GeometryType, int] = {"Point": 0, "LineString": 1, "Polygon": 2}
_GEOMETRY_NAME: dict[GeometryType, str] = {"Point": "Point", "LineString": "Line", "Polygon": "Polygon"}
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold: no clock goes into the bytes."""


class _Entry(NamedTuple):
    """One layer of the project, a line of its tree."""

    id: str
    name: str
    source: str
    provider: str
    visible: bool
    element: ET.Element
    group: str = ""
    """Group of the tree that it stands in, if any."""


def project_name(geopackage: str) -> str:
    """Name of the project of a GeoPackage: the file's name without its ending."""
    return printable(PurePosixPath(geopackage).stem)


def write_project(path: Path, layers: Sequence[Layer], *, meta: GeoPackageMeta, geopackage: str) -> None:
    """Write the project `NAME.qgz` beside the GeoPackage whose file name is `geopackage`.

    Raises OutputError where the file cannot be written.
    """
    with atomic(path) as temporary:
        temporary.write_bytes(project_archive(layers, meta, geopackage))


def project_archive(layers: Sequence[Layer], meta: GeoPackageMeta, geopackage: str) -> bytes:
    """The project as the bytes of a .qgz, the same for the same arguments."""
    buffer = io.BytesIO()
    entry = zipfile.ZipInfo(f"{project_name(geopackage)}.qgs", _ZIP_EPOCH)
    with zipfile.ZipFile(buffer, "w") as archive:
        text = project_xml(layers, meta, geopackage).encode()
        archive.writestr(entry, text, zipfile.ZIP_DEFLATED)
        archive.comment = mark(text)
    return buffer.getvalue()


def is_project_as_written(path: Path) -> bool:
    """Whether a .qgz is one of geoseg's, as it was written: a program that saves it leaves the mark in it out."""
    try:
        with zipfile.ZipFile(path) as archive:
            texts = [archive.read(name) for name in archive.namelist()]
            return [archive.comment] == [mark(text) for text in texts]
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError):
        return False


def project_xml(layers: Sequence[Layer], meta: GeoPackageMeta, geopackage: str) -> str:
    """The project as the text of a .qgs."""
    entries = [*_vectors(layers, meta, geopackage), *_rasters(layers, meta)]
    root = ET.Element("qgis", version=QGIS_VERSION, projectname=printable(meta.heading))
    ET.SubElement(root, "title").text = printable(meta.heading)
    ET.SubElement(root, "projectCrs").append(crs_element(meta.crs_wkt))
    root.append(_tree(entries))
    root.append(_canvas(meta))
    root.append(_view(meta))
    root.append(_layer_order(entries))
    ET.SubElement(root, "projectlayers").extend(e.element for e in entries)
    root.append(_properties(bool(meta.crs_wkt)))
    return DOCTYPE + ET.tostring(root, encoding="unicode")


def _vectors(layers: Sequence[Layer], meta: GeoPackageMeta, geopackage: str) -> list[_Entry]:
    """Points above lines above polygons, else in the given order."""
    return [_vector(layer, meta, geopackage) for layer in sorted(layers, key=lambda layer: _RANK[layer.geometry])]


def _vector(layer: Layer, meta: GeoPackageMeta, geopackage: str) -> _Entry:
    source = f"./{geopackage}|layername={layer.name}"
    element = _map_layer(f"geoseg_{layer.name}", layer.name, source, "ogr", meta)
    element.attrib |= {"type": "vector", "geometry": _GEOMETRY_NAME[layer.geometry], "labelsEnabled": "0"}
    element.attrib |= scale_range(layer)
    element.extend(style_elements(layer))
    return _Entry(f"geoseg_{layer.name}", layer.name, source, "ogr", True, element)


def _rasters(layers: Sequence[Layer], meta: GeoPackageMeta) -> list[_Entry]:
    """The class raster, switched off, as the layers show the same; the imagery below, switched on."""
    entries: list[_Entry] = []
    renderer: ET.Element | None
    if meta.class_raster:
        classes = {c.id: c for layer in layers for c in layer.classes}
        renderer = paletted_renderer(classes[key] for key in sorted(classes))
        entries.append(_raster("class_raster", meta.class_raster, meta, renderer, visible=not meta.imagery))
    several = len(meta.imagery) > 1
    for number, shown in reversed([*enumerate(meta.imagery, 1)]):  # the topmost first
        renderer = imagery_renderer(shown.look) if shown.look else None
        entry = _raster(f"imagery_{number}" if several else "imagery", shown.path, meta, renderer, visible=True)
        entries.append(entry._replace(group="imagery" if several else ""))
    return entries


def _raster(
    role: str, path: str, meta: GeoPackageMeta, renderer: ET.Element | None, *, visible: bool
) -> _Entry:  # fmt: skip
    source = path if path.startswith("../") else f"./{path}"
    element = _map_layer(f"geoseg_{role}", PurePosixPath(path).stem, source, "gdal", meta)
    element.set("type", "raster")
    if renderer is not None:
        ET.SubElement(element, "pipe").append(renderer)
    return _Entry(f"geoseg_{role}", PurePosixPath(path).stem, source, "gdal", visible, element)


def _map_layer(layer_id: str, name: str, source: str, provider: str, meta: GeoPackageMeta) -> ET.Element:
    """What all kinds of layers have; an id of fewer than ten letters would be replaced by QGIS without a word."""
    element = ET.Element("maplayer", hasScaleBasedVisibilityFlag="0", autoRefreshEnabled="0")
    ET.SubElement(element, "id").text = layer_id
    ET.SubElement(element, "datasource").text = printable(source)
    ET.SubElement(element, "layername").text = printable(name)
    ET.SubElement(element, "srs").append(crs_element(meta.crs_wkt))
    ET.SubElement(element, "provider", encoding="UTF-8").text = provider
    return element


def _tree(entries: Iterable[_Entry]) -> ET.Element:
    root = ET.Element("layer-tree-group", name="", checked="Qt::Checked", expanded="1")
    groups = {"": root}
    for e in entries:
        if e.group not in groups:
            states = {"checked": "Qt::Checked", "expanded": "0"}
            groups[e.group] = ET.SubElement(root, "layer-tree-group", states, name=e.group)
        checked = "Qt::Checked" if e.visible else "Qt::Unchecked"
        texts = {"id": e.id, "name": printable(e.name), "source": printable(e.source), "providerKey": e.provider}
        ET.SubElement(groups[e.group], "layer-tree-layer", texts, checked=checked, expanded="1")
    return root


def _layer_order(entries: Iterable[_Entry]) -> ET.Element:
    root = ET.Element("layerorder")
    for e in entries:
        ET.SubElement(root, "layer", id=e.id)
    return root


def _canvas(meta: GeoPackageMeta) -> ET.Element:
    """The map window as it opens: the whole scene."""
    root = ET.Element("mapcanvas", name="theMapCanvas", annotationsVisible="1")
    if meta.extent:
        extent = ET.SubElement(root, "extent")
        for tag, value in _corners(meta.extent).items():
            ET.SubElement(extent, tag).text = value
    ET.SubElement(root, "destinationsrs").append(crs_element(meta.crs_wkt))
    return root


def _view(meta: GeoPackageMeta) -> ET.Element:
    """What "zoom to full extent" shows: the whole scene, even where no feature lies."""
    root = ET.Element("ProjectViewSettings", UseProjectScales="0")
    if meta.extent:
        extent = ET.SubElement(root, "DefaultViewExtent", _corners(meta.extent))
        extent.append(crs_element(meta.crs_wkt))
    return root


def _corners(extent: tuple[float, float, float, float]) -> dict[str, str]:
    return {tag: repr(float(v)) for tag, v in zip(("xmin", "ymin", "xmax", "ymax"), extent, strict=True)}


def _properties(has_crs: bool) -> ET.Element:
    """Relative paths, and the project's CRS in force: QGIS ignores `projectCrs` without the second."""
    root = ET.Element("properties")
    paths = ET.SubElement(root, "Paths")
    ET.SubElement(paths, "Absolute", type="bool").text = "false"
    reference = ET.SubElement(root, "SpatialRefSys")
    ET.SubElement(reference, "ProjectionsEnabled", type="int").text = "1" if has_crs else "0"
    return root
