"""Colours and names of the values of a class raster."""

import xml.etree.ElementTree as ET

from geoseg.legend import BACKGROUND, NODATA, Legend

Rgba = tuple[int, int, int, int]

TRANSPARENT: Rgba = (255, 255, 255, 0)
"""White where a format cannot hold transparency, as the colour table of a TIFF cannot."""

# GDAL's codes of raster attribute tables (GDALRATFieldType, GDALRATFieldUsage): column, type, usage.
_RAT_COLUMNS = (
    ("Value", 0, 5),
    ("Class", 2, 2),
    ("Red", 0, 6),
    ("Green", 0, 7),
    ("Blue", 0, 8),
    ("Alpha", 0, 9),
)


def palette(legend: Legend) -> dict[int, Rgba]:
    """Red, green, blue and alpha (0–255) by value: classes opaque, background and nodata transparent."""
    colors: dict[int, Rgba] = {BACKGROUND: TRANSPARENT}
    colors |= {c.id: (*c.rgb, 255) for c in legend}
    colors[NODATA] = TRANSPARENT
    return colors


def category_names_aux_xml(legend: Legend) -> str:
    """The text of `NAME_classes.tif.aux.xml`: names and colours by value, as GDAL, QGIS and ArcGIS read them.

    A TIFF has no place of its own for names of values.
    """
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    names = ET.SubElement(band, "CategoryNames")
    for name in legend.category_names:
        ET.SubElement(names, "Category").text = name
    band.append(_attribute_table(legend))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _attribute_table(legend: Legend) -> ET.Element:
    root = ET.Element("GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(_RAT_COLUMNS):
        column = ET.SubElement(root, "FieldDefn", index=str(index))
        for tag, value in (("Name", name), ("Type", kind), ("Usage", usage)):
            ET.SubElement(column, tag).text = str(value)
    colors = palette(legend)
    for value, name in enumerate(legend.category_names):
        row = ET.SubElement(root, "Row", index=str(value))
        for cell in (value, name, *colors[value]):
            ET.SubElement(row, "F").text = str(cell)
    return root
