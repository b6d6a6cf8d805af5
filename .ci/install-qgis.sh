#!/bin/sh
# Installs QGIS from Debian's or Ubuntu's packages for the tests marked `qgis`, if it is not there yet.
# Without apt-get or root it says that those tests will be skipped, and succeeds: geoseg itself needs no QGIS.
set -eu

skip() {
    echo "install-qgis: $1; the tests marked 'qgis' will be skipped."
    exit 0
}

has_qgis() {
    /usr/bin/python3 -c "import qgis.core, osgeo_utils.samples.validate_gpkg" 2>/dev/null
}

has_qgis && { echo "install-qgis: already there."; exit 0; }
command -v apt-get >/dev/null || skip "no apt-get here"
[ "$(id -u)" = 0 ] || skip "not root"

export DEBIAN_FRONTEND=noninteractive
apt-get update -q || skip "apt-get update failed"
# About 220 packages: 140 MB to download, 1.2 GB on disk.
apt-get install -q -y --no-install-recommends qgis python3-qgis qgis-providers gdal-bin python3-gdal ||
    skip "apt-get install failed"
has_qgis || skip "installed, but /usr/bin/python3 does not find it"
