"""The job that a timer starts: new and changed scenes only, never two at once, a heartbeat, a result, exit codes."""

import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from geoseg.run.lock import locked
from tests.conftest import run_script, write_raster

PIPELINES = Path(__file__).parents[1] / "pipelines"


@pytest.fixture
def job(color_model, tmp_path):
    """Runs scheduled.py once; returns exit code, result and what it said."""
    (tmp_path / "in").mkdir()
    config = tmp_path / "c.yaml"
    config.write_text(
        f"model: {color_model}\nworkers: 0\nquiet: true\ninputs: [{tmp_path / 'in'}]\noutput: {tmp_path / 'out'}\n"
    )

    def run(*options):
        code, said = run_script(PIPELINES / "scheduled.py", config, *(options or ("--settle-s", 0)))
        path = tmp_path / "out" / "result.json"
        return code, json.loads(path.read_text()) if path.exists() else None, said

    return run


def scene(tmp_path, name, value):
    write_raster(tmp_path / "in" / name, np.full((3, 64, 64), value, np.uint8))


def test_only_what_is_new_or_changed_is_mapped(job, tmp_path):
    code, result, _ = job()
    assert (code, result["scenes"]) == (0, [])
    scene(tmp_path, "a.tif", 10)
    scene(tmp_path, "b.tif", 20)
    assert job()[0] == 0
    stamp = (tmp_path / "out" / "a.gpkg").stat().st_mtime_ns
    time.sleep(0.01)
    scene(tmp_path, "b.tif", 200)
    scene(tmp_path, "c.tif", 30)
    code, result, _ = job()
    assert code == 0
    assert {s["name"]: s["status"] for s in result["scenes"]} == {"a": "up to date", "b": "done", "c": "done"}
    assert (tmp_path / "out" / "a.gpkg").stat().st_mtime_ns == stamp


def test_a_file_that_may_still_be_written_waits(job, tmp_path):
    scene(tmp_path, "young.tif", 10)
    scene(tmp_path, "old.tif", 10)
    os.utime(tmp_path / "in" / "old.tif", (time.time() - 600,) * 2)
    code, result, _ = job("--settle-s", 300)
    assert code == 0
    assert [s["name"] for s in result["scenes"]] == ["old"]
    assert result["waiting"] == [str(tmp_path / "in" / "young.tif")]


def test_a_mosaic_waits_for_the_last_of_its_files(job, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(config.read_text() + "mosaic: town\n")
    scene(tmp_path, "young.tif", 10)
    scene(tmp_path, "old.tif", 10)
    os.utime(tmp_path / "in" / "old.tif", (time.time() - 600,) * 2)
    code, result, _ = job("--settle-s", 300)
    assert (code, result["waiting"]) == (0, [str(tmp_path / "in" / "young.tif")])
    assert not list((tmp_path / "out").glob("*.gpkg"))
    os.utime(tmp_path / "in" / "young.tif", (time.time() - 600,) * 2)
    code, result, _ = job("--settle-s", 300)
    assert (code, [s["name"] for s in result["scenes"]]) == (0, ["town"])


def test_a_broken_scene_is_told_by_code_and_result(job, tmp_path):
    scene(tmp_path, "good.tif", 10)
    (tmp_path / "in" / "bad.tif").write_text("no raster")
    code, result, _ = job()
    assert (code, result["exit_code"]) == (1, 1)
    assert result["counts"] == {"done": 1, "refused": 1}


def test_a_file_from_the_future_is_not_waited_for(job, tmp_path):
    scene(tmp_path, "a.tif", 10)
    os.utime(tmp_path / "in" / "a.tif", (time.time() + 10**8,) * 2)
    code, result, _ = job("--settle-s", 300)
    assert (code, [s["status"] for s in result["scenes"]]) == (0, ["done"])


def test_a_job_without_inputs_is_a_wrong_configuration(job, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(config.read_text().replace(f"inputs: [{tmp_path / 'in'}]", "inputs: []"))
    code, result, _ = job()
    assert code == 2
    assert "no input" in result["error"]


def test_links_to_nothing_and_hidden_files_stop_nobody(job, tmp_path):
    (tmp_path / "in" / ".upload.tif").write_bytes(b"not yet whole")
    code, result, said = job()
    assert (code, result["scenes"]) == (0, []), said
    scene(tmp_path, "good.tif", 10)
    (tmp_path / "in" / "gone.tif").symlink_to(tmp_path / "nowhere.tif")
    code, result, said = job()
    assert (code, result["counts"]) == (1, {"done": 1, "refused": 1}), said


def test_names_do_not_hang_on_what_is_young(job, tmp_path):
    for folder in "AB":
        (tmp_path / "in" / folder).mkdir()
        scene(tmp_path, f"{folder}/t.tif", ord(folder))
        os.utime(tmp_path / "in" / folder / "t.tif", (time.time() - 600,) * 2)
    assert job("--settle-s", 300)[1]["counts"] == {"done": 2}
    scene(tmp_path, "A/t.tif", 200)  # delivered again, and young
    code, result, said = job("--settle-s", 300)
    assert (code, result["waiting"]) == (0, [str(tmp_path / "in" / "A" / "t.tif")]), said
    assert {s["name"]: s["status"] for s in result["scenes"]} == {"B_t": "up to date"}


def test_two_runs_never_mix(job, tmp_path):
    scene(tmp_path, "a.tif", 10)
    with locked(tmp_path / "out"):
        code, result, said = job()
    assert (code, result) == (75, None)
    assert "another run is writing there" in said


def test_a_wrong_configuration_is_not_tried_again(job, tmp_path):
    (tmp_path / "c.yaml").write_text("output: out\ninputs: [nowhere]\n")
    code, _, said = job("--result", tmp_path / "r.json", "--heartbeat", tmp_path / "h.json")
    assert code == 2
    assert "is no folder" in said
    assert json.loads((tmp_path / "r.json").read_text())["exit_code"] == 2
    assert json.loads((tmp_path / "h.json").read_text())["pid"] > 0


def test_the_lock_of_shards(tmp_path):
    from geoseg.errors import Busy

    with locked(tmp_path, "1/2"), locked(tmp_path, "2/2"):
        for other in ("1/2", "1/3", None):
            with pytest.raises(Busy), locked(tmp_path, other):
                pass
    with locked(tmp_path):
        pass


def test_shards_are_a_partition_that_other_files_do_not_move(tmp_path):
    from geoseg.run.find import of_shard

    files = [tmp_path / f"{i}.tif" for i in range(50)]
    parts = [of_shard(files, i, 4) for i in range(1, 5)]
    assert sorted(f for p in parts for f in p) == sorted(files)
    assert all(parts)
    assert [f for f in of_shard(files[::2], 2, 4) if f not in parts[1]] == []


def test_the_files_for_schedulers_are_what_their_schedulers_read():
    cron = list(yaml.safe_load_all((PIPELINES / "kubernetes" / "cronjob.yaml").read_text()))
    assert [part["kind"] for part in cron] == ["ConfigMap", "CronJob"]
    (container,) = cron[1]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["command"][1].endswith("pipelines/scheduled.py")
    for path in (PIPELINES / "slurm").glob("*.sbatch"):
        subprocess.run(["bash", "-n", path], check=True)
