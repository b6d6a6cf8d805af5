"""Mapping starts without torch's compiler, and whoever wants it still gets it."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import geoseg.nn.session
assert "torch._dynamo" not in sys.modules, "the compiler was imported"
import torch
doubled = torch.compile(lambda x: 2 * x, backend="eager")
assert doubled(torch.ones(1)).item() == 2
assert torch._dynamo.is_compiling() is False
import torchvision.ops
"""


def test_the_compiler_is_imported_by_those_who_compile():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=300)


MAP = """
import sys
from click.testing import CliRunner
from geoseg.cli.program import cli
scene, out, model = sys.argv[1:]
done = CliRunner().invoke(cli, ["map", scene, "-o", out, "--model", model, "--workers", "0", "--quiet"])
assert done.exit_code == 0, done.output
"""
WORKER = """
from types import SimpleNamespace
from geoseg.run.worker import NETWORK, dask_setup
dask_setup(SimpleNamespace(state=SimpleNamespace(total_resources={NETWORK: 1})))
"""
CHECK = """
import sys
assert "segmentation_models_pytorch" in sys.modules
assert "torch._dynamo" not in sys.modules, "the compiler was imported"
"""


@pytest.mark.parametrize("script", [MAP, WORKER], ids=["a run in one process", "a worker that starts"])
def test_who_maps_does_without_the_compiler(script, town_scene, color_model, tmp_path):
    arguments = [str(town_scene), str(tmp_path / "out"), str(color_model)]
    subprocess.run([sys.executable, "-c", script + CHECK, *arguments], check=True, timeout=300)
