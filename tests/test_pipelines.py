import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import run_script, write_raster

PIPELINES = Path(__file__).parents[1] / "pipelines"


def test_folder_maps_what_its_configuration_names(color_model, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 90, 70), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    write_raster(tmp_path / "in" / "x.tif", pixels)
    (tmp_path / "c.yaml").write_text(f"model: {color_model}\nworkers: 0\n")
    command = [sys.executable, PIPELINES / "folder.py", tmp_path / "c.yaml", tmp_path / "in", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "x.gpkg").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wrong: 1", "unknown key 'wrong'"),
        ("workers: 0", "no output folder"),
        ("output: out", "no input"),
        ("inputs: [nowhere]\noutput: out", "no GeoTIFF"),
    ],
)
def test_folder_says_what_is_wrong_with_its_configuration(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    code, said = run_script(PIPELINES / "folder.py", tmp_path / "c.yaml")
    assert code == 2
    assert message in said
