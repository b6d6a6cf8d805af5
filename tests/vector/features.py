"""Made-up features of any layer, for the tests of the writer."""

import geopandas
import numpy as np
import shapely

from geoseg.legend import Legend, LegendClass
from geoseg.vector.schema import layers_of

LEGEND = Legend(
    (
        LegendClass(id=1, name="building", color="#d7301f", layer="buildings", rule="building"),
        LegendClass(id=2, name="road", color="#4d4d4d", layer="roads", rule="road"),
        LegendClass(id=3, name="tree", color="#1b7837", layer="plants", rule="area"),
        LegendClass(id=4, name="grass", color="#a6dba0", layer="plants", rule="area"),
    )
)
LAYERS = layers_of(LEGEND)
WEST, SOUTH, SIZE_M = 500_000.0, 4_649_600.0, 400.0
EXTENT = (WEST, SOUTH, WEST + SIZE_M, SOUTH + SIZE_M)


def features(layer, count, seed=0):
    """`count` features of a layer inside EXTENT, each of one of its classes."""
    rng = np.random.default_rng(seed)
    x, y = WEST + rng.uniform(0, SIZE_M - 20, count), SOUTH + rng.uniform(0, SIZE_M - 20, count)
    if layer.geometry == "Polygon":
        geometry = shapely.box(x, y, x + rng.uniform(5, 20, count), y + rng.uniform(5, 20, count))
    elif layer.geometry == "Point":
        geometry = shapely.points(x, y)
    else:
        ends = np.stack([np.stack([x, y], 1), np.stack([x + 15, y + 20], 1)], 1)
        geometry = shapely.linestrings(ends)
    values = {
        "int64": np.arange(count) + 1000 * seed,
        "float64": rng.uniform(0, 1, count),
        "bool": rng.uniform(size=count) > 0.5,
        "string": np.array(["town"] * count, object),
    }
    columns = {field.name: values[field.type] for field in layer.fields}
    if "class" in columns:
        columns["class"] = rng.choice([c.name for c in layer.classes], count)
    return geopandas.GeoDataFrame(columns, geometry=geometry)
