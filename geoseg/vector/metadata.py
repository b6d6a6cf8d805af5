"""What a GeoPackage says of itself: CRS, title, extent, and the run that made it. No I/O."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyproj

from geoseg.vector.schema import Layer
from geoseg.vector.styles import DOCTYPE, QGIS_VERSION, ImageryLook, printable

EPOCH = "1970-01-01T00:00:00.000Z"
"""Time stamp of outputs that are not told another: the same features give the same bytes on any day."""


@dataclass(frozen=True, slots=True)
class Imagery:
    """A file that was mapped, as the project shows it."""

    path: str
    """Relative to the GeoPackage, with `/`."""
    look: ImageryLook | None = None
    """How it is drawn; None leaves it to QGIS, which shows bytes of bands 1, 2, 3 as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoPackageMeta:
    """What is written into a GeoPackage beside its features."""

    crs_wkt: str | None
    """CRS of the scene as WKT, kept as it is; None where the scene has none (an undefined Cartesian plane)."""
    scene: str
    """Name of the scene."""
    title: str = ""
    """One line for people; `geoseg map of SCENE` where empty."""
    abstract: str = ""
    """A few sentences: what was mapped, from which imagery, under which licence."""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    """Record of the run, written as JSON; give it no times if two runs shall write the same bytes."""
    extent: tuple[float, float, float, float] | None = None
    """West, south, east, north of the scene in its CRS: the first view of the project."""
    class_raster: str | None = None
    """Path of the class raster relative to the GeoPackage, with `/`; the project shows it under the layers."""
    imagery: tuple[Imagery, ...] = ()
    """What was mapped, from the lowest to the topmost; the project shows it at the bottom."""
    timestamp: str = EPOCH
    """When the content last changed, as `2026-01-31T12:00:00.000Z`."""

    @property
    def heading(self) -> str:
        """The title, or a plain one."""
        return self.title or f"geoseg map of {self.scene}"


def extent_of(transform: tuple[float, ...], shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """West, south, east, north of a north-up raster of (rows, columns)."""
    a, _, west, _, e, north = transform
    return west, north + e * shape[0], west + a * shape[1], north


def layer_title(layer: Layer, meta: GeoPackageMeta) -> str:
    """Unique title of a layer: its name and the scene's."""
    return printable(f"{layer.name.replace('_', ' ').capitalize()}, {meta.scene}")


def layer_abstract(layer: Layer, meta: GeoPackageMeta) -> str:
    """What the layer holds, its fields with their units, and the abstract of the whole."""
    classes = ", ".join(c.name for c in layer.classes)
    fields = "; ".join(f"{f.name}: {f.description}" for f in layer.fields)
    return f"Classes: {classes}. Fields: {fields}. {meta.abstract}".rstrip()


def layer_metadata(layer: Layer, meta: GeoPackageMeta) -> str:
    """Metadata of a layer in the XML of QGIS, shown under Properties → Metadata."""
    root = ET.Element("qgis", version=QGIS_VERSION)
    texts = {
        "identifier": f"{meta.scene}/{layer.name}",
        "type": "dataset",
        "title": layer_title(layer, meta),
        "abstract": layer_abstract(layer, meta),
    }
    for tag, text in texts.items():
        ET.SubElement(root, tag).text = printable(text)
    ET.SubElement(root, "crs").append(crs_element(meta.crs_wkt))
    return DOCTYPE + ET.tostring(root, encoding="unicode")


def crs_element(wkt: str | None) -> ET.Element:
    """A CRS in the XML of QGIS; an undefined one for None.

    The whole WKT is given beside the authority's code, so that a CRS without a code is kept too.
    """
    root = ET.Element("spatialrefsys", nativeFormat="Wkt")
    crs = pyproj.CRS.from_wkt(wkt) if wkt else None
    authority = crs.to_authority(min_confidence=100) if crs else None
    texts = {
        "wkt": crs.to_wkt("WKT2_2019") if crs else "",
        # QGIS resolves a code only where the internal number is positive; it looks the true one up itself.
        "srsid": "1" if authority else "0",
        "srid": authority[1] if authority and authority[1].isdigit() else "0",
        "authid": ":".join(authority) if authority else "",
        "description": crs.name if crs else "",
        "geographicflag": "true" if crs and crs.is_geographic else "false",
    }
    for tag, text in texts.items():
        ET.SubElement(root, tag).text = text
    return root
