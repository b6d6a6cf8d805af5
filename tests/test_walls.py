"""Folders are walls: each heavy library lives behind one of them, and imports run in one direction."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from geoseg.cli.program import cli

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "geoseg"

MAY_IMPORT = {
    "errors": set(),
    "confusion": set(),
    "files": {"errors"},
    "legend": {"errors"},
    "yaml_file": {"errors"},
    "strict": {"errors", "yaml_file"},
    "contract": {"errors", "files", "grid", "legend", "strict"},
    "card": {"contract", "files"},
    "extras": {"errors"},
    "memory": set(),
    "threads": set(),
    "import_settings": {"contract", "strict"},
    "grid": {"errors"},
    "raster": {"errors", "files", "grid", "legend", "threads"},
    "vector": {"errors", "files", "grid", "legend", "memory", "raster", "strict"},
    "cluster_config": {"errors", "strict", "yaml_file"},
    "config": {"contract", "errors", "grid", "vector.formats", "vector.settings", "strict"},
    "train_config": {"config", "contract", "errors", "legend", "strict", "town.palettes", "yaml_file"},
    "vectorize_config": {"strict", "vector.formats", "vector.settings"},
    "town": {"errors", "files", "legend", "raster"},
    "nn": {
        "card",
        "confusion",
        "contract",
        "errors",
        "files",
        "grid",
        "import_settings",
        "legend",
        "memory",
        "raster",
        "threads",
        "town",
        "train_config",
        "vector.arrays",
        "vector.features",
        "vector.formats",
        "vector.measure",
    },
    "run": {
        "cluster_config",
        "config",
        "contract",
        "errors",
        "extras",
        "files",
        "grid",
        "legend",
        "nn",
        "raster",
        "threads",
        "town",
        "vector",
        "vectorize_config",
    },
    "evaluate": {
        "config",
        "confusion",
        "contract",
        "errors",
        "files",
        "legend",
        "nn",
        "raster",
        "run.plan",
        "strict",
        "vector",
    },
    "cli": {
        "card",
        "config",
        "contract",
        "errors",
        "evaluate",
        "extras",
        "import_settings",
        "nn",
        "run",
        "train_config",
        "vector",
        "vectorize_config",
    },
}
"""What each part may import of geoseg; a dotted name allows one module of a folder."""

OWNERS = {
    "torch": {"nn"},
    "torchvision": {"nn"},
    "segmentation_models_pytorch": {"nn"},
    "lightning": {"nn"},
    "onnx": {"nn"},
    "onnxruntime": {"nn"},
    "dask": {"run"},
    "distributed": {"run"},
    "dask_jobqueue": {"run"},
    "dask_kubernetes": {"run"},
    "sqlite3": {"vector"},
    "pyogrio": {"vector"},
}
"""Library → the parts that may import it."""


def parts():
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p.name != "__init__.py"]


def part_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path):
    """Every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", parts(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_keep_to_the_walls(path):
    part = part_of(path)
    for module in imports(path):
        if module.startswith("geoseg."):
            target = module.removeprefix("geoseg.")
            allowed = MAY_IMPORT[part] | {part}
            assert target.split(".")[0] in allowed or target in allowed, f"{part} imports {target}"
        owners = OWNERS.get(module.split(".")[0])
        assert owners is None or part in owners, f"{part} imports {module}"


@pytest.mark.parametrize("path", parts(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_datasets_are_opened_in_raster_only(path):
    if part_of(path) != "raster":
        assert "rasterio" not in set(imports(path)), "datasets are opened in geoseg/raster only"


def test_there_are_no_import_cycles():
    graph = {}
    for path in parts():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        graph[name] = {m for m in imports(path) if m.startswith("geoseg")}
    done, path = set(), []

    def visit(name):
        assert name not in path, " → ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for other in graph.get(name, ()):
            visit(other)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "statement",
    [
        "import geoseg.run.plan",
        "import geoseg.evaluate.run, geoseg.evaluate.report",
        "import geoseg.card, geoseg.import_settings, geoseg.train_config",
        "import geoseg.vector.vectorize, geoseg.vector.geopackage",
        "import geoseg.town.plan",
        "import geoseg.config, geoseg.contract",
        "from geoseg.cli import main; main(['map', '--help'])",
        "from geoseg.cli import main; main(['--help'])",
    ],
)
def test_torch_and_dask_stay_unimported(statement):
    run_python(f"{statement}\nimport sys\nassert not {{'torch', 'dask', 'distributed'}} & set(sys.modules)")


def test_help_is_quick():
    """Without numpy, rasterio and the like: the command line imports what a verb needs when it runs."""
    run_python(
        "from geoseg.cli import main; main(['--help'])\nimport sys\n"
        "assert not {'numpy', 'rasterio', 'geopandas', 'pydantic', 'scipy'} & set(sys.modules)"
    )


@pytest.mark.parametrize("verb", ["map", "vectorize", "status", "verify", "demo", "train", "evaluate", "model check"])
def test_help_reads_as_it_is_meant(verb):
    told = CliRunner().invoke(cli, [*verb.split(), "--help"]).output
    assert "Exit codes: 0" in told or verb == "demo"
    assert "\\b" not in told
    assert "   " not in told.split("Options:")[0].replace("\n  ", "\n")


@pytest.mark.parametrize("path", [*parts(), *(ROOT / "pipelines").glob("*.py")], ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_prints_and_no_pickle_is_opened(path):
    tree = ast.parse(path.read_text())
    names = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not names & {"print", "eval", "exec"}
    assert not {"pickle", "joblib", "dill"} & {m.split(".")[0] for m in imports(path)}
