"""A real SLURM: one node, set up by setup.sh beside this file. Skipped where there is none."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import write_raster
from tests.run.test_map import map_town, same_map

ROOT = Path(__file__).parents[2]


def has_slurm() -> bool:
    if shutil.which("sinfo") is None:
        return False
    done = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.split()[:1] in (["idle"], ["mixed"], ["allocated"])


pytestmark = [
    pytest.mark.slurm,
    pytest.mark.alone,
    pytest.mark.slow,
    pytest.mark.skipif(not has_slurm(), reason="no SLURM here: run tests/slurm/setup.sh as root"),
]


@pytest.fixture
def cluster(tmp_path):
    """The file that ships, for jobs that fit this node."""
    text = (ROOT / "configs" / "cluster" / "slurm.yaml").read_text()
    for shipped, ours in (("cores: 8", "cores: 1"), ("memory: 16GiB", "memory: 2GiB"), ("15 min ", "3 min")):
        assert shipped in text
        text = text.replace(shipped, ours)
    (tmp_path / "slurm.yaml").write_text(text)
    return tmp_path / "slurm.yaml"


@pytest.fixture
def environment():
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.fixture
def configuration(tmp_path, color_model, town_scene):
    path = tmp_path / "c.yaml"
    path.write_text(
        f"model: {color_model}\ninputs: [{town_scene}]\noutput: {tmp_path / 'out'}\ntile_size: 256\noverlap: 64\n"
    )
    return path


def jobs():
    return subprocess.run(["squeue", "-h", "-o", "%i"], capture_output=True, text=True, check=True).stdout.split()


def until(condition, seconds=180):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def submit(environment, *arguments):
    done = subprocess.run(
        ["sbatch", "--parsable", "--mem-per-cpu=500", "--cpus-per-task=1", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split(";")[0]


def wait_for(job, folder):
    until(lambda: job not in {j.split("_")[0] for j in jobs()})
    return "\n".join(p.read_text() for p in sorted(folder.glob(f"log-{job}*")))


def strips_to_map(log):
    """What the first line of a run says it is going to do."""
    return int(re.search(r"(\d+) strips?\)", log)[1])


def committed(output):
    return {p: p.stat().st_ino for p in output.glob(".geoseg/*/strips/*.tif") if p.with_suffix(".json").exists()}


def test_jobs_of_slurm_map_a_scene_and_leave_no_job_and_no_certificate(
    cluster, configuration, environment, town_scene, color_model, tmp_path
):
    reference = tmp_path / "reference"
    assert map_town(town_scene, reference, color_model).exit_code == 0
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "geoseg.cli",
            "map",
            "--config",
            configuration,
            "--cluster",
            cluster,
            "--strip-rows",
            "1",
        ],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    same_map(tmp_path / "out", reference)
    until(lambda: not jobs())
    folder = tmp_path / "out" / ".geoseg" / "slurm"
    assert list(folder.glob("*.err")), "jobs leave their logs"
    assert not list(folder.rglob("tls-*"))
    said = "".join(p.read_text() for p in folder.glob("*.err"))
    assert "tls://127.0.0.1" in said
    assert "tcp://" not in said


def test_a_cancelled_worker_is_replaced(cluster, configuration, environment, town_scene, unet_model, tmp_path):
    configuration.write_text(configuration.read_text().replace("color", "unet"))
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "geoseg.cli",
            "map",
            "--config",
            configuration,
            "--cluster",
            cluster,
            "--model",
            unet_model,
            "--strip-rows",
            "1",
        ],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    until(lambda: committed(tmp_path / "out") or process.poll() is not None)
    subprocess.run(["scancel", jobs()[0]], check=True)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    (scene,) = json.loads((tmp_path / "out" / "run.json").read_text())["scenes"]
    assert scene["status"] == "done"
    until(lambda: not jobs())


def test_one_job_brings_its_workers_and_is_resumed_after_scancel(
    configuration, environment, town_scene, unet_model, tmp_path
):
    """Cancelled in the middle; submitted again, it does only what is missing."""
    script = [ROOT / "pipelines/slurm/geoseg.sbatch", configuration, "--model", unet_model, "--strip-rows", "1"]
    options = ["--ntasks=2", "-D", tmp_path, "-o", tmp_path / "log-%j", "--time=10"]
    job = submit(environment, *options, *script)
    output = tmp_path / "out"
    until(lambda: committed(output) or job not in jobs())
    assert job in jobs(), wait_for(job, tmp_path)
    subprocess.run(["scancel", job], check=True)
    cancelled = wait_for(job, tmp_path)
    kept = committed(output)
    assert kept
    assert not (output / "town.gpkg").exists()
    log = wait_for(submit(environment, *options, *script), tmp_path)
    assert (output / "town.gpkg").exists(), log
    assert strips_to_map(log) == strips_to_map(cancelled) - len(kept), log
    done = [json.loads(line) for p in sorted(output.glob(".geoseg/journal/*.jsonl"))[-1:] for line in p.open()]
    assert sum(e["event"] == "strip" for e in done) < next(e["strips"] for e in done if e["event"] == "scene")
    assert not list(tmp_path.glob(".geoseg-job-*")), "no key is left behind"
    map_town(town_scene, tmp_path / "reference", unet_model)
    same_map(output, tmp_path / "reference")


def test_an_array_shards_scenes_and_is_resumed_after_scancel(environment, color_model, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for i in range(24):
        write_raster(tmp_path / "in" / f"s{i:02d}.tif", rng.integers(0, 255, (3, 300, 300), dtype=np.uint8))
    config = tmp_path / "c.yaml"
    config.write_text(f"model: {color_model}\ninputs: [{tmp_path / 'in'}]\noutput: {tmp_path / 'out'}\n")
    script = [
        "--array=1-3",
        "-D",
        tmp_path,
        "-o",
        tmp_path / "log-%A-%a",
        ROOT / "pipelines/slurm/array.sbatch",
        config,
    ]
    job = submit(environment, *script)
    until(lambda: list((tmp_path / "out").glob("s*.gpkg")))
    subprocess.run(["scancel", job], check=True)
    wait_for(job, tmp_path)
    until(lambda: not jobs())  # those that are ending still hold their locks
    first = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("s*.gpkg")}
    assert 0 < len(first) < 24
    log = wait_for(submit(environment, *script), tmp_path)
    assert len(list((tmp_path / "out").glob("s*.gpkg"))) == 24, log
    done = [json.loads(p.read_text()) for p in sorted((tmp_path / "out").glob("run-*-of-3.json"))]
    assert [d["exit_code"] for d in done] == [0, 0, 0]
    names = [s["name"] for d in done for s in d["scenes"]]
    assert sorted(names) == [f"s{i:02d}" for i in range(24)], "each scene in one shard"
    finished = {s["name"] for d in done for s in d["scenes"] if s["status"] == "up to date"}
    assert {p.stem for p in first} >= finished
    assert finished
