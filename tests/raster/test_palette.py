"""Names and colours of the class raster, read back by GDAL."""

import os
import subprocess
import sys

import numpy as np
import rasterio

from geoseg.legend import DEFAULT_LEGEND
from geoseg.raster.palette import category_names_aux_xml, palette

GRID = {"crs": 32633, "transform": (0.5, 0, 500_000, 0, -0.5, 4_650_000)}


def test_classes_are_opaque_and_all_else_transparent():
    colors = palette(DEFAULT_LEGEND)
    assert {value for value, color in colors.items() if color[3] == 0} == {0, 255}
    assert {value: color[:3] for value, color in colors.items() if color[3]} == {c.id: c.rgb for c in DEFAULT_LEGEND}


def test_gdal_reads_the_names_of_values(tmp_path):
    path = tmp_path / "town_classes.tif"
    with rasterio.open(path, "w", driver="GTiff", width=4, height=4, count=1, dtype="uint8", **GRID) as dst:
        dst.write(np.zeros((1, 4, 4), np.uint8))
        dst.write_colormap(1, palette(DEFAULT_LEGEND))
    path.with_name(path.name + ".aux.xml").write_text(category_names_aux_xml(DEFAULT_LEGEND), encoding="utf-8")
    # GDAL may not read .aux.xml files in the process of the tests, so another one is asked, by way of a VRT that
    # carries the names over.
    code = (
        "import sys, rasterio, rasterio.shutil as s\n"
        "with rasterio.open(sys.argv[1]) as src: s.copy(src, sys.argv[2], driver='VRT')"
    )
    allowed = {k: v for k, v in os.environ.items() if not k.startswith("GDAL_")}
    vrt = tmp_path / "town.vrt"
    subprocess.run([sys.executable, "-c", code, str(path), str(vrt)], check=True, env=allowed)
    text = vrt.read_text()
    for name in DEFAULT_LEGEND.category_names:
        assert f"<Category>{name}</Category>" in text
    assert '<Entry c1="215" c2="48" c3="31" c4="255"/>' in text.replace(" />", "/>")
