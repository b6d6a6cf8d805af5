"""The wheel: what somebody without a clone has."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that nothing is left here."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("geoseg", "configs", "pipelines"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (folder / "dist").glob("*.whl")
    return path


def test_it_holds_the_package_and_the_model(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    ours = {str(p.relative_to(ROOT)) for p in (ROOT / "geoseg").rglob("*") if p.is_file() and p.suffix != ".pyc"}
    assert {n for n in names if n.startswith("geoseg/")} == ours
    assert "geoseg/models/default/model.safetensors" in ours
    assert not [n for n in names if n.startswith(("tests", "benchmarks"))]
    assert wheel.stat().st_size < 25e6


def test_it_brings_what_help_and_readme_name(wheel):
    """As files of the environment, in share/geoseg."""
    with zipfile.ZipFile(wheel) as archive:
        shared = {n.partition("/data/share/geoseg/")[2] for n in archive.namelist() if "/data/share/geoseg/" in n}
    files = [
        p
        for folder in ("configs", "pipelines")
        for p in (ROOT / folder).rglob("*")
        if p.is_file() and p.suffix != ".pyc"
    ]
    assert shared == {str(p.relative_to(ROOT)) for p in files}
