"""What a real QGIS says of a GeoPackage or a project. Runs under the Python that QGIS brings, not under geoseg's.

    QT_QPA_PLATFORM=offscreen python3 check.py FILE.gpkg|FILE.qgz|FILE.tif|geopackage:FILE.gpkg?projectName=NAME REPORT.json
        [--render OUT.png] [--width 800] [--extent WEST,SOUTH,EAST,NORTH] [--only LAYER,LAYER]

The report holds the version, the messages of QGIS's log, the project's facts, and the facts of each layer as it is
once opened with its default style. The picture shows the visible layers in drawing order on white. The exit code is
0 unless the file cannot be opened at all; judging the facts is left to the caller.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsFeatureSource,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsProject,
    QgsProviderRegistry,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

TABLES_OF_QGIS = {"layer_styles", "qgis_projects"}


def main() -> int:
    """Open, describe, render, report."""
    args = arguments()
    app = QgsApplication([], False)
    app.initQgis()
    messages: list = []
    QgsApplication.messageLog().messageReceived.connect(
        lambda text, tag, level: messages.append([tag, int(level), text])
    )
    facts, layers = open_source(args.source)
    wanted = args.only.split(",") if args.only else None
    drawn = [layer for layer in layers if wanted is None or layer.name() in wanted]
    if args.render:
        render(drawn, args)
    report = {
        "qgis": Qgis.QGIS_VERSION,
        "messages": messages,
        "project": facts,
        "layers": [describe(x) for x in layers],
    }
    Path(args.report).write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0 if layers else 1


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("report")
    parser.add_argument("--render")
    parser.add_argument("--width", type=int, default=800)
    parser.add_argument("--extent")
    parser.add_argument("--only")
    return parser.parse_args()


def open_source(source: str) -> tuple:
    """The facts of the project, if it is one, and the layers from top to bottom."""
    if source.endswith(".tif"):
        return None, [QgsRasterLayer(source, "raster")]
    is_project = source.endswith(".qgz") or source.startswith("geopackage:")
    return open_project(source) if is_project else open_geopackage(source)


def open_geopackage(path: str) -> tuple:
    """Every spatial table, opened as by dropping the file on QGIS; points above lines above polygons."""
    layers = []
    for sub in QgsProviderRegistry.instance().querySublayers(path):
        if sub.name() not in TABLES_OF_QGIS:
            options = QgsVectorLayer.LayerOptions()
            options.loadDefaultStyle = True
            layers.append(QgsVectorLayer(f"{path}|layername={sub.name()}", sub.name(), "ogr", options))
    layers.sort(key=lambda layer: layer.geometryType())
    return None, layers


def open_project(uri: str) -> tuple:
    """The visible layers of a project in its order, and the facts of the project."""
    project = QgsProject.instance()
    read = project.read(uri)
    every = project.mapLayers().values()
    root = project.layerTreeRoot()
    extent = project.viewSettings().defaultViewExtent()
    facts = {
        "read": read,
        "title": project.title(),
        "crs": project.crs().authid(),
        "crs_valid": project.crs().isValid(),
        "layers": sorted(layer.name() for layer in every),
        "broken": sorted(layer.name() for layer in every if not layer.isValid()),
        "absolute_paths": project.readBoolEntry("Paths", "Absolute", True)[0],
        "extent": [extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()],
        "hidden": sorted(n.name() for n in root.findLayers() if not n.isVisible()),
        "rasters": [describe(layer) for layer in every if layer.isValid() and isinstance(layer, QgsRasterLayer)],
    }
    visible = [x for x in root.layerOrder() if x.isValid() and root.findLayer(x.id()).isVisible()]
    return facts, visible


def describe(layer) -> dict:
    """The facts of one layer."""
    facts = {"name": layer.name(), "valid": layer.isValid(), "crs": layer.crs().authid()}
    facts["crs_valid"] = layer.crs().isValid()
    renderer = layer.renderer()
    facts["renderer"] = renderer.type()
    if isinstance(layer, QgsRasterLayer):
        classes = renderer.classes() if renderer.type() == "paletted" else []
        return facts | {"classes": [[c.value, c.label, c.color.name()] for c in classes]}
    styles, _, names, _, _ = layer.listStylesInDatabase()
    return facts | {
        "features": layer.featureCount(),
        "geometry": QgsWkbTypes.displayString(layer.wkbType()),
        "symbols": symbols(renderer),
        "styles": list(names)[: max(styles, 0)],
        "aliases": {field.name(): field.alias() for field in layer.fields()},
        "types": {field.name(): field.typeName() for field in layer.fields()},
        "hidden_columns": [c.name for c in layer.attributeTableConfig().columns() if c.hidden],
        "map_tip": layer.mapTipTemplate(),
        "display": layer.displayExpression(),
        "labels": layer.labelsEnabled(),
        "title": layer.metadata().title(),
        "abstract": layer.metadata().abstract(),
        "spatial_index": layer.hasSpatialIndex() == QgsFeatureSource.SpatialIndexPresent,
        "invalid": sum(1 for f in layer.getFeatures() if f.geometry().isEmpty() or not f.geometry().isGeosValid()),
    }


def symbols(renderer) -> list:
    """Value, label and colour of each symbol."""
    if renderer.type() == "categorizedSymbol":
        return [[c.value(), c.label(), c.symbol().color().name()] for c in renderer.categories()]
    return [["", "", renderer.symbol().color().name()]] if renderer.type() == "singleSymbol" else []


def render(layers: list, args: argparse.Namespace) -> None:
    """Draw the layers on white, without smoothing, so that colours can be counted."""
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setBackgroundColor(QColor("white"))
    settings.setDestinationCrs(layers[0].crs())
    settings.setFlag(QgsMapSettings.Antialiasing, False)
    if args.extent:
        extent = QgsRectangle(*map(float, args.extent.split(",")))
    else:
        extent = QgsRectangle()
        extent.setMinimal()
        for layer in layers:
            extent.combineExtentWith(layer.extent())
    settings.setExtent(extent)
    settings.setOutputSize(QSize(args.width, round(args.width * extent.height() / extent.width())))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(args.render)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # QGIS crashes in its own destructors when Python unwinds first
